// SPDX-License-Identifier: MIT-0
//
// rx_stage: RX ring → validated frames → the ring of each worker that has a subscriber; and back:
// frames that the workers have finished with → fill ring.
//
// Who calls it: fantail-rx for all queues (split), or the TX worker of a queue for that queue
// (inline). A receiver is one caller; it owns RX and fill rings, `handed` of its frames and its own
// counters.
//
// Where a frame may go, and where not: loops.hpp.
//
// System calls that turn() may make: eventfd write (a worker sleeps), recvfrom (the fill ring asks
// for it), recvmmsg (socket mode).
#pragma once

#include <vector>

#include "feeds/feed_index.hpp"
#include "link/links.hpp"
#include "shm/arena.hpp"

namespace fantail {

class RxStage {
public:
  /// `wake_fds`: eventfd of each worker, written when it sleeps; -1: that worker is this very
  /// process, or a test.
  RxStage(Arena& arena, u32 receiver, std::vector<RxLink> links, std::vector<int> wake_fds);

  /// Where the filter of this very process sees the UMEM, if it does: packets are fetched there
  /// too.
  void set_window(const char* frames) { window_ = frames; }
  /// One turn: take back, receive, hand over, commit, wake. Returns the frames it moved; 0 means
  /// idle.
  u32 turn();
  /// Its process has slept, and a socket may have been what woke it.
  void slept() { slow_is_due_ = true; }
  /// Racy look for the way to sleep: was there nothing to do just now?
  bool was_idle() const;
  /// True while workers hold frames of ours: sleep only briefly then, since their return wakes
  /// nobody.
  bool awaits_frames() const;

private:
  void adopt_table();
  u32 reclaim();
  u32 receive(RxLink& link);
  void finish(u32 moved);
  bool is_slow_due() const;
  void prefetch(const RxLink& link, u32 consumer, u32 count) const;
  /// A frame that a descriptor names, as far as it is known.
  struct Judged {
    u32 why = INVALID_COUNT; // it is refused, or INVALID_COUNT: it is good
    u32 feed = 0;            // where it counts
    u32 length = 0;          // of a good one, without the padding of short frames
  };
  Judged judge(const xdp_desc& descriptor, const RxLink& link) const;
  u32 judge_lengths(const u8* bytes, u32 size, const RxLink& link, u32& length) const;
  u32 hand_over(u32 address, const Judged& frame, u64 stamp_ns);
  feed_counters& ahead(u32 feed);
  void give_to_kernel(u32 frame);
  void set_handed(u32 frame, u32 count);
  void commit();
  void commit_feed(u32 feed);
  void commit_backlog(u32 worker);
  void wake();

  // More members than our rule of thumb: most are cursors and counters ahead of one commit, which
  // is what ties them together.
  Arena& arena_;
  receiver& self_;
  u32 index_;
  u32 workers_;
  std::vector<RxLink> links_;
  std::vector<int> wake_fds_;
  Journal journal_;

  std::vector<Producer<forward_slot>> forward_;  // to each worker
  std::vector<Consumer<u32>> giveback_;          // from each worker
  std::vector<u32> rx_consumer_, fill_producer_; // per link, ahead of what is committed
  std::vector<u8> handed_;                       // mirror of arena.handed()
  FeedIndex feeds_;
  // per worker: a bit for each feed that it has subscribers of in the adopted table
  std::vector<u64> wanted_;
  receiver mirror_;                     // counters ahead of what is committed
  std::vector<feed_counters> counters_; // the same by feed
  u64 touched_ = 0;                     // a bit for each feed whose counters are ahead
  u64 generation_ = ~u64{0};            // none is adopted
  u64 backlog_max_;
  bool wakes_others_;
  bool fill_sleeps_;      // the driver may ask for a wake-up
  bool has_slow_ = false; // the last link is the slow path
  mutable bool slow_is_due_ = true;
  mutable u32 slow_turns_ = 0;
  u64 slow_due_ns_ = 0; // when the slow path is looked at again
  const char* window_ = nullptr;
};

} // namespace fantail
