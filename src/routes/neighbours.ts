/**
 * The neighbours (ARP entries) of the interface: a mirror of the kernel's table, kept up to date by
 * rtnetlink, whose events come by way of interface-watch.ts. next-hops.ts is its one user.
 *
 * What the kernel says is believed but for one thing: an entry that is deleted may be so for want
 * of room only (gc_thresh), so its MAC is used for as long as a probe takes to prove the host dead.
 */
import { addon, type Neighbour, type NeighbourState, type NetlinkEvent } from '../memory/addon.js';
import type { InterfaceWatch } from './interface-watch.js';

export interface NeighbourOptions {
  /** An rtnetlink socket for requests; stays the caller's. */
  readonly requests: number;
  readonly watch: InterfaceWatch;
  /** The neighbours that some destination is reached through at this moment. */
  readonly used: () => Iterable<string>;
  readonly isUsed: (ip: string) => boolean;
  /** Something is different about that neighbour. */
  readonly onChange: (ip: string) => void;
  /** Something that an operator should know, once each: probes that are refused, for example. */
  readonly onProblem: (sentence: string) => void;
}

/**
 * How long a deleted entry's MAC is still used: three requests a second apart (mcast_solicit), and
 * one to spare.
 */
const DOUBT_MS = 4000;
/** Stale entries are confirmed as the kernel would for a sender of its own: so many at a time … */
const REFRESH_MAX = 64;
/** … and so often. */
const REFRESH_MS = 1000;

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

// More members than 15: learning, forgetting and doubting an entry share all of its state.
export class Neighbours {
  private readonly entries = new Map<string, Neighbour>();
  private readonly doubts = new Map<string, Doubt>();
  private readonly problems = new Set<string>();
  private readonly refreshTimer: NodeJS.Timeout;
  private closed = false;

  constructor(private readonly options: NeighbourOptions) {
    this.readEntries();
    options.watch.follow((event) => this.take(event));
    this.refreshTimer = setInterval(() => this.confirmStale(), REFRESH_MS);
    this.refreshTimer.unref();
  }

  /** Six bytes, or null while nobody answers for that address. */
  macOf(ip: string): Uint8Array | null {
    return usableMac(this.entries.get(ip)) ?? this.doubts.get(ip)?.mac ?? null;
  }

  /** Makes the kernel ask for a neighbour; the answer comes as a change. */
  probe(ip: string): void {
    const { requests, watch, onProblem } = this.options;
    const state = this.entries.get(ip)?.state;
    // A probe would take a permanent entry's permanence away.
    const isFixed = state === 'permanent' || state === 'noarp';
    if (watch.isGone || this.closed || watch.interface.loopback || isFixed) return;
    try {
      addon.probeNeighbour(requests, watch.interface.index, ip);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException; // the addon throws Errors with codes
      const kind = code ?? message;
      if (this.problems.has(kind)) return;
      this.problems.add(kind);
      const cure = code === 'EPERM' ? ' (it takes CAP_NET_ADMIN: run as root)' : '';
      onProblem(`${message}${cure}`);
    }
  }

  /** Nobody is reached through that neighbour any more, or it is known what has become of it. */
  endDoubt(ip: string): void {
    const doubt = this.doubts.get(ip);
    if (doubt === undefined) return;
    clearTimeout(doubt.timer);
    this.doubts.delete(ip);
  }

  /** Closing twice is fine. Nothing is called back after. */
  close(): void {
    this.closed = true;
    clearInterval(this.refreshTimer);
    for (const doubt of this.doubts.values()) clearTimeout(doubt.timer);
    this.doubts.clear();
  }

  private take(event: NetlinkEvent): void {
    if (this.closed || this.options.watch.isGone) return;
    if (event.kind === 'overrun') this.readEntries(); // some events were lost
    if (event.kind !== 'neighbour' || event.index !== this.options.watch.interface.index) return;
    if (event.deleted) this.forget(event.ip);
    else this.learn({ ip: event.ip, mac: event.mac, state: event.state });
  }

  private readEntries(): void {
    const { requests, watch } = this.options;
    const found = addon.listNeighbours(requests, watch.interface.index);
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
    this.options.onChange(entry.ip);
  }

  private forget(ip: string): void {
    const mac = usableMac(this.entries.get(ip));
    this.entries.delete(ip);
    if (mac !== null) this.beginDoubt(ip, mac);
    this.options.onChange(ip);
  }

  private beginDoubt(ip: string, mac: Uint8Array): void {
    const { isUsed, watch, onChange } = this.options;
    this.endDoubt(ip);
    if (!isUsed(ip) || watch.isGone) return;
    const timer = setTimeout(() => {
      this.doubts.delete(ip);
      onChange(ip);
    }, DOUBT_MS);
    this.doubts.set(ip, { mac, timer });
    this.probe(ip);
  }

  /**
   * Nothing that we send makes the kernel look after its entries, so a host that has moved would
   * never be noticed.
   */
  private confirmStale(): void {
    let left = REFRESH_MAX;
    for (const ip of this.options.used()) {
      const entry = this.entries.get(ip);
      if (entry?.state !== 'stale') continue;
      if (left-- === 0) return;
      this.probe(ip);
      // The kernel goes to `delay` without telling.
      this.entries.set(ip, { ...entry, state: 'delay' });
    }
  }
}
