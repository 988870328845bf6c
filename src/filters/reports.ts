/**
 * What filters tell in their blocks of state, where each worker's is (struct filter_report). The
 * worker writes while this reads: its entries are whole if their number was not come round to.
 */
import type { FilterModule } from '../domain/filter.js';
import type { GapsRow, LineRow } from '../domain/statistics.js';
import type { Arena } from '../memory/arena.js';
import { limits, offsetOf } from '../memory/layout.js';

/** Messages that a worker's filter has missed; by the numbers that they bear. */
export interface Gap {
  readonly from: bigint;
  /** The last of them. */
  readonly to: bigint;
  /** When they were skipped: CLOCK_REALTIME. */
  readonly receive_ns: bigint;
  readonly feeds: bigint;
}

/** The names of the feeds whose bits are set. */
export type FeedNames = (feeds: bigint) => string[];

const GAPS_KEPT = BigInt(limits.REPORT_GAPS);
const GAP_COUNT = offsetOf('filter_report', 'gap_count');
const MISSING = offsetOf('filter_report', 'missing');

export class Reports {
  constructor(
    private readonly arena: Pick<Arena, 'u64' | 'filterState' | 'workers' | 'buffer' | 'view'>,
    private readonly namesOf: FeedNames,
  ) {}

  /** How many gaps were ever told there; null: the block is not this module's yet, or none. */
  gapCount(module: FilterModule, worker: number): bigint | null {
    const start = this.startOf(module, worker);
    return start === null ? null : this.arena.u64(start + GAP_COUNT);
  }

  /** Those from that number on; only the last ones where more have come than are kept. */
  gapsSince(module: FilterModule, worker: number, since: bigint): { count: bigint; gaps: Gap[] } {
    const start = this.startOf(module, worker);
    const count = start === null ? 0n : this.arena.u64(start + GAP_COUNT);
    if (start === null || count <= since) return { count: since, gaps: [] };
    const oldest = count - GAPS_KEPT;
    const read: { index: bigint; gap: Gap }[] = [];
    for (let index = since > oldest ? since : oldest; index < count; index++)
      read.push({ index, gap: this.gapAt(start, index) });
    // the next entry is written before it is counted: it may be the oldest's place by now
    const kept = this.arena.u64(start + GAP_COUNT) - GAPS_KEPT;
    const isStill = this.startOf(module, worker) === start;
    const gaps = isStill ? read.filter(({ index }) => index > kept).map(({ gap }) => gap) : [];
    return { count, gaps };
  }

  private gapAt(start: number, index: bigint): Gap {
    const place = Number(index % GAPS_KEPT) * limits.REPORT_GAP_SIZE;
    const entry = start + offsetOf('filter_report', 'gap') + place;
    const word = (field: string) => this.arena.u64(entry + offsetOf('report_gap', field));
    const [from, to] = [word('from'), word('to')];
    return { from, to, receive_ns: word('receive_ns'), feeds: word('feeds') };
  }

  /** For `stats`: a row for each worker; nothing of a module that does not report. */
  rows(module: FilterModule): { gaps?: GapsRow[]; lines?: LineRow[] } {
    if (module.report === null) return {};
    const gaps: GapsRow[] = [];
    const lines: LineRow[] = [];
    for (let worker = 0; worker < this.arena.workers; worker++) {
      const start = this.startOf(module, worker);
      if (start === null) continue;
      const word = (at: number) => Number(this.arena.u64(start + at));
      gaps.push({ worker, told: word(GAP_COUNT), missing: word(MISSING) });
      for (let i = 0; i < limits.REPORT_LINES; i++) {
        const place = offsetOf('filter_report', 'line') + i * limits.REPORT_LINE_SIZE;
        const row = this.lineAt(start + place, worker);
        if (row !== null) lines.push(row);
      }
    }
    return { gaps, lines };
  }

  private lineAt(start: number, worker: number): LineRow | null {
    const at = (field: string) => start + offsetOf('report_line', field);
    const count = (field: string) => Number(this.arena.u64(at(field)));
    if (count('used') === 0) return null;
    const bytes = new Uint8Array(this.arena.buffer, at('ip'), 4);
    const leads = count('leads');
    const mean = leads === 0 ? 0 : Math.round(count('lead_sum_ns') / leads);
    return {
      worker,
      feeds: this.namesOf(this.arena.u64(at('feeds'))),
      ip: bytes.join('.'),
      port: this.arena.view.getUint16(at('port')),
      won: count('won'),
      late: count('late'),
      lead_ns: { count: leads, mean, max: count('lead_max_ns') },
    };
  }

  /** Where it is in the arena; null: it has none, or the worker has another's state there still. */
  private startOf({ report, block, owner }: FilterModule, worker: number): number | null {
    if (report === null || block === null) return null;
    const of = (field: 'block' | 'owner') => this.arena.filterState(worker, block, field);
    return this.arena.u64(of('owner')) === BigInt(owner) ? of('block') + report : null;
  }
}
