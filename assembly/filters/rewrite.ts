/**
 * The default filter: every subscriber gets every packet under a plain new header. It takes no
 * parameter and has no state.
 *
 * The ordinary path goes through here like any other: the worker calls `fantail_burst` once per
 * burst.
 */
import { Job, burst } from '../sdk';

export { fantail_abi } from '../sdk';

@unmanaged
class Plain extends Job {
  @inline filter(): void {
    if (this.fits) {
      this.rewrite();
      this.send_rewritten();
    } else {
      this.drop();
    }
  }
}

/** Answers jobs [first, first + count) of those at `jobs`. */
export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Plain>(jobs, first, count);
}
