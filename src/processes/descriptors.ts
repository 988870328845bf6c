/**
 * The descriptors by which supervisor and data path reach one another, made once and kept while
 * processes come and go: eventfds that wake who sleeps, sockets for the filter orders of each
 * worker and for the feeds' sockets of each process (both ends, so that what is sent waits where a
 * process is replaced), and the abstract socket on which the next supervisor asks.
 */
import { closeSync } from 'node:fs';
import { addon } from '../memory/addon.js';

/** A socket pair: our end, and that of the process. */
export type Pair = readonly [ours: number, theirs: number];

export class Descriptors {
  constructor(
    readonly listener: number,
    readonly rxWake: number,
    readonly workerWakes: readonly number[],
    /** Of each worker: our end, and its own. */
    readonly orders: readonly Pair[],
    /** Of fantail-rx, then of each worker. */
    readonly feeds: readonly Pair[],
  ) {}

  /** `listener` is taken over. */
  static open(listener: number, workers: number): Descriptors {
    const each = <Thing>(make: () => Thing, more = 0) =>
      Array.from({ length: workers + more }, make);
    return new Descriptors(
      listener,
      addon.eventFd(),
      each(() => addon.eventFd()),
      each(() => Descriptors.pair()),
      each(() => Descriptors.pair(), 1),
    );
  }

  /** Takes over what `all` gave to another supervisor. */
  static of(fds: readonly number[], workers: number): Descriptors {
    const [listener = -1, rxWake = -1, ...rest] = fds;
    const pairs = (from: number, count: number) =>
      Array.from(
        { length: count },
        (_, i): Pair => [rest[from + 2 * i] ?? -1, rest[from + 2 * i + 1] ?? -1],
      );
    return new Descriptors(
      listener,
      rxWake,
      rest.slice(0, workers),
      pairs(workers, workers),
      pairs(3 * workers, workers + 1),
    );
  }

  /** How many there are for so many workers. */
  static count(workers: number): number {
    return 4 + 5 * workers;
  }

  static pair(): [number, number] {
    return addon.socketPair();
  }

  get all(): number[] {
    return [
      this.listener,
      this.rxWake,
      ...this.workerWakes,
      ...this.orders.flat(),
      ...this.feeds.flat(),
    ];
  }

  /** Makes every sleeper look at the arena. */
  signal(): void {
    for (const fd of [this.rxWake, ...this.workerWakes]) addon.signal(fd);
  }

  /** Takes away what waits for a process which does not live any more. */
  static drain([, theirs]: Pair): void {
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
