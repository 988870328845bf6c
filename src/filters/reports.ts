/**
 * What filters tell in their blocks of state, where each worker's is (struct filter_report). The
 * worker writes while this reads: what was told is whole if its number was not come round to, and
 * what is open if no packet came meanwhile.
 */
import type { Endpoint } from '../domain/endpoint.js';
import { type FilterModule, paramText } from '../domain/filter.js';
import type { GapRow, LineRow, ReportRow, SetRow } from '../domain/statistics.js';
import type { Arena } from '../memory/arena.js';
import { limits, offsetOf } from '../memory/layout.js';
import type { SubscriberSet, SubscriberSets } from '../subscribers/sets.js';

/** Messages that a set of subscribers has missed; by the numbers that they bear. */
export interface Gap {
  readonly from: bigint;
  /** The last of them. */
  readonly to: bigint;
  /** When they were skipped: CLOCK_REALTIME. */
  readonly receive_ns: bigint;
  readonly set: bigint;
}

export interface ReportsParts {
  readonly arena: Pick<Arena, 'u64' | 'filterState' | 'workers' | 'buffer' | 'view'>;
  readonly sets: Pick<SubscriberSets, 'find'>;
  /** The name of the feed that is sent there; null: there is none. */
  readonly feedAt: (endpoint: Endpoint) => string | null;
}

const GAPS_KEPT = BigInt(limits.REPORT_GAPS);
const field = (name: string) => offsetOf('filter_report', name);

export class Reports {
  constructor(private readonly parts: ReportsParts) {}

  /** How many gaps were ever told there; null: the block is not this module's yet, or none. */
  gapCount(module: FilterModule, worker: number): bigint | null {
    return this.wordOf(module, worker, 'gap_count');
  }

  /** How many packets it has decided; null likewise. */
  packets(module: FilterModule, worker: number): bigint | null {
    return this.wordOf(module, worker, 'packets');
  }

  private wordOf(module: FilterModule, worker: number, name: string): bigint | null {
    const start = this.startOf(module, worker);
    return start === null ? null : this.parts.arena.u64(start + field(name));
  }

  /** Those from that number on; only the last ones where more have come than are kept. */
  gapsSince(module: FilterModule, worker: number, since: bigint): { count: bigint; gaps: Gap[] } {
    const { arena } = this.parts;
    const start = this.startOf(module, worker);
    const count = start === null ? 0n : arena.u64(start + field('gap_count'));
    if (start === null || count <= since) return { count: since, gaps: [] };
    const oldest = count - GAPS_KEPT;
    const read: { index: bigint; gap: Gap }[] = [];
    for (let index = since > oldest ? since : oldest; index < count; index++)
      read.push({ index, gap: this.gapAt(start, index) });
    // the next entry is written before it is counted: it may be the oldest's place by now
    const kept = arena.u64(start + field('gap_count')) - GAPS_KEPT;
    const isStill = this.startOf(module, worker) === start;
    const gaps = isStill ? read.filter(({ index }) => index > kept).map(({ gap }) => gap) : [];
    return { count, gaps };
  }

  private gapAt(start: number, index: bigint): Gap {
    const place = Number(index % GAPS_KEPT) * limits.REPORT_GAP_SIZE;
    const entry = start + field('gap') + place;
    const word = (name: string) => this.parts.arena.u64(entry + offsetOf('report_gap', name));
    const [from, to] = [word('from'), word('to')];
    return { from, to, receive_ns: word('receive_ns'), set: word('set') };
  }

  /** Gaps that are open and not told yet, of a filter that no packet comes for meanwhile. */
  openGaps(module: FilterModule, worker: number): Gap[] {
    const { arena } = this.parts;
    const start = this.startOf(module, worker);
    if (start === null) return [];
    const gaps: Gap[] = [];
    for (let i = 0; i < limits.REPORT_OPEN; i++) {
      const entry = start + field('open') + i * limits.REPORT_OPEN_SIZE;
      const word = (name: string) => arena.u64(entry + offsetOf('report_open', name));
      const [from, end, receive_ns] = [word('from'), word('end'), word('receive_ns')];
      if (from === end || receive_ns === 0n) continue;
      const index = arena.view.getUint32(entry + offsetOf('report_open', 'set'), true);
      const set = this.setAt(start, index);
      if (set === null) continue;
      const shown = (count: bigint) => BigInt.asUintN(set.bits, count);
      gaps.push({ from: shown(from), to: shown(end - 1n), receive_ns, set: set.number });
    }
    return gaps;
  }

  /** The entry of a set; null: there is none. A filter may write what it likes. */
  private setAt(start: number, index: number) {
    if (index >= limits.REPORT_SETS) return null;
    const { arena } = this.parts;
    const entry = start + field('set') + index * limits.REPORT_SET_SIZE;
    const at = (name: string) => entry + offsetOf('report_set', name);
    if (arena.u64(at('used')) === 0n) return null;
    return {
      number: arena.u64(at('set')),
      gaps: Number(arena.u64(at('gaps'))),
      missing: Number(arena.u64(at('missing'))),
      bits: Math.min(arena.view.getUint32(at('bits'), true), 64),
    };
  }

  /** For `stats`; nothing of a module that does not report. */
  row(module: FilterModule): { report?: ReportRow } {
    if (module.report === null) return {};
    const counts = { gaps: 0, missing: 0, too_short: 0, no_room: 0 };
    const sets: SetRow[] = [];
    for (let worker = 0; worker < this.parts.arena.workers; worker++) {
      const start = this.startOf(module, worker);
      if (start === null) continue;
      const word = (name: string) => Number(this.parts.arena.u64(start + field(name)));
      counts.gaps += word('gap_count');
      counts.missing += word('missing');
      counts.too_short += word('too_short');
      counts.no_room += word('no_room');
      const { gaps } = this.gapsSince(module, worker, 0n);
      for (let index = 0; index < limits.REPORT_SETS; index++) {
        const row = this.setRow(start, index, gaps);
        if (row !== null) sets.push(row);
      }
    }
    return { report: { ...counts, sets } };
  }

  /** Of a set that somebody is in. */
  private setRow(start: number, index: number, gaps: readonly Gap[]): SetRow | null {
    const told = this.setAt(start, index);
    const set = told === null ? undefined : this.parts.sets.find(told.number);
    if (told === null || set === undefined || set.subscribers === 0) return null;
    return {
      ...setWords(set),
      gaps: told.gaps,
      missing: told.missing,
      last_gaps: gaps.filter((gap) => gap.set === set.number).map(gapRow),
      lines: this.lineRows(start, index),
    };
  }

  private lineRows(start: number, set: number): LineRow[] {
    const { arena, feedAt } = this.parts;
    const rows: LineRow[] = [];
    for (let i = 0; i < limits.REPORT_LINES; i++) {
      const entry = start + field('line') + i * limits.REPORT_LINE_SIZE;
      const at = (name: string) => entry + offsetOf('report_line', name);
      const count = (name: string) => Number(arena.u64(at(name)));
      if (count('used') === 0 || arena.view.getUint16(at('set'), true) !== set) continue;
      const ip = new Uint8Array(arena.buffer, at('ip'), 4).join('.');
      const port = arena.view.getUint16(at('port'));
      const leads = count('leads');
      const mean = leads === 0 ? 0 : Math.round(count('lead_sum_ns') / leads);
      rows.push({
        feed: feedAt({ ip, port }),
        ip,
        port,
        won: count('won'),
        late: count('late'),
        lead_ns: { count: leads, mean, max: count('lead_max_ns') },
      });
    }
    return rows;
  }

  /** Where it is in the arena; null: it has none, or the worker has another's state there still. */
  private startOf({ report, block, owner }: FilterModule, worker: number): number | null {
    if (report === null || block === null) return null;
    const { arena } = this.parts;
    const of = (name: 'block' | 'owner') => arena.filterState(worker, block, name);
    return arena.u64(of('owner')) === BigInt(owner) ? of('block') + report : null;
  }
}

const setWords = ({ worker, feeds, param, subscribers }: SubscriberSet) => ({
  worker,
  feeds: [...feeds],
  param: paramText(param),
  subscribers,
});

const gapRow = ({ from, to, receive_ns }: Gap): GapRow => ({
  from: Number(from),
  to: Number(to),
  at_ms: Number(receive_ns / 1_000_000n),
});
