/**
 * Which way each destination lies, and whose MAC address gets it there: a mirror of the kernel's
 * routes and neighbours for the destinations that somebody watches, kept up to date by rtnetlink.
 *
 * Reach and the supervisor ask here; nothing is ever decided from an old answer, since every change
 * is told by `onChange`. What the kernel says is believed but for one thing: a neighbour entry that
 * is deleted may be so for want of room only, so its MAC is used for as long as a probe takes to
 * prove the host dead.
 *
 *   destination ──route──> via (gateway, or the destination itself) ──neighbour──> MAC
 */
import { closeSync } from 'node:fs';
import { never } from '../domain/errors.js';
import {
  addon,
  type Interface,
  type Neighbour,
  type NeighbourState,
  type NetlinkEvent,
  type Watch,
} from '../memory/addon.js';

export interface NextHop {
  readonly state: 'reachable' | 'unresolved' | 'no_route';
  /** Six bytes if reachable, else null. */
  readonly mac: Uint8Array | null;
  /** The neighbour to ask for: the gateway or the destination itself; empty without a route. */
  readonly via: string;
}

/**
 * What happened to the interface. After `gone` nothing more comes: one of the same name would be
 * another interface.
 */
export type InterfaceEvent =
  | { readonly kind: 'state'; readonly up: boolean }
  | { readonly kind: 'mtu'; readonly mtu: number }
  | { readonly kind: 'mac'; readonly mac: string }
  | {
      readonly kind: 'address';
      readonly ip: string;
      readonly prefix: number;
      readonly present: boolean;
    }
  | { readonly kind: 'gone' };

export interface NeighbourOptions {
  readonly netns: string | null;
  readonly interfaceName: string;
  /** Copies leave with this address, which may decide their route; null leaves that out. */
  readonly source: string | null;
  /** The next hop of a watched destination is another one now. */
  readonly onChange: (ip: string) => void;
  readonly onInterface: (event: InterfaceEvent) => void;
  /** Something that an operator should know, once each: probes that are refused, for example. */
  readonly onProblem: (sentence: string) => void;
}

/**
 * How long a deleted entry's MAC is still used: three requests a second apart (mcast_solicit), and
 * one to spare.
 */
const DOUBT_MS = 4000;
/**
 * Route news comes in floods; what they mean is looked up once for all that come within this time.
 */
const ROUTES_SETTLE_MS = 50;
/** Stale entries are confirmed as the kernel would for a sender of its own: so many at a time … */
const REFRESH_MAX = 64;
/** … and so often. */
const REFRESH_MS = 1000;

const NO_ROUTE: NextHop = { state: 'no_route', mac: null, via: '' };
const LOOPBACK_MAC = new Uint8Array(6);

interface Destination {
  watchers: number;
  hop: NextHop;
}

/** A deleted entry whose host may yet be alive. */
interface Doubt {
  readonly mac: Uint8Array;
  readonly timer: NodeJS.Timeout;
}

/**
 * Whether frames may be sent to a neighbour in that state; an exhaustive table, so that a new state
 * must be judged.
 */
const USABLE: Readonly<Record<NeighbourState, boolean>> = {
  none: false,
  incomplete: false,
  failed: false,
  reachable: true,
  stale: true,
  delay: true,
  probe: true,
  noarp: true,
  permanent: true,
};

function usableMac(entry: Neighbour | undefined): Uint8Array | null {
  return entry !== undefined && USABLE[entry.state] ? entry.mac : null;
}

function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === b || (a !== null && b !== null && Buffer.compare(a, b) === 0);
}

function sameHop(a: NextHop, b: NextHop): boolean {
  return a.state === b.state && a.via === b.via && sameBytes(a.mac, b.mac);
}

const addressKey = (ip: string, prefix: number) => `${ip}/${prefix}`;

export class Neighbours {
  private readonly options: NeighbourOptions;
  private readonly requests: number;
  private readonly events: number;
  private readonly watching: Watch;
  private readonly refreshTimer: NodeJS.Timeout;
  private routesTimer: NodeJS.Timeout | null = null;
  private state: Interface;
  private closed = false;
  private gone = false;
  private readonly destinations = new Map<string, Destination>();
  /** The destinations that go through each next hop. */
  private readonly users = new Map<string, Set<string>>();
  private readonly entries = new Map<string, Neighbour>();
  private readonly doubts = new Map<string, Doubt>();
  private readonly problems = new Set<string>();

  /** Throws ENODEV if there is no such interface, ENOENT if there is no such namespace. */
  constructor(options: NeighbourOptions) {
    this.options = options;
    // Before anything is read, so that no change falls between reading and listening.
    this.events = addon.openNetlinkEvents(options.netns);
    try {
      this.requests = addon.openNetlink(options.netns);
      try {
        this.state = addon.describeInterface(options.netns, options.interfaceName);
        this.readEntries();
        this.watching = addon.watchFd(this.events, () => this.takeEvents());
      } catch (error) {
        closeSync(this.requests);
        throw error;
      }
    } catch (error) {
      closeSync(this.events);
      throw error;
    }
    this.refreshTimer = setInterval(() => this.confirmStale(), REFRESH_MS);
    this.refreshTimer.unref();
  }

  /** The interface as it is now. */
  get interface(): Interface {
    return this.state;
  }

  /** Follows a destination until `unwatch` has been called as often. */
  watch(ip: string): void {
    const known = this.destinations.get(ip);
    if (known !== undefined) {
      known.watchers++;
      return;
    }
    const hop = this.look(ip);
    this.destinations.set(ip, { watchers: 1, hop });
    this.addUser(hop.via, ip);
  }

  unwatch(ip: string): void {
    const known = this.destinations.get(ip);
    if (known === undefined || --known.watchers > 0) return;
    this.destinations.delete(ip);
    this.dropUser(known.hop.via, ip);
  }

  /** The next hop towards a destination, watched or not. */
  nextHop(ip: string): NextHop {
    return this.destinations.get(ip)?.hop ?? this.look(ip);
  }

  /** Makes the kernel ask for the next hop of a destination; the answer comes as a change. */
  probe(ip: string): void {
    const { via, state } = this.nextHop(ip);
    if (state !== 'no_route') this.probeVia(via);
  }

  /** Closing twice is fine. Nothing is called back after. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.refreshTimer);
    if (this.routesTimer !== null) clearTimeout(this.routesTimer);
    for (const doubt of this.doubts.values()) clearTimeout(doubt.timer);
    this.doubts.clear();
    this.watching.close();
    closeSync(this.events);
    closeSync(this.requests);
  }

  // ---- from destination to next hop ----

  private look(ip: string): NextHop {
    if (this.gone || this.closed) return NO_ROUTE;
    // The loopback has routes without next hops and neighbours without addresses.
    if (this.state.loopback) return { state: 'reachable', mac: LOOPBACK_MAC, via: ip };
    const via = addon.lookUpRoute(this.requests, this.state.index, ip, this.options.source);
    return via === null ? NO_ROUTE : this.hopThrough(via);
  }

  private hopThrough(via: string): NextHop {
    const mac = usableMac(this.entries.get(via)) ?? this.doubts.get(via)?.mac ?? null;
    return { state: mac === null ? 'unresolved' : 'reachable', mac, via };
  }

  private addUser(via: string, ip: string): void {
    if (via === '') return;
    const users = this.users.get(via);
    if (users === undefined) this.users.set(via, new Set([ip]));
    else users.add(ip);
  }

  private dropUser(via: string, ip: string): void {
    const users = this.users.get(via);
    users?.delete(ip);
    if (users?.size !== 0) return;
    this.users.delete(via);
    this.endDoubt(via);
  }

  /** Gives a watched destination its hop, and says so if it is another. */
  private settle(ip: string, hop: NextHop): void {
    const known = this.destinations.get(ip);
    if (known === undefined || sameHop(known.hop, hop)) return;
    const before = known.hop.via;
    known.hop = hop;
    if (before !== hop.via) {
      this.dropUser(before, ip);
      this.addUser(hop.via, ip);
    }
    this.options.onChange(ip);
  }

  private settleUsersOf(via: string): void {
    // A copy, since whoever is told may watch and unwatch.
    for (const ip of [...(this.users.get(via) ?? [])]) this.settle(ip, this.hopThrough(via));
  }

  private lookUpAllSoon(): void {
    if (this.routesTimer !== null || this.closed) return;
    this.routesTimer = setTimeout(() => {
      this.routesTimer = null;
      this.lookUpAll();
    }, ROUTES_SETTLE_MS);
  }

  private lookUpAll(): void {
    for (const ip of [...this.destinations.keys()]) this.settle(ip, this.look(ip));
  }

  // ---- the neighbour table ----

  private readEntries(): void {
    const found = addon.listNeighbours(this.requests, this.state.index);
    const present = new Set(found.map((entry) => entry.ip));
    for (const ip of [...this.entries.keys()]) if (!present.has(ip)) this.forget(ip);
    for (const entry of found) this.learn(entry);
  }

  private learn(entry: Neighbour): void {
    const before = this.entries.get(entry.ip);
    this.entries.set(entry.ip, entry);
    const mac = usableMac(before);
    // A host that does not answer fails after `probe`. An entry that fails out of another state is
    // being deleted.
    const deleted = entry.state === 'failed' && mac !== null && before?.state !== 'probe';
    if (deleted) this.beginDoubt(entry.ip, mac);
    // A request under way decides nothing; any other state says that the host is there or is not.
    else if (entry.state !== 'incomplete' && entry.state !== 'none') this.endDoubt(entry.ip);
    this.settleUsersOf(entry.ip);
  }

  private forget(ip: string): void {
    const mac = usableMac(this.entries.get(ip));
    this.entries.delete(ip);
    if (mac !== null) this.beginDoubt(ip, mac);
    this.settleUsersOf(ip);
  }

  private beginDoubt(ip: string, mac: Uint8Array): void {
    this.endDoubt(ip);
    if (!this.users.has(ip) || this.gone) return;
    const timer = setTimeout(() => {
      this.doubts.delete(ip);
      this.settleUsersOf(ip);
    }, DOUBT_MS);
    this.doubts.set(ip, { mac, timer });
    this.probeVia(ip);
  }

  private endDoubt(ip: string): void {
    const doubt = this.doubts.get(ip);
    if (doubt === undefined) return;
    clearTimeout(doubt.timer);
    this.doubts.delete(ip);
  }

  private probeVia(via: string): void {
    const state = this.entries.get(via)?.state;
    // A probe would take a permanent entry's permanence away.
    if (
      this.gone ||
      this.closed ||
      this.state.loopback ||
      state === 'permanent' ||
      state === 'noarp'
    )
      return;
    try {
      addon.probeNeighbour(this.requests, this.state.index, via);
    } catch (error) {
      this.report(error);
    }
  }

  /**
   * Nothing that we send makes the kernel look after its entries, so a host that has moved would
   * never be noticed.
   */
  private confirmStale(): void {
    let left = REFRESH_MAX;
    for (const via of this.users.keys()) {
      const entry = this.entries.get(via);
      if (entry?.state !== 'stale') continue;
      if (left-- === 0) return;
      this.probeVia(via);
      // The kernel goes to `delay` without telling.
      this.entries.set(via, { ...entry, state: 'delay' });
    }
  }

  // ---- news ----

  private takeEvents(): void {
    if (this.closed) return;
    for (const event of addon.readNetlinkEvents(this.events)) {
      this.take(event);
      if (this.closed || this.gone) return;
    }
  }

  private take(event: NetlinkEvent): void {
    switch (event.kind) {
      case 'neighbour':
        if (event.index !== this.state.index) return;
        if (event.deleted) this.forget(event.ip);
        else this.learn({ ip: event.ip, mac: event.mac, state: event.state });
        return;
      case 'route':
        this.lookUpAllSoon();
        return;
      case 'address':
        // Routes go with an address, or with the interface below, without news of their own.
        this.lookUpAllSoon();
        if (event.index === this.state.index)
          this.takeAddress(event.ip, event.prefix, !event.deleted);
        return;
      case 'link':
        this.lookUpAllSoon();
        if (event.index !== this.state.index) return;
        if (event.deleted) this.lose();
        else this.takeLink(event.up, event.mtu, event.mac);
        return;
      case 'overrun':
        this.readAgain();
        return;
      default:
        never(event);
    }
  }

  private takeAddress(ip: string, prefix: number, present: boolean): void {
    const key = addressKey(ip, prefix);
    const others = this.state.addresses.filter(
      (address) => addressKey(address.ip, address.prefix) !== key,
    );
    // A lease that is renewed is news to the kernel only.
    if (present === others.length < this.state.addresses.length) return;
    this.state = { ...this.state, addresses: present ? [...others, { ip, prefix }] : others };
    this.options.onInterface({ kind: 'address', ip, prefix, present });
  }

  private takeLink(up: boolean, mtu: number, mac: string): void {
    const before = this.state;
    this.state = { ...before, up, mtu, mac };
    if (up !== before.up) this.options.onInterface({ kind: 'state', up });
    if (mtu !== before.mtu) this.options.onInterface({ kind: 'mtu', mtu });
    if (mac !== before.mac) this.options.onInterface({ kind: 'mac', mac });
  }

  private lose(): void {
    if (this.gone) return;
    this.gone = true;
    this.lookUpAll();
    this.options.onInterface({ kind: 'gone' });
  }

  /** Events were lost: reads everything, and tells what is different. */
  private readAgain(): void {
    let now: Interface;
    try {
      now = addon.describeInterface(this.options.netns, this.options.interfaceName);
    } catch (error) {
      // the addon throws Errors with codes
      if ((error as NodeJS.ErrnoException).code !== 'ENODEV') throw error;
      this.lose();
      return;
    }
    if (now.index !== this.state.index) {
      this.lose();
      return;
    }
    const before = this.state.addresses;
    for (const { ip, prefix } of now.addresses) this.takeAddress(ip, prefix, true);
    const present = new Set(now.addresses.map(({ ip, prefix }) => addressKey(ip, prefix)));
    for (const { ip, prefix } of before) {
      if (!present.has(addressKey(ip, prefix))) this.takeAddress(ip, prefix, false);
    }
    this.takeLink(now.up, now.mtu, now.mac);
    this.readEntries();
    this.lookUpAllSoon();
  }

  private report(error: unknown): void {
    const { code, message } = error as NodeJS.ErrnoException; // the addon throws Errors with codes
    const kind = code ?? message;
    if (this.problems.has(kind)) return;
    this.problems.add(kind);
    const cure = code === 'EPERM' ? ' (it takes CAP_NET_ADMIN: run as root)' : '';
    this.options.onProblem(`${message}${cure}`);
  }
}
