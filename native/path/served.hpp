// SPDX-License-Identifier: MIT-0
//
// Whom a worker serves: the rows that the table it follows lists for it, in order of adding, by the
// feeds that they get, and how many of them each filter answers for. Rows do not change within a
// table, so that every packet of a feed has the same jobs.
//
// The fence (control.serve_until_ns): past it a worker serves nobody, whatever has become of the
// supervisor that did not move it on. A turn looks once, in its step adopt, and no feed has a row
// from there on: what is taken is given back and owed to nobody. Accounts stand as they are but for
// copies on their way, which complete; a new table is followed all the same, so that changes go on.
//
// No copy is submitted (by a commit that stores the TX producer) later than one turn after the
// fence. From adopt to its commit a turn takes a burst and waits for its filters: as long as the
// watchdog lets these, and as the scheduler keeps the process from its core. What was submitted may
// leave later: by the pump, off a TX ring that the device has not read yet, by kernel sockets at
// the end of that very turn. A packet that is taken once the fence has moved on is served, though
// it may have waited for that in a kernel socket (the slow path: 1 ms; socket mode: a turn).
#pragma once

#include <algorithm>
#include <bit>
#include <span>
#include <utility>
#include <vector>

#include "host/clock.hpp"
#include "shm/arena.hpp"

namespace fantail {

class Served {
public:
  struct Row {
    u16 row;
    u16 state;
    u8 slot; // of its filter

    /// A copy is to be made for it; else the packet is dropped, or (paused) not owed.
    bool is_reached() const {
      return state == SUBSCRIBER_STATE_LIVE || state == SUBSCRIBER_STATE_KERNEL;
    }
    drop why_unreached() const {
      return state == SUBSCRIBER_STATE_NO_ROUTE ? DROP_NO_ROUTE : DROP_NO_NEIGHBOUR;
    }
  };
  /// One packet's jobs for one filter.
  struct Group {
    u32 slot, count;
  };

  explicit Served(const Arena& arena)
      : arena_(arena), rotate_(arena.header().order == ORDER_ROTATE) {
    listed_.reserve(FANTAIL_SUBSCRIBERS_MAX);
    rows_.reserve(std::size_t{FANTAIL_SUBSCRIBERS_MAX} * FANTAIL_FEEDS_MAX);
    groups_.reserve(FANTAIL_FILTERS_MAX * FANTAIL_FEEDS_MAX);
  }

  void follow(u64 generation, u32 worker, bool is_fenced) {
    generation_ = generation;
    is_fenced_ = is_fenced;
    const table& now = arena_.table(generation);
    const u32 count = std::min(peek(now.count[worker]), FANTAIL_SUBSCRIBERS_MAX);
    listed_.clear();
    for (u32 i = 0; i < count; ++i) {
      const u16 row = peek(now.list[worker][i]);
      if (row < FANTAIL_SUBSCRIBERS_MAX) listed_.push_back(row);
    }
    place();
    groups_.clear();
    reached_max_ = 0;
    for (Feed& feed : feeds_) {
      group(feed);
      reached_max_ = std::max(reached_max_, feed.reached);
    }
  }

  /// Reads the clock, where there is a fence: the heartbeat's reading is of one idle turn in some,
  /// and a packet's is its receiver's, older by what it has waited.
  bool is_past_fence() {
    const u64 until = acquire(arena_.control().serve_until_ns);
    if (until != 0) read_ns_ = clock_ns();
    return until != 0 && read_ns_ >= until;
  }
  /// Racy look for the way to sleep, by the heartbeat's reading or our last.
  bool was_past_fence(u64 heartbeat_ns) const {
    const u64 until = peek(arena_.control().serve_until_ns);
    return until != 0 && std::max(read_ns_, heartbeat_ns) >= until;
  }

  u64 generation() const { return generation_; }
  bool is_fenced() const { return is_fenced_; }
  const subscriber& record(u16 row) const { return arena_.table(generation_).rows[row]; }
  /// Where a filter sees the records.
  u32 window_records() const {
    return static_cast<u32>(FANTAIL_WINDOW_SUBSCRIBERS + (generation_ & 1) * sizeof(table) +
                            __builtin_offsetof(table, rows));
  }
  /// All of this worker's, whatever they get, fenced or not.
  const std::vector<u16>& listed() const { return listed_; }
  /// Those that get a feed.
  std::span<const Row> rows(u32 feed) const {
    return {rows_.data() + feeds_[feed].first, feeds_[feed].count};
  }
  u32 count(u32 feed) const { return feeds_[feed].count; }
  /// Those among them that get a job of each packet.
  u32 reached(u32 feed) const { return feeds_[feed].reached; }
  u32 reached_max() const { return reached_max_; }
  /// By filter slot.
  std::span<const Group> groups(u32 feed) const {
    return {groups_.data() + feeds_[feed].group_first, feeds_[feed].group_count};
  }
  /// Index of the row that the next packet of that feed starts with. There is at least one row.
  u32 next_first(u32 feed) {
    if (!rotate_) return 0;
    Feed& of = feeds_[feed];
    if (of.rotation >= of.count) of.rotation = 0;
    return of.rotation++;
  }

private:
  struct Feed {
    u32 first, count; // in rows_
    u32 reached;
    u32 group_first, group_count; // in groups_
    u32 rotation;
  };

  /// The feeds' rows, one feed's behind the other's, each in order of adding.
  void place() {
    const std::span<const u16> served = is_fenced_ ? std::span<const u16>() : listed_;
    u64 open = 0;
    for (u32 feed = 0; feed < FANTAIL_FEEDS_MAX; ++feed)
      if (arena_.table(generation_).feeds[feed].is_open != 0) open |= u64{1} << feed;
    const auto each_feed = [this, open](u16 row, auto&& take) {
      for (u64 left = record(row).feeds & open; left != 0; left &= left - 1)
        take(feeds_[std::countr_zero(left)]);
    };
    for (Feed& feed : feeds_) feed.count = 0;
    for (const u16 row : served) each_feed(row, [](Feed& feed) { ++feed.count; });
    u32 first = 0;
    for (Feed& feed : feeds_) {
      feed.first = first;
      first += std::exchange(feed.count, 0);
    }
    rows_.resize(first);
    for (const u16 row : served) {
      const subscriber& to = record(row);
      const Row placed{row, to.state, static_cast<u8>(to.filter % FANTAIL_FILTERS_MAX)};
      each_feed(row, [&](Feed& feed) { rows_[feed.first + feed.count++] = placed; });
    }
  }

  void group(Feed& feed) {
    u32 count[FANTAIL_FILTERS_MAX] = {};
    feed.reached = 0;
    for (u32 i = 0; i < feed.count; ++i) {
      const Row& row = rows_[feed.first + i];
      if (!row.is_reached()) continue;
      ++count[row.slot];
      ++feed.reached;
    }
    feed.group_first = static_cast<u32>(groups_.size());
    for (u32 slot = 0; slot < FANTAIL_FILTERS_MAX; ++slot)
      if (count[slot] != 0) groups_.push_back({slot, count[slot]});
    feed.group_count = static_cast<u32>(groups_.size()) - feed.group_first;
  }

  const Arena& arena_;
  bool rotate_;
  u64 generation_ = 0;
  bool is_fenced_ = false;
  u64 read_ns_ = 0; // the clock
  std::vector<u16> listed_;
  std::vector<Row> rows_;
  std::vector<Group> groups_;
  Feed feeds_[FANTAIL_FEEDS_MAX] = {};
  u32 reached_max_ = 0;
};

} // namespace fantail
