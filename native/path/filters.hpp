// SPDX-License-Identifier: MIT-0
//
// The filters of a worker as native code sees them: the jobs that they are asked and have answered,
// the calls of a burst, what each answered, and the state that some keep.
//
// State: a filter changes its block while it answers, which no journal sees. So the block is copied
// before a burst's first call, with the count of packets that were committed then; where that count
// still stands, the burst after it was not committed, and a successor puts the copy back before it
// asks the same again.
#pragma once

#include <span>

#include "path/served.hpp"
#include "shm/arena.hpp"

namespace fantail {

class Filters {
public:
  static_assert(FANTAIL_FILTERS_MAX <= 32, "wanted_slots_ has a bit for each");
  static constexpr u32 no_block = FANTAIL_FILTERS_MAX;

  /// After the journal's recover(): puts back the state of a burst that was not committed.
  Filters(Arena& arena, u32 worker);

  /// Where the calls of a burst are written instead of here: memory that JavaScript sees, and that
  /// outlives this.
  void set_calls(filter_calls* calls) { calls_ = calls; }
  /// The filter in `slot` keeps state in that block (nobody's: no_block), which starts from zeros
  /// if it was another owner's.
  void set_state(u32 slot, u32 block, u64 owner);
  /// Another module in a slot counts from zero.
  void set_module(u32 slot, u64 module);

  // -- a burst ----------------------------------------------------------------------------------

  /// A burst begins; these are among its jobs, a packet's at a time.
  void begin_placing() { wanted_slots_ = 0; }
  void want(std::span<const Served::Group> groups) {
    for (const auto& [slot, count] : groups) {
      const u32 bit = 1u << slot;
      wanted_[slot] = count + ((wanted_slots_ & bit) != 0 ? wanted_[slot] : 0);
      wanted_slots_ |= bit;
    }
  }
  /// Places the jobs wanted: a filter's stand together, a packet's within them, in order of
  /// arrival.
  void place();
  /// Index of the next job of that filter.
  u32 next_job(u32 slot) { return next_job_[slot]++; }
  job& job_at(u32 index) { return jobs_[index]; }
  /// The header that the filter wrote for a job; `answer` is a lawful answer of it.
  const char* header_of(u32 index, const job& answer) const {
    return slots_ + std::size_t{index} * FANTAIL_SLOT_SIZE + answer.header_start;
  }
  /// The jobs are written: keeps what each filter's state is, and starts to time the first call.
  void begin(u64 packets_committed, bool timed);
  /// Calls that the burst takes.
  u32 calls() const { return count_; }
  /// In a timed burst: that call has returned.
  void called(u32 call);
  /// After a trap in that call: charges the job that trapped, returns the first one after it, at
  /// most the call's end.
  u32 trapped(u32 call);

  /// Why an answer cannot be followed, or DROP_COUNT if it can; counts it. Nothing of it is
  /// believed before this. `length`: of the packet, bytes.
  u32 judge(u32 slot, const job& answer, u32 length);
  /// What they answered in this burst. Statistics only, so outside the commit.
  void note_answers();

private:
  struct Tally {
    u32 sent, dropped, bad_answers, too_big;
  };

  void keep_state(u32 block, u64 packets_committed);
  void recover_states();

  // More members than our rule of thumb: jobs, calls and state of one burst are placed, counted and
  // kept by the same slots.
  Arena& arena_;
  u32 worker_;
  job* jobs_;
  char* slots_;
  u32 length_max_; // of a frame that the interface takes, bytes
  filter_calls own_calls_{};
  filter_calls* calls_ = &own_calls_;
  u32 count_ = 0;                        // of the calls of this burst
  u32 resume_ = 0;                       // first job that a trap may be charged to
  u64 call_began_ns_ = 0;                // in a timed burst
  u32 wanted_slots_ = 0;                 // a bit for each that has jobs in this burst
  u32 wanted_[FANTAIL_FILTERS_MAX] = {}; // jobs of this burst, by slot, as the next three
  u32 next_job_[FANTAIL_FILTERS_MAX] = {};
  u32 block_[FANTAIL_FILTERS_MAX]; // of its state, or no_block
  Tally tally_[FANTAIL_FILTERS_MAX] = {};
};

} // namespace fantail
