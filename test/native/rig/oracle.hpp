// SPDX-License-Identifier: MIT-0
//
// What must be true of a World: every frame in exactly one place, every account exact, every packet
// at every subscriber once, in order, byte for byte. Slow and obvious on purpose.
#pragma once

#include "rig/world.hpp"

namespace fantail::testing {

/// Counts in how many places each frame is, from nothing but the shared memory and what the kernel
/// holds.
class Census {
public:
  explicit Census(World& world);

  /// `lost`: RX frames that a bad descriptor has cost.
  void check_frames(u32 lost = 0) const;

  /// What an account has received and not ended is what is really under way.
  void check_accounts() const;

private:
  [[noreturn]] void say(const char* kind, u32 frame, u32 handed) const;
  void count_kernel_rx();
  void count_slow_path();
  void count_forward_rings();
  void count_worker(u32 w);
  void count_copy(u32 w, u64 address);

  World& world_;
  const Arena& arena_;
  std::vector<u32> places_, holders_; // per frame
  std::vector<u64> copies_;           // per row: frames under way for it
};

/// The datagrams that one subscriber got, and from each queue the run of packets [first, end) that
/// they were.
struct Received {
  u64 count = 0, bytes = 0;
  std::vector<u64> first, end; // per queue
};

/// Reads what the kernel transmitted for `to`: every datagram must be the next packet of its queue,
/// byte for byte.
Received read_datagrams(World& world, const subscriber& to, bool gaps_allowed = false);

/// Everything that can be checked at any time between two commits.
void check_sums(World& world);

/// The receivers' own counters: every delivered packet, and its payload bytes.
void check_feed(World& world);

/// After settle(), with subscribers that have been there from the start: each got each packet
/// exactly once, and every count is exact.
void check_all_delivered(World& world);

/// A filter's state has seen each job once, however often the filter was asked.
void check_counted_once(World& world);

} // namespace fantail::testing
