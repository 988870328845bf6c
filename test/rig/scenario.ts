/**
 * What the tests of the data path have in common: a link with a replicator on it for the length of
 * one test, a feed through it to many subscribers, and the demand that each gets every packet
 * exactly once, in order and right.
 */

import { getPriority } from 'node:os';
import * as assert from 'uvu/assert';
import type { Stats } from '../../src/domain/statistics.js';
import { arenaOf } from './arena.js';
import { accountFaults, Sampler } from './channel.js';
import { HOSTS, Link, type LinkOptions, NEIGHBOURS, REPLICATOR_IP } from './link.js';
import { Noise } from './noise.js';
import { atNice, eventually, lackForNetwork, sleep } from './program.js';
import { Replicator, replicatorProcesses, type UpOptions } from './replicator.js';
import {
  type Destination,
  type FeedOptions,
  faultsOf,
  type Route,
  replicatedRoute,
  type Seen,
  type Sunk,
  startEcho,
  startFeed,
  startProbe,
  startSink,
} from './wire.js';

export const LAYOUTS = ['inline', 'split'] as const;

/** Flags of `up`. */
export const flagsOf =
  (mode: string) =>
  (layout: string, ...more: string[]) => ['--mode', mode, '--layout', layout, ...more];
export const copyMode = flagsOf('copy');
export const socketMode = flagsOf('socket');
/** Every way to receive that a virtual link has, and who receives. */
export const RUNS = [
  ['copy, inline', copyMode('inline')],
  ['copy, split', copyMode('split')],
  ['skb, inline', flagsOf('skb')('inline')],
  ['socket, inline', socketMode('inline')],
] as const;

/** Between two samples of the counters while a feed runs. */
const SAMPLE_MS = 100;
/** From the last packet sent to the last copy seen, on a machine that is busy. */
const SETTLE_MS = 10_000;
/** What a feed may take beyond its own length. */
const FEED_MS_MORE = 60_000;
/** A feed that goes on until something has happened is of at most so many seconds. */
const ENDLESS_SECONDS = 300;
const FIRST_PORT = 9101;
const ECHO_PORT = 7100;
const NET_IP = '10.77.0.2';

/**
 * A machine that lends its cores elsewhere without a word may do so during one try, or two, and for
 * some seconds: each try waits longer than the one before.
 */
const TRIES_MAX = 5;
const PAUSE_MS = 2000;

/**
 * Copies were lost for want of room, each counted, on a machine that nobody else seemed to use: the
 * test is done again. (A hypervisor's time that it does not report looks like this, and so does a
 * replicator that is too slow; but that one is too slow every time.)
 */
class LostForRoom extends Error {}

type Test = (name: string, work: () => Promise<void>) => void;

/**
 * A test that needs network namespaces; where they cannot be had it says so and is counted as
 * skipped. What it demands must be seen in one of TRIES_MAX tries; only want of room is tried
 * again.
 */
export function networkTest(
  test: Test,
  name: string,
  options: LinkOptions,
  work: (link: Link) => Promise<void>,
): void {
  test(name, async () => {
    const lack = lackForNetwork();
    if (lack !== null) {
      console.log(`skip: ${lack}`);
      return;
    }
    for (let tries = 1; ; tries++) {
      const began_ms = performance.now();
      const link = new Link(options);
      try {
        return await work(link);
      } catch (error) {
        if (!(error instanceof LostForRoom) || tries === TRIES_MAX) throw error;
        console.log(`     try ${tries} of ${TRIES_MAX}: ${error.message}`);
        await sleep(PAUSE_MS * tries);
      } finally {
        link.close();
        console.log(`     ${((performance.now() - began_ms) / 1000).toFixed(1)} s: ${name}`);
      }
    }
  });
}

/**
 * Starts a replicator, does `work`, stops it by SIGTERM, and demands that it ends well and leaves
 * nothing behind. `nice`: its nice value; left out: that of this process.
 */
export async function withReplicator(
  options: UpOptions,
  work: (replicator: Replicator) => Promise<void>,
  nice = getPriority(),
): Promise<void> {
  const replicator = await atNice(nice, () => Replicator.start(options));
  try {
    await work(replicator);
    const end = await replicator.stop();
    assert.equal(end, { status: 0, signal: null }, `ends well on SIGTERM\n${replicator.told()}`);
    assert.equal(await replicator.residue(), [], 'nothing is left behind');
  } catch (error) {
    // What the replicator said is what one needs to know why.
    if (error instanceof Error) error.message += `\n--- the replicator said:\n${replicator.told()}`;
    throw error;
  } finally {
    replicator.close();
  }
}

/**
 * `count` subscribers: two on one host, one on a neighbour with a MAC of its own, one on another
 * host, the rest on such neighbours, three on each. Most are on no interface, so that the far
 * kernel's own UDP costs the machine little.
 */
export function subscribersOf(count: number): Destination[] {
  const [first = '', second = ''] = HOSTS;
  const ports = [0, 1, 2].map((index) => FIRST_PORT + index);
  const behind = NEIGHBOURS.flatMap((host) => ports.map((port) => ({ ...host, port })));
  const all: Destination[] = [
    { ip: first, port: FIRST_PORT },
    { ip: first, port: FIRST_PORT + 1 },
    ...behind.slice(0, 1),
    { ip: second, port: FIRST_PORT },
    ...behind.slice(1),
  ];
  if (count > all.length) throw new Error(`there are ${all.length} subscribers, not ${count}`);
  return all.slice(0, count);
}

export interface Transfer {
  /** Where feed and sink are; absent: both on net0, behind the replicator's link. */
  readonly route?: Route;
  readonly subscribers: readonly Destination[];
  /** Looked at without being owed anything; needed where there are no subscribers. */
  readonly watched?: readonly Destination[];
  /** Packets a second of all flows together. */
  readonly rate: number;
  /**
   * Packets of all flows together; with `meanwhile` the least of them: the feed goes on, however
   * long that takes.
   */
  readonly count: number;
  /** Flows, one to a queue. */
  readonly flows?: number;
  readonly sizes?: string;
  /** Sequence of the first packet. */
  readonly first?: number;
  readonly checksum?: 'zero' | 'full' | 'unfilled';
  readonly socket?: boolean;
  /** Ping, UDP and TCP in both directions while the feed runs. */
  readonly otherTraffic?: boolean;
  /** What happens while the feed runs; of one flow. */
  readonly meanwhile?: () => Promise<void>;
}

/** What the sink saw of so many packets sent. */
export interface Transferred extends Sunk {
  readonly sent: number;
  /** The counters before. */
  readonly before: Stats;
  /** Others used the machine meanwhile: see noise.ts. */
  readonly isLoud: boolean;
}

/**
 * Sends a feed through the replicator and gives what its subscribers saw; the accounts add up all
 * the while.
 */
export async function transfer(replicator: Replicator, options: Transfer): Promise<Transferred> {
  const { flows = 1, subscribers, watched = [], rate, count, sizes = '200', meanwhile } = options;
  const route = options.route ?? replicatedRoute(replicator.link);
  const each = count / flows;
  const isEndless = meanwhile !== undefined;
  assert.ok(flows === 1 || !isEndless, 'only a feed of one flow goes on for as long as it must');
  const expected = isEndless ? {} : { expect: each };
  const before = await replicator.stats();
  const tools: { readonly pid: number }[] = [];
  const noise = new Noise(() => [...replicatorProcesses(), ...tools]);
  const sink = await startSink(route, { subscribers, extras: watched, flows, sizes, ...expected });
  tools.push(sink.program);
  const sampler = new Sampler(replicator, SAMPLE_MS);
  const feeds = Array.from({ length: flows }, (_, flow) =>
    startFeed(route, {
      rate: rate / flows,
      count: isEndless ? rate * ENDLESS_SECONDS : each,
      flow,
      sizes,
      first: options.first ?? 0,
      checksum: options.checksum ?? 'zero',
      socket: options.socket ?? false,
      ...(flows === 1 ? {} : { queue: flow }),
    }),
  );
  tools.push(...feeds.map(({ program }) => program));
  const feedMs = (count / rate) * 1000;
  const others = options.otherTraffic ? otherTraffic(replicator.link, feedMs) : null;
  const [fed] = await Promise.all([
    isEndless
      ? Promise.all([meanwhile(), sleep(feedMs)]).then(() =>
          Promise.all(feeds.map((f) => f.stop())),
        )
      : Promise.all(feeds.map((feed) => feed.result(feedMs + FEED_MS_MORE))),
    others,
  ]).catch(async (error) => {
    await sampler.stop(); // else it would hide the reason by asking a replicator that is gone
    throw error;
  });
  const sent = fed.reduce((total, one) => total + one.sent, 0);
  if (!isEndless) assert.is(sent, count);
  const isAwaited = !isEndless && subscribers.length > 0 && !noise.isLoud();
  if (!isAwaited) await replicator.settled(hasFed(before, sent));
  const sunk = isAwaited ? await sink.within(SETTLE_MS) : await sink.stop();
  await sampler.stop();
  assert.equal(sampler.faults, [], 'received = sent + in_flight + drops in every sample');
  assert.ok(sampler.samples > 0);
  const isLoud = noise.isLoud();
  noise.end();
  return { ...sunk, sent, before, isLoud };
}

/** So many have come of the first feed since then. */
export const hasFed =
  (before: Stats, sent: number) =>
  ({ feed }: Stats): boolean =>
    feed.received >= before.feed.received + sent;

/** Feeds it all of that, and waits until each packet and copy is accounted for. */
export async function feedAll(replicator: Replicator, options: FeedOptions): Promise<void> {
  const before = await replicator.stats();
  const { sent } = await startFeed(replicatedRoute(replicator.link), options).result();
  await replicator.settled(hasFed(before, sent));
}

/** Ping, UDP echo and TCP echo for about that long, both ways; every one must be answered. */
async function otherTraffic(link: Link, durationMs: number): Promise<void> {
  const intervalMs = 20;
  const count = Math.floor(durationMs / 2 / intervalMs);
  const ends = [
    { side: 'replicator', from: 'net', endpoint: `${REPLICATOR_IP}:${ECHO_PORT}` },
    { side: 'net', from: 'replicator', endpoint: `${NET_IP}:${ECHO_PORT}` },
  ] as const;
  for (const { side, from, endpoint } of ends) {
    const echo = await startEcho(link, side, endpoint);
    const answered = await startProbe(link, from, { endpoint, count, intervalMs }).result(
      durationMs + FEED_MS_MORE,
    );
    assert.equal(
      answered,
      { ping: count, udp: count, tcp: count },
      `other traffic, answered by ${side}`,
    );
    echo.close();
    await echo.wait();
  }
}

/**
 * Feeds until each of them has been sent to: after a worker was replaced, which serves only once it
 * has loaded its filters and attached.
 */
export async function servedAgain(
  replicator: Replicator,
  subscribers: readonly Destination[],
): Promise<void> {
  const sentToEach = async () => {
    const rows = (await replicator.stats()).subscribers;
    return subscribers.map(
      ({ ip, port }) => rows.find((row) => row.ip === ip && row.port === port)?.sent ?? 0,
    );
  };
  const before = await sentToEach();
  await transfer(replicator, {
    subscribers: [],
    watched: subscribers,
    rate: 1000,
    count: 100,
    meanwhile: () =>
      eventually('each is served again', async () =>
        (await sentToEach()).every((sent, index) => sent > (before[index] ?? 0)),
      ),
  });
}

/** kill -9 of the first worker, until another has attached in its place. */
export async function replaceWorker(replicator: Replicator): Promise<void> {
  const [killed] = (await replicator.stats()).workers;
  assert.ok(killed !== undefined && killed.pid > 1);
  process.kill(killed.pid, 'SIGKILL');
  const arena = arenaOf(replicator.receiver().pid);
  await eventually('the worker is replaced', async () => {
    const [now] = (await replicator.stats()).workers;
    const isReplaced =
      now !== undefined && now.pid !== killed.pid && now.restarts > killed.restarts;
    return isReplaced && arena.u32(arena.worker(0, 'pid')) === now.pid;
  });
}

/** For messages: where packets may have been lost. */
async function told(replicator: Replicator): Promise<string> {
  const stats = await replicator.stats();
  return `${JSON.stringify(stats, null, 1)}\nlink: ${replicator.link.drops().join(', ')}`;
}

/** Where a machine that is loud may lose copies; any other drop is a fault there, too. */
const LOUD_DROPS = new Set(['backlog', 'tx_full']);

/**
 * Who was owed all of it saw all of it, once, in order and right; on a loud machine, all that the
 * counters say was sent to it, and what was not was dropped for want of room.
 */
export async function assertReceived(
  replicator: Replicator,
  { sent, before, isLoud, ...sunk }: Transferred,
  owed = sunk.subscribers,
): Promise<void> {
  const whole = owed.flatMap((seen) => faultsOf({ ...sunk, subscribers: [seen] }, sent));
  if (whole.length === 0) return;
  const after = await replicator.stats();
  const rowOf = ({ subscribers }: Stats, { ip, port }: Seen) =>
    subscribers.find((row) => row.ip === ip && row.port === port);
  const mayLose = sunk.ring_drops > 0 || replicator.link.drops().length > 0;
  const faults = owed.flatMap((seen) => {
    const [was, is] = [rowOf(before, seen), rowOf(after, seen)];
    const counted = (is?.sent ?? 0) - (was?.sent ?? 0);
    const odd = Object.entries(is?.drops ?? {})
      .filter(([name, drops]) => !LOUD_DROPS.has(name) && drops > (was?.drops[name] ?? 0))
      .map(([name]) => `${seen.ip}:${seen.port} lost copies as ${name}`);
    const received = mayLose && seen.received < counted ? counted : seen.received;
    const one = { ...seen, received, lost: 0 };
    return [...odd, ...faultsOf({ ...sunk, ring_drops: 0, subscribers: [one] }, counted)];
  });
  assert.equal(faults, [], faults.length === 0 ? '' : await told(replicator));
  await replicator.check(); // and what is missing is in the counters
  if (!isLoud) throw new LostForRoom(`${whole.join('; ')}\n${await told(replicator)}`);
  console.log('     others used this machine: what was lost had to be counted, not to be none');
}

/** Every subscriber saw all of it, the link lost none, and the counters say the same. */
export async function assertLossless(replicator: Replicator, sunk: Transferred): Promise<void> {
  await assertReceived(replicator, sunk);
  await replicator.check();
  const after = await replicator.stats();
  assert.equal(accountFaults(after), []);
  if (sunk.isLoud) return;
  // a feed that was refused by a full ring sends again, so that nobody need have lost anything
  const drops = replicator.link.drops();
  if (drops.length > 0) throw new LostForRoom(`the link was full: ${drops.join(', ')}`);
  assert.is(after.feed.received - sunk.before.feed.received, sunk.sent);
  for (const row of after.subscribers) {
    const was = sunk.before.subscribers.find(({ ip, port }) => ip === row.ip && port === row.port);
    const [sent, owed] = [row.sent - (was?.sent ?? 0), row.received - (was?.received ?? 0)];
    assert.is(sent, owed, `${row.ip}:${row.port} ${JSON.stringify({ row, was })}`);
    assert.is(row.in_flight, 0);
  }
}
