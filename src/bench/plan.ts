/** What `fantail bench` and `market_data_provider_client` are asked to do: a checked plan. */
import type { Endpoint } from '../domain/endpoint.js';
import { UsageError } from '../domain/errors.js';

/** What cli/ allows of each number; a rate is in messages a second. */
export const measureRanges = {
  count: { min: 1, max: 100_000_000 },
  rate: { min: 0.01, max: 1_000_000 },
  warmUp: { min: 0, max: 10_000_000 },
} as const;
/** With --csv two times of every message are kept: 160 MB. */
export const CSV_COUNT_MAX = 10_000_000;

/** What is measured, argument by argument. */
export interface Measurement {
  readonly replicator: Endpoint;
  readonly local: Endpoint;
  readonly count: number;
  /** Messages a second. */
  readonly rate: number;
}

export interface MeasureFlags {
  readonly warmUp: number;
  readonly csv?: string;
  readonly netns?: string;
  readonly json?: boolean;
}

export interface Plan extends Measurement {
  readonly warmUp: number;
  readonly csv: string | null;
  readonly netns: string | null;
  readonly asJson: boolean;
}

export function planOf(measurement: Measurement, flags: MeasureFlags): Plan {
  const { warmUp, csv, netns, json } = flags;
  if (csv !== undefined && measurement.count > CSV_COUNT_MAX)
    throw new UsageError(
      `--csv keeps every message in memory: count must be at most ${CSV_COUNT_MAX} with it`,
    );
  return {
    ...measurement,
    warmUp,
    csv: csv ?? null,
    netns: netns ?? null,
    asJson: json === true,
  };
}
