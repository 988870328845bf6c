/**
 * What a replicator tells of itself as Prometheus has it: families of samples, each with its labels
 * (https://prometheus.io/docs/concepts/data_model/). Pure. Names, units and labels are part of what
 * other programs rely on; docs/monitoring/metrics.md lists them.
 */
import type { FleetRow } from '../domain/fleet.js';
import type {
  AccountRow,
  FilterInfo,
  KernelRow,
  Stats,
  SubscriberState,
} from '../domain/statistics.js';
import { bucketStart } from '../memory/arena.js';

export type Labels = Readonly<Record<string, string | number>>;

export interface Sample {
  readonly value: number;
  readonly labels: Labels;
  /** Of a histogram's parts: the family's name and what they are. */
  readonly suffix?: '_bucket' | '_sum' | '_count';
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: readonly Sample[];
}

/** Nanoseconds as counts by bucket, of one worker. */
export interface WorkerHistograms {
  readonly inside: readonly number[];
  readonly kick: readonly number[];
  readonly window: readonly number[];
}

/** One answer of the control channel: how many there were. */
export interface Answered {
  readonly op: string;
  readonly code: string;
  readonly count: number;
}

/** All that one scrape is made of. */
export interface Snapshot {
  readonly version: string;
  readonly stats: Stats;
  readonly states: ReadonlyMap<SubscriberState, number>;
  /** By worker. */
  readonly histograms: readonly WorkerHistograms[];
  readonly filters: readonly FilterInfo[];
  readonly requests: readonly Answered[];
  /** Those that have rows of their own. */
  readonly accounts: readonly AccountRow[];
  /** The rest in one; null: there was never any. */
  readonly others: AccountRow | null;
}

/** In place of an address and port: all that have no row of their own. */
export const OTHERS = 'others';

/** Upper bounds of the buckets that are told, seconds: from a tenth of a microsecond up. */
const BOUNDS_S = [
  ...[1e-7, 2e-7, 5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5],
  ...[1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1],
];
const NS = 1e-9;

export function familiesOf(snapshot: Snapshot): Family[] {
  const { stats } = snapshot;
  return [
    ...aboutItself(snapshot),
    ...aboutFeeds(stats),
    counter(
      'fantail_xdp_verdicts_total',
      'Frames by where they left the XDP program.',
      Object.entries(stats.xdp).map(([verdict, value]) => ({ value, labels: { verdict } })),
    ),
    counter(
      'fantail_kernel_total',
      'Counters of the AF_XDP sockets of a queue (XDP_STATISTICS).',
      stats.kernel.flatMap(kernelSamples),
    ),
    ...aboutSubscribers(snapshot),
    ...aboutWorkers(snapshot),
    counter(
      'fantail_filter_jobs_total',
      'One packet for one subscriber each, by what the filter said.',
      snapshot.filters.flatMap(({ name: filter, verdicts, faults }) =>
        Object.entries({ ...verdicts, ...faults }).map(([verdict, value]) => ({
          value,
          labels: { filter, verdict },
        })),
      ),
    ),
    ...aboutGaps(stats),
    counter(
      'fantail_control_requests_total',
      'Requests of the control channel, by operation and how they were answered.',
      snapshot.requests.map(({ op, code, count }) => ({ value: count, labels: { op, code } })),
    ),
    ...aboutFleet(stats),
  ];
}

const family =
  (type: Family['type']) =>
  (name: string, help: string, samples: readonly Sample[]): Family => {
    return { name, help, type, samples };
  };
const counter = family('counter');
const gauge = family('gauge');

/** Of a member of a group; without samples elsewhere. */
function aboutFleet({ fleet }: Stats): Family[] {
  const one = (value: (of: FleetRow) => number) =>
    fleet === undefined ? [] : [{ value: value(fleet), labels: {} }];
  return [
    gauge(
      'fantail_fleet_standing',
      'How this member of a group stands to etcd: 1.',
      fleet === undefined ? [] : [{ value: 1, labels: { standing: fleet.standing } }],
    ),
    gauge(
      'fantail_fleet_shards',
      'Shards that this member owns, of 256.',
      one(({ shards }) => shards),
    ),
    gauge(
      'fantail_fleet_unserved',
      'Subscribers of its shards, and relays, that it may not or cannot serve.',
      one(({ unserved }) => unserved),
    ),
    gauge(
      'fantail_fleet_no_room',
      'Of those, the ones for whom its table has no room.',
      one(({ no_room }) => no_room),
    ),
    gauge(
      'fantail_fleet_faults',
      'Keys in etcd that it passes over since their values are wrong.',
      one(({ faults }) => faults),
    ),
    gauge(
      'fantail_fleet_upstream',
      'What it can expect of the member that it takes its feed from: 1.',
      upstreamSamples(fleet),
    ),
    counter(
      'fantail_fleet_handover_total',
      'Copies sent while the owner before may have sent them too.',
      one(({ handover }) => handover),
    ),
  ];
}

function upstreamSamples(fleet: FleetRow | undefined): Sample[] {
  const { upstream = null, upstream_state: state = null } = fleet ?? {};
  return upstream === null || state === null ? [] : [{ value: 1, labels: { upstream, state } }];
}

function aboutItself({ version, stats }: Snapshot): Family[] {
  const { interface: name, mode, layout, uptime_ms } = stats;
  const info = { value: 1, labels: { version, interface: name, mode, layout } };
  const uptime = { value: uptime_ms / 1000, labels: {} };
  return [
    gauge('fantail_info', 'What runs, and how.', [info]),
    gauge('fantail_uptime_seconds', 'Since the data path was started.', [uptime]),
  ];
}

function aboutFeeds({ feeds }: Stats): Family[] {
  const of = (name: string, help: string, value: (feed: Stats['feed']) => number) =>
    counter(
      `fantail_feed_${name}_total`,
      help,
      feeds.map((feed) => ({ value: value(feed), labels: { feed: feed.name } })),
    );
  return [
    of('received', 'Packets of a feed that were taken in.', ({ received }) => received),
    of('bytes', 'Their bytes of UDP payload.', ({ bytes }) => bytes),
    of('slow_path', 'Of its datagrams those that came by the kernel.', (feed) => feed.slow_path),
    of('socket_lost', 'Datagrams that its UDP sockets lost.', (feed) => feed.socket_lost),
    counter(
      'fantail_feed_drops_total',
      'Frames of a feed that were refused, by reason; reasons without any are left out.',
      feeds.flatMap(({ name: feed, drops }) => dropSamples({ feed }, drops)),
    ),
    gauge(
      'fantail_feed_joined',
      'Whether the kernel has us as a member of the feed’s group.',
      feeds.flatMap(({ name: feed, joined }) =>
        joined === null ? [] : [{ value: Number(joined), labels: { feed } }],
      ),
    ),
  ];
}

const kernelSamples = ({ queue, ...counters }: KernelRow): Sample[] =>
  Object.entries(counters).map(([name, value]) => ({ value, labels: { queue, counter: name } }));

/** Reasons without any are left out: ten rows a subscriber would be most of a scrape. */
const dropSamples = (labels: Labels, drops: Stats['xdp']): Sample[] =>
  Object.entries(drops)
    .filter(([, value]) => value > 0)
    .map(([reason, value]) => ({ value, labels: { ...labels, reason } }));

function aboutGaps({ filters }: Stats): Family[] {
  const of = (name: 'gaps' | 'missing') =>
    filters.loaded.flatMap(({ name: filter, report }) =>
      report === undefined ? [] : [{ value: report[name], labels: { filter } }],
    );
  return [
    counter(
      'fantail_filter_gaps_total',
      'Gaps that a filter has told, of all that it decides for.',
      of('gaps'),
    ),
    counter('fantail_filter_missing_total', 'Messages that were in them.', of('missing')),
  ];
}

interface Account {
  readonly labels: Labels;
  readonly row: AccountRow;
}

function accountsOf({ accounts, others }: Snapshot): Account[] {
  const rows = accounts.map((row): Account => ({ labels: { ip: row.ip, port: row.port }, row }));
  if (others !== null) rows.push({ labels: { ip: OTHERS, port: OTHERS }, row: others });
  return rows;
}

function aboutSubscribers(snapshot: Snapshot): Family[] {
  const accounts = accountsOf(snapshot);
  const sums = (name: 'received' | 'sent' | 'bytes' | 'in_flight') =>
    accounts.map(({ labels, row }) => ({ value: row[name], labels }));
  return [
    counter('fantail_subscriber_received_total', 'Copies owed to it.', sums('received')),
    counter('fantail_subscriber_sent_total', 'Copies that left.', sums('sent')),
    counter(
      'fantail_subscriber_bytes_total',
      'Their bytes, from the Ethernet header on.',
      sums('bytes'),
    ),
    gauge('fantail_subscriber_in_flight', 'Copies that have not ended yet.', sums('in_flight')),
    counter(
      'fantail_subscriber_drops_total',
      'Copies that were not sent, by reason; reasons without any are left out.',
      accounts.flatMap(({ labels, row }) => dropSamples(labels, row.drops)),
    ),
    gauge(
      'fantail_subscribers',
      'Subscribers by how they are reached.',
      [...snapshot.states].map(([state, value]) => ({ value, labels: { state } })),
    ),
  ];
}

const TIMES = [
  {
    name: 'fantail_inside_seconds',
    of: 'inside',
    help: 'From reading the RX ring to storing into the TX ring, of every packet.',
  },
  {
    name: 'fantail_kick_seconds',
    of: 'kick',
    help: 'The system calls after that, of each timed burst.',
  },
  {
    name: 'fantail_delivery_window_seconds',
    of: 'window',
    help: 'From before the device could take the first copy of a packet to seeing that it had taken the last, of one packet in each timed burst.',
  },
] as const;

function aboutWorkers({ stats, histograms }: Snapshot): Family[] {
  const { workers } = stats;
  return [
    counter(
      'fantail_worker_restarts_total',
      'Workers that were replaced.',
      workers.map(({ worker, restarts }) => ({ value: restarts, labels: { worker } })),
    ),
    gauge(
      'fantail_worker_fenced',
      'Whether a worker serves nobody, since the moment has passed until which it may.',
      workers.map(({ worker, fenced }) => ({ value: Number(fenced), labels: { worker } })),
    ),
    counter(
      'fantail_worker_fenced_packets_total',
      'Packets that a worker took meanwhile, owed to nobody.',
      workers.map(({ worker, fenced_packets }) => ({ value: fenced_packets, labels: { worker } })),
    ),
    counter(
      'fantail_transmit_calls_total',
      'System calls that sent, by path.',
      workers.flatMap(({ worker, kicks, transmit }) => [
        { value: kicks, labels: { worker, path: 'ring' } },
        { value: transmit.calls, labels: { worker, path: 'bulk' } },
      ]),
    ),
    gauge(
      'fantail_transmit_live_pools',
      'Page pools of calls of bulk transmit that live on.',
      workers.flatMap(({ worker, transmit: { live_pools } }) =>
        live_pools === null ? [] : [{ value: live_pools, labels: { worker } }],
      ),
    ),
    ...TIMES.map(({ name, of, help }) =>
      family('histogram')(
        name,
        help,
        histograms.flatMap((counts, worker) => histogramSamples({ worker }, counts[of])),
      ),
    ),
  ];
}

/**
 * A bound counts what lies in buckets that end below it, each of which is at most an eighth wide.
 * The sum takes each at the middle of its bucket.
 */
function histogramSamples(labels: Labels, counts: readonly number[]): Sample[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const middle = (bucket: number) => (bucketStart(bucket) + bucketStart(bucket + 1) - 1) / 2;
  const sum_ns = counts.reduce((sum, count, bucket) => sum + count * middle(bucket), 0);
  let bucket = 0;
  let below = 0;
  const buckets = BOUNDS_S.map((le): Sample => {
    while (bucket < counts.length && (bucketStart(bucket + 1) - 1) * NS <= le)
      below += counts[bucket++] ?? 0;
    return { value: below, labels: { ...labels, le }, suffix: '_bucket' };
  });
  return [
    ...buckets,
    { value: total, labels: { ...labels, le: '+Inf' }, suffix: '_bucket' },
    { value: sum_ns * NS, labels, suffix: '_sum' },
    { value: total, labels, suffix: '_count' },
  ];
}
