/**
 * What fantail is meant to reach, and whether a run says that it does. Ratios are of turns of the
 * same round, so that a noisy minute hits both sides. Pure.
 */
import type { CompetitorName } from '../runs/competitors.js';
import type { Run } from '../runs/journal.js';
import type { Turn } from '../runs/measure.js';
import { inequalityOf, type Spread, spreadOf } from '../runs/spread.js';

export interface TargetRow {
  readonly name: string;
  readonly target: string;
  readonly found: Spread | null;
  /** Null where it was not measured. */
  readonly met: boolean | null;
  /** It is missed, but not in every round. */
  readonly insideSpread: boolean;
}

interface Goal {
  readonly name: string;
  readonly least?: number;
  readonly most?: number;
  /** A number a round. */
  readonly values: readonly number[];
  readonly unit?: string;
}

type Value = (turn: Turn) => number | undefined;

const STOCK = [
  'keep-source',
  'dscp-ttl',
  'vlan',
  'gre',
  'sample',
  'match',
  'dedupe',
  'stamp',
] as const;
const SLOW = 20_000;
const FAST = 200_000;

const atRate = (turn: Turn, rate: number) => turn.windows.find((window) => window.rate === rate);
/** `place`: 0 is p50, 2 is p99. */
const latency =
  (rate: number, place: number): Value =>
  (turn) =>
    atRate(turn, rate)?.latency_ns[place];
const output: Value = ({ limit }) => limit?.output;
/** From the first copy of a packet to its last, p50. */
const deliveryWindow: Value = (turn) => {
  const window = atRate(turn, SLOW) ?? turn.windows[0];
  return window === undefined || window.windows === 0 ? undefined : window.window_ns[0];
};

/** What a run has to say about each goal. */
class Findings {
  constructor(private readonly run: Run) {}

  goals(): Goal[] {
    return [
      ...this.latency(),
      ...this.fanOut(),
      ...this.inBulk(),
      ...this.byItself(),
      ...this.scale(),
      ...this.inside(),
    ];
  }

  private latency(): Goal[] {
    const pair = ['fantail inline', 'raw AF_XDP bounce'] as const;
    return [SLOW, FAST].flatMap((rate): Goal[] => {
      const name = `1 subscriber, ${rate / 1000}k packets/s: `;
      return [
        {
          name: `${name}p50 / raw bounce`,
          most: 1.1,
          values: this.ratios('s1-b200', pair, latency(rate, 0)),
        },
        {
          name: `${name}p99 / raw bounce`,
          most: 1.5,
          values: this.ratios('s1-b200', pair, latency(rate, 2)),
        },
      ];
    });
  }

  private fanOut(): Goal[] {
    const outputs: readonly (readonly [CompetitorName, number])[] = [
      ['raw AF_XDP transmit', 0.95],
      ['tc clone', 1],
      ['mmsg relay', 2.5],
      ['node relay', 4],
    ];
    const toClone = (value: Value) =>
      this.ratios('s16-b200', ['fantail inline', 'tc clone'], value);
    const slow = this.at('s16-b200', 'fantail inline').flatMap((turn) => atRate(turn, SLOW) ?? []);
    return [
      ...outputs.map(
        ([name, least]): Goal => ({
          name: `16 subscribers: lossless output / ${name}`,
          least,
          values: this.ratios('s16-b200', ['fantail inline', name], output),
        }),
      ),
      { name: '16 subscribers, 20k: p50 / tc clone', most: 1, values: toClone(latency(SLOW, 0)) },
      {
        name: "16 subscribers, 20k: highest subscriber's p50 / lowest",
        most: 1.1,
        values: slow.map(inequalityOf),
      },
      {
        name: '16 subscribers, 20k: delivery window p50 / tc clone',
        most: 1,
        values: toClone(deliveryWindow),
      },
      {
        name: '16 subscribers: lossless output with Wasm / with C++',
        least: 0.97,
        values: this.ratios('s16-b200', ['fantail inline', 'fantail C++ filter'], output),
      },
    ];
  }

  private inBulk(): Goal[] {
    const ratio = (point: string, other: CompetitorName, value: Value) =>
      this.ratios(`${point}-b200`, ['fantail inline bulk', other], value);
    const outputs: readonly (readonly [string, CompetitorName, number])[] = [
      ['16', 'raw AF_XDP transmit', 2.5],
      ['16', 'tc clone', 1.8],
      ['64', 'raw AF_XDP transmit', 4],
      ['64', 'mmsg relay', 8],
      ['256', 'raw AF_XDP transmit', 4],
      ['1024', 'raw AF_XDP transmit', 4],
    ];
    const windows: readonly (readonly [string, CompetitorName, number])[] = [
      ['16', 'tc clone', 1],
      ['64', 'tc clone', 1],
      ['1024', 'fantail inline', 0.2],
    ];
    const half = (copies: number) =>
      this.special('transmitting half', `pump_${copies}_p50_us`).map(
        (us, round) =>
          us / (this.special('transmitting half', `ring_${copies}_p50_us`)[round] ?? Number.NaN),
      );
    const limits: readonly (readonly [string, CompetitorName, number])[] = [
      '16',
      '64',
      '256',
      '1024',
    ].map((subscribers) => [subscribers, 'raw bulk relay', 0.85]);
    return [
      ...[...outputs, ...limits].map(
        ([subscribers, name, least]): Goal => ({
          name: `bulk, ${subscribers} subscribers: lossless output / ${name}`,
          least,
          values: ratio(`s${subscribers}`, name, output),
        }),
      ),
      {
        name: 'bulk, 16 subscribers, 20k: p50 / tc clone',
        most: 1.2,
        values: ratio('s16', 'tc clone', latency(SLOW, 0)),
      },
      ...windows.map(
        ([subscribers, name, most]): Goal => ({
          name: `bulk, ${subscribers} subscribers: delivery window p50 / ${name}`,
          most,
          values: ratio(`s${subscribers}`, name, deliveryWindow),
        }),
      ),
      { name: 'transmitting half, 1 copy: pump p50 / AF_XDP socket', most: 1, values: half(1) },
      {
        name: 'transmitting half, 16 copies: pump p50 / AF_XDP socket',
        most: 0.4,
        values: half(16),
      },
    ];
  }

  /** `--transmit auto`, against the better of both ways in the same round. */
  private byItself(): Goal[] {
    return [1, 16, 64, 256, 1024].map((subscribers): Goal => {
      const point = `s${subscribers}-b200`;
      const to = (name: CompetitorName) =>
        this.ratios(point, ['fantail inline auto', name], output);
      const bulk = to('fantail inline bulk');
      return {
        name: `auto, ${subscribers} subscribers: lossless output / the better of ring and bulk`,
        least: 0.95,
        values: to('fantail inline').map((ring, round) => Math.min(ring, bulk[round] ?? ring)),
      };
    });
  }

  private scale(): Goal[] {
    const few = this.at('s16-b200', 'fantail inline');
    const best = spreadOf(few.flatMap(({ limit }) => limit?.output ?? []))?.median ?? Number.NaN;
    const costs = this.at('s1024-b200', 'fantail inline').flatMap(({ round, limit }) => {
      const other = few.find((turn) => turn.round === round)?.limit;
      return limit === null || other === null || other === undefined
        ? []
        : [other.output / limit.output];
    });
    const overload = 'overload fantail inline';
    const copies = this.special(overload, 'unexplained_copies');
    return [
      {
        name: '2 workers on 2 queues: output / 1 worker',
        least: 1.6,
        values: this.special('workers', 'ratio'),
      },
      { name: '1024 subscribers: cost a copy / at 16', most: 1.1, values: costs },
      {
        name: 'overload, 16 subscribers: output / best lossless',
        least: 0.9,
        values: this.special(overload, 'output_cps').map((value) => value / best),
      },
      {
        name: 'overload: lossless again after',
        most: 100,
        unit: ' ms',
        values: this.special(overload, 'recovery_ms'),
      },
      {
        name: 'overload: packets and copies that no counter explains',
        most: 0,
        values: this.special(overload, 'unexplained_packets').map(
          (count, round) => Math.abs(count) + (copies[round] ?? 0),
        ),
      },
    ];
  }

  private inside(): Goal[] {
    const quiet = (rate: string, name: string) => this.special(`undisturbed ${rate}`, name);
    const changes = this.special('feed changes', 'changes');
    const percent = (layout: string) => this.special(`idle fantail ${layout}`, 'cpu_percent');
    return [
      {
        name: 'filter: a packet in bursts',
        most: 10,
        unit: ' ns',
        values: this.special('filter', 'wasm_ns'),
      },
      ...STOCK.map(
        (name): Goal => ({
          name: `filter ${name}: a packet in bursts`,
          most: 25,
          unit: ' ns',
          values: this.special('filter', `${name.replace('-', '_')}_ns`),
        }),
      ),
      {
        name: '16 subscribers on 8 filters: output / all on one',
        least: 0.9,
        values: this.special('filters', 'ratio'),
      },
      ...['20k', '200k'].flatMap((rate): Goal[] => [
        {
          name: `1 subscriber, ${rate} packets/s, quietest windows: p50 / raw bounce`,
          most: 1.1,
          values: quiet(rate, 'p50_ratio'),
        },
        {
          name: `1 subscriber, ${rate} packets/s, quietest windows: p99 / raw bounce`,
          most: 1.5,
          values: quiet(rate, 'p99_ratio'),
        },
      ]),
      {
        name: 'inside, 1 subscriber, 20k, quietest windows: p50',
        most: 300,
        unit: ' ns',
        values: quiet('20k', 'inside_p50_ns'),
      },
      {
        name: 'inside, 1 subscriber, 20k, quietest windows: p99.9',
        most: 1000,
        unit: ' ns',
        values: quiet('20k', 'inside_p999_ns'),
      },
      {
        name: '64 feeds of 16, the busiest: p50 / that feed alone',
        most: 1.05,
        values: this.special('feeds', 'p50_ratio'),
      },
      {
        name: '64 feeds of 16, the busiest: output / that feed alone',
        least: 0.95,
        values: this.special('feeds', 'output_ratio'),
      },
      {
        name: 'another feed added and removed 100 times under 100k packets/s: lost',
        most: 0,
        // that nothing was lost in a round that was too short for all of them says nothing
        values: this.special('feed changes', 'lost').filter(
          (lost, round) => lost > 0 || (changes[round] ?? 0) >= 100,
        ),
      },
      {
        name: '1 subscriber, 20k, a flood of orders: p99 / beside as much CPU time',
        most: 1.2,
        values: this.special('control flood', 'p99_ratio'),
      },
      { name: 'idle, inline: share of a core', most: 1, unit: ' %', values: percent('inline') },
      { name: 'idle, split: share of a core', most: 1, unit: ' %', values: percent('split') },
      {
        name: 'RX process beside the arena, split',
        most: 8,
        unit: ' MiB',
        values: this.special('memory fantail split', 'rx_mib'),
      },
      {
        name: 'growth beside the arena, 100k packets/s (--soak: ten minutes)',
        most: 1,
        unit: ' MiB',
        values: this.special('memory fantail inline', 'growth_mib'),
      },
    ];
  }

  private at(point: string, competitor: CompetitorName): Turn[] {
    return this.run.turns.filter((turn) => turn.point === point && turn.competitor === competitor);
  }

  private special(id: string, name: string): number[] {
    const results = this.run.specials.filter(({ special }) => special === id);
    return results.map(({ values }) => values[name] ?? Number.NaN);
  }

  /** What two competitors' turns of the same round give, the first over the second. */
  private ratios(
    point: string,
    [ours, theirs]: readonly [CompetitorName, CompetitorName],
    value: Value,
  ): number[] {
    return this.at(point, ours).flatMap((mine) => {
      const other = this.at(point, theirs).find(({ round }) => round === mine.round);
      const [a, b] = [value(mine), other === undefined ? undefined : value(other)];
      return a === undefined || b === undefined || b === 0 ? [] : [a / b];
    });
  }
}

function judge({ name, least, most, values, unit = '' }: Goal): TargetRow {
  const found = spreadOf(values);
  const isGood = (value: number) => value >= (least ?? -Infinity) && value <= (most ?? Infinity);
  const met = found === null ? null : isGood(found.median);
  return {
    name,
    target: least === undefined ? `≤ ${most}${unit}` : `≥ ${least}${unit}`,
    found,
    met,
    insideSpread: met === false && values.some(isGood),
  };
}

export function targetsOf(run: Run): TargetRow[] {
  return new Findings(run).goals().map(judge);
}
