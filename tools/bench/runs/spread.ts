/** The few statistics that rows and targets share. Pure. */
import type { Window } from './measure.js';

/** The middle of what the rounds gave, and the lowest and highest of them. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

/** Null if there is nothing. */
export function spreadOf(values: readonly number[]): Spread | null {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const [min] = sorted;
  const max = sorted.at(-1);
  if (min === undefined || max === undefined) return null;
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? min;
  const high = sorted[Math.floor(middle)] ?? max;
  return { median: (low + high) / 2, min, max, rounds: sorted.length };
}

/** The highest p50 among the subscribers over the lowest; NaN with fewer than two. */
export function inequalityOf({ subscribers }: Window): number {
  const middles = subscribers
    .filter(({ received }) => received > 0)
    .map(({ latency_ns }) => latency_ns[0]);
  return middles.length < 2 ? Number.NaN : Math.max(...middles) / Math.max(1, Math.min(...middles));
}
