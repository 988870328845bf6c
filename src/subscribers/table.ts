/**
 * The subscriber table: who is subscribed, in which row, served by which worker; published to the
 * arena by generation.
 *
 * Two buffers take turns. One is rewritten only when every worker and receiver has said that it
 * follows the other, so nobody ever reads a buffer that changes. A row is used again only when its
 * last copy has ended.
 */

import { FantailError } from '../domain/errors.js';
import type { Holder } from '../domain/filter.js';
import type { Arena } from '../memory/arena.js';
import { limits, membersOf, offsetOf } from '../memory/layout.js';

/** How a subscriber is reached at this moment, as the workers are to see it. */
export interface Route {
  readonly state: 'live' | 'kernel' | 'unresolved' | 'no_route' | 'paused';
  readonly mac: Uint8Array | null;
  readonly kernelSocket: number | null;
}

export interface Subscriber extends Holder {
  readonly ip: string;
  readonly port: number;
  readonly row: number;
  readonly worker: number;
  readonly epoch: bigint;
  route: Route;
}

/** What every record has in common: the interface's own side of each frame. */
export interface Source {
  readonly ip: string;
  readonly port: number;
  readonly mac: Uint8Array;
}

const STATES = membersOf('subscriber_state');
const at = (field: string) => offsetOf('subscriber', field);

export function keyOf(ip: string, port: number): string {
  return `${ip}:${port}`;
}

export function addressBytes(ip: string): Uint8Array {
  return Uint8Array.from(ip.split('.').map(Number));
}

export class SubscriberTable {
  private readonly live = new Map<string, Subscriber>();
  /** Rows of removed subscribers, until their last copy has ended. */
  private retired: {
    readonly row: number;
    readonly worker: number;
    readonly generation: bigint;
  }[] = [];
  private readonly freeRows = Array.from(
    { length: limits.SUBSCRIBERS_MAX },
    (_, i) => limits.SUBSCRIBERS_MAX - 1 - i,
  );
  private epochs = 0n;
  private generation = 0n;
  private dirty = false;

  constructor(
    private readonly arena: Arena,
    public source: Source,
  ) {}

  all(): Iterable<Subscriber> {
    return this.live.values();
  }

  get size(): number {
    return this.live.size;
  }

  find(ip: string, port: number): Subscriber | undefined {
    return this.at(keyOf(ip, port));
  }

  /** By keyOf(ip, port). */
  at(key: string): Subscriber | undefined {
    return this.live.get(key);
  }

  /** Takes a row and the worker with the fewest subscribers. Throws TABLE_FULL. */
  add({ ip, port, worker, route, filter }: Omit<Subscriber, 'row' | 'epoch'>): Subscriber {
    const row = this.freeRows.pop();
    if (row === undefined)
      throw new FantailError(
        'TABLE_FULL',
        `${limits.SUBSCRIBERS_MAX} subscribers are served; remove one first`,
      );
    const subscriber = { ip, port, row, worker, epoch: ++this.epochs, route, filter };
    this.live.set(keyOf(ip, port), subscriber);
    this.dirty = true;
    return subscriber;
  }

  leastLoadedWorker(): number {
    const loads = new Array<number>(this.arena.workers).fill(0);
    for (const { worker } of this.live.values()) loads[worker] = (loads[worker] ?? 0) + 1;
    return loads.indexOf(Math.min(...loads));
  }

  remove(ip: string, port: number): boolean {
    const subscriber = this.find(ip, port);
    if (subscriber === undefined) return false;
    this.live.delete(keyOf(ip, port));
    this.retired.push({
      row: subscriber.row,
      worker: subscriber.worker,
      generation: this.generation + 1n,
    });
    this.dirty = true;
    return true;
  }

  reroute(subscriber: Subscriber, route: Route): void {
    subscriber.route = route;
    this.dirty = true;
  }

  /** Everything is to be written again, for example since the interface's address changed. */
  touch(): void {
    this.dirty = true;
  }

  /** The generation that holds every change made so far, once it is published. */
  get wanted(): bigint {
    return this.dirty ? this.generation + 1n : this.generation;
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
    this.reclaim(followed);
    if (!this.dirty || followed !== this.generation) return false;
    const next = this.generation + 1n;
    this.write(next);
    this.generation = next;
    this.dirty = false;
    this.arena.publish(this.arena.control('generation'), next);
    return true;
  }

  /**
   * Rows whose subscriber nobody serves any more, and whose copies have all ended, can be used
   * again.
   */
  private reclaim(followed: bigint): void {
    this.retired = this.retired.filter(({ row, generation }) => {
      const inFlight = this.arena.u64(this.arena.counters(row) + offsetOf('counters', 'in_flight'));
      if (generation > followed || inFlight !== 0n) return true;
      this.freeRows.push(row);
      return false;
    });
  }

  private write(generation: bigint): void {
    const { view } = this.arena;
    const counts = new Array<number>(this.arena.workers).fill(0);
    const list = this.arena.table(generation, 'list');
    for (const subscriber of this.live.values()) {
      const { worker, row } = subscriber;
      const index = counts[worker] ?? 0;
      view.setUint16(list + 2 * (worker * limits.SUBSCRIBERS_MAX + index), row, true);
      counts[worker] = index + 1;
      this.writeRecord(
        this.arena.table(generation, 'rows') + row * limits.SUBSCRIBER_SIZE,
        subscriber,
      );
    }
    counts.forEach((count, worker) => {
      view.setUint32(this.arena.table(generation, 'count') + 4 * worker, count, true);
    });
    view.setBigUint64(this.arena.table(generation, 'generation'), generation, true);
  }

  private writeRecord(start: number, { ip, port, worker, epoch, route, filter }: Subscriber): void {
    const { view, buffer } = this.arena;
    const bytes = new Uint8Array(buffer, start, limits.SUBSCRIBER_SIZE);
    bytes.set(addressBytes(ip), at('ip'));
    bytes.set(route.mac ?? new Uint8Array(6), at('target_mac'));
    bytes.set(this.source.mac, at('source_mac'));
    bytes.set(addressBytes(this.source.ip), at('source_ip'));
    view.setUint16(start + at('port'), port);
    view.setUint16(start + at('source_port'), this.source.port);
    view.setUint16(start + at('state'), STATES.indexOf(route.state), true);
    view.setUint16(
      start + at('kernel_socket'),
      route.kernelSocket ?? limits.KERNEL_SOCKETS_MAX,
      true,
    );
    view.setUint32(start + at('worker'), worker, true);
    view.setBigUint64(start + at('epoch'), epoch, true);
    view.setUint16(start + at('filter'), filter.module.slot, true);
    view.setUint16(start + at('param_length'), filter.param.length, true);
    bytes.fill(0, at('param'), at('param') + limits.PARAM_SIZE);
    bytes.set(filter.param, at('param'));
  }
}
