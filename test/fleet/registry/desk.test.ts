/**
 * takes: 10 s
 *
 * Goal: what is asked of a group follows from what is there when it is written, also where somebody
 * else changes the same between the reading and the writing. Method: a real etcd, and a client that
 * lets the test act at that very point.
 *
 * needs: a core
 */
import { createHash } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FantailError } from '../../../src/domain/errors.js';
import type { FleetConfig } from '../../../src/fleet/config.js';
import { Etcd as Client, type Txn } from '../../../src/fleet/etcd/store.js';
import { Registration } from '../../../src/fleet/member/registration.js';
import { GroupDesk } from '../../../src/fleet/registry/desk.js';
import { Follower, readGroup } from '../../../src/fleet/registry/follower.js';
import { Keys } from '../../../src/fleet/registry/keys.js';
import { Mirror } from '../../../src/fleet/registry/mirror.js';
import { Upstream } from '../../../src/fleet/relays/upstream.js';
import { Etcd, lackForEtcd } from '../../rig/fleet/etcd.js';

const test = suite('desk of a group');
const lack = lackForEtcd();
const at = (port: number) => ({ ip: '127.0.0.1', port });
let etcd: Etcd;
let client: Client;
let racing: RacingClient;
let groups = 0;

/** Has read what it was asked for when somebody else acts, once. */
class RacingClient extends Client {
  between: (() => Promise<unknown>) | null = null;

  override async transact(txn: Txn) {
    const { between } = this;
    this.between = null;
    await between?.();
    return super.transact(txn);
  }
}

test.before(async () => {
  if (lack !== null) return;
  etcd = await Etcd.local();
  const options = { endpoints: [etcd.urls], user: null, tls: null };
  client = new Client(options);
  racing = new RacingClient(options);
});
test.after(() => {
  client?.close();
  racing?.close();
  etcd?.close();
});

interface Scene {
  readonly keys: Keys;
  /** Of whoever else asks. */
  readonly other: GroupDesk;
  /** What the desk answers where that happens between its reading and its writing. */
  readonly race: (
    between: () => Promise<unknown>,
    work: (desk: GroupDesk) => Promise<unknown>,
  ) => Promise<unknown>;
}

function deskTest(name: string, work: (scene: Scene) => Promise<void>): void {
  test(name, async () => {
    if (lack !== null) return console.log(`skip: ${lack}`);
    const keys = new Keys(`desk${++groups}`);
    const race: Scene['race'] = async (between, ask) => {
      let hasHappened = false;
      racing.between = async () => {
        hasHappened = true;
        await between();
      };
      const answer = await ask(new GroupDesk(racing, keys)).catch((error: unknown) => {
        if (!(error instanceof FantailError)) throw error;
        return `${error.code} ${error.message}`;
      });
      assert.ok(hasHappened, 'it has written, or tried to');
      return answer;
    };
    await work({ keys, other: new GroupDesk(client, keys), race });
  });
}

deskTest('one that is removed meanwhile is not brought back', async ({ other, race }) => {
  const works: ((desk: GroupDesk) => Promise<unknown>)[] = [
    (desk) => desk.pause(at(9001), true),
    (desk) => desk.pause(at(9001), false),
    (desk) => desk.filterUse('rewrite', '', at(9001)),
  ];
  for (const work of works) {
    await other.add(at(9001), {});
    const answer = await race(() => other.remove(at(9001)), work);
    assert.match(String(answer), /^NOT_FOUND 127\.0\.0\.1:9001 is not subscribed; fleet add it/);
    assert.equal(await other.list(), []);
  }
});

deskTest('of two changes of one subscriber none is lost', async ({ other, race, keys }) => {
  await other.add(at(9001), {});
  const answer = await race(
    () => other.add(at(9001), { param: 'x', feeds: ['main', 'b'] }),
    (desk) => desk.pause(at(9001), true),
  );
  assert.equal(answer, { changed: true });
  const [row] = await other.list();
  assert.equal([row?.paused, row?.param, row?.feeds], [true, 'x', ['main', 'b']]);
  // paused by both: the second has changed nothing
  await other.pause(at(9001), false);
  const second = await race(
    () => other.pause(at(9001), true),
    (desk) => desk.pause(at(9001), true),
  );
  assert.equal(second, { changed: false });
  // and what a later version has written stays
  const key = keys.of('subscribers', '127.0.0.1:9002');
  etcd.ctl('put', key, '{"feeds":["b"],"later":7}');
  await other.pause(at(9002), true);
  await other.add(at(9002), { param: 'y' });
  const { later, feeds, paused, param } = JSON.parse(String((await client.get(key))?.value));
  assert.equal([later, feeds, paused, param], [7, ['b'], true, 'y']);
});

deskTest(
  'a value that is wrong is no subscriber, and fleet add begins it anew',
  async ({ other, keys }) => {
    etcd.ctl('put', keys.of('subscribers', '127.0.0.1:9001'), 'nonsense');
    const refusal = await other.pause(at(9001), true).catch(String);
    assert.match(String(refusal), /is not subscribed/);
    assert.equal(await other.add(at(9001), {}), { existing: true });
    assert.equal([(await other.list()).length, (await other.status()).faults], [1, []]);
  },
);

// ---- filters ----

const moduleOf = (byte: number) => new Uint8Array([byte]);
const hashOf = (byte: number) => createHash('sha256').update(moduleOf(byte)).digest('hex');

async function modulesOf(keys: Keys): Promise<string[]> {
  const mirror = new Mirror(keys);
  const { entries, revision } = await readGroup(client, keys);
  mirror.fill(entries, revision);
  return [...mirror.modules].sort();
}

deskTest('a module goes with the last filter that means it', async ({ other, keys }) => {
  await other.filterLoad('one', moduleOf(1));
  await other.filterLoad('two', moduleOf(1));
  await other.filterLoad('one', moduleOf(2));
  assert.equal(await modulesOf(keys), [hashOf(1), hashOf(2)].sort(), 'two means the first still');
  await other.filterLoad('two', moduleOf(3));
  assert.equal(await modulesOf(keys), [hashOf(2), hashOf(3)].sort());
  await other.filterUnload('one');
  assert.equal(await modulesOf(keys), [hashOf(3)]);
  // what an older version has left there goes with the next change of any
  etcd.ctl('put', keys.of('modules', hashOf(9)), '\u0009');
  await other.filterUnload('two');
  assert.equal(await modulesOf(keys), []);
});

deskTest(
  'a module is not taken from a filter that comes meanwhile, or whose value is wrong',
  async ({ other, keys, race }) => {
    await other.filterLoad('one', moduleOf(1));
    await race(
      () => other.filterLoad('two', moduleOf(1)),
      (desk) => desk.filterUnload('one'),
    );
    const { filters } = await other.status();
    assert.equal(
      filters.map(({ name, is_there }) => [name, is_there]),
      [['two', true]],
    );
    etcd.ctl('put', keys.of('filters', 'two'), '{"sha256":"typo"}');
    await other.filterLoad('one', moduleOf(2));
    assert.equal(await modulesOf(keys), [hashOf(1), hashOf(2)].sort());
    await other.filterUnload('two');
    assert.equal(await modulesOf(keys), [hashOf(2)]);
  },
);

deskTest(
  'a filter that is given to somebody meanwhile stays, and one that goes is not given',
  async ({ other, race }) => {
    await other.add(at(9001), {});
    const gives: (() => Promise<unknown>)[] = [
      () => other.filterUse('one', '', at(9001)),
      () => other.add(at(9002), { filter: 'one' }),
      () => other.filterUse('one', '', null),
    ];
    for (const give of gives) {
      await other.filterLoad('one', moduleOf(1));
      const answer = await race(give, (desk) => desk.filterUnload('one'));
      assert.match(String(answer), /^BUSY filter one answers for /);
      await other.filterUse('rewrite', '', at(9001));
      await other.filterUse('rewrite', '', null);
      await other.remove(at(9002));
    }
    for (const to of [at(9001), null]) {
      const answer = await race(
        () => other.filterUnload('one'),
        (desk) => desk.filterUse('one', '', to),
      );
      assert.match(String(answer), /^NOT_FOUND there is no filter one/);
      await other.filterLoad('one', moduleOf(1));
    }
    assert.is((await other.list())[0]?.filter, 'rewrite');
  },
);

// ---- relays ----

/** Registers a member, as one does when it joins. */
async function register(keys: Keys, member: string, upstream: string | null, by = client) {
  const mirror = new Mirror(keys);
  const config: FleetConfig = {
    ...{ etcd: { endpoints: [], user: null, tls: null }, group: keys.group, member, upstream },
    ...{ weight: 1, whenIsolated: 'serve', allowedModules: 'any' },
  };
  const listen = { ip: '10.0.0.1', port: 1 };
  const about = { listen, upstream, path: [], startedAt_ms: 0, version: '' };
  const registration = new Registration({ etcd: by, keys, mirror, config, about });
  registration.control = 'http://127.0.0.1:1';
  const { id } = await client.grant(60);
  await registration.register(id);
  await new Follower(client, keys, mirror, () => {}).read();
  return { lease: id, upstream: new Upstream({ mirror, name: upstream, member }) };
}

deskTest('a member is not drained while a relay registers at it', async ({ keys, other, race }) => {
  await register(keys, 'top', null);
  const answer = await race(
    () => register(keys, 'leaf', 'top'),
    (desk) => desk.drain('top'),
  );
  assert.match(String(answer), /^BUSY leaf would have no feed: it comes from top; stop or drain/);
  const rows = (await other.status()).members;
  assert.equal(
    rows.map(({ member, is_draining, upstream_state }) => [member, is_draining, upstream_state]),
    [
      ['leaf', false, 'feeds'],
      ['top', false, null],
    ],
  );
});

deskTest(
  'a relay that registers at one that drains by then says that it has no feed',
  async ({ keys, other }) => {
    await register(keys, 'top', null);
    racing.between = () => other.drain('top');
    const leaf = await register(keys, 'leaf', 'top', racing);
    assert.is(leaf.upstream.state, 'draining');
    const state = async () => {
      const { members } = await other.status();
      return members.find(({ member }) => member === 'leaf')?.upstream_state;
    };
    assert.is(await state(), 'draining');
    etcd.ctl('del', keys.of('members', 'top'));
    assert.is(await state(), 'absent');
    const { lease } = await register(keys, 'top', null);
    assert.is(await state(), 'feeds');
    const report = {
      ...{ state: 'joined', subscribers: 0, handover: 0, unserved: 1 },
      reasons: [{ subscriber: '10.0.0.1:1', reason: 'member leaf takes its feed there' }],
    };
    const tell = async (what: object) => {
      const write = [{ put: keys.of('reports', 'top'), value: JSON.stringify(what), lease }];
      await client.transact({ when: [], write });
    };
    await tell(report);
    assert.is(await state(), 'feeds', 'what is said of a subscriber there is not of the relay');
    const reason = 'it is outside what is allowed';
    await tell({ ...report, refused_relays: [{ member: 'leaf', reason }] });
    assert.is(await state(), 'refuses');
  },
);

test.run();
