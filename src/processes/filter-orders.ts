/**
 * Which module each worker has in which filter slot: what a worker is told when it starts, and the
 * orders that change it while it runs (worker/orders.ts is how they are written).
 *
 * A worker that dies is told everything when it starts again, so an order never gets lost with one.
 */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { FantailError } from '../domain/errors.js';
import type { FilterModule, Placed } from '../domain/filter.js';
import type { WorkerFilters } from '../filters/desk.js';
import { addon } from '../memory/addon.js';
import type { Arena } from '../memory/arena.js';
import { type FilterOrder, sendOrder } from '../worker/orders.js';

/** Compiling a module in each worker, on a machine that is busy. */
const ORDER_MS_MAX = 10_000;
const POLL_MS = 2;

export interface FilterOrdersOptions {
  readonly arena: Arena;
  /** Those that every worker has from its start, checked. */
  readonly modules: readonly FilterModule[];
  /** Of each worker, our end of the socket of its orders. */
  readonly sockets: readonly number[];
  /** A worker does not take its orders: it is to be replaced. */
  readonly onDeaf: (worker: number) => void;
  /** Wakes workers that sleep. */
  readonly wake: () => void;
}

/** What a slot holds: a module of its own, or the one to go back to. */
interface Content {
  readonly placed: Placed;
  /** The module's file in memory. */
  readonly file: number;
}

export class FilterOrders implements WorkerFilters {
  private readonly slots = new Map<number, Content>();
  /** Of each module that is in a slot. */
  private readonly files = new Map<Uint8Array, number>();
  /** Orders given so far, by an earlier supervisor too. */
  private given: number;
  private stopped = false;

  constructor(private readonly options: FilterOrdersOptions) {
    const { arena, modules } = options;
    this.given = Number(arena.u64(arena.control('filter_orders')));
    for (const module of modules) this.substitute(module.slot, module);
  }

  /** Tells a worker that is about to start all that there is. */
  tellFirst(worker: number): void {
    const number = this.given;
    for (const { placed, file } of this.slots.values())
      this.send(worker, { kind: 'load', number, ...placed }, file);
    this.send(worker, { kind: 'begin', number });
  }

  load(module: FilterModule): Promise<void> {
    const content = this.contentOf(module.slot, module);
    this.slots.set(module.slot, content);
    const { placed, file } = content;
    return this.order((number) => ({ kind: 'load', number, ...placed }), file);
  }

  drop(slot: number): Promise<void> {
    this.slots.delete(slot);
    this.closeUnused();
    return this.order((number) => ({ kind: 'drop', number, slot }));
  }

  substitute(slot: number, module: FilterModule): void {
    this.slots.set(slot, this.contentOf(slot, module));
    this.closeUnused();
  }

  private closeUnused(): void {
    const used = new Set([...this.slots.values()].map(({ file }) => file));
    for (const [bytes, file] of this.files)
      if (!used.has(file)) {
        closeSync(file);
        this.files.delete(bytes);
      }
  }

  /** Workers that an earlier supervisor has not told everything, or told more than it published. */
  inconsistent(): number[] {
    const { arena, sockets } = this.options;
    return sockets.flatMap((_, worker) =>
      arena.u64(arena.worker(worker, 'filter_orders_done')) === BigInt(this.given) ? [] : [worker],
    );
  }

  /** The file of a module, for the next supervisor. */
  fileOf(bytes: Uint8Array): number {
    const known = this.files.get(bytes);
    if (known !== undefined) return known;
    const file = addon.memoryFile(bytes);
    this.files.set(bytes, file);
    return file;
  }

  /** Nobody carries out orders any more, and nobody waits for that. */
  stop(): void {
    this.stopped = true;
    for (const file of this.files.values()) closeSync(file);
    this.files.clear();
  }

  /** Resolves when every worker has carried it out. */
  private async order(
    orderOf: (number: number) => FilterOrder,
    file: number | null = null,
  ): Promise<void> {
    const { arena, sockets, wake } = this.options;
    const number = ++this.given;
    // first: a worker that was told less than all of it is then seen to be behind
    arena.publish(arena.control('filter_orders'), BigInt(number));
    for (const worker of sockets.keys()) this.send(worker, orderOf(number), file);
    wake();
    const deadline = performance.now() + ORDER_MS_MAX;
    const isBehind = (worker: number) =>
      arena.u64(arena.worker(worker, 'filter_orders_done')) < BigInt(number);
    while (!this.stopped && sockets.some((_, worker) => isBehind(worker))) {
      if (performance.now() > deadline)
        throw new FantailError(
          'BUSY',
          `a worker did not load the filter within ${ORDER_MS_MAX / 1000} s; try again`,
        );
      await sleep(POLL_MS);
    }
  }

  private send(worker: number, order: FilterOrder, file: number | null = null): void {
    try {
      sendOrder(this.options.sockets[worker] ?? -1, order, file);
    } catch {
      // hundreds of orders wait there; its successor is told all of it
      this.options.onDeaf(worker);
    }
  }

  private contentOf(slot: number, { module, block, owner, bytes }: FilterModule): Content {
    return { placed: { slot, module, block, owner }, file: this.fileOf(bytes) };
  }
}
