/** What the plots show: the figures of the last readings, a column each. */
import type { Interval } from '../../domain/reading.js';
import { latenciesOf } from './latencies.js';
import { sumsOf } from './sums.js';

/** Ten minutes of a reading a second. */
export const POINTS_MAX = 600;

/** A point has no value where nothing could be compared, or nothing came. */
export type Column = (number | null)[];

export class History {
  /** Seconds since 1970, as uPlot takes them. */
  readonly times: number[] = [];
  readonly rates: readonly [Column, Column, Column] = [[], [], []];
  readonly latencies: readonly [Column, Column, Column, Column] = [[], [], [], []];

  add(interval: Interval): void {
    const { arrived, sent, dropped } = sumsOf(interval);
    const { inside, window } = latenciesOf(interval.now.stats.workers);
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
    this.times.push(Date.now() / 1000);
    for (const [index, column] of this.rates.entries()) column.push(rates[index] ?? null);
    const latencies = [...inside, window];
    for (const [index, column] of this.latencies.entries()) column.push(latencies[index] ?? null);
    if (this.times.length <= POINTS_MAX) return;
    for (const column of [this.times, ...this.rates, ...this.latencies]) column.shift();
  }
}

/** None: no packet yet, which has no place on a logarithmic axis. */
const microseconds = (ns: number | undefined) => (ns === undefined || ns === 0 ? null : ns / 1000);
