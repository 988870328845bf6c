/**
 * The plain rewrite of one packet in N, for a subscriber that watches a feed rather than trades on
 * it.
 *
 * Parameter: `n=1…4294967295` (needed), such as `n=10`. Without it, or with one that cannot be
 * read, the subscriber gets nothing.
 *
 * Packets are counted once for all subscribers, and a subscriber gets those whose number, shifted
 * by its epoch, is a multiple of its N: exactly one in N, and not the same ones for all, so that
 * the samples of many do not leave in one burst. The count is the module's own and starts anew when
 * it is loaded or its worker replaced: one sample comes early or late then, which is not worth a
 * block of state that every burst would have to commit.
 */
import { SUBSCRIBER_EPOCH } from '../layout';
import { Job, PacketMark, burst } from '../sdk';
import { Settings, settings } from '../settings';

export { fantail_abi } from '../sdk';

/** The packet that was counted last. */
const MARK: usize = memory.data(offsetof<PacketMark>(), 8);
let packets: u64 = 0;

@unmanaged
class Sampling extends Settings {
  /** 0: no packet at all. */
  n: u32;

  read(): void {
    const n = this.number('n', 1, u32.MAX_VALUE, 0);
    this.n = this.is_valid ? n : 0;
  }
}

@unmanaged
class Sample extends Job {
  @inline filter(): void {
    if (changetype<PacketMark>(MARK).is_new(this)) packets++;
    const n = settings<Sampling>(this.subscriber).n;
    if (!this.fits || n == 0) return this.drop();
    const phase = load<u64>(this.subscriber, SUBSCRIBER_EPOCH);
    if ((packets + phase) % <u64>n != 0) return this.drop();
    this.rewrite();
    this.send_rewritten();
  }
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Sample>(jobs, first, count);
}
