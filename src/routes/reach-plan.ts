/**
 * The decision how one subscriber is reached: pure, from what was decided before and what is
 * observed now. reach.ts carries it out.
 *
 *              neighbour lost          3 s without an answer, or no socket was free
 *   ┌────────┐ ─────────────> ┌────────┐ ─────────────> ┌────────────┐
 *   │  live  │                │ kernel │                │ unresolved │   (no_route: from and to any
 *   └────────┘ <───────────── └────────┘ <───────────── └────────────┘    by the route)
 *        ↑       socket empty     a socket is free within those 3 s │
 *        └──────────────────────────────────────────────────────────┘ neighbour found
 *
 * Prohibited: to `live` while the kernel still holds packets of that subscriber, since those would
 * arrive after later ones. If the socket does not run empty by itself, the subscriber waits as
 * `unresolved` until it has.
 */
import { never } from '../domain/errors.js';
import type { NextHop } from './next-hops.js';

/** `live`: frames are sent directly; `kernel`: through a kernel socket; else copies drop. */
export type ReachState = 'live' | 'kernel' | 'unresolved' | 'no_route';

/** A neighbour gets this long to answer while its copies go through a kernel socket. */
export const PATIENCE_MS = 3000;
/** A socket gets this long to run empty beside the traffic before the traffic waits for it. */
export const DRAIN_MS = 50;

export interface Standing {
  readonly state: ReachState;
  /** When its neighbour was first found missing; null while it is not missing. */
  readonly missingSince_ms: number | null;
  /** When its neighbour was found while its socket still held packets; null else. */
  readonly drainingSince_ms: number | null;
}

export interface Observed {
  readonly now_ms: number;
  readonly hop: NextHop['state'];
  /** It has a kernel socket. */
  readonly hasSocket: boolean;
  /** Its worker's pool has one that nobody has. */
  readonly socketFree: boolean;
  /**
   * Bytes that the kernel holds for it, in the socket that it has and in any that it has given up.
   */
  readonly queued_bytes: number;
}

export interface Plan extends Standing {
  /** What to do about its kernel socket. */
  readonly socket: 'keep' | 'take' | 'give_up';
}

export const STANDING_NEW: Standing = {
  state: 'unresolved',
  missingSince_ms: null,
  drainingSince_ms: null,
};

/** Decides the next state of one subscriber. Pure. */
export function plan(standing: Standing, observed: Observed): Plan {
  const { hop } = observed;
  switch (hop) {
    case 'no_route':
      return {
        state: 'no_route',
        missingSince_ms: null,
        drainingSince_ms: null,
        socket: withoutSocket(observed),
      };
    case 'reachable':
      return planFound(standing, observed);
    case 'unresolved':
      return planMissing(standing, observed);
    default:
      return never(hop);
  }
}

function withoutSocket(observed: Observed): 'keep' | 'give_up' {
  return observed.hasSocket ? 'give_up' : 'keep';
}

function planFound(standing: Standing, observed: Observed): Plan {
  if (standing.state === 'live' || observed.queued_bytes === 0) {
    return {
      state: 'live',
      missingSince_ms: null,
      drainingSince_ms: null,
      socket: withoutSocket(observed),
    };
  }
  const drainingSince_ms = standing.drainingSince_ms ?? observed.now_ms;
  const flowing = standing.state === 'kernel' && observed.now_ms - drainingSince_ms < DRAIN_MS;
  return {
    state: flowing ? 'kernel' : 'unresolved',
    missingSince_ms: null,
    drainingSince_ms,
    socket: 'keep',
  };
}

function planMissing(standing: Standing, observed: Observed): Plan {
  const missingSince_ms = standing.missingSince_ms ?? observed.now_ms;
  const common = { missingSince_ms, drainingSince_ms: null };
  if (observed.now_ms - missingSince_ms >= PATIENCE_MS) {
    return { ...common, state: 'unresolved', socket: withoutSocket(observed) };
  }
  if (observed.hasSocket) return { ...common, state: 'kernel', socket: 'keep' };
  if (observed.socketFree) return { ...common, state: 'kernel', socket: 'take' };
  return { ...common, state: 'unresolved', socket: 'keep' };
}
