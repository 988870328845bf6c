// SPDX-License-Identifier: MIT-0
#include "path/filters.hpp"

#include <algorithm>
#include <bit>

#include "host/clock.hpp"
#include "link/frame.hpp"

namespace fantail {

namespace {

constexpr u64 no_undo = ~u64{0};

} // namespace

Filters::Filters(Arena& arena, u32 worker)
    : arena_(arena), worker_(worker), jobs_(arena.jobs(worker)), slots_(arena.slots(worker)),
      length_max_(std::min(arena.header().mtu + frame::ethernet_size, FANTAIL_FRAME_SIZE)) {
  std::fill(std::begin(block_), std::end(block_), no_block);
  recover_states();
}

void Filters::set_module(u32 slot, u64 module) {
  filter_slot& self = arena_.filter(worker_, slot);
  if (peek(self.module) == module) return;
  self = filter_slot{};
  put(self.module, module);
}

void Filters::set_state(u32 slot, u32 block, u64 owner) {
  block_[slot] = block;
  if (block == no_block) return;
  filter_state& state = arena_.state(worker_, block);
  if (peek(state.owner) == owner) return;
  put(state.undo_packets, no_undo);
  std::memset(state.block, 0, sizeof state.block);
  put(state.owner, owner);
}

// -- a burst --------------------------------------------------------------------------------------

void Filters::place() {
  count_ = 0;
  u32 first = 0;
  for (u32 left = wanted_slots_; left != 0; left &= left - 1) {
    const u32 slot = static_cast<u32>(std::countr_zero(left));
    calls_->slot[count_] = slot;
    calls_->first[count_] = next_job_[slot] = first;
    calls_->count[count_] = wanted_[slot];
    first += wanted_[slot];
    ++count_;
  }
  resume_ = 0;
}

void Filters::begin(u64 packets_committed, bool timed) {
  for (u32 call = 0; call < count_; ++call) {
    const u32 block = block_[calls_->slot[call]];
    if (block != no_block) keep_state(block, packets_committed);
  }
  calls_->timed = timed;
  if (timed) call_began_ns_ = clock_ns();
}

void Filters::called(u32 call) {
  const u64 now = clock_ns();
  filter_slot& self = arena_.filter(worker_, calls_->slot[call]);
  add(self.timed_jobs, calls_->count[call]);
  add(self.timed_ns, now - call_began_ns_);
  call_began_ns_ = now;
}

u32 Filters::trapped(u32 call) {
  const u32 end = calls_->first[call] + calls_->count[call];
  add(arena_.worker(worker_).traps, 1);
  add(arena_.filter(worker_, calls_->slot[call]).traps, 1);
  resume_ = std::max(resume_, u32{calls_->first[call]});
  while (resume_ < end && jobs_[resume_].verdict != FANTAIL_VERDICT_UNSET) ++resume_;
  if (resume_ < end) ++resume_; // this one trapped: it stays unset, and drops as filter_trap
  return resume_;
}

u32 Filters::judge(u32 slot, const job& answer, u32 length) {
  Tally& tally = tally_[slot];
  if (answer.verdict == FANTAIL_VERDICT_UNSET) return DROP_FILTER_TRAP;
  if (answer.verdict == FILTER_VERDICT_DROP_COPY) {
    ++tally.dropped;
    return DROP_FILTER_DROP;
  }
  const u32 sent = answer.header_length + length - answer.replaced;
  if (answer.verdict != FILTER_VERDICT_SEND || answer.replaced > length ||
      u32{answer.header_start} + answer.header_length > FANTAIL_SLOT_SIZE ||
      sent < frame::ethernet_size) {
    ++tally.bad_answers;
    return DROP_FILTER_BAD_ANSWER;
  }
  if (sent > length_max_) {
    if (length <= length_max_) ++tally.too_big;
    return DROP_TOO_BIG;
  }
  ++tally.sent;
  return DROP_COUNT;
}

void Filters::note_answers() {
  for (u32 call = 0; call < count_; ++call) {
    const u32 slot = calls_->slot[call];
    filter_slot& self = arena_.filter(worker_, slot);
    Tally& tally = tally_[slot];
    add(self.calls, 1);
    add(self.jobs, calls_->count[call]);
    add(self.sent, tally.sent);
    add(self.dropped, tally.dropped);
    add(self.bad_answers, tally.bad_answers);
    add(self.too_big, tally.too_big);
    tally = {};
  }
}

// -- state ----------------------------------------------------------------------------------------

void Filters::keep_state(u32 block, u64 packets_committed) {
  filter_state& state = arena_.state(worker_, block);
  put(state.undo_packets, no_undo);
  std::atomic_thread_fence(std::memory_order_release);
  put_bytes(state.undo, state.block, sizeof state.undo);
  publish(state.undo_packets, packets_committed);
}

void Filters::recover_states() {
  for (u32 block = 0; block < FANTAIL_FILTERS_MAX; ++block) {
    filter_state& state = arena_.state(worker_, block);
    if (acquire(state.undo_packets) == peek(arena_.worker(worker_).packets))
      put_bytes(state.block, state.undo, sizeof state.block);
  }
}

} // namespace fantail
