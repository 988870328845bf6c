/**
 * One turn: a competitor is started, measured at every rate of a point, driven to its limit, and
 * stopped.
 */
import { readFileSync } from 'node:fs';
import { transmitFor } from './competitors.js';
import type { Competitor, Contender, Setup } from './contender.js';
import type { Collected, Engine, Percentiles, Sent } from './engine.js';
import type { Point, Sizes } from './plan.js';
import { searchLossless, type Trial } from './search.js';
import { setMtu, type World } from './world.js';

const QUIET_MS = 60;
const LIMIT_MS = 4000;
/** Fewer say nothing of a latency. */
const PACKETS_MIN = 40;
/** A source that is later than this at the end has not kept its rate. */
const KEPT = 1.03;
/**
 * What may still be under way when the source has ended, of a window's length, or in ms if that is
 * more.
 */
const DRAIN_SHARE = 0.03;
const DRAIN_MS = 5;
/** Output that a first search starts from, copies a second, shared out over the subscribers. */
const OUTPUT_GUESS = 300_000;
/**
 * The same of raw transmit, which has but one try: more than this only makes its window shorter.
 */
const TRANSMIT_GUESS = 1_000_000;
const INPUT_GUESS = 100_000;

/** A stretch of packets at one rate and what came of them. */
export interface Window extends Collected, Trial {
  readonly rate: number;
  readonly sent: number;
  /** Copies a second, from the first packet's time to the last copy. */
  readonly output: number;
  /** Between the source's end and the last copy. */
  readonly drain_ms: number;
  readonly late_ns: Percentiles;
  readonly stolen_ns: number;
  /** Time that the watched process did not have its core for. */
  readonly taken_ns: number;
  /** Time that the hypervisor gave to others, ns, over all cores. */
  readonly steal_ns: number;
}

/** The highest lossless rate. */
export interface Limit {
  /** Packets a second in, and copies a second out. */
  readonly rate: number;
  readonly output: number;
  readonly isLowerBound: boolean;
}

export interface Turn {
  readonly point: string;
  readonly competitor: string;
  readonly round: number;
  readonly command: string;
  readonly mode: string;
  /** At the point's rates; each with all its subscribers. */
  readonly windows: readonly Window[];
  /** Without subscribers: what the search tried. */
  readonly trials: readonly Window[];
  readonly limit: Limit | null;
}

export interface Field {
  readonly world: World;
  readonly engine: Engine;
  readonly seed: number;
}

/** CPU time of the whole machine that went to other guests, ns. */
function stealNs(): number {
  const words = /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]?.split(' ') ?? [];
  return Number(words[7] ?? 0) * 1e7; // USER_HZ is 100
}

export interface WindowOptions {
  readonly subscribers: number;
  readonly size: number;
  readonly queues: number;
  readonly rate: number;
  readonly ms: number;
  readonly detail: boolean;
  /** See Engine.send(). */
  readonly watch?: number;
}

export async function measureWindow(engine: Engine, options: WindowOptions): Promise<Window> {
  const { subscribers, size, queues, rate, ms, detail, watch } = options;
  const count = Math.max(PACKETS_MIN, Math.ceil((rate * ms) / 1000));
  const steal = stealNs();
  await engine.begin(subscribers, size, queues);
  const sent = await engine.send(rate, count, watch);
  const collected = await engine.collect({
    expect: count,
    quietMs: QUIET_MS,
    limitMs: LIMIT_MS,
    detail,
  });
  return windowOf(rate, sent, collected, stealNs() - steal);
}

/** Pure: what the numbers of source and sink say together. */
export function windowOf(rate: number, sent: Sent, seen: Collected, steal_ns: number): Window {
  const length_ns = sent.end_ns - sent.start_ns;
  const nominal_ns = (sent.sent / rate) * 1e9;
  const drain_ms = Math.max(0, seen.last_ns - sent.end_ns) / 1e6;
  const spoilt =
    seen.lost + seen.duplicated + seen.reordered + seen.corrupt + seen.malformed + seen.unexpected;
  const sourceLimited = length_ns > nominal_ns * KEPT + 1e6;
  // What queues up and comes later was not carried at this rate: it would have been lost had it
  // gone on.
  const keptUp = drain_ms <= Math.max(DRAIN_MS, (DRAIN_SHARE * length_ns) / 1e6);
  return {
    ...seen,
    rate,
    sent: sent.sent,
    lossless: spoilt === 0 && keptUp && !sourceLimited,
    sourceLimited,
    output: seen.last_ns === 0 ? 0 : seen.received / ((seen.last_ns - sent.start_ns) / 1e9),
    drain_ms,
    late_ns: sent.late_ns,
    stolen_ns: sent.stolen_ns,
    taken_ns: sent.taken_ns,
    steal_ns,
  };
}

export interface TurnOptions {
  readonly point: Point;
  readonly competitor: Competitor;
  readonly round: number;
  readonly sizes: Sizes;
  /** The limit found in the round before. */
  readonly known: number | null;
}

export async function takeTurn(field: Field, options: TurnOptions): Promise<Turn> {
  const { point, competitor } = options;
  setMtu(field.world, point.size);
  if (competitor.transmits) return transmitTurn(field, options);
  const contender = await competitor.start({
    world: field.world,
    subscribers: point.subscribers,
    size: point.size,
  });
  try {
    return await drive(field, options, contender);
  } finally {
    await contender.stop();
  }
}

async function drive(
  { engine, world }: Field,
  options: TurnOptions,
  contender: Contender,
): Promise<Turn> {
  const { point, competitor, round, sizes, known } = options;
  const { subscribers, size } = point;
  const base = { subscribers, size, queues: world.queues };
  const windows: Window[] = [];
  for (const rate of point.rates) {
    await measureWindow(engine, { ...base, rate, ms: sizes.warmUpMs, detail: false });
    windows.push(await measureWindow(engine, { ...base, rate, ms: sizes.windowMs, detail: true }));
  }
  const trials: Window[] = [];
  let limit: Limit | null = null;
  if (point.search) {
    const { tolerance, searchMin: min, searchMax: max } = sizes;
    const guess = known ?? Math.min(INPUT_GUESS, OUTPUT_GUESS / subscribers);
    const found = await searchLossless(
      { guess, step: known === null ? 1.5 : 1.04, tolerance, min, max, tries: 2 },
      async (rate) => {
        const window = await measureWindow(engine, {
          ...base,
          rate,
          ms: sizes.searchMs,
          detail: false,
        });
        trials.push(window);
        return window;
      },
    );
    if (found.best !== null)
      limit = {
        rate: found.best.rate,
        output: found.best.trial.output,
        isLowerBound: found.isLowerBound,
      };
  }
  const { command, mode } = contender;
  return {
    point: point.id,
    competitor: competitor.name,
    round,
    command,
    mode,
    windows,
    trials,
    limit,
  };
}

/** Raw transmit has no input: it sends for as long as a search window, and all of it must come. */
async function transmitTurn({ engine, world, seed }: Field, options: TurnOptions): Promise<Turn> {
  const { point, competitor, round, sizes, known } = options;
  const { subscribers, size } = point;
  const setup: Setup = { world, subscribers, size };
  const rate = known ?? TRANSMIT_GUESS / subscribers;
  const count = Math.max(PACKETS_MIN, Math.ceil((rate * sizes.searchMs) / 1000));
  const { seen, output, command } = await transmitFor(engine, setup, { count, seed });
  const isWhole =
    seen.lost + seen.duplicated + seen.reordered + seen.corrupt + seen.malformed === 0;
  return {
    point: point.id,
    competitor: competitor.name,
    round,
    command,
    mode: 'copy',
    windows: [],
    trials: [],
    limit: isWhole ? { rate: output / subscribers, output, isLowerBound: false } : null,
  };
}
