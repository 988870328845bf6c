/** What can be measured, started for one set of subscribers, and running. */
import type { Stats } from '../../../src/domain/statistics.js';
import type { World } from './world.js';

export interface Setup {
  readonly world: World;
  readonly subscribers: number;
  readonly size: number;
  /** Absent: fantail spins, as for latency and fan-out. */
  readonly mayIdle?: boolean;
  readonly workers?: number;
  /** So many different modules, the subscribers dealt out to them; absent: all on the built-in. */
  readonly filters?: number;
  /** So many feeds, each with `subscribers` of its own; only the first is measured. Absent: one. */
  readonly feeds?: number;
}

/** One that runs and is ready for packets. */
export interface Contender {
  readonly command: string;
  readonly mode: string;
  /** Where fantail takes orders, and the process that does; null for the others. */
  readonly control: string | null;
  readonly supervisor: number | null;
  /** All its processes. */
  pids(): number[];
  /** fantail's counters; null for the others. */
  stats(): Promise<Stats | null>;
  stop(): Promise<void>;
}

export interface Competitor {
  readonly name: string;
  readonly subscribersMax: number;
  /**
   * Makes its own packets instead of copying those of the source: only its output can be measured.
   */
  readonly transmits: boolean;
  start(setup: Setup): Promise<Contender>;
}
