// SPDX-License-Identifier: MIT-0
//
// What a driver has granted it need not do: some have taken a zero-copy socket and then sent
// nothing. So a frame of our own leaves through each new one before it is believed.
#pragma once

#include "netlink/netlink.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail {

/// Bytes of an ARP announcement, padded to the least frame of Ethernet.
constexpr u32 announcement_size = 60;

/// Writes one into `frame`: "`ip` is at `mac`" (RFC 5227, 2.3), which every network may hear and no
/// neighbour has to answer. `ip` is in network order.
void write_announcement(char* frame, const Mac& mac, u32 ip);

/// Sends the frame at `address` of the UMEM (`size` bytes) by a transmitting socket on whose rings
/// nothing waits, and takes its completion, so that nothing does again. Error ETIMEDOUT: it did not
/// complete in 2 s.
void prove_transmit(int tx_fd, const KernelRing& completion, u64 address, u32 size);

} // namespace fantail
