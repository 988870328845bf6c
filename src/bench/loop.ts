/**
 * The loop of a measurement: sends each message when it is due, takes copies as they come, and
 * looks at the clock for each. It never waits for a copy before it sends (open loop), and times a
 * round trip from when the message was due, so that a sender or a replicator that stalls cannot
 * hide what the stall cost.
 *
 * One thread does both, by turns: on a small machine a second busy thread would take the
 * replicator's core. It spins around each send and sleeps only where the next one is further away.
 * All times are nanoseconds.
 */

import type { Messages } from './message.js';
import type { Tally } from './tally.js';

/**
 * Messages sent in a row when they are overdue, and copies taken in a row, before the other gets
 * its turn.
 */
const SEND_BATCH = 4;
const RECEIVE_BATCH = 16;
/** How long before a send, and after it while its copy is missing, the loop spins. */
export const SPIN_NS = 1e6;
/** The longest sleep: how often it is looked at whether somebody has said stop. */
const SLEEP_NS_MAX = 50e6;
/** What comes later than this after the last send is lost; after a stop one waits less. */
const DRAIN_NS = 1e9;
const STOPPED_DRAIN_NS = 200e6;
/** When all have come, a duplicate may still follow. */
const LINGER_NS = 20e6;

export interface Schedule {
  /** Messages, those of the warm-up included. */
  readonly total: number;
  readonly warmUp: number;
  readonly intervalNs: number;
}

/** What the loop needs of the world; tests give it another. */
export interface World {
  now(): number;
  /** False: not now, try again. */
  send(message: Buffer): boolean;
  /** The length of the packet that was put into `into`, or -1 after at most `waitUs`. */
  receive(into: Buffer, waitUs: number): number;
  isStopped(): boolean;
  /**
   * Told of each send and each first copy of a counted message; `index` counts from the end of the
   * warm-up.
   */
  sent(index: number, dueNs: number, atNs: number): void;
  received(index: number, dueNs: number, atNs: number): void;
}

export interface Sent {
  /** Counted messages that have left. */
  readonly sent: number;
  /** When the first and the last of them left. */
  readonly firstNs: number;
  readonly lastNs: number;
}

export class Loop {
  private next = 0;
  private firstNs = 0;
  private lastNs = 0;
  private readonly startNs: number;
  private readonly packet = Buffer.alloc(2048);

  constructor(
    private readonly schedule: Schedule,
    private readonly messages: Messages,
    private readonly tally: Tally,
    private readonly world: World,
  ) {
    this.startNs = world.now() + SPIN_NS;
    this.lastNs = this.startNs;
  }

  run(): Sent {
    const { world, schedule } = this;
    let isStopped = false;
    while (this.next < schedule.total && !isStopped) {
      this.sendDue();
      if (this.take(0) === 0) {
        const waitUs = this.spareUs();
        if (waitUs > 0) this.take(waitUs);
      }
      isStopped = world.isStopped();
    }
    this.drain(isStopped ? STOPPED_DRAIN_NS : DRAIN_NS);
    return { sent: this.counted(), firstNs: this.firstNs, lastNs: this.lastNs };
  }

  private counted(): number {
    return Math.max(this.next - this.schedule.warmUp, 0);
  }

  private dueNs(index: number): number {
    return this.startNs + index * this.schedule.intervalNs;
  }

  private sendDue(): void {
    const { world, schedule } = this;
    for (let row = 0; row < SEND_BATCH && this.next < schedule.total; row++) {
      const dueNs = this.dueNs(this.next);
      const atNs = world.now();
      if (atNs < dueNs || !world.send(this.messages.write(this.next))) return;
      const index = this.next - schedule.warmUp;
      if (index === 0) this.firstNs = atNs;
      this.lastNs = atNs;
      this.next += 1;
      if (index >= 0) world.sent(index, dueNs, atNs);
    }
  }

  /** Takes what is there; the first packet is waited for. Returns how many came. */
  private take(waitUs: number): number {
    const { world, tally, messages, packet, schedule } = this;
    for (let row = 0; row < RECEIVE_BATCH; row++) {
      const length = world.receive(packet, row === 0 ? waitUs : 0);
      if (length < 0) return row;
      const atNs = world.now();
      const index = messages.read(packet, Math.min(length, packet.length));
      if (tally.record(index)) world.received(index - schedule.warmUp, this.dueNs(index), atNs);
    }
    return RECEIVE_BATCH;
  }

  /** How long nothing is to be done but wait for a copy; 0: spin. */
  private spareUs(): number {
    const nowNs = this.world.now();
    const spareNs = this.dueNs(this.next) - SPIN_NS - nowNs;
    const isExpecting = this.tally.received < this.counted() && nowNs < this.lastNs + SPIN_NS;
    return isExpecting || spareNs <= 0 ? 0 : Math.ceil(Math.min(spareNs, SLEEP_NS_MAX) / 1000);
  }

  private drain(longestNs: number): void {
    const { world, tally } = this;
    let endNs = this.lastNs + longestNs;
    let isWhole = false;
    for (let nowNs = world.now(); nowNs < endNs; nowNs = world.now()) {
      this.take(nowNs < this.lastNs + SPIN_NS ? 0 : SPIN_NS / 1000);
      if (!isWhole && tally.received >= this.counted()) {
        isWhole = true;
        endNs = Math.min(endNs, world.now() + LINGER_NS);
      }
    }
  }
}
