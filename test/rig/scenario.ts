/**
 * What the tests of the data path have in common: a link with a replicator on it for the length of
 * one test, a feed through it to many subscribers, and the demand that each gets every packet
 * exactly once, in order and right.
 */

import * as assert from 'uvu/assert';
import { HOSTS, Link, type LinkOptions, NEIGHBOURS, REPLICATOR_IP } from './link.js';
import { lackForNetwork } from './program.js';
import { accountFaults, Replicator, Sampler, type UpOptions } from './replicator.js';
import {
  type Destination,
  faultsOf,
  type Route,
  replicatedRoute,
  type Sunk,
  startEcho,
  startFeed,
  startProbe,
  startSink,
} from './wire.js';

export const LAYOUTS = ['inline', 'split'] as const;
/** Between two samples of the counters while a feed runs. */
const SAMPLE_MS = 100;
/** From the last packet sent to the last copy seen, on a machine that is busy. */
const SETTLE_MS = 2000;
const FIRST_PORT = 9101;
const ECHO_PORT = 7100;
const NET_IP = '10.77.0.2';

type Test = (name: string, work: () => Promise<void>) => void;

/**
 * A test that needs network namespaces; where they cannot be had it says so and is counted as
 * skipped.
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
    const link = new Link(options);
    try {
      await work(link);
    } finally {
      link.close();
    }
  });
}

/**
 * Starts a replicator, does `work`, stops it by SIGTERM, and demands that it ends well and leaves
 * nothing behind.
 */
export async function withReplicator(
  options: UpOptions,
  work: (replicator: Replicator) => Promise<void>,
): Promise<void> {
  const replicator = await Replicator.start(options);
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
  /** Packets a second, and packets, of all flows together. */
  readonly rate: number;
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
  /** What happens while the feed runs. */
  readonly meanwhile?: () => Promise<void>;
}

/**
 * Sends a feed through the replicator and gives what its subscribers saw; the accounts add up all
 * the while.
 */
export async function transfer(replicator: Replicator, options: Transfer): Promise<Sunk> {
  const { flows = 1, subscribers, watched = [], rate, count, sizes = '200', first = 0 } = options;
  const route = options.route ?? replicatedRoute(replicator.link);
  const each = count / flows;
  const sink = await startSink(route, { subscribers, extras: watched, expect: each, flows, sizes });
  const sampler = new Sampler(replicator, SAMPLE_MS);
  const { checksum = 'zero', socket = false } = options;
  const feeds = Array.from({ length: flows }, (_, flow) => {
    const queue = flows === 1 ? {} : { queue: flow };
    return startFeed(route, {
      rate: rate / flows,
      count: each,
      flow,
      sizes,
      first,
      checksum,
      socket,
      ...queue,
    });
  });
  const others = options.otherTraffic
    ? otherTraffic(replicator.link, (count / rate) * 1000)
    : Promise.resolve();
  const feedMs = (count / rate) * 1000 + 10_000;
  const [fed] = await Promise.all([
    Promise.all(feeds.map((feed) => feed.result(feedMs))),
    options.meanwhile?.(),
    others,
  ]).catch(async (error) => {
    await sampler.stop(); // else it would hide the reason by asking a replicator that is gone
    throw error;
  });
  assert.is(
    fed.reduce((total, { sent }) => total + sent, 0),
    count,
  );
  const sunk = await sink.within(SETTLE_MS);
  await sampler.stop();
  assert.equal(sampler.faults, [], 'received = sent + in_flight + drops in every sample');
  assert.ok(sampler.samples > 0);
  return sunk;
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
      durationMs + 10_000,
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
 * Every subscriber saw all of it, the link lost none, and the counters of the replicator say the
 * same.
 */
export async function assertLossless(
  replicator: Replicator,
  sunk: Sunk,
  count: number,
): Promise<void> {
  const stats = await replicator.stats();
  const counters = `${JSON.stringify(stats, null, 1)}\nlink: ${replicator.link.drops().join(', ')}`;
  assert.equal(faultsOf(sunk, count), [], counters);
  assert.equal(replicator.link.drops(), [], 'the link itself lost nothing');
  await replicator.cli('stats', '--check');
  const after = await replicator.stats();
  assert.equal(accountFaults(after), []);
  for (const row of after.subscribers) {
    assert.is(row.sent, row.received, `${row.ip}:${row.port} ${JSON.stringify(row)}`);
    assert.is(row.in_flight, 0);
  }
}
