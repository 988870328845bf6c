/**
 * What the interface is at this moment, and news of it: listens to rtnetlink and keeps a
 * description of the one interface up to date.
 *
 * Whoever else lives on rtnetlink's events follows them here (`follow`), so that there is one
 * socket and one order: the description is changed first, then the followers are called, then
 * `onEvent` with what is different about the interface.
 */
import { closeSync } from 'node:fs';
import { never } from '../domain/errors.js';
import {
  type Address,
  addon,
  type Interface,
  type NetlinkEvent,
  type Watch,
} from '../memory/addon.js';

/**
 * What happened to the interface. After `gone` nothing more comes: one of the same name would be
 * another interface.
 */
export type InterfaceEvent =
  | { readonly kind: 'state'; readonly up: boolean }
  | { readonly kind: 'mtu'; readonly mtu: number }
  | { readonly kind: 'mac'; readonly mac: string }
  | { readonly kind: 'name'; readonly name: string; readonly before: string }
  | {
      readonly kind: 'address';
      readonly ip: string;
      readonly prefix: number;
      readonly present: boolean;
    }
  /** Of another interface of the host: it came or went. */
  | { readonly kind: 'other_address'; readonly ip: string }
  /** Those that it receives on. */
  | { readonly kind: 'queues'; readonly rx: number; readonly before: number }
  | { readonly kind: 'gone' };

export interface InterfaceWatchOptions {
  readonly netns: string | null;
  readonly interfaceName: string;
  readonly onEvent: (event: InterfaceEvent) => void;
}

/** Those that came, then those that went. */
function changes(
  before: readonly Address[],
  now: readonly Address[],
): (Address & { present: boolean })[] {
  const textOf = ({ ip, prefix }: Address) => `${ip}/${prefix}`;
  const missingFrom = (addresses: readonly Address[]) => {
    const texts = new Set(addresses.map(textOf));
    return (address: Address) => !texts.has(textOf(address));
  };
  return [
    ...now.filter(missingFrom(before)).map((each) => ({ ...each, present: true })),
    ...before.filter(missingFrom(now)).map((each) => ({ ...each, present: false })),
  ];
}

/** What is different, in the order in which it is told. Pure. */
function differences(before: Interface, now: Interface): InterfaceEvent[] {
  if (now === before) return []; // most news is of neighbours and routes
  const addresses = changes(before.addresses, now.addresses);
  const others = changes(before.others, now.others);
  const { name, up, mtu, mac, rx_queues: rx } = now;
  return [
    ...(name === before.name ? [] : [{ kind: 'name' as const, name, before: before.name }]),
    ...addresses.map((change) => ({ kind: 'address' as const, ...change })),
    ...others.map(({ ip }) => ({ kind: 'other_address' as const, ip })),
    ...(rx === before.rx_queues ? [] : [{ kind: 'queues' as const, rx, before: before.rx_queues }]),
    ...(up === before.up ? [] : [{ kind: 'state' as const, up }]),
    ...(mtu === before.mtu ? [] : [{ kind: 'mtu' as const, mtu }]),
    ...(mac === before.mac ? [] : [{ kind: 'mac' as const, mac }]),
  ];
}

function withAddress(
  described: Interface,
  { index, ip, prefix, deleted }: Extract<NetlinkEvent, { kind: 'address' }>,
): Interface {
  const list = index === described.index ? 'addresses' : 'others';
  const at = described[list].findIndex((each) => each.ip === ip && each.prefix === prefix);
  // two other interfaces may have the same one: a deletion takes away one of them
  if (deleted)
    return at < 0
      ? described
      : { ...described, [list]: described[list].filter((_, index) => index !== at) };
  if (at >= 0 && list === 'addresses') return described;
  return { ...described, [list]: [...described[list], { ip, prefix }] };
}

/** How often it is asked for what rtnetlink tells no news of: its queues. */
const LOOK_MS = 2000;

export class InterfaceWatch {
  private readonly events: number;
  private readonly looking: NodeJS.Timeout;
  private readonly watching: Watch;
  private readonly followers: ((event: NetlinkEvent) => void)[] = [];
  private described: Interface;
  /** In the last look. */
  private queuesSeen = 0;
  private gone = false;
  private closed = false;

  /** Throws ENODEV if there is no such interface, ENOENT if there is no such namespace. */
  constructor(private readonly options: InterfaceWatchOptions) {
    // Before anything is read, so that no change falls between reading and listening.
    this.events = addon.openNetlinkEvents(options.netns);
    try {
      this.described = addon.describeInterface(options.netns, options.interfaceName);
      this.watching = addon.watchFd(this.events, () => this.takeEvents());
    } catch (error) {
      closeSync(this.events);
      throw error;
    }
    this.looking = setInterval(() => this.look(), LOOK_MS).unref();
  }

  /** As the last event left it. */
  get interface(): Interface {
    return this.described;
  }

  get isGone(): boolean {
    return this.gone;
  }

  /**
   * Every event of rtnetlink, other interfaces' too. Whoever reads the kernel's tables after this
   * call and before the next turn of the event loop misses nothing in between.
   */
  follow(follower: (event: NetlinkEvent) => void): void {
    this.followers.push(follower);
  }

  /** Closing twice is fine. Nothing is called back after. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.looking);
    this.watching.close();
    closeSync(this.events);
  }

  private takeEvents(): void {
    if (this.closed) return;
    const events = addon.readNetlinkEvents(this.events); // also when gone: or it stays readable
    if (this.gone) return;
    for (const event of events) {
      const before = this.described;
      const now = this.after(event);
      this.gone = now === null;
      this.described = now ?? before;
      const news: InterfaceEvent[] = now === null ? [{ kind: 'gone' }] : differences(before, now);
      for (const follow of this.followers) follow(event);
      for (const each of news) if (!this.closed) this.options.onEvent(each);
      if (this.closed || this.gone) return;
    }
  }

  private look(): void {
    if (this.gone) return;
    const before = this.described;
    try {
      const now = this.readAgain();
      if (now === null) return; // rtnetlink tells that, in its turn
      // seen twice: a driver that is just being reset does not say, which reads as one
      const isSure = now.rx_queues === this.queuesSeen;
      this.queuesSeen = now.rx_queues;
      if (!isSure || now.rx_queues === before.rx_queues) return;
      this.described = { ...before, rx_queues: now.rx_queues, tx_queues: now.tx_queues };
    } catch {
      return; // no descriptors, no thread, no such namespace any more: the next look may tell
    }
    for (const each of differences(before, this.described)) this.options.onEvent(each);
  }

  /** The interface after an event; null if it is gone. */
  private after(event: NetlinkEvent): Interface | null {
    const { described } = this;
    if (event.kind === 'overrun') return this.readAgain();
    if (event.kind === 'address') return withAddress(described, event);
    if (event.kind === 'route' || event.index !== described.index) return described;
    switch (event.kind) {
      case 'neighbour':
        return described;
      case 'link': {
        const { name, up, mtu, mac, deleted } = event;
        return deleted ? null : { ...described, name, up, mtu, mac };
      }
      default:
        return never(event);
    }
  }

  /** Events were lost: everything is read. Another interface of that name is not ours. */
  private readAgain(): Interface | null {
    try {
      const now = addon.describeInterface(this.options.netns, this.described.name);
      return now.index === this.described.index ? now : null;
    } catch (error) {
      // the addon throws Errors with codes
      if ((error as NodeJS.ErrnoException).code !== 'ENODEV') throw error;
      return null;
    }
  }
}
