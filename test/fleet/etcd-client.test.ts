/**
 * takes: 12 s
 *
 * Goal: etcd is read, changed and followed by its JSON gateway as the member relies on it. Method:
 * a real etcd of one node on loopback, whose own client (etcdctl) changes keys beside ours; it is
 * killed, compacted and restarted; an endpoint that never answers is a socket that accepts.
 *
 * needs: a link
 */
import { createServer, type Server } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EtcdAway, EtcdRefusal } from '../../src/fleet/etcd/answers.js';
import type { EtcdOptions } from '../../src/fleet/etcd/gateway.js';
import { Etcd as Client } from '../../src/fleet/etcd/store.js';
import { Follower, readGroup } from '../../src/fleet/registry/follower.js';
import { Keys } from '../../src/fleet/registry/keys.js';
import { Mirror } from '../../src/fleet/registry/mirror.js';
import { Etcd, lackForEtcd } from '../rig/fleet/etcd.js';
import { Line } from '../rig/fleet/line.js';
import { eventually } from '../rig/program.js';

const lack = lackForEtcd();
const test = suite('the client of etcd');
let etcd: Etcd;
const clients: Client[] = [];
/** A group of its own for each test. */
let keys: Keys;
let groups = 0;

test.before(async () => {
  if (lack === null) etcd = await Etcd.local();
});
test.before.each(() => {
  groups += 1;
  keys = new Keys(`g${groups}`);
});
test.after.each(() => {
  for (const client of clients.splice(0)) client.close();
});
test.after(() => etcd?.close());

function client(options: Partial<EtcdOptions> = {}): Client {
  const made = new Client({ endpoints: [etcd.urls], user: null, tls: null, ...options });
  clients.push(made);
  return made;
}

const put = (key: string, value: string) => ({ when: [], write: [{ put: key, value }] });

async function thrownBy(work: () => Promise<unknown>): Promise<Error> {
  try {
    await work();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

/** A mirror that is kept true until the end of the test. */
async function follow(made = client()): Promise<{ mirror: Mirror; close(): Promise<void> }> {
  const mirror = new Mirror(keys);
  const follower = new Follower(made, keys, mirror, () => {});
  await follower.read();
  follower.start();
  return { mirror, close: () => follower.close() };
}

function etcdTest(name: string, work: () => Promise<void>): void {
  test(name, async () => {
    if (lack === null) await work();
    else console.log(`skip: ${lack}`);
  });
}

etcdTest(
  'what etcdctl writes is read, and the other way round; a range of many pages is whole',
  async () => {
    const made = client();
    etcd.ctl('put', keys.of('feeds', 'b'), '{"ip":"239.1.1.1","port":5000}');
    assert.is(
      (await made.get(keys.of('feeds', 'b')))?.value.toString(),
      '{"ip":"239.1.1.1","port":5000}',
    );
    assert.is(await made.get(keys.of('feeds', 'c')), null);
    const many = Array.from({ length: 2500 }, (_, i) =>
      keys.of('subscribers', `10.0.0.1:${i + 1}`),
    );
    const outcomes = await made.transactAll(many.map((key) => put(key, '{}')));
    assert.is(outcomes.filter(({ isDone }) => isDone).length, 2500);
    const { entries, revision } = await readGroup(made, keys);
    assert.is(entries.length, 2501);
    assert.ok(revision > 0);
    const first = many[0] ?? '';
    assert.match(etcd.ctl('get', first, '--print-value-only'), /^\{\}/);
    etcd.ctl('del', '--prefix', keys.prefix);
  },
);

etcdTest(
  'a transaction does all or nothing; of several that go together each is by itself',
  async () => {
    const made = client();
    const [a, b] = [keys.of('shards', 1), keys.of('shards', 2)];
    const make = (key: string) => {
      return { when: [{ key, isAbsent: true } as const], write: [{ put: key, value: 'x' }] };
    };
    assert.is((await made.transact(make(a))).isDone, true);
    assert.is((await made.transact(make(a))).isDone, false);
    const both = await made.transactAll([make(a), make(b)]);
    assert.equal(
      both.map(({ isDone }) => isDone),
      [false, true],
    );
    const held = await made.get(b);
    const change = (modRevision: number) => {
      return { when: [{ key: b, modRevision }], write: [{ put: b, value: 'y' }, { remove: a }] };
    };
    assert.is((await made.transact(change((held?.modRevision ?? 0) - 1))).isDone, false);
    assert.is((await made.get(a))?.value.toString(), 'x', 'nothing of it was done');
    assert.is((await made.transact(change(held?.modRevision ?? 0))).isDone, true);
    assert.is(await made.get(a), null);
    const gone = { when: [{ key: a, isPresent: true } as const], write: [{ remove: a }] };
    assert.is((await made.transact(gone)).isDone, false);
  },
);

etcdTest('a lease is kept, tells when it was asked for, and takes its keys with it', async () => {
  const made = client();
  const { mirror, close } = await follow();
  const before = process.hrtime.bigint();
  const lease = await made.grant(10);
  assert.ok(lease.sent_ns >= before && lease.sent_ns <= process.hrtime.bigint());
  assert.is(lease.ttl_s, 10);
  const key = keys.of('shards', 7);
  const write = [{ put: key, value: '{"owner":"a"}', lease: lease.id }];
  await made.transact({ when: [], write });
  const kept = await made.keepAlive(lease.id);
  assert.is(kept?.ttl_s, 10);
  assert.ok((kept?.sent_ns ?? 0n) > lease.sent_ns);
  await eventually('it is seen', () => mirror.shards.get(7)?.lease === lease.id);
  // another one's write leaves it with its owner's lease
  await made.transact({ when: [], write: [{ put: key, value: '{"owner":"b"}', lease: 'keep' }] });
  assert.is((await made.get(key))?.lease, lease.id);
  await made.revoke(lease.id);
  await eventually('its end is seen', () => !mirror.shards.has(7));
  assert.is(await made.keepAlive(lease.id), null);
  assert.is(await made.timeToLive(lease.id), -1);
  await close();
});

etcdTest(
  'a mirror follows, goes on after etcd was away, and reads all again after a compaction',
  async () => {
    const made = client();
    const { mirror, close } = await follow();
    await made.transact(put(keys.of('feeds', 'b'), '{"ip":"239.1.1.1","port":5000}'));
    await eventually('the feed is seen', () => mirror.feeds.get('b')?.port === 5000);
    await etcd.end('SIGKILL');
    const away = await thrownBy(() => made.get(keys.default));
    assert.instance(away, EtcdAway);
    assert.match(away.message, /does not answer: http:\/\/127.*ECONNREFUSED/);
    await etcd.start();
    await made.transact(put(keys.of('feeds', 'c'), '{"ip":"239.1.1.2","port":5000}'));
    await eventually('what came later is seen', () => mirror.feeds.has('c'));
    await close();
    // while nobody hears: more than one change, and what was before them is compacted away
    const line = await Line.open(etcd.urls);
    const late = await follow(client({ endpoints: [line.url] }));
    line.cut();
    etcd.ctl('del', keys.of('feeds', 'b'));
    etcd.ctl('put', keys.of('feeds', 'd'), '{"ip":"239.1.1.3","port":5000}');
    const now = JSON.parse(etcd.ctl('get', 'nothing', '-w', 'json')).header.revision;
    etcd.ctl('compact', String(now));
    assert.equal([...late.mirror.feeds.keys()], ['b', 'c']);
    assert.ok(now > late.mirror.revision + 1);
    line.mend();
    const { feeds } = late.mirror;
    await eventually('all of it is seen', () => feeds.has('d') && !feeds.has('b'));
    await late.close();
    line.close();
    const stale = new Mirror(keys);
    stale.fill([], 1); // a revision that is compacted
    const follower = new Follower(made, keys, stale, () => {});
    follower.start();
    await eventually('it reads all again', () => stale.feeds.has('d'));
    await follower.close();
  },
);

etcdTest('an endpoint that is dead, or accepts and is silent, is passed over', async () => {
  const silent: Server = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as { port: number };
  const endpoints = ['http://127.0.0.1:1', `http://127.0.0.1:${port}`, etcd.urls];
  const made = client({ endpoints });
  await made.transact(put(keys.default, '{"filter":"mine"}'));
  assert.is(made.endpoint, etcd.urls);
  assert.is((await made.get(keys.default))?.value.toString(), '{"filter":"mine"}');
  const none = client({ endpoints: endpoints.slice(0, 2) });
  const away = await thrownBy(() => none.keepAlive('1'));
  assert.instance(away, EtcdAway);
  silent.close();
});

etcdTest('what etcd refuses is told as it says it', async () => {
  const made = client();
  const refused = await thrownBy(() =>
    made.transact({ when: [], write: [{ put: keys.default, value: 'x', lease: '4711' }] }),
  );
  assert.instance(refused, EtcdRefusal);
  assert.match(refused.message, /requested lease not found/);
});

etcdTest(
  'a value that does not parse, or a key that is none, is passed over and told',
  async () => {
    const made = client();
    const told: string[] = [];
    const mirror = new Mirror(keys, (key, wrong) => told.push(`${key} ${wrong}`));
    const right = '{"feeds":["main"],"later":"a field of another version"}';
    const values: [string, string][] = [
      [keys.of('subscribers', '10.0.0.1:1'), right],
      [keys.of('subscribers', '10.0.0.1:2'), 'no json'],
      [keys.of('subscribers', '10.0.0.1:3'), '{"feeds":[]}'],
      [keys.of('subscribers', '10.0.0.300:4'), '{}'],
      [keys.of('subscribers', '10.0.0.1:5'), '{"param":"hex:0"}'],
      [keys.of('members', 'a'), '{"weight":0}'],
      [keys.of('shards', '999'), '{"owner":"a"}'],
      [keys.of('filters', 'mine'), '{"sha256":"short"}'],
      [`${keys.prefix}nonsense`, '1'],
      [keys.default, '[]'],
    ];
    for (const [key, value] of values) await made.transact(put(key, value));
    const { entries, revision } = await readGroup(made, keys);
    mirror.fill(entries, revision);
    assert.is(mirror.subscriberCount, 1);
    assert.is(mirror.faults.size, values.length - 1);
    assert.is(told.length, values.length - 1);
    assert.is(mirror.members.size + mirror.shards.size + mirror.filters.size, 0);
    // mended, and gone
    await made.transact(put(keys.of('subscribers', '10.0.0.1:2'), '{}'));
    await made.transact({ when: [], write: [{ remove: keys.default }] });
    const again = await readGroup(made, keys);
    mirror.fill(again.entries, again.revision);
    assert.is(mirror.subscriberCount, 2);
    assert.is(mirror.faults.size, values.length - 3);
    assert.is(mirror.faults.has(keys.default), false);
  },
);

// last, since whoever comes after it needs a password
etcdTest(
  'a user and its password are shown, and shown again once etcd knows the token no more',
  async () => {
    etcd.ctl('user', 'add', 'root:root-password');
    etcd.ctl('user', 'grant-role', 'root', 'root');
    etcd.ctl('auth', 'enable');
    const made = client({ user: { name: 'root', password: 'root-password' } });
    await made.transact(put(keys.default, '{"filter":"mine"}'));
    await etcd.end('SIGKILL'); // simple tokens are in its memory
    for (const node of etcd.nodes) node.start();
    await eventually('it answers again', async () => {
      const entry = await made.get(keys.default).catch(() => null);
      return entry?.value.toString() === '{"filter":"mine"}';
    });
    const stranger = await thrownBy(() => client().get(keys.default));
    assert.match(stranger.message, /user name is empty|invalid auth token/);
    const wrong = client({ user: { name: 'root', password: 'x' } });
    const refused = await thrownBy(() => wrong.get(keys.default));
    assert.match(refused.message, /authentication failed/);
  },
);

test.run();
