/**
 * takes: 45 s
 *
 * Goal: a member joins, is what it says, mends what others write over it, and leaves. Method: the
 * product's own members, each with a line to a real etcd that can be cut and a table in memory in
 * place of a replicator; what stands in etcd is read and written by a client of its own.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Etcd as Client } from '../../../src/fleet/etcd/store.js';
import { GroupDesk } from '../../../src/fleet/registry/desk.js';
import { Keys } from '../../../src/fleet/registry/keys.js';
import { SHARDS, shardOf, winnerOf } from '../../../src/fleet/shards/rendezvous.js';
import { Etcd, lackForEtcd } from '../../rig/fleet/etcd.js';
import { Solo, type SoloOptions } from '../../rig/fleet/solo.js';
import { eventually, sleep } from '../../rig/program.js';

const test = suite('membership');
const lack = lackForEtcd();
let etcd: Etcd;
let client: Client;
let groups = 0;

test.before(async () => {
  if (lack !== null) return;
  etcd = await Etcd.local();
  client = new Client({ endpoints: [etcd.urls], user: null, tls: null });
});
test.after(() => {
  client?.close();
  etcd?.close();
});

const at = (port: number) => ({ ip: '127.0.0.1', port });

/** A group of its own for each test, whose members end with it. */
class Scene {
  readonly keys = new Keys(`solo${++groups}`);
  readonly desk = new GroupDesk(client, this.keys);
  private readonly solos: Solo[] = [];

  private optionsOf(name: string, more: Partial<SoloOptions>): SoloOptions {
    return { url: etcd.urls, group: this.keys.group, name, ...more };
  }

  async start(name: string, more: Partial<SoloOptions> = {}): Promise<Solo> {
    const solo = await Solo.start(this.optionsOf(name, more));
    this.solos.push(solo);
    return solo;
  }

  async make(name: string, more: Partial<SoloOptions> = {}): Promise<Solo> {
    const solo = await Solo.make(this.optionsOf(name, more));
    this.solos.push(solo);
    return solo;
  }

  async subscribe(count: number): Promise<void> {
    for (let port = 1; port <= count; port++) await this.desk.add(at(9000 + port), {});
  }

  /** What stands in etcd; null: nothing, or nothing that is an object. */
  async record(kind: 'members' | 'shards' | 'reports', name: string | number) {
    const entry = await client.get(this.keys.of(kind, name));
    if (entry === null) return null;
    try {
      return { ...JSON.parse(entry.value.toString()), lease: entry.lease };
    } catch {
      return null;
    }
  }

  put(key: string, value: string): void {
    etcd.ctl('put', key, value);
  }

  /** Members of those weights have each the shards that it is to have. */
  async settled(weights: Readonly<Record<string, number>>): Promise<void> {
    const candidates = Object.entries(weights).map(([name, weight]) => ({ name, weight }));
    const winners = Array.from({ length: SHARDS }, (_, shard) => winnerOf(shard, candidates));
    const wanted = candidates.map(({ name }) => winners.filter((each) => each === name).length);
    await eventually('each shard is where it is to be', async () => {
      const { moving, members } = await this.desk.status();
      const shares = candidates.map(({ name }) => members.find(({ member }) => member === name));
      return moving === 0 && String(shares.map((row) => row?.shards)) === String(wanted);
    });
  }

  async close(): Promise<void> {
    for (const solo of this.solos) await solo.close();
  }
}

function soloTest(name: string, work: (scene: Scene) => Promise<void>): void {
  test(name, async () => {
    if (lack !== null) return console.log(`skip: ${lack}`);
    const scene = new Scene();
    try {
      await work(scene);
    } finally {
      await scene.close();
    }
  });
}

soloTest('one that joins owns and serves all; one that leaves leaves nothing', async (scene) => {
  await scene.subscribe(5);
  const a = await scene.start('a', { weight: 2, version: '1.2' });
  await eventually('all are served', () => a.served.length === 5);
  const { lease, ...record } = await scene.record('members', 'a');
  assert.is(lease, a.member.inheritance.lease);
  assert.equal([record.weight, record.version, record.isDraining], [2, '1.2', false]);
  assert.equal([a.member.row.shards, a.member.row.standing], [SHARDS, 'joined']);
  assert.equal(a.member.membership, {
    ...{ group: scene.keys.group, member: 'a', reachesRegistry: true },
  });
  await a.close();
  assert.equal(a.served, []);
  assert.is(await client.timeToLive(lease), -1);
  const { entries } = await client.read(scene.keys.prefix, `${scene.keys.prefix.slice(0, -1)}0`);
  // only who is subscribed is left, and nobody waits for it
  assert.equal(
    entries.map(({ key }) => key),
    [1, 2, 3, 4, 5].map((port) => scene.keys.of('subscribers', `127.0.0.1:${9000 + port}`)),
  );
  await a.close();
});

soloTest('two share by weight; what one leaves the other has', async (scene) => {
  await scene.subscribe(40);
  const a = await scene.start('a');
  const b = await scene.start('b', { weight: 3 });
  await scene.settled({ a: 1, b: 3 });
  const candidates = [
    { name: 'a', weight: 1 },
    { name: 'b', weight: 3 },
  ];
  const expected = (name: string) =>
    Array.from({ length: 40 }, (_, i) => at(9001 + i))
      .filter((to) => winnerOf(shardOf(to), candidates) === name)
      .map(({ ip, port }) => `${ip}:${port}`)
      .sort();
  await eventually('each serves its own', () => {
    return `${a.served}` === `${expected('a')}` && `${b.served}` === `${expected('b')}`;
  });
  assert.ok(expected('a').length > 0 && expected('b').length > expected('a').length);
  await b.close();
  await eventually('the other has all', () => a.served.length === 40);
  assert.is(await scene.record('members', 'b'), null);
});

soloTest(
  'a name that lives is refused, and that member goes on; a dead one’s is waited for',
  async (scene) => {
    const a = await scene.start('a');
    const { lease } = await scene.record('members', 'a');
    const second = await scene.make('a');
    const refusal = await second.start().then(String, String);
    assert.match(refusal, /a member a of solo\d+ lives already \(http:\/\/127\.0\.0\.1:1\)/);
    assert.is((await scene.record('members', 'a')).lease, lease);
    assert.is(a.member.row.standing, 'joined');
    // one whose lease nobody keeps alive
    const dead = await client.grant(3);
    const record = await scene.record('members', 'a');
    const write = [
      { put: scene.keys.of('members', 'b'), value: JSON.stringify(record), lease: dead.id },
    ];
    await client.transact({ when: [], write });
    const b = await scene.start('b');
    assert.is((await scene.record('members', 'b')).lease, b.member.inheritance.lease);
    assert.is.not(b.member.inheritance.lease, dead.id);
  },
);

soloTest('a registration that is removed or written over is written again', async (scene) => {
  await scene.subscribe(3);
  const a = await scene.start('a', { weight: 2 });
  const key = scene.keys.of('members', 'a');
  const before = await scene.record('members', 'a');
  const isBack = async () =>
    JSON.stringify(await scene.record('members', 'a')) === JSON.stringify(before);
  for (const value of ['nonsense', '{}', JSON.stringify({ ...before, weight: 9 })]) {
    scene.put(key, value);
    await eventually(`it is back after ${value}`, isBack);
  }
  etcd.ctl('del', key);
  await eventually('it is back after a removal', isBack);
  // a change is followed, so that it does what it is told again
  await scene.desk.add(at(9100), {});
  await eventually('it serves who has come', () => a.served.length === 4);
  assert.is(a.member.row.faults, 0);
  assert.is(a.failure, null);
});

soloTest(
  'why a relay is not served and why a subscriber at its address is not are told apart',
  async (scene) => {
    const top = await scene.start('top');
    const leaf = await scene.start('leaf', { upstream: 'top' });
    const rowOf = async (name: string) => {
      const row = (await scene.desk.status()).members.find(({ member }) => member === name);
      if (row === undefined) throw new Error(`there is no ${name}`);
      return row;
    };
    await eventually('the relay is fed', () => top.target.rows.size > 0);
    const fed = [...top.target.rows.values()].map(({ endpoint }) => endpoint);
    const [listen] = fed;
    assert.is(fed.length, 1, 'the relay alone');
    assert.ok(listen !== undefined);
    // an operator takes the relay for a subscriber
    await scene.desk.add(listen, {});
    await scene.desk.move(listen, 'top');
    await eventually('the upstream says that it is none', async () => {
      return (await rowOf('top')).reasons.some(({ reason }) => /^member leaf /.test(reason));
    });
    assert.is((await rowOf('leaf')).upstream_state, 'feeds');
    assert.is(leaf.member.row.upstream_state, 'feeds');
    const { refused_relays, unserved } = await rowOf('top');
    assert.equal([refused_relays, unserved], [[], 1]);
    assert.is(top.target.rows.size, 1, 'it has its feed all the while');
  },
);

soloTest('a relay for which there is no room is told by its name', async (scene) => {
  const top = await scene.start('top', { rowsMax: 0 });
  const leaf = await scene.start('leaf', { upstream: 'top' });
  await eventually('it is refused', () => leaf.member.row.upstream_state === 'refuses');
  const [row] = (await scene.desk.status()).members.filter(({ member }) => member === 'top');
  assert.equal(row?.refused_relays, [{ member: 'leaf', reason: '0 subscribers are served' }]);
  assert.equal([row?.reasons, row?.unserved, top.member.row.unserved], [[], 1, 1]);
});

soloTest(
  'of two relays at one address who started last is fed, and the other is told',
  async (scene) => {
    const top = await scene.start('top');
    const about = { upstream: 'top', listenPort: 9999 };
    const first = await scene.start('leaf-b', { ...about, startedAt_ms: 1 });
    await eventually('it is fed', () => top.target.rows.size === 1);
    const last = await scene.start('leaf-a', { ...about, startedAt_ms: 2 });
    await eventually('it is refused', () => first.member.row.upstream_state === 'refuses');
    const rowOf = async () => {
      const { members } = await scene.desk.status();
      return members.find(({ member }) => member === 'top')?.refused_relays;
    };
    const reason = 'member leaf-a takes its feed at 127.0.0.2:9999, too';
    assert.equal(await rowOf(), [{ member: 'leaf-b', reason }]);
    assert.is(last.member.row.upstream_state, 'feeds');
    assert.equal(top.member.row.relays, ['leaf-a', 'leaf-b']);
    await last.close();
    await eventually('it is fed again', () => first.member.row.upstream_state === 'feeds');
    assert.equal([top.target.rows.size, await rowOf()], [1, []]);
  },
);

soloTest('a report that is removed or written over is written again', async (scene) => {
  const a = await scene.start('a');
  const key = scene.keys.of('reports', 'a');
  await eventually('it has told', async () => (await scene.record('reports', 'a')) !== null);
  const before = await scene.record('reports', 'a');
  const { lease, ...told } = before;
  const isBack = async () =>
    JSON.stringify(await scene.record('reports', 'a')) === JSON.stringify(before);
  // right, and under its lease: nothing about it says that the member did not write it
  const value = JSON.stringify({ ...told, unserved: 7, handover: 9 });
  await client.transact({ when: [], write: [{ put: key, value, lease }] });
  await eventually('it is back after another value', isBack);
  const other = await client.grant(60);
  await client.transact({ when: [], write: [{ put: key, value, lease: other.id }] });
  await eventually('it is back after one of another lease', isBack);
  scene.put(key, 'nonsense');
  await eventually('it is back after nonsense', isBack);
  etcd.ctl('del', key);
  await eventually('it is back after a removal', isBack);
  // and is left alone then
  const revision = async () => (await client.get(key))?.modRevision;
  const last = await revision();
  await sleep(2500);
  assert.is(await revision(), last);
  assert.is(a.member.row.faults, 0);
});

soloTest('a registration that nobody wrote keeps no name, no shard and no relay', async (scene) => {
  const record = {
    ...{ weight: 1, isDraining: false, control: 'http://127.0.0.1:1', version: '1' },
    listen: at(1),
  };
  for (const name of ['a', 'ghost'])
    scene.put(scene.keys.of('members', name), JSON.stringify({ ...record, upstream: 'a' }));
  scene.put(scene.keys.of('shards', 7), '{"owner":"ghost"}');
  const a = await scene.start('a');
  await eventually('it has all', () => a.member.row.shards === SHARDS);
  const { members, faults } = await scene.desk.status();
  assert.equal(
    members.map(({ member }) => member),
    ['a'],
  );
  assert.equal(
    faults.map(({ key, wrong }) => [key, /goes with no lease/.test(wrong)]),
    [[scene.keys.of('members', 'ghost'), true]],
  );
  assert.equal(await scene.desk.drain('a'), { draining: true });
});

soloTest('nonsense in keys of shards is mended at once by who serves them', async (scene) => {
  await scene.subscribe(30);
  const a = await scene.start('a');
  const b = await scene.start('b');
  await scene.settled({ a: 1, b: 1 });
  await eventually('all are served', () => a.served.length + b.served.length === 30);
  const owners = await Promise.all([0, 1, 2, 3].map((shard) => scene.record('shards', shard)));
  const served = [a.served, b.served];
  for (const [shard, value] of ['no json', '{}', '{"owner":"b"}', '[7]'].entries())
    scene.put(scene.keys.of('shards', shard), value);
  await eventually('all are mended', async () => {
    const now = await Promise.all([0, 1, 2, 3].map((shard) => scene.record('shards', shard)));
    return JSON.stringify(now) === JSON.stringify(owners);
  });
  assert.equal([a.served, b.served], served);
  assert.equal((await scene.desk.status()).faults, []);
});

soloTest(
  'nonsense in the key of a shard that nobody serves is mended after a lease',
  async (scene) => {
    await scene.subscribe(3);
    for (const shard of [7, shardOf(at(9001))])
      scene.put(scene.keys.of('shards', shard), '\u001b[2J');
    const began_ms = performance.now();
    const a = await scene.start('a');
    await sleep(1000);
    const before = await scene.desk.status();
    assert.equal([before.free_shards, before.fault_count], [2, 2]);
    assert.is(a.member.row.faults, 2);
    assert.is(a.served.includes('127.0.0.1:9001'), false, 'whoever had it may serve it still');
    await eventually('it is served', () => a.served.length === 3);
    assert.ok(performance.now() - began_ms > 10_000);
    const after = await scene.desk.status();
    assert.equal([after.free_shards, after.fault_count], [0, 0]);
  },
);

soloTest(
  'nonsense in any other key is told and counted, and nothing else comes of it',
  async (scene) => {
    await scene.subscribe(3);
    const a = await scene.start('a');
    await eventually('all are served', () => a.served.length === 3);
    const { keys } = scene;
    const wrong = [
      ...[
        keys.of('feeds', 'b'),
        keys.of('feeds', 'No Feed'),
        keys.of('subscribers', '127.0.0.1:9003'),
      ],
      ...[
        keys.of('filters', 'mine'),
        keys.of('filters', 'rewrite'),
        keys.of('pins', 5),
        keys.of('pins', 256),
      ],
      ...[keys.of('modules', 'short'), keys.of('lasting', 'no/name'), keys.of('reports', 'x')],
      ...[keys.default, `${keys.default}/more`, `${keys.prefix}what/is/this`],
    ];
    for (const key of wrong) scene.put(key, '{"nonsense":');
    await eventually('all are counted', () => a.member.row.faults === wrong.length);
    // whose value says nothing is served no more; the others are
    await eventually('two are left', () => a.served.length === 2);
    const { faults, fault_count } = await scene.desk.status();
    assert.equal(faults.map(({ key }) => key).sort(), [...wrong].sort());
    assert.is(fault_count, wrong.length);
    await scene.desk.add(at(9003), {});
    await scene.desk.filterUnload('mine');
    for (const key of wrong) etcd.ctl('del', key);
    await scene.desk.add(at(9003), {});
    await eventually(
      'all are served again',
      () => a.served.length === 3 && a.member.row.faults === 0,
    );
  },
);

soloTest(
  'the next supervisor registers what it is: another weight, another version',
  async (scene) => {
    await scene.subscribe(3);
    const first = await scene.start('a', { weight: 1, version: '1' });
    await eventually('all are served', () => first.served.length === 3);
    const before = await scene.record('members', 'a');
    const second = await scene.start('a', { weight: 5, version: '2', before: await first.kill() });
    const after = await scene.record('members', 'a');
    assert.equal([after.weight, after.version, after.lease], [5, '2', before.lease]);
    assert.is(second.served.length, 3);
    // and one that finds no etcd, once there is one
    const before2 = await second.kill();
    const third = await scene.make('a', { weight: 7, version: '3', before: before2 });
    third.line.cut();
    await third.start();
    assert.is((await scene.record('members', 'a')).weight, 5);
    third.line.mend();
    await eventually('it is said', async () => {
      const { weight, version, lease } = (await scene.record('members', 'a')) ?? {};
      return weight === 7 && version === '3' && lease === before.lease;
    });
    assert.is(third.served.length, 3);
  },
);

soloTest(
  'a member was started when its data path was, whoever has adopted that since',
  async (scene) => {
    const started = async () => (await scene.desk.status()).members[0]?.started_at_ms;
    const first = await scene.start('a', { startedAt_ms: 1000 });
    assert.is(await started(), 1000);
    // by one that is as it was, and by one that registers something else
    const second = await scene.start('a', { startedAt_ms: 2000, before: await first.kill() });
    assert.is(await started(), 1000);
    const before = await second.kill();
    const third = await scene.start('a', { startedAt_ms: 3000, version: '2', before });
    assert.is((await scene.record('members', 'a')).version, '2');
    assert.is(await started(), 1000);
    // and where the lease has ended meanwhile
    const left = await third.kill();
    await client.revoke(left.left.lease);
    await scene.start('a', { startedAt_ms: 4000, before: left });
    assert.is(await started(), 1000);
  },
);

soloTest('one that drains is not made to stay by its next supervisor', async (scene) => {
  const first = await scene.start('a');
  const b = await scene.start('b');
  await scene.settled({ a: 1, b: 1 });
  const left = await first.kill();
  await scene.desk.drain('a');
  const second = await scene.start('a', { weight: 5, before: left });
  await eventually('it has handed all over', () => second.isDrained);
  assert.equal([second.served, b.member.row.shards], [[], SHARDS]);
});

test.run();
