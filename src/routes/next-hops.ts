/**
 * The next hop of each destination that somebody watches, and its MAC address.
 *
 *   destination ──kernel route──> via (gateway, or the destination itself) ──neighbour──> MAC
 *   group ────────────────────────────────────────────────────────────────(RFC 1112)────> MAC
 *
 * Kept up to date by rtnetlink, whose events come by way of interface-watch.ts. reach.ts asks here;
 * nothing is ever decided from an old answer, since every change is told by `onChange`.
 */
import { closeSync } from 'node:fs';
import { groupMac, isMulticast } from '../domain/endpoint.js';
import { addon, type NetlinkEvent } from '../memory/addon.js';
import { Groups } from './groups.js';
import type { InterfaceWatch } from './interface-watch.js';
import { type NeighbourOptions, Neighbours } from './neighbours.js';

export interface NextHop {
  readonly state: 'reachable' | 'unresolved' | 'no_route';
  /** Six bytes if reachable, else null. */
  readonly mac: Uint8Array | null;
  /** The neighbour to ask for: the gateway or the destination itself; empty without a route. */
  readonly via: string;
}

export interface NextHopOptions extends Pick<NeighbourOptions, 'onProblem'> {
  readonly netns: string | null;
  /** The interface that copies leave by; stays the caller's. */
  readonly watch: InterfaceWatch;
  /** Copies leave with this address at first, which may decide their route; null leaves it out. */
  readonly source: string | null;
  /** The next hop of a watched destination is another one now. */
  readonly onChange: (ip: string) => void;
}

/**
 * Route news comes in floods; what they mean is looked up once for all that come within this time.
 */
const ROUTES_SETTLE_MS = 50;

const NO_ROUTE: NextHop = { state: 'no_route', mac: null, via: '' };
const LOOPBACK_MAC = new Uint8Array(6);

interface Watched {
  watchers: number;
  hop: NextHop;
}

export function sameMac(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === b || (a !== null && b !== null && Buffer.compare(a, b) === 0);
}

function sameHop(a: NextHop, b: NextHop): boolean {
  return a.state === b.state && a.via === b.via && sameMac(a.mac, b.mac);
}

// More members than 15: each kind of news (route, neighbour, watcher) has its way to settle().
export class NextHops {
  private readonly requests: number;
  private readonly neighbours: Neighbours;
  private routesTimer: NodeJS.Timeout | null = null;
  private closed = false;
  private source: string | null;
  private readonly watched = new Map<string, Watched>();
  /** The destinations that go through each next hop; without a route, through ''. */
  private readonly users = new Groups<string>();

  constructor(private readonly options: NextHopOptions) {
    const { netns, watch, onProblem } = options;
    this.source = options.source;
    this.requests = addon.openNetlink(netns);
    try {
      this.neighbours = new Neighbours({
        requests: this.requests,
        watch,
        used: () => this.users.keys(),
        isUsed: (via) => this.users.has(via),
        onChange: (via) => {
          for (const ip of this.users.of(via)) this.settle(ip, this.hopThrough(via));
        },
        onProblem,
      });
    } catch (error) {
      closeSync(this.requests);
      throw error;
    }
    watch.follow((event) => this.take(event));
  }

  /** Follows a destination until `unwatch` has been called as often. */
  watch(ip: string): void {
    const known = this.watched.get(ip);
    if (known !== undefined) {
      known.watchers++;
      return;
    }
    const hop = this.look(ip);
    this.watched.set(ip, { watchers: 1, hop });
    this.users.add(hop.via, ip);
  }

  unwatch(ip: string): void {
    const known = this.watched.get(ip);
    if (known === undefined || --known.watchers > 0) return;
    this.watched.delete(ip);
    this.dropUser(known.hop.via, ip);
  }

  /** Copies leave with that address from now on. */
  moveTo(source: string): void {
    if (source === this.source) return;
    this.source = source;
    this.lookUpAll();
  }

  /** The next hop towards a destination, watched or not. */
  nextHop(ip: string): NextHop {
    return this.watched.get(ip)?.hop ?? this.look(ip);
  }

  /** Makes the kernel ask for the next hop of a destination; the answer comes as a change. */
  probe(ip: string): void {
    const { via, state } = this.nextHop(ip);
    if (state !== 'no_route') this.neighbours.probe(via);
  }

  /** Closing twice is fine. Nothing is called back after. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.routesTimer !== null) clearTimeout(this.routesTimer);
    this.neighbours.close();
    closeSync(this.requests);
  }

  private look(ip: string): NextHop {
    const { watch } = this.options;
    if (watch.isGone || this.closed) return NO_ROUTE;
    // The loopback has routes without next hops and neighbours without addresses.
    if (watch.interface.loopback) return { state: 'reachable', mac: LOOPBACK_MAC, via: ip };
    // nobody is asked for a group's MAC, and it leaves by our interface, whatever the routes say
    if (isMulticast(ip)) return { state: 'reachable', mac: groupMac(ip), via: ip };
    const via = addon.lookUpRoute(this.requests, watch.interface.index, ip, this.source);
    return via === null ? NO_ROUTE : this.hopThrough(via);
  }

  private hopThrough(via: string): NextHop {
    const mac = this.neighbours.macOf(via);
    return { state: mac === null ? 'unresolved' : 'reachable', mac, via };
  }

  private dropUser(via: string, ip: string): void {
    if (this.users.delete(via, ip)) this.neighbours.endDoubt(via);
  }

  /** Gives a watched destination its hop, and says so if it is another. */
  private settle(ip: string, hop: NextHop): void {
    const known = this.watched.get(ip);
    if (known === undefined || sameHop(known.hop, hop)) return;
    const before = known.hop.via;
    known.hop = hop;
    if (before !== hop.via) {
      this.dropUser(before, ip);
      this.users.add(hop.via, ip);
    }
    this.options.onChange(ip);
  }

  private lookUpAll(): void {
    for (const ip of [...this.watched.keys()]) this.settle(ip, this.look(ip));
  }

  /** Routes go with an address, or with an interface, without news of their own. */
  private take(event: NetlinkEvent): void {
    if (this.closed || event.kind === 'neighbour') return;
    if (this.options.watch.isGone) {
      this.lookUpAll();
      return;
    }
    this.routesTimer ??= setTimeout(() => {
      this.routesTimer = null;
      this.lookUpAll();
    }, ROUTES_SETTLE_MS);
  }
}
