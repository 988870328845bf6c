/** What the demo shows: one view a second, as a table or as JSON. Pure. */
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { IS_CLONE } from '../domain/installation.js';
import type { Stats } from '../domain/statistics.js';
import { type Column, fittedLines, grouped, type TableRow } from '../terminal/tables.js';
import { wrapped } from '../terminal/wrapping.js';
import { COMPARED_MS, type Comparison } from './comparison.js';
import type { BusyPoll } from './cores.js';
import type { Snapshot, TransitTimes } from './messages.js';
import type { Scene } from './scene.js';
import type { Sheet } from './screen.js';
import { SUBSCRIBED_COUNT } from './serving.js';

export interface SubscriberView extends Endpoint {
  /**
   * waiting: no packet yet; silent: it did not answer; removed: the replicator does not serve it.
   */
  readonly state: 'receiving' | 'waiting' | 'silent' | 'removed';
  readonly rate: number;
  readonly account: Snapshot | null;
  /** What it got of plain sockets before; null: not compared. */
  readonly sockets: TransitTimes | null;
}

export interface View {
  readonly seconds: number;
  /** The last view of a demo that stops: everything sent is in it. */
  readonly isFinal: boolean;
  readonly scene: Scene;
  readonly control: string;
  readonly busyPoll: BusyPoll;
  readonly comparison: Comparison;
  /** Of CoreWaits, for the workers since the last view. */
  readonly coreWait: number | null;
  /** The replicator's own account; null if it does not answer. */
  readonly stats: Stats | null;
  readonly feed: { readonly rate: number; readonly sent: number; readonly refused: number };
  readonly subscribers: readonly SubscriberView[];
}

const whole = (value: number) => grouped(Math.round(value));
const microseconds = (value: number) => (value < 10 ? value.toFixed(1) : whole(value));

type Waiting = Pick<View, 'control' | 'subscribers'>;

/** The line that adds the listener that nobody subscribed yet, by any client of WebSockets. */
export function wscatLine({ control, subscribers }: Waiting): string {
  const last = subscribers.at(-1);
  return `npx wscat -c ${control} -x 'add ${last?.ip} ${last?.port}'`;
}

/** The same by a command, which a package has, too; wscat is there in a clone. */
export function addLine({ control, subscribers }: Waiting): string {
  const last = subscribers.at(-1);
  return `fantail add ${last?.ip} ${last?.port} --control ${control}`;
}

/** Together 79, which a terminal of 80 shows; those that say most are first. */
const COLUMNS: readonly Column[] = [
  { title: 'subscriber', width: 16, isText: true },
  { title: 'per s', width: 7 },
  { title: 'received', width: 10 },
  { title: 'lost', width: 6 },
  { title: 'twice', width: 6 },
  { title: 'late', width: 5 },
  { title: 'p50 µs', width: 7 },
  { title: 'p99 µs', width: 7 },
  { title: 'max µs', width: 7 },
  { title: 'sockets', width: 8 },
];
/** Where what stands behind the first word of a line begins. */
const INDENT = 12;

function latencyCells(latency: TransitTimes | null | undefined): string[] {
  if (latency === null || latency === undefined) return ['-', '-', '-'];
  return [latency.p50, latency.p99, latency.max].map(microseconds);
}

function subscriberRow(row: SubscriberView): TableRow {
  const name = endpointText(row);
  const { account } = row;
  if (row.state === 'waiting' || account === null) return { cells: [name], remark: row.state };
  const sockets = row.sockets === null ? '-' : microseconds(row.sockets.p50);
  const counts = [account.received, account.lost, account.duplicated, account.reordered].map(whole);
  const cells = [name, whole(row.rate), ...counts];
  if (row.state !== 'receiving') return { cells, remark: row.state };
  return { cells: [...cells, ...latencyCells(account.latency), sockets] };
}

function replicatorLine({ stats }: View): string {
  if (stats === null) return 'replicator  does not answer on its control port';
  const dropped = stats.subscribers.flatMap((row) => Object.entries(row.drops));
  const sums = new Map<string, number>();
  for (const [name, count] of dropped) if (count > 0) sums.set(name, (sums.get(name) ?? 0) + count);
  const drops = [...sums].map(([name, count]) => `${name} ${whole(count)}`).join(', ');
  const sent = stats.subscribers.reduce((sum, row) => sum + row.sent, 0);
  const tail = drops === '' ? 'no drops' : `drops: ${drops}`;
  return `replicator  received ${whole(stats.feed.received)}, sent ${whole(sent)}, ${tail}`;
}

/** The middle one, of an odd number. */
function median(values: readonly number[]): number | null {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? null;
}

const p50Of = (times: readonly (TransitTimes | null | undefined)[]) =>
  median(times.flatMap((each) => (each ? [each.p50] : [])));

/** What the demo is about, in a line. */
function latencyLine({ subscribers, comparison, stats }: View): string {
  const compared = subscribers.slice(0, SUBSCRIBED_COUNT);
  const own = p50Of(compared.map(({ account }) => account?.latency));
  if (own === null) return 'p50         nothing has come in the last second';
  const mine = `p50         ${microseconds(own)} µs`;
  const sockets = p50Of(comparison.latencies);
  if (sockets === null) return `${mine}; not compared with plain sockets: ${comparison.lack}`;
  const by = stats === null ? '' : ` by AF_XDP (${stats.mode})`;
  const lost = comparison.lost === 0 ? '' : `, ${whole(comparison.lost)} lost`;
  return `${mine}${by}, ${microseconds(sockets)} µs by plain UDP sockets on this link before${lost}`;
}

const pollLine = ({ busyPoll: { isOn, reason } }: View) =>
  isOn
    ? `idle        the worker never sleeps (${reason})`
    : `idle        the worker sleeps: what it takes to wake is in the latency (${reason})`;

/** Below that it is no more than the kernel's own doing. */
const CORE_WAIT_TOLD = 0.02;

/** What the machine keeps the picture from showing; none on a quiet one. */
function machineLines({ coreWait }: View): string[] {
  if (coreWait === null || coreWait < CORE_WAIT_TOLD) return [];
  const share = `${Math.round(coreWait * 100)} %`;
  return [`machine     the worker waited for a core ${share} of the time: that is in the latency`];
}

/** The view as a table, line by line. */
export function viewLines(view: View, width: number): string[] {
  const { scene, stats, feed } = view;
  const where = scene.kind === 'link' ? 'on a virtual link' : `over loopback (${scene.reason})`;
  const how = stats === null ? '' : `, mode ${stats.mode}, layout ${stats.layout}`;
  const refused = feed.refused > 0 ? `, ${whole(feed.refused)} refused by the kernel` : '';
  const sentences = [
    `fantail demo: ${scene.listen.ip}:${scene.listen.port} ${where}${how}, ${whole(view.seconds)} s`,
    '',
    `feed        ${whole(feed.rate)} packets/s, ${whole(feed.sent)} sent${refused}`,
    replicatorLine(view),
    pollLine(view),
    ...machineLines(view),
    latencyLine(view),
    '',
  ];
  return [
    ...sentences.flatMap((line) => wrapped(line, width, INDENT)),
    ...fittedLines(COLUMNS, view.subscribers.map(subscriberRow), width),
  ];
}

/** What stands below the table. */
export function hintLines(view: Pick<View, 'control' | 'subscribers'>, width: number): string[] {
  const [where, line] = IS_CLONE ? [', in this folder', wscatLine] : ['', addLine];
  const sentences = [
    'latency: of the last second, from write() in the feed to when the kernel has the copy at the ' +
      'far end of the link (SO_TIMESTAMPNS). To wake a program that sleeps for it would come on top.',
    `sockets: p50 of ${COMPARED_MS / 1000} s before, with the same feed, link and subscribers, by a ` +
      'replicator of plain UDP sockets (fantail up --mode socket: recvmmsg and sendmmsg).',
    `the last subscriber already listens; add it from another shell${where}:`,
  ];
  return [
    ...sentences.flatMap((sentence) => wrapped(sentence, width)),
    '',
    `    ${line(view)}`,
    '',
    'Ctrl-C ends the demo.',
  ];
}

/** One JSON object without a line end. */
export function jsonLine(view: View): string {
  const { stats, scene, feed } = view;
  return JSON.stringify({
    seconds: view.seconds,
    final: view.isFinal,
    scene: scene.kind,
    reason: scene.reason,
    mode: stats?.mode ?? null,
    layout: stats?.layout ?? null,
    control: view.control,
    busy_poll: view.busyPoll.isOn,
    busy_poll_reason: view.busyPoll.reason,
    core_wait: view.coreWait,
    not_compared: view.comparison.lack,
    sockets_lost: view.comparison.lost,
    wscat: wscatLine(view),
    feed: { ip: scene.listen.ip, port: scene.listen.port, ...feed },
    subscribers: view.subscribers.map(({ ip, port, state, rate, account, sockets }) => ({
      ip,
      port,
      state,
      rate,
      received: account?.received ?? 0,
      lost: account?.lost ?? 0,
      duplicated: account?.duplicated ?? 0,
      reordered: account?.reordered ?? 0,
      latency_us: account?.latency ?? null,
      sockets_latency_us: sockets,
    })),
  });
}

export const SHEET: Sheet<View> = {
  lines: viewLines,
  hints: hintLines,
  json: jsonLine,
  isToCopy: (line) => /npx wscat|fantail add /.test(line),
};
