/**
 * What a replicator tells of itself: the rows of `list`, `stats` and `filter list`. Control serves
 * them as they are, clients print them, the benchmark and the tests read them.
 */
import type { Counts } from './counts.js';
import type { FleetRow } from './fleet.js';
import type { Expiry } from './lease.js';

export type Mode = 'zerocopy' | 'copy' | 'skb' | 'socket';
export type SubscriberState = 'live' | 'kernel' | 'unresolved' | 'paused';

/** One row of `list`. `mac` is null while the neighbour is not known. */
export interface SubscriberRow {
  ip: string;
  port: number;
  state: SubscriberState;
  mac: string | null;
  worker: number;
  filter: string;
  /** Names, in the order of adding. */
  feeds: string[];
  /** What is left of its lease. */
  expires_s: Expiry;
}

/** XDP_STATISTICS of one queue's sockets. */
export interface KernelRow {
  queue: number;
  rx_dropped: number;
  rx_invalid_descs: number;
  tx_invalid_descs: number;
  rx_ring_full: number;
  rx_fill_ring_empty_descs: number;
  tx_ring_empty_descs: number;
}

/** Nanoseconds; 0 where there was none to measure. */
export interface Latency {
  p50: number;
  p99: number;
  p999: number;
}

/**
 * One burst in 16 is timed: how many were, their jobs, and the nanoseconds that each stage took of
 * them in all.
 */
export interface Timed {
  bursts: number;
  copies: number;
  stages_ns: Counts;
}

/**
 * `inside_ns`: from reading the RX producer index to storing the TX producer index, of every
 * packet. `kick_ns`: the system calls after that, of each timed burst. `window_ns`: the delivery
 * window as the worker knows it, of the first packet with two copies or more in each timed burst:
 * from before the device could take the first to seeing that it had taken the last.
 */
export interface Latencies {
  inside_ns: Latency;
  kick_ns: Latency;
  window_ns: Latency;
}

/** Latencies are of all since the arena was made. */
export interface WorkerRow extends Latencies {
  worker: number;
  pid: number;
  restarts: number;
  /**
   * Of the last one to two seconds; 0 where nothing was measured then. A supervisor that has
   * adopted the workers, or was stopped, tells them a second later.
   */
  recent: Latencies;
  /** Filter calls, and sendto calls, since the arena was made. */
  bursts: number;
  kicks: number;
  /** It has found the moment passed until which it may serve (the fence), and serves nobody. */
  fenced: boolean;
  /** Packets that it took meanwhile, ever: owed to nobody. */
  fenced_packets: number;
  timed: Timed;
  transmit: TransmitRow;
}

/** How copies leave. */
export type Transmit = 'ring' | 'bulk';

/** Counts are of bulk: zero as long as the path was always the ring. */
export interface TransmitRow {
  path: Transmit;
  /** Why that one. */
  reason: string;
  /** In bulk, a thread of its own makes the calls. */
  pumped: boolean;
  /** How often the worker has taken up another. */
  changes: number;
  /** Calls of the program, copies that it took, and the longest call. */
  calls: number;
  frames: number;
  slowest_ns: number;
  /** Copies that the device refused, each time, and those that were sent again for it. */
  refused: number;
  resent: number;
  /** Calls that a signal ended early. */
  interrupted: number;
  /**
   * Page pools of its calls that live on, since somebody still holds frames of them; null: this
   * kernel has no tracepoint that tells (page_pool:page_pool_release).
   */
  live_pools: number | null;
}

/** The RX process of the split layout; inline, receiving is a stage of each worker. */
export interface ReceiverRow {
  pid: number;
  /** Frames: received and taken back. */
  timed: { bursts: number; frames: number; receive_ns: number };
}

/** One subscriber's account: received = sent + in_flight + sum of drops. */
export interface AccountRow {
  ip: string;
  port: number;
  received: number;
  sent: number;
  in_flight: number;
  bytes: number;
  drops: Counts;
}

/** One row of `filter list`. */
export interface FilterRow {
  name: string;
  /** rolled_back: there is nothing under this name until a mended module is loaded. */
  status: 'ready' | 'rolled_back';
  /** SHA-256 of the module, hexadecimal. */
  hash: string;
  /** Bytes of the module. */
  size: number;
  abi: number;
  /** How many it answers for. */
  subscribers: number;
  /** Whether new subscribers get it. */
  default: boolean;
  /** The last module of that name that was taken out of use, and why. */
  rollback: { hash: string; reason: string; at_ms: number } | null;
}

/** `filter info`: counts are of all workers, since the module was loaded. */
export interface FilterInfo extends FilterRow {
  slot: number | null;
  /** Whether it keeps state that lives on. */
  state: boolean;
  /** Nanoseconds a job, of the calls that were timed (one burst in 16); null before the first. */
  cost_ns: number | null;
  /** Bursts it was called for, and jobs of those: one packet for one subscriber each. */
  calls: number;
  jobs: number;
  verdicts: { send: number; drop: number };
  faults: { trap: number; bad_answer: number; too_big: number };
}

/** Messages that nobody has brought: the first and the last by their numbers, and when. */
export interface GapRow {
  from: number;
  to: number;
  at_ms: number;
}

/** Packets of a set of subscribers that were sent to one address: a feed's. */
export interface LineRow {
  feed: string | null;
  ip: string;
  port: number;
  /** Packets that went out, and those that brought nothing new. */
  won: number;
  late: number;
  /** Of packets that went out whose copy came on another line soon after: how long after. */
  lead_ns: { count: number; mean: number; max: number };
}

/** Subscribers of one worker that a filter decides for together, and what it tells of them. */
export interface SetRow {
  worker: number;
  feeds: string[];
  /** Text, or `hex:` and digits. */
  param: string;
  subscribers: number;
  /** Gaps that were told, their messages, and the newest of them. */
  gaps: number;
  missing: number;
  last_gaps: GapRow[];
  lines: LineRow[];
}

/** What a filter tells of gaps and lines: counts of all workers, and those that are served now. */
export interface ReportRow {
  gaps: number;
  missing: number;
  /** Packets that it could not decide about: too short for their number, or no room to keep it. */
  too_short: number;
  no_room: number;
  sets: SetRow[];
}

export interface LoadedRow {
  name: string;
  hash: string | null;
  traps: number;
  bad_answers: number;
  /** Of filters that report. */
  report?: ReportRow;
}

/** The filters' part of `stats`. */
export interface FilterStats {
  loaded: LoadedRow[];
  /** The last 16, oldest first. */
  rollbacks: { name: string; hash: string; reason: string; at_ms: number }[];
}

/** What came of a feed. */
export interface FeedCounts {
  received: number;
  bytes: number;
  /** Datagrams that came by the kernel instead of AF_XDP, good or refused; 0 in socket mode. */
  slow_path: number;
  /** Of the first feed also what came and is of no feed. */
  drops: Counts;
}

/** One feed, since it was added. */
export interface FeedRow extends FeedCounts {
  name: string;
  ip: string;
  port: number;
  /** The one host that it is taken from; null: any. */
  source: string | null;
  /** Whether the kernel has us as a member of the group; null: the address is none. */
  joined: boolean | null;
  /**
   * It is sent to another host (--promiscuous): what XDP passes of it is counted under `xdp`, and
   * the kernel receives none of that, so it reaches nobody.
   */
  of_another_host: boolean;
  /** That its UDP sockets lost or refused, on the slow path or in socket mode; modulo 2^32. */
  socket_lost: number;
  /** How many get it. */
  subscribers: number;
}

/** One queue: what we count of it, and beside that what its driver counts. Since the start. */
export interface QueueRow {
  queue: number;
  /** The one whose TX queue it is; null: none sends there. */
  worker: number | null;
  /** Frames by what the XDP program decided; none in socket mode. */
  xdp: Counts;
  /** XDP_STATISTICS of its AF_XDP sockets; none in socket mode. */
  sockets: Counts;
  /** Copies of that worker to those that are subscribed now, and its sendto calls. */
  sent: number;
  kicks: number;
  /** Figures of the driver with its number, and xdp or xsk, in the name. */
  driver: Counts;
}

/** What the driver of the interface counts of XDP and AF_XDP, since the start. */
export interface DriverRow {
  /** As `ethtool -i` tells it. */
  name: string;
  version: string;
  queues: QueueRow[];
  /** Those that are of no queue that we serve, or of all. */
  device: Counts;
}

export interface Stats {
  version: 1;
  uptime_ms: number;
  interface: string;
  queues: number[];
  mode: Mode;
  fallbacks: { mode: Mode; reason: string }[];
  layout: 'inline' | 'split';
  /** The first of `feeds`. */
  feed: FeedRow;
  feeds: FeedRow[];
  /** What came of those that are removed. */
  removed_feeds: FeedCounts;
  xdp: Counts;
  kernel: KernelRow[];
  receivers: ReceiverRow[];
  workers: WorkerRow[];
  subscribers: AccountRow[];
  filters: FilterStats;
  /** Of a member of a group alone. */
  fleet?: FleetRow;
  /** Only where it was asked for; null: there is no interface. */
  driver?: DriverRow | null;
}
