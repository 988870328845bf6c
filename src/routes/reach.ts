/**
 * How each subscriber is reached at this moment, as it is published to the workers.
 *
 * reach-plan.ts decides and changes nothing; a turn looks, asks it and carries out. Turns are taken
 * on a timer, so a flood of news is one turn. The caller publishes what is decided.
 */
import assert from 'node:assert';
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { Alarm } from './alarm.js';
import { Groups } from './groups.js';
import type { KernelSocket, KernelSockets } from './kernel-sockets.js';
import { type NextHop, type NextHops, sameMac } from './next-hops.js';
import { PATIENCE_MS, plan, type ReachState, STANDING_NEW, type Standing } from './reach-plan.js';

/** How a subscriber is reached, as the workers are to see it. */
export interface Route {
  readonly state: ReachState;
  /** Six bytes while live, else null. */
  readonly mac: Uint8Array | null;
  /** Index in its worker's pool while kernel, else null. */
  readonly kernelSocket: number | null;
}

/** An unresolved neighbour is asked for this often. */
export const PROBE_MS = 1000;
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

export interface ReachOptions {
  readonly nextHops: Pick<NextHops, 'watch' | 'unwatch' | 'nextHop' | 'probe'>;
  readonly sockets: KernelSockets;
  /** `of` that subscriber is something else now. */
  readonly onChange: (subscriber: Endpoint) => void;
  /** Milliseconds that never go back. */
  readonly now_ms?: () => number;
}

interface Tracked extends Endpoint {
  readonly worker: number;
  standing: Standing;
  route: Route;
  /** The socket that it has. */
  socket: KernelSocket | null;
}

const UNREACHED: Route = { state: 'unresolved', mac: null, kernelSocket: null };

function routeOf({ standing: { state }, socket }: Tracked, hop: NextHop): Route {
  return {
    state,
    mac: state === 'live' ? hop.mac : null,
    kernelSocket: state === 'kernel' ? (socket?.index ?? null) : null,
  };
}

function sameRoute(a: Route, b: Route): boolean {
  return a.state === b.state && a.kernelSocket === b.kernelSocket && sameMac(a.mac, b.mac);
}

function giveUpSocket(entry: Tracked, sockets: KernelSockets): void {
  if (entry.socket !== null) sockets.giveUp(entry.socket);
  entry.socket = null;
}

/** How soon those are to be looked at again. */
function nextTurn_ms(due: Iterable<Tracked>, now_ms: number): number {
  let soonest = Number.POSITIVE_INFINITY;
  for (const { standing } of due) {
    if (standing.drainingSince_ms !== null) return TURN_DRAIN_MS;
    const missing = standing.missingSince_ms;
    const young = missing !== null && now_ms - missing < PATIENCE_MS;
    soonest = Math.min(soonest, young ? TURN_PATIENCE_MS : TURN_PROBE_MS);
  }
  return soonest;
}

export class Reach {
  private readonly now_ms: () => number;
  /** By endpointText. */
  private readonly tracked = new Map<string, Tracked>();
  private readonly byIp = new Groups<Tracked>();
  /**
   * Those to look at in the next turn. Whoever is settled (live or no_route) is looked at only on
   * news.
   */
  private readonly due = new Set<Tracked>();
  /** When each next hop was last asked for. */
  private readonly probed_ms = new Map<string, number>();
  private readonly alarm: Alarm;

  constructor(private readonly options: ReachOptions) {
    this.now_ms = options.now_ms ?? (() => performance.now());
    this.alarm = new Alarm(this.now_ms, () => this.turn());
    options.sockets.onFree(() => this.alarm.set(0)); // somebody may be waiting for one
  }

  /**
   * Takes a subscriber up and decides at once. It must not be tracked already. `kernelSocket`: the
   * place in its worker's pool of the one that an earlier supervisor has connected for it. All such
   * must be tracked before any other, which could be given their sockets.
   */
  track(
    { ip, port, worker }: Endpoint & { readonly worker: number },
    kernelSocket: number | null = null,
  ): Route {
    const key = endpointText({ ip, port });
    assert(!this.tracked.has(key), `${key} is tracked already`);
    assert(this.options.sockets.hasPool(worker), `there is no worker ${worker}`);
    const entry: Tracked = {
      ip,
      port,
      worker,
      standing: STANDING_NEW,
      route: UNREACHED,
      socket: null,
    };
    if (kernelSocket !== null) {
      entry.socket = this.options.sockets.inherit(worker, kernelSocket, entry);
      if (entry.socket !== null)
        entry.standing = {
          state: 'kernel',
          missingSince_ms: this.now_ms(),
          drainingSince_ms: null,
        };
    }
    this.options.nextHops.watch(ip);
    this.tracked.set(key, entry);
    this.byIp.add(ip, entry);
    this.advance(entry, this.now_ms());
    // probed for in the turn that follows, once for all that come together
    if (this.due.has(entry)) this.alarm.set(0);
    return entry.route;
  }

  /** Lets a subscriber go; its socket, if it has one, is leaving from now on. */
  untrack(subscriber: Endpoint): void {
    const key = endpointText(subscriber);
    const entry = this.tracked.get(key);
    if (entry === undefined) return;
    giveUpSocket(entry, this.options.sockets);
    this.tracked.delete(key);
    this.due.delete(entry);
    this.byIp.delete(entry.ip, entry);
    this.options.nextHops.unwatch(entry.ip);
  }

  of(subscriber: Endpoint): Route {
    return this.tracked.get(endpointText(subscriber))?.route ?? UNREACHED;
  }

  /** To be called by NextHops' onChange. */
  nextHopChanged(ip: string): void {
    for (const entry of this.byIp.of(ip)) this.due.add(entry);
    this.alarm.set(0);
  }

  close(): void {
    this.alarm.stop();
  }

  // ---- turns ----

  private turn(): void {
    const now = this.now_ms();
    for (const entry of [...this.due]) {
      // untracked by who was told of another
      if (this.tracked.get(endpointText(entry)) !== entry) continue;
      // Told one by one: a socket must not be leaving while its subscriber is still published with
      // it.
      if (this.advance(entry, now)) this.options.onChange({ ip: entry.ip, port: entry.port });
    }
    this.probeDue(now);
    this.alarm.set(nextTurn_ms(this.due, this.now_ms()));
  }

  /** Looks, decides and carries out for one subscriber; true if its route is another now. */
  private advance(entry: Tracked, now_ms: number): boolean {
    const { nextHops, sockets } = this.options;
    const hop = nextHops.nextHop(entry.ip);
    const next = plan(entry.standing, {
      now_ms,
      hop: hop.state,
      hasSocket: entry.socket !== null,
      socketFree: sockets.hasFree(entry.worker),
      queued_bytes: sockets.queued_bytes(entry.worker, entry),
    });
    if (next.socket === 'give_up') giveUpSocket(entry, sockets);
    if (next.socket === 'take') entry.socket = sockets.take(entry.worker, entry, entry.ip);
    const isWithout = next.socket === 'take' && entry.socket === null;
    entry.standing = {
      state: isWithout ? 'unresolved' : next.state,
      missingSince_ms: next.missingSince_ms,
      drainingSince_ms: next.drainingSince_ms,
    };
    const settled = next.state === 'live' || next.state === 'no_route';
    if (settled) this.due.delete(entry);
    else this.due.add(entry);
    const before = entry.route;
    entry.route = routeOf(entry, hop);
    return !sameRoute(before, entry.route);
  }

  /** Asks for the missing neighbours whose time has come; many subscribers may share one. */
  private probeDue(now_ms: number): void {
    const { nextHops } = this.options;
    let left = PROBES_MAX;
    const missing = new Set<string>();
    for (const { ip, standing } of this.due) {
      if (standing.missingSince_ms === null) continue;
      const { via } = nextHops.nextHop(ip);
      if (missing.has(via)) continue;
      missing.add(via);
      if (now_ms - (this.probed_ms.get(via) ?? Number.NEGATIVE_INFINITY) < PROBE_MS || left === 0)
        continue;
      left--;
      this.probed_ms.set(via, now_ms);
      nextHops.probe(ip);
    }
    for (const via of this.probed_ms.keys()) if (!missing.has(via)) this.probed_ms.delete(via);
  }
}
