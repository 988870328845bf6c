/**
 * The trade message that a measurement sends: valid JSON of one fixed length, in the form that
 * exchanges publish trades in. `t` is the message's id and `b` the run's, ten digits each, so that
 * a copy tells which message of which run it is; everything else is the same in all messages of a
 * run.
 */

// ten digits, none of them a leading zero: JSON knows no such numbers
const ID_FIRST = 1_000_000_000;
const ID_DIGITS = 10;
const ZERO = 0x30;

/**
 * What `read` says of a packet that is no message of this run, and of one that is, but was changed.
 */
export const FOREIGN = -1;
export const CORRUPT = -2;

/**
 * A run's id at random: two measurements through one replicator do not count each other's copies.
 */
export function randomRun(): number {
  return ID_FIRST + Math.floor(Math.random() * 8 * ID_FIRST);
}

export class Messages {
  /** The message that was written last. */
  readonly bytes: Buffer;
  private readonly idStart: number;
  private readonly idEnd: number;
  private readonly runStart: number;
  private readonly runEnd: number;

  constructor(
    run: number,
    private readonly count: number,
    nowMs: number,
  ) {
    const text =
      `{"e":"trade","E":${nowMs},"s":"BTC-USDT","t":${ID_FIRST},"p":"45000","q":"1.5",` +
      `"b":${run},"a":${ID_FIRST},"T":${nowMs},"S":"1","X":"MARKET"}`;
    this.bytes = Buffer.from(text);
    this.idStart = text.indexOf('"t":') + '"t":'.length;
    this.idEnd = this.idStart + ID_DIGITS;
    this.runStart = text.indexOf('"b":') + '"b":'.length;
    this.runEnd = this.runStart + ID_DIGITS;
  }

  /** Message `index`, from 0. */
  write(index: number): Buffer {
    let rest = ID_FIRST + index;
    for (let place = this.idEnd - 1; place >= this.idStart; place--) {
      this.bytes[place] = ZERO + (rest % 10);
      rest = Math.floor(rest / 10);
    }
    return this.bytes;
  }

  /** Index of the message that `length` bytes of a packet are, FOREIGN or CORRUPT. */
  read(packet: Buffer, length: number): number {
    const { idStart, idEnd, bytes } = this;
    if (length !== bytes.length || !this.isSame(packet, this.runStart, this.runEnd)) return FOREIGN;
    if (!this.isSame(packet, 0, idStart) || !this.isSame(packet, idEnd, length)) return CORRUPT;
    let id = 0;
    for (let place = idStart; place < idEnd; place++) {
      const digit = (packet[place] ?? 0) - ZERO;
      if (digit < 0 || digit > 9) return CORRUPT;
      id = id * 10 + digit;
    }
    const index = id - ID_FIRST;
    return index >= 0 && index < this.count ? index : CORRUPT;
  }

  private isSame(packet: Buffer, start: number, end: number): boolean {
    return packet.compare(this.bytes, start, end, start, end) === 0;
  }
}
