/**
 * Seeded random numbers (mulberry32), so that a failure can be run again: `FANTAIL_SEED=n node
 * dist/test/….test.js`.
 */

export interface Random {
  readonly seed: number;
  /** A whole number from 0 to bound - 1. */
  below(bound: number): number;
}

/** Prints its seed, since a random test that fails without one tells nothing. */
export function random(name: string): Random {
  const given = process.env.FANTAIL_SEED;
  const seed = given === undefined ? Date.now() % 0x1_0000_0000 : Number(given);
  console.log(`${name}: seed ${seed}`);
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return { seed, below: (bound) => next() % bound };
}
