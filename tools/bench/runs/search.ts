/**
 * The highest rate that is carried without loss, by trying. Pure but for the trial that it is
 * given.
 */

export interface SearchOptions {
  /** Where to begin, packets a second. */
  readonly guess: number;
  /**
   * By how much the first steps differ: 1.5 where nothing is known, 1.04 where the last round's
   * result is.
   */
  readonly step: number;
  /** Ends when what is lossless and what is not are so near each other: 1.02. */
  readonly tolerance: number;
  readonly min: number;
  readonly max: number;
  /** Tries that a rate has: on a machine that is shared, one loss may be somebody else's. */
  readonly tries: number;
}

/**
 * What a trial says of a rate: whether everything came, and whether more could have been asked for
 * at all.
 */
export interface Trial {
  readonly lossless: boolean;
  /** The source itself did not keep the rate. */
  readonly sourceLimited: boolean;
}

export interface Found<T extends Trial> {
  /** The best lossless trial, or null if not even the lowest rate is carried. */
  readonly best: { readonly rate: number; readonly trial: T } | null;
  /** The search ended because of the source, or at `max`: the result is a lower bound. */
  readonly isLowerBound: boolean;
}

type Tried<T> = { readonly rate: number; readonly trial: T } | null;

/**
 * Rates tried so far, as far as they matter: the highest that was carried, the lowest above it that
 * was not.
 */
class Bracket<T extends Trial> {
  best: Tried<T> = null;
  failed: Tried<T> = null;

  constructor(
    private readonly tries: number,
    private readonly tryRate: (rate: number) => Promise<T>,
  ) {}

  async attempt(rate: number): Promise<boolean> {
    for (let i = 0; i < this.tries; i++) {
      const trial = await this.tryRate(rate);
      if (trial.lossless) {
        this.best = { rate, trial };
        return true;
      }
      this.failed = { rate, trial };
    }
    return false;
  }
}

/**
 * Steps up until a rate fails (or down until one does not), each step wider than the last, then
 * halves the ratio between the two.
 */
export async function searchLossless<T extends Trial>(
  { guess, step, tolerance, min, max, tries }: SearchOptions,
  tryRate: (rate: number) => Promise<T>,
): Promise<Found<T>> {
  const bracket = new Bracket(tries, tryRate);
  const inside = (rate: number) => Math.round(Math.min(max, Math.max(min, rate)));
  let rate = inside(guess);
  const goesUp = await bracket.attempt(rate);
  const end = goesUp ? max : min;
  for (let factor = step; rate !== end; factor = Math.min(factor * factor, 2)) {
    rate = inside(goesUp ? rate * factor : rate / factor);
    if ((await bracket.attempt(rate)) !== goesUp) break;
  }
  for (;;) {
    const { best, failed } = bracket;
    if (best === null || failed === null || failed.rate / best.rate <= tolerance)
      return {
        best,
        isLowerBound: best !== null && (failed === null || failed.trial.sourceLimited),
      };
    await bracket.attempt(Math.sqrt(best.rate * failed.rate));
  }
}
