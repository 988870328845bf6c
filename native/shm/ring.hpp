// SPDX-License-Identifier: MIT-0
//
// A lock-free ring with one writer and one reader, in the arena.
//
//        producer (receiver, or worker)              consumer (worker, or receiver)
//        next() … journal.set(tail)                  take(slot) … journal.set(head)
//        tail: its own cache line                    head: its own cache line
//
// Cursors are u64, run free, and are masked at use. A ring has room for every frame that could be
// in it, so next() cannot fail. Each end works ahead privately; its stage commits the cursor with
// everything else of the burst, so a killed consumer leaves its slots, and a killed producer its
// frames, to the successor.
#pragma once

#include <bit>
#include <cassert>

#include "shm/journal.hpp"

namespace fantail {

template<class Slot> class Producer {
public:
  Producer() = default;
  Producer(ring_header* header, Slot* slots, u32 slot_count)
      : header_(header), slots_(slots), mask_(slot_count - 1), tail_(peek(header->tail)) {
    assert(std::has_single_bit(slot_count));
  }
  /// The slot to fill next. Invisible to the consumer until the tail is committed.
  Slot& next() { return slots_[tail_++ & mask_]; }
  u64 tail() const { return tail_; }
  bool moved() const { return tail_ != peek(header_->tail); }
  void commit_to(Journal& journal) const { journal.set(header_->tail, tail_); }

private:
  ring_header* header_ = nullptr;
  Slot* slots_ = nullptr;
  u32 mask_ = 0;
  u64 tail_ = 0;
};

template<class Slot> class Consumer {
public:
  Consumer() = default;
  Consumer(ring_header* header, Slot* slots, u32 slot_count)
      : header_(header), slots_(slots), mask_(slot_count - 1), head_(peek(header->head)),
        tail_seen_(head_) {
    assert(std::has_single_bit(slot_count));
  }
  /// Slots to read, at least one if there is any. The far cursor is stale on purpose until it is
  /// needed.
  u32 available() {
    // pairs with the commit of the producer's tail
    if (tail_seen_ == head_) tail_seen_ = acquire(header_->tail);
    return static_cast<u32>(tail_seen_ - head_);
  }
  /// The next slot, which stays the next; available() has said that there is one.
  const Slot& look() const { return slots_[head_ & mask_]; }
  /// The next slot; available() has said that there is one. Stays ours until the head is committed.
  const Slot& take() { return slots_[head_++ & mask_]; }
  u64 head() const { return head_; }
  bool moved() const { return head_ != peek(header_->head); }
  void commit_to(Journal& journal) const { journal.set(header_->head, head_); }
  /// A racy look for the way to sleep: was anything there just now?
  bool was_empty() const { return acquire(header_->tail) == head_; }

private:
  ring_header* header_ = nullptr;
  Slot* slots_ = nullptr;
  u32 mask_ = 0;
  u64 head_ = 0;
  u64 tail_seen_ = 0;
};

} // namespace fantail
