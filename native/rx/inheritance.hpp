// SPDX-License-Identifier: MIT-0
//
// What a supervisor leaves to the next one: messages with descriptors, of which only a whole set
// counts.
#pragma once

#include <vector>

#include "host/descriptor_passing.hpp"

namespace fantail {

class Inheritance {
public:
  /// Throws if it is none of its parts. One whose beginning was lost is dropped.
  void take(Received part);
  /// Whoever would have sent the rest is gone.
  void drop_unfinished() { coming_.clear(); }
  /// The last that came whole, in order; empty: none did.
  const std::vector<Received>& whole() const { return whole_; }

private:
  std::vector<Received> coming_, whole_;
};

} // namespace fantail
