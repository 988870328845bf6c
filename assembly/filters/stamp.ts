/**
 * The plain rewrite with a time in the payload: eight bytes at a given offset become the time at
 * which the packet was received, nanoseconds since 1970 (CLOCK_REALTIME), big-endian. What they
 * held is lost, so the feed must keep room for them.
 *
 * Parameter: `offset=0…206` into the UDP payload (needed), such as `offset=20`. Without it, or with
 * one that cannot be read, the subscriber's copies are dropped. A packet that ends before the
 * eighth byte is sent unstamped. No state.
 *
 * Payload bytes are read-only, so the header stands for those up to the stamp's end as well: it
 * carries 42 + offset + 8 bytes, which must fit a slot of SLOT_SIZE, whence the limit.
 */
import { HEADER_SIZE, SLOT_SIZE, VERDICT_UNSET } from '../layout';
import { fold, network16, pair, rewrite } from '../rewrite';
import { Job, burst } from '../sdk';
import { Settings, settings } from '../settings';

export { fantail_abi } from '../sdk';

const STAMP_SIZE: u32 = 8;
const OFFSET_MAX: u32 = SLOT_SIZE - HEADER_SIZE - STAMP_SIZE;
@unmanaged
class Place extends Settings {
  /** Past OFFSET_MAX if the parameter does not say which. */
  offset: u32;

  read(): void {
    const offset = this.number('offset', 0, OFFSET_MAX, OFFSET_MAX + 1);
    this.offset = this.is_valid ? offset : OFFSET_MAX + 1;
  }
}

@unmanaged
class Stamp extends Job {
  @inline filter(): void {
    const offset = settings<Place>(this.subscriber).offset;
    if (!this.fits || offset > OFFSET_MAX) return this.drop();
    if (this.has(offset, STAMP_SIZE)) {
      this.send_stamped(offset);
    } else {
      this.rewrite();
      this.send_rewritten();
    }
  }

  /** The header starts where the slot does, so that most of the payload fits behind it. */
  @inline private send_stamped(offset: u32): void {
    const there = this.slot + <usize>HEADER_SIZE;
    const stamp = bswap<u64>(this.receive_ns);
    const before = load<u64>(this.payload + <usize>offset);
    rewrite(this.packet, this.length, this.sum_with(stamp, before, offset), this.slot, this.subscriber);
    // Words may reach past the offset, to where the stamp then is.
    for (let at: usize = 0; at < <usize>offset; at += 8) store<u64>(there + at, load<u64>(this.payload + at));
    store<u64>(there + <usize>offset, stamp);
    const size = HEADER_SIZE + offset + STAMP_SIZE;
    this.send(0, size, size);
  }

  /** The payload's sum once its bytes `before` are `stamp` (RFC 1624); unasked for, it stays so. */
  @inline private sum_with(stamp: u64, before: u64, offset: u32): u32 {
    if (this.payload_sum == VERDICT_UNSET) return VERDICT_UNSET;
    let change = fold(words(stamp) + words(~before)); // in memory's order of bytes
    // At an odd offset each byte stands in the other half of its word: the sum is the swapped one.
    if ((offset & 1) == 0) change = network16(change);
    return fold(this.payload_sum) + change;
  }
}

/** The sum of the four 16-bit words. */
@inline
function words(eight: u64): u32 {
  return pair(<u32>eight) + pair(<u32>(eight >> 32));
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Stamp>(jobs, first, count);
}
