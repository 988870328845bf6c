/** What is decided for together, and the sequences of messages that it is decided by. */
import { Job } from '../sdk';

/** Of a set of subscribers, beside what it tells (SetReport): the packet that was decided last. */
@unmanaged
export class Decision {
  private receive_ns: u64;
  private packet: u32;
  /** How its packets are numbered (numbering.ts). */
  kind: u16;
  goes_out: bool;
  private unused: u8;

  /** A frame's address comes back, but never with the same time. */
  @inline is_of(job: Job): bool {
    return this.receive_ns == job.receive_ns && this.packet == <u32>job.packet;
  }

  @inline take(job: Job, goes_out: bool): void {
    this.receive_ns = job.receive_ns;
    this.packet = <u32>job.packet;
    this.goes_out = goes_out;
  }

  forget(): void {
    this.receive_ns = 0;
    this.packet = 0;
  }
}

/** One sequence of messages of one set. What has not come of it is in the report's open gaps. */
@unmanaged
export class Session {
  /** When its last packet came; 0: this place is free. */
  used: u64;
  name_front: u64;
  /** One past the highest message that came. */
  next: u64;
  /** None of its open gaps goes further. */
  gaps_end: u64;
  /** When its heartbeats last went out, and whose they are. */
  heartbeat_ns: u64;
  /** When it was last seen that its sender is not behind. */
  alive_ns: u64;
  /** Of the packets that were behind since: the last that rose, and how many did. */
  past_last: u64;
  past_count: u32;
  heartbeat_ip: u32;
  heartbeat_port: u16;
  name_back: u16;
  /** Index of its set. */
  set: u32;

  @inline is_of(set: u32, name_front: u64, name_back: u16): bool {
    const same = this.name_front == name_front && this.name_back == name_back;
    return same && this.set == set && this.used != 0;
  }

  /** With the first packet that is seen, of `sequence`. */
  begin(sequence: u64, now: u64): void {
    this.next = sequence;
    this.gaps_end = 0;
    this.heartbeat_ns = 0;
    this.alive(now);
  }

  @inline alive(now: u64): void {
    this.alive_ns = now;
    this.past_count = 0;
  }
}

export const SESSION_SIZE: usize = offsetof<Session>();
export const DECISION_SIZE: usize = offsetof<Decision>();
