// SPDX-License-Identifier: MIT-0
#include "rig/fake_kernel.hpp"

#include <algorithm>
#include <cstring>

namespace fantail::testing {

void QueueMemory::begin(const FrameRange& frames, u32 start) {
  for (Word* word : {&rx_producer, &rx_consumer, &fill_producer, &fill_consumer, &tx_producer,
                     &tx_consumer, &completion_producer, &completion_consumer})
    word->value = start;
  const KernelRing ring = fill_ring();
  for (u32 i = 0; i < frames.count; ++i)
    ring.address(start + i) = u64{frames.first + i} * FANTAIL_FRAME_SIZE;
  fill_producer.value = start + frames.count;
}

// -- the receiving half ---------------------------------------------------------------------------

bool FakeRx::deliver(std::span<const u8> bytes) {
  return deliver_as(bytes, static_cast<u32>(bytes.size()));
}

bool FakeRx::deliver_as(std::span<const u8> bytes, u32 length) {
  const u32 taken = peek(*fill_.consumer), put = peek(*rx_.producer);
  if (acquire(*fill_.producer) == taken || put - acquire(*rx_.consumer) == rx_.size) return false;
  const u64 address = fill_.address(taken) + headroom;
  std::memcpy(umem_ + address, bytes.data(), bytes.size());
  rx_.descriptor(put) = {address, length, 0};
  kernel_store(*fill_.consumer, taken + 1);
  kernel_store(*rx_.producer, put + 1);
  return true;
}

// -- the transmitting half ------------------------------------------------------------------------

FakeTx::FakeTx(char* umem, u64 umem_size, QueueMemory& memory)
    : umem_(umem), umem_size_(umem_size), memory_(&memory), has_(umem_size / FANTAIL_FRAME_SIZE) {}

void FakeTx::transmit(u32 count) {
  const KernelRing tx = memory_->tx_ring(), done = memory_->completion_ring();
  const u32 first = peek(*tx.consumer), waiting = acquire(*tx.producer) - first;
  if (waiting > tx.size) return complain("the TX ring holds more than it has room for");
  const u32 unreaped = peek(*done.producer) - acquire(*done.consumer);
  count = std::min({count, waiting, done.size - unreaped - static_cast<u32>(held_.size())});
  for (u32 i = 0; i < count; ++i) send(tx.descriptor(first + i));
  kernel_store(*tx.consumer, first + count);
}

void FakeTx::complete(u32 count, u32 skip) {
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

bool FakeTx::is_idle() const {
  return held_.empty() && acquire(memory_->tx_producer.value) == peek(memory_->tx_consumer.value);
}

u32 FakeTx::waiting() const {
  return acquire(memory_->tx_producer.value) - peek(memory_->tx_consumer.value);
}

u32 FakeTx::held() const { return static_cast<u32>(held_.size()); }
u64 FakeTx::held_address(u32 index) const { return held_[index].address; }

void FakeTx::send(const xdp_desc& descriptor) {
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

void FakeTx::complain(const char* what) {
  if (complaint_.empty()) complaint_ = what;
}

} // namespace fantail::testing
