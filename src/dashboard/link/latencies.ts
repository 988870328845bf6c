/** How long packets stayed, as workers tell: lately where they say so, else since the start. */
import type { Latency, WorkerRow } from '../../domain/statistics.js';

/** From the first copy of a packet to its last, and what is of about the last second alone. */
interface Newer {
  readonly window_ns?: Latency;
  readonly recent?: {
    readonly inside_ns: Latency;
    readonly kick_ns: Latency;
    readonly window_ns: Latency;
  } | null;
}

export interface Latencies {
  readonly inside: Latency | null;
  readonly kick: Latency | null;
  readonly window: Latency | null;
  /** Of the last second. */
  readonly isRecent: boolean;
}

export function latencyOf(row: WorkerRow & Newer): Latencies {
  const { recent = null } = row;
  return {
    inside: recent?.inside_ns ?? row.inside_ns,
    kick: recent?.kick_ns ?? row.kick_ns,
    window: recent?.window_ns ?? row.window_ns ?? null,
    isRecent: recent !== null,
  };
}

/** Of several workers the slowest: the one whose p99 is the longest. */
export function latenciesOf(workers: readonly WorkerRow[]): Latencies {
  const all = workers.map(latencyOf);
  const slowest = (of: 'inside' | 'kick' | 'window') =>
    all.reduce<Latency | null>((found, each) => {
      const it = each[of];
      return it !== null && it.p99 >= (found?.p99 ?? 0) ? it : found;
    }, null);
  return {
    inside: slowest('inside'),
    kick: slowest('kick'),
    window: slowest('window'),
    isRecent: all.some(({ isRecent }) => isRecent),
  };
}
