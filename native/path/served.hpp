// SPDX-License-Identifier: MIT-0
//
// Whom a worker serves: the rows that the table it follows lists for it, in order of adding, and
// how many of them each filter answers for. Rows do not change within a table, so that every packet
// of a burst has the same jobs.
#pragma once

#include <algorithm>
#include <vector>

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
  };
  /// One packet's jobs for one filter: [first, first + count).
  struct Group {
    u32 slot;
    u32 first, count;
  };

  explicit Served(const Arena& arena)
      : arena_(arena), rotate_(arena.header().order == ORDER_ROTATE) {
    rows_.reserve(FANTAIL_SUBSCRIBERS_MAX);
    groups_.reserve(FANTAIL_FILTERS_MAX);
  }

  void follow(u64 generation, u32 worker) {
    generation_ = generation;
    const table& now = arena_.table(generation);
    const u32 count = std::min(peek(now.count[worker]), FANTAIL_SUBSCRIBERS_MAX);
    rows_.clear();
    for (u32 i = 0; i < count; ++i) {
      const u16 row = peek(now.list[worker][i]);
      if (row >= FANTAIL_SUBSCRIBERS_MAX) continue;
      const subscriber& to = record(row);
      rows_.push_back({row, to.state, static_cast<u8>(to.filter % FANTAIL_FILTERS_MAX)});
    }
    group();
  }

  u64 generation() const { return generation_; }
  const subscriber& record(u16 row) const { return arena_.table(generation_).rows[row]; }
  const std::vector<Row>& rows() const { return rows_; }
  u32 count() const { return static_cast<u32>(rows_.size()); }
  /// Those among them that get a job of each packet.
  u32 reached() const { return reached_; }
  const std::vector<Group>& groups() const { return groups_; }
  /// Index of the row that the next packet starts with. There is at least one row.
  u32 next_first() {
    if (!rotate_) return 0;
    if (rotation_ >= rows_.size()) rotation_ = 0;
    return rotation_++;
  }

private:
  void group() {
    u32 count[FANTAIL_FILTERS_MAX] = {};
    for (const Row& row : rows_)
      if (row.is_reached()) ++count[row.slot];
    groups_.clear();
    u32 first = 0;
    for (u32 slot = 0; slot < FANTAIL_FILTERS_MAX; ++slot) {
      if (count[slot] != 0) groups_.push_back({slot, first, count[slot]});
      first += count[slot];
    }
    reached_ = first;
  }

  const Arena& arena_;
  bool rotate_;
  u64 generation_ = 0;
  std::vector<Row> rows_;
  std::vector<Group> groups_; // by filter slot
  u32 reached_ = 0;
  u32 rotation_ = 0;
};

} // namespace fantail
