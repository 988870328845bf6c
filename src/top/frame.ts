/** What is known and how it is looked at → the lines of a screen. Pure. */
import { counted, countsText } from '../domain/counts.js';
import { dropRows, type Interval, sumRates } from '../domain/reading.js';
import type { Stats } from '../domain/statistics.js';
import { grouped } from '../terminal/tables.js';
import type { Look } from './look.js';
import type { Known } from './poller.js';
import type { Size } from './screen.js';
import {
  type Cell,
  filtered,
  patternOf,
  sorted,
  type View,
  type ViewName,
  viewNames,
  views,
} from './views.js';

/** How a line stands out. */
export type Tone = 'plain' | 'bar' | 'head' | 'alarm' | 'faint';

export interface Line {
  readonly text: string;
  readonly tone: Tone;
}

/** Lines above the table, its head included, and below it. */
const LINES_ABOVE = 8;
const LINES_BELOW = 1;
const KEYS =
  'Tab table  ← → sort by  r reverse  / filter  Esc all  ↑ ↓ PgUp PgDn Home End scroll  q quit';
/** Drops that are named in the line above; all of them are in their own table. */
const DROPS_NAMED = 4;

/** The rows of the table that is looked at, all of them, in order. */
export interface Chosen {
  readonly view: View;
  readonly rows: readonly Cell[][];
  /** Before the filter. */
  readonly all: number;
  readonly isPattern: boolean;
}

export function chosenRows(interval: Interval, look: Look): Chosen {
  const view = views[look.view];
  const all = view.rows(interval);
  const pattern = patternOf(look.filter);
  const rows = sorted(view, filtered(all, pattern), look.orders[look.view]);
  return { view, rows, all: all.length, isPattern: pattern !== null };
}

/** Rows of the table that there is room for. The last row of a terminal stays empty. */
export const roomFor = ({ rows }: Size): number =>
  Math.max(1, rows - 1 - LINES_ABOVE - LINES_BELOW);

/** What a frame shows; `summary` is that of the same interval. */
export interface Seen {
  readonly known: Known;
  readonly summary: readonly Line[];
  readonly look: Look;
  readonly chosen: Chosen;
  readonly size: Size;
}

/** Never more lines than the terminal has rows, less one: it would scroll. */
export function frame({ known, summary, look, chosen, size }: Seen): Line[] {
  const { interval } = known;
  const room = roomFor(size);
  const shown = chosen.rows.slice(look.top, look.top + room);
  const table = tableLines(chosen.view, shown, look);
  const above: Line[] = [
    { text: barText(interval.now.stats).padEnd(size.columns), tone: 'bar' },
    ...summary,
    alertLine(known, chosen, look),
    { text: tabsText(interval, look, chosen, room), tone: 'plain' },
  ];
  const blank = Array.from({ length: room - shown.length }, (): Line => plain(''));
  const below: Line =
    look.filterBefore === null
      ? { text: KEYS, tone: 'faint' }
      : { text: `/${look.filter}█`, tone: 'head' };
  return [...above, ...table, ...blank, below].slice(0, Math.max(1, size.rows - 1));
}

const plain = (text: string): Line => ({ text, tone: 'plain' });
const whole = (value: number) => grouped(Math.round(value));
const perSecond = (value: number | null) => (value === null ? '-' : whole(value));

function barText({ interface: name, mode, layout, queues, uptime_ms }: Stats): string {
  const served = queues.length > 0 ? ` · queues ${queues.join(',')}` : '';
  const up = `up ${grouped(Math.floor(uptime_ms / 1000))} s`;
  return `fantail top  ${name} · ${mode} · ${layout}${served} · ${up}`;
}

// ---- above the table ----------------------------------------------------------------------------

/** Of all rows, so it is made once for each reading, not for each key. */
export function summaryLines(interval: Interval): Line[] {
  const { now, before } = interval;
  const { stats } = now;
  const drops = dropRows(interval);
  const named = drops.slice(0, DROPS_NAMED).map(({ name, total, rate }) => {
    return `${name} ${perSecond(rate)}/s (${whole(total)})`;
  });
  if (drops.length > DROPS_NAMED) named.push(`and ${drops.length - DROPS_NAMED} more`);
  const isDropping = drops.some(({ rate }) => rate !== null && rate > 0);
  const states: Record<string, number> = {};
  for (const { state } of now.subscribers) states[state] = (states[state] ?? 0) + 1;
  const arrived = sumRates(
    interval,
    stats.feeds,
    before?.stats.feeds,
    ({ name }) => name,
    'received',
  );
  const sent = sumRates(
    interval,
    stats.subscribers,
    before?.stats.subscribers,
    ({ ip, port }) => `${ip}:${port}`,
    'sent',
  );
  const subscribers = counted(stats.subscribers.length, 'subscriber');
  return [
    plain(`in      ${perSecond(arrived)} packets/s  ${counted(stats.feeds.length, 'feed')}`),
    plain(`out     ${perSecond(sent)} copies/s  ${subscribers}  ${countsText(states)}`.trimEnd()),
    plain(`latency ${latencyText(stats)}`),
    { text: `drops   ${named.join('  ') || 'none'}`, tone: isDropping ? 'alarm' : 'plain' },
  ];
}

/** Of the worker whose p99 is the longest; of the packets of the last second or two. */
function latencyText({ workers }: Stats): string {
  const p99Of = ({ recent }: Stats['workers'][number]) => recent.inside_ns.p99;
  const slowest = workers.reduce<Stats['workers'][number] | null>(
    (found, row) => (found === null || p99Of(row) > p99Of(found) ? row : found),
    null,
  );
  if (slowest === null || p99Of(slowest) === 0) return 'no packet just now';
  const { p50, p99, p999 } = slowest.recent.inside_ns;
  const times = `inside p50 ${whole(p50)}  p99 ${whole(p99)}  p99.9 ${whole(p999)} ns`;
  return `${times}  (worker ${slowest.worker}, the last second)`;
}

function alertLine({ stale, interval }: Known, { isPattern }: Chosen, look: Look): Line {
  if (stale !== null) {
    const seconds = Math.floor((performance.now() - stale.since_ms) / 1000);
    const text = `no news for ${seconds} s, trying again: ${stale.reason}`;
    return { text, tone: 'alarm' };
  }
  if (!isPattern)
    return { text: `/${look.filter} is no pattern yet: all are shown`, tone: 'alarm' };
  const { fallbacks } = interval.now.stats;
  const [last] = fallbacks.slice(-1);
  if (last === undefined) return plain('');
  return { text: `${last.mode} was not possible: ${last.reason}`, tone: 'faint' };
}

function tabsText({ now }: Interval, look: Look, { rows, all }: Chosen, room: number): string {
  const counts: Record<ViewName, number> = {
    subscribers: now.stats.subscribers.length,
    feeds: now.stats.feeds.length,
    workers: now.stats.workers.length,
    drops: 0,
  };
  const tabs = viewNames.map((name) => {
    if (name !== look.view) return name === 'drops' ? name : `${name} ${whole(counts[name])}`;
    return `[${name} ${look.filter === '' ? '' : `${whole(rows.length)} of `}${whole(all)}]`;
  });
  const filter = look.filter === '' ? '' : `  filter /${look.filter}`;
  const last = Math.min(rows.length, look.top + room);
  const place = rows.length > room ? `  rows ${look.top + 1} to ${last}` : '';
  return `${tabs.join('  ')}${filter}${place}`;
}

// ---- the table ----------------------------------------------------------------------------------

/** The head, and a line for each row that is shown; no other row costs anything. */
function tableLines(view: View, rows: readonly Cell[][], look: Look): Line[] {
  const order = look.orders[look.view];
  const titles = view.columns.map(({ title, isNumber }, index) => {
    if (index !== order.column) return title;
    return `${title}${isNumber === order.isReversed ? '▲' : '▼'}`;
  });
  const texts = rows.map((row) => view.columns.map((_, index) => cellText(row[index])));
  const widths = titles.map((title, index) => {
    // one more than the title, for the mark of the column that it is sorted by
    const least = (view.columns[index]?.title.length ?? 0) + 1;
    return Math.max(least, title.length, ...texts.map((row) => row[index]?.length ?? 0));
  });
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, index) => {
        const width = widths[index] ?? 0;
        return view.columns[index]?.isNumber ? cell.padStart(width) : cell.padEnd(width);
      })
      .join(' ')
      .trimEnd();
  const head: Line = { text: line(titles), tone: 'head' };
  return [
    head,
    ...texts.map((cells, index): Line => {
      const alarm = rows[index]?.[view.alarm];
      return { text: line(cells), tone: alarm !== null && alarm !== 0 ? 'alarm' : 'plain' };
    }),
  ];
}

function cellText(cell: Cell | undefined): string {
  if (cell === null || cell === undefined) return '-';
  return typeof cell === 'number' ? whole(cell) : cell;
}
