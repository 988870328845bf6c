/**
 * The gaps that filters have found, as events: each once, to whoever listens. The pulse makes it
 * look (pulse.ts), ten times a second.
 *
 * A filter tells a gap by the next packets; where none comes, what it has open is told for it
 * (QUIET_MS). Every worker finds the gaps of its own subscribers, so that two sets with the same
 * feeds find the same: it is told once. A burst that is undone takes what it told back, and done
 * again it tells the same: what has a number that was told is not told again.
 */
import type { FilterModule } from '../domain/filter.js';
import type { GapEvent } from '../domain/replicator.js';
import type { SubscriberSets } from '../subscribers/sets.js';
import type { Filters } from './registry.js';
import type { Gap, Reports } from './reports.js';

/** Over all filters and workers; what is beyond is counted in the next event that is told. */
export const GAPS_PER_SECOND_MAX = 100;
const SECOND_MS = 1000;
/** A filter that no packet has come for so long is told for; dedupe itself waits for less. */
const QUIET_MS = 250;
/** Gaps that another set may tell again, and how far apart they find them. */
const REMEMBERED_MAX = 1024;
const SAME_NS_MAX = 1_000_000_000n;

export interface GapsOptions {
  readonly filters: Pick<Filters, 'loaded'>;
  readonly reports: Pick<Reports, 'gapCount' | 'gapsSince' | 'packets' | 'openGaps'>;
  readonly sets: Pick<SubscriberSets, 'find'>;
  readonly workers: number;
  /** Milliseconds of a clock that is not set. */
  readonly now: () => number;
}

/** What was seen of one filter on one worker. */
interface Seen {
  /** Gaps that were looked at. */
  readonly count: bigint;
  readonly packets: bigint;
  /** When that number of packets was seen first. */
  readonly since_ms: number;
  /** Gaps that were told since then; its next packet makes the filter tell what is left of them. */
  early: number;
}

export class Gaps {
  private readonly listeners = new Set<(gap: GapEvent) => void>();
  /** By worker and owner of the state. */
  private seen = new Map<string, Seen>();
  /** When the last ones were told, the oldest at `told % GAPS_PER_SECOND_MAX`. */
  private readonly toldAt_ms: number[] = new Array(GAPS_PER_SECOND_MAX).fill(-Infinity);
  private told = 0;
  private suppressed = 0;
  private readonly remembered = new Remembered<Pick<Gap, 'set' | 'receive_ns'>>();
  /** Told while their filter was quiet, by set and time; it will tell them, or parts of them. */
  private readonly early = new Remembered<true>();

  /** What was found before is not told: nobody listened, or an earlier supervisor has. */
  constructor(private readonly options: GapsOptions) {
    this.each((module, worker, key) => {
      const count = options.reports.gapCount(module, worker) ?? 0n;
      this.seen.set(key, { count, packets: -1n, since_ms: 0, early: 0 });
    });
  }

  /** Called with each gap from now on; what it returns ends that. */
  onGap(listener: (gap: GapEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  look(): void {
    const seen = new Map<string, Seen>();
    this.each((module, worker, key) => {
      if (seen.has(key)) return; // another module of the same state
      seen.set(key, this.lookAt(module, worker, this.seen.get(key)));
    });
    this.seen = seen;
  }

  private lookAt(module: FilterModule, worker: number, before: Seen | undefined): Seen {
    const { reports, now } = this.options;
    const packets = reports.packets(module, worker) ?? 0n;
    const since = before?.count ?? 0n;
    const { count, gaps } = reports.gapsSince(module, worker, since);
    const fresh = gaps.filter((gap) => !this.early.has(earlyKey(gap)));
    const unread = Number(count - since) - gaps.length;
    // of those that were not read, some were told early
    const known = Math.max(0, (before?.early ?? 0) - (gaps.length - fresh.length));
    if (this.listeners.size > 0) this.suppressed += Math.max(0, unread - known);
    for (const gap of fresh) this.take(gap, module.owner);
    if (before?.packets !== packets || count > since)
      return { count, packets, since_ms: now(), early: 0 };
    const { since_ms, early } = before;
    if (now() - since_ms < QUIET_MS) return { count, packets, since_ms, early };
    const open = reports.openGaps(module, worker);
    const isStill = reports.packets(module, worker) === packets;
    const more = isStill ? this.takeEarly(open, module.owner) : 0;
    return { count, packets, since_ms, early: early + more };
  }

  private each(visit: (module: FilterModule, worker: number, key: string) => void): void {
    for (const module of this.options.filters.loaded()) {
      if (module.report === null) continue;
      for (let worker = 0; worker < this.options.workers; worker++)
        visit(module, worker, `${worker} ${module.owner}`);
    }
  }

  /** How many were told. */
  private takeEarly(open: readonly Gap[], owner: number): number {
    const fresh = open.filter((gap) => !this.early.has(earlyKey(gap)));
    for (const gap of fresh) this.take(gap, owner);
    for (const gap of open) this.early.put(earlyKey(gap), true); // one packet may have left several
    return fresh.length;
  }

  private take(gap: Gap, owner: number): void {
    const feeds = this.options.sets.find(gap.set)?.feeds;
    if (this.listeners.size === 0 || feeds === undefined || this.isKnown(gap, feeds, owner)) return;
    const now = this.options.now();
    const place = this.told % GAPS_PER_SECOND_MAX;
    if (now - (this.toldAt_ms[place] ?? 0) <= SECOND_MS) {
      this.suppressed += 1;
      return;
    }
    this.toldAt_ms[place] = now;
    this.told += 1;
    const event = this.eventOf(gap, feeds);
    this.suppressed = 0;
    for (const listener of this.listeners) listener(event);
  }

  private eventOf({ from, to, receive_ns }: Gap, feeds: readonly string[]): GapEvent {
    return {
      feeds,
      from: Number(from),
      to: Number(to),
      at_ms: Number(receive_ns / 1_000_000n),
      ...(this.suppressed === 0 ? {} : { suppressed: this.suppressed }),
    };
  }

  /** Whether another set with the same feeds has told it. */
  private isKnown(gap: Gap, feeds: readonly string[], owner: number): boolean {
    const { from, to, receive_ns, set } = gap;
    const key = [owner, feeds.join(), from, to].join(' ');
    const before = this.remembered.get(key);
    this.remembered.put(key, { set, receive_ns });
    if (before === undefined || before.set === set) return false;
    const apart = receive_ns - before.receive_ns;
    return apart < SAME_NS_MAX && apart > -SAME_NS_MAX;
  }
}

const earlyKey = ({ set, receive_ns }: Gap) => `${set} ${receive_ns}`;

/** The last REMEMBERED_MAX that were put. */
class Remembered<T> {
  private readonly values = new Map<string, T>();

  get(key: string): T | undefined {
    return this.values.get(key);
  }

  has(key: string): boolean {
    return this.values.has(key);
  }

  put(key: string, value: T): void {
    this.values.delete(key);
    this.values.set(key, value);
    const [oldest] = this.values.keys();
    if (this.values.size > REMEMBERED_MAX && oldest !== undefined) this.values.delete(oldest);
  }
}
