/**
 * What may be asked of a replicator: the control channel and legacy control drive one through this
 * alone.
 */
import type { ConfigurationAnswer, ReloadAnswer } from './configuration.js';
import type { Endpoint } from './endpoint.js';
import type { FeedChoice, NamedFeed } from './feed.js';
import type { Fleet } from './fleet.js';
import type { Lease } from './lease.js';
import type { FeedRow, FilterInfo, FilterRow, Stats, SubscriberRow } from './statistics.js';

/**
 * Messages that came on none of the feeds that should have brought them, by the numbers that they
 * bear: JSON numbers, exact to 2^53.
 */
export interface GapEvent {
  readonly feeds: readonly string[];
  readonly from: number;
  /** The last of them; below the first where the numbers wrap between them. */
  readonly to: number;
  /** When they were skipped, milliseconds since 1970. */
  readonly at_ms: number;
  /** Gaps that were not told before this one, since there were too many; left out where none. */
  readonly suppressed?: number;
}

/** What a session that watches is told. */
export type WatchEvent =
  | ({ readonly event: 'stats' } & Stats)
  | ({ readonly event: 'gap' } & GapEvent);

/**
 * What the control channel drives. `add` and `remove` throw FantailError (NOT_ALLOWED, TABLE_FULL,
 * BUSY …).
 */
export interface Replicator {
  /** `feeds`: without, they are as they were, and the first one for a new subscriber. */
  add(ip: string, port: number, lease: Lease, feeds?: FeedChoice): Promise<{ existing: boolean }>;
  remove(ip: string, port: number): Promise<{ removed: boolean }>;
  /** Owed nothing from now on, or again everything. NOT_FOUND where nobody is. */
  pause(ip: string, port: number, isPaused: boolean): Promise<{ changed: boolean }>;
  list(): SubscriberRow[];
  feedAdd(feed: NamedFeed): Promise<{ existing: boolean }>;
  feedRemove(name: string): Promise<{ removed: boolean }>;
  feedList(): Promise<FeedRow[]>;
  /** As it is after the call, and the same for all who ask at once. */
  stats(): Promise<Stats>;
  /** The same, with what the driver counts: it may have to ask its card, so only where wanted. */
  queueStats(): Promise<Stats>;
  /** FILTER_REJECTED says which rule and where. */
  filterLoad(name: string, module: Uint8Array): Promise<FilterInfo>;
  /** For one subscriber, or for all and those to come; how many there are. */
  filterUse(name: string, param: Uint8Array, to: Endpoint | null): Promise<number>;
  filterList(): FilterRow[];
  filterInfo(name: string): FilterInfo;
  filterUnload(name: string): Promise<void>;
  /** How it was told to be, and by whom; what control has changed since is not in it. */
  configuration(): ConfigurationAnswer;
  /** Reads its file again. BAD_REQUEST: that is wrong, and nothing has changed. */
  reload(): Promise<ReloadAnswer>;
  /** The group that it is a member of. BAD_REQUEST where it is of none. */
  fleet(): Fleet;
  /** Calls with each gap that a filter finds from now on; what it returns ends that. */
  onGap(listener: (gap: GapEvent) => void): () => void;
}
