/**
 * A group of replicators beyond one machine, in words: what may be asked of one, what it tells, and
 * what a member needs of its own replicator.
 */
import type { Endpoint } from './endpoint.js';
import type { FeedChoice, NamedFeed } from './feed.js';

/** Of a member's share of the subscribers. */
export const WEIGHT_MAX = 1000;

/**
 * How a member stands to etcd.
 *
 *     joined         its lease was acknowledged within 3 s
 *     unsure         not any more, and its peers have not been asked yet
 *     cut            a peer reaches etcd: it serves to the end of its lease, and no longer
 *     registry_gone  all peers answer and none reaches etcd: it goes on with what it has
 *     isolated       neither etcd nor all peers answer: as --fleet-isolated says
 *     fenced         its time is over; its workers serve nobody until it has joined again
 */
export type Standing = 'joined' | 'unsure' | 'cut' | 'registry_gone' | 'isolated' | 'fenced';

/** What that means, for the log and the dashboard. */
export const STANDING_SENTENCES: Readonly<Record<Exclude<Standing, 'joined'>, string>> = {
  unsure: 'etcd is silent; it asks the other members',
  cut: 'another member reaches etcd and this one does not: it serves to the end of its lease',
  registry_gone: 'no member reaches etcd: it goes on with what it has, and takes no changes',
  isolated: 'it reaches neither etcd nor all members: it does as --fleet-isolated says',
  fenced: 'the time of its lease is over: it serves nobody until it has joined again',
};

/**
 * Headers by which `GET /fleetz` says whom it means. Not parameters of the address: a control port
 * of 0.1.0 knows that address by the whole of it, and knows no such headers.
 */
export const PEER_HEADERS = { group: 'fantail-group', member: 'fantail-member' } as const;

/**
 * What a relay can expect of its upstream.
 *
 *     feeds     it is there, and sends the feed as far as it tells
 *     absent    it is not registered: not started yet, ended, or dead
 *     draining  it is about to end
 *     refuses   it says that it does not send there; `refused_relays` of its row says why
 */
export type UpstreamState = 'feeds' | 'absent' | 'draining' | 'refuses';

/** A member's part of `stats`. */
export interface FleetRow {
  readonly group: string;
  readonly member: string;
  readonly standing: Standing;
  /**
   * Since the sending of what etcd has acknowledged last, milliseconds: up to a second or so while
   * it is reached. Null: it has acknowledged nothing yet.
   */
  readonly silent_ms: number | null;
  readonly is_draining: boolean;
  /** Shards that it owns, of 256, and their subscribers that it serves. */
  readonly shards: number;
  readonly subscribers: number;
  /** Subscribers of its shards, and relays, that it may not or cannot serve: `fleet status`. */
  readonly unserved: number;
  /** Of those, the ones for whom its table has no room: more members would serve them. */
  readonly no_room: number;
  /** Keys in etcd that it passes over since their values are wrong; `fleet status` names them. */
  readonly faults: number;
  /** Copies that it sent while the owner before it may have sent them too. */
  readonly handover: number;
  /** The member that it takes its feed from; null: from the network. */
  readonly upstream: string | null;
  /** Null: it takes its feed from the network. */
  readonly upstream_state: UpstreamState | null;
  /** Members that take their feed from it. */
  readonly relays: readonly string[];
  /** The members that a packet passes on its way here, the first one first, this one last. */
  readonly hops: readonly FleetHop[];
}

/** What a member has told of itself, at most some seconds ago; null: nothing. */
export interface FleetHop {
  readonly member: string;
  /** From its RX ring to its TX ring, as in `workers` of its `stats`, of the last seconds. */
  readonly inside_ns: { readonly p50: number; readonly p99: number } | null;
  /**
   * To its upstream, one way: half of the least time of late in which a TCP connection was made
   * there. Null at the top.
   */
  readonly link_us: number | null;
}

/** One member, as the group knows it. */
export interface FleetMemberRow {
  readonly member: string;
  readonly weight: number;
  readonly is_draining: boolean;
  /** Where its peers reach its control port. */
  readonly control: string;
  /** Where its main feed is sent to. */
  readonly listen: Endpoint;
  readonly upstream: string | null;
  readonly upstream_state: UpstreamState | null;
  /** As of FleetHop; null: not told, as by one that neither relays nor is relayed to. */
  readonly inside_ns: FleetHop['inside_ns'];
  readonly link_us: number | null;
  readonly version: string;
  /**
   * When it was started, milliseconds since 1970 by its own clock; a supervisor that adopts a data
   * path goes on with it. Null: it does not tell.
   */
  readonly started_at_ms: number | null;
  readonly shards: number;
  /** Subscribers in those. */
  readonly subscribers: number;
  /** What it has told of itself; null: nothing yet. */
  readonly standing: string | null;
  readonly unserved: number;
  readonly no_room: number;
  readonly handover: number;
  /** The first of those that it does not serve. */
  readonly reasons: readonly { readonly subscriber: string; readonly reason: string }[];
  /** The first of the members that take their feed from it and do not get it. */
  readonly refused_relays: readonly { readonly member: string; readonly reason: string }[];
}

export type FleetFeedRow = NamedFeed;

export interface FleetFilterRow {
  readonly name: string;
  readonly sha256: string;
  /** Whether its module is in etcd. */
  readonly is_there: boolean;
  readonly subscribers: number;
  readonly default: boolean;
}

export interface FleetStatus {
  readonly group: string;
  /** Of etcd's store. */
  readonly revision: number;
  readonly members: readonly FleetMemberRow[];
  readonly subscribers: number;
  /** Shards that nobody owns, and subscribers in those. */
  readonly free_shards: number;
  readonly unowned: number;
  /** Those that members do not serve, relays among them; subscribers whose owner has no room. */
  readonly unserved: number;
  readonly no_room: number;
  /** Shards that are on their way to another member. */
  readonly moving: number;
  readonly feeds: readonly FleetFeedRow[];
  readonly filters: readonly FleetFilterRow[];
  /** Shards that somebody has moved. */
  readonly pins: readonly { readonly shard: number; readonly member: string }[];
  /** Keys whose values are passed over, and what is wrong with each: the first of them. */
  readonly faults: readonly { readonly key: string; readonly wrong: string }[];
  /** How many there are. */
  readonly fault_count: number;
}

/** One subscriber of the group. */
export interface FleetSubscriberRow extends Endpoint {
  readonly feeds: readonly string[];
  /** Null: the group's default. */
  readonly filter: string | null;
  readonly param: string;
  readonly paused: boolean;
  readonly shard: number;
  /** Who serves it; null: nobody at the moment. */
  readonly member: string | null;
}

/** What of a subscriber is said; the rest stays as it was, or begins with main and the default. */
export interface FleetSubscriberChange {
  readonly feeds?: FeedChoice | undefined;
  /** Null: the group's default from now on. */
  readonly filter?: string | null | undefined;
  /** As one writes it. */
  readonly param?: string | undefined;
  readonly paused?: boolean | undefined;
}

/** What may be asked of a group. Throws FantailError; BUSY where etcd does not answer. */
export interface Fleet {
  status(): Promise<FleetStatus>;
  list(): Promise<FleetSubscriberRow[]>;
  add(to: Endpoint, change: FleetSubscriberChange): Promise<{ existing: boolean }>;
  remove(to: Endpoint): Promise<{ removed: boolean }>;
  /** Owed nothing from now on, or again everything. NOT_FOUND where it is not subscribed. */
  pause(to: Endpoint, isPaused: boolean): Promise<{ changed: boolean }>;
  /** Its shard, with all in it, to that member; null: to whom it belongs by weight. */
  move(to: Endpoint, member: string | null): Promise<{ shard: number; subscribers: number }>;
  /** It hands all over and ends. */
  drain(member: string): Promise<{ draining: boolean }>;
  feedAdd(feed: NamedFeed): Promise<{ existing: boolean }>;
  feedRemove(name: string): Promise<{ removed: boolean }>;
  filterLoad(name: string, module: Uint8Array): Promise<{ sha256: string }>;
  /** For one subscriber, or (null) for all that name none. */
  filterUse(name: string, param: string, to: Endpoint | null): Promise<void>;
  filterUnload(name: string): Promise<void>;
}

/** A subscriber as a member has its replicator serve it. */
export interface Placement {
  readonly endpoint: Endpoint;
  readonly feeds: FeedChoice;
  /** Of a filter that is loaded. */
  readonly filter: string;
  readonly param: Uint8Array;
  readonly isPaused: boolean;
}

/** What a member does with its own replicator. */
export interface FleetTarget {
  /**
   * Serves it so from the next table on, or as it is now from now on. Throws FantailError, with
   * nothing changed.
   */
  place(placement: Placement): void;
  remove(endpoint: Endpoint): void;
  /** Resolves once every worker follows all of that. */
  followed(): Promise<void>;
  /** Resolves once every worker has begun a turn after the call, whatever it follows. */
  turned(): Promise<void>;
  /** Everybody in the table. */
  served(): Endpoint[];
  /** Copies sent to those since each was placed. */
  copiesTo(endpoints: readonly Endpoint[]): Promise<number>;
  /** Checked as any; everybody who has one of that name gets this one. Throws FantailError. */
  loadFilter(name: string, bytes: Uint8Array): Promise<void>;
  unloadFilter(name: string): Promise<void>;
  /** SHA-256 of what the name means; null: nothing. */
  filterHash(name: string): string | null;
  feeds(): readonly NamedFeed[];
  addFeed(feed: NamedFeed): Promise<void>;
  removeFeed(name: string): Promise<void>;
  /** Of the last seconds, the slowest of the workers; null: nothing was sent in them. */
  inside(): FleetHop['inside_ns'];
  /** The fence: CLOCK_MONOTONIC, nanoseconds; 0n: there is none. */
  readonly fence_ns: bigint;
  serveUntil(moment_ns: bigint): void;
}
