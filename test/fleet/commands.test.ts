/**
 * takes: 30 s
 *
 * Goal: who runs a group is told what is wrong before anything is opened, and a member does what
 * the group says or nothing, with the reason where all can read it. Method: flags as the command
 * line gives them; a real etcd of one node on loopback, the commands, and members in socket mode on
 * the loopback interface, which need no rights. Who gets what on the wire is another file's.
 *
 * needs: a link
 */
import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { connect } from '../../src/api/fantail.js';
import type { Endpoint } from '../../src/domain/endpoint.js';
import { FantailError } from '../../src/domain/errors.js';
import { filterFile } from '../../src/domain/installation.js';
import { etcdOf, fleetAddress, fleetOf } from '../../src/fleet/config.js';
import { Etcd as Client } from '../../src/fleet/etcd/store.js';
import { GroupDesk } from '../../src/fleet/registry/desk.js';
import { Keys } from '../../src/fleet/registry/keys.js';
import { shardOf } from '../../src/fleet/shards/rendezvous.js';
import { configOf, type UpFlags } from '../../src/replicator/config.js';
import { Etcd, lackForEtcd } from '../rig/fleet/etcd.js';
import { eventually, MAIN, Program } from '../rig/program.js';
import { freePort } from '../rig/replicator.js';

const test = suite('commands of a group');
const lack = lackForEtcd();
const folder = mkdtempSync(join(tmpdir(), 'fantail-fleet-'));
let etcd: Etcd;
let client: Client;
let groups = 0;

/** A group of its own for each test. */
interface Group {
  readonly url: string;
  readonly keys: Keys;
  readonly desk: GroupDesk;
}
const programs: Program[] = [];

test.before(async () => {
  if (lack !== null) return;
  etcd = await Etcd.local();
  client = new Client({ endpoints: [etcd.urls], user: null, tls: null });
});
test.after.each(async () => {
  for (const program of programs.splice(0)) {
    program.signal('SIGTERM');
    await program.wait();
  }
});
test.after(() => {
  client?.close();
  etcd?.close();
  rmSync(folder, { recursive: true });
});

function groupTest(name: string, work: (group: Group) => Promise<void>): void {
  test(name, async () => {
    if (lack !== null) return console.log(`skip: ${lack}`);
    groups += 1;
    const keys = new Keys(`desks${groups}`);
    const began_ms = performance.now();
    await work({
      ...{ keys, url: `${etcd.urls}/${keys.group}` },
      desk: new GroupDesk(client, keys),
    });
    console.log(`     ${((performance.now() - began_ms) / 1000).toFixed(1)} s: ${name}`);
  });
}

function sentenceOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  return '';
}

async function refusalOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof FantailError) return `${error.code} ${error.message}`;
    throw error;
  }
  return '';
}

interface Started {
  readonly program: Program;
  readonly control: string;
  readonly port: number;
}

/** In socket mode on loopback, ready. */
async function member({ url }: Group, name: string, ...flags: string[]): Promise<Started> {
  const [listen, port] = [await freePort(), await freePort()];
  const program = new Program(process.execPath, [
    ...[MAIN, 'up', 'lo', '127.0.0.1', String(listen), '--mode', 'socket'],
    ...['--control', `127.0.0.1:${port}`, '--fleet', url, '--member', name, ...flags],
  ]);
  programs.push(program);
  await program.line(/^ready lo .* fleet=desks\d+ member=\S+\n/m);
  return { program, port, control: `ws://127.0.0.1:${port}` };
}

/** What one command prints, or says and exits with. */
async function command(...words: string[]): Promise<{ told: string; status: number | null }> {
  const program = new Program(process.execPath, [MAIN, ...words]);
  const { status } = await program.wait();
  return { told: program.stdout + program.stderr, status };
}

// ---- flags ----

test('an address of a group has endpoints and a name; whatever else is refused with an example', () => {
  assert.equal(fleetAddress('http://10.0.0.1:2379/desks'), {
    endpoints: ['http://10.0.0.1:2379'],
    group: 'desks',
  });
  assert.equal(fleetAddress('https://a,b:1,https://c/desks').endpoints, [
    'https://a:2379',
    'https://b:1',
    'https://c:2379',
  ]);
  const wrong = ['', 'desks', 'http://a', 'http://a/', 'ftp://a/g', 'http://a/b/c', 'http://a,/g'];
  for (const word of [...wrong, 'http://a,https://b/g', 'http://u:p@a/g', 'http://a:1:2/g'])
    assert.match(
      sentenceOf(() => fleetAddress(word)),
      /^--fleet must be http:\/\/HOST/,
      word,
    );
  assert.match(
    sentenceOf(() => fleetAddress('http://a/-g')),
    /the name of a group has 1 to 63/,
  );
});

test('what does not go together is told before anything is opened', () => {
  const file = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), mode);
    return join(folder, name);
  };
  const far = fleetAddress('http://10.0.0.1:2379/g');
  const near = fleetAddress('http://127.0.0.1:2379/g');
  const tls = fleetAddress('https://10.0.0.1:2379/g');
  const cases: [() => unknown, RegExp][] = [
    [() => etcdOf(far, {}), /neither encrypted nor authentic; use https:\/\/, or say --fleet-pl/],
    [() => etcdOf(tls, { fleetCert: 'x' }), /--fleet-cert and --fleet-key are given together/],
    [() => etcdOf(near, { fleetCa: 'x' }), /are for https:\/\/ alone/],
    [() => etcdOf(tls, { fleetCa: '/nowhere' }), /cannot read --fleet-ca: ENOENT/],
    [() => etcdOf(tls, { fleetCert: file('c', 'x'), fleetKey: file('k', 'x') }), /no PEM that bel/],
    [() => etcdOf(near, { fleetUserFile: file('o', 'a:b', 0o644) }), /mend it with: chmod 600/],
    [() => etcdOf(near, { fleetUserFile: file('u', 'nothing') }), /one line, name:password/],
    [() => fleetOf({ member: 'a' }), /^--member needs --fleet too/],
    [() => fleetOf({ fleetPlaintext: true }), /^--fleet-plaintext needs --fleet too/],
    [() => fleetOf({ fleet: near, member: 'a b' }), /the name of a member has 1 to 63/],
  ];
  for (const [work, sentence] of cases) assert.match(sentenceOf(work), sentence);
  const user = { fleetUserFile: file('right', 'fantail:pass:word\n') };
  assert.equal(etcdOf(near, user).user, { name: 'fantail', password: 'pass:word' });
  // as cli/ parses them
  const flags = { fleet: near, mode: 'auto', udpChecksum: 'zero' } as unknown as UpFlags;
  const up = (more: object) => () =>
    configOf({ interfaceName: 'lo', listenIp: '127.0.0.1', listenPort: 1 }, { ...flags, ...more });
  assert.is(sentenceOf(up({})), '');
  assert.match(sentenceOf(up({ state: 'f' })), /^--state is not for a member of a group/);
  assert.match(sentenceOf(up({ filter: 'f' })), /^--filter is not for a member of a group/);
  const remote = { fleet: far, fleetPlaintext: true };
  assert.match(sentenceOf(up(remote)), /cannot at 127\.0\.0\.1; give --control IP:PORT .*--token-/);
  const control = { address: '10.0.0.5', port: 1 };
  assert.match(sentenceOf(up({ ...remote, control })), /it needs --token-file/);
});

test('subscribers and filters of a configuration file are refused with their place', async () => {
  const path = join(folder, 'f.yaml');
  const lines = ['interface: lo', 'listen-ip: 127.0.0.1', 'listen-port: 5000'];
  const more = [
    'fleet: http://127.0.0.1:1/g',
    'weight: 2',
    'subscribers:',
    '  - { ip: 127.0.0.1, port: 9 }',
  ];
  writeFileSync(path, [...lines, ...more, ''].join('\n'));
  const { told, status } = await command('config', 'check', path);
  assert.is(status, 1);
  assert.match(told, /f\.yaml:6:1: subscribers: a member of a group has those of the group/);
});

test('a group whose etcd nobody answers for is told, and nothing is started', async () => {
  const url = `http://127.0.0.1:${await freePort()}/g`;
  const asked = await command('fleet', 'status', '--fleet', url);
  assert.is(asked.status, 1);
  assert.match(asked.told, /etcd does not answer: http.*ECONNREFUSED.*nothing of the group/);
  const listen = String(await freePort());
  const place = ['up', 'lo', '127.0.0.1', listen, '--mode', 'socket'];
  const started = await command(...place, '--fleet', url);
  assert.is(started.status, 1);
  assert.match(started.told, /^fantail up: --fleet: etcd does not answer: /m);
});

// ---- the group, straight in etcd ----

groupTest('what commands write is what they read, and what members are told', async (group) => {
  const { desk, keys, url } = group;
  const at = (port: number) => ({ ip: '127.0.0.1', port });
  const added = await command(
    'fleet',
    'add',
    '127.0.0.1',
    '9001',
    '--feed',
    'main,b',
    '--fleet',
    url,
  );
  assert.equal(added, { told: 'added 127.0.0.1:9001\n', status: 0 });
  assert.equal(await desk.add(at(9001), { param: 'x' }), { existing: true });
  assert.equal((await desk.list())[0], {
    ...{ ...at(9001), feeds: ['main', 'b'], filter: null, param: 'x', paused: false },
    ...{ shard: shardOf(at(9001)), member: null },
  });
  assert.equal(await desk.pause(at(9001), true), { changed: true });
  assert.equal(await desk.pause(at(9001), true), { changed: false });
  assert.match(await refusalOf(() => desk.pause(at(9), true)), /^NOT_FOUND 127.0.0.1:9 is not/);
  const module = new Uint8Array(readFileSync(filterFile('vlan.wasm')));
  const { sha256 } = await desk.filterLoad('mine', module);
  assert.is(sha256, createHash('sha256').update(module).digest('hex'));
  assert.match(
    await refusalOf(() => desk.filterUse('other', '', null)),
    /^NOT_FOUND there is no f/,
  );
  await desk.filterUse('mine', 'id=7', at(9001));
  assert.match(
    await refusalOf(() => desk.filterUnload('mine')),
    /^BUSY filter mine answers for 1 s/,
  );
  await desk.filterUse('rewrite', '', at(9001));
  await desk.filterUse('mine', '', null);
  assert.match(await refusalOf(() => desk.filterUnload('mine')), /^BUSY .* those that name none/);
  assert.match(
    await refusalOf(() => desk.filterLoad('rewrite', module)),
    /^BAD_REQUEST .*built in/,
  );
  assert.match(
    await refusalOf(() => desk.move(at(9001), 'nobody')),
    /^NOT_FOUND .* there are: none/,
  );
  assert.match(await refusalOf(() => desk.drain('nobody')), /^NOT_FOUND there is no member nobody/);
  assert.equal(await desk.feedAdd({ name: 'b', ip: '239.1.1.1', port: 5, source: null }), {
    existing: false,
  });
  etcd.ctl('put', keys.of('subscribers', '127.0.0.1:9009'), '{"feeds":"main"}');
  const { told, status } = await command('fleet', 'status', '--json', '--fleet', url);
  assert.is(status, 0);
  const shown = JSON.parse(told);
  assert.equal(
    [shown.group, shown.members, shown.subscribers, shown.free_shards, shown.unowned],
    [keys.group, [], 1, 256, 1],
  );
  assert.equal(shown.feeds, [{ name: 'b', ip: '239.1.1.1', port: 5, source: null }]);
  assert.equal(shown.filters, [
    { name: 'mine', sha256, is_there: true, subscribers: 0, default: true },
  ]);
  assert.is(shown.faults.length, 1);
  assert.is(shown.faults[0].key, keys.of('subscribers', '127.0.0.1:9009'));
  const text = await command('fleet', 'status', '--fleet', url);
  assert.match(text.told, /subscribers\/127\.0\.0\.1:9009 is passed over: feeds: /);
  assert.equal(await desk.remove(at(9001)), { removed: true });
  assert.equal(await desk.remove(at(9001)), { removed: false });
  await desk.filterUse('rewrite', '', null);
  await desk.filterUnload('mine');
  assert.equal((await desk.status()).filters, []);
});

// ---- members ----

groupTest(
  'a name that lives is refused; a member takes no subscribers of its own',
  async (group) => {
    const { control, program } = await member(group, 'a');
    const place = ['up', 'lo', '127.0.0.1', String(await freePort()), '--mode', 'socket'];
    const second = await command(...place, '--fleet', group.url, '--member', 'a');
    assert.is(second.status, 1);
    assert.match(
      second.told,
      /a member a of desks\d+ lives already \(http:\/\/127.*--member, or stop/,
    );
    const fantail = await connect({ control });
    const to = { ip: '127.0.0.1', port: 9001 };
    const changes: [() => Promise<unknown>, string][] = [
      [() => fantail.add(to), 'fleet add'],
      [() => fantail.remove(to), 'fleet remove'],
      [() => fantail.pause(to), 'fleet pause'],
      [() => fantail.resume(to), 'fleet resume'],
      [() => fantail.feeds.add({ name: 'b', ip: '127.0.0.1', port: 1 }), 'fleet feed add'],
      [() => fantail.feeds.remove('b'), 'fleet feed remove'],
      [() => fantail.filters.load('mine', new Uint8Array(8)), 'fleet filter load'],
      [() => fantail.filters.use('rewrite'), 'fleet filter use'],
      [() => fantail.filters.unload('mine'), 'fleet filter unload'],
    ];
    for (const [ask, cure] of changes)
      assert.match(
        await refusalOf(ask),
        new RegExp(`^NOT_ALLOWED .* member a .* ask: ${cure} \\(`),
      );
    // for the group, by that same channel
    assert.equal(await fantail.fleet.add(to), { existing: false });
    await eventually('it is served', async () => (await fantail.list()).length === 1);
    const { fleet } = await fantail.stats();
    assert.equal(
      [fleet?.member, fleet?.standing, fleet?.shards, fleet?.subscribers, fleet?.unserved],
      ['a', 'joined', 256, 1, 0],
    );
    assert.equal(await fantail.fleet.remove(to), { removed: true });
    await eventually('it is not any more', async () => (await fantail.list()).length === 0);
    for (const change of ['add', 'remove'])
      await eventually(`fleet.${change} is in the log`, () =>
        program.stderr.includes(` asked: fleet.${change} 127.0.0.1 9001: ok`),
      );
    fantail.close();
  },
);

/** Whoever subscribes an address that a member listens at is not served: packets would go round. */
async function aListener(keys: Keys, listen: Endpoint, served: () => Promise<string[]>) {
  const listener = { weight: 1, isDraining: true, control: 'http://127.0.0.1:1', version: '1' };
  const strangers = keys.of('members', 'x');
  const { id: lease } = await client.grant(60);
  const write = (record: object) =>
    client.transact({
      when: [],
      write: [{ put: strangers, value: JSON.stringify(record), lease }],
    });
  await write({ ...listener, listen });
  await eventually(
    'it is not served',
    async () => !(await served()).join().includes(`${listen.port}`),
  );
  await write({ ...listener, listen, control: 'tcp://x' });
  await eventually('a member whose record is wrong is none', async () => {
    return (await served()).join().includes(`${listen.port}`);
  });
  await client.revoke(lease);
}

groupTest(
  'a subscriber is served as the group says or not at all, and the reason is told',
  async (group) => {
    const { desk, keys } = group;
    const vlan = new Uint8Array(readFileSync(filterFile('vlan.wasm')));
    const sample = new Uint8Array(readFileSync(filterFile('sample.wasm')));
    const { sha256: allowed } = await desk.filterLoad('allowed', vlan);
    await desk.filterLoad('strange', sample);
    const { sha256: torn } = await desk.filterLoad(
      'torn',
      new Uint8Array(readFileSync(filterFile('stamp.wasm'))),
    );
    etcd.ctl('put', keys.of('modules', torn), 'other bytes');
    const at = (port: number) => ({ ip: '127.0.0.1', port });
    await desk.add(at(9001), {});
    await desk.add(at(9002), { filter: 'allowed', param: 'id=7' });
    await desk.add(at(9003), { filter: 'strange' });
    await desk.add(at(9004), { filter: 'torn' });
    await desk.add(at(9005), { filter: 'none' });
    await desk.add(at(9006), { feeds: ['nosuch'] });
    await desk.add({ ip: '8.8.8.8', port: 9007 }, {});
    const flags = ['--fleet-allow-module', allowed, '--fleet-allow-module', torn];
    const { control, program } = await member(group, 'a', ...flags);
    const fantail = await connect({ control });
    const served = async () =>
      (await fantail.list()).map(({ port, filter }) => `${port} ${filter}`).sort();
    await eventually('those are served that can be', async () => {
      return (await served()).join() === '9001 rewrite,9002 allowed';
    });
    await eventually('the reasons are in etcd', async () => {
      return (await desk.status()).members[0]?.unserved === 5;
    });
    const [row] = (await desk.status()).members;
    const reasons = new Map(row?.reasons.map(({ subscriber, reason }) => [subscriber, reason]));
    const expected: [string, RegExp][] = [
      ['127.0.0.1:9003', /does not allow its module; see --fleet-allow-module [0-9a-f]{64}/],
      ['127.0.0.1:9004', /what is in etcd as [0-9a-f]{64} is [0-9a-f]{64}/],
      ['127.0.0.1:9005', /there is no filter none in the group/],
      ['127.0.0.1:9006', /there is no feed nosuch/],
      ['8.8.8.8:9007', /is outside what is allowed/],
    ];
    for (const [subscriber, reason] of expected) {
      assert.match(reasons.get(subscriber) ?? '', reason);
      assert.match(program.stderr, new RegExp(`${subscriber} is not served here: `));
    }
    assert.is((await fantail.stats()).fleet?.unserved, 5);
    // mended one by one
    await desk.filterUse('allowed', '', at(9003));
    await desk.filterUse('rewrite', '', at(9005));
    await desk.add(at(9006), { feeds: ['main'] });
    await desk.remove({ ip: '8.8.8.8', port: 9007 });
    await eventually('they are served', async () => {
      const all = '9001 rewrite,9002 allowed,9003 allowed,9005 rewrite,9006 rewrite';
      return (await served()).join() === all;
    });
    await aListener(keys, at(9006), served);
    // another module under the same name, which is not allowed: nobody goes on with the old one
    await desk.filterLoad('allowed', sample);
    await eventually('who has it is not served', async () => {
      return (await served()).join() === '9001 rewrite,9005 rewrite,9006 rewrite';
    });
    await desk.filterLoad('allowed', vlan);
    // and of the default all that name none hear
    await desk.filterUse('allowed', '', null);
    await eventually('they have the default', async () => {
      return (await served()).includes('9001 allowed');
    });
    await desk.feedAdd({ name: 'nosuch', ip: '127.0.0.1', port: await freePort(), source: null });
    await desk.add(at(9006), { feeds: ['nosuch', 'main'] });
    await eventually('a feed of the group is received', async () => {
      const row = (await fantail.list()).find(({ port }) => port === 9006);
      return row?.feeds.join() === 'main,nosuch';
    });
    fantail.close();
  },
);

groupTest(
  'a table that is full is told once, counted where all can read it, and again when it has room',
  async (group) => {
    const { desk, keys } = group;
    const ports = Array.from({ length: 4100 }, (_, i) => 20_001 + i);
    etcd.putAll(ports.map((port) => [keys.of('subscribers', `127.0.0.1:${port}`), '{}']));
    const { control, port, program } = await member(group, 'a');
    const fantail = await connect({ control });
    const counts = async () => {
      const { fleet } = await fantail.stats();
      return [fleet?.subscribers, fleet?.unserved, fleet?.no_room].join();
    };
    await eventually('four have no room', async () => (await counts()) === '4096,4,4');
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    assert.match(metrics, /^fantail_fleet_no_room 4$/m);
    await eventually('it is in etcd', async () => {
      const { members, no_room, unserved } = await desk.status();
      return `${members[0]?.no_room} ${no_room} ${unserved}` === '4 4 4';
    });
    const { told } = await command('fleet', 'status', '--fleet', group.url);
    assert.match(told, /^4 subscribers nobody serves, since tables are full: start more members$/m);
    const rows = await fantail.fleet.list();
    for (const { ip, port } of rows.slice(0, 4)) await fantail.fleet.remove({ ip, port });
    await eventually('all are served', async () => (await counts()) === '4096,0,0');
    assert.is(program.stderr.match(/table is full with 4096: nobody serves \d+/g)?.length, 1);
    await eventually('that is told', () => /has room for all subscribers/.test(program.stderr));
    assert.not.match(program.stderr, /is not served here/);
    fantail.close();
  },
);

groupTest(
  'without etcd changes are BUSY, and /fleetz says so; with it again they are taken',
  async (group) => {
    const { control, port } = await member(group, 'a');
    const fantail = await connect({ control });
    const fleetz = async () => (await fetch(`http://127.0.0.1:${port}/fleetz`)).status;
    assert.is(await fleetz(), 200);
    const body = await (await fetch(`http://127.0.0.1:${port}/fleetz`)).text();
    assert.is(body, '', 'and not a word more');
    await fantail.fleet.add({ ip: '127.0.0.1', port: 9001 });
    await eventually('it is served', async () => (await fantail.list()).length === 1);
    await etcd.end('SIGKILL');
    const refusal = await refusalOf(() => fantail.fleet.add({ ip: '127.0.0.1', port: 9002 }));
    assert.match(refusal, /^BUSY etcd does not answer: .*; nothing of the group can be/);
    await eventually('it is known', async () => (await fleetz()) === 503);
    await eventually('alone it goes on', async () => {
      return (await fantail.stats()).fleet?.standing === 'registry_gone';
    });
    assert.is((await fantail.list()).length, 1);
    await etcd.start();
    await eventually('etcd is heard', async () => (await fleetz()) === 200);
    await fantail.fleet.add({ ip: '127.0.0.1', port: 9002 });
    await eventually('both are served', async () => (await fantail.list()).length === 2);
    assert.is((await fantail.stats()).fleet?.shards, 256);
    fantail.close();
  },
);

groupTest(
  'drain hands over and ends with status 0; move pins a shard; weights are shares',
  async (group) => {
    const { desk, url } = group;
    const to = { ip: '127.0.0.1', port: 9001 };
    await desk.add(to, {});
    const { program } = await member(group, 'a');
    await member(group, 'b', '--weight', '3');
    const owned = async () => {
      return (await desk.status()).members
        .map(({ member, shards }) => `${member} ${shards}`)
        .join();
    };
    const settled = async (what: string, check: (shares: number[]) => boolean) => {
      await eventually(what, async () => {
        const { members, moving, free_shards } = await desk.status();
        return moving + free_shards === 0 && check(members.map(({ shards }) => shards));
      });
    };
    await settled('shares are by weight', ([a = 0, b = 0]) => a > 20 && b > 150);
    for (const member of ['a', 'b']) {
      await desk.move(to, member);
      await eventually('its shard is there', async () => (await desk.list())[0]?.member === member);
    }
    const { told, status } = await command('fleet', 'drain', 'a', '--fleet', url);
    assert.equal([told, status], ['a has handed all over and ended\n', 0]);
    assert.is((await program.wait()).status, 0);
    assert.is(await owned(), 'b 256');
  },
);

test.run();
