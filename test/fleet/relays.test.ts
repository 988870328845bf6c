/**
 * Goal: members feed members. Of three levels of them, nine in all, every subscriber gets every
 * packet once and in order, and each member tells what its packets pass; nobody takes its feed from
 * itself, however members start. Method: an etcd, members in namespaces on one bridge of which the
 * top alone hears the feed, and what arrives.
 *
 * needs: a link
 * takes: 60 s
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FleetTarget } from '../../src/domain/fleet.js';
import type { FleetConfig } from '../../src/fleet/config.js';
import { Etcd as Client, type Condition } from '../../src/fleet/etcd/store.js';
import { Registration } from '../../src/fleet/member/registration.js';
import { Keys } from '../../src/fleet/registry/keys.js';
import { Mirror } from '../../src/fleet/registry/mirror.js';
import { chainOf, HOPS_MAX } from '../../src/fleet/relays/chain.js';
import { Relays } from '../../src/fleet/relays/relays.js';
import { Etcd, lackForEtcd } from '../rig/fleet/etcd.js';
import { FEED_GROUP, Fleet, lackForFleet } from '../rig/fleet/fleet.js';
import type { Member } from '../rig/fleet/member.js';
import { accountsOf, faultsOf, newest } from '../rig/fleet/oracle.js';
import { eventually } from '../rig/program.js';

/** Where nobody asks. */
const control = 'http://127.0.0.1:1';
const test = suite('relays');

// ---- who takes its feed from whom ---------------------------------------------------------------

const keys = new Keys('g');

/** An etcd that holds registrations alone: upstreams by member. */
function registered(upstreams: Readonly<Record<string, string | null>>) {
  const known = new Map(
    Object.entries(upstreams).map(([name, upstream], index) => {
      const listen = { ip: '10.0.0.1', port: 1 };
      const record = { weight: 1, isDraining: false, control, listen, version: '', upstream };
      const key = keys.of('members', name);
      const value = Buffer.from(JSON.stringify(record));
      const revision = index + 1;
      return [key, { key, value, modRevision: revision, createRevision: revision, lease: '1' }];
    }),
  );
  return { etcd: { get: (key: string) => Promise.resolve(known.get(key) ?? null) }, keys };
}

test('a chain goes up to the top, and must be so still when the member registers', async () => {
  const group = registered({ top: null, mid: 'top' });
  const { path, when } = await chainOf(group, 'leaf', 'mid');
  assert.equal(path, ['mid', 'top']);
  const wanted: Condition[] = [
    { key: keys.of('members', 'mid'), modRevision: 2 },
    { key: keys.of('members', 'top'), modRevision: 1 },
  ];
  assert.equal(when, wanted);
  assert.equal(await chainOf(group, 'top', null), { path: [], when: [] });
});

test('one that is not there yet must be absent still', async () => {
  const { path, when } = await chainOf(registered({ mid: 'top' }), 'leaf', 'mid');
  assert.equal(path, ['mid', 'top']);
  assert.equal(when.at(-1), { key: keys.of('members', 'top'), isAbsent: true });
});

test('nobody takes its feed from itself, also where a registration further up is newer', async () => {
  const refused = async (upstreams: Record<string, string | null>, member: string, up: string) =>
    chainOf(registered(upstreams), member, up).then(
      () => 'accepted',
      (error: Error) => error.message,
    );
  assert.match(
    await refused({ a: 'b' }, 'b', 'a'),
    /^--upstream a: b would take its feed from itself \(b from a from b\)/,
  );
  // b was at the top when a registered, and has started again with d since
  assert.match(await refused({ a: 'b', b: 'd' }, 'd', 'a'), /d from a from b from d/);
  const long = Object.fromEntries(
    Array.from({ length: HOPS_MAX + 1 }, (_, i) => [`m${i}`, `m${i + 1}`]),
  );
  assert.match(await refused(long, 'm', 'm0'), /16 may be/);
});

test('a relay is served as long as it is registered, where it listens, and no other', () => {
  const table = new Set<string>();
  const target: Pick<FleetTarget, 'place' | 'remove'> = {
    place: ({ endpoint, feeds, filter }) => {
      assert.equal([feeds, filter], [['main'], 'rewrite']);
      table.add(`${endpoint.ip}:${endpoint.port}`);
    },
    remove: ({ ip, port }) => table.delete(`${ip}:${port}`),
  };
  const record = (ip: string, upstream: string | null) => ({
    ...{ weight: 1, isDraining: false, control, version: '', path: [], upstream },
    ...{ listen: { ip, port: 1 }, startedAt_ms: null, modRevision: 1, lease: '1' },
  });
  const members = new Map([
    ['me', record('10.0.0.1', null)],
    ['one', record('10.0.0.2', 'me')],
    ['two', record('10.0.0.3', 'one')],
  ]);
  const relays = new Relays({ target, mirror: { members }, member: 'me' });
  relays.apply();
  assert.equal(
    [[...table], relays.names, relays.at('10.0.0.2:1')],
    [['10.0.0.2:1'], ['one'], 'one'],
  );
  members.set('two', record('10.0.0.3', 'me'));
  members.delete('one');
  relays.apply();
  assert.equal([...table], ['10.0.0.3:1']);
});

test('of two that start at once and would feed each other one is refused, each time', async () => {
  const lack = lackForEtcd();
  if (lack !== null) return console.log(`skip: ${lack}`);
  const etcd = await Etcd.local();
  const client = new Client({ endpoints: [etcd.urls], user: null, tls: null });
  try {
    for (let round = 0; round < 20; round++) {
      const group = `loop${round}`;
      const of = new Keys(group);
      const start = async (member: string, upstream: string) => {
        const config: FleetConfig = {
          ...{ etcd: { endpoints: [], user: null, tls: null }, group, member, upstream, weight: 1 },
          whenIsolated: 'serve',
          allowedModules: 'any',
        };
        const listen = { ip: '10.0.0.1', port: 1 };
        const about = { listen, upstream, path: [], version: '', startedAt_ms: null };
        const parts = { etcd: client, keys: of, mirror: new Mirror(of), config, about };
        const registration = new Registration(parts);
        registration.control = control;
        await registration.register((await client.grant(60)).id);
      };
      const outcomes = await Promise.allSettled([start('a', 'b'), start('b', 'a')]);
      const refused = outcomes.filter((each) => each.status === 'rejected');
      assert.is(refused.length, 1, JSON.stringify(outcomes));
      assert.match(String(refused[0]?.reason), /would take its feed from itself/);
    }
  } finally {
    client.close();
    etcd.close();
  }
});

// ---- three levels -------------------------------------------------------------------------------

/** By member: whom it takes its feed from. */
const UPSTREAMS: Readonly<Record<string, string | null>> = {
  ...{ m1: null, m2: 'm1', m3: 'm1' },
  ...{ m4: 'm2', m5: 'm2', m6: 'm2', m7: 'm3', m8: 'm3', m9: 'm3' },
};
const COUNT = 45;
const RATE = 100;
const PACKETS = 400;
const TOKEN = 'of-the-tests';
const folder = mkdtempSync(join(tmpdir(), 'relays-'));
let fleet: Fleet | null = null;
test.after(() => {
  fleet?.close();
  rmSync(folder, { recursive: true });
});

async function open(): Promise<Fleet> {
  const tokenFile = join(folder, 'token');
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const opened = await Fleet.open({
    ...{ etcd: 1, members: 9, subscribers: { addresses: COUNT, each: 1 }, tokenFile },
    listen: ({ name, ip }) => (UPSTREAMS[name] === null ? FEED_GROUP : { ...FEED_GROUP, ip }),
    flags: ({ name, ip }, etcd) => [
      ...['--layout', 'inline', '--workers', '1', '--token-file', tokenFile],
      ...['--control', `${ip}:12345`, '--member', name],
      ...['--fleet', `${etcd.urls}/relays`, '--fleet-plaintext'],
      ...(UPSTREAMS[name] ? ['--upstream', UPSTREAMS[name]] : []),
    ],
  });
  fleet = opened;
  await opened.etcd.start();
  for (const { ip, port } of opened.subscribers)
    opened.etcd.ctl('put', `/fantail/relays/subscribers/${ip}:${port}`, '{}');
  return opened;
}

const named = ({ members }: Fleet, name: string): Member => {
  const found = members.find(({ host }) => host.name === name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
};

const fleetOf = async (member: Member) => {
  const { fleet: row } = await member.channel.stats();
  if (row === undefined) throw new Error('it is no member');
  return row;
};

async function settle(opened: Fleet): Promise<void> {
  await eventually('each shard is served, and each relay is fed', async () => {
    const rows = await Promise.all(opened.members.map(fleetOf));
    const shards = rows.reduce((sum, row) => sum + row.shards, 0);
    const subscribers = rows.reduce((sum, row) => sum + row.subscribers, 0);
    const fed = rows.reduce((sum, { relays, unserved }) => sum + relays.length - unserved, 0);
    return shards === 256 && subscribers === COUNT && fed === 8;
  });
}

/** Each gets all of them, once and in order, from one member; some of each level serve. */
async function judge(opened: Fleet): Promise<void> {
  await opened.served.reset();
  opened.startFeed(RATE);
  await eventually('packets have come', async () => {
    return newest((await opened.served.look()).runs) >= PACKETS;
  });
  const { sent, look } = await opened.stopFeed();
  const accounts = accountsOf(look.runs, COUNT, { first: 0, last: sent - 1 });
  assert.equal(accounts.flatMap(faultsOf), [], opened.told());
  assert.is(look.runs.length, COUNT, 'a run each: what is out of order would begin another');
  assert.equal([look.ring_drops, look.corrupt, look.unexpected], [0, 0, 0]);
  const senders = new Set(look.runs.map(({ sender }) => sender));
  assert.equal([...senders].sort(), opened.members.map(({ ip }) => ip).sort());
}

test('of three levels of members every subscriber gets every packet once, in order', async () => {
  const lack = lackForFleet();
  if (lack !== null) return console.log(`skip: ${lack}`);
  const opened = await open();
  // the last first: a relay may start before its upstream
  await Promise.all([...opened.members].reverse().map((member) => member.start()));
  await settle(opened);
  await judge(opened);
});

test('a member tells what its packets pass, as each of those tells of itself', async () => {
  if (fleet === null) return console.log('skip: there is no group');
  const leaf = named(fleet, 'm9');
  fleet.startFeed(RATE);
  try {
    await eventually('all hops are told', async () => {
      const { hops, upstream, relays } = await fleetOf(leaf);
      assert.equal(
        [hops.map(({ member }) => member), upstream, relays],
        [['m1', 'm3', 'm9'], 'm3', []],
      );
      return hops.every(({ inside_ns, link_us }, i) => {
        const isTimed = inside_ns !== null && inside_ns.p50 > 0 && inside_ns.p99 >= inside_ns.p50;
        return isTimed && (i === 0 ? link_us === null : (link_us ?? 0) > 0);
      });
    });
  } finally {
    await fleet.stopFeed();
  }
  assert.equal((await fleetOf(named(fleet, 'm3'))).relays, ['m7', 'm8', 'm9']);
});

test('an upstream is not drained, and a member that would feed itself does not start', async () => {
  if (fleet === null) return console.log('skip: there is no group');
  const answer = await named(fleet, 'm1')
    .channel.ask({ op: 'fleet.drain', member: 'm2' })
    .then(JSON.stringify, String);
  assert.match(answer, /m4, m5, m6 would have no feed: it comes from m2; stop or drain them first/);
  const two = named(fleet, 'm2');
  assert.is((await fleetOf(named(fleet, 'm4'))).upstream_state, 'feeds');
  await two.kill();
  const four = named(fleet, 'm4');
  await eventually('its relays say that they have no feed', async () => {
    return (await fleetOf(four)).upstream_state === 'absent';
  });
  const warning = /WARN: fleet: m2 is not there: this member has no feed until it is/;
  await eventually('so does its log', () => warning.test(four.told()));
  const program = await two.begin(['--upstream', 'm4']);
  assert.is((await program.wait(60_000)).status, 1, program.told());
  assert.match(
    program.told(),
    /--upstream m4: m2 would take its feed from itself \(m2 from m4 from m2\)/,
  );
});

test('a relay and its upstream that come back are fed again', async () => {
  if (fleet === null) return console.log('skip: there is no group');
  await named(fleet, 'm2').start();
  const seven = named(fleet, 'm7');
  assert.equal(await seven.stop(), { status: 0, signal: null });
  await seven.start();
  await settle(fleet);
  assert.is((await fleetOf(named(fleet, 'm4'))).upstream_state, 'feeds');
  await judge(fleet);
});

test.run();
