/**
 * How long a subscriber stays: so many seconds, as long as a control session, or (null) until it is
 * removed. Whoever adds it again says so anew.
 */
export type Lease = number | ControlSession | null;

/** A control session, as far as a subscriber can depend on it; the same object all its life. */
export interface ControlSession {
  /** Calls back once, when it has ended; at once if it has. */
  onEnd(callback: () => void): void;
}

/** A week. */
export const LEASE_SECONDS_MAX = 604_800;

/** What is left of a lease: seconds, `session`, or null for ever. */
export type Expiry = number | 'session' | null;
