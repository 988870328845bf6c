// SPDX-License-Identifier: MIT-0
//
// A worker's free TX frames: two rings, taken from the hot one first.
//
//     put_back(): hot ring, at most HOT_FRAMES ─┐
//                 else the free ring ───────────┴→ take(): hot ring, else free ring
//
// One ring alone would walk through all TX frames, and every copy would be written into memory that
// no cache holds any more. One worker owns both; its cursors are committed with everything else of
// a burst.
#pragma once

#include "shm/arena.hpp"
#include "shm/journal.hpp"

namespace fantail {

class FreeFrames {
public:
  FreeFrames() = default;
  FreeFrames(Arena& arena, u32 index)
      : self_(&arena.worker(index)), cold_(arena.free_frames(index)),
        hot_(cold_ + FANTAIL_TX_FRAMES), cold_head_(peek(self_->free_head)),
        cold_tail_(peek(self_->free_tail)), hot_head_(peek(self_->hot_head)),
        hot_tail_(peek(self_->hot_tail)) {}

  /// Frames that take() can give. Those that were put since the last commit do not count: until
  /// then their tags say whose completions they were.
  u32 room() const {
    return static_cast<u32>(peek(self_->hot_tail) - hot_head_ + peek(self_->free_tail) -
                            cold_head_);
  }
  /// room() has said that there is one.
  u32 take() {
    if (hot_head_ != peek(self_->hot_tail)) return hot_[hot_head_++ % FANTAIL_HOT_FRAMES];
    return cold_[cold_head_++ % FANTAIL_TX_FRAMES];
  }
  /// A slot whose frame was taken since the last commit is still a successor's to take, so it is
  /// not overwritten.
  void put_back(u32 frame) {
    if (hot_tail_ - peek(self_->hot_head) < FANTAIL_HOT_FRAMES)
      put(hot_[hot_tail_++ % FANTAIL_HOT_FRAMES], frame);
    else put(cold_[cold_tail_++ % FANTAIL_TX_FRAMES], frame);
  }
  void commit_to(Journal& journal) const {
    if (hot_head_ != peek(self_->hot_head)) journal.set(self_->hot_head, hot_head_);
    if (hot_tail_ != peek(self_->hot_tail)) journal.set(self_->hot_tail, hot_tail_);
    if (cold_head_ != peek(self_->free_head)) journal.set(self_->free_head, cold_head_);
    if (cold_tail_ != peek(self_->free_tail)) journal.set(self_->free_tail, cold_tail_);
  }

private:
  worker* self_ = nullptr;
  u32* cold_ = nullptr;
  u32* hot_ = nullptr;
  u64 cold_head_ = 0, cold_tail_ = 0, hot_head_ = 0, hot_tail_ = 0; // ahead of what is committed
};

} // namespace fantail
