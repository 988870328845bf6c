// SPDX-License-Identifier: MIT-0
#pragma once

#include <ctime>

#include "host/integers.hpp"

namespace fantail {

/// CLOCK_MONOTONIC in nanoseconds, the clock of bpf_ktime_get_ns too. No system call (vDSO).
inline u64 clock_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

/// CLOCK_REALTIME in nanoseconds since 1970: what a subscriber on another host can compare.
inline u64 realtime_ns() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

/// Turns times of CLOCK_MONOTONIC into CLOCK_REALTIME. Reads both clocks again when the last
/// reading is 10 ms old, so a step of CLOCK_REALTIME is seen after that.
class Realtime {
public:
  u64 of(u64 monotonic_ns) {
    if (monotonic_ns - read_ns_ > age_max_ns) {
      offset_ns_ = realtime_ns() - clock_ns();
      read_ns_ = monotonic_ns;
    }
    return monotonic_ns + offset_ns_;
  }

private:
  static constexpr u64 age_max_ns = 10'000'000;
  u64 offset_ns_ = 0, read_ns_ = 0;
};

} // namespace fantail
