/**
 * The datagram in a tunnel: Ethernet, IPv4 with protocol 47, a GRE header of four bytes (RFC 2784,
 * without checksum), then an IPv4 and UDP datagram. 24 bytes longer than the plain copy, and as
 * such held against the MTU.
 *
 * Parameter: `inner=subscriber` (default): the inner datagram is the plain copy, so that the far
 * end delivers it to the subscriber's port; `inner=feed`: the addresses and ports of the feed as
 * they came, as if the far end were on the feed's own network (a multicast group stays one). A
 * parameter that cannot be read drops the subscriber's copies. No state.
 *
 *   40        54          74    76    78           98      106
 *   │Ethernet │IPv4, 47   │ 0000│ 0800│inner IPv4  │UDP     │ payload
 */
import { HEADER_SIZE, SLOT_HEADROOM, VERDICT_UNSET } from '../layout';
import { ETHERNET_SIZE, IP_SIZE, fits, set_udp_checksum, write_ip } from '../rewrite';
import { Job, burst } from '../sdk';
import { Settings, settings } from '../settings';

export { fantail_abi } from '../sdk';

const GRE_SIZE: u32 = 4;
const OUTER_SIZE: u32 = IP_SIZE + GRE_SIZE;
/** No flags, version 0, protocol type 0x0800 (IPv4), as they lie in memory. */
const GRE_IP: u32 = 0x00080000;
/** GRE's number (IANA, protocol numbers). */
const PROTOCOL_GRE: u32 = 47;
const START: u32 = SLOT_HEADROOM - OUTER_SIZE;

@unmanaged
class Tunnel extends Settings {
  keeps_feed: bool;

  read(): void {
    this.keeps_feed = this.is('inner', 'feed');
    if (!this.keeps_feed) this.is('inner', 'subscriber');
  }
}

@unmanaged
class Gre extends Job {
  @inline filter(): void {
    const tunnel = settings<Tunnel>(this.subscriber);
    const longer = this.length + OUTER_SIZE;
    if (!this.fits || !fits(longer) || !tunnel.is_valid) return this.drop();
    if (tunnel.keeps_feed) this.keep_feed();
    else this.rewrite();
    const frame = this.slot + <usize>START; // its first 38 bytes end over the inner Ethernet header
    write_ip(frame, this.subscriber, longer - ETHERNET_SIZE, PROTOCOL_GRE);
    store<u32>(frame, GRE_IP, <usize>(ETHERNET_SIZE + IP_SIZE));
    this.send(START, OUTER_SIZE + HEADER_SIZE, HEADER_SIZE);
  }

  /**
   * The packet's own IPv4 and UDP header, but for the UDP checksum, which a local sender leaves
   * unfilled.
   */
  @inline private keep_feed(): void {
    const header = this.header;
    const packet = this.packet;
    for (let at: usize = 14; at < 38; at += 8) store<u64>(header + at, load<u64>(packet + at));
    store<u32>(header, load<u16>(packet, 38), 38); // the UDP length, and a checksum of 0: none
    if (this.payload_sum != VERDICT_UNSET) set_udp_checksum(header, this.payload_sum);
  }
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Gre>(jobs, first, count);
}
