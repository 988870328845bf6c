/**
 * Seeded random choices of the fuzzing campaign: every module has a seed of its own, so that one of
 * them can be made again without those before it. `SEED=n` repeats a run. (mulberry32, as in
 * ../random.ts.)
 */

export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Any 32 bits. */
  word(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A whole number from 0 to bound - 1. */
  below(bound: number): number {
    return this.word() % bound;
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T; // no list here is empty
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}

/** The run's seed: given by the environment, or the time. */
export function seedOfRun(): number {
  const given = process.env.SEED;
  return (given === undefined ? Date.now() : Number(given)) >>> 0;
}

/** The seed of part `index` of a run. */
export function seedOf(run: number, index: number): number {
  return new Chance(run ^ Math.imul(index + 1, 0x9e3779b1)).word();
}
