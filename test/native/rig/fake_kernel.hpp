// SPDX-License-Identifier: MIT-0
//
// Plain memory in the place of an AF_XDP socket's rings, and what the kernel does at its side of
// them. It checks what it is given: descriptors inside a frame, no frame twice, no byte changed
// while the kernel has the frame.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
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

  /// Empty rings whose cursors stand at `start`, all RX frames of the queue on the fill ring.
  void begin(u32 queue, u32 start) {
    for (Word* word : {&rx_producer, &rx_consumer, &fill_producer, &fill_consumer, &tx_producer,
                       &tx_consumer, &completion_producer, &completion_consumer})
      word->value = start;
    const KernelRing ring = fill_ring();
    for (u32 i = 0; i < FANTAIL_RX_FRAMES; ++i)
      ring.address(start + i) = (u64{queue} * FANTAIL_RX_FRAMES + i) * FANTAIL_FRAME_SIZE;
    fill_producer.value = start + FANTAIL_RX_FRAMES;
  }
};

/// The kernel's stores are no fault points: it is not what gets killed.
inline void kernel_store(u32& word, u32 value) {
  std::atomic_ref<u32>(word).store(value, std::memory_order_release);
}

/// The receiving half of a queue.
class FakeRx {
public:
  FakeRx(char* umem, QueueMemory& memory) : umem_(umem), memory_(&memory) {}

  /// Takes a frame from the fill ring, fills it and puts it on the RX ring. False: no frame, or no
  /// room; it is lost.
  bool deliver(std::span<const u8> bytes) {
    return deliver_as(bytes, static_cast<u32>(bytes.size()));
  }

  /// The same with a descriptor that says `length`.
  bool deliver_as(std::span<const u8> bytes, u32 length) {
    const KernelRing fill = memory_->fill_ring(), rx = memory_->rx_ring();
    const u32 taken = peek(*fill.consumer), put = peek(*rx.producer);
    if (acquire(*fill.producer) == taken || put - acquire(*rx.consumer) == rx.size) return false;
    const u64 address = fill.address(taken) + headroom;
    std::memcpy(umem_ + address, bytes.data(), bytes.size());
    rx.descriptor(put) = {address, length, 0};
    kernel_store(*fill.consumer, taken + 1);
    kernel_store(*rx.producer, put + 1);
    return true;
  }

  static constexpr u32 headroom = 256; // XDP_PACKET_HEADROOM

private:
  char* umem_;
  QueueMemory* memory_;
};

/// The transmitting half of a queue.
class FakeTx {
public:
  FakeTx(char* umem, u64 umem_size, QueueMemory& memory)
      : umem_(umem), umem_size_(umem_size), memory_(&memory), has_(umem_size / FANTAIL_FRAME_SIZE) {
  }

  /// Sends at most `count` descriptors; their frames stay with the kernel until complete().
  void transmit(u32 count) {
    const KernelRing tx = memory_->tx_ring(), done = memory_->completion_ring();
    const u32 first = peek(*tx.consumer), waiting = acquire(*tx.producer) - first;
    if (waiting > tx.size) return complain("the TX ring holds more than it has room for");
    const u32 unreaped = peek(*done.producer) - acquire(*done.consumer);
    count = std::min({count, waiting, done.size - unreaped - static_cast<u32>(held_.size())});
    for (u32 i = 0; i < count; ++i) send(tx.descriptor(first + i));
    kernel_store(*tx.consumer, first + count);
  }

  /// Completes at most `count` of the frames it holds, beginning `skip` from the oldest.
  void complete(u32 count, u32 skip = 0) {
    const KernelRing done = memory_->completion_ring();
    for (; count != 0 && skip < held_.size(); --count) {
      const Held held = held_[skip];
      held_.erase(held_.begin() + skip);
      has_[held.address / FANTAIL_FRAME_SIZE] = false;
      if (std::memcmp(umem_ + held.address, held.bytes.data(), held.bytes.size()) != 0)
        complain("a frame changed while the kernel had it");
      const u32 at = peek(*done.producer);
      done.address(at) = held.address;
      kernel_store(*done.producer, at + 1);
    }
  }

  bool is_idle() const {
    return held_.empty() && acquire(memory_->tx_producer.value) == peek(memory_->tx_consumer.value);
  }
  u32 waiting() const {
    return acquire(memory_->tx_producer.value) - peek(memory_->tx_consumer.value);
  }
  u32 held() const { return static_cast<u32>(held_.size()); }
  u64 held_address(u32 index) const { return held_[index].address; }
  /// Every datagram ever transmitted, in order.
  const std::vector<Bytes>& sent() const { return sent_; }
  const std::string& complaint() const { return complaint_; }

private:
  struct Held {
    u64 address;
    Bytes bytes;
  };

  void send(const xdp_desc& descriptor) {
    const u64 in_frame = descriptor.addr % FANTAIL_FRAME_SIZE;
    if (descriptor.addr >= umem_size_ || descriptor.len == 0 ||
        in_frame + descriptor.len > FANTAIL_FRAME_SIZE || descriptor.options != 0)
      return complain("a TX descriptor is invalid");
    if (has_[descriptor.addr / FANTAIL_FRAME_SIZE])
      return complain("a frame was submitted while the kernel had it");
    has_[descriptor.addr / FANTAIL_FRAME_SIZE] = true;
    const u8* from = reinterpret_cast<const u8*>(umem_ + descriptor.addr);
    held_.push_back({descriptor.addr, Bytes(from, from + descriptor.len)});
    sent_.push_back(held_.back().bytes);
  }

  void complain(const char* what) {
    if (complaint_.empty()) complaint_ = what;
  }

  char* umem_;
  u64 umem_size_;
  QueueMemory* memory_;
  std::deque<Held> held_;
  std::vector<bool> has_; // per frame: it is among those held
  std::vector<Bytes> sent_;
  std::string complaint_;
};

} // namespace fantail::testing
