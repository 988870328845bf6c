/**
 * takes: 15 s
 *
 * Goal: a subscriber is served as the group says or not at all, also while etcd is away, and a
 * table that is full is told. Method: a real etcd behind a line that is cut, a table of few rows.
 *
 * needs: a core
 */
import { createHash } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FantailError } from '../../../src/domain/errors.js';
import { Etcd as Client } from '../../../src/fleet/etcd/store.js';
import { Service } from '../../../src/fleet/member/service.js';
import { GroupDesk } from '../../../src/fleet/registry/desk.js';
import { Follower } from '../../../src/fleet/registry/follower.js';
import { Keys } from '../../../src/fleet/registry/keys.js';
import { Mirror } from '../../../src/fleet/registry/mirror.js';
import { Relays } from '../../../src/fleet/relays/relays.js';
import { SHARDS } from '../../../src/fleet/shards/rendezvous.js';
import { Etcd, lackForEtcd } from '../../rig/fleet/etcd.js';
import { Line } from '../../rig/fleet/line.js';
import { TableTarget } from '../../rig/fleet/target.js';
import { eventually } from '../../rig/program.js';

const test = suite('service of a member');
const lack = lackForEtcd();
const ALL = new Set(Array.from({ length: SHARDS }, (_, shard) => shard));
const at = (port: number) => ({ ip: '127.0.0.1', port });
let etcd: Etcd;
let groups = 0;

test.before(async () => {
  if (lack === null) etcd = await Etcd.local();
});
test.after(() => etcd?.close());

interface Scene {
  readonly line: Line;
  readonly desk: GroupDesk;
  readonly mirror: Mirror;
  readonly target: TableTarget;
  readonly service: Service;
  /** Another, of the same table, that has loaded nothing. */
  readonly fresh: () => Service;
  /** Reads all of etcd, and has it served. */
  readonly pass: () => Promise<void>;
  /** How often a module was loaded, or not. */
  changes: number;
}

function serviceTest(name: string, rowsMax: number, work: (scene: Scene) => Promise<void>): void {
  test(name, async () => {
    if (lack !== null) return console.log(`skip: ${lack}`);
    const keys = new Keys(`service${++groups}`);
    const line = await Line.open(etcd.urls);
    const client = new Client({ endpoints: [line.url], user: null, tls: null });
    const mirror = new Mirror(keys);
    const target = new TableTarget(rowsMax);
    const relays = new Relays({ target, mirror, member: 'a' });
    const follower = new Follower(client, keys, mirror, () => {});
    const fresh = () =>
      new Service({
        ...{ target, mirror, relays, allowed: 'any', ownFeeds: new Set<string>() },
        module: async (hash) => (await client.get(keys.of('modules', hash)))?.value ?? null,
        onChange: () => {
          scene.changes += 1;
        },
      });
    const service = fresh();
    const pass = async () => {
      await follower.read();
      await service.apply(ALL);
    };
    const desk = new GroupDesk(client, keys);
    const scene: Scene = { ...{ line, desk, mirror, target, service, fresh, pass }, changes: 0 };
    try {
      await work(scene);
    } finally {
      client.close();
      line.close();
    }
  });
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => {
      if (!(error instanceof FantailError)) throw error;
      return `${error.code} ${error.message}`;
    },
  );
}

serviceTest(
  'whatever is asked of the group while etcd is away is BUSY, with the reason',
  9,
  async (scene) => {
    const { line, desk } = scene;
    await desk.add(at(9001), {});
    line.cut();
    const asked: Record<string, () => Promise<unknown>> = {
      status: () => desk.status(),
      list: () => desk.list(),
      add: () => desk.add(at(9002), {}),
      remove: () => desk.remove(at(9001)),
      pause: () => desk.pause(at(9001), true),
      move: () => desk.move(at(9001), null),
      drain: () => desk.drain('a'),
      feedAdd: () => desk.feedAdd({ name: 'b', ip: '239.1.1.1', port: 1, source: null }),
      feedRemove: () => desk.feedRemove('b'),
      filterLoad: () => desk.filterLoad('mine', new Uint8Array(8)),
      filterUse: () => desk.filterUse('mine', '', at(9001)),
      filterUseForAll: () => desk.filterUse('rewrite', '', null),
      filterUnload: () => desk.filterUnload('mine'),
    };
    for (const [name, work] of Object.entries(asked))
      assert.match(
        await refusalOf(work()),
        /^BUSY etcd does not answer: http:\/\/127\.0\.0\.1:\d+: .*; nothing of the group can be/,
        name,
      );
    line.mend();
    const { subscribers, feeds, filters } = await desk.status();
    assert.equal([subscribers, feeds, filters], [1, [], []], 'and nothing was changed');
  },
);

serviceTest(
  'a module that etcd does not give now is no reason to refuse whom it is for',
  9,
  async (scene) => {
    const { line, desk, target, service, pass } = scene;
    const bytes = new Uint8Array([1, 2, 3]);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await desk.filterLoad('mine', bytes);
    await desk.add(at(9001), { filter: 'mine', param: 'x' });
    await desk.add(at(9002), {});
    await scene.pass(); // the mirror has all, and the module is asked for
    await eventually('it is loaded', () => scene.changes === 1);
    await service.clear();
    await target.unloadFilter('mine');
    // another member's case: it knows what is wanted, and etcd is gone before it has the bytes
    await desk.filterLoad('mine', new Uint8Array([4]));
    await desk.filterLoad('mine', bytes);
    line.cut();
    const fresh = scene.fresh();
    await fresh.apply(ALL);
    assert.equal([...target.rows.keys()], ['127.0.0.1:9002'], 'who needs no module is served');
    assert.equal([fresh.unserved.size, fresh.ready.size], [0, SHARDS - 1], 'the other one waits');
    line.mend();
    await eventually('it is served', async () => {
      await fresh.apply(ALL);
      return target.rows.size === 2;
    });
    const placed = target.rows.get('127.0.0.1:9001');
    assert.equal([placed?.filter, Buffer.from(placed?.param ?? []).toString()], ['mine', 'x']);
    assert.is(target.filterHash('mine'), sha256);
    assert.is(fresh.ready.size, SHARDS);
    await pass();
  },
);

serviceTest(
  'whom the table has no room for is counted, and served once it has',
  3,
  async (scene) => {
    const { desk, target, service, pass } = scene;
    for (let port = 9001; port <= 9005; port++) await desk.add(at(port), {});
    await desk.add(at(9006), { filter: 'none' });
    await pass();
    assert.is(target.rows.size, 3);
    assert.equal([service.unserved.size, service.noRoom], [3, 2]);
    const reasons = new Set([...service.unserved.values()].map(({ reason }) => reason));
    assert.equal([...reasons].sort(), [
      'there is no filter none in the group',
      "this member's table is full; start more members, or move shards with fleet move",
    ]);
    const served = [...target.rows.values()].map(({ endpoint }) => endpoint);
    for (const endpoint of served.slice(0, 2)) await desk.remove(endpoint);
    await eventually('the others are served', async () => {
      await pass();
      return service.noRoom === 0;
    });
    assert.equal([target.rows.size, service.unserved.size], [3, 1]);
  },
);

test.run();
