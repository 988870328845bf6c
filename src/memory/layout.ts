/**
 * THE description of shared memory: every struct, enum and limit that more than one program reads.
 *
 * `tools/gen-layout.ts` turns it into native/shm/layout.h (C++ and BPF C) and assembly/layout.ts (the
 * filter), and prints the map in docs/architecture.md. TypeScript reads this table itself, so there is no
 * further copy. Each field names its one writer; the generator refuses two writers on one cache
 * line.
 */

import { MODULE_SIZE_MAX } from '../domain/filter.js';

export type Scalar = 'u8' | 'u16' | 'u32' | 'u64';

/** One field: where it is, what, how many, who alone writes it, and why it exists. */
export interface Field {
  readonly offset: number;
  /** A scalar, or the name of a struct that stands before this one. */
  readonly type: string;
  /** Of an array, its counts from the outermost: names of limits or enums, or plain numbers. */
  readonly counts: readonly string[];
  readonly name: string;
  /** `CONTAINER` in a struct that others contain: whoever they name. */
  readonly writer: string;
  readonly why: string;
}

export const CONTAINER = 'container';

export interface Struct {
  readonly name: string;
  readonly size: number;
  readonly why: string;
  readonly fields: readonly Field[];
}

export interface Enum {
  readonly name: string;
  readonly why: string;
  /** Value = position. */
  readonly members: readonly string[];
}

export const CACHE_LINE_SIZE = 64;
const PAGE_SIZE = 4096;

/** Named limits. Sizes are bytes, counts are pieces, times carry their unit. */
export const limits = {
  /** First eight bytes of an arena: "FANTAIL1". */
  MAGIC: 0x314c4941544e4146n,
  /** UMEM chunk: 4096, since igb truncates silently with 2048 (kernel 7.3). */
  FRAME_SIZE: 4096,
  /** RX frames of one queue = RX ring = fill ring, so that neither can overflow. */
  RX_FRAMES: 8192,
  /** TX frames of one worker = TX ring = completion ring. */
  TX_FRAMES: 4096,
  /**
   * TX frames that a worker takes again and again, so that they stay in its cache; the others wait
   * for bursts.
   */
  HOT_FRAMES: 256,
  /**
   * Of the first queue's RX frames those for datagrams that the kernel has made of unusual frames
   * (AF_XDP modes).
   */
  SLOW_FRAMES: 256,
  /** A worker's backlog limit, frames: half the RX frames of a queue. */
  BACKLOG_MAX: 4096,
  /** Packets taken from a ring in one turn. */
  BURST_MAX: 64,
  /** Jobs (one packet for one subscriber) of one filter call. */
  JOBS_MAX: 4096,
  /** Jobs that a burst aims at, so that its slots and frames stay in the cache. */
  JOBS_AIM: 128,
  JOB_SIZE: 40,
  /**
   * A header slot, and where the filter may start its header by default (room for tags and tunnels
   * before it).
   */
  SLOT_SIZE: 256,
  SLOT_HEADROOM: 64,
  /** Ethernet 14 + IPv4 20 + UDP 8. */
  HEADER_SIZE: 42,
  SUBSCRIBERS_MAX: 4096,
  SUBSCRIBER_SIZE: 128,
  PARAM_SIZE: 64,
  WORKERS_MAX: 16,
  QUEUES_MAX: 64,
  /** Feeds of one launcher: a bit each of a u64. */
  FEEDS_MAX: 64,
  /**
   * Copies that a worker sends through kernel sockets in one burst; the rest drop as no_neighbour.
   */
  KERNEL_COPIES_MAX: 8,
  /** Connected kernel sockets a worker has for subscribers whose neighbour is unresolved. */
  KERNEL_SOCKETS_MAX: 16,
  /** One burst in so many is timed stage by stage: cheap enough to be always on. */
  TIMED_EVERY: 16,
  /** Log-linear buckets of a latency histogram: 8 to an octave. */
  HISTOGRAM_BUCKETS: 512,
  /** Words that one commit may change. */
  JOURNAL_ENTRIES_MAX: 32768,
  /** The filter ABI that fantail_abi() must return. */
  FILTER_ABI: 1,
  MODULE_SIZE_MAX,
  /** Modules that a worker has loaded at once; slot 0 is the built-in rewrite. */
  FILTERS_MAX: 16,
  /**
   * The block that a filter with state keeps it in, one a worker and filter; committed with the
   * burst.
   */
  STATE_SIZE: 4096,
  /**
   * What a filter tells in its block of gaps, sets of subscribers and lines: how many of each there
   * is room for.
   */
  REPORT_GAPS: 16,
  REPORT_GAP_SIZE: 32,
  REPORT_OPEN: 44,
  REPORT_OPEN_SIZE: 32,
  REPORT_SETS: 8,
  REPORT_SET_SIZE: 40,
  REPORT_LINES: 8,
  REPORT_LINE_SIZE: 56,
  REPORT_SIZE: 2728,
  /**
   * The filter's memory: private pages, jobs, slots, state (read-write); then subscribers and RX
   * frames (read-only).
   */
  WINDOW_JOBS: 0x100000,
  WINDOW_SLOTS: 0x130000,
  WINDOW_STATE: 0x230000,
  WINDOW_SUBSCRIBERS: 0x240000,
  WINDOW_FRAMES: 0x400000,
  /** Refused copies of one round of bulk transmit: a batch, which ends it, has fewer. */
  BULK_REFUSED_MAX: 64,
  /**
   * Of a worker's map for bulk transmit: struct bulk_link, then its TX frames, then a place for each
   * of them that is short, where those of a call stay in the cache.
   */
  BULK_FRAME_PAGE: 25,
  BULK_SHORT_PAGE: 25 + 4096,
  BULK_SHORT_SIZE: 512,
  BULK_PAGES: 25 + 4096 + (4096 * 512) / 4096,
  /** Where a copy may start in its frame, and how long it may be: what the verifier takes. */
  BULK_OFFSET_MAX: 448,
  BULK_LENGTH_MAX: 3328,
  /** Page pools of all workers that are known to have outlived their calls. */
  LIVE_POOLS_MAX: 8192,
  /** Bit of bulk_link.round: what is not sent by now ends as tx_full. */
  BULK_GIVEN_UP: 0x80000000,
  /** What a job's verdict holds before the filter has answered. */
  VERDICT_UNSET: 0xffffffff,
  /** A subscriber that stays until it is removed. */
  LEASE_NEVER: 0n,
  /** One that stays as long as its control session. */
  LEASE_SESSION: 0xffffffffffffffffn,
} as const;

export const enums = [
  {
    name: 'verdict',
    why: 'What the XDP program found a frame to be; counted per CPU and queue. Only `redirect` leaves the kernel.',
    members: [
      'redirect', // one of our feeds, and a socket is open on its queue
      'no_socket', // one of our feeds, no socket on its queue
      'other', // a whole plain UDP frame of no feed of ours
      'not_ipv4',
      'not_udp',
      'vlan',
      'ip_options',
      'fragment',
      'short',
      'multi_buffer',
      // of a feed by address and port, but the kernel is to judge:
      'foreign_mac', // not addressed to who should get it
      'martian', // from an address that no other host has
      'udp_length', // not the rest of the IP packet
      'over_mtu',
      'unfilled_checksum', // a batch of datagrams, perhaps (generic XDP)
    ],
  },
  {
    name: 'invalid',
    why: 'Why the receiver refused a frame or datagram that came to it (printed as invalid_<why>); it is owed to nobody.',
    members: [
      'descriptor',
      'ip_length',
      'udp_length',
      'checksum',
      'feed',
      'udp_checksum',
      'too_long', // for a frame: a datagram that came in fragments
    ],
  },
  {
    name: 'drop',
    why: 'How a copy owed to a subscriber ended when it was not sent.',
    members: [
      'filter_drop',
      'filter_trap',
      'filter_bad_answer',
      'too_big',
      'backlog',
      'tx_full',
      'no_route',
      'no_neighbour',
      'uncertain',
      'unsupported_header',
    ],
  },
  {
    name: 'subscriber_state',
    why: 'free: no subscriber; live: sent directly; kernel: through a kernel socket; the rest drop.',
    members: ['free', 'live', 'kernel', 'unresolved', 'no_route', 'paused'],
  },
  {
    name: 'run_state',
    why: 'BOOT → RUN → HALT; nothing leaves HALT.',
    members: ['boot', 'run', 'halt'],
  },
  { name: 'layout', why: 'Which process calls rx_stage.', members: ['inline', 'split'] },
  {
    name: 'mode',
    why: 'How frames reach and leave the wire.',
    members: ['zerocopy', 'copy', 'skb', 'socket'],
  },
  {
    name: 'transmit',
    why: 'How a worker sends: its TX socket, or the XDP program on frames of its own making.',
    members: ['ring', 'bulk'],
  },
  { name: 'order', why: 'Which subscriber a packet starts with.', members: ['rotate', 'fixed'] },
  {
    name: 'stage',
    why: 'What a turn of a process does, in this order; `kick` is the kernel transmitting, `filter` the way to Wasm and back.',
    members: ['receive', 'reap', 'gather', 'filter', 'write', 'commit', 'kick'],
  },
  { name: 'filter_verdict', why: "A filter's answer to one job.", members: ['drop_copy', 'send'] },
] as const satisfies readonly Enum[];

export const WIDTHS: Readonly<Record<Scalar, number>> = { u8: 1, u16: 2, u32: 4, u64: 8 };

const isScalar = (type: string): type is Scalar => type in WIDTHS;

const byName = new Map<string, Struct>();

/** What a name of a count stands for: a limit, the members of an enum (DROP_COUNT), a number. */
export function countOf(name: string): number {
  const limit = (limits as Readonly<Record<string, number | bigint>>)[name];
  const members = enums.find((e) => `${e.name.toUpperCase()}_COUNT` === name)?.members;
  const count = Number(limit ?? members?.length ?? name);
  if (!Number.isSafeInteger(count) || count < 1) throw new Error(`layout.ts has no count ${name}`);
  return count;
}

/** Elements of a field, over all its counts; 1: it is no array. */
export const elementsOf = (field: Field): number =>
  field.counts.reduce((product, name) => product * countOf(name), 1);

/** Bytes of one element of a field. */
export const widthOf = ({ type }: Field): number =>
  isScalar(type) ? WIDTHS[type] : structOf(type).size;

export const endOf = (field: Field): number => field.offset + widthOf(field) * elementsOf(field);

/** What a field's offset must be a multiple of. */
export function alignmentOf({ type }: Field): number {
  if (isScalar(type)) return WIDTHS[type];
  return Math.max(...structOf(type).fields.map(alignmentOf));
}

/** Directly behind the field before it; in place of a size, directly behind the last field. */
const NEXT = 'next';
/** As many bytes as the fields take, but whole pages, since it is mapped by pages. */
const PAGES = 'pages';

type Row = readonly [
  offset: number | typeof NEXT,
  type: string,
  name: string,
  writer: string,
  why: string,
];

const roundedUp = (bytes: number, to: number) => Math.ceil(bytes / to) * to;

function struct(
  name: string,
  size: number | typeof NEXT | typeof PAGES,
  why: string,
  rows: readonly Row[],
): Struct {
  const fields: Field[] = [];
  let reached = 0;
  for (const [offset, declared, field, writer, reason] of rows) {
    const [type = '', ...counts] = declared.replaceAll(']', '').split('[');
    const placed = { offset: 0, type, counts, name: field, writer, why: reason };
    const at = offset === NEXT ? roundedUp(reached, alignmentOf(placed)) : offset;
    fields.push({ ...placed, offset: at });
    reached = Math.max(reached, at + endOf(placed));
  }
  const unit = size === PAGES ? PAGE_SIZE : Math.max(...fields.map(alignmentOf));
  const whole = typeof size === 'number' ? size : roundedUp(reached, unit);
  const made = { name, size: whole, why, fields };
  byName.set(name, made);
  return made;
}

export const structs: readonly Struct[] = [
  struct(
    'arena_header',
    512,
    'What this arena is, and where its regions start (bytes from its beginning).',
    [
      [0, 'u64', 'magic', 'creator', 'MAGIC; written last, with release'],
      [8, 'u32', 'layout_version', 'creator', 'hash of this description'],
      [12, 'u32', 'layout', 'creator', 'enum layout'],
      [16, 'u64', 'size', 'creator', 'bytes of the arena'],
      [24, 'u32', 'mode', 'creator', 'enum mode, as granted'],
      [28, 'u32', 'queues', 'creator', 'queues served'],
      [32, 'u32', 'receivers', 'creator', '1 in split, one per queue in inline'],
      [36, 'u32', 'workers', 'creator', 'TX workers, at most queues'],
      [40, 'u32', 'listen_ip', 'creator', 'the first feed, network order'],
      [44, 'u16', 'listen_port', 'creator', 'the first feed, network order'],
      [46, 'u16', 'mtu', 'creator', 'bytes of IP packet that the interface takes'],
      [48, 'u32', 'order', 'creator', 'enum order'],
      [52, 'u32', 'busy_poll', 'creator', '1: never sleep'],
      [56, 'u32', 'yield', 'creator', '1: processes share cores, hand over with sched_yield'],
      [
        60,
        'u32',
        'checksum_full',
        'creator',
        '1: the filter gets payload sums and fills in UDP checksums',
      ],
      [64, 'u64', 'control', 'creator', 'struct control'],
      [72, 'u64', 'receiver', 'creator', 'struct receiver [receivers]'],
      [80, 'u64', 'worker', 'creator', 'struct worker [workers]'],
      [88, 'u64', 'table', 'creator', 'struct table [2]'],
      [96, 'u64', 'counters', 'creator', 'struct counters [SUBSCRIBERS_MAX]'],
      [104, 'u64', 'forward', 'creator', 'rings [receivers][workers] of struct forward_slot'],
      [112, 'u64', 'forward_size', 'creator', 'bytes of one forward ring'],
      [120, 'u64', 'giveback', 'creator', 'rings [receivers][workers] of u32 frame index'],
      [128, 'u64', 'giveback_size', 'creator', 'bytes of one giveback ring'],
      [136, 'u32', 'ring_slots', 'creator', 'slots of each of those rings, a power of two'],
      [140, 'u32', 'rx_frames', 'creator', 'RX frames in all = queues × RX_FRAMES'],
      [
        144,
        'u64',
        'handed',
        'creator',
        'u32 [rx_frames]: workers that hold the frame; its receiver writes',
      ],
      [
        152,
        'u64',
        'rx_tag',
        'creator',
        'struct tag [rx_frames]: the copy an in-place frame is; its holder writes',
      ],
      [160, 'u64', 'tx_tag', 'creator', 'struct tag [workers][TX_FRAMES]'],
      [
        168,
        'u64',
        'free',
        'creator',
        'u32 [workers][TX_FRAMES + HOT_FRAMES]: ring of free TX frames, then the one of hot ones',
      ],
      [176, 'u64', 'jobs', 'creator', 'struct job [workers][JOBS_MAX]'],
      [
        184,
        'u64',
        'journal',
        'creator',
        'struct journal_entry [receivers + workers][JOURNAL_ENTRIES_MAX]',
      ],
      [
        192,
        'u64',
        'soft',
        'creator',
        'struct soft_link [queues]; but in socket mode only the first is used',
      ],
      [200, 'u64', 'umem', 'creator', 'RX frames, then per worker TX frames and header slots'],
      [208, 'u64', 'umem_size', 'creator', 'bytes registered as UMEM'],
      [
        216,
        'u32[QUEUES_MAX]',
        'queue_id',
        'creator',
        "the interface's number of each queue served",
      ],
      [472, 'u64', 'filter_slot', 'creator', 'struct filter_slot [workers][FILTERS_MAX]'],
      [480, 'u64', 'filter_state', 'creator', 'struct filter_state [workers][FILTERS_MAX]'],
      [488, 'u64', 'lease', 'creator', 'struct lease [SUBSCRIBERS_MAX]'],
      [496, 'u64', 'feed_counters', 'creator', 'struct feed_counters [receivers][FEEDS_MAX]'],
    ],
  ),
  struct('control', 128, 'Orders of the supervisor to every process of the data path.', [
    [0, 'u32', 'state', 'supervisor', 'enum run_state'],
    [8, 'u64', 'generation', 'supervisor', 'newest published table; its buffer is generation & 1'],
    [16, 'u64', 'heartbeat_ns', 'supervisor', 'CLOCK_MONOTONIC of its last turn'],
    [
      24,
      'u64',
      'filter_orders',
      'supervisor',
      'orders to load or drop a module, ever given to the workers',
    ],
    [
      32,
      'u64',
      'bulk_wanted',
      'supervisor',
      'a bit for each worker: it is to send in bulk, if it has both ways',
    ],
    [
      40,
      'u64',
      'serve_until_ns',
      'supervisor',
      'CLOCK_MONOTONIC: the fence, from which on no worker serves anybody; 0: there is none',
    ],
  ]),
  struct('receiver', 8448, 'One caller of rx_stage: its state, its counters, its journal.', [
    [0, 'u32', 'asleep', 'receiver', '1 while it is about to block in poll'],
    [4, 'u32', 'pid', 'receiver', 'process that runs it'],
    [8, 'u64', 'generation_done', 'receiver', 'last table generation it has finished with'],
    [16, 'u64', 'heartbeat_ns', 'receiver', 'CLOCK_MONOTONIC of its last turn'],
    [24, 'u64', 'journal', 'receiver', 'sequence << 32 | entries committed and not yet applied'],
    [64, 'u64', 'timed_bursts', 'receiver', 'turns that were timed, in split; one in TIMED_EVERY'],
    [72, 'u64', 'timed_frames', 'receiver', 'frames moved in those'],
    [80, 'u64', 'receive_ns', 'receiver', 'time those took'],
    [
      128,
      'u64[WORKERS_MAX]',
      'backlog',
      'receiver',
      'frames not handed to that worker since its backlog was full; stored after feed_backlog',
    ],
    [NEXT, 'u64[WORKERS_MAX][FEEDS_MAX]', 'feed_backlog', 'receiver', 'of these, by feed'],
  ]),
  struct('feed_counters', 128, 'What a receiver counts at the index of a feed; never reset.', [
    [0, 'u64', 'received', 'receiver', 'frames taken that are valid'],
    [8, 'u64', 'bytes', 'receiver', 'UDP payload bytes of those'],
    [
      16,
      'u64',
      'slow_path',
      'receiver',
      'datagrams taken from the kernel that XDP had passed to it, good or refused',
    ],
    [
      24,
      'u64[INVALID_COUNT]',
      'invalid',
      'receiver',
      'frames refused, by enum invalid; those of no feed count at index 0',
    ],
  ]),
  struct(
    'worker',
    45504,
    'One TX worker: its state, its free TX frames, its counters, its journal.',
    [
      [0, 'u32', 'fenced', 'worker', '1: it has found the fence passed, and serves nobody'],
      [4, 'u32', 'pid', 'worker', 'process that runs it'],
      [8, 'u64', 'generation_done', 'worker', 'last table generation it has finished with'],
      [16, 'u64', 'heartbeat_ns', 'worker', 'CLOCK_MONOTONIC of its last turn'],
      [24, 'u64', 'journal', 'worker', 'sequence << 32 | entries committed and not yet applied'],
      [32, 'u64', 'starts', 'worker', 'how often a process has attached as this worker'],
      [
        40,
        'u64',
        'filter_orders_done',
        'worker',
        'the last of those orders that it has carried out',
      ],
      [48, 'u32', 'calling', 'worker', '1 + the filter slot that it is calling; 0: none'],
      [
        52,
        'u32',
        'path',
        'worker',
        'enum transmit: how it sends; another only while no copy is on its way',
      ],
      [56, 'u64', 'path_changes', 'worker', 'how often it has taken up another path'],
      [64, 'u64', 'free_head', 'worker', 'TX frames ever taken from the free ring'],
      [72, 'u64', 'free_tail', 'worker', 'TX frames ever put there'],
      [
        80,
        'u64',
        'kernel_pending',
        'worker',
        'kernel-socket copies committed whose outcome is not',
      ],
      [88, 'u32[KERNEL_COPIES_MAX]', 'kernel_row', 'worker', 'their subscribers'],
      [128, 'u64', 'packets', 'worker', 'packets taken from its rings'],
      [136, 'u64', 'bursts', 'worker', 'filter calls'],
      [144, 'u64', 'in_place', 'worker', 'copies sent as the RX frame itself'],
      [152, 'u64', 'traps', 'worker', 'filter traps'],
      [160, 'u64', 'kicks', 'worker', 'sendto calls'],
      [168, 'u64', 'kick_errors', 'worker', 'sendto calls that failed other than with EAGAIN'],
      [176, 'u64', 'fenced_packets', 'worker', 'of packets: taken while it was fenced'],
      [192, 'u64', 'timed_bursts', 'worker', 'bursts that were timed; one in TIMED_EVERY'],
      [200, 'u64', 'timed_copies', 'worker', 'jobs of those'],
      [208, 'u64[STAGE_COUNT]', 'stage_ns', 'worker', 'time those spent, by enum stage'],
      [264, 'u64', 'hot_head', 'worker', 'TX frames ever taken from the ring of hot ones'],
      [272, 'u64', 'hot_tail', 'worker', 'TX frames ever put there'],
      [
        320,
        'u32',
        'asleep',
        'worker',
        '1 while it is about to block in poll; alone on its line, since receivers read it each turn',
      ],
      [384, 'u64', 'bulk_calls', 'worker', 'calls of the program that sends in bulk'],
      [392, 'u64', 'bulk_copies', 'worker', 'copies that it took'],
      [400, 'u64', 'bulk_refused', 'worker', 'of these refused by the device, each time'],
      [408, 'u64', 'bulk_resent', 'worker', 'taken again after that'],
      [416, 'u64', 'bulk_interrupted', 'worker', 'calls that a signal ended early'],
      [424, 'u64', 'bulk_slowest_ns', 'worker', 'the longest call, without a pump'],
      [432, 'u64', 'bulk_slow', 'worker', 'calls that took more than 5 ms, without a pump'],
      [
        440,
        'u64',
        'bulk_pumped',
        'worker',
        '1: a pump makes the calls; the pump clears it if the kernel refuses them',
      ],
      [
        448,
        'u64[HISTOGRAM_BUCKETS]',
        'inside_ns',
        'worker',
        'histogram: RX producer read to TX producer stored',
      ],
      [
        4544,
        'u64[HISTOGRAM_BUCKETS]',
        'kick_ns',
        'worker',
        'histogram: the kick of each timed burst',
      ],
      [
        8640,
        'u64[HISTOGRAM_BUCKETS]',
        'window_ns',
        'worker',
        'histogram: of the first packet with two copies or more in each timed burst, before the device could take the first to seeing that it had taken the last',
      ],
      [
        NEXT,
        'u64[QUEUES_MAX][FEEDS_MAX]',
        'backlog_seen',
        'worker',
        "each receiver's feed_backlog for it that was charged to subscribers",
      ],
    ],
  ),
  struct('ring_header', 128, 'Cursors of an SPSC ring; both run free, slots follow.', [
    [0, 'u64', 'tail', 'producer', 'slots ever pushed'],
    [64, 'u64', 'head', 'consumer', 'slots ever released'],
  ]),
  struct('forward_slot', 16, 'A received frame on its way from a receiver to a worker.', [
    [0, 'u32', 'address', 'producer', 'where its first byte is in the UMEM'],
    [4, 'u16', 'length', 'producer', 'Ethernet to end of IP packet, bytes (padding cut)'],
    [6, 'u8', 'holders', 'producer', 'workers that it was handed to'],
    [7, 'u8', 'feed', 'producer', 'index of the feed that it is of'],
    [8, 'u64', 'stamp_ns', 'producer', 'CLOCK_MONOTONIC when its RX producer index was read'],
  ]),
  struct('tag', 16, 'Which copy a frame on the TX ring is.', [
    [0, 'u64', 'epoch', 'holder', 'the subscriber it is for'],
    [8, 'u16', 'row', 'holder', "that subscriber's row"],
    [10, 'u16', 'outcome', 'holder', '0: sent when completed; else 1 + enum drop'],
    [12, 'u32', 'bytes', 'holder', 'length on the wire'],
  ]),
  struct('journal_entry', 16, 'One idempotent change of a commit: the value, not the difference.', [
    [0, 'u32', 'target', 'journal', 'arena offset, or index of a kernel ring word'],
    [4, 'u32', 'kind', 'journal', '0 u64, 1 u32, 2 kernel ring word, else bytes to copy << 8 | 3'],
    [8, 'u64', 'value', 'journal', 'value to store, or arena offset to copy from'],
  ]),
  struct(
    'subscriber',
    limits.SUBSCRIBER_SIZE,
    'One subscriber as a worker and its filter see it; read-only to both.',
    [
      [0, 'u32', 'ip', 'supervisor', 'destination address, network order'],
      [4, 'u16', 'port', 'supervisor', 'destination port, network order'],
      [6, 'u16', 'state', 'supervisor', 'enum subscriber_state'],
      [8, 'u8[6]', 'target_mac', 'supervisor', 'MAC of its neighbour or gateway'],
      [14, 'u8[6]', 'source_mac', 'supervisor', "the interface's MAC"],
      [20, 'u32', 'source_ip', 'supervisor', "the interface's address, network order"],
      [24, 'u16', 'source_port', 'supervisor', 'the listen port, network order'],
      [
        26,
        'u16',
        'kernel_socket',
        'supervisor',
        'slot of its connected socket while its state is kernel',
      ],
      [28, 'u32', 'worker', 'supervisor', 'the one worker that serves it'],
      [
        32,
        'u64',
        'epoch',
        'supervisor',
        'unique to each add; a row that is used again has another',
      ],
      [40, 'u16', 'filter', 'supervisor', 'slot of the filter that answers for it'],
      [42, 'u16', 'param_length', 'supervisor', 'bytes of param that are set; the rest are zero'],
      [44, 'u8', 'ttl', 'supervisor', 'time to live of its copies (RFC 791, 3.1), 1 to 255'],
      [
        48,
        'u64',
        'feeds',
        'supervisor',
        "a bit for each feed that it gets, by the feed's index; all ones: those to come, too",
      ],
      [
        56,
        'u64',
        'set',
        'supervisor',
        'the same for all of one worker that get the same feeds by the same filter and parameter; never used again once the last has gone',
      ],
      [64, 'u8[PARAM_SIZE]', 'param', 'supervisor', "the filter's parameters for this subscriber"],
    ],
  ),
  struct('table_feed', 32, 'A feed that packets are received of.', [
    [0, 'u64', 'epoch', 'supervisor', 'unique to each add; 0: there is no feed of this index'],
    [8, 'u32', 'ip', 'supervisor', 'where it is sent to, network order'],
    [12, 'u16', 'port', 'supervisor', 'network order'],
    [14, 'u16', 'is_open', 'supervisor', '0: removed; only what was under way may still come'],
    [16, 'u32', 'source', 'supervisor', 'the one address it is taken from; 0: any'],
  ]),
  struct(
    'table',
    PAGES,
    'A published table of feeds and subscribers, one of two; lists name the rows of each worker.',
    [
      [0, 'u64', 'generation', 'supervisor', 'the generation this buffer holds'],
      [8, 'u64', 'feed_epochs', 'supervisor', 'the highest epoch that a feed was ever given'],
      [
        64,
        'u64[WORKERS_MAX]',
        'wanted',
        'supervisor',
        'a bit for each feed that a subscriber of that worker gets',
      ],
      [NEXT, 'u32[WORKERS_MAX]', 'count', 'supervisor', 'rows in the list of each worker'],
      [NEXT, 'table_feed[FEEDS_MAX]', 'feeds', 'supervisor', 'by index; the first is there always'],
      [
        4096,
        'u16[WORKERS_MAX][SUBSCRIBERS_MAX]',
        'list',
        'supervisor',
        "each worker's rows in order of adding",
      ],
      [NEXT, 'subscriber[SUBSCRIBERS_MAX]', 'rows', 'supervisor', 'every row, served or not'],
    ],
  ),
  struct('counters', 128, "One subscriber's account; received - sent - drops are in flight.", [
    [0, 'u64', 'epoch', 'worker', 'the subscriber that is counted here'],
    [8, 'u64', 'received', 'worker', 'packets owed to it since it was added'],
    [16, 'u64', 'sent', 'worker', 'copies completed'],
    [24, 'u64', 'bytes', 'worker', 'bytes on the wire of copies sent'],
    [NEXT, 'u64[DROP_COUNT]', 'drop', 'worker', 'by enum drop'],
  ]),
  struct('lease', 8, 'How long the subscriber in a row stays; for the next supervisor to read.', [
    [
      0,
      'u64',
      'until',
      'supervisor',
      'CLOCK_MONOTONIC, ns; or LEASE_NEVER, or LEASE_SESSION: as long as its control session',
    ],
  ]),
  struct(
    'job',
    limits.JOB_SIZE,
    'One packet for one subscriber: the question and the answer of the filter.',
    [
      [0, 'u32', 'packet', 'worker', "the packet in the filter's memory (read-only)"],
      [4, 'u32', 'length', 'worker', 'its bytes, Ethernet to end of IP packet'],
      [8, 'u32', 'slot', 'worker', 'its header slot: SLOT_SIZE bytes, read-write'],
      [12, 'u32', 'subscriber', 'worker', 'struct subscriber (read-only)'],
      [16, 'u32', 'verdict', 'filter', 'enum filter_verdict; VERDICT_UNSET before the call'],
      [20, 'u16', 'header_start', 'filter', 'where the new header starts in the slot'],
      [22, 'u16', 'header_length', 'filter', 'its bytes'],
      [24, 'u32', 'replaced', 'filter', 'leading bytes of the packet that the header stands for'],
      [
        28,
        'u32',
        'payload_sum',
        'worker',
        'one’s complement sum of the UDP payload, or VERDICT_UNSET if not asked for',
      ],
      [32, 'u64', 'receive_ns', 'worker', 'CLOCK_REALTIME at which its RX producer index was read'],
    ],
  ),
  struct(
    'filter_slot',
    128,
    'What one worker counts of one of its filters; statistics, outside the commits.',
    [
      [
        0,
        'u64',
        'module',
        'worker',
        'number of the module in this slot; another one counts from zero',
      ],
      [8, 'u64', 'calls', 'worker', 'bursts answered by it'],
      [16, 'u64', 'jobs', 'worker', 'jobs of those'],
      [24, 'u64', 'sent', 'worker', 'answered: send, and lawful'],
      [32, 'u64', 'dropped', 'worker', 'answered: drop'],
      [40, 'u64', 'bad_answers', 'worker', 'refused: unlawful'],
      [48, 'u64', 'too_big', 'worker', 'refused: its header made a packet too big that was not'],
      [56, 'u64', 'traps', 'worker', 'jobs that trapped'],
      [64, 'u64', 'timed_jobs', 'worker', 'jobs of calls that were timed'],
      [72, 'u64', 'timed_ns', 'worker', 'time those calls took'],
    ],
  ),
  struct('filter_state', PAGES, 'A block of state that a filter keeps on one worker.', [
    [0, 'u8[STATE_SIZE]', 'block', 'filter', 'as the filter sees it at WINDOW_STATE'],
    [NEXT, 'u8[STATE_SIZE]', 'undo', 'worker', 'as it was before the burst that is not committed'],
    [NEXT, 'u64', 'owner', 'worker', 'whose state it is; another owner starts from zeros'],
    [
      NEXT,
      'u64',
      'undo_packets',
      'worker',
      'packets taken when undo was copied; all ones: undo is not whole',
    ],
  ]),
  struct(
    'report_gap',
    limits.REPORT_GAP_SIZE,
    'Messages that came on none of the lines that should have brought them.',
    [
      [0, 'u64', 'from', CONTAINER, 'the first of them'],
      [8, 'u64', 'to', CONTAINER, 'the last; below the first where the numbers wrap between them'],
      [16, 'u64', 'receive_ns', CONTAINER, 'of the packet that skipped them'],
      [24, 'u64', 'set', CONTAINER, 'who has missed them: subscriber.set'],
    ],
  ),
  struct('report_open', limits.REPORT_OPEN_SIZE, 'Messages that may still come.', [
    [0, 'u64', 'from', CONTAINER, 'the first of them, by a count that does not wrap'],
    [8, 'u64', 'end', CONTAINER, 'one past the last; the same as from: there is none here'],
    [16, 'u64', 'receive_ns', CONTAINER, 'of the packet that skipped them; 0: not to be told'],
    [24, 'u32', 'set', CONTAINER, 'index of its report_set'],
    [28, 'u32', 'own', CONTAINER, "the filter's own"],
  ]),
  struct(
    'report_set',
    limits.REPORT_SET_SIZE,
    'Subscribers that are decided for together, and what they have missed.',
    [
      [0, 'u64', 'set', CONTAINER, 'subscriber.set'],
      [8, 'u64', 'gaps', CONTAINER, 'that were told'],
      [16, 'u64', 'missing', CONTAINER, 'messages of those'],
      [24, 'u64', 'used', CONTAINER, '0: none is here; else receive_ns of its last packet'],
      [32, 'u32', 'bits', CONTAINER, 'of a number on the wire, after which it wraps'],
    ],
  ),
  struct('report_line', limits.REPORT_LINE_SIZE, 'One of several lines that bring the same.', [
    [0, 'u32', 'ip', CONTAINER, "its packets' destination address, network order"],
    [4, 'u16', 'port', CONTAINER, 'and port, network order'],
    [6, 'u16', 'set', CONTAINER, 'index of the report_set that it is compared for'],
    [8, 'u64', 'won', CONTAINER, 'packets that went out'],
    [16, 'u64', 'late', CONTAINER, 'packets that brought nothing new'],
    [24, 'u64', 'leads', CONTAINER, 'packets of it whose copy came on another line soon after'],
    [32, 'u64', 'lead_sum_ns', CONTAINER, 'how long after, in all'],
    [40, 'u64', 'lead_max_ns', CONTAINER, 'the longest'],
    [48, 'u64', 'used', CONTAINER, '0: none is here; else receive_ns of its last packet'],
  ]),
  struct(
    'filter_report',
    limits.REPORT_SIZE,
    'What a filter tells of gaps and lines, where fantail_report says in its block of state.',
    [
      [0, 'u64', 'gap_count', 'filter', 'gaps ever told; number i is the entry i % REPORT_GAPS'],
      [8, 'u64', 'missing', 'filter', 'messages of those'],
      [16, 'u64', 'packets', 'filter', 'rises with each; while it does not, open stands still'],
      [24, 'u64', 'too_short', 'filter', 'packets too short for their number: nothing was decided'],
      [32, 'u64', 'no_room', 'filter', 'nothing was decided since a table was full'],
      [40, 'report_gap[REPORT_GAPS]', 'gap', 'filter', 'the newest of them'],
      [NEXT, 'report_open[REPORT_OPEN]', 'open', 'filter', 'those that may have to be told'],
      [NEXT, 'report_set[REPORT_SETS]', 'set', 'filter', 'those that packets came for'],
      [NEXT, 'report_line[REPORT_LINES]', 'line', 'filter', 'those that packets came on'],
    ],
  ),
  struct(
    'filter_calls',
    NEXT,
    'What a worker asks of its filters for one burst; read by its own JavaScript, not in the arena.',
    [
      [0, 'u32', 'timed', 'worker', '1: this burst is timed, tell when each call has returned'],
      [4, 'u32', 'orders', 'worker', '1: the supervisor has given orders that are not carried out'],
      [
        8,
        'u32',
        'calls',
        'worker',
        'how many calls this burst has; 0xffffffff: the worker is to end',
      ],
      [16, 'u32[FILTERS_MAX]', 'slot', 'worker', 'filter slot of each call'],
      [NEXT, 'u32[FILTERS_MAX]', 'first', 'worker', 'its first job'],
      [NEXT, 'u32[FILTERS_MAX]', 'count', 'worker', 'its jobs'],
    ],
  ),
  struct('soft_descriptor', NEXT, 'A descriptor as in struct xdp_desc.', [
    [0, 'u64', 'addr', CONTAINER, 'where its first byte is in the UMEM'],
    [NEXT, 'u32', 'len', CONTAINER, 'bytes'],
    [NEXT, 'u32', 'options', CONTAINER, 'zero'],
  ]),
  struct('soft_link', NEXT, 'Socket mode: the kernel side of one queue, as AF_XDP would have it.', [
    [0, 'u32', 'rx_producer', 'link', 'with fill_consumer, as one u64: taken and filled at once'],
    [NEXT, 'u32', 'fill_consumer', 'link', ''],
    [64, 'u32', 'rx_consumer', 'receiver', ''],
    [NEXT, 'u32', 'fill_producer', 'receiver', ''],
    [128, 'u32', 'tx_producer', 'worker', ''],
    [NEXT, 'u32', 'completion_consumer', 'worker', ''],
    [192, 'u32', 'tx_consumer', 'tx_link', 'with completion_producer, as one u64'],
    [NEXT, 'u32', 'completion_producer', 'tx_link', ''],
    [
      NEXT,
      'u32',
      'sending',
      'tx_link',
      'descriptors handed to sendmmsg whose outcome is not stored',
    ],
    [512, 'soft_descriptor[RX_FRAMES]', 'rx', 'link', ''],
    [NEXT, 'u64[RX_FRAMES]', 'fill', 'receiver', 'addresses'],
    [NEXT, 'soft_descriptor[TX_FRAMES]', 'tx', 'worker', ''],
    [NEXT, 'u64[TX_FRAMES]', 'completion', 'tx_link', 'addresses, outcome in the top byte'],
  ]),
  struct('bulk_list', NEXT, 'Copies that a device refused: their indices on the TX ring.', [
    [
      0,
      'u32',
      'count',
      'program',
      'on the list; bulk_link adds what is left of the last, and clears both, as one u64',
    ],
    [NEXT, 'u32', 'cursor', 'program', 'of these sent again'],
    [NEXT, 'u32[BULK_REFUSED_MAX]', 'index', 'program', 'bulk_link adds what is left of the last'],
  ]),
  struct(
    'bulk_link',
    PAGES,
    'Bulk transmit: the kernel side of one TX ring, as the XDP program plays it; in a BPF map of its worker, its TX frames behind it, and behind those a place for each that is short.',
    [
      [0, 'u32', 'tx_producer', 'worker', ''],
      [NEXT, 'u32', 'completion_consumer', 'worker', ''],
      [64, 'u32', 'tx_consumer', 'bulk_link', 'with completion_producer, as one u64'],
      [NEXT, 'u32', 'completion_producer', 'bulk_link', ''],
      [
        NEXT,
        'u32',
        'round',
        'bulk_link',
        '0: the program takes from the ring; else from the list of the round before; BULK_GIVEN_UP',
      ],
      [NEXT, 'u32', 'give_up_to', 'bulk_link', 'what is not sent before this is not sent at all'],
      [NEXT, 'u64', 'noted', 'bulk_link', 'of settled: what is in the counters of the worker'],
      [128, 'u32', 'frame_first', 'creator', 'in the UMEM, of the frames behind'],
      [
        NEXT,
        'u64',
        'pools_of',
        'creator',
        'of no other map, so that its page pools are known; 0: nothing tells when they end',
      ],
      [192, 'u32', 'cursor', 'program', 'taken from the ring; bulk_link passes what it gives up'],
      [NEXT, 'u32', 'taken', 'program', 'copies ever taken, from the ring or from a list'],
      [
        NEXT,
        'u64',
        'settled',
        'program',
        'taken << 32 | cursor, when it last saw that the device had been given all of that',
      ],
      [256, 'bulk_list[2]', 'lists', 'program', 'what was refused, by the parity of the round'],
      [
        832,
        'u32',
        'live_pools',
        'program',
        'page pools that have outlived their calls, and are there',
      ],
      [4096, 'soft_descriptor[TX_FRAMES]', 'tx', 'worker', ''],
      [NEXT, 'u64[TX_FRAMES]', 'completion', 'bulk_link', 'addresses, outcome in the top byte'],
    ],
  ),
  struct('feed', 12, 'Key of the XDP feed map. Network order; pad is zero.', [
    [0, 'u32', 'queue', 'supervisor', 'RX queue index, host order'],
    [4, 'u32', 'daddr', 'supervisor', 'IPv4 destination, network order'],
    [8, 'u16', 'dport', 'supervisor', 'UDP destination port, network order'],
    [10, 'u16', 'pad', 'supervisor', 'zero'],
  ]),
  struct('feed_rule', 24, 'What a frame of a feed must be, or it passes to the kernel.', [
    [0, 'u8[6]', 'mac', 'supervisor', 'its Ethernet destination'],
    [6, 'u16', 'mtu', 'supervisor', 'the most bytes of IP packet'],
    [
      8,
      'u16',
      'generic',
      'supervisor',
      '1: generic XDP, which may see a batch of datagrams (GSO) as one, its checksum not filled in',
    ],
    [
      10,
      'u16',
      'any_mac',
      'supervisor',
      "1: any host's MAC instead of `mac`, no group's: another host's feed (--promiscuous)",
    ],
    [
      12,
      'u32',
      'reader',
      'supervisor',
      'key of the socket that takes in what passed: the first queue that its launcher serves * FEEDS_MAX + index of the feed there',
    ],
    [16, 'u32', 'source', 'supervisor', 'the one address it is taken from; 0: any'],
    [
      20,
      'u32',
      'seen',
      'program',
      'the last source that was found to be no address of this host; 0 when the rule is set',
    ],
  ]),
];

/** The struct of that name; a name that does not exist is a programmer error. */
export function structOf(name: string): Struct {
  const found = byName.get(name);
  if (found === undefined) throw new Error(`layout.ts has no struct ${name}`);
  return found;
}

/** Byte offset of a field in its struct. */
export function offsetOf(name: string, field: string): number {
  const found = structOf(name).fields.find((f) => f.name === field);
  if (found === undefined) throw new Error(`struct ${name} has no field ${field}`);
  return found.offset;
}

/** Names of an enum in order of value. */
export function membersOf(name: (typeof enums)[number]['name']): readonly string[] {
  const found = enums.find((e) => e.name === name);
  if (found === undefined) throw new Error(`layout.ts has no enum ${name}`);
  return found.members;
}

/** FNV-1a over the whole description: differs as soon as any program was built from another. */
export function layoutVersion(): number {
  const plain = (_: string, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value;
  const text = JSON.stringify([limits, enums, structs], plain);
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
