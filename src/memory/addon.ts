/**
 * The typed face of the native addon, and the only place that requires the .node file.
 *
 * Everything that Node cannot do itself is here: sockets made in another network namespace, file
 * descriptors passed over Unix sockets, rtnetlink, BPF maps, shared mappings. Every function checks
 * its arguments (wrong ones throw a TypeError, a programmer error); a refused system call throws an
 * Error whose `code` is the errno's name.
 *
 * A descriptor that a function returns belongs to the caller, who closes it with `fs.closeSync`.
 * All descriptors are close-on-exec. A namespace (`netns`) is a name under /run/netns, or null for
 * the caller's own; it is entered on a thread that ends with the call, so the calling process never
 * leaves its own namespace.
 */
import { createRequire } from 'node:module';
import type { Endpoint } from '../domain/endpoint.js';
import type { Placed } from '../domain/filter.js';
import { BUILD_LINE, nativeFile } from '../domain/installation.js';
import type { Card } from './card.js';

/** An IPv4 address of an interface and the length of its subnet's prefix. */
export interface Address {
  readonly ip: string;
  readonly prefix: number;
}

/** What an interface is at this moment. */
export interface Interface {
  readonly index: number;
  /** Another one after a rename. */
  readonly name: string;
  /** Bytes of the largest IP packet. */
  readonly mtu: number;
  /**
   * Six bytes as `02:00:00:00:00:01`; zeros on a loopback; empty on a device without a link layer.
   */
  readonly mac: string;
  /** Switched on, and its carrier is there. */
  readonly up: boolean;
  readonly addresses: readonly Address[];
  /** Of the other interfaces of the host, when it was described. */
  readonly others: readonly Address[];
  /** Active channels that receive (ethtool: combined + rx); 1 where the driver does not say. */
  readonly rx_queues: number;
  /** Active channels that transmit (ethtool: combined + tx); 1 where the driver does not say. */
  readonly tx_queues: number;
  /** Its channels receive and transmit, as most cards' do; else they are of two kinds. */
  readonly combined: boolean;
  /** That it can be made to have (ethtool -L); 1 where the driver does not say. */
  readonly queues_max: number;
  /** The driver's name as ethtool gives it, or an empty string. */
  readonly driver: string;
  /** Its own, or the kernel's of a driver that comes with it; likewise. */
  readonly driver_version: string;
  readonly loopback: boolean;
}

export interface RawOptions {
  /** Routes are asked with it; the packets have their own. */
  readonly source: string;
  /** Its packets leave by this interface (SO_BINDTODEVICE). */
  readonly device: string;
}

/** A message taken from a SOCK_SEQPACKET socket, with the descriptors that came along. */
export interface Message {
  readonly text: string;
  readonly fds: number[];
}

/** A connection that was accepted, and who made it (SO_PEERCRED). */
export interface Peer {
  readonly fd: number;
  readonly uid: number;
  readonly pid: number;
}

export interface Watch {
  /**
   * Stops the callbacks; the descriptor stays open and may be closed after. Closing twice is fine.
   */
  close(): void;
}

/** XDP_STATISTICS of one AF_XDP socket. */
export interface XskStatistics {
  readonly rx_dropped: number;
  readonly rx_invalid_descs: number;
  readonly tx_invalid_descs: number;
  readonly rx_ring_full: number;
  readonly rx_fill_ring_empty_descs: number;
  readonly tx_ring_empty_descs: number;
}

export interface XdpProgram {
  readonly id: number;
  readonly mode: 'native' | 'generic' | 'offload';
  /** Empty where we may not look (that takes CAP_SYS_ADMIN). */
  readonly name: string;
  /** A process holds it, so that `ip link` cannot remove it; null where we may not look. */
  readonly by_link: boolean | null;
}

/** The kernel's states of a neighbour (NUD_*), and `none`. */
export type NeighbourState =
  | 'none'
  | 'incomplete'
  | 'reachable'
  | 'stale'
  | 'delay'
  | 'probe'
  | 'failed'
  | 'noarp'
  | 'permanent';

/** An IPv4 neighbour of one interface. */
export interface Neighbour {
  readonly ip: string;
  readonly mac: Uint8Array | null;
  readonly state: NeighbourState;
}

/**
 * What rtnetlink told since the last look. `overrun`: some of it was lost, everything is to be read
 * again.
 */
export type NetlinkEvent =
  | ({ readonly kind: 'neighbour'; readonly index: number; readonly deleted: boolean } & Neighbour)
  | { readonly kind: 'route' }
  | {
      readonly kind: 'link';
      readonly index: number;
      readonly name: string;
      readonly deleted: boolean;
      readonly up: boolean;
      readonly mtu: number;
      readonly mac: string;
    }
  | ({ readonly kind: 'address'; readonly index: number; readonly deleted: boolean } & Address)
  | { readonly kind: 'overrun' };

export interface ListenOptions {
  readonly ip: string;
  readonly port: number;
  /** Empty: any. */
  readonly device: string;
  /** Where the address is a group: this one joins it there, or leaves that to another socket. */
  readonly joins: boolean;
  /** The one host whose packets of a group are taken; null: any. */
  readonly source: string | null;
  /** `ip` may be no address of this host: nothing comes as long as it is none. */
  readonly ofOthers: boolean;
}

/**
 * What decides which socket of the slow path takes a datagram in: maps of the sockets and of their
 * cookies, the program of sockets that share a port, the filter of a group's members, and a map of
 * how many datagrams that has left to others.
 */
export interface SlowPathFds {
  readonly readers: number;
  readonly cookies: number;
  readonly selector: number;
  readonly member: number;
  readonly declined: number;
}

/** A feed, and how the XDP program that takes it is attached. */
export interface XdpFeed {
  /** All that the launcher serves, the first of them first. */
  readonly queues: readonly number[];
  readonly ip: string;
  readonly port: number;
  /** Bytes of IP packet. */
  readonly mtu: number;
  readonly generic: boolean;
  /** Of the feed, in its launcher. */
  readonly index: number;
  /** The one host that it is taken from; null: any. */
  readonly source: string | null;
  /** `ip` may be another host's: then frames to any host's MAC are taken. */
  readonly promiscuous: boolean;
}

/** The supervisor's half of the addon. */
export interface Supervisor {
  /** Throws ENODEV if there is no such interface. */
  describeInterface(netns: string | null, name: string): Interface;
  /** The XDP program on an interface, ours or another's. */
  xdpProgramOn(netns: string | null, name: string): XdpProgram | null;
  /**
   * What its driver counts, by name as `ethtool -S` shows it; none where it has nothing to tell.
   * Some drivers ask their card. Throws ENODEV if there is no such interface.
   */
  driverFigures(netns: string | null, name: string): (readonly [name: string, value: number])[];
  /** Throws ENODEV if there is no such interface. */
  describeCard(netns: string | null, name: string): Card;
  /** Whether a card has rules for flows (ethtool -N), or could have; false: it does not tell. */
  takesRules(netns: string | null, name: string): boolean;
  /** Names of all interfaces. */
  listInterfaces(netns: string | null): string[];
  /**
   * Chains of netfilter that see IPv4 packets come in, as `table chain`; null where we may not look
   * (that takes CAP_NET_ADMIN) or the kernel has no nf_tables.
   */
  listInputChains(netns: string | null): string[] | null;

  /** A UDP socket that sends with TTL 64 and DF and never blocks. */
  openUdp(netns: string | null, at: Endpoint): number;
  /**
   * The socket of the slow path (native/host/sockets.hpp), a member of the group if `ip` is one.
   * Others may share its port.
   */
  openListener(netns: string | null, options: ListenOptions): number;
  /** Whether the kernel receives that group on that device. */
  isMember(netns: string | null, device: string, group: string): boolean;
  /** What that one lost, or the kernel refused behind it; modulo 2^32. */
  lostDatagrams(fd: number): number;
  /** Fixes the destination; may be called again with another. */
  connectUdp(fd: number, ip: string, port: number): void;
  /**
   * A socket that sends whole IPv4 packets, takes nothing in and never blocks
   * (native/host/sockets.hpp).
   */
  openRaw(netns: string | null, options: RawOptions): number;
  /** The device is in promiscuous mode as long as that packet socket is open, by whomever. */
  openPromiscuous(netns: string | null, device: string): number;
  /** Where its packets go; may be called again with another. */
  connectRaw(fd: number, ip: string): void;
  /**
   * Bytes that the kernel still holds of a UDP or raw socket, for sending; those that wait for a
   * neighbour are among them (SIOCOUTQ).
   */
  queuedBytes(fd: number): number;
  /** Takes one datagram, waiting up to so long: its whole length, or -1 if none came. */
  receiveUdp(fd: number, into: Uint8Array, waitUs: number): number;
  /** The kernel notes when each datagram arrives (native/host/sockets.hpp, stamp_arrivals). */
  stampArrivals(fd: number): void;
  /**
   * Takes one datagram of such a socket; null: none waits. When a device handed it to the kernel's
   * stack is told in CLOCK_MONOTONIC (process.hrtime); wrong by as much as the time of day was set
   * since.
   */
  receiveStamped(
    fd: number,
    into: Uint8Array,
  ): { readonly size: number; readonly at_ns: number } | null;
  /**
   * Room for unread datagrams, past net.core.rmem_max with CAP_NET_ADMIN; returns the bytes
   * granted.
   */
  setReceiveBuffer(fd: number, bytes: number): number;
  /** What is longer than the MTU leaves in fragments, without DF. */
  allowFragments(fd: number): void;

  /** Two ends of a SOCK_SEQPACKET connection. */
  socketPair(): [number, number];
  /**
   * Sends 1 byte to 64 KiB of UTF-8 and at most 250 descriptors as one message; EAGAIN if the other
   * side does not read.
   */
  sendMessage(fd: number, text: string, fds: readonly number[]): void;
  /** Takes one message; null if there is none yet, `closed` when the other end is gone. */
  receiveMessage(fd: number): Message | 'closed' | null;
  /** An unbound SOCK_SEQPACKET Unix socket of that namespace. */
  openAbstract(netns: string | null): number;
  /** Takes an abstract name and listens; false if somebody has it. */
  bindAbstract(fd: number, name: string): boolean;
  /** Connects to an abstract name; false if nobody has it. */
  connectAbstract(fd: number, name: string): boolean;
  /**
   * A SOCK_DGRAM Unix socket connected to whoever reads at that path, or under that abstract name
   * behind an `@`; what is written to it is one datagram, and EAGAIN where there is no room.
   */
  connectDatagrams(address: string): number;
  /** The user at the other end of a connected socket (SO_PEERCRED). */
  peerUid(fd: number): number;
  /** Accepts one connection, or null if none waits. */
  acceptPeer(fd: number): Peer | null;

  /** Calls back on the event loop while the descriptor is readable, hung up or in error. */
  watchFd(fd: number, callback: () => void): Watch;
  /** A non-blocking eventfd with the value 0. */
  eventFd(): number;
  /** Adds 1 to an eventfd. */
  signal(fd: number): void;

  /** A descriptor of a process that need not be a child (pidfd); readable once it has ended. */
  openProcess(pid: number): number;
  /** SIGKILL; one that has ended stays so. */
  killProcess(pidfd: number): void;
  /** An unnamed file with those bytes (memfd). */
  memoryFile(bytes: Uint8Array): number;

  /**
   * The clocks of the data path; `synchronised`: something keeps the time of day right
   * (adjtimex(2)). Microseconds of the latter, which a number holds exactly.
   */
  readClocks(): {
    readonly monotonic_ns: number;
    readonly realtime_us: number;
    readonly synchronised: boolean;
  };
  /** Effective capabilities by name: CAP_NET_ADMIN … */
  capabilities(): string[];
  /** This thread and what it starts can gain no privileges any more (PR_SET_NO_NEW_PRIVS). */
  noNewPrivileges(): void;
  /**
   * A user of its own (native/host/privileges.hpp), no capabilities, no_new_privs: a root's process
   * with all its threads, else the calling thread. Everything that is read from files must be
   * loaded before.
   */
  dropPrivileges(user: 'worker' | 'checker'): void;
  /**
   * No system calls any more that lead out of this process (native/host/system_calls.hpp): for all
   * its threads, for good. A worker may still run a BPF program that it is given.
   */
  forbidWaysOut(user: 'worker' | 'checker'): void;
  /**
   * No io_uring for what is started from now on, nor a new one here; before whatever calls
   * forbidWaysOut is started, or its libuv would have one that it is refused. Calling it again is
   * fine.
   */
  forbidIoUring(): void;
  /**
   * SIGXCPU once this process has used that much more CPU time, to the second; never more than
   * limitResources allows.
   */
  limitCpu(seconds: number): void;
  /** Of this process and what it starts, for good; no core file either. */
  limitResources(cpuSeconds: number, bytes: number): void;
  /** What is started from now on by a process that is not root gets none of its capabilities. */
  clearAmbientCapabilities(): void;
  /** What is started until that is called again gets all that it may be given. */
  raiseAmbientCapabilities(): void;

  /** The whole file, shared and writable. The mapping lasts as long as the process. */
  mapArena(fd: number): ArrayBuffer;

  /**
   * What the XDP program is to ask of a feed's frames, and the addresses of the host, as the
   * interface has them now. Throws ENODEV if there is no such interface.
   */
  feedSet(feeds: number, own: number, netns: string | null, name: string, feed: XdpFeed): void;
  /**
   * The socket of the slow path of that feed of the launcher whose first queue that is; `isGroup`:
   * the feed's address is a group's.
   */
  feedReaderSet(
    path: SlowPathFds,
    queue: number,
    index: number,
    socket: number,
    isGroup: boolean,
  ): void;
  /** Datagrams of a group that this socket of a slow path has left to other launchers'. */
  declinedBy(declined: number, socket: number): number;
  /** Deleting a feed that is not there is fine. */
  feedDelete(feeds: number, queue: number, ip: string, port: number): void;
  /** Frames by `enum verdict`, summed over the CPUs. */
  readVerdicts(verdicts: number, queue: number): number[];
  /** Of calls of the worker with that map; null: the kernel does not tell. */
  livePools(pages: number): number | null;
  xskStatistics(fd: number): XskStatistics;

  /** An rtnetlink socket for requests. */
  openNetlink(netns: string | null): number;
  /**
   * An rtnetlink socket that is told of changes to neighbours, routes, links and IPv4 addresses.
   */
  openNetlinkEvents(netns: string | null): number;
  /** What has happened, oldest first; at most 1024 events a call. */
  readNetlinkEvents(fd: number): NetlinkEvent[];
  /**
   * The next hop out of that interface: the gateway's address, or `ip` itself if it is on the link;
   * null without a route. `source` matters where rules choose a table by it (several network cards
   * in one cloud subnet).
   */
  lookUpRoute(fd: number, index: number, ip: string, source: string | null): string | null;
  listNeighbours(fd: number, index: number): Neighbour[];
  /**
   * Lets the kernel ask for this neighbour (NTF_USE). Needs CAP_NET_ADMIN. Not for permanent
   * entries.
   */
  probeNeighbour(fd: number, index: number, ip: string): void;
}

/** What a TX worker inherits, as numbers in its own process. It closes none of them. */
export interface WorkerDescriptors {
  readonly arena: number;
  readonly worker: number;
  /** Inline: the receiving sockets of its queues; split: none. */
  readonly rx: readonly number[];
  /** Inline, of the first receiver: the socket of the slow path, if there is one. */
  readonly slowPath: number | null;
  /** Where the UDP sockets of feeds other than the first come from (native/feeds/). */
  readonly feedChannel: number;
  /** Of those of these sockets that are UDP (native/link/intake.hpp). */
  readonly intakes: readonly number[];
  /** The transmitting socket of its queue; null: it sends in bulk alone. */
  readonly tx: number | null;
  /** Its map, and the XDP program that sends from it in bulk; null: it does not. */
  readonly pages: number | null;
  readonly program: number | null;
  /** Core of the thread that runs it, -1: any; null: the worker runs it itself. */
  readonly pump: number | null;
  /** Its own eventfd, and that of each worker. */
  readonly wake: number;
  readonly workerWakes: readonly number[];
  readonly kernelSockets: readonly number[];
}

/** The data path's half of the addon: one worker a process, attached until the process ends. */
export interface DataPath {
  /**
   * Maps the arena and the rings and finishes what a predecessor had committed. `calls`: as large
   * as `struct filter_calls`; wait() writes there. Returns the bytes that a filter's memory needs.
   */
  attachWorker(descriptors: WorkerDescriptors, calls: Uint32Array): number;
  /**
   * Lays the arena over the pages of a WebAssembly.Memory; its read-only pages trap an ordinary
   * store.
   */
  overlayWindow(memory: ArrayBuffer, place: Placed): void;
  pinToCpu(cpu: number): void;
  /** Waits for the next burst, for orders, or for the end: `calls` says which. */
  wait(): void;
  /** Sends what the filters have answered. */
  finish(): void;
  /** In a timed burst: that call has returned. */
  called(call: number): void;
  /**
   * After a trap in that call: the first of its jobs to go on with. The one that trapped stays
   * without an answer.
   */
  trapped(call: number): number;
  /** The supervisor's orders up to that one are carried out. */
  ordersDone(number: number): void;
  /**
   * Copies one row (16 words) that a stage writes, none of its commits in between; false if it
   * never stood still.
   */
  readConsistent(
    arena: ArrayBuffer,
    journal: number,
    source: number,
    words: BigUint64Array,
  ): boolean;
  /** The version of the arena's description that the addon was compiled with. */
  layoutVersion(): number;
}

const file = nativeFile('fantail.node');

function load(): Supervisor & DataPath {
  try {
    // what addon.cpp exports, held to this by the tests
    return createRequire(import.meta.url)(file) as Supervisor & DataPath;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the native addon does not load (${reason}); run: ${BUILD_LINE}`, { cause });
  }
}

export const addon: Supervisor & DataPath = load();
