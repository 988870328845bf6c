// SPDX-License-Identifier: MIT-0
//
// The frames that a worker transmits: which are free, and which copy each that is not free is.
//
//     put_back(): hot ring, at most HOT_FRAMES ─┐
//                 else the free ring ───────────┴→ take(): hot ring, else free ring
//
// One ring alone would walk through all TX frames, and every copy would be written into memory that
// no cache holds any more. One worker owns both; its cursors are committed with everything else of
// a burst. A tag is written before its frame is submitted and read when that completes.
#pragma once

#include <algorithm>

#include "link/bulk_link.hpp"
#include "shm/arena.hpp"

namespace fantail {

class TxFrames {
public:
  /// `pages`: as in place().
  TxFrames(Arena& arena, u32 index, char* pages)
      : self_(arena.worker(index)), cold_(arena.free_frames(index)),
        hot_(cold_ + FANTAIL_TX_FRAMES), rx_tag_(arena.rx_tag()), tx_tag_(arena.tx_tag(index)),
        rx_frames_(arena.header().rx_frames), first_(arena.tx_frame_first(index)),
        umem_(arena.frame(first_)), pages_(pages), hot_head_(peek(self_.hot_head)),
        hot_tail_(peek(self_.hot_tail)), cold_head_(peek(self_.free_head)),
        cold_tail_(peek(self_.free_tail)) {}
  /// Where their memory is: in the worker's map for bulk transmit; null: in the UMEM. No copy is on
  /// its way.
  void place(char* pages) { pages_ = pages; }

  /// A received frame, that goes back to its receiver; else one of this worker's own.
  bool is_received(u32 frame) const { return frame < rx_frames_; }
  /// Null: neither received nor this worker's, so that we never submitted it.
  tag* tag_of(u32 frame) const { return is_received(frame) ? rx_tag_ + frame : own_tag_of(frame); }
  /// Null: not this worker's own.
  tag* own_tag_of(u32 frame) const {
    return frame - first_ < FANTAIL_TX_FRAMES ? tx_tag_ + (frame - first_) : nullptr;
  }

  /// Where in the UMEM a copy starts. Cache colouring: frames are page aligned, so copies that all
  /// started at one offset would conflict in a few sets of each cache.
  u32 start_of(u32 frame, u32 length) const {
    const u32 end = (FANTAIL_FRAME_SIZE - length) / line * line;
    const u32 colour_size = pages_ != nullptr ? bulk_colour_size : ring_colour_size;
    return frame * FANTAIL_FRAME_SIZE + std::min(frame % colours * colour_size, end);
  }
  /// The memory of a copy of that length which starts there in one of this worker's own.
  char* at(u32 start, u32 length) const {
    const u32 own = start - first_ * FANTAIL_FRAME_SIZE;
    if (pages_ == nullptr) return umem_ + own;
    return BulkPages::copy_in(pages_, own / FANTAIL_FRAME_SIZE, own % FANTAIL_FRAME_SIZE, length);
  }

  /// Frames that take() can give. Those that were put since the last commit do not count: until
  /// then their tags say whose completions they were.
  u32 room() const {
    return static_cast<u32>(peek(self_.hot_tail) - hot_head_ + peek(self_.free_tail) - cold_head_);
  }
  /// room() has said that there is one. A number from shared memory: own_tag_of() knows whether it
  /// is ours.
  u32 take() {
    if (hot_head_ != peek(self_.hot_tail)) return peek(hot_[hot_head_++ % FANTAIL_HOT_FRAMES]);
    return peek(cold_[cold_head_++ % FANTAIL_TX_FRAMES]);
  }
  /// A slot whose frame was taken since the last commit is still a successor's to take, so it is
  /// not overwritten.
  void put_back(u32 frame) {
    if (hot_tail_ - peek(self_.hot_head) < FANTAIL_HOT_FRAMES)
      put(hot_[hot_tail_++ % FANTAIL_HOT_FRAMES], frame);
    else put(cold_[cold_tail_++ % FANTAIL_TX_FRAMES], frame);
  }
  void commit_to(Journal& journal) const {
    if (hot_head_ != peek(self_.hot_head)) journal.set(self_.hot_head, hot_head_);
    if (hot_tail_ != peek(self_.hot_tail)) journal.set(self_.hot_tail, hot_tail_);
    if (cold_head_ != peek(self_.free_head)) journal.set(self_.free_head, cold_head_);
    if (cold_tail_ != peek(self_.free_tail)) journal.set(self_.free_tail, cold_tail_);
  }

private:
  static constexpr u32 line = 64, colours = 8;
  static constexpr u32 ring_colour_size = 7 * line, bulk_colour_size = line;
  static_assert((colours - 1) * bulk_colour_size <= FANTAIL_BULK_OFFSET_MAX);

  worker& self_;
  u32* cold_;
  u32* hot_;
  tag* rx_tag_;
  tag* tx_tag_;
  u32 rx_frames_, first_; // TX frames of this worker: first_ and up
  char* umem_;            // of the first of them
  char* pages_;
  u64 hot_head_, hot_tail_, cold_head_, cold_tail_; // ahead of what is committed
};

} // namespace fantail
