/**
 * What one member of a group takes for its copies: given by whoever plans, or read from the results
 * of `npm run bench`. Nothing is assumed: a figure that nobody has given is asked for.
 */
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { Failure, messageOf, UsageError } from '../domain/errors.js';

export interface Figures {
  /** From a packet's sending to its first copy's arrival; what links add is `hop_us`. */
  readonly first_copy_us: number;
  /** From one copy of a packet to the next. */
  readonly copy_us: number;
  /** The most that one member sends without a loss. */
  readonly copies_per_second: number;
  /** p99 over p50 of the time that a packet takes; 1: always the same. */
  readonly jitter_ratio: number;
  /** What each link adds: from the feed, between members, and to the subscriber. */
  readonly hop_us: number;
  /** Of each member's interface; null: no bound. */
  readonly link_gbps: number | null;
}

export type FigureName = keyof Figures;

/** Figures, and where each is from: a flag, a file, or nothing: then it adds and bounds nothing. */
export interface SourcedFigures {
  readonly figures: Figures;
  readonly from: Readonly<Record<FigureName, string>>;
  /** Of the bench; null: none was read. */
  readonly machine: string | null;
}

export interface GivenFigures {
  readonly firstCopyUs?: number;
  readonly copyUs?: number;
  readonly copiesPerSecond?: number;
  readonly jitter?: number;
  readonly hopUs?: number;
  readonly linkGbps?: number;
}

const spread = z.object({ median: z.number() }).nullable();
/** What is read of latest.json; tools/bench/report/summary.ts writes it. */
const benchFile = z.object({
  machine: z.object({ cpu: z.string(), cores: z.number(), kernel: z.string(), commit: z.string() }),
  started: z.string(),
  summary: z.object({
    latency: z.array(
      z.object({
        point: z.string().regex(/^s\d+-b\d+$/),
        competitor: z.string(),
        rate: z.number().positive(),
        /** At p50, p90, p99 and more. */
        latency_ns: z.array(spread),
        /** From a packet's first copy to its last, at the same. */
        window_ns: z.array(spread).nullable(),
        lost: z.number(),
      }),
    ),
    limits: z.array(
      z.object({
        competitor: z.string(),
        subscribers: z.number(),
        size: z.number(),
        output: spread,
      }),
    ),
  }),
});

type BenchFile = z.infer<typeof benchFile>;

/** Those places of `latency_ns` and `window_ns`. */
const P50 = 0;
const P99 = 2;

/** One window of the bench that lost nothing. */
interface Row {
  readonly subscribers: number;
  readonly size_bytes: number;
  readonly rate: number;
  readonly latency_us: number;
  /** 0 of one subscriber. */
  readonly window_us: number;
  readonly window_p99_us: number;
}

type Measured = Partial<Pick<Figures, 'first_copy_us' | 'copy_us' | 'copies_per_second'>> &
  Pick<Figures, 'jitter_ratio'>;

function openBench(path: string): BenchFile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Failure(
      `--bench ${path} cannot be read (${messageOf(error)}); npm run bench writes it`,
    );
  }
  const parsed = benchFile.safeParse(jsonOf(text));
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join('.') ?? '';
  throw new Failure(
    `--bench ${path} holds no results of npm run bench (${where === '' ? 'no such object' : where}); it is bench-results/latest.json`,
  );
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function rowsOf({ summary }: BenchFile, competitor: string): Row[] {
  return summary.latency.flatMap((row) => {
    const [, subscribers, size] = /^s(\d+)-b(\d+)$/.exec(row.point) ?? [];
    const latency = row.latency_ns[P50];
    if (row.competitor !== competitor || row.lost > 0 || !latency) return [];
    return [
      {
        subscribers: Number(subscribers),
        size_bytes: Number(size),
        rate: row.rate,
        latency_us: latency.median / 1000,
        window_us: (row.window_ns?.[P50]?.median ?? 0) / 1000,
        window_p99_us: (row.window_ns?.[P99]?.median ?? 0) / 1000,
      },
    ];
  });
}

/** The measured size that stands for `bytes`: the next from it on, or the largest there is. */
function sizeFor(sizes: readonly number[], bytes: number): number | undefined {
  const sorted = [...new Set(sizes)].sort((a, b) => a - b);
  return sorted.find((size) => size >= bytes) ?? sorted.at(-1);
}

/**
 * From the rows of one competitor:
 *
 *   copy        the longest delivery window over its copies but one, of the size that is nearest
 *   first copy  p50 at the fewest subscribers and the lowest rate, less half of the window there
 *   copies/s    the lowest lossless output of more than one subscriber, of that size
 *   jitter      the middle of the windows' p99 over their p50
 */
function measuredOf(file: BenchFile, competitor: string, bytes: number): Measured {
  const rows = rowsOf(file, competitor);
  const wide = rows.filter(({ subscribers, window_us }) => subscribers > 1 && window_us > 0);
  const size = sizeFor(
    wide.map(({ size_bytes }) => size_bytes),
    bytes,
  );
  const copies = wide
    .filter(({ size_bytes }) => size_bytes === size)
    .map(({ window_us, subscribers }) => window_us / (subscribers - 1));
  const copy_us = copies.length === 0 ? undefined : Math.max(...copies);
  const [narrow] = [...rows].sort((a, b) => a.subscribers - b.subscribers || a.rate - b.rate);
  const first_copy_us =
    narrow === undefined ? undefined : Math.max(0, narrow.latency_us - narrow.window_us / 2);
  const limits = file.summary.limits.filter(
    (row) => row.competitor === competitor && row.subscribers > 1 && row.output !== null,
  );
  const limitSize = sizeFor(
    limits.map((row) => row.size),
    bytes,
  );
  const outputs = limits
    .filter((row) => row.size === limitSize)
    .flatMap(({ output }) => output?.median ?? []);
  const copies_per_second = outputs.length === 0 ? undefined : Math.min(...outputs);
  const ratios = wide
    .map(({ window_us, window_p99_us }) => window_p99_us / window_us)
    .sort((a, b) => a - b);
  return {
    ...(first_copy_us === undefined ? {} : { first_copy_us }),
    ...(copy_us === undefined ? {} : { copy_us }),
    ...(copies_per_second === undefined ? {} : { copies_per_second }),
    jitter_ratio: Math.max(1, ratios[ratios.length >> 1] ?? 1),
  };
}

const WHAT_TO_GIVE =
  'run npm run bench and give --bench bench-results/latest.json, or give --first-copy-us and --copy-us or --copies-per-second';

/** Those that were given, before those of the bench. */
export function figuresOf(
  given: GivenFigures,
  bench: { readonly file: string; readonly competitor: string } | null,
  bytes: number,
): SourcedFigures {
  const file = bench === null ? null : openBench(bench.file);
  const measured =
    file === null || bench === null ? null : measuredOf(file, bench.competitor, bytes);
  if (file !== null && measured?.first_copy_us === undefined)
    throw new Failure(lacking(file, bench));
  const from = (flag: string, value: number | undefined, found: number | undefined) =>
    value !== undefined ? flag : found !== undefined ? 'bench' : 'not given';
  const copy_us = given.copyUs ?? measured?.copy_us;
  const copies = given.copiesPerSecond ?? measured?.copies_per_second;
  const first_copy_us = given.firstCopyUs ?? measured?.first_copy_us;
  if (first_copy_us === undefined || (copy_us === undefined && copies === undefined))
    throw new UsageError(`what a member can do is not known: ${WHAT_TO_GIVE}`);
  const interval_us = copy_us ?? 1e6 / (copies ?? Number.NaN);
  return {
    figures: {
      first_copy_us,
      copy_us: interval_us,
      copies_per_second: copies ?? 1e6 / interval_us,
      jitter_ratio: given.jitter ?? measured?.jitter_ratio ?? 1,
      hop_us: given.hopUs ?? 0,
      link_gbps: given.linkGbps ?? null,
    },
    from: {
      first_copy_us: from('--first-copy-us', given.firstCopyUs, measured?.first_copy_us),
      copy_us:
        copy_us === undefined ? 'copies per second' : from('--copy-us', given.copyUs, copy_us),
      copies_per_second:
        copies === undefined ? 'copy' : from('--copies-per-second', given.copiesPerSecond, copies),
      jitter_ratio: from('--jitter', given.jitter, measured?.jitter_ratio),
      hop_us: from('--hop-us', given.hopUs, undefined),
      link_gbps: from('--link-gbps', given.linkGbps, undefined),
    },
    machine: file === null ? null : machineOf(file),
  };
}

function lacking(
  file: BenchFile,
  bench: { readonly file: string; readonly competitor: string } | null,
) {
  const names = [...new Set(file.summary.latency.map(({ competitor }) => competitor))];
  return `--bench ${bench?.file} has no lossless row of '${bench?.competitor}'; --row takes one of: ${names.join(', ')}`;
}

const machineOf = ({ machine, started }: BenchFile) =>
  `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, ${started.slice(0, 10)}, commit ${machine.commit}`;
