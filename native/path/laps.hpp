// SPDX-License-Identifier: MIT-0
//
// Where a burst's time goes: one burst in TIMED_EVERY is timed, stage by stage. A burst that is not
// costs a comparison a stage, so this is always on. Statistics only, hence outside every commit.
#pragma once

#include "host/clock.hpp"
#include "shm/histogram.hpp"
#include "shm/store.hpp"

namespace fantail {

class Laps {
public:
  /// Before a turn. One that turns out empty is begun again and leaves no trace.
  void begin() {
    timed_ = burst_ == 0;
    if (timed_) last_ns_ = clock_ns();
  }
  /// The time since the last lap went to that stage.
  void lap(u32 stage) {
    if (!timed_) return;
    const u64 now = clock_ns();
    spent_[stage] = now - last_ns_;
    last_ns_ = now;
  }
  /// The burst is over. True if it was timed: then spent() has every stage's time.
  bool end() {
    burst_ = (burst_ + 1) % FANTAIL_TIMED_EVERY;
    return timed_;
  }
  /// The burst is over, which had so many copies: what a worker tells of it, if it was timed.
  void end(worker& self, u32 copies) {
    if (!end()) return;
    add(self.timed_bursts, 1);
    add(self.timed_copies, copies);
    for (u32 stage = 0; stage < STAGE_COUNT; ++stage) add(self.stage_ns[stage], spent_[stage]);
    add(self.kick_ns[bucket_of(spent_[STAGE_KICK])], 1);
  }
  /// The turn has no burst: no more clock readings in it.
  void cancel() { timed_ = false; }
  bool is_timed() const { return timed_; }
  u64 spent(u32 stage) const { return spent_[stage]; }

private:
  u64 spent_[STAGE_COUNT] = {};
  u64 last_ns_ = 0;
  u32 burst_ = 0;
  bool timed_ = false;
};

} // namespace fantail
