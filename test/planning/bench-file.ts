/** What a plan reads of the latest.json of `npm run bench`: figures that are worked out by hand. */
import type { LatencyRow, LimitRow } from '../../tools/bench/report/summary.js';

const spread = (median: number) => ({ median, min: median, max: median, rounds: 1 });

/** Times in µs. */
function latencyRow(point: string, rate: number, p50: number, window: [number, number] | null) {
  const column = (first: number, third: number) =>
    [first, first, third, third, third, third].map((us) => spread(us * 1000));
  const row: LatencyRow = {
    point,
    competitor: 'fantail inline',
    mode: 'copy',
    rate,
    latency_ns: column(p50, 100 * p50),
    window_ns: window === null ? null : column(...window),
    inequality: null,
    received: 1,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    corrupt: 0,
    output: null,
    isSourceLimited: false,
    stolen: null,
  };
  return row;
}

const limitRow = (subscribers: number, size: number, output: number | null): LimitRow => ({
  point: `s${subscribers}-b${size}`,
  subscribers,
  size,
  competitor: 'fantail inline',
  mode: 'copy',
  rate: null,
  output: output === null ? null : spread(output),
  isLowerBound: false,
});

/** Of one machine, with one row that lost something and one that is not of fantail. */
export const bench = {
  machine: { cpu: 'EPYC', cores: 2, kernel: '6.18', commit: 'abc1234' },
  started: '2026-11-27T20:08:50.799Z',
  summary: {
    latency: [
      latencyRow('s1-b200', 20_000, 4, null),
      latencyRow('s1-b200', 200_000, 9, null),
      latencyRow('s16-b200', 20_000, 14, [15, 18]), // 1 µs a copy
      latencyRow('s64-b200', 5000, 14, [126, 126 * 1.1]), // 2 µs
      latencyRow('s16-b1400', 20_000, 14, [45, 54]), // 3 µs
      { ...latencyRow('s1024-b200', 312, 1, [9000, 9000]), lost: 1 },
      { ...latencyRow('s1-b200', 1, 1, null), competitor: 'tc clone' },
    ],
    limits: [
      limitRow(1, 200, 100_000),
      limitRow(16, 200, 650_000),
      limitRow(64, 200, 480_000),
      limitRow(256, 200, null),
      limitRow(16, 1400, 300_000),
    ],
  },
};
