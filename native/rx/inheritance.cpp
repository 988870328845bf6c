// SPDX-License-Identifier: MIT-0
#include "rx/inheritance.hpp"

#include <utility>

#include "rx/protocol.hpp"

namespace fantail {

void Inheritance::take(Received received) {
  const Part part = parse_part(received.text);
  if (part.index == 0) coming_.clear();
  if (part.index != coming_.size()) return;
  coming_.push_back(std::move(received));
  if (coming_.size() == part.count) whole_ = std::exchange(coming_, {});
}

} // namespace fantail
