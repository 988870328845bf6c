/**
 * A/B arbitration: two copies of a MoldUDP64 feed arrive at one address, and subscribers get the
 * first of each sequence number. What one line loses comes from the other; both can be lost for a
 * while and nothing is sent twice when they return.
 *
 *   0                  10                  18    20
 *   │session           │sequence           │count│ messages         the payload, big-endian
 *
 * A packet holds the messages [sequence, sequence + count). It goes out if one of them has not gone
 * out before; a packet of the past that was missing goes out late, in the order of arrival. Count 0
 * is a heartbeat and 0xffff the end of the session: they bear no message, and go out as those of
 * one source do, the other's being dropped until that one has been silent for HEARTBEAT_NS_MAX.
 * Packets too short for the header go out as they are: what is not understood is not withheld.
 *
 * It takes no parameter: the decision is the packet's, the same for all its subscribers. The state
 * is in the state block, so it is committed with the burst, and a worker's successor goes on with
 * it. Up to SESSIONS_MAX sessions are known at once; another one replaces that which was silent for
 * longest. The name of a session must not be used again for other messages (MoldUDP64 sees to
 * that).
 */
import { STATE_SIZE } from '../layout';
import { PACKET_SOURCE_IP, PACKET_SOURCE_PORT } from '../rewrite';
import { Job, PacketMark, burst, state } from '../sdk';

export { fantail_abi } from '../sdk';

/** Changes with the layout of Arbitration, Session or Gap. */
const STATE_LAYOUT: i32 = 1;
const SESSIONS_MAX: u32 = 15;
/** Runs of missing messages that a session remembers; of more, the oldest is given up. */
const GAPS_MAX: u32 = 12;
/** Twice the time after which a silent MoldUDP64 sender must send a heartbeat. */
const HEARTBEAT_NS_MAX: u64 = 2_000_000_000;

/** Of MoldUDP64. */
const HEADER_SIZE: u32 = 20;
const SEQUENCE: u32 = 10;
const COUNT: u32 = 18;
const END_OF_SESSION: u32 = 0xffff;

/** Of the state block: the counters, then the sessions. */
const SESSIONS: usize = 256;
const SESSION_SIZE: usize = 256;

/** Messages [start, end) that have not come yet. */
@unmanaged
class Gap {
  start: u64;
  end: u64;
}

@unmanaged
class Session {
  name_front: u64;
  /** The packet that came last was the so-many-th; 0: this session is free. */
  used: u64;
  /** One past the highest message that came. */
  next: u64;
  /** When its heartbeats last went out, and whose they are. */
  heartbeat_ns: u64;
  heartbeat_ip: u32;
  heartbeat_port: u16;
  name_back: u16;
  gap_count: u32;
  private unused: u32;
  // Gap [GAPS_MAX], of rising messages

  @inline gap(index: u32): Gap {
    return changetype<Gap>(changetype<usize>(this) + offsetof<Session>() + <usize>index * offsetof<Gap>());
  }

  remove_gap(index: u32): void {
    this.gap_count--;
    for (; index < this.gap_count; index++) {
      const gap = this.gap(index);
      const after = this.gap(index + 1);
      gap.start = after.start;
      gap.end = after.end;
    }
  }

  /** There must be room for it. */
  insert_gap(index: u32, start: u64, end: u64): void {
    for (let last = this.gap_count; last > index; last--) {
      const gap = this.gap(last);
      const before = this.gap(last - 1);
      gap.start = before.start;
      gap.end = before.end;
    }
    this.gap(index).start = start;
    this.gap(index).end = end;
    this.gap_count++;
  }
}

/**
 * The state; its mark is of the packet that was decided on last. Counters are of packets unless
 * they say messages.
 */
@unmanaged
class Arbitration extends PacketMark {
  goes_out: bool;
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

  decide(job: Job): bool {
    this.packets++;
    if (!job.has(0, HEADER_SIZE)) return true;
    const sequence = job.u64_at(SEQUENCE);
    const count = job.u16_at(COUNT);
    const session = this.session_of(job, sequence);
    const goes_out =
      count == 0 || count == END_OF_SESSION
        ? this.takes_heartbeat(session, job, sequence)
        : this.takes(session, sequence, sequence + count);
    if (!goes_out) this.duplicates++;
    return goes_out;
  }

  @inline private session(index: u32): Session {
    return changetype<Session>(changetype<usize>(this) + SESSIONS + <usize>index * SESSION_SIZE);
  }

  private session_of(job: Job, sequence: u64): Session {
    const front = load<u64>(job.payload);
    const back = load<u16>(job.payload, 8);
    let oldest = this.session(0);
    for (let index: u32 = 0; index < SESSIONS_MAX; index++) {
      const session = this.session(index);
      if (session.used != 0 && session.name_front == front && session.name_back == back) {
        session.used = this.packets;
        return session;
      }
      if (session.used < oldest.used) oldest = session;
    }
    if (oldest.used != 0) this.sessions_replaced++;
    this.begin(oldest, sequence);
    oldest.name_front = front;
    oldest.name_back = back;
    return oldest;
  }

  /**
   * What came before the first packet that is seen has not gone out: the slower line may still
   * bring it.
   */
  private begin(session: Session, sequence: u64): void {
    session.used = this.packets;
    session.next = sequence;
    session.heartbeat_ns = 0;
    session.gap_count = 0;
    if (sequence > 0) session.insert_gap(0, 0, sequence);
  }

  private takes_heartbeat(session: Session, job: Job, sequence: u64): bool {
    if (sequence < session.next) return false; // the slower line's
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

  /** Whether one of the messages [start, end) is new; all of them count as come. */
  private takes(session: Session, start: u64, end: u64): bool {
    if (end < start) end = u64.MAX_VALUE; // nonsense, and harmless: what it skips is a gap
    const next = session.next;
    if (end <= next) return this.fills(session, start, end);
    if (start > next) this.open_gap(session, next, start);
    session.next = end;
    if (start < next) this.fills(session, start, next);
    return true;
  }

  private open_gap(session: Session, start: u64, end: u64): void {
    this.gaps++;
    this.missing_messages += end - start;
    if (session.gap_count == GAPS_MAX) this.give_up_gap(session);
    session.insert_gap(session.gap_count, start, end);
  }

  private give_up_gap(session: Session): void {
    session.remove_gap(0);
    this.gaps_given_up++;
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
      session.insert_gap(index + 1, to, gap.end);
      gap.end = from;
      return index + 2;
    } else if (index == 0) {
      gap.start = to; // the oldest is its own front
      this.gaps_given_up++;
    } else {
      this.give_up_gap(session);
      const same = session.gap(index - 1);
      session.insert_gap(index, to, same.end);
      same.end = from;
    }
    return index + 1;
  }
}

@unmanaged
class Dedupe extends Job {
  @inline filter(): void {
    const arbitration = state<Arbitration>();
    if (arbitration.is_new(this)) arbitration.goes_out = arbitration.decide(this);
    if (!this.fits || !arbitration.goes_out) return this.drop();
    this.rewrite();
    this.send_rewritten();
  }
}

export function fantail_state(): i32 {
  assert(offsetof<Arbitration>() <= SESSIONS && SESSIONS + <usize>SESSIONS_MAX * SESSION_SIZE <= <usize>STATE_SIZE);
  assert(offsetof<Session>() + GAPS_MAX * offsetof<Gap>() <= SESSION_SIZE);
  return STATE_LAYOUT;
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Dedupe>(jobs, first, count);
}
