/** What a measurement and its thread say to each other. */
import type { Histogram } from 'node:perf_hooks';
import type { Schedule } from './loop.js';
import type { Summary } from './times.js';

export interface ThreadOptions {
  readonly schedule: Schedule;
  readonly run: number;
  /** A socket that is connected to the replicator, and one that copies come to. */
  readonly sendFd: number;
  readonly receiveFd: number;
  readonly shared: Shared;
  /**
   * Time of each counted message, nanoseconds from when the first one was due; null: nobody asks.
   */
  readonly log: MessageLog | null;
}

/** Memory of both threads; the measuring one writes, but for `stop`. */
export interface Shared {
  /** Int32: not 0 once the run is to end. */
  readonly stop: SharedArrayBuffer;
  /** Float64: counted messages that were sent, and received. */
  readonly progress: SharedArrayBuffer;
}

/** Float64 each; a time that never came is NaN. */
export interface MessageLog {
  readonly sent: SharedArrayBuffer;
  readonly received: SharedArrayBuffer;
}

export interface ThreadResult {
  readonly sent: number;
  readonly received: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly corrupt: number;
  readonly foreign: number;
  /** Sends that the far end answered with "nobody listens here". */
  readonly refused: number;
  readonly firstNs: number;
  readonly lastNs: number;
  readonly roundTrip: Summary;
  readonly lateness: Summary;
  /** For the bars. */
  readonly roundTripCounts: Float64Array;
}

export type ThreadTell =
  /** The histogram goes on living: it may be read while the run lasts. */
  | { readonly tell: 'started'; readonly histogram: Histogram }
  | ({ readonly tell: 'done' } & ThreadResult)
  | { readonly tell: 'failed'; readonly reason: string };
