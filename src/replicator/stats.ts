/** Counters of the arena, the XDP program and the sockets → the reply of `stats`. Reads only. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Counts } from '../domain/counts.js';
import type { Endpoint } from '../domain/endpoint.js';
import { monotonicMs } from '../domain/process/clock.js';
import type {
  AccountRow,
  DriverRow,
  FeedCounts,
  FeedRow,
  KernelRow,
  QueueRow,
  ReceiverRow,
  Stats,
  WorkerRow,
} from '../domain/statistics.js';
import { bitOf, type Feed } from '../feeds/feeds.js';
import { addon, type Interface } from '../memory/addon.js';
import { type Arena, InCommit, latenciesOf } from '../memory/arena.js';
import { limits, membersOf, offsetOf } from '../memory/layout.js';
import type { Recent } from '../memory/recent.js';
import type { Subscriber } from '../subscribers/subscribers.js';

/** What is known outside the arena. */
export interface StatsContext {
  readonly interfaceName: string;
  readonly queues: readonly number[];
  readonly mode: Stats['mode'];
  readonly fallbacks: Stats['fallbacks'];
  readonly layout: Stats['layout'];
  readonly startedAt_ms: number;
  /** Map of verdict counters, and what it held when this launcher started; null in socket mode. */
  readonly verdicts: { readonly fd: number; readonly before: readonly Counts[] } | null;
  /** Receiving sockets, by queue; empty in socket mode. */
  readonly rxSockets: readonly number[];
  readonly txSockets: readonly number[];
  readonly feeds: readonly Feed[];
  /** UDP sockets that the kernel delivers a feed to: of the slow path, or of socket mode. */
  readonly deliveredSockets: (feed: Feed) => readonly number[];
  /** The map of what sockets of the slow path have left to others; null in socket mode. */
  readonly declined: number | null;
  /** Whether we are a member of the group that a feed is sent to; null: it is none. */
  readonly joined: (feed: Feed) => boolean | null;
  readonly isOfAnotherHost: (feed: Feed) => boolean;
  readonly workers: readonly { readonly pid: number; readonly restarts: number }[];
  /** The latencies of the last seconds. */
  readonly recent: Pick<Recent, 'of'>;
  /** Page pools of its calls that live on; null: the kernel does not tell. */
  readonly livePools: (worker: number) => number | null;
  /** Why a worker sends as it does. */
  readonly pathReason: (worker: number) => string;
  readonly filters: Stats['filters'];
}

/** A stage that loses its core in the middle of a commit has it back after so long. */
const COMMIT_MS_MAX = 100;
const COMMIT_PAUSE_MS = 2;

const word = (struct: string, field: string, base = 0) => (offsetOf(struct, field) - base) / 8;
const DROP_NAMES = membersOf('drop');
const [RECEIVED, SENT, BYTES, DROP] = [
  word('counters', 'received'),
  word('counters', 'sent'),
  word('counters', 'bytes'),
  word('counters', 'drop'),
];
const INVALID = word('feed_counters', 'invalid');
const SLOW_PATH = word('feed_counters', 'slow_path');
const INVALID_NAMES = membersOf('invalid').map((name) => `invalid_${name}`);
const FEED_WORDS = INVALID + INVALID_NAMES.length;

/** One subscriber's account, whole: no commit of its worker lies between any two of its words. */
export function accountOf(arena: Arena, { ip, port, row, worker, epoch }: Subscriber): AccountRow {
  const words = arena.consistent(arena.worker(worker, 'journal'), arena.counters(row, 'epoch'));
  const started = words[0] === Number(epoch); // else its worker has not counted for it yet
  const value = (index: number) => (started ? (words[index] ?? 0) : 0);
  const drops: Counts = {};
  let dropped = 0;
  for (const [i, name] of DROP_NAMES.entries()) {
    const count = value(DROP + i);
    drops[name] = count;
    dropped += count;
  }
  const [received, sent, bytes] = [value(RECEIVED), value(SENT), value(BYTES)];
  return {
    ip,
    port,
    received,
    sent,
    // all that has not ended; never less than none, so that a wrong account shows as such
    in_flight: Math.max(0, received - sent - dropped),
    bytes,
    drops,
  };
}

/** Words of struct feed_counters at the index of a feed, of all receivers. */
export function feedWords(arena: Arena, index: number): number[] {
  const sums = new Array<number>(FEED_WORDS).fill(0);
  for (let r = 0; r < arena.receivers; r++) {
    const words = arena.consistent(arena.receiver(r, 'journal'), arena.feedCounters(r, index));
    for (let i = 0; i < FEED_WORDS; i++) sums[i] = (sums[i] ?? 0) + (words[i] ?? 0);
  }
  return sums;
}

function countsOf(words: readonly number[]): FeedCounts {
  const [received = 0, bytes = 0] = words;
  const drops = INVALID_NAMES.map((name, i) => [name, words[INVALID + i] ?? 0] as const);
  return { received, bytes, slow_path: words[SLOW_PATH] ?? 0, drops: Object.fromEntries(drops) };
}

/** Modulo 2^32. To the kernel what was left to another launcher is lost, too. */
function lostBy(fd: number, declined: number | null): number {
  const left = declined === null ? 0 : addon.declinedBy(declined, fd);
  return (addon.lostDatagrams(fd) - left) >>> 0;
}

function feedOf(
  arena: Arena,
  feed: Feed,
  subscribers: readonly Subscriber[],
  { deliveredSockets, declined, joined, isOfAnotherHost }: StatsContext,
): FeedRow {
  const { name, ip, port, source } = feed;
  const lost = deliveredSockets(feed).reduce((sum, fd) => sum + lostBy(fd, declined), 0);
  return {
    name,
    ip,
    port,
    source,
    joined: joined(feed),
    of_another_host: isOfAnotherHost(feed),
    ...countsOf(feedWords(arena, feed.index).map((sum, i) => sum - (feed.base[i] ?? 0))),
    socket_lost: lost,
    subscribers: subscribers.filter(({ feeds }) => (feeds & bitOf(feed)) !== 0n).length,
  };
}

/** What was counted at an index before it was that of the feed that is there now, if one is. */
function removedFeedsOf(arena: Arena, feeds: readonly Feed[]): FeedCounts {
  const words = new Array<number>(FEED_WORDS).fill(0);
  for (let index = 0; index < limits.FEEDS_MAX; index++) {
    const feed = feeds.find((each) => each.index === index);
    (feed?.base ?? feedWords(arena, index)).forEach((word, i) => {
      words[i] = (words[i] ?? 0) + word;
    });
  }
  return countsOf(words);
}

/** Verdicts of one queue by name, since the program was loaded. */
export function verdictsOf(fd: number, queue: number): Counts {
  const values = addon.readVerdicts(fd, queue);
  return Object.fromEntries(membersOf('verdict').map((name, i) => [name, values[i] ?? 0]));
}

function xdpOf({ verdicts, queues }: StatsContext): Counts {
  const total: Counts = {};
  if (verdicts === null) return total;
  queues.forEach((queue, i) => {
    for (const [name, value] of Object.entries(verdictsOf(verdicts.fd, queue)))
      total[name] = (total[name] ?? 0) + value - (verdicts.before[i]?.[name] ?? 0);
  });
  return total;
}

/** Both sockets of a queue; each counts only its own direction. */
function kernelOf({ queues, rxSockets, txSockets }: StatsContext): KernelRow[] {
  return rxSockets.map((fd, i) => {
    const row = { queue: queues[i] ?? 0, ...addon.xskStatistics(fd) };
    const tx = txSockets[i];
    if (tx === undefined) return row;
    const sent = addon.xskStatistics(tx);
    return {
      ...row,
      tx_invalid_descs: sent.tx_invalid_descs,
      tx_ring_empty_descs: sent.tx_ring_empty_descs,
    };
  });
}

/** What the rows of `stats` do not hold of a queue. */
export interface DriverContext {
  readonly link: Interface;
  /** Of the driver, by name, since the start. */
  readonly figures: Counts;
  /** Verdicts of a queue, which has that index among ours. */
  readonly xdpOf: (queue: number, index: number) => Counts;
  readonly workerOf: (endpoint: Endpoint) => number | undefined;
}

/** The first number in a figure's name is its queue: rx_queue_0_xdp_packets, tx3_xsk_xmit. */
const queueIn = (figure: string) => Number(/\d+/.exec(figure)?.[0] ?? Number.NaN);

export function driverRow(stats: Stats, context: DriverContext): DriverRow {
  const { link, figures, xdpOf, workerOf } = context;
  const served = new Set(stats.queues);
  const named = (isMeant: (queue: number) => boolean): Counts =>
    Object.fromEntries(Object.entries(figures).filter(([name]) => isMeant(queueIn(name))));
  const queues = stats.queues.map((queue, index): QueueRow => {
    const { queue: _, ...sockets } = stats.kernel.find((row) => row.queue === queue) ?? { queue };
    const row = stats.workers[index]; // the TX queue of a worker is the one of its number
    const its = stats.subscribers.filter((each) => workerOf(each) === index);
    return {
      queue,
      worker: row?.worker ?? null,
      xdp: xdpOf(queue, index),
      sockets,
      sent: row === undefined ? 0 : its.reduce((sum, { sent }) => sum + sent, 0),
      kicks: row?.kicks ?? 0,
      driver: named((found) => found === queue),
    };
  });
  const device = named((found) => !served.has(found));
  return { name: link.driver, version: link.driver_version, queues, device };
}

/** Statistics are stored outside the commits, so that no two of them need to fit together. */
function workersOf(arena: Arena, context: StatsContext): WorkerRow[] {
  const { workers, recent, livePools, pathReason } = context;
  return workers.map(({ pid, restarts }, worker) => {
    const read = (field: string) => arena.count(arena.worker(worker, field));
    const histograms = arena.histograms(worker);
    const stages = membersOf('stage').map((name, i) => {
      return [name, arena.count(arena.worker(worker, 'stage_ns') + 8 * i)] as const;
    });
    return {
      worker,
      pid,
      restarts,
      ...latenciesOf(histograms),
      recent: recent.of(worker, histograms),
      bursts: read('bursts'),
      kicks: read('kicks'),
      fenced: arena.isFenced(worker),
      fenced_packets: read('fenced_packets'),
      transmit: {
        path: arena.path(worker),
        reason: pathReason(worker),
        pumped: read('bulk_pumped') !== 0,
        changes: read('path_changes'),
        calls: read('bulk_calls'),
        frames: read('bulk_copies'),
        slowest_ns: read('bulk_slowest_ns'),
        refused: read('bulk_refused'),
        resent: read('bulk_resent'),
        interrupted: read('bulk_interrupted'),
        live_pools: livePools(worker),
      },
      timed: {
        bursts: read('timed_bursts'),
        copies: read('timed_copies'),
        stages_ns: Object.fromEntries(stages),
      },
    };
  });
}

function receiversOf(arena: Arena, { layout }: StatsContext): ReceiverRow[] {
  if (layout === 'inline') return [];
  return Array.from({ length: arena.receivers }, (_, receiver) => {
    const read = (field: string) => arena.count(arena.receiver(receiver, field));
    return {
      pid: arena.u32(arena.receiver(receiver, 'pid')),
      timed: {
        bursts: read('timed_bursts'),
        frames: read('timed_frames'),
        receive_ns: read('receive_ns'),
      },
    };
  });
}

/**
 * Reads once no stage is in the middle of a commit, or has been for so long that it is not running.
 * Nothing of the supervisor waits meanwhile.
 */
export async function whenSettled<Read>(arena: Arena, read: () => Read): Promise<Read> {
  for (let waited_ms = 0; ; waited_ms += COMMIT_PAUSE_MS) {
    try {
      return read();
    } catch (thrown) {
      if (!(thrown instanceof InCommit)) throw thrown;
      if (waited_ms >= COMMIT_MS_MAX) arena.takeForStopped(thrown.journal);
    }
    await sleep(COMMIT_PAUSE_MS);
  }
}

/** Throws InCommit. */
export function statsOf(
  arena: Arena,
  subscribers: Iterable<Subscriber>,
  context: StatsContext,
): Stats {
  const all = [...subscribers];
  const feeds = context.feeds.map((feed) => feedOf(arena, feed, all, context));
  const [feed] = feeds;
  if (feed === undefined) throw new Error('the first feed is always there');
  return {
    version: 1,
    uptime_ms: Math.round(monotonicMs() - context.startedAt_ms),
    interface: context.interfaceName,
    queues: [...context.queues],
    mode: context.mode,
    fallbacks: [...context.fallbacks],
    layout: context.layout,
    feed,
    feeds,
    removed_feeds: removedFeedsOf(arena, context.feeds),
    xdp: xdpOf(context),
    kernel: kernelOf(context),
    receivers: receiversOf(arena, context),
    workers: workersOf(arena, context),
    subscribers: all.map((subscriber) => accountOf(arena, subscriber)),
    filters: context.filters,
  };
}
