/** Words of `fantail bench` and `market_data_provider_client` → a checked plan. */
import { addressOf, integerOf, numberOf, portOf } from '../cli/arguments.js';
import { UsageError } from '../domain/errors.js';

export const COUNT_MAX = 100_000_000;
/** With --csv two times of every message are kept: 160 MB. */
export const CSV_COUNT_MAX = 10_000_000;
export const WARM_UP_MAX = 10_000_000;
export const RATE_MIN = 0.01;
export const RATE_MAX = 1_000_000;

export interface MeasureWords {
  readonly ip: string;
  readonly port: string;
  readonly localIp: string;
  readonly localPort: string;
  readonly count: string;
  readonly rate: string;
}

export interface MeasureFlags {
  warmUp?: string;
  csv?: string;
  netns?: string;
  json?: boolean;
}

export interface Endpoint {
  readonly ip: string;
  readonly port: number;
}

export interface Plan {
  readonly replicator: Endpoint;
  readonly local: Endpoint;
  readonly count: number;
  /** Messages a second. */
  readonly rate: number;
  readonly warmUp: number;
  readonly csv: string | null;
  readonly netns: string | null;
  readonly asJson: boolean;
}

export function planOf(
  words: MeasureWords,
  { warmUp = '0', csv, netns, json }: MeasureFlags,
): Plan {
  const count = integerOf('count', words.count, { min: 1, max: COUNT_MAX });
  if (csv !== undefined && count > CSV_COUNT_MAX)
    throw new UsageError(
      `--csv keeps every message in memory: count must be at most ${CSV_COUNT_MAX} with it`,
    );
  return {
    replicator: { ip: addressOf('replicator_ip', words.ip), port: portOf('port', words.port) },
    local: {
      ip: addressOf('local_ip', words.localIp),
      port: portOf('local_port', words.localPort),
    },
    count,
    rate: numberOf('rate', words.rate, { min: RATE_MIN, max: RATE_MAX }),
    warmUp: integerOf('--warm-up', warmUp, { min: 0, max: WARM_UP_MAX }),
    csv: csv ?? null,
    netns: netns ?? null,
    asJson: json === true,
  };
}
