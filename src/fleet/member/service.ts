/**
 * Has the member's own replicator serve the subscribers of the shards that are wanted: feeds first,
 * then filters, then who gets what by which. A subscriber is served exactly as the group says, or
 * not at all: whoever this member may not or cannot serve so is left out, with the reason.
 */
import type { Endpoint } from '../../domain/endpoint.js';
import { endpointText } from '../../domain/endpoint.js';
import { FantailError, messageOf } from '../../domain/errors.js';
import { paramOf } from '../../domain/filter.js';
import type { FleetTarget } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import type { GroupSubscriber, Mirror } from '../registry/mirror.js';
import type { Relays } from '../relays/relays.js';
import { SHARDS, shardOf } from '../shards/rendezvous.js';
import { type Chosen, Modules, type ModulesOptions } from './modules.js';

/** In place of the sentence that tells to remove one: others would have room. */
const FULL = "this member's table is full; start more members, or move shards with fleet move";

export interface ServiceOptions extends ModulesOptions {
  readonly target: FleetTarget;
  readonly mirror: Mirror;
  /** Who is served beside the subscribers. */
  readonly relays: Relays;
  /** Feeds of the command line, which go before the group's. */
  readonly ownFeeds: ReadonlySet<string>;
}

/** What a subscriber was placed as. */
interface Placed {
  readonly endpoint: Endpoint;
  /** Null: an earlier supervisor placed it. */
  readonly source: GroupSubscriber | null;
  /** Its filter by name, module and parameter. */
  readonly how: string;
}

/** Why it is not served, and what that was said of. */
interface Unserved {
  readonly shard: number;
  readonly source: GroupSubscriber;
  readonly reason: string;
  /** When the replicator refused it, by performance.now(); -Infinity: it was not asked. */
  readonly tried_ms: number;
}

/** Whoever the replicator refused is tried again after so long: it may have room by then. */
const AGAIN_MS = 1000;

/** Of those that are not served so many are told as they come; `stats` counts all. */
const LOGGED_MAX = 256;

export class Service {
  /** Shards whose subscribers are in the table, and those of them that lack nobody who waits. */
  serving: ReadonlySet<number> = new Set();
  ready: ReadonlySet<number> = new Set();
  /** By `ip:port`. */
  readonly unserved = new Map<string, Unserved>();
  /** Found in this pass: nobody else is tried. */
  private isFull = false;
  private isFullTold = false;
  /** By shard, then by `ip:port`. */
  private readonly placed: readonly Map<string, Placed>[] = Array.from(
    { length: SHARDS },
    () => new Map(),
  );
  /** What the mirror had counted of each shard, and in common, when it was looked at last. */
  private readonly shardChanges = new Array<number>(SHARDS).fill(-1);
  private commonChanges = -1;
  /** Whose subscribers were to be served then, and those shards in which some wait. */
  private wanted: ReadonlySet<number> = new Set();
  private readonly waiting = new Set<number>();
  /** Whatever was placed is to be looked at again: a feed or a module is another one. */
  private isStale = true;
  private readonly modules: Modules;
  /** Where members take their feed, as `ip:port`, and whose each is: nobody's to subscribe. */
  private listeners: ReadonlyMap<string, string> = new Map();

  constructor(private readonly options: ServiceOptions) {
    const onChange = () => {
      this.isStale = true;
      options.onChange();
    };
    this.modules = new Modules({ ...options, onChange });
  }

  get size(): number {
    return this.placed.reduce((sum, { size }) => sum + size, 0);
  }

  /** Those that an earlier supervisor has left in the table. */
  adopt(): void {
    const endpoints = this.options.target.served();
    for (const endpoint of endpoints) {
      const shard = shardOf(endpoint);
      this.placedOf(shard).set(endpointText(endpoint), { endpoint, source: null, how: '' });
    }
    this.serving = new Set(
      [...this.placed.keys()].filter((shard) => this.placedOf(shard).size > 0),
    );
  }

  /** Resolves once every worker follows. What has not changed costs nothing. */
  async apply(wanted: ReadonlySet<number>): Promise<void> {
    await this.applyFeeds();
    const { target, relays, mirror } = this.options;
    const members = [...mirror.members];
    this.listeners = new Map(members.map(([name, { listen }]) => [endpointText(listen), name]));
    this.modules.forget();
    relays.apply();
    const shards = this.changedShards(wanted);
    this.isStale = true; // if anything is thrown
    for (const shard of shards) this.leaveOutOf(shard, wanted.has(shard));
    this.isFull = false;
    for (const shard of shards) if (wanted.has(shard)) this.placeAllOf(shard);
    this.isStale = false;
    this.wanted = new Set(wanted);
    // before: what is served while it is taken over by another counts as served
    this.serving = new Set([...this.serving, ...wanted]);
    await target.followed();
    this.serving = new Set(wanted);
    this.ready = new Set([...wanted].filter((shard) => !this.waiting.has(shard)));
    this.modules.unload();
    this.tellRoom();
  }

  /** Those whose subscribers may be others, or served in another way, since they were looked at. */
  private changedShards(wanted: ReadonlySet<number>): number[] {
    const { shardChanges, commonChanges } = this.options.mirror;
    const isAll = this.isStale || commonChanges !== this.commonChanges || this.modules.hasLost;
    this.commonChanges = commonChanges;
    const refused = new Set([...this.unserved.values()].map(({ shard }) => shard));
    const isChanged = (shard: number) =>
      isAll ||
      shardChanges[shard] !== this.shardChanges[shard] ||
      wanted.has(shard) !== this.wanted.has(shard) ||
      refused.has(shard) ||
      this.waiting.has(shard);
    const changed = [...shardChanges.keys()].filter(isChanged);
    for (const shard of changed) this.shardChanges[shard] = shardChanges[shard] ?? 0;
    return changed;
  }

  /** Whoever is not to be served any more, before others are placed: the table may be full. */
  private leaveOutOf(shard: number, isWanted: boolean): void {
    const { relays, mirror } = this.options;
    const there = isWanted ? mirror.subscribers[shard] : undefined;
    this.waiting.delete(shard);
    const placed = this.placedOf(shard);
    for (const [text, { endpoint }] of placed) {
      if (relays.at(text) !== null) {
        placed.delete(text);
        continue;
      }
      const subscriber = there?.get(text);
      if (subscriber === undefined || 'reason' in this.filterOf(subscriber))
        this.leaveOut(shard, text, endpoint);
    }
    for (const [text, refused] of this.unserved)
      if (refused.shard === shard && !there?.has(text)) this.unserved.delete(text);
  }

  private placeAllOf(shard: number): void {
    for (const [text, subscriber] of this.options.mirror.subscribers[shard] ?? [])
      if (!this.place(text, subscriber)) this.waiting.add(shard);
  }

  /** Serves nobody; resolves once every worker follows. */
  async clear(): Promise<void> {
    for (const [shard, placed] of this.placed.entries())
      for (const [text, { endpoint }] of placed) this.leaveOut(shard, text, endpoint);
    this.options.relays.clear();
    this.unserved.clear();
    this.waiting.clear();
    this.wanted = new Set();
    await this.options.target.followed();
    this.serving = new Set();
    this.ready = new Set();
  }

  /** Copies sent to the subscribers of a shard since they were placed. */
  copiesOf(shard: number): Promise<number> {
    const of = [...this.placedOf(shard).values()];
    return this.options.target.copiesTo(of.map(({ endpoint }) => endpoint));
  }

  // -- subscribers --------------------------------------------------------------------------------

  /** Why each is not served. */
  get reasons(): ReadonlyMap<string, string> {
    return new Map([...this.unserved].map(([text, { reason }]) => [text, reason]));
  }

  /** Those for whom the table has no room. */
  get noRoom(): number {
    let count = 0;
    for (const { reason } of this.unserved.values()) if (reason === FULL) count += 1;
    return count;
  }

  /** Once when there is none, and once when there is for all. */
  private tellRoom(): void {
    const { noRoom } = this;
    const isFull = noRoom > 0;
    if (isFull === this.isFullTold) return;
    this.isFullTold = isFull;
    if (isFull)
      log.warn(
        `fleet: this member's table is full with ${this.size}: nobody serves ${noRoom} subscribers of its shards; start more members, or move shards with fleet move`,
      );
    else log.info('fleet: this member has room for all subscribers of its shards again');
  }

  private placedOf(shard: number): Map<string, Placed> {
    const placed = this.placed[shard];
    if (placed === undefined) throw new Error(`there is no shard ${shard}`);
    return placed;
  }

  private leaveOut(shard: number, text: string, endpoint: Endpoint): void {
    this.options.target.remove(endpoint);
    this.placedOf(shard).delete(text);
  }

  /** False: it waits for its filter. */
  private place(text: string, subscriber: GroupSubscriber): boolean {
    const { endpoint, shard, feeds, paused } = subscriber;
    const relay = this.options.relays.at(text);
    if (relay !== null) {
      this.refuse(text, subscriber, `member ${relay} takes its feed there`);
      return true;
    }
    const filter = this.filterOf(subscriber);
    if ('wait' in filter) return false;
    if ('reason' in filter) {
      this.refuse(text, subscriber, filter.reason);
      return true;
    }
    const how = `${filter.name} ${filter.sha256} ${filter.param}`;
    const placed = this.placedOf(shard);
    const before = placed.get(text);
    if (before?.source === subscriber && before.how === how) return true;
    const refused = this.unserved.get(text);
    const isSame =
      refused?.source === subscriber && performance.now() - refused.tried_ms < AGAIN_MS;
    if (isSame || (before === undefined && this.isFull)) {
      if (!isSame) this.refuse(text, subscriber, FULL);
      return true;
    }
    const { name, param } = filter;
    const bytes = paramOf(param) ?? new Uint8Array(); // as it was parsed
    try {
      this.options.target.place({ endpoint, feeds, filter: name, param: bytes, isPaused: paused });
      placed.set(text, { endpoint, source: subscriber, how });
      this.unserved.delete(text);
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      if (before !== undefined) this.leaveOut(shard, text, endpoint); // never as it is not to be
      this.isFull ||= error.code === 'TABLE_FULL';
      const reason = error.code === 'TABLE_FULL' ? FULL : error.message;
      this.refuse(text, subscriber, reason, performance.now());
    }
    return true;
  }

  private refuse(
    subscriber: string,
    source: GroupSubscriber,
    reason: string,
    tried_ms = Number.NEGATIVE_INFINITY,
  ): void {
    const before = this.unserved.get(subscriber)?.reason;
    this.unserved.set(subscriber, { shard: source.shard, source, reason, tried_ms });
    if (before === reason) return;
    // those without room are told together
    const level = this.unserved.size > LOGGED_MAX || reason === FULL ? 'debug' : 'warn';
    log[level]({ subscriber }, `fleet: ${subscriber} is not served here: ${reason}`);
  }

  /** By which filter it is served: its own, or the group's default; never another one. */
  private filterOf(subscriber: GroupSubscriber): Chosen {
    const listener = this.listeners.get(endpointText(subscriber.endpoint));
    if (listener !== undefined)
      return { reason: `member ${listener} listens there: its packets would go round` };
    return this.modules.chosenBy(subscriber);
  }

  // -- feeds --------------------------------------------------------------------------------------

  private async applyFeeds(): Promise<void> {
    const { target, mirror, ownFeeds } = this.options;
    const isOwn = (name: string) => name === 'main' || ownFeeds.has(name);
    const there = new Map(target.feeds().map((feed) => [feed.name, feed]));
    let isChanged = false;
    const attempt = async (name: string, work: () => Promise<void>) => {
      try {
        await work();
        isChanged = true;
      } catch (error) {
        this.tellFeed(name, messageOf(error));
      }
    };
    for (const [name, feed] of there) {
      const wanted = mirror.feeds.get(name);
      const isSame =
        wanted?.ip === feed.ip && wanted.port === feed.port && wanted.source === feed.source;
      if (isOwn(name) || isSame) continue;
      await attempt(name, () => target.removeFeed(name));
      there.delete(name);
    }
    for (const [name, feed] of mirror.feeds)
      if (!isOwn(name) && !there.has(name))
        await attempt(name, () => target.addFeed({ name, ...feed }));
    // a feed that comes again is another one to those who had it
    if (!isChanged) return;
    this.isStale = true;
    for (const placed of this.placed)
      for (const [text, each] of placed) placed.set(text, { ...each, source: null });
  }

  private feedFaults = new Map<string, string>();

  private tellFeed(feed: string, reason: string): void {
    if (this.feedFaults.get(feed) === reason) return;
    this.feedFaults.set(feed, reason);
    log.warn({ feed }, `fleet: feed ${feed} is not received here: ${reason}`);
  }
}
