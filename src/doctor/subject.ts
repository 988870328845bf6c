/** All that doctor knows when it judges: what was asked, and what the probes have read. */
import type { FeedAddress } from '../domain/feed.js';
import type { FeedRow, Mode, SubscriberRow } from '../domain/statistics.js';
import type { Config } from '../replicator/config.js';
import type { Observed } from '../replicator/plan/deployment.js';
import type { Clock, Machine } from './machine.js';
import type { Network } from './network.js';

/** Whence the feed's packets come, where that is known. */
export interface Source {
  readonly ip: string;
  readonly port: number | null;
}

/** A fantail that runs on the interface, as it tells of itself. */
export interface Launcher {
  /** Flags by which it is asked. */
  readonly access: string;
  readonly mode: Mode;
  readonly queues: readonly number[];
  readonly feeds: readonly FeedRow[];
  readonly subscribers: readonly SubscriberRow[];
}

export interface Subject {
  /** As `up` would have it; `listenIp` is empty where there are no feeds. */
  readonly config: Config;
  readonly source: Source | null;
  readonly observed: Observed;
  readonly machine: Machine;
  readonly clock: Clock;
  /** Some subscriber's packets are stamped with the time of day. */
  readonly isStamped: boolean;
  readonly launcher: Launcher | null;
  /** The command line of `up` for what was asked; null: no feed was named. */
  readonly upLine: string | null;
  /** How fantail is called. */
  readonly program: string;
}

/** With the interface that it is about. */
export interface NetworkSubject extends Subject {
  readonly network: Network;
  /** Those that are, or would be, taken; none where none was named and nothing runs. */
  readonly feeds: readonly FeedAddress[];
  /** The queues that are, or would be, served. */
  readonly queues: readonly number[];
}

/** What it runs in, if that was said: nothing of XDP matters in socket mode. */
export const isSocket = ({ config, observed }: Subject): boolean =>
  config.mode === 'socket' || observed.link?.loopback === true;
