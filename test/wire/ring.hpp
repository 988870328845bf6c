// SPDX-License-Identifier: MIT-0
// The AF_PACKET ring through which sinks see what comes to an interface, beside the kernel's own
// stack, and the sockets that keep the kernel from answering what comes with ICMP errors.
#pragma once

#include <atomic>

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sys/mman.h>

#include "frame.hpp"

namespace wire {

// 64 MiB: over half a second of 320,000 frames of 242 bytes while this process is not scheduled.
constexpr unsigned BLOCK_SIZE = 1 << 18;
constexpr unsigned BLOCK_COUNT = 256;
constexpr unsigned BLOCK_RETIRE_MS = 4;

// One frame as the ring shows it.
struct Seen {
  const uint8_t* bytes;
  size_t size;      // on the wire
  size_t captured;  // here
  uint64_t time_ns; // CLOCK_MONOTONIC
  bool unfilled;    // its UDP checksum was left to hardware: sent by a local stack
};

// The AF_PACKET ring of one interface, incoming frames only.
class Ring {
public:
  explicit Ring(const std::string& interface) {
    socket_.reset(
        fantail::check(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "open a packet socket"));
    const int version = TPACKET_V3;
    set_option(socket_, SOL_PACKET, PACKET_VERSION, version, "choose TPACKET_V3");
    const int ignore = 1;
    set_option(socket_, SOL_PACKET, PACKET_IGNORE_OUTGOING, ignore,
               "leave out what this machine sends");
    tpacket_req3 request{};
    request.tp_block_size = BLOCK_SIZE;
    request.tp_block_nr = BLOCK_COUNT;
    request.tp_frame_size = TPACKET_ALIGNMENT << 7;
    request.tp_frame_nr = BLOCK_SIZE / request.tp_frame_size * BLOCK_COUNT;
    request.tp_retire_blk_tov = BLOCK_RETIRE_MS;
    set_option(socket_, SOL_PACKET, PACKET_RX_RING, request, "make the ring");
    void* memory = mmap(nullptr, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, socket_.get(), 0);
    if (memory == MAP_FAILED) throw fantail::error_of(errno, "map the ring");
    memory_ = static_cast<uint8_t*>(memory);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = index_of(interface);
    fantail::check(bind(socket_.get(), plain(address), sizeof address), "bind to the interface");
  }

  ~Ring() { munmap(memory_, SIZE); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Shows `taker.take()` every frame of the blocks that the kernel has closed; waits for one at
  // most `wait_ms`. False if there was none.
  template<typename Taker> bool read(Taker& taker, int wait_ms) {
    bool any = false;
    if (!closed(block())) {
      pollfd ready{socket_.get(), POLLIN | POLLERR, 0};
      poll(&ready, 1, wait_ms);
    }
    for (; closed(block()); any = true) {
      read_block(taker);
      std::atomic_ref<uint32_t> status(block()->hdr.bh1.block_status);
      status.store(TP_STATUS_KERNEL, std::memory_order_release);
      next_ = (next_ + 1) % BLOCK_COUNT;
    }
    return any;
  }

  // Since it was last asked: the kernel begins anew.
  uint64_t drops() const {
    tpacket_stats_v3 statistics{};
    socklen_t size = sizeof statistics;
    fantail::check(getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &size),
                   "read the ring's counters");
    return statistics.tp_drops;
  }

private:
  static constexpr size_t SIZE = size_t{BLOCK_SIZE} * BLOCK_COUNT;

  tpacket_block_desc* block() const {
    return reinterpret_cast<tpacket_block_desc*>(memory_ + size_t{BLOCK_SIZE} * next_);
  }

  // Pairs with the kernel's barrier before it hands the block over.
  static bool closed(tpacket_block_desc* block) {
    std::atomic_ref<uint32_t> status(block->hdr.bh1.block_status);
    return (status.load(std::memory_order_acquire) & TP_STATUS_USER) != 0;
  }

  template<typename Taker> void read_block(Taker& taker) {
    // The ring stamps wall time; what the feed wrote is monotonic. A step of the former costs one
    // block.
    const uint64_t ahead_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
    const uint32_t offset = block()->hdr.bh1.offset_to_first_pkt;
    const uint8_t* at = reinterpret_cast<const uint8_t*>(block()) + offset;
    for (uint32_t left = block()->hdr.bh1.num_pkts; left > 0; --left) {
      const auto* header = reinterpret_cast<const tpacket3_hdr*>(at);
      const uint64_t time_ns = uint64_t{header->tp_sec} * NS_PER_S + header->tp_nsec - ahead_ns;
      taker.take({at + header->tp_mac, header->tp_len, header->tp_snaplen, time_ns,
                  (header->tp_status & TP_STATUS_CSUMNOTREADY) != 0});
      at += header->tp_next_offset;
    }
  }

  fantail::Fd socket_;
  uint8_t* memory_ = nullptr;
  unsigned next_ = 0;
};

// A socket on `endpoint` that drops all it gets; none if the address is not of this machine.
inline fantail::Fd drop_at(Endpoint endpoint) {
  fantail::Fd socket(
      fantail::check(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a UDP socket"));
  sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{1, &drop_all};
  set_option(socket, SOL_SOCKET, SO_ATTACH_FILTER, program, "drop by filter");
  const sockaddr_in address = socket_address(endpoint);
  if (bind(socket.get(), plain(address), sizeof address) == 0) return socket;
  if (errno == EADDRNOTAVAIL) return fantail::Fd();
  const std::string port = std::to_string(ntohs(endpoint.port));
  throw fantail::error_of(errno, "bind " + ip_text(endpoint.ip) + ":" + port);
}

} // namespace wire
