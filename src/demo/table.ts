/**
 * What the demo shows: one view a second, as a table that stays in place on a terminal, as lines
 * elsewhere, or as one JSON object a line. The renderers are pure; Screen does the writing.
 */
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import type { Stats } from '../domain/statistics.js';
import { grouped } from '../terminal/tables.js';
import type { Snapshot, TransitTimes } from './messages.js';
import type { Scene } from './scene.js';

export interface SubscriberView extends Endpoint {
  /**
   * waiting: no packet yet; silent: it did not answer; removed: the replicator does not serve it.
   */
  readonly state: 'receiving' | 'waiting' | 'silent' | 'removed';
  readonly rate: number;
  readonly account: Snapshot | null;
}

export interface View {
  readonly seconds: number;
  /** The last view of a demo that stops: everything sent is in it. */
  readonly isFinal: boolean;
  readonly scene: Scene;
  readonly control: string;
  /** The replicator's own account; null if it does not answer. */
  readonly stats: Stats | null;
  readonly feed: { readonly rate: number; readonly sent: number; readonly refused: number };
  readonly subscribers: readonly SubscriberView[];
}

const whole = (value: number) => grouped(Math.round(value));
const microseconds = (value: number) => (value < 10 ? value.toFixed(1) : whole(value));

/** The line that adds the listener that nobody subscribed yet. */
export function wscatLine(view: Pick<View, 'control' | 'subscribers'>): string {
  const last = view.subscribers.at(-1);
  return `npx wscat -c ${view.control} -x 'add ${last?.ip} ${last?.port}'`;
}

const COLUMNS = [
  ['subscriber', 22],
  ['packets/s', 10],
  ['received', 12],
  ['lost', 7],
  ['twice', 7],
  ['late', 7],
  ['p50 µs', 9],
  ['p99 µs', 9],
  ['max µs', 9],
] as const;

function cells(values: readonly string[]): string {
  return COLUMNS.map(([, width], index) => {
    const value = values[index] ?? '';
    return index === 0 ? value.padEnd(width) : value.padStart(width);
  })
    .join('')
    .trimEnd();
}

function latencyCells(latency: TransitTimes | null | undefined): string[] {
  if (latency === null || latency === undefined) return ['-', '-', '-'];
  return [latency.p50, latency.p99, latency.max].map(microseconds);
}

function subscriberLine(row: SubscriberView): string {
  const name = endpointText(row);
  const { account } = row;
  if (row.state === 'waiting' || account === null)
    return `${name.padEnd(COLUMNS[0][1])}  ${row.state}`;
  const counts = [account.received, account.lost, account.duplicated, account.reordered].map(whole);
  const line = cells([name, whole(row.rate), ...counts, ...latencyCells(account.latency)]);
  return row.state === 'receiving' ? line : `${line}  ${row.state}`;
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

/** The view as a table, line by line. */
export function viewLines(view: View): string[] {
  const { scene, stats, feed } = view;
  const where = scene.kind === 'link' ? 'on a virtual link' : `over loopback (${scene.reason})`;
  const how = stats === null ? '' : `, mode ${stats.mode}, layout ${stats.layout}`;
  const refused = feed.refused > 0 ? `, ${whole(feed.refused)} refused by the kernel` : '';
  return [
    `fantail demo: ${scene.listen.ip}:${scene.listen.port} ${where}${how}, ${whole(view.seconds)} s`,
    '',
    `feed        ${whole(feed.rate)} packets/s, ${whole(feed.sent)} sent${refused}`,
    replicatorLine(view),
    '',
    cells(COLUMNS.map(([title]) => title)),
    ...view.subscribers.map(subscriberLine),
  ];
}

/** What stands below the table. */
export function hintLines(view: Pick<View, 'control' | 'subscribers'>): string[] {
  return [
    'latency: over the last second, from send() in the feed to the callback in the subscriber, both Node processes',
    'the last subscriber already listens; add it from another shell, in this folder:',
    '',
    `    ${wscatLine(view)}`,
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
    wscat: wscatLine(view),
    feed: { ip: scene.listen.ip, port: scene.listen.port, ...feed },
    subscribers: view.subscribers.map(({ ip, port, state, rate, account }) => ({
      ip,
      port,
      state,
      rate,
      received: account?.received ?? 0,
      lost: account?.lost ?? 0,
      duplicated: account?.duplicated ?? 0,
      reordered: account?.reordered ?? 0,
      latency_us: account?.latency ?? null,
    })),
  });
}

/** A place for views: redraws on a terminal, appends elsewhere. */
export class Screen {
  /** Lines of the table that is on the terminal now. */
  #drawn = 0;
  #hinted = false;

  constructor(
    private readonly output: NodeJS.WriteStream,
    private readonly asJson: boolean,
  ) {}

  /** A line that stays: on a terminal above the table, with --json on stderr. */
  note(line: string): void {
    if (this.asJson) {
      process.stderr.write(`${line}\n`);
      return;
    }
    this.#erase();
    this.output.write(`${line}\n`);
  }

  show(view: View): void {
    if (this.asJson) this.output.write(`${jsonLine(view)}\n`);
    else if (this.output.isTTY)
      this.#redraw([...viewLines(view), '', ...(view.isFinal ? [] : hintLines(view))]);
    else this.#append(view);
    // What is final stays on the terminal, whatever is said after it.
    if (view.isFinal) this.#drawn = 0;
  }

  #append(view: View): void {
    if (!this.#hinted) this.output.write(`${hintLines(view).join('\n')}\n\n`);
    this.#hinted = true;
    this.output.write(`${viewLines(view).join('\n')}\n\n`);
  }

  #redraw(lines: readonly string[]): void {
    this.#erase();
    // A line that wraps would take two rows and spoil the count.
    const width = this.output.columns > 0 ? this.output.columns - 1 : 120;
    // The line to copy is the exception: it wraps rather than lose its end, and its rows are
    // counted.
    const isWhole = (line: string) => line.includes('npx wscat');
    const shown = lines.map((line) => (isWhole(line) ? line : line.slice(0, width)));
    this.#drawn = shown.reduce(
      (rows, line) => rows + Math.max(Math.ceil(line.length / (width + 1)), 1),
      0,
    );
    this.output.write(`${shown.join('\n')}\n`);
  }

  #erase(): void {
    if (this.#drawn > 0) this.output.write(`\x1b[${this.#drawn}A\x1b[0J`);
    this.#drawn = 0;
  }
}
