// SPDX-License-Identifier: MIT-0
//
// A short scenario, run once for each store of each process, or for a sample of them: stopped
// there, all that is private forgotten, the kernel and the other processes run on or not, a
// successor starts on the same memory.
#pragma once

#include "rig/oracle.hpp"

namespace fantail::testing {

/// What happens between the kill and the successor.
enum class Meanwhile { nothing, kernel_runs, all_others_run };
constexpr Meanwhile meanwhiles[] = {Meanwhile::nothing, Meanwhile::kernel_runs,
                                    Meanwhile::all_others_run};

struct Plan {
  std::size_t victim; // index of the process to kill
  u64 first;          // before this store of it
  u64 second;         // before this store of its successor's start; `never`: it lives
  Meanwhile meanwhile;
};

using Check = void (*)(World&);

/// One run of the scenario with one plan.
class Run {
public:
  Run(World& world, const Plan& plan) : world_(world), plan_(plan) {}

  void play(std::span<const u32> rounds);
  /// The same, and checks what has come of it; a failure says by which plan.
  void play(std::span<const u32> rounds, Check check);
  bool killed() const { return kills_ > 0; }
  bool killed_twice() const { return kills_ > 1; }
  /// True if the victim left a commit half applied.
  bool left_commit() const { return left_commit_; }
  /// Stores that the victim has made, if it was never killed: it can be killed before each of them.
  u64 stores() const { return stores_; }

private:
  Process& victim();

  template<class Action> void guard(Process& process, Action&& action) {
    try {
      action();
    } catch (const Kill&) {
      replace(process);
    }
  }
  void replace(Process& process);

  World& world_;
  Plan plan_;
  int kills_ = 0;
  u64 stores_ = 0;
  bool left_commit_ = false;
};

constexpr u32 stores_max = 100'000; // of one process in one scenario; more means that it never ends

/// Not a multiple of the number of meanwhiles, which take turns from store to store.
constexpr u32 sample_step = 7;
static_assert(sample_step % std::size(meanwhiles) != 0);

/// Where a test program kills: before every store if the environment says KILLS=all (`npm run
/// kills`), else before every `sample_step`-th, from one on that the seed chooses.
class Sample {
public:
  explicit Sample(Suite& suite);

  /// Of a process in a scenario: the first store to kill it at. The others are step() apart.
  u64 first() { return random_.below(step_); }
  u32 step() const { return step_; }
  /// Such a process made `stores` (fails unless that is a sensible number), and was killed before
  /// `tried` of them.
  void note(u64 tried, u64 stores);
  /// Prints how many of how many stores were tried.
  void report() const;

private:
  u32 step_;
  Random random_;
  unsigned long long tried_ = 0, stores_ = 0;
};

/// Every process at every store of the sample. `thorough`: each with everything that may happen
/// meanwhile; else these take turns.
void kill_at_stores(World& world, Sample& sample, std::span<const u32> rounds, Check check,
                    bool thorough);

// Where the cursors of a scenario begin, so that they wrap in it.
constexpr u32 wrap_kernel = 0xffffffffu - 2; // three slots before cursors of kernel rings wrap
constexpr u64 wrap_ring = ~0ull - 1;         // two slots before cursors of arena rings wrap

} // namespace fantail::testing
