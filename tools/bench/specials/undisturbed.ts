/**
 * Latency while hardly anything takes the cores away: many short windows, of which the quietest
 * quarter counts.
 *
 * How that is told apart: both source and what is measured spin and never sleep. The source adds up
 * the turns of its loop that took over 10 µs; of the other, its own CPU clock must advance as the
 * wall clock does (the kernel leaves out what the hypervisor gave to others, and what other tasks
 * ran). Windows are ranked by the sum of both, so they are chosen by what happened to the cores,
 * never by their latencies.
 */
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { Arena, percentile } from '../../../src/memory/arena.js';
import { type CompetitorName, competitorOf } from '../runs/competitors.js';
import { type Field, measureWindow, type Window } from '../runs/measure.js';
import type { Sizes } from '../runs/plan.js';
import { SIZE, type Special } from '../runs/special.js';
import { spreadOf } from '../runs/spread.js';

/** Of the windows, the share that counts. */
const QUIETEST = 0.25;

interface Quiet {
  readonly command: string;
  readonly mode: string;
  readonly windows: readonly Window[];
  /** Counts by bucket of fantail's own latency in those windows. */
  readonly inside: readonly number[];
}

interface Sample {
  readonly window: Window;
  readonly inside: readonly number[];
}

const lostNs = ({ window }: Sample) => window.stolen_ns + window.taken_ns;

/** The shared memory of a running worker, through its own descriptor. */
function arenaOf(pid: number): Arena {
  const folder = `/proc/${pid}/fd`;
  const isArena = (fd: string) => readlinkSync(`${folder}/${fd}`).startsWith('/memfd:fantail');
  const fd = readdirSync(folder).find(isArena);
  if (fd === undefined) throw new Error(`process ${pid} has no arena`);
  const own = openSync(`${folder}/${fd}`, 'r+');
  try {
    return new Arena(own);
  } finally {
    closeSync(own); // the mapping stays
  }
}

async function quietWindows(
  field: Field,
  name: CompetitorName,
  rate: number,
  sizes: Sizes,
): Promise<Quiet> {
  const { world, engine } = field;
  const contender = await competitorOf(name).start({ world, subscribers: 1, size: SIZE });
  try {
    const worker = (await contender.stats())?.workers[0]?.pid;
    const arena = worker === undefined ? null : arenaOf(worker);
    const histogram = () => arena?.histogram(0, 'inside_ns') ?? [];
    const watch = worker ?? contender.pids()[0] ?? 0;
    const base = { subscribers: 1, size: SIZE, queues: world.queues, rate, detail: false, watch };
    await measureWindow(engine, { ...base, ms: sizes.warmUpMs });
    const samples: Sample[] = [];
    for (let i = 0; i < sizes.quietWindows; i++) {
      const before = histogram();
      const window = await measureWindow(engine, { ...base, ms: sizes.quietMs });
      samples.push({
        window,
        inside: histogram().map((count, bucket) => count - (before[bucket] ?? 0)),
      });
    }
    samples.sort((a, b) => lostNs(a) - lostNs(b));
    const quiet = samples.slice(0, Math.max(1, Math.round(samples.length * QUIETEST)));
    const inside = histogram().map((_, bucket) =>
      sum(quiet.map((sample) => sample.inside[bucket] ?? 0)),
    );
    const { command, mode } = contender;
    return { command, mode, windows: quiet.map(({ window }) => window), inside };
  } finally {
    await contender.stop();
  }
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

const middle = (windows: readonly Window[], place: number) =>
  spreadOf(windows.map(({ latency_ns }) => latency_ns[place] ?? Number.NaN))?.median ?? Number.NaN;

/** What the loudest of those windows still lost of its cores, µs. */
const lostUs = ({ windows }: Quiet) =>
  Math.max(...windows.map(({ stolen_ns, taken_ns }) => stolen_ns + taken_ns)) / 1000;

const undisturbed = (rate: number): Special => ({
  id: `undisturbed ${rate / 1000}k`,
  title: `1 subscriber, ${rate / 1000}k packets/s, the quietest quarter of many short windows`,
  rounds: 5,
  async run(field, sizes) {
    const raw = await quietWindows(field, 'raw AF_XDP bounce', rate, sizes);
    const ours = await quietWindows(field, 'fantail inline', rate, sizes);
    const [p50, p99] = [middle(ours.windows, 0), middle(ours.windows, 2)];
    const [raw_p50, raw_p99] = [middle(raw.windows, 0), middle(raw.windows, 2)];
    return {
      command: ours.command,
      mode: ours.mode,
      values: {
        lost_us: lostUs(ours),
        raw_lost_us: lostUs(raw),
        p50_ns: p50,
        p99_ns: p99,
        raw_p50_ns: raw_p50,
        raw_p99_ns: raw_p99,
        p50_ratio: p50 / raw_p50,
        p99_ratio: p99 / raw_p99,
        inside_p50_ns: percentile(ours.inside, 0.5),
        inside_p99_ns: percentile(ours.inside, 0.99),
        inside_p999_ns: percentile(ours.inside, 0.999),
      },
    };
  },
});

export const undisturbedSpecials = [undisturbed(20_000), undisturbed(200_000)];
