/**
 * What the demo and its helpers at the far end of the link say to each other, and the payload they
 * send.
 *
 * Helpers are Node processes inside the far namespace (feed-main.ts, listener-main.ts), driven over
 * Node's own process channel; they end when it closes, so none outlives a demo that was killed.
 */

/**
 * Payload: u64 sequence, u64 send time (CLOCK_MONOTONIC ns, one clock for all processes), then
 * filling.
 */
export const SEQUENCE_OFFSET = 0;
export const SENT_NS_OFFSET = 8;
export const PAYLOAD_SIZE = 200;

export interface FeedOptions {
  readonly sourceIp: string;
  readonly targetIp: string;
  readonly targetPort: number;
  /** Packets per second, open loop: the pace does not depend on what anybody receives. */
  readonly rate: number;
}

export interface ListenerOptions {
  readonly ip: string;
  /** The first port to try; the next free one is taken, and told with `ready`. */
  readonly port: number;
}

export type FeedAsk = { readonly ask: 'start' } | { readonly ask: 'stop' };

/**
 * Since its start `sent` packets have left by `atMs` (process.hrtime); sequences are 0 to sent - 1.
 */
export interface FeedReport {
  readonly sent: number;
  readonly refused: number;
  readonly atMs: number;
}

export type FeedTell =
  | { readonly tell: 'ready' }
  | ({ readonly tell: 'sent' | 'stopped' } & FeedReport);

/**
 * A snapshot counts sequences up to `through`, so that all subscribers are asked about the same
 * packets. `restart` begins a new account, and is told when it has: everything from sequence `from`
 * on is owed, or with null from the first that comes.
 */
export type ListenerAsk =
  | { readonly ask: 'snapshot'; readonly through: number }
  | { readonly ask: 'restart'; readonly from: number | null };

/**
 * From the feed's write() to the moment at which the subscriber's kernel has the copy (the addon's
 * receiveStamped), microseconds.
 */
export interface TransitTimes {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface Snapshot {
  readonly through: number;
  readonly received: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  /** Over the packets since the last snapshot; null if there were none. */
  readonly latency: TransitTimes | null;
}

export type ListenerTell =
  | { readonly tell: 'ready'; readonly port: number }
  | { readonly tell: 'failed'; readonly reason: string }
  | { readonly tell: 'restarted' }
  | ({ readonly tell: 'snapshot' } & Snapshot);
