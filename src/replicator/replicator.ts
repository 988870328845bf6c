/** What control may ask of a running replicator: subscribers, statistics, filters. */
import { setImmediate as endOfTurn } from 'node:timers/promises';
import type { ConfigurationAnswer, ReloadAnswer } from '../domain/configuration.js';
import { type Counts, countsSince } from '../domain/counts.js';
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { FantailError } from '../domain/errors.js';
import { ALL_FEEDS, type FeedChoice, type NamedFeed } from '../domain/feed.js';
import type { Assignment } from '../domain/filter.js';
import type { FleetRow } from '../domain/fleet.js';
import type { Lease } from '../domain/lease.js';
import type { GapEvent, Replicator } from '../domain/replicator.js';
import type {
  FeedRow,
  FilterInfo,
  FilterRow,
  Stats,
  SubscriberRow,
  SubscriberState,
} from '../domain/statistics.js';
import { bitOf, EVERY_FEED, type Feed, type Feeds } from '../feeds/feeds.js';
import type { FilterDesk } from '../filters/desk.js';
import type { Gaps } from '../filters/gaps.js';
import type { Filters } from '../filters/registry.js';
import { addon } from '../memory/addon.js';
import type { Recent } from '../memory/recent.js';
import type { WorkerHistograms } from '../metrics/families.js';
import type { DataPlane } from '../processes/data-plane.js';
import type { Pulse } from '../processes/pulse.js';
import type { Reach, Route } from '../routes/reach.js';
import type { Leases } from '../subscribers/leases.js';
import type { Publisher } from '../subscribers/publisher.js';
import type { Subscriber, Subscribers } from '../subscribers/subscribers.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import type { Destinations } from './destinations.js';
import type { FeedDesk } from './feed-desk.js';
import { describe, xdpFigures } from './interface.js';
import type { Deployment } from './plan/deployment.js';
import type { Paths } from './plan/paths.js';
import type { Reloader } from './reload/reloader.js';
import { driverRow, statsOf, verdictsOf, whenSettled } from './stats.js';

/** Who decides how a subscriber is reached. */
export type Router = Pick<Reach, 'track' | 'untrack'>;

const KERNEL_ROUTED: Route = { state: 'live', mac: null, kernelSocket: null };

/** Socket mode: the kernel finds the next hops. */
export const SOCKET_ROUTER: Router = { track: () => KERNEL_ROUTED, untrack: () => {} };

/** What it was opened with. */
export interface ReplicatorParts {
  readonly config: Config;
  readonly deployment: Deployment;
  readonly startedAt_ms: number;
  readonly plane: DataPlane;
  /** Modes that were not possible, and why. */
  readonly fallbacks: Stats['fallbacks'];
  /** Verdicts of each queue when it was opened. */
  readonly verdictsBefore: readonly Counts[];
  /** The driver's figures of XDP then. */
  readonly figuresBefore: Counts;
  readonly subscribers: Subscribers;
  readonly leases: Leases;
  readonly publisher: Publisher;
  readonly router: Router;
  readonly filters: Filters;
  readonly desk: FilterDesk;
  readonly feeds: Feeds;
  readonly feedDesk: FeedDesk;
  readonly gaps: Gaps;
  readonly pulse: Pulse;
  readonly paths: Paths;
  readonly recent: Recent;
  /** The socket of the slow path; null: there is none. */
  readonly slowPath: number | null;
}

function stateOf({ isPaused, route: { state } }: Subscriber): SubscriberState {
  if (isPaused) return 'paused';
  return state === 'no_route' ? 'unresolved' : state;
}

/** A subscriber of an earlier run. */
export interface Kept {
  readonly endpoint: Endpoint;
  readonly lease: Lease;
  readonly filter: Assignment;
  readonly choice: FeedChoice;
  readonly isPaused: boolean;
}

/** What a card tells stays the answer for so long. */
const QUEUES_MS = 1000;

export class LiveReplicator implements Replicator {
  /** Asked for, and not read yet. */
  private reading: Promise<Stats> | null = null;
  /** There once it is open. */
  reloader: Reloader | null = null;
  /** As a member of a group; null: it is none. */
  member: { readonly row: FleetRow } | null = null;
  private queues: { readonly asked_ms: number; readonly answer: Promise<Stats> } | null = null;

  constructor(
    private readonly parts: ReplicatorParts,
    /** Other ones once the interface's addresses have changed. */
    public destinations: Destinations,
  ) {}

  async add(
    ip: string,
    port: number,
    lease: Lease,
    choice?: FeedChoice,
  ): Promise<{ existing: boolean }> {
    const { subscribers, publisher, leases, feeds } = this.parts;
    const chosen = choice && chosenOf(choice, feeds);
    this.checkDestination({ ip, port });
    const known = subscribers.find({ ip, port });
    const subscriber = known ?? this.newcomer({ ip, port });
    leases.give(subscriber, lease);
    if (chosen !== undefined) subscribers.choose(subscriber, chosen);
    await publisher.applied();
    return { existing: known !== undefined };
  }

  /** Of an earlier run: never served by another filter than its own. Published by who calls. */
  restore({ endpoint, lease, filter, choice, isPaused }: Kept): void {
    this.checkDestination(endpoint);
    const { leases, subscribers, feeds } = this.parts;
    const chosen = chosenOf(choice, feeds);
    const newcomer = this.newcomer(endpoint, filter);
    subscribers.choose(newcomer, chosen);
    if (isPaused) subscribers.pause(newcomer, true);
    leases.give(newcomer, lease);
  }

  private checkDestination(endpoint: Endpoint): void {
    const feed = this.parts.feeds.at(endpoint);
    if (feed !== undefined)
      throw new FantailError(
        'NOT_ALLOWED',
        `${endpointText(endpoint)} is the feed ${feed.name} itself`,
      );
    this.destinations.check(endpoint);
  }

  private newcomer(
    { ip, port }: Endpoint,
    filter: Assignment = this.parts.filters.forNewcomer(),
  ): Subscriber {
    const { subscribers, router, deployment, feeds } = this.parts;
    const worker = subscribers.leastLoadedWorker(deployment.workers);
    const place = { ip, port, worker };
    const added = subscribers.add({
      ...place,
      filter,
      route: KERNEL_ROUTED,
      feeds: bitOf(feeds.main),
      isPaused: false,
    });
    added.route = router.track(place);
    return added;
  }

  async remove(ip: string, port: number): Promise<{ removed: boolean }> {
    const removed = this.leaveOut({ ip, port });
    await this.parts.publisher.applied();
    return { removed };
  }

  /** True: it was there. Published by who calls. */
  leaveOut(endpoint: Endpoint): boolean {
    const found = this.parts.subscribers.find(endpoint);
    if (found !== undefined) this.forget(found);
    return found !== undefined;
  }

  async pause(ip: string, port: number, isPaused: boolean): Promise<{ changed: boolean }> {
    const { subscribers, publisher } = this.parts;
    const found = subscribers.find({ ip, port });
    if (found === undefined)
      throw new FantailError('NOT_FOUND', `${ip}:${port} is not subscribed; see: list`);
    const changed = found.isPaused !== isPaused;
    if (changed) subscribers.pause(found, isPaused);
    await publisher.applied();
    return { changed };
  }

  /** Its lease has ended. */
  expire(subscriber: Subscriber): void {
    this.forget(subscriber);
    this.parts.publisher.pump();
    const text = endpointText(subscriber);
    log.info({ op: 'remove', who: 'lease', subscriber: text }, `the lease of ${text} has ended`);
  }

  /** The next table is without it. */
  private forget(subscriber: Subscriber): void {
    const { subscribers, leases, router } = this.parts;
    subscribers.remove(subscriber);
    leases.forget(subscriber);
    router.untrack(subscriber);
  }

  list(): SubscriberRow[] {
    const { subscribers, leases } = this.parts;
    return [...subscribers.all()].map((subscriber) => {
      const { ip, port, worker, route, filter } = subscriber;
      return {
        ip,
        port,
        state: stateOf(subscriber),
        mac: route.mac === null ? null : macText(route.mac),
        worker,
        filter: filter.module.name,
        feeds: this.parts.feeds.namesOf(subscriber.feeds),
        expires_s: leases.expiryOf(subscriber),
      };
    });
  }

  /** How many there are in each state. */
  states(): Map<SubscriberState, number> {
    const counts = new Map<SubscriberState, number>();
    for (const subscriber of this.parts.subscribers.all()) {
      const state = stateOf(subscriber);
      counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return counts;
  }

  feedAdd(feed: NamedFeed): Promise<{ existing: boolean }> {
    return this.parts.feedDesk.add(feed);
  }

  feedRemove(name: string): Promise<{ removed: boolean }> {
    return this.parts.feedDesk.remove(name);
  }

  async feedList(): Promise<FeedRow[]> {
    return (await this.stats()).feeds;
  }

  /** Read once for all who ask in one turn of the event loop. */
  stats(): Promise<Stats> {
    this.reading ??= this.readInTurn();
    return this.reading;
  }

  /**
   * The same for all who ask within a second: some drivers ask their card, under a lock that others
   * of the network wait for.
   */
  queueStats(): Promise<Stats> {
    const now = performance.now();
    if (this.queues === null || now - this.queues.asked_ms > QUEUES_MS)
      this.queues = { asked_ms: now, answer: this.readQueues() };
    return this.queues.answer;
  }

  private async readQueues(): Promise<Stats> {
    const stats = await this.stats();
    const { config, plane, subscribers, verdictsBefore, figuresBefore } = this.parts;
    const link = describe(config);
    if (link === null) return { ...stats, driver: null };
    const { xdp } = plane.opened;
    const driver = driverRow(stats, {
      link,
      figures: countsSince(xdpFigures(config), figuresBefore),
      xdpOf: (queue, index) =>
        xdp === null
          ? {}
          : countsSince(verdictsOf(xdp.verdicts, queue), verdictsBefore[index] ?? {}),
      workerOf: (endpoint) => subscribers.find(endpoint)?.worker,
    });
    return { ...stats, driver };
  }

  /** Of each worker, as counts by bucket. */
  histograms(): WorkerHistograms[] {
    const { arena } = this.parts.plane;
    return Array.from({ length: arena.workers }, (_, worker) => ({
      inside: arena.histogram(worker, 'inside_ns'),
      kick: arena.histogram(worker, 'kick_ns'),
      window: arena.histogram(worker, 'window_ns'),
    }));
  }

  /** Resolves when nothing is read any more; what it reads from may be closed then. */
  async close(): Promise<void> {
    await this.reading?.catch(() => {}); // whoever asked is told
  }

  private async readInTurn(): Promise<Stats> {
    await endOfTurn();
    return whenSettled(this.parts.plane.arena, () => this.readStats()).finally(() => {
      this.reading = null; // in the turn in which it was read
    });
  }

  private readStats(): Stats {
    const { config, deployment, startedAt_ms, plane, fallbacks, subscribers, desk, paths } =
      this.parts;
    const { mode, xdp, rx, tx } = plane.opened;
    const hasXsk = mode !== 'socket';
    const stats = statsOf(plane.arena, subscribers.all(), {
      filters: desk.stats(),
      interfaceName: config.interfaceName,
      queues: deployment.queues,
      mode,
      fallbacks,
      layout: deployment.layout,
      feeds: this.parts.feeds.all(),
      startedAt_ms,
      verdicts: xdp === null ? null : { fd: xdp.verdicts, before: this.parts.verdictsBefore },
      rxSockets: hasXsk ? rx : [],
      txSockets: hasXsk ? tx : [],
      deliveredSockets: (feed) => this.deliveredSockets(feed),
      declined: xdp === null ? null : xdp.declined,
      joined: (feed) => this.parts.feedDesk.joined(feed),
      isOfAnotherHost: (feed) => this.parts.feedDesk.isOfAnotherHost(feed),
      workers: plane.workers,
      recent: this.parts.recent,
      livePools: (worker) => livePoolsOf(plane.opened, worker),
      pathReason: (worker) => paths.reasonOf(worker),
    });
    return this.member === null ? stats : { ...stats, fleet: this.member.row };
  }

  /** UDP sockets that the kernel delivers a feed to. */
  private deliveredSockets({ index, sockets }: Feed): readonly number[] {
    const { plane, slowPath } = this.parts;
    if (index !== 0) return sockets;
    if (plane.opened.mode === 'socket') return plane.opened.rx;
    return slowPath === null ? [] : [slowPath];
  }

  async filterLoad(name: string, module: Uint8Array): Promise<FilterInfo> {
    const info = await this.parts.desk.load(name, module);
    this.parts.pulse.hurry();
    return info;
  }

  filterUse(name: string, param: Uint8Array, to: Endpoint | null): Promise<number> {
    return this.parts.desk.use(name, param, to);
  }

  filterList(): FilterRow[] {
    return this.parts.desk.list();
  }

  filterInfo(name: string): FilterInfo {
    return this.parts.desk.info(name);
  }

  filterUnload(name: string): Promise<void> {
    return this.parts.desk.unload(name);
  }

  configuration(): ConfigurationAnswer {
    return this.reloads().configuration();
  }

  reload(): Promise<ReloadAnswer> {
    return this.reloads().reload('control channel');
  }

  private reloads(): Reloader {
    if (this.reloader !== null) return this.reloader;
    throw new FantailError('BUSY', 'fantail up is starting; ask again in a moment');
  }

  fleet(): never {
    throw new FantailError('BAD_REQUEST', 'this is no member of a group; see: fantail up --fleet');
  }

  onGap(listener: (gap: GapEvent) => void): () => void {
    return this.parts.gaps.onGap(listener);
  }
}

/** A bit for each feed. Throws NOT_FOUND. */
function chosenOf(choice: FeedChoice, feeds: Feeds): bigint {
  return choice.includes(ALL_FEEDS) ? EVERY_FEED : feeds.maskOf(choice);
}

/** Without a map for bulk a worker makes no calls. */
function livePoolsOf({ pages }: { readonly pages: readonly number[] }, worker: number) {
  const map = pages[worker];
  return map === undefined ? 0 : addon.livePools(map);
}

/** `02:00:00:00:00:01`. */
function macText(mac: Uint8Array): string {
  return Buffer.from(mac)
    .toString('hex')
    .replace(/(..)(?=.)/g, '$1:');
}
