/**
 * What a replicator tells at one moment, and what lies between two such moments. Counters only
 * rise; one that is below what it was has begun anew (a subscriber removed and added again), so
 * that no difference and no rate is ever negative.
 */
import { type Counts, countsSince } from './counts.js';
import { endpointText } from './endpoint.js';
import type { AccountRow, FeedRow, KernelRow, Stats, SubscriberRow } from './statistics.js';

export interface Reading {
  readonly stats: Stats;
  readonly subscribers: readonly SubscriberRow[];
}

/** Two readings of one replicator: the newer one, and what it is compared with. */
export interface Interval {
  readonly now: Reading;
  /** Null: there is none before it, since we are new to it or it was started again. */
  readonly before: Reading | null;
  /** Between the two by the replicator's own clock; 0 without one before. */
  readonly seconds: number;
}

export function intervalOf(now: Reading, before: Reading | null): Interval {
  const ms = before === null ? 0 : now.stats.uptime_ms - before.stats.uptime_ms;
  return ms > 0 ? { now, before, seconds: ms / 1000 } : { now, before: null, seconds: 0 };
}

/** Per second; null where there is nothing to compare with. What was not there before had 0. */
export function rateOf({ before, seconds }: Interval, now: number, then = 0): number | null {
  if (before === null) return null;
  return (now < then ? now : now - then) / seconds;
}

/** Of all rows together, each beside itself before. */
export function sumRates<Field extends string, Row extends Record<Field, number>>(
  interval: Interval,
  now: readonly Row[],
  before: readonly Row[] | undefined,
  nameOf: (row: Row) => string,
  field: Field,
): number | null {
  if (before === undefined) return null;
  const then = new Map(before.map((row) => [nameOf(row), row[field]]));
  return now.reduce((sum, row) => {
    return sum + (rateOf(interval, row[field], then.get(nameOf(row))) ?? 0);
  }, 0);
}

// ---- drops --------------------------------------------------------------------------------------

/** Who has dropped: copies of subscribers, packets of feeds, or the kernel before either. */
export type Dropper = 'copies' | 'feeds' | 'kernel';

export interface DropRow {
  readonly dropper: Dropper;
  readonly name: string;
  /** Of those that are served now, since each was added; of the kernel since the start. */
  readonly total: number;
  /** Per second; null as of rateOf. */
  readonly rate: number | null;
}

/** Of XDP_STATISTICS those that lose a packet; the others explain or are faults of ours. */
const KERNEL_DROPS = ['rx_dropped', 'rx_ring_full'] as const;

/** All of it that was lost. */
export const dropsOfFeed = ({ drops, socket_lost }: FeedRow): Counts => ({ ...drops, socket_lost });
const dropsOfQueue = (row: KernelRow): Counts =>
  Object.fromEntries(KERNEL_DROPS.map((name) => [name, row[name]]));

/** Every reason that has dropped something, the busiest first. */
export function dropRows(interval: Interval): DropRow[] {
  const { now, before } = interval;
  const of = <Row>(
    dropper: Dropper,
    rowsOf: (stats: Stats) => readonly Row[],
    nameOf: (row: Row) => string,
    dropsOf: (row: Row) => Counts,
  ): DropRow[] => {
    const then = new Map(
      before === null ? [] : rowsOf(before.stats).map((row) => [nameOf(row), dropsOf(row)]),
    );
    const total: Counts = {};
    const since: Counts = {};
    for (const row of rowsOf(now.stats)) {
      const drops = dropsOf(row);
      addTo(total, drops);
      addTo(since, countsSince(drops, then.get(nameOf(row)) ?? {}));
    }
    return Object.entries(total)
      .filter(([, count]) => count > 0)
      .map(([name, count]) => {
        return { dropper, name, total: count, rate: rateOf(interval, since[name] ?? 0) };
      });
  };
  return [
    ...of<AccountRow>(
      'copies',
      ({ subscribers }) => subscribers,
      endpointText,
      ({ drops }) => drops,
    ),
    ...of<FeedRow>(
      'feeds',
      ({ feeds }) => feeds,
      ({ name }) => name,
      dropsOfFeed,
    ),
    ...of<KernelRow>(
      'kernel',
      ({ kernel }) => kernel,
      ({ queue }) => String(queue),
      dropsOfQueue,
    ),
  ].sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0) || b.total - a.total);
}

function addTo(sums: Counts, counts: Counts): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
}

/** The reason that has dropped most; an empty text where none has. */
export function mainDrop(drops: Counts): string {
  const [name = '', count = 0] = Object.entries(drops).sort(([, a], [, b]) => b - a)[0] ?? [];
  return count > 0 ? name : '';
}
