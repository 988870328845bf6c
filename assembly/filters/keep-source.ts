/**
 * The plain rewrite, but with the feed's own source address and port: subscribers that tell feeds
 * apart by their sender still can. It takes no parameter and has no state.
 *
 * Copies then claim an address that is not this machine's. Networks that check for that (reverse
 * path filters, most clouds) drop them; and socket mode cannot send them, since its source is the
 * socket's.
 */
import { PACKET_SOURCE_IP, PACKET_SOURCE_PORT, set_source } from '../rewrite';
import { Job, burst } from '../sdk';

export { fantail_abi } from '../sdk';

@unmanaged
class KeepSource extends Job {
  @inline filter(): void {
    if (!this.fits) return this.drop();
    this.rewrite();
    const ip = load<u32>(this.packet, PACKET_SOURCE_IP);
    set_source(this.header, ip, load<u16>(this.packet, PACKET_SOURCE_PORT));
    this.send_rewritten();
  }
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<KeepSource>(jobs, first, count);
}
