/** One sequence of messages: what has come of it, and what has not. */
import { Job } from '../sdk';

/** Runs of missing messages that a session remembers; of more, the oldest is given up. */
export const GAPS_MAX: u32 = 9;

/** Messages [start, end) that have not come yet. */
@unmanaged
export class Gap {
  start: u64;
  end: u64;
  /**
   * When the packet came that skipped them; 0: they are not to be told, as those before the first
   * packet, or were.
   */
  opened_ns: u64;
}

@unmanaged
export class Session {
  /** The subscribers that it is of: they get the same feeds, and number them alike. */
  feeds: u64;
  name_front: u64;
  /** The packet that came last was the so-many-th; 0: this session is free. */
  used: u64;
  /** One past the highest message that came. */
  next: u64;
  /** When its heartbeats last went out, and whose they are. */
  heartbeat_ns: u64;
  /** The packet that was decided on last: its time, and below its address. */
  private mark_ns: u64;
  /** When the last packet came that brought something new. */
  new_ns: u64;
  /** Of the packets that brought nothing new since: the last that rose, and how many did. */
  past_last: u64;
  past_count: u32;
  private mark_packet: u32;
  heartbeat_ip: u32;
  heartbeat_port: u16;
  name_back: u16;
  kind: u16;
  goes_out: bool;
  gap_count: u8;
  private unused: u32;
  // Gap [GAPS_MAX], of rising messages

  /** Whether the job's packet has been decided on for its subscriber's like. */
  @inline has_decided(job: Job, feeds: u64, kind: u32): bool {
    return (
      this.mark_ns == job.receive_ns &&
      this.mark_packet == <u32>job.packet &&
      this.feeds == feeds &&
      <u32>this.kind == kind
    );
  }

  @inline decided(job: Job, goes_out: bool): void {
    this.mark_ns = job.receive_ns;
    this.mark_packet = <u32>job.packet;
    this.goes_out = goes_out;
  }

  @inline is_of(feeds: u64, kind: u32, name_front: u64, name_back: u16): bool {
    const same = this.name_front == name_front && this.name_back == name_back;
    return same && this.feeds == feeds && <u32>this.kind == kind && this.used != 0;
  }

  /**
   * With the first packet that is seen, of `sequence`. What came before has not gone out: the
   * slower line may still bring it.
   */
  begin(sequence: u64, receive_ns: u64): void {
    this.next = sequence;
    this.heartbeat_ns = 0;
    this.new_ns = receive_ns;
    this.past_last = 0;
    this.past_count = 0;
    this.gap_count = 0;
    if (sequence > 0) this.insert_gap(0, 0, sequence, 0);
  }

  @inline gap(index: u32): Gap {
    const gaps = changetype<usize>(this) + offsetof<Session>();
    return changetype<Gap>(gaps + <usize>index * offsetof<Gap>());
  }

  remove_gap(index: u32): void {
    this.gap_count--;
    for (; index < <u32>this.gap_count; index++) {
      const gap = this.gap(index);
      const after = this.gap(index + 1);
      gap.start = after.start;
      gap.end = after.end;
      gap.opened_ns = after.opened_ns;
    }
  }

  /** There must be room for it. */
  insert_gap(index: u32, start: u64, end: u64, opened_ns: u64): void {
    for (let last = <u32>this.gap_count; last > index; last--) {
      const gap = this.gap(last);
      const before = this.gap(last - 1);
      gap.start = before.start;
      gap.end = before.end;
      gap.opened_ns = before.opened_ns;
    }
    const gap = this.gap(index);
    gap.start = start;
    gap.end = end;
    gap.opened_ns = opened_ns;
    this.gap_count++;
  }
}

/** Bytes of a session and its gaps. */
export const SESSION_SIZE: usize = offsetof<Session>() + <usize>GAPS_MAX * offsetof<Gap>();
