/**
 * The subscriber table as the workers and receivers read it: published to the arena by generation.
 *
 * Two buffers take turns. One is rewritten only when every worker and receiver has said that it
 * follows the other, so nobody ever reads a buffer that changes.
 */
import { type Endpoint, isMulticast } from '../domain/endpoint.js';
import { bitOf, type Feed, type Feeds } from '../feeds/feeds.js';
import type { Arena } from '../memory/arena.js';
import { limits, membersOf, offsetOf, structOf } from '../memory/layout.js';
import { SubscriberSets } from './sets.js';
import type { Subscriber, Subscribers } from './subscribers.js';

/** What every record has in common: the interface's own side of each frame. */
export interface Source extends Endpoint {
  readonly mac: Uint8Array;
  /** Time to live of copies to groups. */
  readonly multicastTtl: number;
}

/** Of copies to a host. */
const TTL = 64;

/** A row as it was published; without what an arena does not say. */
export interface PublishedRow extends Endpoint {
  readonly row: number;
  readonly worker: number;
  readonly epoch: bigint;
  /** A bit for each feed by index. */
  readonly feeds: bigint;
  readonly set: bigint;
  readonly isPaused: boolean;
  /** The place in its worker's pool of the socket that its copies go through; null: none. */
  readonly kernelSocket: number | null;
  /** Of its filter. */
  readonly slot: number;
  readonly param: Uint8Array;
}

const STATES = membersOf('subscriber_state');
const at = (field: string) => offsetOf('subscriber', field);
const atFeed = (field: string) => offsetOf('table_feed', field);

function addressBytes(ip: string): Uint8Array {
  return Uint8Array.from(ip.split('.').map(Number));
}

export class SubscriberTable {
  /** Rows of removed subscribers, until nobody serves them and their last copy has ended. */
  private retired: { readonly row: number; readonly generation: bigint }[] = [];
  /**
   * Removed feeds, by the generation without them; and once that is followed, what receivers had
   * handed on by then.
   */
  private readonly leaving = new Map<Feed, { generation: bigint; handed: bigint[] | null }>();
  private generation = 0n;
  /** The version of `subscribers` that the newest generation holds. */
  private written = '';
  /** The versions that the two buffers hold: what changed since is to be written. */
  private readonly held: [number, number] = [-1, -1];
  readonly sets: SubscriberSets;

  constructor(
    private readonly arena: Arena,
    private readonly subscribers: Subscribers,
    private readonly feeds: Feeds,
    private source: Source,
  ) {
    this.sets = new SubscriberSets(feeds);
  }

  /**
   * What an earlier supervisor has published last, for this one to go on from: who is in it, rows
   * that somebody may still serve or have copies of, and the highest epoch of all.
   */
  published(): {
    rows: PublishedRow[];
    retired: Set<number>;
    epochs: bigint;
    feeds: Pick<Feed, 'index' | 'epoch' | 'ip' | 'port' | 'source'>[];
    feedEpochs: bigint;
  } {
    this.generation = this.arena.u64(this.arena.control('generation'));
    const rows = this.readRows();
    this.sets.adopt(rows);
    const live = new Set(rows.map(({ row }) => row));
    const retired = new Set<number>();
    let epochs = rows.at(-1)?.epoch ?? 0n; // they are in order of it
    for (let row = 0; row < limits.SUBSCRIBERS_MAX; row++) {
      const epoch = this.arena.u64(this.arena.counters(row, 'epoch'));
      if (epoch > epochs) epochs = epoch;
      if (epoch !== 0n && !live.has(row)) retired.add(row);
    }
    const feedEpochs = this.arena.u64(this.arena.table(this.generation, 'feed_epochs'));
    return { rows, retired, epochs, feeds: this.readFeeds(), feedEpochs };
  }

  private readFeeds() {
    const { view, buffer } = this.arena;
    const found: Pick<Feed, 'index' | 'epoch' | 'ip' | 'port' | 'source'>[] = [];
    for (let index = 0; index < limits.FEEDS_MAX; index++) {
      const start = this.feedAt(this.generation, index);
      const epoch = view.getBigUint64(start + atFeed('epoch'), true);
      if (epoch === 0n) continue;
      const ipAt = (field: string) => new Uint8Array(buffer, start + atFeed(field), 4).join('.');
      const source = ipAt('source');
      found.push({
        index,
        epoch,
        ip: ipAt('ip'),
        port: view.getUint16(start + atFeed('port')),
        source: source === '0.0.0.0' ? null : source,
      });
    }
    return found;
  }

  private feedAt(generation: bigint, index: number): number {
    return this.arena.table(generation, 'feeds') + index * structOf('table_feed').size;
  }

  /** In the order of subscribing. */
  private readRows(): PublishedRow[] {
    const { view, buffer } = this.arena;
    const { generation } = this;
    if (generation === 0n) return []; // nothing was ever published
    const rows: PublishedRow[] = [];
    for (let worker = 0; worker < this.arena.workers; worker++) {
      const count = view.getUint32(this.arena.table(generation, 'count') + 4 * worker, true);
      const list = this.arena.table(generation, 'list') + 2 * worker * limits.SUBSCRIBERS_MAX;
      for (let i = 0; i < Math.min(count, limits.SUBSCRIBERS_MAX); i++) {
        const row = view.getUint16(list + 2 * i, true) % limits.SUBSCRIBERS_MAX;
        const start = this.arena.table(generation, 'rows') + row * limits.SUBSCRIBER_SIZE;
        const word = (field: string) => view.getUint16(start + at(field), true);
        const bytes = (field: string, size: number) =>
          new Uint8Array(buffer.slice(start + at(field), start + at(field) + size));
        rows.push({
          ip: bytes('ip', 4).join('.'),
          port: view.getUint16(start + at('port')),
          row,
          worker,
          epoch: view.getBigUint64(start + at('epoch'), true),
          feeds: view.getBigUint64(start + at('feeds'), true),
          set: view.getBigUint64(start + at('set'), true),
          isPaused: STATES[word('state')] === 'paused',
          kernelSocket:
            word('kernel_socket') < limits.KERNEL_SOCKETS_MAX ? word('kernel_socket') : null,
          slot: word('filter') % limits.FILTERS_MAX,
          param: bytes('param', Math.min(word('param_length'), limits.PARAM_SIZE)),
        });
      }
    }
    return rows.sort((a, b) => (a.epoch < b.epoch ? -1 : 1));
  }

  /** Frames leave from there now: everything is to be written again. */
  moveTo(source: Source): void {
    this.source = source;
    this.subscribers.touch();
  }

  /** The generation that holds every change made so far, once it is published. */
  get wanted(): bigint {
    return this.isWritten ? this.generation : this.generation + 1n;
  }

  private get isWritten(): boolean {
    return this.written === this.versions;
  }

  private get versions(): string {
    return `${this.subscribers.version} ${this.feeds.version}`;
  }

  /** The oldest generation that any worker or receiver still follows. */
  followed(): bigint {
    let oldest = this.generation;
    const look = (done: bigint) => {
      if (done < oldest) oldest = done;
    };
    for (let w = 0; w < this.arena.workers; w++)
      look(this.arena.u64(this.arena.worker(w, 'generation_done')));
    for (let r = 0; r < this.arena.receivers; r++)
      look(this.arena.u64(this.arena.receiver(r, 'generation_done')));
    return oldest;
  }

  /** Publishes what changed, if everybody follows the last table. True if it did. */
  publish(): boolean {
    const followed = this.followed();
    const next = this.generation + 1n;
    for (const row of this.subscribers.takeRetired()) this.retired.push({ row, generation: next });
    for (const feed of this.feeds.leaving())
      if (!this.leaving.has(feed)) this.leaving.set(feed, { generation: next, handed: null });
    if (this.isWritten || followed !== this.generation) return false;
    this.write(next);
    this.generation = next;
    this.written = this.versions;
    this.arena.publish(this.arena.control('generation'), next);
    return true;
  }

  /**
   * Rows whose subscriber nobody serves any more, and whose copies have all ended, can be used
   * again, and indices of feeds of which nothing is under way. False: there are others still.
   */
  reclaim(followed: bigint): boolean {
    this.reclaimFeeds(followed);
    this.retired = this.retired.filter(({ row, generation }) => {
      if (generation > followed || this.arena.inFlight(row) !== 0n) return true;
      this.subscribers.freeRow(row);
      return false;
    });
    return this.retired.length === 0 && this.leaving.size === 0;
  }

  /** What receivers have handed on as packets of a feed, workers must have taken. */
  private reclaimFeeds(followed: bigint): void {
    for (const [feed, left] of this.leaving) {
      if (left.generation > followed) continue;
      left.handed ??= this.arena.forwarded('tail');
      const taken = this.arena.forwarded('head');
      if (left.handed.some((tail, ring) => (taken[ring] ?? 0n) < tail)) continue;
      this.leaving.delete(feed);
      this.feeds.freed(feed);
    }
  }

  private write(generation: bigint): void {
    const { view } = this.arena;
    const counts = new Array<number>(this.arena.workers).fill(0);
    const wanted = new Array<bigint>(this.arena.workers).fill(0n);
    const which = Number(generation & 1n) as 0 | 1;
    const list = this.arena.table(generation, 'list');
    this.sets.update(this.subscribers.all(), this.subscribers.version, generation);
    for (const subscriber of this.subscribers.all()) {
      const { worker, row } = subscriber;
      const index = counts[worker] ?? 0;
      view.setUint16(list + 2 * (worker * limits.SUBSCRIBERS_MAX + index), row, true);
      counts[worker] = index + 1;
      wanted[worker] = (wanted[worker] ?? 0n) | subscriber.feeds;
      if (subscriber.changed <= this.held[which]) continue;
      this.writeRecord(
        this.arena.table(generation, 'rows') + row * limits.SUBSCRIBER_SIZE,
        subscriber,
      );
    }
    counts.forEach((count, worker) => {
      view.setUint32(this.arena.table(generation, 'count') + 4 * worker, count, true);
    });
    const open = this.feeds.all().reduce((bits, feed) => bits | bitOf(feed), 0n);
    wanted.forEach((feeds, worker) => {
      view.setBigUint64(this.arena.table(generation, 'wanted') + 8 * worker, feeds & open, true);
    });
    this.writeFeeds(generation);
    view.setBigUint64(this.arena.table(generation, 'generation'), generation, true);
    this.held[which] = this.subscribers.version;
  }

  /** Those that are leaving, too: what is under way is still theirs. */
  private writeFeeds(generation: bigint): void {
    const { view, buffer } = this.arena;
    const { size } = structOf('table_feed');
    new Uint8Array(buffer, this.feedAt(generation, 0), size * limits.FEEDS_MAX).fill(0);
    const write = (feed: Feed, isOpen: boolean) => {
      const start = this.feedAt(generation, feed.index);
      const bytes = new Uint8Array(buffer, start, size);
      bytes.set(addressBytes(feed.ip), atFeed('ip'));
      view.setUint16(start + atFeed('port'), feed.port);
      view.setUint16(start + atFeed('is_open'), isOpen ? 1 : 0, true);
      if (feed.source !== null) bytes.set(addressBytes(feed.source), atFeed('source'));
      view.setBigUint64(start + atFeed('epoch'), feed.epoch, true);
    };
    for (const feed of this.feeds.leaving()) write(feed, false);
    for (const feed of this.feeds.all()) write(feed, true);
    const epochs = this.arena.table(generation, 'feed_epochs');
    view.setBigUint64(epochs, this.feeds.lastEpoch, true);
  }

  private writeRecord(start: number, subscriber: Subscriber): void {
    const { ip, port, worker, epoch, feeds, route, filter, isPaused } = subscriber;
    const state = isPaused ? 'paused' : route.state;
    const { view, buffer } = this.arena;
    const bytes = new Uint8Array(buffer, start, limits.SUBSCRIBER_SIZE);
    bytes.set(addressBytes(ip), at('ip'));
    bytes.set(route.mac ?? new Uint8Array(6), at('target_mac'));
    bytes.set(this.source.mac, at('source_mac'));
    bytes.set(addressBytes(this.source.ip), at('source_ip'));
    view.setUint16(start + at('port'), port);
    view.setUint16(start + at('source_port'), this.source.port);
    view.setUint16(start + at('state'), STATES.indexOf(state), true);
    view.setUint16(
      start + at('kernel_socket'),
      route.kernelSocket ?? limits.KERNEL_SOCKETS_MAX,
      true,
    );
    view.setUint32(start + at('worker'), worker, true);
    view.setBigUint64(start + at('epoch'), epoch, true);
    view.setBigUint64(start + at('feeds'), feeds, true);
    view.setBigUint64(start + at('set'), this.sets.ofRow(subscriber.row), true);
    view.setUint16(start + at('filter'), filter.module.slot, true);
    view.setUint16(start + at('param_length'), filter.param.length, true);
    view.setUint8(start + at('ttl'), isMulticast(ip) ? this.source.multicastTtl : TTL);
    bytes.fill(0, at('param'), at('param') + limits.PARAM_SIZE);
    bytes.set(filter.param, at('param'));
  }
}
