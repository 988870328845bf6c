/** What the plots show: the figures of the last readings, a column each. */
import type { Interval } from '../../domain/reading.js';
import type { Latencies, Latency, WorkerRow } from '../../domain/statistics.js';
import { sumsOf } from './sums.js';

/** Ten minutes of a reading a second. */
export const POINTS_MAX = 600;

/** A point has no value where nothing could be compared, or nothing came. */
export type Course = (number | null)[];

export class History {
  /**
   * Seconds since 1970, as uPlot takes them, of when the page was begun and from then on by a clock
   * that nobody sets: times of a plot must rise.
   */
  readonly times: number[] = [];
  readonly rates: readonly [Course, Course, Course] = [[], [], []];
  readonly latencies: readonly [Course, Course, Course, Course] = [[], [], [], []];

  add(interval: Interval): void {
    const { arrived, sent, dropped } = sumsOf(interval);
    const { workers } = interval.now.stats;
    const inside = slowestOf(workers, 'inside_ns');
    const window = slowestOf(workers, 'window_ns');
    this.point(
      [arrived, sent, dropped],
      [microseconds(inside?.p50), microseconds(inside?.p99), microseconds(inside?.p999)],
      microseconds(window?.p99),
    );
  }

  /** Nothing is known of this moment: lines break here. */
  gap(): void {
    if (this.rates[0].at(-1) !== null) this.point([null, null, null], [null, null, null], null);
  }

  private point(
    rates: readonly (number | null)[],
    inside: readonly (number | null)[],
    window: number | null,
  ): void {
    this.times.push((performance.timeOrigin + performance.now()) / 1000);
    for (const [index, column] of this.rates.entries()) column.push(rates[index] ?? null);
    const latencies = [...inside, window];
    for (const [index, column] of this.latencies.entries()) column.push(latencies[index] ?? null);
    if (this.times.length <= POINTS_MAX) return;
    for (const column of [this.times, ...this.rates, ...this.latencies]) column.shift();
  }
}

/** Of several workers the slowest of late: the one whose p99 is the longest. */
function slowestOf(workers: readonly WorkerRow[], of: keyof Latencies): Latency | null {
  return workers.reduce<Latency | null>((found, { recent }) => {
    return recent[of].p99 >= (found?.p99 ?? 0) ? recent[of] : found;
  }, null);
}

/** None: no packet yet, which has no place on a logarithmic axis. */
const microseconds = (ns: number | undefined) => (ns === undefined || ns === 0 ? null : ns / 1000);
