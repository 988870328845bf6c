/**
 * The plain rewrite with a class of service and a lifetime: for networks that queue by DSCP, and
 * for subscribers that many or few routers away.
 *
 * Parameter: `dscp=0…63` (default 0), `ttl=1…255` (default: what it would have been), such as
 * `dscp=46 ttl=8`. One that cannot be read drops the subscriber's copies. No state.
 */
import { set_dscp, set_ttl } from '../rewrite';
import { Job, burst } from '../sdk';
import { Settings, settings } from '../settings';

export { fantail_abi } from '../sdk';

/** No lifetime is asked for. */
const AS_IT_IS: u32 = 0;

@unmanaged
class Service extends Settings {
  dscp: u32;
  ttl: u32;

  read(): void {
    this.dscp = this.number('dscp', 0, 63, 0);
    this.ttl = this.number('ttl', 1, 255, AS_IT_IS);
  }
}

@unmanaged
class DscpTtl extends Job {
  @inline filter(): void {
    const service = settings<Service>(this.subscriber);
    if (!this.fits || !service.is_valid) return this.drop();
    this.rewrite();
    set_dscp(this.header, service.dscp);
    if (service.ttl != AS_IT_IS) set_ttl(this.header, service.ttl);
    this.send_rewritten();
  }
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<DscpTtl>(jobs, first, count);
}
