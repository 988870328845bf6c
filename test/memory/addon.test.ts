/**
 * The supervisor's half of the addon, through its typed face: first what it refuses, then what it
 * does, for real, in namespaces and over a veth pair.
 *
 * needs: a link
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Endpoint } from '../../src/domain/endpoint.js';
import { addon, type Message, type RawOptions } from '../../src/memory/addon.js';
import { contentOf } from '../../src/memory/memory-file.js';
import { packetOf } from '../rig/kinds.js';
import { HOSTS, Link, NOBODY_IP, REPLICATOR_IP } from '../rig/link.js';
import { atEnd, eventually, lackForNetwork, run, sleep } from '../rig/program.js';

const test = suite('addon');

/** Calls with arguments that the types forbid. */
const untyped = addon as unknown as Record<string, (...args: unknown[]) => unknown>;

const call = (name: string, ...args: unknown[]) => {
  const work = untyped[name];
  if (work === undefined) throw new Error(`the addon exports no ${name}`);
  return work(...args);
};

function errorOf(work: () => unknown): NodeJS.ErrnoException {
  try {
    work();
  } catch (error) {
    return error as NodeJS.ErrnoException; // the addon throws nothing else
  }
  throw new Error('nothing was thrown');
}

const opened = new Set<number>();

/** Remembers a descriptor, to be closed when the test ends. */
function keep(fd: number): number {
  opened.add(fd);
  return fd;
}

function close(fd: number): void {
  opened.delete(fd);
  closeSync(fd);
}

test.after.each(() => {
  for (const fd of [...opened]) close(fd);
});

/** A test that needs a link; it goes with the test, however that ends. */
function withLink(name: string, work: (link: Link) => Promise<void> | void): void {
  test(name, async () => {
    const lack = lackForNetwork();
    if (lack !== null) {
      console.log(`skip: ${lack}`);
      return;
    }
    const link = new Link({ queues: 2 });
    try {
      await work(link);
    } finally {
      link.close();
    }
  });
}

const UDP: Endpoint = { ip: '127.0.0.1', port: 0 };
/** Of the replicator's end of a link. */
const RAW: RawOptions = { source: REPLICATOR_IP, device: 'rep0' };

// ---- wrong arguments ----

const FEED = {
  queues: [0],
  ip: '127.0.0.1',
  port: 1,
  mtu: 1500,
  generic: false,
  index: 0,
  source: null,
  promiscuous: false,
};
const LISTEN = {
  ip: '127.0.0.1',
  port: 1,
  device: 'lo',
  joins: true,
  source: null,
  ofOthers: false,
};
const wrongFds = [undefined, null, '1', -1, 1.5, Number.NaN, 2 ** 31];
const wrongPorts = [undefined, null, '1', -1, 1.5, 65536];
const wrongIps = [
  undefined,
  null,
  1,
  '',
  '1.2.3',
  '1.2.3.4.5',
  '1.2.3.256',
  '::1',
  '1.2.3.4 ',
  '1.2.3.4\0',
];
const wrongQueues = [undefined, null, 'x', [], [undefined], [-1], [64], [0.5]];
const wrongTexts = [undefined, null, 1, {}];
const wrongNamespaces = [undefined, 1, {}];
const PATH = { readers: 1, cookies: 1, selector: 1, member: 1, declined: 1 };

/** Function, arguments before the wrong one, the wrong ones, arguments after. */
const refusals: readonly (readonly [
  string,
  readonly unknown[],
  readonly unknown[],
  readonly unknown[],
])[] = [
  ['describeInterface', [], wrongNamespaces, ['lo']],
  ['describeInterface', [null], wrongTexts, []],
  ['xdpProgramOn', [], wrongNamespaces, ['lo']],
  ['xdpProgramOn', [null], wrongTexts, []],
  ['driverFigures', [], wrongNamespaces, ['lo']],
  ['driverFigures', [null], wrongTexts, []],
  ['describeCard', [], wrongNamespaces, ['lo']],
  ['describeCard', [null], wrongTexts, []],
  ['takesRules', [], wrongNamespaces, ['lo']],
  ['takesRules', [null], wrongTexts, []],
  ['listInterfaces', [], wrongNamespaces, []],
  ['listInputChains', [], wrongNamespaces, []],
  ['openUdp', [], wrongNamespaces, [UDP]],
  ['openUdp', [null], [undefined, null, 'x', {}], []],
  ['openUdp', [null], wrongIps.map((ip) => ({ ...UDP, ip })), []],
  ['openUdp', [null], wrongPorts.map((port) => ({ ...UDP, port })), []],
  ['openRaw', [], wrongNamespaces, [RAW]],
  ['openRaw', [null], [undefined, null, 'x', {}], []],
  ['openRaw', [null], wrongIps.map((source) => ({ ...RAW, source })), []],
  ['openRaw', [null], wrongTexts.map((device) => ({ ...RAW, device })), []],
  ['dropPrivileges', [], [...wrongTexts, 'root', ''], []],
  ['limitCpu', [], [undefined, '1', 0, 1.5], []],
  ['limitResources', [], [undefined, '1', 0, 1.5], [1]],
  ['limitResources', [1], [undefined, '1', 0, 1.5], []],
  ['connectUdp', [], wrongFds, ['127.0.0.1', 1]],
  ['connectUdp', [1], wrongIps, [1]],
  ['connectUdp', [1, '127.0.0.1'], wrongPorts, []],
  ['connectRaw', [], wrongFds, ['127.0.0.1']],
  ['connectRaw', [1], wrongIps, []],
  ['queuedBytes', [], wrongFds, []],
  ['receiveUdp', [], wrongFds, [new Uint8Array(1), 0]],
  ['receiveUdp', [1], [undefined, null, 'x', [], new Int8Array(1), new ArrayBuffer(1)], [0]],
  ['stampArrivals', [], wrongFds, []],
  ['receiveStamped', [], wrongFds, [new Uint8Array(1)]],
  ['receiveStamped', [1], [undefined, null, 'x', [], new Int8Array(1), new ArrayBuffer(1)], []],
  ['receiveUdp', [1, new Uint8Array(1)], [undefined, -1, 0.5, 1e9 + 1], []],
  ['setReceiveBuffer', [], wrongFds, [1]],
  ['setReceiveBuffer', [1], [undefined, 0, 0.5, 2 ** 30 + 1], []],
  ['allowFragments', [], wrongFds, []],
  ['sendMessage', [], wrongFds, ['x', []]],
  ['sendMessage', [1], [...wrongTexts, '', 'x'.repeat(65537), 'é'.repeat(32769)], [[]]],
  ['sendMessage', [1, 'x'], [undefined, null, {}, [-1], ['1'], Array(251).fill(1)], []],
  ['receiveMessage', [], wrongFds, []],
  ['openAbstract', [], wrongNamespaces, []],
  ['bindAbstract', [], wrongFds, ['x']],
  ['bindAbstract', [1], wrongTexts, []],
  ['connectAbstract', [], wrongFds, ['x']],
  ['connectAbstract', [1], wrongTexts, []],
  ['connectDatagrams', [], wrongTexts, []],
  ['acceptPeer', [], wrongFds, []],
  ['peerUid', [], wrongFds, []],
  ['watchFd', [], wrongFds, [() => {}]],
  ['watchFd', [1], [undefined, null, {}], []],
  ['signal', [], wrongFds, []],
  ['mapArena', [], wrongFds, []],
  ['openProcess', [], [undefined, null, 0, -1, 0.5, '1'], []],
  ['killProcess', [], wrongFds, []],
  ['memoryFile', [], [undefined, null, 'x', [], new Int8Array(1)], []],
  ['feedSet', [], wrongFds, [1, null, 'lo', FEED]],
  ['feedSet', [1], wrongFds, [null, 'lo', FEED]],
  ['feedSet', [1, 1], wrongNamespaces, ['lo', FEED]],
  ['feedSet', [1, 1, null], wrongTexts, [FEED]],
  ['feedSet', [1, 1, null, 'lo'], wrongIps.map((ip) => ({ ...FEED, ip })), []],
  ['feedSet', [1, 1, null, 'lo'], wrongPorts.map((port) => ({ ...FEED, port })), []],
  ['feedSet', [1, 1, null, 'lo'], [undefined, 0, 65536, 0.5].map((mtu) => ({ ...FEED, mtu })), []],
  ['feedSet', [1, 1, null, 'lo'], wrongQueues.map((queues) => ({ ...FEED, queues })), []],
  ['feedSet', [1, 1, null, 'lo'], [undefined, 1].map((generic) => ({ ...FEED, generic })), []],
  [
    'feedSet',
    [1, 1, null, 'lo'],
    [undefined, -1, 64, 0.5].map((index) => ({ ...FEED, index })),
    [],
  ],
  ['feedSet', [1, 1, null, 'lo'], [undefined, 1, ''].map((source) => ({ ...FEED, source })), []],
  [
    'feedSet',
    [1, 1, null, 'lo'],
    [undefined, 1].map((promiscuous) => ({ ...FEED, promiscuous })),
    [],
  ],
  ['feedReaderSet', [], [undefined, null, 1], [0, 0, 1, false]],
  [
    'feedReaderSet',
    [],
    Object.keys(PATH).flatMap((name) => wrongFds.map((fd) => ({ ...PATH, [name]: fd }))),
    [0, 0, 1, false],
  ],
  ['feedReaderSet', [PATH], [undefined, -1, 64, 0.5], [0, 1, false]],
  ['feedReaderSet', [PATH, 0], [undefined, -1, 64, 0.5], [1, false]],
  ['feedReaderSet', [PATH, 0, 0], wrongFds, [false]],
  ['feedReaderSet', [PATH, 0, 0, 1], [undefined, 1], []],
  ['declinedBy', [], wrongFds, [1]],
  ['declinedBy', [1], wrongFds, []],
  ['openListener', [], wrongNamespaces, [LISTEN]],
  ['openListener', [null], [undefined, null, 'x', {}], []],
  ['openListener', [null], wrongIps.map((ip) => ({ ...LISTEN, ip })), []],
  ['openListener', [null], wrongPorts.map((port) => ({ ...LISTEN, port })), []],
  ['openListener', [null], wrongTexts.map((device) => ({ ...LISTEN, device })), []],
  ['openListener', [null], [undefined, 1].map((joins) => ({ ...LISTEN, joins })), []],
  ['openListener', [null], [undefined, 1, ''].map((source) => ({ ...LISTEN, source })), []],
  ['openListener', [null], [undefined, 1].map((ofOthers) => ({ ...LISTEN, ofOthers })), []],
  ['openPromiscuous', [], wrongNamespaces, ['lo']],
  ['openPromiscuous', [null], wrongTexts, []],
  ['lostDatagrams', [], wrongFds, []],
  ['isMember', [], wrongNamespaces, ['lo', '239.1.2.3']],
  ['isMember', [null], wrongTexts, ['239.1.2.3']],
  ['isMember', [null, 'lo'], wrongIps, []],
  ['feedDelete', [], wrongFds, [0, '127.0.0.1', 1]],
  ['feedDelete', [1], [undefined, -1, 64, 0.5], ['127.0.0.1', 1]],
  ['livePools', [], wrongFds, []],
  ['readVerdicts', [], wrongFds, [0]],
  ['readVerdicts', [1], [undefined, -1, 64, 0.5], []],
  ['xskStatistics', [], wrongFds, []],
  ['openNetlink', [], wrongNamespaces, []],
  ['openNetlinkEvents', [], wrongNamespaces, []],
  ['readNetlinkEvents', [], wrongFds, []],
  ['lookUpRoute', [], wrongFds, [1, '127.0.0.1', null]],
  ['lookUpRoute', [1], [undefined, 0, -1, 1.5], ['127.0.0.1', null]],
  ['lookUpRoute', [1, 1], wrongIps, [null]],
  ['lookUpRoute', [1, 1, '127.0.0.1'], [undefined, 1, '', 'x'], []],
  ['listNeighbours', [], wrongFds, [1]],
  ['listNeighbours', [1], [undefined, 0, -1, 1.5], []],
  ['probeNeighbour', [], wrongFds, [1, '127.0.0.1']],
  ['probeNeighbour', [1], [undefined, 0, -1, 1.5], ['127.0.0.1']],
  ['probeNeighbour', [1, 1], wrongIps, []],
];

test('every wrong argument of every function is a TypeError with a sentence', () => {
  for (const [name, before, wrong, after] of refusals) {
    for (const value of wrong) {
      const error = errorOf(() => call(name, ...before, value, ...after));
      const shown = `${name}(${JSON.stringify([...before, value, ...after])?.slice(0, 80)}): ${error.message}`;
      assert.instance(error, TypeError, shown);
      assert.match(error.message, / must be /, shown);
    }
  }
});

test('every function that takes arguments has its refusals above', () => {
  const bare = [
    'socketPair',
    'eventFd',
    'capabilities',
    'noNewPrivileges',
    'clearAmbientCapabilities',
    'forbidIoUring',
    'forbidWaysOut',
    'raiseAmbientCapabilities',
    'readClocks',
  ];
  const folder = new URL('../../../native/addon/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file !== 'worker.cpp');
  const source = files.map((file) => readFileSync(new URL(file, folder), 'utf8')).join('');
  const exported = [...source.matchAll(/export_function<\w+>\(exports,\s*"(\w+)"\)/g)].map(
    (match) => match[1],
  );
  const listed = new Set([...refusals.map(([name]) => name), ...bare]);
  assert.equal([...exported].sort(), [...listed].sort());
});

test('a refused system call is an Error whose code names the errno', () => {
  const closed = addon.eventFd();
  closeSync(closed);
  for (const work of [
    () => addon.queuedBytes(closed),
    () => addon.connectUdp(closed, '127.0.0.1', 1),
    () => addon.connectRaw(closed, '127.0.0.1'),
    () => addon.sendMessage(closed, 'x', []),
    () => addon.receiveMessage(closed),
    () => addon.acceptPeer(closed),
    () => addon.peerUid(closed),
    () => addon.signal(closed),
    () => addon.mapArena(closed),
    () => addon.feedSet(closed, closed, null, 'lo', FEED),
    () => addon.lostDatagrams(closed),
    () => addon.livePools(closed),
    () => addon.readVerdicts(closed, 0),
    () => addon.xskStatistics(closed),
    () => addon.readNetlinkEvents(closed),
    () => addon.listNeighbours(closed, 1),
    () => addon.watchFd(closed, () => {}),
    () => addon.killProcess(closed),
  ]) {
    const error = errorOf(work);
    assert.is(error.code, 'EBADF', `${work}: ${error.message}`);
    assert.match(error.message, /^[a-z].*: Bad file descriptor$/);
  }
});

test('a process is followed by a descriptor: readable at its end, killed by it, safe after', async () => {
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  const pidfd = addon.openProcess(child.pid ?? 0);
  let ends = 0;
  const watch = addon.watchFd(pidfd, () => {
    ends++;
    watch.close();
  });
  addon.killProcess(pidfd);
  await once(child, 'exit');
  await eventually('its end is seen', () => ends === 1);
  addon.killProcess(pidfd); // it has ended: no fault
  closeSync(pidfd);
  assert.is(errorOf(() => addon.openProcess(2 ** 22 + 1)).code, 'ESRCH');
});

test('a file in memory holds the bytes, whoever has read from it before', () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
  const file = addon.memoryFile(bytes);
  assert.equal(contentOf(file), bytes);
  assert.equal(contentOf(file), bytes);
  closeSync(file);
});

// ---- namespaces and interfaces ----

test('a namespace that is missing, or no name at all, says how to make one', () => {
  const missing = errorOf(() => addon.openNetlink('ftd-none'));
  assert.is(missing.code, 'ENOENT');
  assert.match(missing.message, /no network namespace 'ftd-none'.*ip netns add ftd-none/);
  for (const name of ['', '.', '..', '../netns/x', 'a/b', 'x'.repeat(256), 'a\0b']) {
    assert.is(errorOf(() => addon.openNetlink(name)).code, 'ENOENT', JSON.stringify(name));
  }
});

test('an interface that is missing is ENODEV, and the loopback is known as such', () => {
  for (const name of ['ftd-none', '', 'x'.repeat(16), 'x'.repeat(5000)]) {
    const error = errorOf(() => addon.describeInterface(null, name));
    assert.is(error.code, 'ENODEV');
    assert.match(error.message, /ip link/);
  }
  const lo = addon.describeInterface(null, 'lo');
  assert.is(lo.loopback, true);
  assert.is(lo.mac, '00:00:00:00:00:00');
  assert.is(lo.index, 1);
});

withLink('an interface is described from within its namespace, and ours stays ours', (link) => {
  const before = [readlinkSync('/proc/self/ns/net'), readlinkSync('/proc/thread-self/ns/net')];
  const found = addon.describeInterface(link.replicator, 'rep0');
  assert.equal(
    [readlinkSync('/proc/self/ns/net'), readlinkSync('/proc/thread-self/ns/net')],
    before,
  );
  assert.is(found.mac, link.replicatorMac);
  assert.is(found.mtu, 1500);
  assert.is(found.up, true);
  assert.is(found.loopback, false);
  assert.equal(found.addresses, [{ ip: REPLICATOR_IP, prefix: 24 }]);
  assert.equal([found.rx_queues, found.tx_queues], [2, 2]);
  assert.is(found.driver, 'veth');
  assert.is(errorOf(() => addon.describeInterface(null, 'rep0')).code, 'ENODEV');
  link.ip('net', 'link', 'set', 'net0', 'down');
  assert.is(addon.describeInterface(link.replicator, 'rep0').up, false);
});

withLink('what a driver counts is told as ethtool tells it; the loopback has nothing', (link) => {
  const told = run('ip', ['netns', 'exec', link.replicator, 'ethtool', '-S', 'rep0']);
  const names = [...told.matchAll(/^ +(\w+): \d+$/gm)].map(([, name]) => name);
  const found = addon.driverFigures(link.replicator, 'rep0');
  assert.ok(found.length > 10);
  assert.equal(
    found.map(([name]) => name),
    names,
  );
  assert.equal(addon.driverFigures(null, 'lo'), []);
  assert.is(errorOf(() => addon.driverFigures(null, 'rep0')).code, 'ENODEV');
});

withLink('the XDP program on an interface is seen, with its mode', (link) => {
  assert.is(addon.xdpProgramOn(link.replicator, 'rep0'), null);
  for (const [flag, mode] of [
    ['xdpgeneric', 'generic'],
    ['xdpdrv', 'native'],
  ] as const) {
    const attach = ['link', 'set', 'dev', 'rep0', flag];
    link.ip('replicator', ...attach, 'obj', 'native/build/replicate.bpf.o', 'sec', 'xdp');
    const found = addon.xdpProgramOn(link.replicator, 'rep0');
    const id = Number(link.xdpProgram());
    assert.equal(found, { id, mode, name: 'fantail_whole', by_link: false });
    link.ip('replicator', ...attach, 'off');
  }
  assert.is(errorOf(() => addon.xdpProgramOn(link.replicator, 'none')).code, 'ENODEV');
});

withLink(
  'a card tells its flags, its offloads, its XDP, and the namespace its interfaces',
  (link) => {
    const card = () => addon.describeCard(link.replicator, 'rep0');
    const { enabled, multicast, arp, spread, rules, takes_rules, clock } = card();
    assert.equal([enabled, multicast, arp], [true, true, true]);
    assert.equal([spread, rules, takes_rules, clock], [null, [], false, -1], 'veth has none');
    const isOn = (name: string) => card().features.find((each) => each.name === name);
    assert.is(isOn('rx-gro-list'), undefined);
    run('ip', ['netns', 'exec', link.replicator, 'ethtool', '-K', 'rep0', 'rx-gro-list', 'on']);
    assert.equal(isOn('rx-gro-list'), { name: 'rx-gro-list', changeable: true });
    const NDO_XMIT = 4; // enum netdev_xdp_act of linux/netdev.h
    const { xdp } = card();
    // told since Linux 6.3
    if (xdp !== null) {
      assert.is(xdp.xdp & NDO_XMIT, 0);
      link.setGro('on');
      assert.is((card().xdp?.xdp ?? 0) & NDO_XMIT, NDO_XMIT);
    }
    link.ip('replicator', 'link', 'set', 'rep0', 'multicast', 'off', 'arp', 'off', 'down');
    assert.equal([card().enabled, card().multicast, card().arp], [false, false, false]);
    assert.equal(addon.listInterfaces(link.replicator), ['lo', 'rep0']);
    assert.equal(addon.listInputChains(link.replicator), []);
    assert.is(errorOf(() => addon.describeCard(link.replicator, 'none')).code, 'ENODEV');
  },
);

test('the clocks go on, each by itself', () => {
  const before = addon.readClocks();
  const end = performance.now() + 5;
  while (performance.now() < end);
  const after = addon.readClocks();
  assert.ok(after.monotonic_ns > before.monotonic_ns);
  assert.ok(after.realtime_us > before.realtime_us);
  assert.ok(Math.abs(after.realtime_us / 1000 - Date.now()) < 60_000);
});

// ---- UDP ----

function received(fd: number): string | null {
  const buffer = Buffer.alloc(2048);
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer));
  } catch (error) {
    // readSync throws errno errors
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return null;
    throw error;
  }
}

const HOST = HOSTS[0] ?? '';

withLink('a socket says what stands in its way', (link) => {
  const at = { ip: REPLICATOR_IP, port: 9000 };
  keep(addon.openUdp(link.replicator, at));
  const taken = errorOf(() => addon.openUdp(link.replicator, at));
  assert.is(taken.code, 'EADDRINUSE');
  assert.match(taken.message, /10\.77\.0\.1:9000 is in use/);
  const foreign = errorOf(() => addon.openUdp(link.replicator, { ...at, ip: '10.99.0.1' }));
  assert.is(foreign.code, 'EADDRNOTAVAIL');
  const nowhere = errorOf(() => addon.openRaw(link.replicator, { ...RAW, device: 'none' }));
  assert.is(nowhere.code, 'ENODEV');
});

withLink('a datagram is taken at once, waited for, or not there', (link) => {
  const fd = keep(addon.openUdp(link.net, { ...UDP, ip: HOST, port: 7001 }));
  const sender = keep(addon.openUdp(link.net, { ...UDP, ip: HOST }));
  addon.connectUdp(sender, HOST, 7001);
  const into = new Uint8Array(4);
  assert.is(addon.receiveUdp(fd, into, 0), -1);
  const began = performance.now();
  assert.is(addon.receiveUdp(fd, into, 20_000), -1);
  assert.ok(performance.now() - began >= 19, 'waited');
  writeSync(sender, 'abcdefgh');
  assert.is(addon.receiveUdp(fd, into, 1_000_000), 8, 'the whole length');
  assert.is(Buffer.from(into).toString(), 'abcd');
  assert.ok(addon.setReceiveBuffer(fd, 100_000) >= 100_000);
});

withLink('a datagram says when it arrived, not when somebody took it', async (link) => {
  const fd = keep(addon.openUdp(link.net, { ...UDP, ip: HOST, port: 7001 }));
  const sender = keep(addon.openUdp(link.net, { ...UDP, ip: HOST }));
  addon.connectUdp(sender, HOST, 7001);
  const into = new Uint8Array(4);
  addon.stampArrivals(fd);
  assert.is(addon.receiveStamped(fd, into), null);
  // the kernel begins to stamp some time after it was asked to
  await eventually('a stamp between the send and what followed it', async () => {
    const [began, size] = [Number(process.hrtime.bigint()), 8];
    writeSync(sender, 'abcdefgh');
    const left = Number(process.hrtime.bigint());
    await sleep(5);
    const arrival = addon.receiveStamped(fd, into);
    assert.ok(arrival);
    assert.is(arrival.size, size, 'the whole size');
    assert.is(Buffer.from(into).toString(), 'abcd');
    return began <= arrival.at_ns && arrival.at_ns <= left;
  });
  const unstamped = keep(addon.openUdp(link.net, { ...UDP, ip: HOST, port: 7002 }));
  addon.connectUdp(sender, HOST, 7002);
  writeSync(sender, 'x');
  assert.throws(() => addon.receiveStamped(unstamped, into), /none was asked for/);
});

withLink(
  'a reply that is longer than the MTU leaves in fragments where that is allowed',
  (link) => {
    const to = keep(addon.openUdp(link.net, { ...UDP, ip: HOST, port: 7001 }));
    const from = keep(addon.openUdp(link.replicator, { ...UDP, ip: REPLICATOR_IP }));
    addon.connectUdp(from, HOST, 7001);
    assert.throws(() => writeSync(from, Buffer.alloc(1600)), /EMSGSIZE/);
    addon.allowFragments(from);
    writeSync(from, Buffer.alloc(1600));
    assert.is(addon.receiveUdp(to, new Uint8Array(2000), 1_000_000), 1600);
  },
);

// ---- raw sockets ----

/** A packet from one end of the link to the other. */
const packet = (from: string, to: string, payload: string | Buffer, protocol = 17) =>
  packetOf({ ip: to, port: 7001 }, Buffer.from(payload), {
    source: from,
    sourcePort: 9000,
    protocol,
  });

withLink('a raw socket sends packets as they are, to where it was connected last', (link) => {
  const fd = keep(addon.openRaw(link.replicator, RAW));
  const hosts = HOSTS.slice(0, 2);
  const sinks = hosts.map((ip) => keep(addon.openUdp(link.net, { ip, port: 7001 })));
  const into = new Uint8Array(100);
  for (const turn of [0, 1, 0]) {
    const to = hosts[turn] ?? '';
    addon.connectRaw(fd, to);
    writeSync(fd, packet(REPLICATOR_IP, to, `to ${to}`));
    const length = addon.receiveUdp(sinks[turn] ?? -1, into, 1_000_000);
    assert.is(Buffer.from(into).toString('utf8', 0, Math.max(length, 0)), `to ${to}`);
  }
  assert.is(addon.queuedBytes(fd), 0);
  const longest = Buffer.alloc(1500 - 28);
  writeSync(fd, packet(REPLICATOR_IP, HOST, longest));
  const longer = Buffer.concat([longest, Buffer.alloc(1)]);
  assert.throws(() => writeSync(fd, packet(REPLICATOR_IP, HOST, longer)), /EMSGSIZE/);
});

withLink('a raw socket takes no packet in, of its own protocol either, and no error', (link) => {
  const fd = keep(addon.openRaw(link.replicator, RAW));
  const far = keep(addon.openRaw(link.net, { source: HOST, device: 'net0' }));
  addon.connectRaw(far, REPLICATOR_IP);
  const errors = () =>
    Number(
      /IcmpInDestUnreachs\s+(\d+)/.exec(
        run('ip', ['netns', 'exec', link.replicator, 'nstat', '-asz', 'IcmpInDestUnreachs']),
      )?.[1],
    );
  for (const connect of [() => {}, () => addon.connectRaw(fd, HOST)]) {
    connect();
    for (const protocol of [17, 255])
      writeSync(far, packet(HOST, REPLICATOR_IP, 'for nobody', protocol));
    assert.is(received(fd), null);
  }
  const before = errors();
  for (let i = 1; i <= 3; i++) {
    writeSync(fd, packet(REPLICATOR_IP, HOST, 'nobody listens')); // and the kernel there says so
    assert.is(errors(), before + i);
  }
});

withLink('a raw socket goes on when its address has gone, not without a route', (link) => {
  const fd = keep(addon.openRaw(link.replicator, RAW));
  addon.connectRaw(fd, HOST);
  const [from, to] = ['10.77.0.9', HOSTS[1] ?? ''];
  link.ip('replicator', 'addr', 'del', `${REPLICATOR_IP}/24`, 'dev', 'rep0');
  link.ip('replicator', 'addr', 'add', `${from}/24`, 'dev', 'rep0');
  addon.connectRaw(fd, to);
  const sink = keep(addon.openUdp(link.net, { ip: to, port: 7001 }));
  writeSync(fd, packet(from, to, 'moved'));
  assert.is(addon.receiveUdp(sink, new Uint8Array(9), 1_000_000), 5);
  link.ip('replicator', 'link', 'set', 'rep0', 'down');
  assert.is(errorOf(() => addon.connectRaw(fd, HOST)).code, 'ENETUNREACH');
  assert.throws(() => writeSync(fd, packet(from, to, 'nowhere')), /ENETUNREACH/);
});

withLink(
  'what waits for a neighbour counts as queued until the neighbour is given up',
  async (link) => {
    const fd = keep(addon.openRaw(link.replicator, RAW));
    addon.connectRaw(fd, NOBODY_IP);
    writeSync(fd, packet(REPLICATOR_IP, NOBODY_IP, 'nobody takes this'));
    assert.ok(addon.queuedBytes(fd) > 0);
    await eventually('the kernel gives it up', () => addon.queuedBytes(fd) === 0);
  },
);

// ---- messages ----

test('a message carries text and descriptors, which are close-on-exec', () => {
  const [left, right] = addon.socketPair().map(keep) as [number, number]; // a pair stays a pair
  assert.is(addon.receiveMessage(right), null);
  const sent = keep(addon.eventFd());
  addon.sendMessage(left, 'naïve', [sent, sent]);
  const message = addon.receiveMessage(right) as Message; // it has just been sent
  assert.is(message.text, 'naïve');
  assert.is(message.fds.length, 2);
  for (const fd of message.fds.map(keep)) {
    assert.is.not(fd, sent);
    assert.is(readlinkSync(`/proc/self/fd/${fd}`), 'anon_inode:[eventfd]');
    const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
    assert.ok((Number.parseInt(flags, 8) & 0o2000000) !== 0, 'close-on-exec');
  }
});

test('the largest message passes whole, with the most descriptors', () => {
  const [left, right] = addon.socketPair().map(keep) as [number, number]; // a pair stays a pair
  const fd = keep(addon.eventFd());
  addon.sendMessage(left, 'x'.repeat(65536), Array<number>(250).fill(fd));
  const message = addon.receiveMessage(right) as Message; // it has just been sent
  for (const passed of message.fds) keep(passed);
  assert.is(message.text, 'x'.repeat(65536));
  assert.is(message.fds.length, 250);
});

test('who is gone reads as closed, and cannot be sent to', () => {
  const [left, right] = addon.socketPair();
  keep(left);
  addon.sendMessage(right, 'last words', []);
  closeSync(right);
  assert.equal(addon.receiveMessage(left), { text: 'last words', fds: [] });
  assert.is(addon.receiveMessage(left), 'closed');
  assert.is(errorOf(() => addon.sendMessage(left, 'x', [])).code, 'EPIPE');
});

test('what somebody has said is read before its end, who had messages unread, too', () => {
  const [left, right] = addon.socketPair();
  keep(left);
  addon.sendMessage(left, 'unread', []);
  addon.sendMessage(right, 'last words', []);
  closeSync(right);
  assert.equal(addon.receiveMessage(left), { text: 'last words', fds: [] });
  assert.is(addon.receiveMessage(left), 'closed');
});

test('who does not read is EAGAIN, never a wait', () => {
  const [left] = addon.socketPair().map(keep) as [number, number]; // a pair stays a pair
  const error = errorOf(() => {
    for (let i = 0; i < 10_000; i++) addon.sendMessage(left, 'x'.repeat(60_000), []);
  });
  assert.is(error.code, 'EAGAIN');
});

test('an abstract name has one holder, who learns who comes', () => {
  const name = `ftd-${process.pid}`;
  const first = keep(addon.openAbstract(null));
  const second = keep(addon.openAbstract(null));
  assert.is(addon.connectAbstract(second, name), false);
  assert.is(addon.bindAbstract(first, name), true);
  assert.is(addon.bindAbstract(second, name), false);
  assert.is(addon.acceptPeer(first), null);
  assert.is(addon.connectAbstract(second, name), true);
  const peer = addon.acceptPeer(first);
  assert.equal([peer?.uid, peer?.pid], [process.getuid?.(), process.pid]);
  addon.sendMessage(second, 'hello', []);
  assert.equal(addon.receiveMessage(keep(peer?.fd ?? -1)), { text: 'hello', fds: [] });
  close(first);
  assert.is(addon.bindAbstract(keep(addon.openAbstract(null)), name), true);
  for (const long of ['', 'x'.repeat(108)]) {
    assert.is(
      errorOf(() => addon.bindAbstract(keep(addon.openAbstract(null)), long)).code,
      'EINVAL',
    );
  }
});

withLink('an abstract name belongs to the namespace of its socket', (link) => {
  const here = keep(addon.openAbstract(link.replicator));
  const there = keep(addon.openAbstract(link.net));
  assert.is(addon.bindAbstract(here, 'ftd-same'), true);
  assert.is(addon.connectAbstract(there, 'ftd-same'), false);
  assert.is(addon.bindAbstract(there, 'ftd-same'), true);
});

// ---- events, process, memory ----

test('a watched descriptor calls back until it is closed, and closing twice is fine', async () => {
  const fd = keep(addon.eventFd());
  const counter = Buffer.alloc(8);
  let calls = 0;
  const watch = addon.watchFd(fd, () => {
    calls++;
    readSync(fd, counter);
  });
  await sleep(20);
  assert.is(calls, 0);
  addon.signal(fd);
  addon.signal(fd);
  await eventually('a call', () => calls === 1);
  assert.is(counter.readBigUInt64LE(), 2n);
  addon.signal(fd);
  await eventually('another call', () => calls === 2);
  watch.close();
  watch.close();
  addon.signal(fd);
  await sleep(20);
  assert.is(calls, 2);
});

test('a watched socket calls back when its other end goes', async () => {
  const [left, right] = addon.socketPair();
  keep(left);
  let seen: unknown = null;
  const watch = addon.watchFd(left, () => {
    seen = addon.receiveMessage(left);
    watch.close();
  });
  closeSync(right);
  await eventually('the end', () => seen === 'closed');
});

test('one descriptor cannot be watched twice, which is said at once', () => {
  const fd = keep(addon.eventFd());
  const watch = addon.watchFd(fd, () => {});
  assert.is(errorOf(() => addon.watchFd(fd, () => {})).code, 'EEXIST');
  watch.close();
});

test('a watch may close itself and others in its callback', async () => {
  const fds = [keep(addon.eventFd()), keep(addon.eventFd())];
  let calls = 0;
  const watches = fds.map((fd) =>
    addon.watchFd(fd, () => {
      calls++;
      for (const watch of watches) watch.close();
    }),
  );
  for (const fd of fds) addon.signal(fd);
  await eventually('a call', () => calls > 0);
  await sleep(20);
  assert.is(calls, 1);
});

test('descriptors that are always ready leave the loop time for the rest', async () => {
  const fds = [keep(addon.eventFd()), keep(addon.eventFd())];
  const calls = fds.map(() => 0);
  const watches = fds.map((fd, i) => {
    addon.signal(fd); // and nobody reads it
    return addon.watchFd(fd, () => {
      calls[i] = (calls[i] ?? 0) + 1;
    });
  });
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await eventually('many calls of both', () => calls.every((count) => count > 1000));
  clearInterval(timer);
  for (const watch of watches) watch.close();
  const most = Math.max(...calls);
  assert.ok(turns > 10, `${turns} turns of a timer in ${calls} calls`);
  assert.ok(most - Math.min(...calls) < most / 10, `${calls}: neither keeps the other waiting`);
});

test('an open watch keeps the process alive, until it is closed or the process is ended', () => {
  const script = (last: string) => `
    import { addon } from '${new URL('../../src/memory/addon.js', import.meta.url).href}';
    const fd = addon.eventFd();
    const watch = addon.watchFd(fd, () => { console.log('called'); ${last} });
    setTimeout(() => addon.signal(fd), 50).unref();`;
  for (const last of ['watch.close();', 'process.exit(0);'])
    assert.is(run(process.execPath, ['--input-type=module', '-e', script(last)]), 'called\n', last);
});

test('an exception in a callback is an uncaught one, and not lost', () => {
  const script = `
    import { addon } from '${new URL('../../src/memory/addon.js', import.meta.url).href}';
    const fd = addon.eventFd();
    addon.watchFd(fd, () => { throw new Error('from the callback'); });
    process.on('uncaughtException', (error) => { console.log('caught', error.message); process.exit(0); });
    addon.signal(fd);`;
  assert.is(
    run(process.execPath, ['--input-type=module', '-e', script]),
    'caught from the callback\n',
  );
});

test('capabilities have their names, and giving privileges up shows in the process', () => {
  const names = addon.capabilities();
  assert.ok(names.every((name) => /^CAP_[A-Z_]+$/.test(name)));
  const effective =
    /CapEff:\s*([0-9a-f]+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  assert.is(
    names.length,
    [...BigInt(`0x${effective}`).toString(2)].filter((bit) => bit === '1').length,
  );
  const script = `
    import { readFileSync } from 'node:fs';
    import { addon } from '${new URL('../../src/memory/addon.js', import.meta.url).href}';
    addon.noNewPrivileges();
    console.log(/NoNewPrivs:\\s*(\\d)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);`;
  assert.is(run(process.execPath, ['--input-type=module', '-e', script]), '1\n');
});

test('ways out of a process are shut by forbidWaysOut, and what it needs is not', () => {
  const script = `
    import { spawnSync } from 'node:child_process';
    import { constants, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    import { addon } from '${new URL('../../src/memory/addon.js', import.meta.url).href}';
    addon.noNewPrivileges();
    addon.forbidWaysOut('checker');
    const ends = {};
    const attempt = (what, work) => {
      try { work(); ends[what] = 'worked'; } catch (error) { ends[what] = error.code; }
    };
    attempt('another program', () => { const { error } = spawnSync('/bin/true'); if (error) throw error; });
    attempt('a file to write to', () => writeFileSync('/dev/null', 'x'));
    attempt('a file to make', () => openSync('/tmp/fantail-never', constants.O_RDONLY | constants.O_CREAT));
    attempt('a file to empty', () => openSync('/dev/null', constants.O_RDONLY | constants.O_TRUNC));
    attempt('a folder', () => mkdirSync('/tmp/fantail-never'));
    attempt('a file to read', () => readFileSync('/proc/self/status'));
    attempt('a socket', () => addon.openAbstract(null));
    attempt('a signal to another', () => process.kill(process.ppid, 0));
    attempt('a signal to itself', () => process.kill(process.pid, 0));
    attempt('another process', () => addon.openProcess(process.ppid));
    attempt('WebAssembly', () => new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])));
    new Worker('', { eval: true }).once('exit', (status) => {
      ends['a thread'] = status === 0 ? 'worked' : status;
      console.log(JSON.stringify(ends));
    });`;
  const ends = JSON.parse(run(process.execPath, ['--input-type=module', '-e', script]));
  const refused = ['another program', 'a file to write to', 'a file to make', 'a file to empty'];
  for (const what of [...refused, 'a folder', 'a socket', 'a signal to another', 'another process'])
    assert.is(ends[what], 'EPERM', what);
  for (const what of ['a file to read', 'a signal to itself', 'WebAssembly', 'a thread'])
    assert.is(ends[what], 'worked', what);
});

test('CPU time is limited from where it is said on, and again', () => {
  const script = (seconds: string) => `
    import { addon } from '${new URL('../../src/memory/addon.js', import.meta.url).href}';
    for (const each of [${seconds}]) addon.limitCpu(each);
    while (process.cpuUsage().user + process.cpuUsage().system < 2.5e6);`;
  const how = (seconds: string) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', script(seconds)]).signal;
  assert.is(how('1'), 'SIGXCPU');
  assert.is(how('1, 5'), null);
});

test('no native code but the addon comes into a process that speaks the control protocol', () => {
  const files = ['memory/addon', 'control/codec', 'control/server', 'control/client'];
  const script = `
    import { readFileSync } from 'node:fs';
    ${files.map((file) => `import '${new URL(`../../src/${file}.js`, import.meta.url).href}';`).join('\n')}
    const mapped = readFileSync('/proc/self/maps', 'utf8').match(/\\S+\\.node$/gm);
    console.log([...new Set(mapped)].join(' '));`;
  const loaded = run(process.execPath, ['--input-type=module', '-e', script]);
  assert.match(loaded, /^\S+\/native\/build\/fantail\.node\n$/);
});

test('a mapped file is shared both ways, in its full size', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-'));
  const remove = atEnd(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'arena');
  const fd = keep(openSync(path, 'w+'));
  assert.is(errorOf(() => addon.mapArena(fd)).code, 'EINVAL');
  ftruncateSync(fd, 12_288);
  const arena = addon.mapArena(fd);
  assert.is(arena.byteLength, 12_288);
  const words = new BigUint64Array(arena);
  words[1535] = 0x1122334455667788n;
  assert.is(readFileSync(path).readBigUInt64LE(12_280), 0x1122334455667788n);
  writeSync(fd, 'x', 5);
  assert.is(new Uint8Array(arena)[5], 'x'.charCodeAt(0));
  remove();
});

test.run();
