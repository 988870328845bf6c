/**
 * The default filter: every subscriber gets every packet under a plain new header. It has no state.
 *
 * The ordinary path goes through here like any other: the worker calls `fantail_burst` once per
 * burst.
 */
import { HEADER_SIZE, SLOT_HEADROOM } from './layout';
import { fits, rewrite } from './rewrite';
import { Job, burst } from './sdk';

export { fantail_abi } from './sdk';

@unmanaged
class Plain extends Job {
  @inline filter(): void {
    const length = this.length;
    if (fits(length)) {
      rewrite(length, this.payload_sum, this.slot + <usize>SLOT_HEADROOM, this.subscriber);
      this.send(SLOT_HEADROOM, HEADER_SIZE, HEADER_SIZE);
    } else {
      this.drop();
    }
  }
}

/** Answers jobs [first, first + count) of those at `jobs`. */
export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Plain>(jobs, first, count);
}
