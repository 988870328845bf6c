/**
 * Who is subscribed for a time only. When each lease ends is in the arena, by row, so that the next
 * supervisor knows it too; which session it hangs on is not: such a one gets GRACE_S there, in
 * which its owner can connect again and renew it.
 */
import type { ControlSession, Expiry, Lease } from '../domain/lease.js';
import type { Arena } from '../memory/arena.js';
import { limits } from '../memory/layout.js';
import type { Subscriber, Subscribers } from './subscribers.js';

/** Between two looks for leases that have ended. */
const LOOK_MS = 100;
/** Of a lease that hung on a session of an earlier supervisor. */
export const GRACE_S = 30;
const NS = 1_000_000_000n;

const { LEASE_NEVER, LEASE_SESSION } = limits;

export class Leases {
  private readonly ofSession = new Map<ControlSession, Set<Subscriber>>();
  private readonly sessionOf = new Map<Subscriber, ControlSession>();
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly arena: Arena,
    private readonly subscribers: Pick<Subscribers, 'all'>,
    /** Removes a subscriber whose lease has ended. */
    private readonly end: (subscriber: Subscriber) => void,
  ) {
    this.timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  /** Another number after every change of a lease. */
  version = 0;

  /** Before the row is published for the first time, so that it is never without one. */
  give(subscriber: Subscriber, lease: Lease): void {
    this.leaveSession(subscriber);
    this.write(subscriber, wordOf(lease));
    if (typeof lease === 'object' && lease !== null) this.joinSession(subscriber, lease);
  }

  /**
   * It was removed, by whomever. Its word stays until another has the row: a table that names it
   * may still be the published one when a supervisor adopts.
   */
  forget(subscriber: Subscriber): void {
    this.leaveSession(subscriber);
    this.version++;
  }

  /** Those of an earlier supervisor, whose sessions are gone. */
  takeOver(): void {
    for (const subscriber of this.subscribers.all())
      if (this.read(subscriber) === LEASE_SESSION) this.give(subscriber, GRACE_S);
  }

  expiryOf(subscriber: Subscriber): Expiry {
    const until = this.read(subscriber);
    if (until === LEASE_NEVER) return null;
    if (until === LEASE_SESSION) return 'session';
    const left_ns = until - process.hrtime.bigint();
    return left_ns > 0n ? Number((left_ns + NS - 1n) / NS) : 0;
  }

  /** When it ends, by the clock on the wall: milliseconds since 1970. */
  endOf(subscriber: Subscriber): Expiry {
    const until = this.read(subscriber);
    if (until === LEASE_NEVER) return null;
    if (until === LEASE_SESSION) return 'session';
    const left_ns = until - process.hrtime.bigint();
    // to the second: what is read is less exact than that, and a file need not change for less
    return Math.round((Date.now() + Number(left_ns) / 1e6) / 1000) * 1000;
  }

  close(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const now = process.hrtime.bigint();
    for (const subscriber of this.subscribers.all()) {
      const until = this.read(subscriber);
      if (until !== LEASE_NEVER && until !== LEASE_SESSION && until <= now) this.end(subscriber);
    }
  }

  private endSession(session: ControlSession): void {
    const theirs = [...(this.ofSession.get(session) ?? [])];
    this.ofSession.delete(session);
    for (const subscriber of theirs) this.end(subscriber);
  }

  private joinSession(subscriber: Subscriber, session: ControlSession): void {
    this.sessionOf.set(subscriber, session);
    const others = this.ofSession.get(session);
    others?.add(subscriber);
    if (others !== undefined) return;
    this.ofSession.set(session, new Set([subscriber]));
    session.onEnd(() => this.endSession(session));
  }

  private leaveSession(subscriber: Subscriber): void {
    const session = this.sessionOf.get(subscriber);
    if (session === undefined) return;
    this.sessionOf.delete(subscriber);
    this.ofSession.get(session)?.delete(subscriber);
  }

  private read({ row }: Subscriber): bigint {
    return this.arena.u64(this.arena.lease(row));
  }

  private write({ row }: Subscriber, until: bigint): void {
    this.version++;
    this.arena.publish(this.arena.lease(row), until);
  }
}

/** As the arena has it. */
function wordOf(lease: Lease): bigint {
  if (lease === null) return LEASE_NEVER;
  if (typeof lease !== 'number') return LEASE_SESSION;
  return process.hrtime.bigint() + BigInt(Math.ceil(lease * 1e9));
}
