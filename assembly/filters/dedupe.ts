/**
 * A/B arbitration: the same messages come on several lines, and a subscriber gets the first of each
 * sequence number. What one line loses comes from the other; both can be lost for a while and
 * nothing is sent twice when they return. The lines are the feeds of a subscriber, or two senders
 * to one address.
 *
 *   0                  10                  18    20
 *   │session           │sequence           │count│ messages         the payload, big-endian
 *
 * Without a parameter, or with `proto=moldudp64`, a packet is MoldUDP64's (its specification, 1.00,
 * "Downstream Packet"): it holds the messages [sequence, sequence + count). It goes out if one of
 * them has not gone out before; a packet of the past that was missing goes out late, in the order
 * of arrival. Count 0 is a heartbeat and 0xffff the end of the session: they bear no message, and
 * go out as those of one source do, the other's being dropped until that one has been silent for
 * SILENT_NS. With `seq=OFFSET,SIZE[,le]` (arbitration/numbering.ts) a packet is one message.
 * Packets too short for that are `too_short`, and go out as they are: what is not understood is not
 * withheld. With a parameter that cannot be read, the subscriber gets nothing.
 *
 * Numbers of less than 8 bytes wrap: of those that look alike, the nearest to the newest is meant.
 * Where they start anew, since their sender has, they look like the past: once nothing has come for
 * RESTART_NS that is not of the past (of MoldUDP64, for SILENT_NS, nor a heartbeat that is not) and
 * since then RESTART_PACKETS have come, each above the one before, they are a new sequence; one
 * that starts less than RESTART_BELOW numbers back may be missed, and is silent until it has passed
 * the newest. A sender that repeats its last packet does not bring that about. A MoldUDP64 session
 * of another name is a new sequence at once.
 *
 * **Who is decided for together.** A decision is the packet's, and the same for all of a set: those
 * that have the same feeds and parameter (subscriber.set). Others have decisions of their own, so
 * that who gets one feed alone gets all of it, and a set whose feeds change is another one, which
 * begins anew. There are places for REPORT_SETS sets and SESSIONS_MAX sessions of all of them;
 * others go out undecided and are counted (`no_room`), until one has been silent for SILENT_NS.
 *
 * **Gaps and lines.** Messages that are skipped, and that no line has brought GAP_NS later, are
 * told (report.ts), as are those that are given up: for want of a place no more of them go out. The
 * time is that of packets: of whichever this filter sees. A line is the address that its packets
 * are sent to, which is its feed's.
 *
 * The state is in the state block, so it is committed with the burst, and a worker's successor goes
 * on with it.
 */
import { Recent, NO_LEAD, RECENT_SIZE, line_of, ns_of } from '../arbitration/recent';
import { DECISION_SIZE, Decision, SESSION_SIZE, Session } from '../arbitration/session';
import {
  MOLDUDP64,
  UNREADABLE,
  bits_of,
  kind_of,
  number_in,
  offset_of,
  size_of,
  span_of,
  unwrapped,
} from '../arbitration/numbering';
import {
  REPORT_LINES,
  REPORT_OPEN,
  REPORT_SETS,
  REPORT_SIZE,
  STATE_SIZE,
  SUBSCRIBER_SET,
} from '../layout';
import { OpenGap, Report, is_report_layout } from '../report';
import { PACKET_SOURCE_IP, PACKET_SOURCE_PORT } from '../rewrite';
import { Job, burst, state } from '../sdk';

export { fantail_abi } from '../sdk';

/** Changes with the layout of the state. */
const STATE_LAYOUT: i32 = 2;
const SESSIONS_MAX: u32 = 8;
/**
 * Twice the time after which a silent MoldUDP64 sender must send a heartbeat: who is silent for so
 * long may be gone.
 */
const SILENT_NS: i64 = 2_000_000_000;
/** Lines of an exchange are a few milliseconds apart at most. */
const GAP_NS: i64 = 100_000_000;
/** Gaps told at once: the supervisor looks as often as GAP_NS, and REPORT_GAPS are kept for it. */
const TELL_MAX: u32 = 12;
/** No line is as far behind the other. */
const RESTART_NS: i64 = 1_000_000_000;
const RESTART_PACKETS: u32 = 16;
/** A packet of the past that is so far below the last is not one that was overtaken. */
const RESTART_BELOW: u64 = 1024;

/** Of MoldUDP64. */
const HEADER_SIZE: u32 = 20;
const SEQUENCE: u32 = 10;
const COUNT: u32 = 18;
const END_OF_SESSION: u32 = 0xffff;

/** Of the state block: counters, what is told, the times of the newest, decisions, sessions. */
const REPORT: usize = 64;
const RECENT: usize = REPORT + <usize>REPORT_SIZE;
const DECISIONS: usize = RECENT + RECENT_SIZE;
const SESSIONS: usize = DECISIONS + <usize>REPORT_SETS * DECISION_SIZE;

/** The state. Counters are of packets unless they say messages, each for every set. */
@unmanaged
class Arbitration {
  duplicates: u64;
  /** Messages that went out behind later ones. */
  late_messages: u64;
  /** Gaps that were forgotten, since there were too many, while messages of theirs were missing. */
  gaps_given_up: u64;
  /** Sessions whose place another one took. */
  sessions_replaced: u64;
  restarts: u64;
  /** When the oldest of the gaps opened that may have to be told; 0: there is none. */
  first_gap_ns: u64;
  /** The set that was asked for last, and its index. */
  last_set: u64;
  last: u32;

  @inline goes_out(job: Job): bool {
    const set = load<u64>(job.subscriber, SUBSCRIBER_SET);
    if (set == this.last_set) {
      const decision = this.decision(this.last);
      if (decision.is_of(job)) return decision.goes_out;
    }
    return this.goes_out_for(set, job);
  }

  /** A packet's first job of that set, or one of another set than the one before. */
  private goes_out_for(set: u64, job: Job): bool {
    const report = this.report;
    let index = this.last;
    if (set != this.last_set || report.set(index).used == 0) {
      index = report.find_set(set);
      if (index == REPORT_SETS) {
        const kind = kind_of(job.subscriber);
        if (kind == UNREADABLE) return false;
        index = this.begin_set(set, kind, job.receive_ns);
        if (index == REPORT_SETS) {
          report.no_room++;
          return true;
        }
      }
      this.last = index;
      this.last_set = set;
    }
    const decision = this.decision(index);
    if (!decision.is_of(job)) decision.take(job, this.decide(index, job));
    return decision.goes_out;
  }

  private decide(set: u32, job: Job): bool {
    const now = job.receive_ns;
    const report = this.report;
    report.packets++;
    report.set(set).used = now;
    if (this.first_gap_ns != 0 && apart(now, this.first_gap_ns) >= GAP_NS) this.tell_gaps(now);
    const kind = <u32>this.decision(set).kind;
    const goes_out =
      kind == MOLDUDP64 ? this.decide_moldudp64(set, job) : this.decide_numbered(set, kind, job);
    if (!goes_out) this.duplicates++;
    return goes_out;
  }

  private decide_moldudp64(set: u32, job: Job): bool {
    if (!job.has(0, HEADER_SIZE)) return this.passes_too_short();
    const sequence = job.u64_at(SEQUENCE);
    const count = job.u16_at(COUNT);
    const front = load<u64>(job.payload);
    const back = load<u16>(job.payload, 8);
    const index = this.session_of(set, front, back, sequence, job.receive_ns);
    if (index == SESSIONS_MAX) return this.passes_undecided();
    if (count == 0 || count == END_OF_SESSION) return this.takes_heartbeat(index, job, sequence);
    return this.takes(index, sequence, sequence + count, SILENT_NS, job);
  }

  private decide_numbered(set: u32, kind: u32, job: Job): bool {
    if (!job.has(offset_of(kind), size_of(kind))) return this.passes_too_short();
    const number = number_in(job, kind);
    const span = span_of(kind);
    // so that all that is nearest to it is above 0
    const index = this.session_of(set, 0, 0, number + span, job.receive_ns);
    if (index == SESSIONS_MAX) return this.passes_undecided();
    const sequence = unwrapped(number, this.session(index).next, span);
    return this.takes(index, sequence, sequence + 1, RESTART_NS, job);
  }

  private passes_too_short(): bool {
    this.report.too_short++;
    return true;
  }

  private passes_undecided(): bool {
    this.report.no_room++;
    return true;
  }

  @inline get report(): Report {
    return changetype<Report>(changetype<usize>(this) + REPORT);
  }

  @inline private get recent(): Recent {
    return changetype<Recent>(changetype<usize>(this) + RECENT);
  }

  @inline private decision(set: u32): Decision {
    return changetype<Decision>(changetype<usize>(this) + DECISIONS + <usize>set * DECISION_SIZE);
  }

  @inline private session(index: u32): Session {
    return changetype<Session>(changetype<usize>(this) + SESSIONS + <usize>index * SESSION_SIZE);
  }

  // ---- sets and sessions ----

  /** The place of a set that has none; REPORT_SETS: they are all in use. */
  private begin_set(set: u64, kind: u32, now: u64): u32 {
    const report = this.report;
    let place: u32 = 0;
    for (let index: u32 = 1; index < REPORT_SETS; index++) {
      if (report.set(place).used > report.set(index).used) place = index;
    }
    const found = report.set(place);
    if (found.used != 0) {
      if (apart(now, found.used) < SILENT_NS) return REPORT_SETS;
      for (let index: u32 = 0; index < SESSIONS_MAX; index++) {
        const session = this.session(index);
        if (session.used != 0 && session.set == place) this.end_session(index);
      }
      for (let index: u32 = 0; index < REPORT_LINES; index++) {
        if (<u32>report.line(index).set == place) report.line(index).used = 0;
      }
      this.recent.forget();
    }
    found.set = set;
    found.gaps = 0;
    found.missing = 0;
    found.used = now;
    found.bits = bits_of(kind);
    const decision = this.decision(place);
    decision.forget();
    decision.kind = <u16>kind;
    return place;
  }

  /** The index of a set's session, begun with its first packet; SESSIONS_MAX: it has no place. */
  private session_of(set: u32, front: u64, back: u16, sequence: u64, now: u64): u32 {
    let place: u32 = 0;
    for (let index: u32 = 0; index < SESSIONS_MAX; index++) {
      const session = this.session(index);
      if (session.is_of(set, front, back)) {
        session.used = now;
        return index;
      }
      if (session.used < this.session(place).used) place = index;
    }
    const session = this.session(place);
    if (session.used != 0) {
      if (apart(now, session.used) < SILENT_NS) return SESSIONS_MAX;
      this.sessions_replaced++;
      this.end_session(place);
    }
    session.used = now;
    session.set = set;
    session.name_front = front;
    session.name_back = back;
    this.begin(place, sequence, now);
    return place;
  }

  /** What came before has not gone out: the slower line may still bring it. */
  private begin(index: u32, sequence: u64, now: u64): void {
    this.session(index).begin(sequence, now);
    if (sequence > 0) this.open_gap(index, 0, sequence, 0);
  }

  /** Its place is free; what it has missed is told. */
  private end_session(index: u32): void {
    this.session(index).used = 0;
    this.end_gaps(index);
    this.recent.forget();
  }

  // ---- packets ----

  private takes_heartbeat(index: u32, job: Job, sequence: u64): bool {
    const session = this.session(index);
    const now = job.receive_ns;
    if (sequence < session.next) return false; // the slower line's
    session.alive(now);
    // it bears the number of the message to come: those before it have been sent
    if (sequence > session.next) this.open_gap(index, session.next, sequence, now);
    session.next = sequence;
    const ip = load<u32>(job.packet, PACKET_SOURCE_IP);
    const port = load<u16>(job.packet, PACKET_SOURCE_PORT);
    const is_same = session.heartbeat_ip == ip && session.heartbeat_port == port;
    if (!is_same && apart(now, session.heartbeat_ns) <= SILENT_NS) return false;
    session.heartbeat_ns = now;
    session.heartbeat_ip = ip;
    session.heartbeat_port = port;
    return true;
  }

  /** A packet of messages [start, end): its line has won, or is late, or they start anew. */
  private takes(index: u32, start: u64, end: u64, restart_ns: i64, job: Job): bool {
    const session = this.session(index);
    const now = job.receive_ns;
    let sequence = start;
    let goes_out = this.is_news(index, start, end, now);
    if (!goes_out && has_restarted(session, start, now, restart_ns)) {
      this.restarts++;
      this.end_gaps(index);
      this.recent.forget();
      const span = span_of(<u32>this.decision(session.set).kind);
      // the same number, below which nothing is
      if (span != 0) sequence = (start & (span - 1)) + span;
      this.begin(index, sequence, now);
      goes_out = this.is_news(index, sequence, sequence + (end - start), now);
    }
    if (goes_out) session.alive(now);
    this.account(index, job, sequence, goes_out);
    return goes_out;
  }

  /** It has won, or is late; then it tells how far the other one was ahead. */
  private account(session: u32, job: Job, sequence: u64, goes_out: bool): void {
    const now = job.receive_ns;
    const index = this.line_for(this.session(session).set, job);
    if (index == REPORT_LINES) return;
    const line = this.report.line(index);
    line.used = now;
    if (goes_out) {
      line.won++;
      return this.recent.put(sequence, session, index, now);
    }
    line.late++;
    const lead = this.recent.lead(sequence, session, now);
    if (lead != NO_LEAD && line_of(lead) != index) this.report.line(line_of(lead)).led(ns_of(lead));
  }

  /** The index of the line that the packet came on; REPORT_LINES: there is no place for it. */
  @inline private line_for(set: u32, job: Job): u32 {
    const index = this.report.find_line(set, job.feed_ip, job.feed_port);
    return index != REPORT_LINES ? index : this.begin_line(set, job);
  }

  private begin_line(set: u32, job: Job): u32 {
    const report = this.report;
    let place: u32 = 0;
    for (let index: u32 = 1; index < REPORT_LINES; index++) {
      if (report.line(place).used > report.line(index).used) place = index;
    }
    const line = report.line(place);
    if (line.used != 0) {
      if (apart(job.receive_ns, line.used) < SILENT_NS) return REPORT_LINES;
      this.recent.forget();
    }
    line.begin(set, job.feed_ip, job.feed_port);
    return place;
  }

  // ---- messages and gaps ----

  /** Whether one of the messages [start, end) is new; all of them count as come. */
  private is_news(index: u32, start: u64, end: u64, now: u64): bool {
    if (end < start) end = u64.MAX_VALUE; // nonsense, and harmless: what it skips is a gap
    const session = this.session(index);
    const next = session.next;
    if (end <= next) return this.fills(index, start, end);
    if (start > next) this.open_gap(index, next, start, now);
    session.next = end;
    if (start < next) this.fills(index, start, next);
    return true;
  }

  private open_gap(index: u32, start: u64, end: u64, now: u64): void {
    const session = this.session(index);
    const gap = this.free_gap();
    gap.from = start;
    gap.end = end;
    gap.receive_ns = now;
    gap.set = session.set;
    gap.own = index;
    session.gaps_end = end;
    if (now != 0 && this.first_gap_ns == 0) this.first_gap_ns = now;
  }

  /**
   * A place for one more. If there is none, that of one that was told, or need not be, is given up:
   * of the messages that are furthest back; else the one that has been open for longest.
   */
  private free_gap(): OpenGap {
    const report = this.report;
    let oldest = report.open(0);
    for (let index: u32 = 0; index < REPORT_OPEN; index++) {
      const gap = report.open(index);
      if (gap.is_free) return gap;
      const is_older = gap.receive_ns < oldest.receive_ns;
      if (is_older || (gap.receive_ns == oldest.receive_ns && gap.end < oldest.end)) oldest = gap;
    }
    this.tell_gap(oldest);
    this.gaps_given_up++;
    return oldest;
  }

  /** Takes the messages [start, end) out of a session's gaps; whether any was in one. */
  private fills(index: u32, start: u64, end: u64): bool {
    if (start >= this.session(index).gaps_end) return false;
    const report = this.report;
    let found = false;
    for (let place: u32 = 0; place < REPORT_OPEN; place++) {
      const gap = report.open(place);
      const from = max(start, gap.from);
      const to = min(end, gap.end);
      if (from >= to || gap.own != index) continue;
      found = true;
      this.late_messages += to - from;
      this.cut(gap, from, to);
    }
    return found;
  }

  /** Takes [from, to) out of a gap that it lies in. */
  private cut(gap: OpenGap, from: u64, to: u64): void {
    const end = gap.end;
    if (from == gap.from) {
      gap.from = to;
      if (to == end) gap.free();
      return;
    }
    gap.end = from;
    if (to == end) return;
    const receive_ns = gap.receive_ns;
    const set = gap.set;
    const own = gap.own;
    const rest = this.free_gap(); // it may be the same, which is then told and given up
    rest.from = to;
    rest.end = end;
    rest.receive_ns = receive_ns;
    rest.set = set;
    rest.own = own;
  }

  /**
   * Those that are old enough, of all sessions: TELL_MAX at once and the rest GAP_NS later, so that
   * the supervisor sees each.
   */
  private tell_gaps(now: u64): void {
    const report = this.report;
    let first: u64 = 0;
    let left = TELL_MAX;
    for (let index: u32 = 0; index < REPORT_OPEN; index++) {
      const gap = report.open(index);
      if (gap.receive_ns == 0) continue;
      if (apart(now, gap.receive_ns) >= GAP_NS) {
        if (left == 0) {
          first = now;
          break;
        }
        this.tell_gap(gap);
        left--;
      } else if (first == 0 || gap.receive_ns < first) {
        first = gap.receive_ns;
      }
    }
    this.first_gap_ns = first;
  }

  /** If it was not, and is to be. */
  private tell_gap(gap: OpenGap): void {
    if (gap.receive_ns == 0) return;
    const report = this.report;
    report.add_gap(report.set(gap.set), gap.from, gap.end, gap.receive_ns);
    gap.receive_ns = 0;
  }

  /** Those of a session are told and forgotten. */
  private end_gaps(session: u32): void {
    for (let index: u32 = 0; index < REPORT_OPEN; index++) {
      const gap = this.report.open(index);
      if (gap.is_free || gap.own != session) continue;
      this.tell_gap(gap);
      gap.free();
    }
  }
}

/** Of two times, how far apart: a clock may have been set back, and queues are not in order. */
@inline
function apart(one: u64, other: u64): i64 {
  return abs(<i64>(one - other));
}

/** Counts packets of the past that rise; whether there are so many that they are none. */
function has_restarted(session: Session, sequence: u64, now: u64, after_ns: i64): bool {
  if (apart(now, session.alive_ns) <= after_ns) return false;
  const is_far_below = sequence + RESTART_BELOW < session.past_last;
  if (session.past_count > 0 && is_far_below) session.past_count = 0;
  if (session.past_count > 0 && sequence <= session.past_last) return false;
  session.past_last = sequence;
  session.past_count++;
  return session.past_count >= RESTART_PACKETS;
}

@unmanaged
class Dedupe extends Job {
  @inline filter(): void {
    if (!this.fits || !state<Arbitration>().goes_out(this)) return this.drop();
    this.rewrite();
    this.send_rewritten();
  }
}

export function fantail_state(): i32 {
  assert(offsetof<Arbitration>() <= REPORT && is_report_layout());
  assert(SESSIONS + <usize>SESSIONS_MAX * SESSION_SIZE <= <usize>STATE_SIZE);
  assert(REPORT_LINES <= 8 && SESSIONS_MAX <= 8); // what recent.ts has bits for
  return STATE_LAYOUT;
}

/** Where the report is in the state block. */
export function fantail_report(): i32 {
  return <i32>REPORT;
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Dedupe>(jobs, first, count);
}
