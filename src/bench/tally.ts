/**
 * What has become of the messages of a run: received, twice, late. The first `warmUp` of them are
 * sent and looked at like the others, and counted nowhere. Pure.
 */
import { CORRUPT, FOREIGN } from './message.js';

export class Tally {
  /** Counted messages only. */
  received = 0;
  duplicated = 0;
  /** Came after a message that was sent later. */
  reordered = 0;
  corrupt = 0;
  /** Packets that are no message of this run. */
  foreign = 0;
  private highest = -1;
  private readonly seen: Uint8Array;

  constructor(
    total: number,
    private readonly warmUp: number,
  ) {
    this.seen = new Uint8Array(Math.ceil(total / 8));
  }

  /** Takes what Messages.read said; true: a counted message, for the first time. */
  record(index: number): boolean {
    if (index < 0) {
      if (index === CORRUPT) this.corrupt += 1;
      if (index === FOREIGN) this.foreign += 1;
      return false;
    }
    const byte = this.seen[index >> 3] ?? 0;
    const bit = 1 << (index & 7);
    const isCounted = index >= this.warmUp;
    if ((byte & bit) !== 0) {
      if (isCounted) this.duplicated += 1;
      return false;
    }
    this.seen[index >> 3] = byte | bit;
    if (!isCounted) return false;
    this.received += 1;
    if (index < this.highest) this.reordered += 1;
    else this.highest = index;
    return true;
  }
}
