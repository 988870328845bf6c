/** A run's turns → rows of medians and spreads. Pure. */
import type { Percentiles } from '../runs/engine.js';
import type { Run } from '../runs/journal.js';
import type { Turn } from '../runs/measure.js';
import { inequalityOf, type Spread, spreadOf } from '../runs/spread.js';
import { type TargetRow, targetsOf } from './targets.js';

/** One competitor at one point and rate. */
export interface LatencyRow {
  readonly point: string;
  readonly competitor: string;
  readonly mode: string;
  readonly rate: number;
  /** At p50 … max. */
  readonly latency_ns: readonly (Spread | null)[];
  /**
   * From the first copy of a packet to its last; null with one subscriber, or where none was whole.
   */
  readonly window_ns: readonly (Spread | null)[] | null;
  /** The highest p50 among the subscribers over the lowest. */
  readonly inequality: Spread | null;
  /** Sums over the rounds, in copies. */
  readonly received: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly corrupt: number;
  /** Of what was asked for. */
  readonly output: Spread | null;
  readonly isSourceLimited: boolean;
  /**
   * Milliseconds a second that the source's core was elsewhere: how noisy it was, whoever's fault.
   */
  readonly stolen: Spread | null;
}

export interface LimitRow {
  readonly point: string;
  readonly subscribers: number;
  readonly size: number;
  readonly competitor: string;
  readonly mode: string;
  /** Packets a second in. */
  readonly rate: Spread | null;
  /** Copies a second out. */
  readonly output: Spread | null;
  /** In at least one round the source, not the competitor, was the limit. */
  readonly isLowerBound: boolean;
}

export interface SpecialRow {
  readonly special: string;
  readonly title: string;
  readonly command: string;
  readonly mode: string;
  readonly values: Readonly<Record<string, Spread | null>>;
}

export interface Summary {
  readonly latency: readonly LatencyRow[];
  readonly limits: readonly LimitRow[];
  readonly specials: readonly SpecialRow[];
  readonly targets: readonly TargetRow[];
  readonly commands: readonly { readonly competitor: string; readonly command: string }[];
}

function groups<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const found = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = found.get(key);
    if (group === undefined) found.set(key, [item]);
    else group.push(item);
  }
  return [...found.values()];
}

const column = (rows: readonly Percentiles[]): (Spread | null)[] =>
  [0, 1, 2, 3, 4, 5].map((i) => spreadOf(rows.map((row) => row[i] ?? Number.NaN)));

function latencyRow(point: string, turns: readonly Turn[], index: number): LatencyRow[] {
  const windows = turns.flatMap(({ windows: each }) => each[index] ?? []);
  const [first] = windows;
  if (first === undefined) return [];
  const sum = (field: 'received' | 'lost' | 'duplicated' | 'reordered' | 'corrupt') =>
    windows.reduce((total, window) => total + window[field], 0);
  const whole = windows.filter(({ windows: count }) => count > 0);
  return [
    {
      point,
      competitor: turns[0]?.competitor ?? '',
      mode: turns[0]?.mode ?? '',
      rate: first.rate,
      latency_ns: column(windows.map(({ latency_ns }) => latency_ns)),
      window_ns: whole.length === 0 ? null : column(whole.map(({ window_ns }) => window_ns)),
      inequality: spreadOf(windows.map(inequalityOf)),
      received: sum('received'),
      lost: sum('lost'),
      duplicated: sum('duplicated'),
      reordered: sum('reordered'),
      corrupt: sum('corrupt'),
      output: spreadOf(windows.map(({ output }) => output)),
      isSourceLimited: windows.some(({ sourceLimited }) => sourceLimited),
      stolen: spreadOf(windows.map(({ stolen_ns, sent, rate }) => (stolen_ns / 1e6 / sent) * rate)),
    },
  ];
}

function limitRow(point: string, turns: readonly Turn[]): LimitRow[] {
  const limits = turns.flatMap(({ limit }) => limit ?? []);
  if (limits.length === 0 && turns.every(({ trials }) => trials.length === 0)) return [];
  const [, subscribers, size] = /^s(\d+)-b(\d+)$/.exec(point) ?? [];
  return [
    {
      point,
      subscribers: Number(subscribers),
      size: Number(size),
      competitor: turns[0]?.competitor ?? '',
      mode: turns[0]?.mode ?? '',
      rate: spreadOf(limits.map(({ rate }) => rate)),
      output: spreadOf(limits.map(({ output }) => output)),
      isLowerBound: limits.some(({ isLowerBound }) => isLowerBound),
    },
  ];
}

export function summaryOf(run: Run): Summary {
  const byCompetitor = groups(run.turns, ({ point, competitor }) => `${point} ${competitor}`);
  const latency = byCompetitor.flatMap((turns) => {
    const rates = turns[0]?.windows ?? [];
    return rates.flatMap((_, index) => latencyRow(turns[0]?.point ?? '', turns, index));
  });
  const specials = groups(run.specials, ({ special }) => special).map((results): SpecialRow => {
    const names = [...new Set(results.flatMap(({ values }) => Object.keys(values)))];
    const values = names.map((name) => [
      name,
      spreadOf(results.map((each) => each.values[name] ?? 0)),
    ]);
    const { special = '', title = '', command = '', mode = '' } = results[0] ?? {};
    return { special, title, command, mode, values: Object.fromEntries(values) };
  });
  return {
    latency,
    limits: byCompetitor.flatMap((turns) => limitRow(turns[0]?.point ?? '', turns)),
    specials,
    targets: targetsOf(run),
    commands: groups(run.turns, ({ competitor }) => competitor).map((turns) => ({
      competitor: turns[0]?.competitor ?? '',
      command: turns[0]?.command ?? '',
    })),
  };
}
