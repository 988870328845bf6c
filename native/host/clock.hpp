// SPDX-License-Identifier: MIT-0
#pragma once

#include <ctime>

#include "shm/layout.h"

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

} // namespace fantail
