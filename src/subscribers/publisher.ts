/**
 * When a changed subscriber table goes to the workers, and who waits for that: publishes as soon as
 * everybody follows the last one, tells those who asked for the change, and frees what only the old
 * table used.
 */
import { AppliedLater, FantailError } from '../domain/errors.js';
import type { KernelSocket, KernelSockets } from '../routes/kernel-sockets.js';
import type { SubscriberTable } from './table.js';

/** `add` and `remove` are answered once every worker follows the table, or BUSY after this time. */
const APPLY_MS_MAX = 100;
const PUMP_MS = 1;
/** While copies of somebody who was removed are under way, and nothing else is to be done. */
const RECLAIM_MS = 20;

interface Waiter {
  readonly generation: bigint;
  readonly deadline_ms: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export interface PublisherOptions {
  readonly table: SubscriberTable;
  /** Wakes workers that sleep. */
  readonly wake: () => void;
  /** Those that subscribers gave up are released here. */
  readonly sockets: Pick<KernelSockets, 'leaving' | 'release'>;
}

const stopping = () => new FantailError('BUSY', 'fantail is stopping');

export class Publisher {
  private waiters: Waiter[] = [];
  /** Sockets given up by a subscriber, free once every worker follows that generation. */
  private releases: { readonly socket: KernelSocket; readonly generation: bigint }[] = [];
  private timer: NodeJS.Timeout | null = null;
  /** Set while changes of this turn of the event loop wait to go out in one table. */
  private turn: NodeJS.Immediate | null = null;
  private isClosed = false;

  constructor(private readonly options: PublisherOptions) {}

  /**
   * Resolves once every worker follows all changes made so far; BUSY after 100 ms, applied later
   * all the same.
   */
  applied(): Promise<void> {
    if (this.isClosed) return Promise.reject(stopping());
    return new Promise((resolve, reject) => {
      const deadline_ms = performance.now() + APPLY_MS_MAX;
      this.waiters.push({ generation: this.options.table.wanted, deadline_ms, resolve, reject });
      // a table's lists are written whole: not once for each of a hundred that came together
      this.turn ??= setImmediate(() => {
        this.turn = null;
        this.pump();
      });
    });
  }

  /**
   * Publishes if there is something to publish and everybody follows the last table; asks again
   * until they do.
   */
  pump(): void {
    if (this.isClosed) return; // nobody may be left who follows
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.publish();
    const { table } = this.options;
    const followed = table.followed();
    // before anybody is answered: who removes one from a full table may add another
    const isReclaimed = table.reclaim(followed);
    this.freeSockets(followed);
    this.answer(followed);
    if (table.wanted > followed || this.waiters.length > 0 || this.releases.length > 0)
      this.timer = setTimeout(() => this.pump(), PUMP_MS);
    else if (!isReclaimed) this.timer = setTimeout(() => this.pump(), RECLAIM_MS);
  }

  /**
   * Whoever still waits is told that fantail stops. Nothing is published any more, whatever is
   * asked: workers end, and a timer that waited for them would keep this process.
   */
  close(): void {
    this.isClosed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.turn !== null) clearImmediate(this.turn);
    this.turn = null;
    for (const waiter of this.waiters.splice(0)) waiter.reject(stopping());
  }

  private publish(): void {
    const { table, wake, sockets } = this.options;
    // before: what is given up from now on may be in the table that is written now
    const leaving = sockets.leaving();
    if (!table.publish()) return;
    wake();
    const known = new Set(this.releases.map(({ socket }) => socket));
    const generation = table.wanted;
    for (const socket of leaving)
      if (!known.has(socket)) this.releases.push({ socket, generation });
  }

  private freeSockets(followed: bigint): void {
    this.releases = this.releases.filter(({ socket, generation }) => {
      if (generation > followed) return true;
      this.options.sockets.release(socket);
      return false;
    });
  }

  private answer(followed: bigint): void {
    const now = performance.now();
    this.waiters = this.waiters.filter((waiter) => {
      if (waiter.generation <= followed) waiter.resolve();
      else if (now > waiter.deadline_ms) waiter.reject(new AppliedLater());
      else return true;
      return false;
    });
  }
}
