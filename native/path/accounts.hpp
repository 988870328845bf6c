// SPDX-License-Identifier: MIT-0
//
// What a worker counts of each subscriber. Every packet that it received ends as sent or as a drop;
// those that have not are in flight, which nobody needs to count.
//
// A row that is counted for has a private copy, which runs ahead of what is committed; commit_to()
// notes the words that differ. So a commit costs what has changed and not what there is, and a
// successor's start costs nothing: a row is copied when it is first counted for.
#pragma once

#include <memory>
#include <vector>

#include "shm/arena.hpp"

namespace fantail {

class Accounts {
public:
  explicit Accounts(Arena& arena);

  /// The subscriber that a row counts for.
  u64 epoch(u16 row) const { return committed_[row].epoch; }
  /// The row counts for a new subscriber, from zero; commits by itself, so nothing else may be
  /// pending. Its predecessor has nothing in flight: the supervisor saw to it.
  void restart(u16 row, u64 epoch, Journal& journal);

  /// So many packets are owed to it.
  void owe(u16 row, u64 count = 1) { ahead(row, received).received += count; }
  /// A copy in flight has ended. `outcome` as in struct tag: 0 sent, else 1 + enum drop.
  void end(u16 row, u32 outcome, u32 bytes);
  /// Packets that it will not get.
  void drop(u16 row, u32 why, u64 count = 1) { ahead(row, dropped << why).drop[why] += count; }

  void commit_to(Journal& journal);

private:
  /// Bits of changes_: which words of a row differ from the committed ones.
  static constexpr u32 received = 1, sent = 2, dropped = 4; // dropped << enum drop
  static constexpr u32 copied = 1u << 31;                   // no change: the row has its copy
  static_assert(DROP_COUNT <= 29);

  /// The private copy of a row, of which those words are about to change.
  counters& ahead(u16 row, u32 words) {
    if ((changes_[row] & ~copied) == 0) {
      changed_.push_back(row);
      if (changes_[row] == 0) ahead_[row] = committed_[row];
    }
    changes_[row] |= words | copied;
    return ahead_[row];
  }

  counters* committed_;
  std::unique_ptr<counters[]> ahead_; // by row; means something once it is copied
  std::vector<u32> changes_;          // by row
  std::vector<u16> changed_;          // rows with any bit set
};

} // namespace fantail
