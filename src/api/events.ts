/** Events that have come and were not taken yet: at most so many, and none grows old. */
import type { Follower } from '../control/client.js';
import type { Failure } from '../domain/errors.js';
import type { GapEvent, WatchEvent } from '../domain/replicator.js';

/** Gaps that wait; those beyond are counted in the next one that finds room (`suppressed`). */
export const GAPS_MAX = 1024;

export class EventQueue implements Follower {
  private readonly gaps: GapEvent[] = [];
  /** Gaps that found no room. */
  private missed = 0;
  private stats: Extract<WatchEvent, { event: 'stats' }> | null = null;
  /** Undefined: more may come. */
  private ended: Failure | null | undefined;
  private wake = () => {};

  onEvent(event: WatchEvent): void {
    if (event.event === 'stats') this.stats = event;
    else this.put(event);
    this.wake();
  }

  /** What waits is taken first. */
  onEnd(why: Failure | null): void {
    if (this.ended === undefined) this.ended = why;
    this.wake();
  }

  /** Nobody wants what waits. */
  stop(): void {
    this.gaps.length = 0;
    this.stats = null;
    this.onEnd(null);
  }

  /** Each as it comes, gaps before statistics; ends by `onEnd`, with what it was told. */
  async *taken(): AsyncGenerator<WatchEvent, void, void> {
    while (true) {
      const next = this.next();
      if (next !== null) yield next;
      else if (this.ended === undefined)
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      else if (this.ended === null) return;
      else throw this.ended;
    }
  }

  private next(): WatchEvent | null {
    const gap = this.gaps.shift();
    if (gap !== undefined) return { event: 'gap', ...gap };
    const { stats } = this;
    this.stats = null;
    return stats;
  }

  private put({ suppressed = 0, ...gap }: GapEvent): void {
    this.missed += suppressed;
    if (this.gaps.length >= GAPS_MAX) {
      this.missed += 1;
      return;
    }
    this.gaps.push(this.missed === 0 ? gap : { ...gap, suppressed: this.missed });
    this.missed = 0;
  }
}
