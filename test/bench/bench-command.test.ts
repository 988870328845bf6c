/**
 * Goal: `fantail bench` counts right, times from when a message was due, says what it could not do,
 * and takes its subscription back. Method: its parts with a clock of the test's own; the whole
 * command against a replicator of the test's own that loses, repeats, reorders and spoils copies;
 * then against `fantail up`, over a link and over `lo`.
 *
 * needs: a link
 * takes: 35 s
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Loop, type World } from '../../src/bench/loop.js';
import { CORRUPT, FOREIGN, Messages, randomRun } from '../../src/bench/message.js';
import type { Result } from '../../src/bench/report.js';
import { Tally } from '../../src/bench/tally.js';
import { barLines, barsOf, Times } from '../../src/bench/times.js';
import { type Control, startControl } from '../../src/control/server.js';
import type { Lease } from '../../src/domain/lease.js';
import { HOSTS, Link, REPLICATOR_IP } from '../rig/link.js';
import { MemoryReplicator } from '../rig/memory-replicator.js';
import { eventually, lackForNetwork, MAIN, Program } from '../rig/program.js';
import { fantail } from '../rig/replicator.js';
import { networkTest, withReplicator } from '../rig/scenario.js';
import { onTerminal, quoted, screenOf, shownBars } from '../terminal/screen.js';

const test = suite('bench');

// ---- messages ----

test('a message is valid JSON of one length, with an id of its own', () => {
  const messages = new Messages(randomRun(), 1e8, 1_700_000_000_123);
  const ids = new Set<number>();
  for (const index of [0, 1, 9, 10, 12_345_678, 99_999_999]) {
    const text = messages.write(index).toString();
    const trade = JSON.parse(text) as Record<string, unknown>;
    assert.is(trade.t, 1_000_000_000 + index, text);
    assert.equal([trade.e, trade.E, trade.s], ['trade', 1_700_000_000_123, 'BTC-USDT']);
    assert.is(text.length, 152);
    assert.is(messages.read(Buffer.from(text), text.length), index);
    ids.add(trade.t as number); // just compared with a number
  }
  assert.is(ids.size, 6);
});

test('any change of a message is seen; those of other runs are none of ours', () => {
  const run = randomRun();
  const messages = new Messages(run, 10, 1_700_000_000_123);
  const whole = Buffer.from(messages.write(3));
  for (let place = 0; place < whole.length; place++) {
    const spoilt = Buffer.from(whole);
    spoilt[place] = (spoilt[place] ?? 0) ^ 0x40;
    const what = messages.read(spoilt, spoilt.length);
    assert.ok(what === CORRUPT || what === FOREIGN, `byte ${place}: ${what}`);
  }
  const beyond = new Messages(run, 100, 1_700_000_000_123).write(10);
  assert.is(messages.read(beyond, beyond.length), CORRUPT, 'an id that was not sent');
  const others = new Messages(
    run === 1_000_000_000 ? run + 1 : run - 1,
    10,
    1_700_000_000_123,
  ).write(3);
  assert.is(messages.read(others, others.length), FOREIGN);
  assert.is(messages.read(whole, whole.length - 1), FOREIGN);
  assert.is(messages.read(Buffer.alloc(2048), 2048), FOREIGN);
});

// ---- the tally ----

test('each message is counted once, late ones and repeated ones by name, the warm-up nowhere', () => {
  const tally = new Tally(8, 2);
  const firsts = [1, 0, 1, 2, 4, 3, 4, 2, CORRUPT, FOREIGN, FOREIGN, 7].filter((index) =>
    tally.record(index),
  );
  assert.equal(firsts, [2, 4, 3, 7]);
  const { received, duplicated, reordered, corrupt, foreign } = tally;
  assert.equal([received, duplicated, reordered, corrupt, foreign], [4, 2, 1, 1, 2]);
});

// ---- the loop, on a clock of ours ----

interface Trip {
  index: number;
  dueNs: number;
  atNs: number;
}

/**
 * A world where each look at the clock takes a microsecond, and copies come back after `tripNs`, or
 * when they may.
 */
class FakeWorld implements World {
  clock = 5e9;
  readonly left: Trip[] = [];
  readonly came: Trip[] = [];
  slept = 0;
  stopAfter = Number.POSITIVE_INFINITY;
  private readonly flying: { bytes: Buffer; atNs: number }[] = [];

  constructor(
    readonly tripNs: number,
    /** Nothing moves here from the first to the second, the clock apart. */
    readonly stall: readonly [number, number] = [0, 0],
  ) {}

  now(): number {
    this.clock += 1000;
    const [from, to] = this.stall;
    if (this.clock > from && this.clock < to) this.clock = to;
    return this.clock;
  }

  send(message: Buffer): boolean {
    this.flying.push({ bytes: Buffer.from(message), atNs: this.clock + this.tripNs });
    return true;
  }

  receive(into: Buffer, waitUs: number): number {
    const [next] = this.flying;
    if (next === undefined || next.atNs > this.clock + waitUs * 1000) {
      this.slept += waitUs;
      this.clock += waitUs * 1000;
      return -1;
    }
    this.clock = Math.max(this.clock, next.atNs);
    this.flying.shift();
    return next.bytes.copy(into);
  }

  isStopped(): boolean {
    return this.left.length >= this.stopAfter;
  }

  sent(index: number, dueNs: number, atNs: number): void {
    this.left.push({ index, dueNs, atNs });
  }

  received(index: number, dueNs: number, atNs: number): void {
    this.came.push({ index, dueNs, atNs });
  }

  run(total: number, rate: number, warmUp = 0) {
    const schedule = { total, warmUp, intervalNs: 1e9 / rate };
    const messages = new Messages(randomRun(), total, 1_700_000_000_123);
    return new Loop(schedule, messages, new Tally(total, warmUp), this).run();
  }
}

test('messages leave when they are due, and the warm-up is counted nowhere', () => {
  const world = new FakeWorld(20_000);
  const { sent, firstNs, lastNs } = world.run(1100, 10_000, 100);
  assert.equal([sent, world.left.length, world.came.length], [1000, 1000, 1000]);
  assert.equal([world.left[0]?.index, world.left[999]?.index], [0, 999]);
  for (const { dueNs, atNs } of world.left)
    assert.ok(atNs >= dueNs && atNs < dueNs + 10_000, `${atNs - dueNs}`);
  for (const { dueNs, atNs } of world.came)
    assert.ok(atNs - dueNs >= 20_000 && atNs - dueNs < 40_000);
  assert.ok(Math.abs(lastNs - firstNs - 999 * 1e5) < 10_000, `${lastNs - firstNs}`);
});

test('a stall of the sender is in the round trips of all that was due meanwhile', () => {
  const start = 5e9 + 1e6;
  const world = new FakeWorld(20_000, [start + 10e6, start + 60e6]);
  world.run(1000, 10_000);
  const late = world.came.filter(({ dueNs, atNs }) => atNs - dueNs > 1e6);
  assert.ok(
    late.length >= 485 && late.length <= 502,
    `${late.length} of the 500 messages due in 50 ms`,
  );
  const worst = Math.max(...world.came.map(({ dueNs, atNs }) => atNs - dueNs));
  assert.ok(worst > 49e6, `${worst}`);
});

test('at low rates it sleeps between messages', () => {
  const world = new FakeWorld(20_000);
  world.run(20, 10);
  assert.ok(world.slept > 1_800_000, `${world.slept} of 1,900,000 µs`);
  for (const { dueNs, atNs } of world.left) assert.ok(atNs - dueNs < 10_000);
});

test('it stops when told, waits for what is under way, and ends without what never comes', () => {
  const stopped = new FakeWorld(20_000);
  stopped.stopAfter = 10;
  const { sent } = stopped.run(1000, 1000);
  assert.ok(sent >= 10 && sent < 20, `${sent}`);
  assert.is(stopped.came.length, sent);
  const slow = new FakeWorld(900e6);
  slow.run(10, 1000);
  assert.is(slow.came.length, 10);
  const lost = new FakeWorld(5e9);
  const before = lost.clock;
  lost.run(10, 1000);
  assert.is(lost.came.length, 0);
  assert.ok(lost.clock - before < 1.1e9, 'waits a second');
});

// ---- times ----

test('percentiles are right to three digits, bars hold every time once', () => {
  const times = new Times();
  assert.equal(Object.values(times.summary()), Array(9).fill(0));
  assert.equal([barsOf(times.counts), barLines([])], [[], []]);
  for (let ns = 1; ns <= 100_000; ns++) times.record(ns);
  const summary = times.summary();
  assert.equal([summary.min, summary.max, summary.mean], [1, 100_000, 50_001]);
  const wanted = {
    mean: 50_000,
    p50: 50_000,
    p90: 90_000,
    p95: 95_000,
    p99: 99_000,
    p999: 99_900,
    p9999: 99_990,
  };
  for (const [name, value] of Object.entries(wanted)) {
    const got = summary[name as keyof typeof wanted]; // its own keys
    assert.ok(Math.abs(got - value) / value < 0.001, `${name}: ${got}`);
  }
  const bars = barsOf(times.counts);
  assert.is(
    bars.reduce((sum, { count }) => sum + count, 0),
    100_000,
  );
  assert.ok(bars.length <= 18);
  for (const [index, { from_ns }] of bars.slice(1).entries())
    assert.is(from_ns, bars[index]?.to_ns);
  const lines = barLines(bars);
  assert.match(lines.at(-1) ?? '', /^ {2} *\d+\.\d – +\d+\.\d µs {2}█+ +[\d,]+ +\d+\.\d\d %$/);
  assert.ok(lines.every((line) => line.length <= 100));
});

// ---- against a replicator of our own ----

/** Closed when its test ends, however it does. */
const open = new Set<TestReplicator>();
test.after.each(async () => {
  for (const each of open) await each.close();
  open.clear();
});

/** Subscribes whom it is told, and treats each message of the feed as `treat` says. */
class TestReplicator extends MemoryReplicator {
  readonly log: string[] = [];
  private readonly socket: Socket = createSocket('udp4');
  private control: Control | undefined;
  private isClosed = false;
  private readonly held: Buffer[] = [];
  port = 0;

  constructor(private readonly treat: (message: Buffer, id: number) => Buffer[]) {
    super();
  }

  static async start(
    treat: TestReplicator['treat'] = (message) => [message],
  ): Promise<TestReplicator> {
    const made = new TestReplicator(treat);
    open.add(made);
    made.control = await startControl({
      address: '127.0.0.1',
      port: 0,
      tokens: null,
      replicator: made,
    });
    made.socket.bind(0, '127.0.0.1');
    await once(made.socket, 'listening');
    made.port = made.socket.address().port;
    made.socket.on('message', (bytes) => {
      // a message that is none fails the test here
      const { t } = JSON.parse(bytes.toString()) as { t: number };
      for (const copy of made.treat(bytes, t - 1_000_000_000)) {
        for (const { ip, port } of made.rows) made.socket.send(copy, port, ip);
      }
    });
    return made;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.control?.port}`;
  }

  override async add(ip: string, port: number, lease: Lease): Promise<{ existing: boolean }> {
    const how = typeof lease === 'number' || lease === null ? lease : 'session';
    this.log.push(`add ${ip}:${port} ${how}`);
    const row = { ip, port, state: 'live', mac: null, worker: 0, filter: 'x' } as const;
    const feeds = ['main'];
    const existing = this.rows.some((each) => each.ip === ip && each.port === port);
    if (!existing) this.rows.push({ ...row, feeds, expires_s: 'session' });
    return { existing };
  }

  override async remove(ip: string, port: number): Promise<{ removed: boolean }> {
    this.log.push(`remove ${ip}:${port}`);
    return await super.remove(ip, port);
  }

  /** Keeps a message back; the next call gives it. */
  swap(message: Buffer): Buffer[] {
    const before = this.held.pop();
    if (before !== undefined) return [message, before];
    this.held.push(Buffer.from(message));
    return [];
  }

  bench(localPort: number, count: number, rate: number, ...flags: string[]): string[] {
    const local = ['127.0.0.1', String(localPort)];
    const feed = ['127.0.0.1', String(this.port)];
    return [
      'bench',
      ...feed,
      ...local,
      String(count),
      String(rate),
      '--control',
      this.url,
      ...flags,
    ];
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.control?.close();
    this.socket.close();
  }
}

/**
 * So many messages wait in a socket's buffer of the default size, 208 KiB at 768 bytes each: none
 * is lost, however long this process gets no core.
 */
const FITS = 200;

/** A free UDP port of the loopback. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

async function resultOf(words: readonly string[]): Promise<{ result: Result; program: Program }> {
  const program = await fantail([...words, '--json']);
  assert.is(program.end?.status, 0, program.told());
  return { result: JSON.parse(program.stdout) as Result, program }; // our own type
}

test('all that comes back is counted, and the subscription is taken back', async () => {
  const replicator = await TestReplicator.start();
  const port = await freePort();
  const { result } = await resultOf(replicator.bench(port, FITS, 1000, '--warm-up', '50'));
  const { sent, received, lost, duplicated, reordered, corrupt, foreign } = result;
  assert.equal(
    [sent, received, lost, duplicated, reordered, corrupt, foreign],
    [FITS, FITS, 0, 0, 0, 0, 0],
  );
  assert.equal(
    [result.count, result.rate, result.warm_up, result.interrupted],
    [FITS, 1000, 50, false],
  );
  assert.is(result.rate_kept, result.actual_rate >= 0.99 * 1000, `${result.actual_rate}`);
  const { min, p50, p90, p95, p99, p999, p9999, max } = result.round_trip_ns;
  const rising = [1000, min, p50, p90, p95, p99, p999, p9999, max];
  assert.equal(
    rising,
    [...rising].sort((a, b) => a - b),
  );
  assert.is(
    result.histogram.reduce((sum, { count }) => sum + count, 0),
    FITS,
  );
  assert.equal(replicator.log, [`add 127.0.0.1:${port} session`, `remove 127.0.0.1:${port}`]);
});

test('loss, duplicates, order, changes and strangers are each told by name', async () => {
  const replicator = await TestReplicator.start((message, id) => {
    if (id < 20) return []; // lost
    if (id < 50) return [message, message];
    if (id < 90) return replicator.swap(message);
    if (id < 95) return [Buffer.from(message.toString().replace('MARKET', 'market'))];
    return [message, Buffer.from('another feed')];
  });
  const { result, program } = await resultOf(replicator.bench(await freePort(), 100, 1000));
  const { sent, received, lost, duplicated, reordered, corrupt, foreign } = result;
  assert.equal([sent, received, lost], [100, 75, 25], 'twenty lost, five spoilt');
  assert.equal([duplicated, reordered, corrupt, foreign], [30, 20, 5, 5]);
  assert.match(program.stderr, /^25 of 100 were lost; /m);
});

test('people get a page: counts, percentiles in µs, a histogram', async () => {
  const replicator = await TestReplicator.start();
  const program = await fantail(replicator.bench(await freePort(), FITS, FITS / 1.5));
  assert.is(program.end?.status, 0, program.told());
  assert.equal(shownBars(program.stderr), []);
  assert.match(program.stdout, /^sent 200 of 200 at [\d,.]+\/s \([\d.]+\/s asked\)$/m);
  assert.match(program.stdout, /^received 200: 0 lost \(0\.00 %\), 0 duplicated, 0 reordered$/m);
  assert.match(program.stdout, /^µs +min +mean +max +p50 +p90 +p95 +p99 +p99\.9 +p99\.99$/m);
  assert.match(program.stdout, /^round trip( +[\d,]+\.\d){9}$/m);
  assert.match(program.stdout, /█/);
  assert.ok(program.stdout.split('\n').every((line) => line.length <= 110));
});

test('on a terminal it shows a bar with an estimate, and the round trip so far', async () => {
  const replicator = await TestReplicator.start();
  const words = [MAIN, ...replicator.bench(await freePort(), 250, 100)];
  const program = onTerminal(`exec ${[process.execPath, ...words].map(quoted).join(' ')}`);
  assert.is((await program.wait()).status, 0, program.told());
  const trips = /^p50 [\d.,]+ µs, p99 [\d.,]+ µs, sent \d+/;
  const bar = shownBars(program.stdout).find(({ note }) => trips.test(note));
  assert.ok(bar?.left, program.told());
  const screen = screenOf(program.stdout).join('\n');
  assert.match(screen, /^sent 250 of 250 at /m);
  assert.equal(shownBars(screen), [], 'nothing of it is left above the page');
});

test('--csv has a line a message, and leaves empty what never came', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-bench-'));
  const file = join(folder, 'trips.csv');
  const replicator = await TestReplicator.start((message, id) => (id === 7 ? [] : [message]));
  const { result } = await resultOf(replicator.bench(await freePort(), 50, 1000, '--csv', file));
  const [head, ...rows] = readFileSync(file, 'utf8').trimEnd().split('\n');
  assert.is(head, 'id,intended_ns,sent_ns,received_ns,round_trip_ns');
  assert.is(rows.length, 50);
  const trips = rows.flatMap((row, id) => {
    const [number, intended = 0, left = 0, came = 0, trip] = row.split(',').map(Number);
    assert.equal([number, intended], [id, id * 1e6]);
    assert.ok(left >= intended, row);
    if (id === 7) return row.endsWith(',,') ? [] : [Number.NaN];
    assert.ok(came > left && trip === came - intended, row);
    return [trip];
  });
  assert.is(trips.length, 49);
  assert.is(Math.max(...trips), result.round_trip_ns.max);
  rmSync(folder, { recursive: true });
});

test('Ctrl-C ends it with a report, status 0 and no subscription', async () => {
  let came = 0;
  const replicator = await TestReplicator.start((message) => {
    came += 1;
    return [message];
  });
  const port = await freePort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    came = 0;
    const program = new Program(process.execPath, [MAIN, ...replicator.bench(port, 1e6, 100)]);
    await eventually('it runs', () => came > 10);
    assert.is(replicator.rows.length, 1);
    program.signal(signal);
    assert.equal(await program.wait(), { status: 0, signal: null }, program.told());
    assert.match(program.stdout, /^sent [\d,]+ of 1,000,000 at .*, interrupted$/m);
    assert.match(program.stdout, /: 0 lost/);
    assert.is(replicator.rows.length, 0);
  }
});

test('a subscription that was there before stays', async () => {
  const replicator = await TestReplicator.start();
  const port = await freePort();
  await replicator.add('127.0.0.1', port, null);
  const { program } = await resultOf(replicator.bench(port, 10, 1000));
  assert.match(program.stderr, 'was subscribed before, and stays so');
  assert.is(replicator.rows.length, 1);
});

test('a sender that cannot keep the rate says so', async () => {
  const replicator = await TestReplicator.start(() => []);
  const program = await fantail([
    ...replicator.bench(await freePort(), 20_000, 1_000_000),
    '--json',
  ]);
  const result = JSON.parse(program.stdout) as Result; // our own type
  assert.is(result.rate_kept, false, program.stdout);
  assert.ok(result.actual_rate < 990_000);
  assert.match(
    program.stderr,
    /^the sender could not keep the rate: [\d,.]+\/s of 1,000,000\/s; /m,
  );
});

test('where nothing comes back it exits 1 and says what to look at', async () => {
  const replicator = await TestReplicator.start(() => []);
  const port = await freePort();
  const program = await fantail(replicator.bench(port, 10, 1000));
  assert.is(program.end?.status, 1);
  assert.match(
    program.stderr,
    /^fantail bench: nothing came back: is 127\.0\.0\.1:\d+ the feed of that /m,
  );
  assert.is(replicator.rows.length, 0);
  const wrong = replicator.bench(port, 10, 1000);
  wrong[2] = String(await freePort());
  assert.match(
    (await fantail(wrong)).stderr,
    /^fantail bench: nobody listens at 127\.0\.0\.1:\d+: give the listen_ip /m,
  );
  await replicator.close();
  const without = await fantail(replicator.bench(port, 10, 1000));
  assert.is(without.end?.status, 1);
  assert.match(without.stderr, /^fantail bench: nothing listens at ws:/);
});

test('what cannot be is told before anything is sent', async () => {
  const cases: [number, RegExp, string[]][] = [
    [2, /replicator_ip must be/, ['x', '1', '127.0.0.1', '2', '10', '10']],
    [2, /local_port must be/, ['127.0.0.1', '1', '127.0.0.1', '0', '10', '10']],
    [2, /count must be .* 1 to 100000000/, ['127.0.0.1', '1', '127.0.0.1', '2', '0', '10']],
    [2, /rate must be .* 0\.01 to 1000000/, ['127.0.0.1', '1', '127.0.0.1', '2', '10', '0']],
    [2, /missing required argument 'rate'/, ['127.0.0.1', '1', '127.0.0.1', '2', '10']],
    [2, /at most 10000000/, ['127.0.0.1', '1', '127.0.0.1', '2', '10000001', '10', '--csv', 'x']],
    [2, /--warm-up must be/, ['127.0.0.1', '1', '127.0.0.1', '2', '10', '10', '--warm-up', '-1']],
    [
      1,
      /cannot write --csv/,
      ['127.0.0.1', '1', '127.0.0.1', '2', '10', '10', '--csv', '/nowhere/x'],
    ],
    [1, /192\.0\.2\.1:9 is not an address/, ['127.0.0.1', '1', '192.0.2.1', '9', '10', '10']],
  ];
  for (const [status, sentence, words] of cases) {
    const program = await fantail(['bench', ...words]);
    assert.is(program.end?.status, status, program.told());
    assert.match(program.stderr, /^fantail bench: [^\n]+\n$/);
    assert.match(program.stderr, sentence);
  }
});

// ---- against fantail up ----

const HOST = HOSTS[0] ?? '';

/** Nothing lost, nothing twice, and fantail's own counters say the same. */
function assertWhole(result: Result, count: number): void {
  const { sent, received, lost, duplicated, reordered, corrupt, foreign } = result;
  assert.equal(
    [sent, received, lost, duplicated, reordered, corrupt, foreign],
    [count, count, 0, 0, 0, 0, 0],
    JSON.stringify(result),
  );
  assert.ok(result.round_trip_ns.p50 > 1000);
}

networkTest(test, 'over a link, through AF_XDP', { queues: 1 }, async (link: Link) => {
  await withReplicator({ link, flags: ['--layout', 'inline'] }, async (replicator) => {
    const words = [
      'bench',
      REPLICATOR_IP,
      '9000',
      HOST,
      '9301',
      '2000',
      '1000',
      '--netns',
      link.net,
    ];
    const { result } = await resultOf([...words, '--control', `ws://${replicator.control}`]);
    assertWhole(result, 2000);
    const stats = await replicator.stats();
    assert.is(stats.feed.received, 2000);
    assert.is.not(stats.mode, 'socket');
    assert.equal(stats.subscribers, [], 'nobody is subscribed any more');
    await replicator.check();
  });
});

test('in socket mode, over lo', async () => {
  const lack = lackForNetwork();
  if (lack !== null) {
    console.log(`skip: ${lack}`);
    return;
  }
  const link = new Link({ queues: 1 });
  const place = { link, inside: true, interface: 'lo', listenIp: '127.0.0.1' };
  await withReplicator({ ...place, flags: ['--mode', 'socket'] }, async () => {
    const words = ['bench', '127.0.0.1', '9000', '127.0.0.1', '9301', '2000', '1000', '--json'];
    const program = await fantail(words, link.replicator);
    assert.is(program.end?.status, 0, program.told());
    assertWhole(JSON.parse(program.stdout) as Result, 2000); // our own type
  });
  link.close();
});

test.run();
