/** What a replicator is told to be, command line and file together. */
import type { Origin, Place } from '../../domain/configuration.js';
import type { Endpoint } from '../../domain/endpoint.js';
import type { FeedChoice } from '../../domain/feed.js';
import type { Config } from '../config.js';

/** A filter that is loaded from the start. */
export interface ConfiguredFilter {
  readonly name: string;
  /** Null: the stock's of that name. */
  readonly file: string | null;
  readonly at: Place;
}

/** A subscriber that is there from the start. */
export interface ConfiguredSubscriber extends Endpoint {
  /** Null: the first one. */
  readonly feeds: FeedChoice | null;
  /** Null: what new subscribers get. */
  readonly filter: string | null;
  readonly param: Uint8Array;
  readonly at: Place;
}

/** A flag or an argument of `up`. */
export interface Setting {
  readonly key: string;
  readonly value: unknown;
  /** As one writes it, one for each value; none: it is not set. */
  readonly words: readonly { readonly text: string; readonly from: Origin }[];
}

export interface Configuration {
  /** Null: there is none, but a command line. */
  readonly file: string | null;
  readonly config: Config;
  readonly settings: readonly Setting[];
  readonly filters: readonly ConfiguredFilter[];
  readonly subscribers: readonly ConfiguredSubscriber[];
}

/** What holds now; the supervisor's, which reloads. */
export interface InForce {
  config: Config;
}

/** Reads the file again, beside the same command line. Throws UsageError or Failure. */
export type Reread = () => Configuration;
