/**
 * Times of many messages: percentiles by HDR histogram (the one that Node has built in, to three
 * significant digits), and counts on a logarithmic scale for the picture. Nanoseconds.
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** Bars: twenty a decade from 100 ns to 1000 s. */
const BARS_PER_DECADE = 20;
const DECADES = 10;
const FIRST_DECADE = 2;
/** Bars are joined by so many, the fewest that fit. */
const JOINS = [1, 2, 4, 5, 10, 20];
const ROWS_MAX = 18;
const FULL_WIDTH = 40;

export const percentiles = {
  p50: 50,
  p90: 90,
  p95: 95,
  p99: 99,
  p999: 99.9,
  p9999: 99.99,
} as const;

/** `min` to `p9999`, in nanoseconds; all 0 if there were none. */
export type Summary = Record<'min' | 'mean' | 'max' | keyof typeof percentiles, number>;

export interface Bar {
  readonly from_ns: number;
  readonly to_ns: number;
  readonly count: number;
}

export class Times {
  readonly histogram: RecordableHistogram = createHistogram();
  readonly counts = new Float64Array(BARS_PER_DECADE * DECADES);
  private min = Number.POSITIVE_INFINITY;
  private max = 0;
  private sum = 0;

  record(ns: number): void {
    const whole = Math.max(Math.round(ns), 1); // a histogram begins at 1
    this.histogram.record(whole);
    if (whole < this.min) this.min = whole;
    if (whole > this.max) this.max = whole;
    this.sum += whole;
    const place = Math.floor((Math.log10(whole) - FIRST_DECADE) * BARS_PER_DECADE);
    const bar = Math.min(Math.max(place, 0), this.counts.length - 1);
    this.counts[bar] = (this.counts[bar] ?? 0) + 1;
  }

  /** Least, greatest and mean are exact; a percentile is told as the upper edge of its bucket. */
  summary(): Summary {
    const { histogram, min, max, sum } = this;
    const isEmpty = max === 0;
    const at = (percent: number) => (isEmpty ? 0 : Math.min(histogram.percentile(percent), max));
    return {
      min: isEmpty ? 0 : min,
      mean: isEmpty ? 0 : Math.round(sum / histogram.count),
      max,
      p50: at(percentiles.p50),
      p90: at(percentiles.p90),
      p95: at(percentiles.p95),
      p99: at(percentiles.p99),
      p999: at(percentiles.p999),
      p9999: at(percentiles.p9999),
    };
  }
}

/** The bars from the first to the last that is not empty, joined until they fit a screen. */
export function barsOf(counts: Float64Array): Bar[] {
  const first = counts.findIndex((count) => count > 0);
  const last = counts.findLastIndex((count) => count > 0);
  if (first < 0) return [];
  const rowsBy = (join: number) => Math.floor(last / join) - Math.floor(first / join) + 1;
  const join = JOINS.find((each) => rowsBy(each) <= ROWS_MAX) ?? BARS_PER_DECADE;
  const edge = (bar: number) => Math.round(10 ** (FIRST_DECADE + bar / BARS_PER_DECADE));
  const rowFirst = Math.floor(first / join);
  return Array.from({ length: rowsBy(join) }, (_, row) => {
    const start = (rowFirst + row) * join;
    const count = counts.subarray(start, start + join).reduce((sum, each) => sum + each, 0);
    return { from_ns: edge(start), to_ns: edge(start + join), count };
  });
}

/** 12345 ns → 12.3; always one digit behind the point. */
export function microseconds(ns: number): string {
  return (ns / 1000).toLocaleString('en-US', {
    minimumFractionDigits: 1,
    maximumFractionDigits: 1,
  });
}

/** The bars as lines of a terminal. */
export function barLines(bars: readonly Bar[]): string[] {
  const total = bars.reduce((sum, { count }) => sum + count, 0);
  const most = Math.max(...bars.map(({ count }) => count), 1);
  const edgeWidth = Math.max(...bars.map(({ to_ns }) => microseconds(to_ns).length), 1);
  const countWidth = String(most.toLocaleString('en-US')).length;
  return bars.map(({ from_ns, to_ns, count }) => {
    const range = `${microseconds(from_ns).padStart(edgeWidth)} – ${microseconds(to_ns).padStart(edgeWidth)} µs`;
    const length = count === 0 ? 0 : Math.max(Math.round((count / most) * FULL_WIDTH), 1);
    const share = `${((count / total) * 100).toFixed(2)} %`.padStart(8);
    const bar = '█'.repeat(length).padEnd(FULL_WIDTH);
    return `  ${range}  ${bar}  ${count.toLocaleString('en-US').padStart(countWidth)}  ${share}`;
  });
}
