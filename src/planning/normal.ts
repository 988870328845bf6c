/** The normal distribution, as far as delivery.ts needs it. */
import { bisect } from './waiting.js';

/** 99 % are below so many standard deviations. */
export const Z99 = 2.3263;
/** Nothing is looked for beyond: 2e-8 of all. */
export const REACH = 5.5;

/** P(at most z), by Abramowitz and Stegun 7.1.26: error below 1.5e-7. */
export function normal(z: number): number {
  if (Number.isNaN(z)) return 0;
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * x);
  const [a1, a2, a3, a4, a5] = [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429];
  const tail = (t * (a1 + t * (a2 + t * (a3 + t * (a4 + t * a5)))) * Math.exp(-x * x)) / 2;
  return z < 0 ? tail : 1 - tail;
}

export const normalQuantile = (share: number): number =>
  bisect(-REACH, REACH, (z) => normal(z) >= share);
