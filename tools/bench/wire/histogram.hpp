// SPDX-License-Identifier: MIT-0
//
// The sink's histograms: log-linear buckets as wire.h counts them in the kernel, and a percentile
// inside one by its share.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>

#include "frame.hpp"

namespace bench {

constexpr std::array<double, 5> QUANTILES{0.5, 0.9, 0.99, 0.999, 0.9999};

inline u32 bucket_of(u64 value) {
  if (value < 2u << WIRE_BUCKET_BITS) return static_cast<u32>(value);
  const u32 shift = static_cast<u32>(std::bit_width(value)) - WIRE_BUCKET_BITS - 1;
  return std::min<u32>((shift << WIRE_BUCKET_BITS) + static_cast<u32>(value >> shift),
                       WIRE_BUCKETS - 1);
}

inline double bucket_start(u32 bucket) {
  const u32 shift = bucket >> WIRE_BUCKET_BITS;
  if (shift < 2) return bucket;
  return static_cast<double>((u64{bucket} - (u64{shift - 1} << WIRE_BUCKET_BITS)) << (shift - 1));
}

class Histogram {
public:
  void add(const u32* buckets, u64 max) {
    for (u32 i = 0; i < WIRE_BUCKETS; ++i) counts_[i] += buckets[i];
    max_ = std::max(max_, max);
  }
  void note(u64 value) {
    ++counts_[bucket_of(value)];
    max_ = std::max(max_, value);
  }
  double percentile(double quantile) const {
    u64 total = 0;
    for (const u64 count : counts_) total += count;
    const double wanted = quantile * static_cast<double>(total);
    double passed = 0;
    for (u32 i = 0; i < WIRE_BUCKETS; ++i) {
      const auto count = static_cast<double>(counts_[i]);
      if (count == 0 || passed + count < wanted) {
        passed += count;
        continue;
      }
      const double share = (wanted - passed) / count;
      const double value = bucket_start(i) + share * (bucket_start(i + 1) - bucket_start(i));
      return std::min(value, static_cast<double>(max_));
    }
    return static_cast<double>(max_);
  }
  /// [p50, p90, p99, p99.9, p99.99, max], ns.
  std::string json() const {
    std::string text = "[";
    for (const double quantile : QUANTILES)
      text += std::to_string(std::lround(percentile(quantile))) + ",";
    return text + std::to_string(max_) + "]";
  }

private:
  std::array<u64, WIRE_BUCKETS> counts_{};
  u64 max_ = 0;
};

} // namespace bench
