/**
 * The descriptors by which supervisor and data path reach one another, made once and kept while
 * processes come and go: eventfds that wake who sleeps, a socket for the filter orders of each
 * worker (both ends, so that orders wait where a worker is replaced), and the abstract socket on
 * which the next supervisor asks.
 */
import { closeSync } from 'node:fs';
import { addon } from '../memory/addon.js';

export class Descriptors {
  constructor(
    readonly listener: number,
    readonly rxWake: number,
    readonly workerWakes: readonly number[],
    /** Of each worker: our end, and its own. */
    readonly orders: readonly (readonly [ours: number, theirs: number])[],
  ) {}

  /** `listener` is taken over. */
  static open(listener: number, workers: number): Descriptors {
    const each = <Thing>(make: () => Thing) => Array.from({ length: workers }, make);
    return new Descriptors(
      listener,
      addon.eventFd(),
      each(() => addon.eventFd()),
      each(() => Descriptors.pair()),
    );
  }

  /** Takes over what `all` gave to another supervisor. */
  static of(fds: readonly number[], workers: number): Descriptors {
    const [listener = -1, rxWake = -1, ...rest] = fds;
    const orders = rest.slice(workers);
    return new Descriptors(
      listener,
      rxWake,
      rest.slice(0, workers),
      Array.from({ length: workers }, (_, i) => [orders[2 * i] ?? -1, orders[2 * i + 1] ?? -1]),
    );
  }

  /** How many there are for so many workers. */
  static count(workers: number): number {
    return 2 + 3 * workers;
  }

  static pair(): [number, number] {
    return addon.socketPair();
  }

  get all(): number[] {
    return [this.listener, this.rxWake, ...this.workerWakes, ...this.orders.flat()];
  }

  /** Makes every sleeper look at the arena. */
  signal(): void {
    for (const fd of [this.rxWake, ...this.workerWakes]) addon.signal(fd);
  }

  /** Takes away the orders that wait for a worker which does not live any more. */
  drainOrders(worker: number): void {
    const [, theirs = -1] = this.orders[worker] ?? [];
    for (
      let next = addon.receiveMessage(theirs);
      next !== null;
      next = addon.receiveMessage(theirs)
    ) {
      if (next === 'closed') return;
      for (const fd of next.fds) closeSync(fd);
    }
  }

  close(): void {
    for (const fd of this.all.reverse()) closeSync(fd);
  }
}
