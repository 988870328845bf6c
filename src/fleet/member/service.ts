/**
 * Has the member's own replicator serve the subscribers of the shards that are wanted: feeds first,
 * then filters, then who gets what by which. A subscriber is served exactly as the group says, or
 * not at all: whoever this member may not or cannot serve so is left out, with the reason.
 */
import { createHash } from 'node:crypto';
import type { Endpoint } from '../../domain/endpoint.js';
import { endpointText } from '../../domain/endpoint.js';
import { FantailError, messageOf } from '../../domain/errors.js';
import { BUILT_IN, paramOf } from '../../domain/filter.js';
import type { FleetTarget } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import { EtcdAway, EtcdRefusal } from '../etcd/answers.js';
import type { GroupSubscriber, Mirror } from '../registry/mirror.js';
import type { Relays } from '../relays/relays.js';
import { shardOf } from '../shards/rendezvous.js';

/** In place of the sentence that tells to remove one: others would have room. */
const FULL = "this member's table is full; start more members, or move shards with fleet move";

export interface ServiceOptions {
  readonly target: FleetTarget;
  readonly mirror: Mirror;
  /** Who is served beside the subscribers. */
  readonly relays: Relays;
  /** The bytes of a module; null: there are none in etcd. */
  readonly module: (sha256: string) => Promise<Uint8Array | null>;
  /** Modules that may run here. */
  readonly allowed: 'any' | ReadonlySet<string>;
  /** Feeds of the command line, which go before the group's. */
  readonly ownFeeds: ReadonlySet<string>;
  /** A module has been loaded, or not: apply() does more now. */
  readonly onChange: () => void;
}

/** What a subscriber was placed as. */
interface Placed {
  readonly endpoint: Endpoint;
  readonly shard: number;
  /** Null: an earlier supervisor placed it. */
  readonly source: GroupSubscriber | null;
  /** Its filter by name, module and parameter. */
  readonly how: string;
}

/** Of a name in the group. `reason`: why it cannot be used; null while it is loaded. */
type Loaded = { readonly sha256: string } & (
  | { readonly state: 'loading' | 'ready' }
  | { readonly state: 'refused'; readonly reason: string }
);

/** Why it is not served, and what that was said of. */
interface Unserved {
  readonly shard: number;
  readonly source: GroupSubscriber;
  readonly reason: string;
  /** By performance.now(). */
  readonly tried_ms: number;
}

/** Whoever was refused is tried again after so long: the table may have room by then. */
const AGAIN_MS = 1000;

/** Of those that are not served so many are told as they come; `stats` counts all. */
const LOGGED_MAX = 256;

/** Says nothing of the module: etcd did not answer, or the checks have no time now. */
const isPassing = (error: unknown): boolean =>
  error instanceof EtcdAway ||
  error instanceof EtcdRefusal ||
  (error instanceof FantailError && error.code === 'BUSY');

type Chosen =
  | { readonly name: string; readonly param: string; readonly sha256: string }
  | { readonly wait: true }
  | { readonly reason: string };

export class Service {
  /** Shards whose subscribers are in the table, and those of them that lack nobody who waits. */
  serving: ReadonlySet<number> = new Set();
  ready: ReadonlySet<number> = new Set();
  /** By `ip:port`. */
  readonly unserved = new Map<string, Unserved>();
  /** Found in this pass: nobody else is tried. */
  private isFull = false;
  private isFullTold = false;
  private readonly placed = new Map<string, Placed>();
  private readonly loaded = new Map<string, Loaded>();
  /** Where members take their feed, as `ip:port`, and whose each is: nobody's to subscribe. */
  private listeners: ReadonlyMap<string, string> = new Map();

  constructor(private readonly options: ServiceOptions) {}

  get size(): number {
    return this.placed.size;
  }

  /** Those that an earlier supervisor has left in the table. */
  adopt(): void {
    const endpoints = this.options.target.served();
    for (const endpoint of endpoints) {
      const shard = shardOf(endpoint);
      this.placed.set(endpointText(endpoint), { endpoint, shard, source: null, how: '' });
    }
    this.serving = new Set([...this.placed.values()].map(({ shard }) => shard));
  }

  /** Resolves once every worker follows. */
  async apply(wanted: ReadonlySet<number>): Promise<void> {
    await this.applyFeeds();
    const { target, relays, mirror } = this.options;
    const { subscribers } = mirror;
    const members = [...mirror.members];
    this.listeners = new Map(members.map(([name, { listen }]) => [endpointText(listen), name]));
    this.forgetFilters();
    relays.apply();
    for (const [text, { endpoint, shard }] of this.placed) {
      if (relays.at(text) !== null) {
        this.placed.delete(text);
        continue;
      }
      const subscriber = wanted.has(shard) ? subscribers[shard]?.get(text) : undefined;
      if (subscriber === undefined || 'reason' in this.filterOf(subscriber))
        this.leaveOut(text, endpoint);
    }
    for (const [text, { shard }] of this.unserved)
      if (!wanted.has(shard) || !subscribers[shard]?.has(text)) this.unserved.delete(text);
    this.isFull = false;
    const waiting = new Set<number>();
    for (const shard of wanted)
      for (const [text, subscriber] of subscribers[shard] ?? [])
        if (!this.place(text, subscriber)) waiting.add(shard);
    // before: what is served while it is taken over by another counts as served
    this.serving = new Set([...this.serving, ...wanted]);
    await target.followed();
    this.serving = new Set(wanted);
    this.ready = new Set([...wanted].filter((shard) => !waiting.has(shard)));
    this.unloadFilters();
    this.tellRoom();
  }

  /** Serves nobody; resolves once every worker follows. */
  async clear(): Promise<void> {
    for (const [text, { endpoint }] of this.placed) this.leaveOut(text, endpoint);
    this.options.relays.clear();
    this.unserved.clear();
    await this.options.target.followed();
    this.serving = new Set();
    this.ready = new Set();
  }

  /** Copies sent to the subscribers of a shard since they were placed. */
  copiesOf(shard: number): Promise<number> {
    const of = [...this.placed.values()].filter((each) => each.shard === shard);
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

  private leaveOut(text: string, endpoint: Endpoint): void {
    this.options.target.remove(endpoint);
    this.placed.delete(text);
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
    const before = this.placed.get(text);
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
      this.placed.set(text, { endpoint, shard, source: subscriber, how });
      this.unserved.delete(text);
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      if (before !== undefined) this.leaveOut(text, endpoint); // never as it is not to be
      this.isFull ||= error.code === 'TABLE_FULL';
      this.refuse(text, subscriber, error.code === 'TABLE_FULL' ? FULL : error.message);
    }
    return true;
  }

  private refuse(subscriber: string, source: GroupSubscriber, reason: string): void {
    const before = this.unserved.get(subscriber)?.reason;
    const tried_ms = performance.now();
    this.unserved.set(subscriber, { shard: source.shard, source, reason, tried_ms });
    if (before === reason) return;
    // those without room are told together
    const level = this.unserved.size > LOGGED_MAX || reason === FULL ? 'debug' : 'warn';
    log[level]({ subscriber }, `fleet: ${subscriber} is not served here: ${reason}`);
  }

  // -- filters ------------------------------------------------------------------------------------

  /** By which filter it is served: its own, or the group's default; never another one. */
  private filterOf({ endpoint, filter, param }: GroupSubscriber): Chosen {
    const { mirror, target } = this.options;
    const listener = this.listeners.get(endpointText(endpoint));
    if (listener !== undefined)
      return { reason: `member ${listener} listens there: its packets would go round` };
    const chosen = filter === null ? mirror.default : { filter, param };
    const name = chosen?.filter ?? BUILT_IN;
    const text = chosen?.param ?? '';
    if (name === BUILT_IN) return { name, param: text, sha256: '' };
    const record = mirror.filters.get(name);
    if (record === undefined) return { reason: `there is no filter ${name} in the group` };
    const { sha256 } = record;
    const { allowed } = this.options;
    if (allowed !== 'any' && !allowed.has(sha256))
      return {
        reason: `filter ${name}: this member does not allow its module; see --fleet-allow-module ${sha256}`,
      };
    const known = this.loaded.get(name);
    if (known === undefined || known.sha256 !== sha256) {
      if (known?.state !== 'loading') this.load(name, sha256);
      return this.loaded.get(name)?.state === 'ready'
        ? { name, param: text, sha256 }
        : { wait: true };
    }
    if (known.state === 'refused') return { reason: known.reason };
    if (known.state === 'loading') return { wait: true };
    if (target.filterHash(name) === sha256) return { name, param: text, sha256 };
    const reason = `filter ${name}: its module was taken out of use here; the log says why`;
    this.loaded.set(name, { sha256, state: 'refused', reason });
    return { reason };
  }

  /** Whoever has it waits; who has an older one of that name keeps it until then. */
  private load(name: string, sha256: string): void {
    if (this.options.target.filterHash(name) === sha256) {
      this.loaded.set(name, { sha256, state: 'ready' });
      return;
    }
    this.loaded.set(name, { sha256, state: 'loading' });
    this.loadNow(name, sha256)
      .then(
        (): Loaded => ({ sha256, state: 'ready' }),
        (error): Loaded | null => {
          const reason = `filter ${name}: ${messageOf(error)}`;
          return isPassing(error) ? null : { sha256, state: 'refused', reason };
        },
      )
      .then((outcome) => {
        if (outcome === null) {
          this.loaded.delete(name); // the next pass tries again
          return;
        }
        this.loaded.set(name, outcome);
        this.options.onChange();
      });
  }

  private async loadNow(name: string, sha256: string): Promise<void> {
    const bytes = await this.options.module(sha256);
    if (bytes === null) throw new Error(`its module ${sha256} is not in etcd`);
    const hash = createHash('sha256').update(bytes).digest('hex');
    if (hash !== sha256) throw new Error(`what is in etcd as ${sha256} is ${hash}`);
    await this.options.target.loadFilter(name, bytes);
    log.info(
      { op: 'filter.load', who: 'fleet', code: 'ok', filter: name },
      `fleet: filter ${name}`,
    );
  }

  /** A name that the group has again later is tried again. */
  private forgetFilters(): void {
    for (const [name, { state }] of this.loaded)
      if (state === 'refused' && !this.options.mirror.filters.has(name)) this.loaded.delete(name);
  }

  /** Those of the group that it has no more, once nobody has them here. */
  private unloadFilters(): void {
    for (const [name, { state }] of this.loaded) {
      if (state !== 'ready' || this.options.mirror.filters.has(name)) continue;
      this.loaded.delete(name);
      this.options.target.unloadFilter(name).catch((error) => {
        log.debug({ filter: name }, `fleet: filter ${name} stays loaded: ${messageOf(error)}`);
      });
    }
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
    if (isChanged)
      for (const [text, each] of this.placed) this.placed.set(text, { ...each, source: null });
  }

  private feedFaults = new Map<string, string>();

  private tellFeed(feed: string, reason: string): void {
    if (this.feedFaults.get(feed) === reason) return;
    this.feedFaults.set(feed, reason);
    log.warn({ feed }, `fleet: feed ${feed} is not received here: ${reason}`);
  }
}
