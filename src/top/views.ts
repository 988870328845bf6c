/**
 * The tables that can be looked at: which columns each has, and its rows out of two readings. A
 * cell is a number, a text, or null where there is nothing to say yet; null sorts last.
 */
import { sumOf } from '../domain/counts.js';
import { endpointText } from '../domain/endpoint.js';
import { dropRows, type Interval, mainDrop, rateOf } from '../domain/reading.js';

export type Cell = number | string | null;

export interface Column {
  readonly title: string;
  /** To the right, and the largest come first; a port or pid is a name, so a text. */
  readonly isNumber: boolean;
}

export interface View {
  readonly name: ViewName;
  readonly columns: readonly Column[];
  /** The column that it is sorted by until another is chosen. */
  readonly sortedBy: number;
  rows(interval: Interval): Cell[][];
  /** The column whose number, not 0, makes a row stand out. */
  readonly alarm: number;
}

export const viewNames = ['subscribers', 'feeds', 'workers', 'drops'] as const;
export type ViewName = (typeof viewNames)[number];

/** `#` before the title: the column is of numbers. */
const columns = (...titles: string[]): Column[] =>
  titles.map((title) => ({ title: title.replace(/^#/, ''), isNumber: title.startsWith('#') }));

const SUBSCRIBERS: View = {
  name: 'subscribers',
  columns: columns(
    ...['ip', 'port', 'state', 'filter', '#sent/s', '#bytes/s', '#sent', '#in flight'],
    ...['#drops/s', '#drops', 'mostly'],
  ),
  sortedBy: 4,
  alarm: 8,
  rows: (interval) => {
    const before = new Map(
      interval.before?.stats.subscribers.map((row) => [endpointText(row), row]),
    );
    const listed = new Map(interval.now.subscribers.map((row) => [endpointText(row), row]));
    return interval.now.stats.subscribers.map((row) => {
      const name = endpointText(row);
      const then = before.get(name);
      const how = listed.get(name); // absent: it came between the two questions
      const drops = sumOf(row.drops);
      return [
        row.ip,
        String(row.port),
        how?.state ?? null,
        how?.filter ?? null,
        rateOf(interval, row.sent, then?.sent),
        rateOf(interval, row.bytes, then?.bytes),
        row.sent,
        row.in_flight,
        rateOf(interval, drops, then && sumOf(then.drops)),
        drops,
        mainDrop(row.drops),
      ];
    });
  },
};

const FEEDS: View = {
  name: 'feeds',
  columns: columns(
    ...['feed', 'address', '#packets/s', '#bytes/s', '#received', '#slow path', '#subscribers'],
    ...['#refused/s', '#refused', 'mostly'],
  ),
  sortedBy: 2,
  alarm: 7,
  rows: (interval) =>
    interval.now.stats.feeds.map((feed) => {
      const then = interval.before?.stats.feeds.find(({ name }) => name === feed.name);
      const refused = { ...feed.drops, socket_lost: feed.socket_lost };
      const refusedThen = then && sumOf(then.drops) + then.socket_lost;
      return [
        feed.name,
        endpointText(feed) + (feed.source === null ? '' : `@${feed.source}`),
        rateOf(interval, feed.received, then?.received),
        rateOf(interval, feed.bytes, then?.bytes),
        feed.received,
        feed.slow_path,
        feed.subscribers,
        rateOf(interval, sumOf(refused), refusedThen),
        sumOf(refused),
        mainDrop(refused),
      ];
    }),
};

/** Percentiles are of the last one to two seconds, whatever the interval. */
const WORKERS: View = {
  name: 'workers',
  columns: columns(
    ...['worker', 'pid', '#restarts', 'path', '#bursts/s', '#kicks/s'],
    ...['#inside p50 ns', '#p99', '#p99.9', '#window p50 ns', '#window p99', '#window p99.9'],
    ...['#kick p50 ns', '#kick p99', '#kick p99.9'],
  ),
  sortedBy: 4,
  alarm: 2,
  rows: (interval) =>
    interval.now.stats.workers.map((row) => {
      const then = interval.before?.stats.workers.find(({ worker }) => worker === row.worker);
      const { inside_ns: inside, window_ns: window, kick_ns: kick } = row.recent;
      return [
        ...[String(row.worker), String(row.pid), row.restarts, row.transmit.path],
        rateOf(interval, row.bursts, then?.bursts),
        rateOf(interval, row.kicks, then?.kicks),
        ...[inside, window, kick].flatMap(({ p50, p99, p999 }) => [p50, p99, p999]),
      ];
    }),
};

const DROPS: View = {
  name: 'drops',
  columns: columns('reason', 'of', '#drops/s', '#drops'),
  sortedBy: 2,
  alarm: 2,
  rows: (interval) =>
    dropRows(interval).map(({ name, dropper, rate, total }) => [name, dropper, rate, total]),
};

export const views: Readonly<Record<ViewName, View>> = {
  subscribers: SUBSCRIBERS,
  feeds: FEEDS,
  workers: WORKERS,
  drops: DROPS,
};

// ---- which rows, and in which order -------------------------------------------------------------

export interface Order {
  readonly column: number;
  /** As the column sorts by itself: numbers from the largest, texts from A. */
  readonly isReversed: boolean;
}

const texts = new Intl.Collator('en', { numeric: true }); // 10.0.0.9 before 10.0.0.10

/** Rows of equal cells by their first two, so that they keep their places. */
export function sorted(view: View, rows: readonly Cell[][], order: Order): Cell[][] {
  const descends = view.columns[order.column]?.isNumber === true;
  const sign = descends === order.isReversed ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [left = null, right = null] = [a[order.column], b[order.column]];
    if (left === null || right === null) {
      if (left !== right) return left === null ? 1 : -1;
    } else {
      const difference = compare(left, right);
      if (difference !== 0) return sign * difference;
    }
    return compare(a[0] ?? '', b[0] ?? '') || compare(a[1] ?? '', b[1] ?? '');
  });
}

const compare = (a: number | string, b: number | string): number =>
  typeof a === 'number' && typeof b === 'number' ? a - b : texts.compare(String(a), String(b));

/** The pattern of a filter as less takes it, in capitals or not; null: it is none yet. */
export function patternOf(filter: string): RegExp | null {
  try {
    return new RegExp(filter, 'i');
  } catch {
    return null;
  }
}

/** Rows that have it in their cells, which are joined by one space (an endpoint by a colon). */
export function filtered(rows: readonly Cell[][], pattern: RegExp | null): readonly Cell[][] {
  if (pattern === null || pattern.source === '(?:)') return rows;
  return rows.filter(([first, second, ...rest]) => {
    const text = [first, second, ...rest].map((cell) => cell ?? '').join(' ');
    return pattern.test(text) || pattern.test(`${first}:${second}`);
  });
}
