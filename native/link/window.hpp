// SPDX-License-Identifier: MIT-0
//
// The delivery window of a packet as its worker knows it: from its first copy to its last.
//
//     begin    before the device can have any: the start of the kick, or, where the device takes
//              copies by itself (zero copy, a pump), the store of the TX producer
//     end      the worker sees that it has taken the last, from the TX ring's consumer
//
// So it is never shorter than it was. Of each timed burst the first packet is watched that has two
// copies or more on the TX ring, unless an earlier one still is. Statistics only, hence outside
// every commit.
#pragma once

#include <cstdint>

#include "shm/histogram.hpp"
#include "shm/store.hpp"

namespace fantail {

class Window {
public:
  explicit Window(u64* histogram) : histogram_(histogram) {}

  bool is_watched() const { return is_watched_; }
  /// It was not looked for yet.
  bool is_new() const { return is_watched_ && is_new_; }

  /// A packet's copies on the TX ring that are not committed: from index `first` to `end`.
  void watch(u32 first, u32 end) {
    if (end - first < 2) return; // one copy has no window
    is_watched_ = is_new_ = true;
    end_ = end;
  }
  /// The device had none at that time.
  void begin(u64 now_ns) { begin_ns_ = now_ns; }
  /// The TX ring's consumer is there: whether the device has taken the last.
  bool is_over(u32 consumer) {
    is_new_ = false;
    return static_cast<std::int32_t>(consumer - end_) >= 0;
  }
  /// It had taken the last by that time.
  void end(u64 now_ns) {
    add(histogram_[bucket_of(now_ns - begin_ns_)], 1);
    is_watched_ = false;
  }

private:
  u64* histogram_;
  u64 begin_ns_ = 0;
  u32 end_ = 0;
  bool is_watched_ = false, is_new_ = false;
};

} // namespace fantail
