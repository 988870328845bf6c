/**
 * Who is subscribed: which row of the subscriber table each has, which worker serves it, which
 * filter answers for it, how it is reached. table.ts publishes it; here is what it says.
 *
 * A row is used again only when its last copy has ended, which table.ts finds out.
 */
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { FantailError } from '../domain/errors.js';
import type { Holder } from '../domain/filter.js';
import { limits } from '../memory/layout.js';
import type { Route } from '../routes/reach.js';

export interface Subscriber extends Endpoint, Holder {
  readonly row: number;
  readonly worker: number;
  /** Unique to each subscription: counters of an earlier one in the same row are not its own. */
  readonly epoch: bigint;
  /** Which feeds it gets, a bit each by index; EVERY_FEED: those to come, too. */
  feeds: bigint;
  /** It is owed nothing for now, by wish. */
  isPaused: boolean;
  route: Route;
  /** The version of the whole that has its last change. */
  changed: number;
}

export class Subscribers {
  /** By endpointText, in the order of subscribing. */
  private readonly live = new Map<string, Subscriber>();
  private readonly freeRows = Array.from(
    { length: limits.SUBSCRIBERS_MAX },
    (_, i) => limits.SUBSCRIBERS_MAX - 1 - i,
  );
  private retired: number[] = [];
  /** Subscribers of each worker. */
  private readonly loads: number[] = [];
  private epochs = 0n;
  /** Another number after every change. */
  version = 0;

  /** Takes over those of an earlier supervisor, in their order; `retired`: rows still in use. */
  restore(
    subscribers: readonly Omit<Subscriber, 'changed'>[],
    retired: ReadonlySet<number>,
    epochs: bigint,
  ): void {
    for (const each of subscribers) {
      this.live.set(endpointText(each), { ...each, changed: 0 });
      this.load(each.worker, 1);
    }
    const used = new Set([...subscribers.map(({ row }) => row), ...retired]);
    const free = this.freeRows.filter((row) => !used.has(row));
    this.freeRows.splice(0, this.freeRows.length, ...free);
    this.retired.push(...retired);
    this.epochs = epochs;
    this.touch();
  }

  all(): Iterable<Subscriber> {
    return this.live.values();
  }

  get size(): number {
    return this.live.size;
  }

  find(endpoint: Endpoint): Subscriber | undefined {
    return this.live.get(endpointText(endpoint));
  }

  /** Takes a row. Throws TABLE_FULL. */
  add(newcomer: Omit<Subscriber, 'row' | 'epoch' | 'changed'>): Subscriber {
    const row = this.freeRows.pop();
    if (row === undefined)
      throw new FantailError(
        'TABLE_FULL',
        `${limits.SUBSCRIBERS_MAX} subscribers are served; remove one first`,
      );
    const subscriber = { ...newcomer, row, epoch: ++this.epochs, changed: 0 };
    this.live.set(endpointText(subscriber), subscriber);
    this.load(subscriber.worker, 1);
    this.touch([subscriber]);
    return subscriber;
  }

  remove(endpoint: Endpoint): boolean {
    const subscriber = this.find(endpoint);
    if (subscriber === undefined) return false;
    this.live.delete(endpointText(endpoint));
    this.load(subscriber.worker, -1);
    this.retired.push(subscriber.row);
    this.touch([]);
    return true;
  }

  choose(subscriber: Subscriber, feeds: bigint): void {
    subscriber.feeds = feeds;
    this.touch([subscriber]);
  }

  pause(subscriber: Subscriber, isPaused: boolean): void {
    subscriber.isPaused = isPaused;
    this.touch([subscriber]);
  }

  reroute(subscriber: Subscriber, route: Route): void {
    subscriber.route = route;
    this.touch([subscriber]);
  }

  /** Something that is published with these is different: their filter, for example. */
  touch(changed: Iterable<Subscriber> = this.all()): void {
    this.version++;
    for (const subscriber of changed) subscriber.changed = this.version;
  }

  /** Rows of those that were removed since the last call; whoever asks frees them in the end. */
  takeRetired(): number[] {
    return this.retired.splice(0);
  }

  freeRow(row: number): void {
    this.freeRows.push(row);
  }

  /** Of so many, the one that serves the fewest. */
  leastLoadedWorker(workers: number): number {
    const loads = Array.from({ length: workers }, (_, worker) => this.loads[worker] ?? 0);
    return loads.indexOf(Math.min(...loads));
  }

  private load(worker: number, more: 1 | -1): void {
    this.loads[worker] = (this.loads[worker] ?? 0) + more;
  }
}
