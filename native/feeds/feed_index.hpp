// SPDX-License-Identifier: MIT-0
//
// Which feed a packet is of: the table's feeds, found by destination address and port. A hash table
// of fixed size, made anew for each table; a packet of the feed of the one before is found by one
// comparison, so that what a packet costs does not grow with the feeds.
#pragma once

#include <bit>

#include "shm/layout.h"
#include "shm/store.hpp"

namespace fantail {

class FeedIndex {
public:
  static constexpr u32 none = FANTAIL_FEEDS_MAX;

  /// The feeds of that table, removed ones among them: what is under way is still theirs.
  void follow(const table& now) {
    for (Slot& slot : slots_) slot = {};
    last_ = {};
    for (u32 feed = 0; feed < FANTAIL_FEEDS_MAX; ++feed) {
      const table_feed& row = now.feeds[feed];
      if (peek(row.epoch) == 0) continue;
      Slot* slot = &slots_[first_of(key_of(row.ip, row.port))];
      while (slot->key != 0) slot = next(slot);
      *slot = {key_of(row.ip, row.port), row.source, feed};
    }
  }

  /// Index of the feed of a packet with that destination and source, or `none`. Network order.
  u32 find(u32 ip, u16 port, u32 source) const {
    const u64 key = key_of(ip, port);
    if (last_.key != key) {
      const Slot* slot = &slots_[first_of(key)];
      while (slot->key != key) {
        if (slot->key == 0) return none;
        slot = next(slot);
      }
      last_ = *slot;
    }
    return last_.source == 0 || last_.source == source ? last_.feed : none;
  }

private:
  struct Slot {
    u64 key; // 0: free
    u32 source;
    u32 feed;
  };
  static constexpr u32 slots = 4 * FANTAIL_FEEDS_MAX;
  static_assert(std::has_single_bit(slots));

  /// Never 0.
  static u64 key_of(u32 ip, u16 port) { return u64{1} << 48 | u64{port} << 32 | ip; }
  /// The high bits of a product with 2^64 over the golden ratio (Knuth, 6.4).
  static u32 first_of(u64 key) {
    return static_cast<u32>(key * 0x9e3779b97f4a7c15 >> (64 - std::countr_zero(slots)));
  }
  template<class S> S* next(S* slot) const {
    return slot + 1 == slots_ + slots ? const_cast<S*>(slots_) : slot + 1;
  }

  Slot slots_[slots] = {};
  mutable Slot last_ = {};
};

} // namespace fantail
