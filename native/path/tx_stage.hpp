// SPDX-License-Identifier: MIT-0
//
// tx_stage: the rings of the receivers → jobs → (filters) → frames → TX ring; and completion ring →
// free frames.
//
// A TX worker alone calls it, twice a turn: gather() before the filters answer, finish() after.
// gather() only looks: slots stay on the rings until finish() commits everything of the burst at
// once (frames, cursors, every subscriber's account), so a worker killed anywhere leaves either the
// whole burst or none of it done. Where a frame may go, and where not: loops.hpp.
//
// System calls that it may make: sendto (kick), send (subscribers in kernel state), sendmmsg
// (socket mode).
#pragma once

#include <unistd.h>

#include <algorithm>
#include <span>
#include <vector>

#include "feeds/feed_backlog.hpp"
#include "link/kernel_copies.hpp"
#include "link/links.hpp"
#include "link/window.hpp"
#include "path/accounts.hpp"
#include "path/filters.hpp"
#include "path/laps.hpp"
#include "path/served.hpp"
#include "path/tx_frames.hpp"

namespace fantail {

class TxStage {
public:
  /// `kernel_sockets`: the pool of raw sockets, connected, of subscribers in kernel state.
  TxStage(Arena& arena, u32 worker, TxLink link, std::vector<int> kernel_sockets);

  /// Says whose process the worker is from now on: it has its filters and no privileges. Whoever
  /// sees it sees that no filter is being called.
  void ready() { publish(self_.pid, static_cast<u32>(getpid())); }
  /// Before the receiving part of a turn, and after it: so that a timed burst knows what that took.
  void begin_turn() { laps_.begin(); }
  void received() { laps_.lap(STAGE_RECEIVE); }

  /// The first half of a turn: reap, adopt, make room, take, ask. Then jobs() await the filters'
  /// answers, if there are any.
  void gather();
  /// The second half: answer, write, commit, kick. Every turn takes both.
  void finish();

  /// From now on it sends by that link. No copy may be on its way.
  void use(const TxLink& link) {
    look();
    commit();
    link_ = link;
    journal_.use({link.tx.producer, link.completion.consumer});
    ahead_.submitted = peek(*link.tx.producer);
    ahead_.completed = peek(*link.completion.consumer);
    frames_.place(link.pages());
  }

  /// A worker that is to halt has no more turns, only completions: kick, reap, commit.
  void drain() {
    kick();
    reap();
    commit();
  }

  /// Racy look for the way to sleep: was there nothing to do just now?
  bool was_idle() const;
  /// Copies on the TX ring or on their way to completion.
  u32 in_flight() const { return ahead_.submitted - ahead_.completed; }
  /// CLOCK_MONOTONIC of the last turn that put copies on the TX ring; of a predecessor that may be
  /// the start of this process.
  u64 submitted_ns() const { return submitted_ns_; }
  /// The device took nothing of what was sent last.
  bool is_refused() const { return link_.bulk != nullptr && link_.bulk->is_refused(); }
  /// The kernel has taken every descriptor from the TX ring.
  bool has_sent_all() const { return acquire(*link_.tx.consumer) == ahead_.submitted; }
  /// Packets taken by the last gather(), with or without jobs.
  u32 packets() const { return static_cast<u32>(burst_.size()); }
  u32 jobs() const { return static_cast<u32>(asked_.size()); }
  Filters& filters() { return filters_; }

private:
  /// A receiver's ring of packets for us, and the one on which their frames go back to it.
  struct Source {
    Consumer<forward_slot> forward;
    Producer<u32> giveback;
    FeedBacklog backlog;
  };
  /// What the next commit will make of our words.
  struct Ahead {
    u32 submitted; // TX producer
    u32 completed; // completion consumer
    u64 packets, in_place;
  };
  struct Packet {
    u32 address; // in the UMEM
    u16 length;
    u8 feed;
    u64 stamp_ns;
    bool alone; // one worker, one subscriber: the frame itself may be sent
    bool kept;  // it was: the receiver gets it back when it completes
  };
  /// A job as we asked it, kept where a filter cannot reach it.
  struct Asked {
    u32 packet; // index into burst_
    u32 job;
    u16 row;
    u8 slot;
    u8 state; // of the row
  };

  // the steps of a turn, in order
  void reap();
  void adopt();
  bool make_room();
  void take();
  void ask();
  void answer();
  void commit();
  void kick();
  void send_kernel_copies();
  void note(u64 committed_ns);

  // parts of steps
  void complete(u64 entry);
  void charge_backlog();
  void follow(u64 generation, bool is_fenced);
  u32 room() const;
  void ask(u32 packet);
  static std::span<const Asked> first_packet_of(std::span<const Asked> jobs) {
    const auto is_other = [&](const Asked& job) { return job.packet != jobs[0].packet; };
    return {jobs.begin(), std::ranges::find_if(jobs, is_other)};
  }
  void answer(const Asked& asked, u32& room);
  void keep_for_kernel(const Asked& asked, const job& answer);
  bool send_in_place(const Asked& asked, const job& answer);
  void send_copy(const Asked& asked, const job& answer);
  void submit(u64 address, u32 length, tag& tag, u16 row);
  void give_back(u32 frame) { put(sources_[arena_.receiver_of(frame)].giveback.next(), frame); }
  /// What the device has taken by now of a packet that is watched.
  void look() {
    if (window_.is_watched() && window_.is_over(acquire(*link_.tx.consumer)))
      window_.end(clock_ns());
  }

  // A few members more than our rule of thumb: these are the parts and the burst, and each is used
  // by several steps.
  Arena& arena_;
  u32 index_;
  worker& self_;
  TxLink link_;
  Journal journal_; // recovered before what follows reads the arena
  std::vector<Source> sources_;
  u32 next_source_ = 0;
  Ahead ahead_;
  u64 full_since_ns_ = 0; // since when packets wait for room; 0: none do
  u64 submitted_ns_ = clock_ns();
  TxFrames frames_;
  Window window_;
  Accounts accounts_;
  KernelCopies kernel_copies_;
  Served served_;
  Filters filters_;
  Laps laps_;
  Realtime realtime_;
  std::vector<Packet> burst_;
  std::vector<Asked> asked_;
};

} // namespace fantail
