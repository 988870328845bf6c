// SPDX-License-Identifier: MIT-0
//
// Packets that a receiver could not hand over to a worker, as far as that worker has charged them
// to its subscribers: of all feeds, to see at a glance whether there are more, and by feed, since
// each was owed to the subscribers of its own.
#pragma once

#include <array>

#include "shm/journal.hpp"

namespace fantail {

class FeedBacklog {
public:
  /// `seen`: what a predecessor of the worker has charged of this receiver's, by feed.
  FeedBacklog(const receiver& from, u32 worker, u64 (&seen)[FANTAIL_FEEDS_MAX])
      : from_(from), worker_(worker), committed_(seen) {
    for (u32 feed = 0; feed < FANTAIL_FEEDS_MAX; ++feed) all_ += seen_[feed] = peek(seen[feed]);
  }

  bool has_more() const { return acquire(from_.backlog[worker_]) != all_; }

  /// `charge(feed, count)` for each that has more. The receiver stores the sum after what it is of,
  /// so that no less is found than that; what it counts meanwhile may be found with it.
  template<class Charge> void charge(Journal& journal, Charge&& charge) {
    for (u32 feed = 0; feed < FANTAIL_FEEDS_MAX; ++feed) {
      const u64 refused = acquire(from_.feed_backlog[worker_][feed]);
      const u64 count = refused - seen_[feed];
      if (count == 0) continue;
      all_ += count;
      seen_[feed] = refused;
      journal.set(committed_[feed], refused);
      charge(feed, count);
    }
  }

private:
  const receiver& from_;
  u32 worker_;
  u64* committed_;
  u64 all_ = 0;
  std::array<u64, FANTAIL_FEEDS_MAX> seen_{};
};

} // namespace fantail
