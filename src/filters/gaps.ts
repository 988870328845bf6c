/**
 * The gaps that filters have found, as events: each once, to whoever listens. The pulse makes it
 * look (pulse.ts), ten times a second.
 *
 * Every worker finds the gaps of its own subscribers, so that two workers find the same: it is told
 * once. A burst that is undone takes what it told back, and done again it tells the same: what has
 * a number that was told is not told again.
 */
import type { FilterModule } from '../domain/filter.js';
import type { GapEvent } from '../domain/replicator.js';
import type { Filters } from './registry.js';
import type { FeedNames, Gap, Reports } from './reports.js';

/** Over all filters and workers; what is beyond is counted in the next event that is told. */
export const GAPS_PER_SECOND_MAX = 100;
const SECOND_MS = 1000;
/** Gaps that another worker may tell again, and how far apart they find them. */
const REMEMBERED_MAX = 256;
const SAME_NS_MAX = 1_000_000_000n;

export interface GapsOptions {
  readonly filters: Pick<Filters, 'loaded'>;
  readonly reports: Pick<Reports, 'gapCount' | 'gapsSince'>;
  readonly workers: number;
  readonly namesOf: FeedNames;
  /** Milliseconds of a clock that is not set. */
  readonly now: () => number;
}

export class Gaps {
  private readonly listeners = new Set<(gap: GapEvent) => void>();
  /** By worker and owner of the state: how many were looked at. */
  private seen = new Map<string, bigint>();
  /** When the last ones were told, the oldest at `told % GAPS_PER_SECOND_MAX`. */
  private readonly toldAt_ms: number[] = new Array(GAPS_PER_SECOND_MAX).fill(-Infinity);
  private told = 0;
  private suppressed = 0;
  private readonly remembered = new Map<string, { worker: number; receive_ns: bigint }>();

  /** What was found before is not told: an earlier supervisor has. */
  constructor(private readonly options: GapsOptions) {
    this.each((module, worker, key) => {
      this.seen.set(key, options.reports.gapCount(module, worker) ?? 0n);
    });
  }

  /** Called with each gap from now on; what it returns ends that. */
  onGap(listener: (gap: GapEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  look(): void {
    const seen = new Map<string, bigint>();
    this.each((module, worker, key) => {
      if (seen.has(key)) return; // another module of the same state
      const since = this.seen.get(key) ?? 0n;
      const { count, gaps } = this.options.reports.gapsSince(module, worker, since);
      seen.set(key, count);
      if (this.listeners.size === 0) return;
      this.suppressed += Number(count - since) - gaps.length;
      for (const gap of gaps) this.take(gap, worker, module.owner);
    });
    this.seen = seen;
  }

  private each(visit: (module: FilterModule, worker: number, key: string) => void): void {
    for (const module of this.options.filters.loaded()) {
      if (module.report === null) continue;
      for (let worker = 0; worker < this.options.workers; worker++)
        visit(module, worker, `${worker} ${module.owner}`);
    }
  }

  private take(gap: Gap, worker: number, owner: number): void {
    if (this.isKnown(gap, worker, owner)) return;
    const now = this.options.now();
    const place = this.told % GAPS_PER_SECOND_MAX;
    if (now - (this.toldAt_ms[place] ?? 0) <= SECOND_MS) {
      this.suppressed += 1;
      return;
    }
    this.toldAt_ms[place] = now;
    this.told += 1;
    const event = this.eventOf(gap);
    this.suppressed = 0;
    for (const listener of this.listeners) listener(event);
  }

  private eventOf({ from, to, receive_ns, feeds }: Gap): GapEvent {
    return {
      feeds: this.options.namesOf(feeds),
      from: Number(from),
      to: Number(to),
      at_ms: Number(receive_ns / 1_000_000n),
      ...(this.suppressed === 0 ? {} : { suppressed: this.suppressed }),
    };
  }

  /** Whether another worker has told it. */
  private isKnown({ from, to, receive_ns, feeds }: Gap, worker: number, owner: number): boolean {
    const key = [owner, feeds, from, to].join(' ');
    const before = this.remembered.get(key);
    this.remembered.delete(key);
    this.remembered.set(key, { worker, receive_ns });
    const [oldest] = this.remembered.keys();
    if (this.remembered.size > REMEMBERED_MAX && oldest !== undefined)
      this.remembered.delete(oldest);
    if (before === undefined || before.worker === worker) return false;
    const apart = receive_ns - before.receive_ns;
    return apart < SAME_NS_MAX && apart > -SAME_NS_MAX;
  }
}
