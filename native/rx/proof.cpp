// SPDX-License-Identifier: MIT-0
#include "rx/proof.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/if_arp.h>
#include <sys/socket.h>
#include <time.h>

#include <cstring>

#include "xdp/sockets.hpp"

namespace fantail {
namespace {

/// RFC 826, for IPv4 over Ethernet.
struct [[gnu::packed]] Arp {
  Mac target, source; // of the Ethernet header
  u16 ethertype;
  u16 hardware, protocol;
  u8 hardware_size, protocol_size;
  u16 operation;
  Mac sender_mac;
  u32 sender_ip;
  Mac target_mac;
  u32 target_ip;
};
static_assert(sizeof(Arp) == 42 && sizeof(Arp) <= announcement_size);

constexpr timespec look_pause{0, 1'000'000}; // between two looks
constexpr int looks_max = 2000;

} // namespace

void write_announcement(char* frame, const Mac& mac, u32 ip) {
  Arp arp{};
  arp.target.fill(0xff);
  arp.source = arp.sender_mac = mac;
  arp.ethertype = htons(ETH_P_ARP);
  arp.hardware = htons(ARPHRD_ETHER);
  arp.protocol = htons(ETH_P_IP);
  arp.hardware_size = ETH_ALEN;
  arp.protocol_size = sizeof ip;
  arp.operation = htons(ARPOP_REQUEST);
  arp.sender_ip = arp.target_ip = ip;
  std::memset(frame, 0, announcement_size);
  std::memcpy(frame, &arp, sizeof arp);
}

void prove_transmit(int tx_fd, const KernelRing& completion, u64 address, u32 size) {
  const MappedRing mapped = map_ring(tx_fd, XDP_PGOFF_TX_RING, FANTAIL_TX_FRAMES);
  const KernelRing& tx = mapped.ring();
  const u32 first = peek(*tx.producer), completed = peek(*completion.consumer);
  tx.descriptor(first) = {address, size, 0};
  publish(*tx.producer, first + 1);
  for (int i = 0; acquire(*completion.producer) == completed; ++i) {
    if (i == looks_max) throw Error(ETIMEDOUT, "the driver did not send a frame in 2 s");
    // each time: a driver may miss the first while its link comes up
    sendto(tx_fd, nullptr, 0, MSG_DONTWAIT, nullptr, 0);
    nanosleep(&look_pause, nullptr);
  }
  publish(*completion.consumer, completed + 1);
}

} // namespace fantail
