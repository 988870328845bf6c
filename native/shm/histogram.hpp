// SPDX-License-Identifier: MIT-0
//
// Log-linear latency buckets: 8 to an octave, so a bucket is at most 12.5 % wide. Values below 8
// have one each.
#pragma once

#include <algorithm>
#include <bit>

#include "shm/layout.h"

namespace fantail {

constexpr u32 bucket_of(u64 value) {
  if (value < 8) return static_cast<u32>(value);
  const u32 octave = static_cast<u32>(std::bit_width(value)) - 4; // value >> octave is 8 to 15
  return std::min(octave * 8 + static_cast<u32>(value >> octave), FANTAIL_HISTOGRAM_BUCKETS - 1);
}

static_assert(bucket_of(7) == 7 && bucket_of(8) == 8 && bucket_of(15) == 15 && bucket_of(16) == 16);
static_assert(bucket_of(~0ull) < FANTAIL_HISTOGRAM_BUCKETS);

} // namespace fantail
