/**
 * The plain rewrite behind an IEEE 802.1Q tag, for subscribers on a VLAN of the same wire.
 *
 * Parameter: `vid=1…4094` (needed), `pcp=0…7` (the priority, default 0), such as `vid=100 pcp=3`.
 * Without a VLAN, or with one that cannot be read, the subscriber's copies are dropped: untagged
 * they would go where nobody meant them to. No state.
 *
 * The tag stands between the MACs and the EtherType, so the MACs move 4 bytes to the front:
 *
 *   60          66          72    74    76    78
 *   │target MAC │source MAC │ 8100│ TCI │ 0800│ IPv4 as it was written …
 */
import { HEADER_SIZE, SLOT_HEADROOM } from '../layout';
import { network16, write_macs } from '../rewrite';
import { Job, burst } from '../sdk';
import { Settings, settings } from '../settings';

export { fantail_abi } from '../sdk';

const TAG_SIZE: u32 = 4;
const TAG_OFFSET: usize = 12; // behind the MACs
/** EtherType 0x8100 as it lies in memory. */
const TAG_TYPE: u32 = 0x0081;
const START: u32 = SLOT_HEADROOM - TAG_SIZE;

@unmanaged
class Vlan extends Settings {
  /** The four bytes as they lie in memory; 0 if the parameter does not say which. */
  tag: u32;

  read(): void {
    const vid = this.number('vid', 1, 4094, 0);
    const pcp = this.number('pcp', 0, 7, 0);
    const is_meant = vid != 0 && this.is_valid;
    this.tag = is_meant ? TAG_TYPE | (network16((pcp << 13) | vid) << 16) : 0;
  }
}

@unmanaged
class Tagged extends Job {
  @inline filter(): void {
    const tag = settings<Vlan>(this.subscriber).tag;
    if (!this.fits || tag == 0) return this.drop();
    this.rewrite();
    const frame = this.slot + <usize>START;
    write_macs(frame, this.subscriber);
    store<u32>(frame, tag, TAG_OFFSET);
    this.send(START, TAG_SIZE + HEADER_SIZE, HEADER_SIZE);
  }
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Tagged>(jobs, first, count);
}
