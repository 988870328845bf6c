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
 * HEARTBEAT_NS_MAX. With `seq=OFFSET,SIZE[,le]` (arbitration/numbering.ts) a packet is one message.
 * Packets too short for that go out as they are: what is not understood is not withheld. With a
 * parameter that cannot be read, the subscriber gets nothing.
 *
 * Numbers of less than 8 bytes wrap: of those that look alike, the nearest to the newest is meant.
 * Where they start anew, since their sender has, they look like the past: once nothing new has come
 * for RESTART_NS and since then RESTART_PACKETS have, each above the one before, they are a new
 * sequence; one that starts less than RESTART_BELOW numbers back may be missed, and is silent until
 * it has passed the newest. A sender that repeats its last packet does not bring that about.
 * MoldUDP64 begins a new session instead, whose name must not be used again for other messages.
 *
 * **Who is decided for together.** A decision is the packet's, and the same for all subscribers
 * that get the same feeds and number them alike; others have decisions of their own, so that who
 * gets one feed alone gets all of it. For each such key SESSIONS are known, SESSIONS_MAX in all;
 * another one replaces that which was silent for longest, and is counted.
 *
 * **Gaps and lines.** Messages that are skipped, and that no line has brought GAP_NS later, are
 * told (report.ts), as are those that are given up. The time is that of packets: of whichever this
 * filter sees. A line is the address that its packets are sent to.
 *
 * The state is in the state block, so it is committed with the burst, and a worker's successor goes
 * on with it.
 */
import { Recent, NO_LEAD, RECENT_SIZE, line_of, ns_of } from '../arbitration/recent';
import { GAPS_MAX, Gap, SESSION_SIZE, Session } from '../arbitration/session';
import {
  MOLDUDP64,
  UNREADABLE,
  kind_of,
  number_in,
  offset_of,
  size_of,
  span_of,
  unwrapped,
} from '../arbitration/numbering';
import { REPORT_LINES, REPORT_SIZE, STATE_SIZE, SUBSCRIBER_FEEDS } from '../layout';
import { Report, is_report_layout } from '../report';
import { PACKET_SOURCE_IP, PACKET_SOURCE_PORT } from '../rewrite';
import { Job, PacketMark, burst, state } from '../sdk';

export { fantail_abi } from '../sdk';

/** Changes with the layout of the state. */
const STATE_LAYOUT: i32 = 2;
const SESSIONS_MAX: u32 = 8;
/** Twice the time after which a silent MoldUDP64 sender must send a heartbeat. */
const HEARTBEAT_NS_MAX: u64 = 2_000_000_000;
/** Lines of an exchange are a few milliseconds apart at most. */
const GAP_NS: i64 = 100_000_000;
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

/** Of the state block: the counters, what is told, the times of the newest, the sessions. */
const REPORT: usize = 96;
const RECENT: usize = REPORT + <usize>REPORT_SIZE;
const SESSIONS: usize = RECENT + RECENT_SIZE;

/**
 * The state; its mark is of the packet that was decided on last, for whomever. Counters are of
 * packets unless they say messages; a packet counts for each key that it is decided for.
 */
@unmanaged
class Arbitration extends PacketMark {
  packets: u64;
  duplicates: u64;
  /** Gaps that opened, and their messages. */
  gaps: u64;
  missing_messages: u64;
  /** Messages that went out behind later ones. */
  late_messages: u64;
  /** Gaps that were forgotten, since there were too many, while messages of theirs were missing. */
  gaps_given_up: u64;
  sessions_replaced: u64;
  restarts: u64;
  /** When the oldest of the gaps opened that may have to be told; 0: there is none. */
  first_gap_ns: u64;
  /** The session that was decided for last. */
  last: u32;

  @inline goes_out(job: Job, feeds: u64, kind: u32): bool {
    const last = this.session(this.last);
    if (last.has_decided(job, feeds, kind)) return last.goes_out;
    return this.goes_out_for_another(job, feeds, kind);
  }

  /** A packet's first job, or one whose subscriber's like was not the last to be asked for. */
  private goes_out_for_another(job: Job, feeds: u64, kind: u32): bool {
    if (!this.is_new(job)) {
      for (let index: u32 = 0; index < SESSIONS_MAX; index++) {
        const session = this.session(index);
        if (!session.has_decided(job, feeds, kind)) continue;
        this.last = index;
        return session.goes_out;
      }
    }
    return this.decide(job, feeds, kind);
  }

  private decide(job: Job, feeds: u64, kind: u32): bool {
    this.packets++;
    const now = job.receive_ns;
    if (this.first_gap_ns != 0 && apart(now, this.first_gap_ns) >= GAP_NS) this.tell_gaps(now);
    const goes_out =
      kind == MOLDUDP64
        ? this.decide_moldudp64(job, feeds)
        : this.decide_numbered(job, feeds, kind);
    if (!goes_out) this.duplicates++;
    return goes_out;
  }

  private decide_moldudp64(job: Job, feeds: u64): bool {
    if (!job.has(0, HEADER_SIZE)) return true;
    const sequence = job.u64_at(SEQUENCE);
    const count = job.u16_at(COUNT);
    const front = load<u64>(job.payload);
    const back = load<u16>(job.payload, 8);
    if (!this.finds(feeds, MOLDUDP64, front, back)) {
      this.session(this.last).begin(sequence, job.receive_ns);
    }
    const session = this.session(this.last);
    let goes_out: bool;
    if (count == 0 || count == END_OF_SESSION) {
      goes_out = this.takes_heartbeat(session, job, sequence);
    } else {
      goes_out = this.takes(session, sequence, sequence + count, job.receive_ns);
      this.account(session, job, sequence, goes_out);
    }
    session.decided(job, goes_out);
    return goes_out;
  }

  private decide_numbered(job: Job, feeds: u64, kind: u32): bool {
    if (!job.has(offset_of(kind), size_of(kind))) return true;
    const number = number_in(job, kind);
    const span = span_of(kind);
    // so that all that is nearest to it is above 0
    const first = number + span;
    if (!this.finds(feeds, kind, 0, 0)) this.session(this.last).begin(first, job.receive_ns);
    const session = this.session(this.last);
    let sequence = unwrapped(number, session.next, span);
    let goes_out = this.takes(session, sequence, sequence + 1, job.receive_ns);
    if (!goes_out && has_restarted(session, sequence, job.receive_ns)) {
      this.restarts++;
      sequence = first;
      session.begin(sequence, job.receive_ns);
      this.recent.forget();
      goes_out = this.takes(session, sequence, sequence + 1, job.receive_ns);
    }
    this.account(session, job, sequence, goes_out);
    session.decided(job, goes_out);
    return goes_out;
  }

  @inline get report(): Report {
    return changetype<Report>(changetype<usize>(this) + REPORT);
  }

  @inline private get recent(): Recent {
    return changetype<Recent>(changetype<usize>(this) + RECENT);
  }

  @inline private session(index: u32): Session {
    return changetype<Session>(changetype<usize>(this) + SESSIONS + <usize>index * SESSION_SIZE);
  }

  // ---- sessions ----

  /** Whether that session is known: it is `last` then, which is else a place for it to begin. */
  private finds(feeds: u64, kind: u32, front: u64, back: u16): bool {
    if (this.session(this.last).is_of(feeds, kind, front, back)) {
      this.session(this.last).used = this.packets;
      return true;
    }
    let oldest: u32 = 0;
    for (let index: u32 = 0; index < SESSIONS_MAX; index++) {
      const session = this.session(index);
      if (session.is_of(feeds, kind, front, back)) {
        this.last = index;
        session.used = this.packets;
        return true;
      }
      if (session.used < this.session(oldest).used) oldest = index;
    }
    this.last = oldest;
    const session = this.session(oldest);
    if (session.used != 0) {
      this.sessions_replaced++;
      this.tell_all_gaps(session);
      this.recent.forget();
    }
    session.used = this.packets;
    session.feeds = feeds;
    session.kind = <u16>kind;
    session.name_front = front;
    session.name_back = back;
    return false;
  }

  private takes_heartbeat(session: Session, job: Job, sequence: u64): bool {
    if (sequence < session.next) return false; // the slower line's
    // it bears the number of the message to come: those before it have been sent
    if (sequence > session.next) this.open_gap(session, session.next, sequence, job.receive_ns);
    session.next = sequence;
    const ip = load<u32>(job.packet, PACKET_SOURCE_IP);
    const port = load<u16>(job.packet, PACKET_SOURCE_PORT);
    const is_same = session.heartbeat_ip == ip && session.heartbeat_port == port;
    // of a clock that was set back: very long
    const silence = job.receive_ns - session.heartbeat_ns;
    if (!is_same && silence <= HEARTBEAT_NS_MAX) return false;
    session.heartbeat_ns = job.receive_ns;
    session.heartbeat_ip = ip;
    session.heartbeat_port = port;
    return true;
  }

  /** Its line has won, or is late; then it tells how far the other one was ahead. */
  private account(session: Session, job: Job, sequence: u64, goes_out: bool): void {
    const now = job.receive_ns;
    const index = this.line_of(session, job);
    const line = this.report.line(index);
    if (goes_out) {
      line.won++;
      session.new_ns = now;
      session.past_count = 0;
      return this.recent.put(sequence, this.last, index, now);
    }
    line.late++;
    const lead = this.recent.lead(sequence, this.last, now);
    if (lead != NO_LEAD && line_of(lead) != index) this.report.line(line_of(lead)).led(ns_of(lead));
  }

  /** The index of the line that the packet came on. */
  @inline private line_of(session: Session, job: Job): u32 {
    const report = this.report;
    const ip = job.feed_ip;
    const port = job.feed_port;
    let index = report.find(session.feeds, ip, port, session.kind);
    if (index == REPORT_LINES) {
      index = report.oldest();
      if (report.line(index).used != 0) this.recent.forget();
      report.begin(index, session.feeds, ip, port, session.kind);
    }
    report.line(index).used = this.packets;
    return index;
  }

  // ---- messages and gaps ----

  /** Whether one of the messages [start, end) is new; all of them count as come. */
  private takes(session: Session, start: u64, end: u64, now: u64): bool {
    if (end < start) end = u64.MAX_VALUE; // nonsense, and harmless: what it skips is a gap
    const next = session.next;
    if (end <= next) return this.fills(session, start, end);
    if (start > next) this.open_gap(session, next, start, now);
    session.next = end;
    if (start < next) this.fills(session, start, next);
    return true;
  }

  private open_gap(session: Session, start: u64, end: u64, now: u64): void {
    this.gaps++;
    this.missing_messages += end - start;
    if (session.gap_count == GAPS_MAX) this.give_up_gap(session);
    session.insert_gap(session.gap_count, start, end, now);
    if (this.first_gap_ns == 0) this.first_gap_ns = now;
  }

  private give_up_gap(session: Session): void {
    this.tell_gap(session, session.gap(0));
    session.remove_gap(0);
    this.gaps_given_up++;
  }

  private tell_all_gaps(session: Session): void {
    for (let index: u32 = 0; index < session.gap_count; index++) {
      this.tell_gap(session, session.gap(index));
    }
  }

  /** Takes the messages [start, end) out of the gaps; whether any was in one. */
  private fills(session: Session, start: u64, end: u64): bool {
    let found = false;
    for (let index: u32 = 0; index < session.gap_count; ) {
      const gap = session.gap(index);
      const from = max(start, gap.start);
      const to = min(end, gap.end);
      if (from < to) {
        found = true;
        this.late_messages += to - from;
        index = this.cut(session, index, from, to);
      } else {
        index++;
      }
    }
    return found;
  }

  /** Takes [from, to) out of a gap that it lies in; the index of the gap to look at next. */
  private cut(session: Session, index: u32, from: u64, to: u64): u32 {
    const gap = session.gap(index);
    if (gap.start == from && gap.end == to) {
      session.remove_gap(index);
      return index;
    }
    if (gap.start == from) {
      gap.start = to;
    } else if (gap.end == to) {
      gap.end = from;
    } else if (session.gap_count < GAPS_MAX) {
      session.insert_gap(index + 1, to, gap.end, gap.opened_ns);
      gap.end = from;
      return index + 2;
    } else if (index == 0) {
      const end = gap.end;
      gap.end = from;
      this.tell_gap(session, gap);
      gap.start = to; // the oldest is its own front
      gap.end = end;
      this.gaps_given_up++;
    } else {
      this.give_up_gap(session);
      const same = session.gap(index - 1);
      session.insert_gap(index, to, same.end, same.opened_ns);
      same.end = from;
    }
    return index + 1;
  }

  /** Those that are old enough, of all sessions. */
  private tell_gaps(now: u64): void {
    let first: u64 = 0;
    for (let each: u32 = 0; each < SESSIONS_MAX; each++) {
      const session = this.session(each);
      for (let index: u32 = 0; index < session.gap_count; index++) {
        const gap = session.gap(index);
        if (gap.opened_ns == 0) continue;
        if (apart(now, gap.opened_ns) >= GAP_NS) {
          this.tell_gap(session, gap);
          gap.opened_ns = 0;
        } else if (first == 0 || gap.opened_ns < first) {
          first = gap.opened_ns;
        }
      }
    }
    this.first_gap_ns = first;
  }

  /** If it was not, and is to be. */
  private tell_gap(session: Session, gap: Gap): void {
    if (gap.opened_ns == 0) return;
    const mask = span_of(session.kind) - 1; // all ones where no number wraps
    const told = this.report.next_gap;
    told.from = gap.start & mask;
    told.to = (gap.end - 1) & mask;
    told.receive_ns = gap.opened_ns;
    told.feeds = session.feeds;
    this.report.add_gap(gap.end - gap.start);
  }
}

/** Of two times, how far apart: a clock may have been set back, and queues are not in order. */
@inline
function apart(one: u64, other: u64): i64 {
  return abs(<i64>(one - other));
}

/** Counts packets of the past that rise; whether there are so many that they are none. */
function has_restarted(session: Session, sequence: u64, now: u64): bool {
  if (apart(now, session.new_ns) <= RESTART_NS) return false;
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
    const kind = kind_of(this.subscriber);
    if (!this.fits || kind == UNREADABLE) return this.drop();
    const feeds = load<u64>(this.subscriber, SUBSCRIBER_FEEDS);
    if (!state<Arbitration>().goes_out(this, feeds, kind)) return this.drop();
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
