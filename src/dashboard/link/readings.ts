/**
 * What a reading is compared with. Those of the watch's own pace count; one that is read beside
 * them, since something was changed, is compared with the newest of them that is old enough for a
 * rate to mean something, and nothing is compared with it.
 */
import { type Interval, intervalOf, type Reading } from '../../domain/reading.js';

/** Milliseconds, by the replicator's clock: a reading a second, less what a loud machine shifts. */
export const COMPARED_MS_MIN = 900;
/** One may be too young, the one before it is not. */
const KEPT_MAX = 2;

export class Readings {
  private kept: Reading[] = [];

  /** The interval that ends with it. */
  add(now: Reading, isPaced: boolean): Interval {
    const ageOf = ({ stats }: Reading) => now.stats.uptime_ms - stats.uptime_ms;
    const before = this.kept.findLast((each) => ageOf(each) >= COMPARED_MS_MIN) ?? null;
    if (isPaced) this.kept = [...this.kept, now].slice(-KEPT_MAX);
    return intervalOf(now, before);
  }

  /** Whoever answers now has counters of its own. */
  clear(): void {
    this.kept = [];
  }
}
