/**
 * What a filter tells of messages that are missing and of the lines that bring them: it lies in the
 * state block, where the supervisor reads it (docs/filter-abi.md), and is committed with the burst.
 *
 *   export function fantail_report(): i32 { return <i32>offsetof<Mine>('report'); }
 *
 * Gaps that are added become events on the control channel, a few times a second; more than
 * REPORT_GAPS of them between two looks are counted there and not told one by one. Those that are
 * open become events, too, where packets stop before the filter has told them. Sets and lines show
 * in `stats`. What a table has no place for is the filter's to decide, and to count in no_room.
 */
import {
  FILTER_REPORT_GAP,
  FILTER_REPORT_LINE,
  FILTER_REPORT_OPEN,
  FILTER_REPORT_SET,
  REPORT_GAPS,
  REPORT_GAP_SIZE,
  REPORT_LINES,
  REPORT_LINE_SIZE,
  REPORT_LINE_USED,
  REPORT_OPEN,
  REPORT_OPEN_SIZE,
  REPORT_SETS,
  REPORT_SET_SIZE,
  REPORT_SIZE,
} from './layout';

@unmanaged
export class GapReport {
  from: u64;
  /** Inclusive. */
  to: u64;
  receive_ns: u64;
  set: u64;
}

/** Messages [from, end) that have not come yet. */
@unmanaged
export class OpenGap {
  from: u64;
  end: u64;
  /** Of the packet that skipped them; 0: they are not to be told, or were. */
  receive_ns: u64;
  /** Index of their SetReport. */
  set: u32;
  own: u32;

  @inline get is_free(): bool {
    return this.from == this.end;
  }

  @inline free(): void {
    this.from = 0;
    this.end = 0;
    this.receive_ns = 0;
  }
}

@unmanaged
export class SetReport {
  /** As the records of its subscribers say. */
  set: u64;
  gaps: u64;
  missing: u64;
  used: u64;
  bits: u32;
  private unused: u32;
}

@unmanaged
export class Line {
  ip: u32;
  port: u16;
  set: u16;
  won: u64;
  late: u64;
  leads: u64;
  lead_sum_ns: u64;
  lead_max_ns: u64;
  used: u64;

  @inline led(by_ns: u64): void {
    this.leads++;
    this.lead_sum_ns += by_ns;
    this.lead_max_ns = max(this.lead_max_ns, by_ns);
  }

  begin(set: u32, ip: u32, port: u16): void {
    this.set = <u16>set;
    this.ip = ip;
    this.port = port;
    this.won = 0;
    this.late = 0;
    this.leads = 0;
    this.lead_sum_ns = 0;
    this.lead_max_ns = 0;
  }
}

@unmanaged
export class Report {
  gap_count: u64;
  missing: u64;
  packets: u64;
  too_short: u64;
  no_room: u64;
  // GapReport [REPORT_GAPS], OpenGap [REPORT_OPEN], SetReport [REPORT_SETS], Line [REPORT_LINES]

  @inline private at(table: usize, index: u32, size: u32): usize {
    return changetype<usize>(this) + table + <usize>(index * size);
  }

  @inline open(index: u32): OpenGap {
    return changetype<OpenGap>(this.at(FILTER_REPORT_OPEN, index, REPORT_OPEN_SIZE));
  }

  @inline set(index: u32): SetReport {
    return changetype<SetReport>(this.at(FILTER_REPORT_SET, index, REPORT_SET_SIZE));
  }

  @inline line(index: u32): Line {
    return changetype<Line>(this.at(FILTER_REPORT_LINE, index, REPORT_LINE_SIZE));
  }

  /** Tells messages [from, end) of a set; the entry stays until REPORT_GAPS more have come. */
  add_gap(set: SetReport, from: u64, end: u64, receive_ns: u64): void {
    const mask: u64 = set.bits < 64 ? ((<u64>1) << <u64>set.bits) - 1 : u64.MAX_VALUE;
    const index = <u32>(this.gap_count % <u64>REPORT_GAPS);
    const gap = changetype<GapReport>(this.at(FILTER_REPORT_GAP, index, REPORT_GAP_SIZE));
    gap.from = from & mask;
    gap.to = (end - 1) & mask;
    gap.receive_ns = receive_ns;
    gap.set = set.set;
    this.missing += end - from;
    set.gaps++;
    set.missing += end - from;
    this.gap_count++; // last: whoever reads beside takes it for whole then
  }

  /** The index of that set; REPORT_SETS: it has no place. */
  find_set(set: u64): u32 {
    let index: u32 = 0;
    for (; index < REPORT_SETS; index++) {
      const each = this.set(index);
      if (each.set == set && each.used != 0) break;
    }
    return index;
  }

  /** The index of that line of a set; REPORT_LINES: it has no place. */
  @inline find_line(set: u32, ip: u32, port: u16): u32 {
    let index: u32 = 0;
    for (; index < REPORT_LINES; index++) {
      const line = this.line(index);
      if (line.ip == ip && line.port == port && <u32>line.set == set && line.used != 0) break;
    }
    return index;
  }
}

/** What these classes say is what layout.ts says. */
@inline
export function is_report_layout(): bool {
  return (
    offsetof<GapReport>() == <usize>REPORT_GAP_SIZE &&
    offsetof<OpenGap>() == <usize>REPORT_OPEN_SIZE &&
    offsetof<SetReport>() == <usize>REPORT_SET_SIZE &&
    offsetof<Line>() == <usize>REPORT_LINE_SIZE &&
    offsetof<Line>('used') == REPORT_LINE_USED &&
    offsetof<Report>() == FILTER_REPORT_GAP &&
    FILTER_REPORT_LINE + <usize>(REPORT_LINES * REPORT_LINE_SIZE) == <usize>REPORT_SIZE
  );
}
