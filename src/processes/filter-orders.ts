/**
 * Which module each worker has in which filter slot: what a worker is told when it starts, and the
 * orders that change it while it runs (worker/orders.ts is how they are written).
 *
 * A worker that dies is told everything when it starts again, so an order never gets lost with one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { FantailError } from '../domain/errors.js';
import type { FilterModule, Placed } from '../domain/filter.js';
import type { WorkerFilters } from '../filters/desk.js';
import type { Arena } from '../memory/arena.js';
import { encodeOrder } from '../worker/orders.js';

/** Compiling a module in each worker, on a machine that is busy. */
const ORDER_MS_MAX = 10_000;
const POLL_MS = 2;

export interface FilterOrdersOptions {
  readonly arena: Arena;
  /** Those that every worker has from its start, checked. */
  readonly modules: readonly FilterModule[];
  /** The workers that run, by number. */
  readonly workers: readonly { write(bytes: Uint8Array): void }[];
  /** Wakes workers that sleep. */
  readonly wake: () => void;
}

/** What a slot holds: a module of its own, or the one to go back to. */
interface Content {
  readonly placed: Placed;
  readonly bytes: Uint8Array;
}

export class FilterOrders implements WorkerFilters {
  private readonly slots = new Map<number, Content>();
  /** Orders given so far. */
  private given = 0;
  private stopped = false;

  constructor(private readonly options: FilterOrdersOptions) {
    for (const module of options.modules) this.substitute(module.slot, module);
  }

  /** All that a worker that starts now is told first. */
  firstOrders(): Buffer {
    const number = this.given;
    const loads = [...this.slots.values()].map((content) => loadOrder(number, content));
    return Buffer.concat([...loads, encodeOrder({ kind: 'begin', number })]);
  }

  load(module: FilterModule): Promise<void> {
    const content = contentOf(module.slot, module);
    this.slots.set(module.slot, content);
    return this.order((number) => loadOrder(number, content));
  }

  drop(slot: number): Promise<void> {
    this.slots.delete(slot);
    return this.order((number) => encodeOrder({ kind: 'drop', number, slot }));
  }

  substitute(slot: number, module: FilterModule): void {
    this.slots.set(slot, contentOf(slot, module));
  }

  /** Nobody carries out orders any more, and nobody waits for that. */
  stop(): void {
    this.stopped = true;
  }

  /** Resolves when every worker has carried it out. */
  private async order(frame: (number: number) => Buffer): Promise<void> {
    const { arena, workers, wake } = this.options;
    const number = ++this.given;
    for (const worker of workers) worker.write(frame(number));
    arena.publish(arena.control('filter_orders'), BigInt(number));
    wake();
    const deadline = Date.now() + ORDER_MS_MAX;
    const isBehind = (worker: number) =>
      arena.u64(arena.worker(worker, 'filter_orders_done')) < BigInt(number);
    while (!this.stopped && workers.some((_, worker) => isBehind(worker))) {
      if (Date.now() > deadline)
        throw new FantailError(
          'BUSY',
          `a worker did not load the filter within ${ORDER_MS_MAX / 1000} s; try again`,
        );
      await sleep(POLL_MS);
    }
  }
}

function contentOf(slot: number, { module, block, owner, bytes }: FilterModule): Content {
  return { placed: { slot, module, block, owner }, bytes };
}

function loadOrder(number: number, { placed, bytes }: Content): Buffer {
  return encodeOrder({ kind: 'load', number, size: bytes.length, ...placed }, bytes);
}
