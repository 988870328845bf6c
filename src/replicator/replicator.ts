/** What control may ask of a running replicator: subscribers, statistics, filters. */
import { setImmediate as endOfTurn } from 'node:timers/promises';
import type { Counts } from '../domain/counts.js';
import { type Endpoint, endpointText, isMulticast } from '../domain/endpoint.js';
import type { Assignment } from '../domain/filter.js';
import type { Lease } from '../domain/lease.js';
import type { Replicator } from '../domain/replicator.js';
import type { FilterInfo, FilterRow, Stats, SubscriberRow } from '../domain/statistics.js';
import type { FilterDesk } from '../filters/desk.js';
import type { Filters } from '../filters/registry.js';
import { addon } from '../memory/addon.js';
import type { DataPlane } from '../processes/data-plane.js';
import type { Pulse } from '../processes/pulse.js';
import type { Reach, Route } from '../routes/reach.js';
import type { Leases } from '../subscribers/leases.js';
import type { Publisher } from '../subscribers/publisher.js';
import type { Subscriber, Subscribers } from '../subscribers/subscribers.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import type { Destinations } from './destinations.js';
import type { Deployment } from './plan/deployment.js';
import type { Paths } from './plan/paths.js';
import { statsOf, whenSettled } from './stats.js';

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
  readonly subscribers: Subscribers;
  readonly leases: Leases;
  readonly publisher: Publisher;
  readonly router: Router;
  readonly filters: Filters;
  readonly desk: FilterDesk;
  readonly pulse: Pulse;
  readonly paths: Paths;
  /** The socket of the slow path; null: there is none. */
  readonly slowPath: number | null;
  /** As it is called now. */
  readonly interfaceName: () => string;
}

export class LiveReplicator implements Replicator {
  /** Asked for, and not read yet. */
  private reading: Promise<Stats> | null = null;

  constructor(
    private readonly parts: ReplicatorParts,
    /** Other ones once the interface's addresses have changed. */
    public destinations: Destinations,
  ) {}

  async add(ip: string, port: number, lease: Lease): Promise<{ existing: boolean }> {
    const { subscribers, publisher, leases } = this.parts;
    this.destinations.check(ip, port);
    const known = subscribers.find({ ip, port });
    leases.give(known ?? this.newcomer({ ip, port }), lease);
    await publisher.applied();
    return { existing: known !== undefined };
  }

  /** Of an earlier run: never served by another filter than its own. Published by who calls. */
  restore(endpoint: Endpoint, lease: Lease, filter: Assignment): void {
    this.destinations.check(endpoint.ip, endpoint.port);
    this.parts.leases.give(this.newcomer(endpoint, filter), lease);
  }

  private newcomer(
    { ip, port }: Endpoint,
    filter: Assignment = this.parts.filters.forNewcomer(),
  ): Subscriber {
    const { subscribers, router, deployment } = this.parts;
    const worker = subscribers.leastLoadedWorker(deployment.workers);
    const added = subscribers.add({ ip, port, worker, route: KERNEL_ROUTED, filter });
    added.route = router.track({ ip, port, worker });
    return added;
  }

  async remove(ip: string, port: number): Promise<{ removed: boolean }> {
    const found = this.parts.subscribers.find({ ip, port });
    if (found !== undefined) this.forget(found);
    await this.parts.publisher.applied();
    return { removed: found !== undefined };
  }

  /** Its lease has ended. */
  expire(subscriber: Subscriber): void {
    this.forget(subscriber);
    this.parts.publisher.pump();
    log.info(`the lease of ${endpointText(subscriber)} has ended`);
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
        state: route.state === 'no_route' ? 'unresolved' : route.state,
        mac: route.mac === null ? null : macText(route.mac),
        worker,
        filter: filter.module.name,
        expires_s: leases.expiryOf(subscriber),
      };
    });
  }

  /** Read once for all who ask in one turn of the event loop. */
  stats(): Promise<Stats> {
    this.reading ??= this.readInTurn();
    return this.reading;
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
    return statsOf(plane.arena, subscribers.all(), {
      filters: desk.stats(),
      interfaceName: config.interfaceName,
      queues: deployment.queues,
      mode,
      fallbacks,
      layout: deployment.layout,
      feed: { ip: config.listenIp, port: config.listenPort },
      startedAt_ms,
      verdicts: xdp === null ? null : { fd: xdp.verdicts, before: this.parts.verdictsBefore },
      rxSockets: hasXsk ? rx : [],
      txSockets: hasXsk ? tx : [],
      deliveredSockets: this.deliveredSockets(),
      joined: this.joined(),
      workers: plane.workers,
      pathReason: (worker) => paths.reasonOf(worker),
    });
  }

  /** UDP sockets that the kernel delivers the feed to. */
  private deliveredSockets(): readonly number[] {
    const { plane, slowPath } = this.parts;
    if (plane.opened.mode === 'socket') return plane.opened.rx;
    return slowPath === null ? [] : [slowPath];
  }

  /** Whether the kernel receives the feed's group; null: the feed is sent to none. */
  private joined(): boolean | null {
    const { netns, listenIp } = this.parts.config;
    const name = this.parts.interfaceName();
    return isMulticast(listenIp) && name !== '-' ? addon.isMember(netns, name, listenIp) : null;
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
}

/** `02:00:00:00:00:01`. */
function macText(mac: Uint8Array): string {
  return Buffer.from(mac)
    .toString('hex')
    .replace(/(..)(?=.)/g, '$1:');
}
