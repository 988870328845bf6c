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

const { LEASE_NEVER, LEASE_SESSION } = limits;

export class Leases {
  private readonly ofSession = new Map<ControlSession, Set<Subscriber>>();
  private readonly sessionOf = new Map<Subscriber, ControlSession>();
  /** Those whose lease ends by the clock: the others are not looked at. */
  private readonly timed = new Set<Subscriber>();
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
    this.forget(subscriber);
    this.arena.publish(this.arena.lease(subscriber.row), wordOf(lease));
    if (typeof lease === 'number') this.timed.add(subscriber);
    else if (lease !== null) this.joinSession(subscriber, lease);
  }

  /**
   * It was removed, by whomever. Its word stays until another has the row: a table that names it
   * may still be the published one when a supervisor adopts.
   */
  forget(subscriber: Subscriber): void {
    this.timed.delete(subscriber);
    this.leaveSession(subscriber);
    this.version++;
  }

  /** Those of an earlier supervisor, whose sessions are gone. */
  takeOver(): void {
    for (const subscriber of this.subscribers.all()) {
      const left = this.leftOf(subscriber);
      if (left === 'session') this.give(subscriber, GRACE_S);
      else if (left !== null) this.timed.add(subscriber);
    }
  }

  expiryOf(subscriber: Subscriber): Expiry {
    const left_s = this.leftOf(subscriber);
    return typeof left_s === 'number' ? Math.max(0, Math.ceil(left_s)) : left_s;
  }

  /** When it ends, by the clock on the wall: milliseconds since 1970. */
  endOf(subscriber: Subscriber): Expiry {
    const left_s = this.leftOf(subscriber);
    // to the second: what is read is less exact than that, and a file need not change for less
    return typeof left_s === 'number' ? Math.round(Date.now() / 1000 + left_s) * 1000 : left_s;
  }

  close(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    for (const subscriber of this.timed)
      if (Number(this.leftOf(subscriber)) <= 0) this.end(subscriber);
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

  /** Seconds, less than none where it has ended. */
  private leftOf({ row }: Subscriber): Expiry {
    const until = this.arena.u64(this.arena.lease(row));
    if (until === LEASE_NEVER) return null;
    if (until === LEASE_SESSION) return 'session';
    return Number(until - process.hrtime.bigint()) / 1e9;
  }
}

/** As the arena has it. */
function wordOf(lease: Lease): bigint {
  if (lease === null) return LEASE_NEVER;
  if (typeof lease !== 'number') return LEASE_SESSION;
  return process.hrtime.bigint() + BigInt(Math.ceil(lease * 1e9));
}
