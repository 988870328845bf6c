/**
 * What a filter tells of messages that are missing and of the lines that bring them: it lies in the
 * state block, where the supervisor reads it (docs/filter-abi.md), and is committed with the burst.
 *
 *   export function fantail_report(): i32 { return <i32>offsetof<Mine>('report'); }
 *
 * New gaps become events on the control channel, a few times a second; more than REPORT_GAPS of
 * them between two looks are counted there and not told one by one. Lines show in `stats`; there is
 * room for REPORT_LINES, and another one replaces that which was silent for longest.
 */
import {
  FILTER_REPORT_GAP,
  FILTER_REPORT_LINE,
  REPORT_GAPS,
  REPORT_GAP_SIZE,
  REPORT_LINES,
  REPORT_LINE_FEEDS,
  REPORT_LINE_KIND,
  REPORT_LINE_SIZE,
  REPORT_LINE_USED,
  REPORT_SIZE,
} from './layout';

@unmanaged
export class GapReport {
  from: u64;
  /** Inclusive. */
  to: u64;
  receive_ns: u64;
  feeds: u64;
}

@unmanaged
export class Line {
  feeds: u64;
  ip: u32;
  port: u16;
  kind: u16;
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
}

@unmanaged
export class Report {
  gap_count: u64;
  missing: u64;
  // GapReport [REPORT_GAPS], Line [REPORT_LINES]

  /** Where the next one to be told is written; then add_gap(). */
  @inline get next_gap(): GapReport {
    const index = this.gap_count % <u64>REPORT_GAPS;
    const place = FILTER_REPORT_GAP + <usize>index * <usize>REPORT_GAP_SIZE;
    return changetype<GapReport>(changetype<usize>(this) + place);
  }

  /** It is told from now on, and stays until REPORT_GAPS more have come. */
  @inline add_gap(messages: u64): void {
    this.missing += messages;
    this.gap_count++;
  }

  @inline line(index: u32): Line {
    const place = FILTER_REPORT_LINE + <usize>index * <usize>REPORT_LINE_SIZE;
    return changetype<Line>(changetype<usize>(this) + place);
  }

  /** The line of that name; REPORT_LINES: there is none yet. */
  @inline find(feeds: u64, ip: u32, port: u16, kind: u16): u32 {
    let index: u32 = 0;
    for (; index < REPORT_LINES; index++) {
      const line = this.line(index);
      const same = line.ip == ip && line.port == port && line.kind == kind && line.feeds == feeds;
      if (same && line.used != 0) break;
    }
    return index;
  }

  /** Where the next one may be: a place that is free, or that of the line used longest ago. */
  oldest(): u32 {
    let oldest: u32 = 0;
    for (let index: u32 = 1; index < REPORT_LINES; index++) {
      if (this.line(index).used < this.line(oldest).used) oldest = index;
    }
    return oldest;
  }

  begin(index: u32, feeds: u64, ip: u32, port: u16, kind: u16): void {
    const line = this.line(index);
    line.feeds = feeds;
    line.ip = ip;
    line.port = port;
    line.kind = kind;
    line.won = 0;
    line.late = 0;
    line.leads = 0;
    line.lead_sum_ns = 0;
    line.lead_max_ns = 0;
  }
}

/** What these classes say is what layout.ts says. */
@inline
export function is_report_layout(): bool {
  return (
    offsetof<GapReport>() == <usize>REPORT_GAP_SIZE &&
    offsetof<Line>() == <usize>REPORT_LINE_SIZE &&
    offsetof<Line>('feeds') == REPORT_LINE_FEEDS &&
    offsetof<Line>('kind') == REPORT_LINE_KIND &&
    offsetof<Line>('used') == REPORT_LINE_USED &&
    offsetof<Report>() == FILTER_REPORT_GAP &&
    FILTER_REPORT_LINE + <usize>(REPORT_LINES * REPORT_LINE_SIZE) == <usize>REPORT_SIZE
  );
}
