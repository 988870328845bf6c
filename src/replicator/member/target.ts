/** The replicator of this process as a member of a group drives it: see FleetTarget. */
import type { Endpoint } from '../../domain/endpoint.js';
import { AppliedLater } from '../../domain/errors.js';
import { ALL_FEEDS, type NamedFeed } from '../../domain/feed.js';
import type { FleetHop, FleetTarget, Placement } from '../../domain/fleet.js';
import { EVERY_FEED, type Feeds } from '../../feeds/feeds.js';
import type { FilterDesk } from '../../filters/desk.js';
import type { Filters } from '../../filters/registry.js';
import type { Arena } from '../../memory/arena.js';
import type { Recent } from '../../memory/recent.js';
import type { Publisher } from '../../subscribers/publisher.js';
import type { Subscribers } from '../../subscribers/subscribers.js';
import type { FeedDesk } from '../feed-desk.js';
import { orLater } from '../reload/roster.js';
import type { LiveReplicator } from '../replicator.js';
import { accountOf, whenSettled } from '../stats.js';

export interface TargetParts {
  readonly replicator: LiveReplicator;
  readonly subscribers: Subscribers;
  readonly filters: Filters;
  readonly desk: FilterDesk;
  readonly feeds: Feeds;
  readonly feedDesk: FeedDesk;
  readonly publisher: Publisher;
  readonly recent: Pick<Recent, 'of'>;
  readonly arena: Arena;
}

export class ReplicatorTarget implements FleetTarget {
  constructor(private readonly parts: TargetParts) {}

  place({ endpoint, feeds: choice, filter, param, isPaused }: Placement): void {
    const { replicator, subscribers, filters, feeds } = this.parts;
    const known = subscribers.find(endpoint);
    const module = filters.find(filter);
    if (known === undefined) {
      const assigned = { module, param, before: null };
      replicator.restore({ endpoint, lease: null, filter: assigned, choice, isPaused });
      return;
    }
    replicator.destinations.check(endpoint); // --allow may be another one by now
    const chosen = choice.includes(ALL_FEEDS) ? EVERY_FEED : feeds.maskOf(choice);
    if (known.feeds !== chosen) subscribers.choose(known, chosen);
    if (known.isPaused !== isPaused) subscribers.pause(known, isPaused);
    const isSame =
      known.filter.module === module && Buffer.compare(known.filter.param, param) === 0;
    if (isSame) return;
    filters.use(filter, param, known);
    subscribers.touch([known]);
  }

  remove(endpoint: Endpoint): void {
    this.parts.replicator.leaveOut(endpoint);
  }

  async followed(): Promise<void> {
    for (;;)
      try {
        return await this.parts.publisher.applied();
      } catch (error) {
        if (!(error instanceof AppliedLater)) throw error;
      }
  }

  turned(): Promise<void> {
    this.parts.subscribers.touch([]); // the next table is another one, though it says the same
    return this.followed();
  }

  served(): Endpoint[] {
    return [...this.parts.subscribers.all()].map(({ ip, port }) => ({ ip, port }));
  }

  async copiesTo(endpoints: readonly Endpoint[]): Promise<number> {
    const { arena, subscribers } = this.parts;
    return whenSettled(arena, () => {
      const all = endpoints.map((each) => subscribers.find(each));
      const found = all.filter((each) => each !== undefined);
      return found.reduce((sum, each) => sum + accountOf(arena, each).sent, 0);
    });
  }

  async loadFilter(name: string, bytes: Uint8Array): Promise<void> {
    await orLater(this.parts.desk.load(name, bytes));
  }

  async unloadFilter(name: string): Promise<void> {
    await orLater(this.parts.desk.unload(name));
  }

  filterHash(name: string): string | null {
    const found = this.parts.filters.named().find((each) => each.name === name);
    return found?.module?.hash ?? null;
  }

  feeds(): readonly NamedFeed[] {
    return this.parts.feeds.all().map(({ name, ip, port, source }) => ({ name, ip, port, source }));
  }

  async addFeed(feed: NamedFeed): Promise<void> {
    await orLater(this.parts.feedDesk.add(feed));
  }

  async removeFeed(name: string): Promise<void> {
    await orLater(this.parts.feedDesk.remove(name));
  }

  inside(): FleetHop['inside_ns'] {
    const { arena, recent } = this.parts;
    let slowest: FleetHop['inside_ns'] = null;
    for (let worker = 0; worker < arena.workers; worker++) {
      const { p50, p99 } = recent.of(worker, arena.histograms(worker)).inside_ns;
      if (p99 > (slowest?.p99 ?? 0)) slowest = { p50, p99 };
    }
    return slowest;
  }

  get fence_ns(): bigint {
    return this.parts.arena.servesUntil() ?? 0n;
  }

  serveUntil(moment_ns: bigint): void {
    this.parts.arena.serveUntil(moment_ns);
  }
}
