// SPDX-License-Identifier: MIT-0
//
// Plain memory in the place of an AF_XDP socket's rings, and what the kernel does at its side of
// them. It checks what it is given: descriptors inside a frame, no frame twice, no byte changed
// while the kernel has the frame.
#pragma once

#include <deque>
#include <span>

#include "rig/feed.hpp"
#include "shm/arena.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail::testing {

/// The rings of one queue. Cursors a cache line each; page aligned, behind the arena in one
/// mapping.
struct alignas(4096) QueueMemory {
  struct alignas(64) Word {
    u32 value;
  };
  Word rx_producer, rx_consumer, fill_producer, fill_consumer;
  Word tx_producer, tx_consumer, completion_producer, completion_consumer;
  xdp_desc rx[FANTAIL_RX_FRAMES];
  u64 fill[FANTAIL_RX_FRAMES];
  xdp_desc tx[FANTAIL_TX_FRAMES];
  u64 completion[FANTAIL_TX_FRAMES];

  KernelRing rx_ring() {
    return {&rx_producer.value, &rx_consumer.value, nullptr, rx, FANTAIL_RX_FRAMES};
  }
  KernelRing fill_ring() {
    return {&fill_producer.value, &fill_consumer.value, nullptr, fill, FANTAIL_RX_FRAMES};
  }
  KernelRing tx_ring() {
    return {&tx_producer.value, &tx_consumer.value, nullptr, tx, FANTAIL_TX_FRAMES};
  }
  KernelRing completion_ring() {
    return {&completion_producer.value, &completion_consumer.value, nullptr, completion,
            FANTAIL_TX_FRAMES};
  }

  /// Empty rings whose cursors stand at `start`, those RX frames on the fill ring.
  void begin(const FrameRange& frames, u32 start);
};

/// The kernel's stores are no fault points: it is not what gets killed.
inline void kernel_store(u32& word, u32 value) {
  std::atomic_ref<u32>(word).store(value, std::memory_order_release);
}

/// The receiving half of a queue.
class FakeRx {
public:
  FakeRx(char* umem, const KernelRing& fill, const KernelRing& rx)
      : umem_(umem), fill_(fill), rx_(rx) {}

  /// Takes a frame from the fill ring, fills it and puts it on the RX ring. False: no frame, or no
  /// room; it is lost.
  bool deliver(std::span<const u8> bytes);

  /// The same with a descriptor that says `length`.
  bool deliver_as(std::span<const u8> bytes, u32 length);

  /// Frames that it has been given.
  u32 room() const { return peek(*fill_.producer) - peek(*fill_.consumer); }

  static constexpr u32 headroom = 256; // XDP_PACKET_HEADROOM

private:
  char* umem_;
  KernelRing fill_, rx_;
};

/// The transmitting half of a queue.
class FakeTx {
public:
  FakeTx(char* umem, u64 umem_size, QueueMemory& memory);

  /// Sends at most `count` descriptors; their frames stay with the kernel until complete().
  void transmit(u32 count);

  /// Completes at most `count` of the frames it holds, beginning `skip` from the oldest.
  void complete(u32 count, u32 skip = 0);

  bool is_idle() const;
  u32 waiting() const;
  u32 held() const;
  u64 held_address(u32 index) const;
  /// Every datagram ever transmitted, in order.
  const std::vector<Bytes>& sent() const { return sent_; }
  const std::string& complaint() const { return complaint_; }

private:
  struct Held {
    u64 address;
    Bytes bytes;
  };

  void send(const xdp_desc& descriptor);
  void complain(const char* what);

  char* umem_;
  u64 umem_size_;
  QueueMemory* memory_;
  std::deque<Held> held_;
  std::vector<bool> has_; // per frame: it is among those held
  std::vector<Bytes> sent_;
  std::string complaint_;
};

} // namespace fantail::testing
