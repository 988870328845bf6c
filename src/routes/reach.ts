/**
 * How each subscriber is reached at this moment: directly (`live`), through a kernel socket while
 * its neighbour is being asked for (`kernel`), or not at all (`unresolved`, `no_route`).
 *
 *              neighbour lost          3 s without an answer, or no socket was free
 *   ┌────────┐ ─────────────> ┌────────┐ ─────────────> ┌────────────┐
 *   │  live  │                │ kernel │                │ unresolved │   (no_route: from and to any, with the route)
 *   └────────┘ <───────────── └────────┘ <───────────── └────────────┘
 *        ↑       socket empty     a socket is free within those 3 s │
 *        └──────────────────────────────────────────────────────────┘ neighbour found
 *
 * Prohibited: to `live` while the kernel still holds packets of that subscriber, since those would
 * arrive after later ones. If the socket does not run empty by itself, the subscriber waits as
 * `unresolved` until it has.
 *
 * `plan` decides and changes nothing; `turn` looks, asks `plan` and carries out. Turns are taken on
 * a timer, so a flood of news is one turn. The caller publishes what is decided to the workers. A
 * socket that is given up stays as it is until the caller says, by `release`, that no worker can be
 * using it any more.
 */
import assert from 'node:assert';
import { never } from '../domain/errors.js';
import { limits } from '../memory/layout.js';
import type { NextHop } from './neighbours.js';

export type ReachState = 'live' | 'kernel' | 'unresolved' | 'no_route';

/** What is published of a subscriber. */
export interface Way {
  readonly state: ReachState;
  /** Six bytes while live, else null. */
  readonly mac: Uint8Array | null;
  /** Index in its worker's pool while kernel, else null. */
  readonly kernelSocket: number | null;
}

export interface Target {
  readonly ip: string;
  readonly port: number;
  readonly worker: number;
}

/** One socket of one worker's pool. */
export interface Slot {
  readonly worker: number;
  readonly slot: number;
}

/** A neighbour gets this long to answer while its copies go through a kernel socket. */
export const PATIENCE_MS = 3000;
/** An unresolved neighbour is asked for this often. */
export const PROBE_MS = 1000;
/** A socket gets this long to run empty beside the traffic before the traffic waits for it. */
export const DRAIN_MS = 50;
/**
 * Probes of one turn: each takes an entry of the kernel's neighbour table, which holds 1024 by
 * default.
 */
const PROBES_MAX = 128;

/**
 * Turns: while a socket runs empty, while somebody is in their 3 s, and while only probes are due.
 */
const TURN_DRAIN_MS = 5;
const TURN_PATIENCE_MS = 50;
const TURN_PROBE_MS = PROBE_MS / 4;

// ---- decide ----

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

export const NEW_STANDING: Standing = {
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

// ---- carry out ----

/** What Reach needs of Neighbours. */
export interface NextHops {
  watch(ip: string): void;
  unwatch(ip: string): void;
  nextHop(ip: string): NextHop;
  probe(ip: string): void;
}

export interface ReachOptions {
  readonly neighbours: NextHops;
  /**
   * UDP sockets by worker, open and bound; at most KERNEL_SOCKETS_MAX each. They stay the caller's.
   */
  readonly sockets: readonly (readonly number[])[];
  readonly connect: (fd: number, ip: string, port: number) => void;
  readonly disconnect: (fd: number) => void;
  /** Bytes that the kernel still holds for sending. */
  readonly queued: (fd: number) => number;
  /** `of` that subscriber (see `keyOf`) is something else now. */
  readonly onChange: (key: string) => void;
  /** Milliseconds that never go back. */
  readonly now_ms?: () => number;
}

interface Tracked {
  readonly key: string;
  readonly target: Target;
  standing: Standing;
  way: Way;
  /** The socket that it has. */
  socket: PooledSocket | null;
  /** Sockets that it has given up and that are not released: packets of it may wait in them. */
  readonly leaving: Set<PooledSocket>;
}

interface PooledSocket extends Slot {
  readonly fd: number;
  state: 'free' | 'taken' | 'leaving';
  /** Who gave it up, while it is leaving. */
  owner: Tracked | null;
}

export function keyOf(target: { readonly ip: string; readonly port: number }): string {
  return `${target.ip}:${target.port}`;
}

const UNREACHED: Way = { state: 'unresolved', mac: null, kernelSocket: null };

export class Reach {
  private readonly options: ReachOptions;
  private readonly now_ms: () => number;
  private readonly pools: readonly (readonly PooledSocket[])[];
  private readonly tracked = new Map<string, Tracked>();
  private readonly byIp = new Map<string, Set<Tracked>>();
  /**
   * Those to look at in the next turn. Whoever is settled (live or no_route) is looked at only on
   * news.
   */
  private readonly due = new Set<Tracked>();
  /** When each next hop was last asked for. */
  private readonly probed_ms = new Map<string, number>();
  private timer: NodeJS.Timeout | null = null;
  private timerAt_ms = Number.POSITIVE_INFINITY;
  private closed = false;

  constructor(options: ReachOptions) {
    this.options = options;
    this.now_ms = options.now_ms ?? (() => performance.now());
    this.pools = options.sockets.map((fds, worker) => {
      assert(
        fds.length <= limits.KERNEL_SOCKETS_MAX,
        'a worker has at most KERNEL_SOCKETS_MAX kernel sockets',
      );
      return fds.map(
        (fd, slot): PooledSocket => ({ worker, slot, fd, state: 'free', owner: null }),
      );
    });
  }

  /** Takes a subscriber up and decides at once. Its key must be new. */
  track(target: Target): Way {
    const key = keyOf(target);
    assert(!this.tracked.has(key), `${key} is tracked already`);
    assert(this.pools[target.worker] !== undefined, `there is no worker ${target.worker}`);
    const entry: Tracked = {
      key,
      target,
      standing: NEW_STANDING,
      way: UNREACHED,
      socket: null,
      leaving: new Set(),
    };
    this.options.neighbours.watch(target.ip);
    this.tracked.set(key, entry);
    const sharers = this.byIp.get(target.ip);
    if (sharers === undefined) this.byIp.set(target.ip, new Set([entry]));
    else sharers.add(entry);
    this.advance(entry, this.now_ms());
    this.probeDue(this.now_ms());
    this.schedule();
    return entry.way;
  }

  /** Lets a subscriber go; its socket, if it has one, is leaving from now on. */
  untrack(target: { readonly ip: string; readonly port: number }): void {
    const entry = this.tracked.get(keyOf(target));
    if (entry === undefined) return;
    this.giveUp(entry);
    this.tracked.delete(entry.key);
    this.due.delete(entry);
    const sharers = this.byIp.get(target.ip);
    sharers?.delete(entry);
    if (sharers?.size === 0) this.byIp.delete(target.ip);
    this.options.neighbours.unwatch(target.ip);
  }

  of(target: { readonly ip: string; readonly port: number }): Way {
    return this.tracked.get(keyOf(target))?.way ?? UNREACHED;
  }

  /** To be called by Neighbours' onChange. */
  neighbourChanged(ip: string): void {
    for (const entry of this.byIp.get(ip) ?? []) this.due.add(entry);
    this.schedule(0);
  }

  /**
   * Sockets that were given up. Ask when a table is published; release them when every worker has
   * passed it.
   */
  retiring(): Slot[] {
    const leaving = this.pools.flat().filter((socket) => socket.state === 'leaving');
    return leaving.map(({ worker, slot }) => ({ worker, slot }));
  }

  /** No worker can be sending through this socket any more. */
  release({ worker, slot }: Slot): void {
    const socket = this.pools[worker]?.[slot];
    assert(socket?.state === 'leaving', `socket ${slot} of worker ${worker} is not leaving`);
    this.options.disconnect(socket.fd);
    socket.owner?.leaving.delete(socket);
    socket.owner = null;
    socket.state = 'free';
    // Somebody may be waiting for one.
    this.schedule(0);
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  // ---- turns ----

  private schedule(within_ms = this.nextTurn_ms()): void {
    if (this.closed || within_ms === Number.POSITIVE_INFINITY) return;
    const at_ms = this.now_ms() + within_ms;
    if (this.timer !== null) {
      if (this.timerAt_ms <= at_ms) return;
      clearTimeout(this.timer);
    }
    this.timerAt_ms = at_ms;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.turn();
    }, within_ms);
  }

  private nextTurn_ms(): number {
    let soonest = Number.POSITIVE_INFINITY;
    const now = this.now_ms();
    for (const { standing } of this.due) {
      if (standing.drainingSince_ms !== null) return TURN_DRAIN_MS;
      const missing = standing.missingSince_ms;
      const young = missing !== null && now - missing < PATIENCE_MS;
      soonest = Math.min(soonest, young ? TURN_PATIENCE_MS : TURN_PROBE_MS);
    }
    return soonest;
  }

  private turn(): void {
    const now = this.now_ms();
    for (const entry of [...this.due]) {
      if (this.tracked.get(entry.key) !== entry) continue; // untracked by who was told of another
      // Told one by one: a socket must not be retiring while its subscriber is still published with
      // it.
      if (this.advance(entry, now)) this.options.onChange(entry.key);
    }
    this.probeDue(now);
    this.schedule();
  }

  /** Looks, decides and carries out for one subscriber; true if its way is another now. */
  private advance(entry: Tracked, now_ms: number): boolean {
    const hop = this.options.neighbours.nextHop(entry.target.ip);
    const pool = this.pools[entry.target.worker] ?? [];
    const free = pool.find((socket) => socket.state === 'free');
    const next = plan(entry.standing, {
      now_ms,
      hop: hop.state,
      hasSocket: entry.socket !== null,
      socketFree: free !== undefined,
      queued_bytes: this.queued(entry),
    });
    if (next.socket === 'give_up') this.giveUp(entry);
    const taken = next.socket !== 'take' || (free !== undefined && this.take(entry, free));
    entry.standing = {
      state: taken ? next.state : 'unresolved',
      missingSince_ms: next.missingSince_ms,
      drainingSince_ms: next.drainingSince_ms,
    };
    const settled = next.state === 'live' || next.state === 'no_route';
    if (settled) this.due.delete(entry);
    else this.due.add(entry);
    return this.show(entry, hop);
  }

  private show(entry: Tracked, hop: NextHop): boolean {
    const { state } = entry.standing;
    const before = entry.way;
    entry.way = {
      state,
      mac: state === 'live' ? hop.mac : null,
      kernelSocket: state === 'kernel' ? (entry.socket?.slot ?? null) : null,
    };
    const after = entry.way;
    const sameMac =
      before.mac === after.mac ||
      (before.mac !== null && after.mac !== null && Buffer.compare(before.mac, after.mac) === 0);
    return before.state !== after.state || before.kernelSocket !== after.kernelSocket || !sameMac;
  }

  private queued(entry: Tracked): number {
    let bytes = entry.socket === null ? 0 : this.options.queued(entry.socket.fd);
    for (const socket of entry.leaving) bytes += this.options.queued(socket.fd);
    return bytes;
  }

  private take(entry: Tracked, socket: PooledSocket): boolean {
    try {
      this.options.connect(socket.fd, entry.target.ip, entry.target.port);
    } catch {
      // The route has gone since it was looked up, or the link is down: the news of it is on its
      // way.
      return false;
    }
    socket.state = 'taken';
    entry.socket = socket;
    return true;
  }

  private giveUp(entry: Tracked): void {
    if (entry.socket === null) return;
    entry.socket.state = 'leaving';
    entry.socket.owner = entry;
    entry.leaving.add(entry.socket);
    entry.socket = null;
  }

  /** Asks for the missing neighbours whose time has come; many subscribers may share one. */
  private probeDue(now_ms: number): void {
    let left = PROBES_MAX;
    const missing = new Set<string>();
    for (const { target, standing } of this.due) {
      if (standing.missingSince_ms === null) continue;
      const { via } = this.options.neighbours.nextHop(target.ip);
      if (missing.has(via)) continue;
      missing.add(via);
      if (now_ms - (this.probed_ms.get(via) ?? Number.NEGATIVE_INFINITY) < PROBE_MS || left === 0)
        continue;
      left--;
      this.probed_ms.set(via, now_ms);
      this.options.neighbours.probe(target.ip);
    }
    for (const via of this.probed_ms.keys()) if (!missing.has(via)) this.probed_ms.delete(via);
  }
}
