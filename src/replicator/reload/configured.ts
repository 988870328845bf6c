/** What a replicator is told to be, command line and file together. */
import type { Origin, Place } from '../../domain/configuration.js';
import type { Endpoint } from '../../domain/endpoint.js';
import type { FeedChoice } from '../../domain/feed.js';
import type { FleetInheritance } from '../../fleet/member/inheritance.js';
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

/**
 * What a configuration has put in place and a data plane keeps: the next supervisor, which adopts
 * it, believes that, and a reload compares the file with it. JSON.
 */
export interface Placed {
  readonly feeds: Config['feeds'];
  readonly filter: string | null;
  readonly filters: readonly ConfiguredFilter[];
  /** Parameters in hex. */
  readonly subscribers: readonly (Omit<ConfiguredSubscriber, 'param'> & {
    readonly param: string;
  })[];
  /** SHA-256 by name of the module. */
  readonly hashes: readonly (readonly [name: string, hash: string])[];
  /** Those of feeds and of the filter. */
  readonly settings: readonly Setting[];
}

const PLACED = new Set(['feed', 'filter']);

export function placedOf(
  { config: { feeds, filter }, filters, subscribers, settings }: Configuration,
  hashes: Placed['hashes'],
): Placed {
  const plain = subscribers.map((each) => {
    return { ...each, param: Buffer.from(each.param).toString('hex') };
  });
  const own = settings.filter(({ key }) => PLACED.has(key));
  return { feeds, filter, filters, subscribers: plain, hashes, settings: own };
}

/** The configuration with that in place of what it says itself. */
export function withPlaced(configuration: Configuration, placed: Placed): Configuration {
  const { feeds, filter, filters, subscribers } = placed;
  return {
    ...configuration,
    config: { ...configuration.config, feeds, filter },
    settings: configuration.settings.map(
      (setting) => placed.settings.find(({ key }) => key === setting.key) ?? setting,
    ),
    filters,
    subscribers: subscribers.map((each) => {
      return { ...each, param: new Uint8Array(Buffer.from(each.param, 'hex')) };
    }),
  };
}

/** What holds now; the supervisor's, which reloads. */
export interface InForce {
  config: Config;
  /** Null: not all of it is in place yet. */
  placed: Placed | null;
  /** As a member of a group; null: it is none, or has not joined yet. */
  fleet: FleetInheritance | null;
}

/** Reads the file again, beside the same command line. Throws UsageError or Failure. */
export type Reread = () => Configuration;
