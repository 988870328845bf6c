// SPDX-License-Identifier: MIT-0
//
// A short scenario, run once for each store of each process: stopped there, all that is private
// forgotten, the kernel and the other processes run on or not, a successor starts on the same
// memory.
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

/// One run of the scenario with one plan.
class Run {
public:
  Run(World& world, const Plan& plan) : world_(world), plan_(plan) {}

  void play(std::span<const u32> rounds);
  bool killed() const { return kills_ > 0; }
  bool killed_twice() const { return kills_ > 1; }
  /// True if the victim left a commit half applied.
  bool left_commit() const { return left_commit_; }

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
  bool left_commit_ = false;
};

using Check = void (*)(World&);

/// False if the victim was never killed by that plan: it makes fewer stores.
bool survives(World& world, const Plan& plan, std::span<const u32> rounds, Check check, bool twice);

constexpr u32 stores_max = 100'000; // of one process in one scenario; more means that it never ends

/// Every process at every store. `thorough`: each with everything that may happen meanwhile; else
/// these take turns.
void kill_at_every_store(World& world, std::span<const u32> rounds, Check check, bool thorough);

// Where the cursors of a scenario begin, so that they wrap in it.
constexpr u32 wrap_kernel = 0xffffffffu - 2; // three slots before cursors of kernel rings wrap
constexpr u64 wrap_ring = ~0ull - 1;         // two slots before cursors of arena rings wrap

} // namespace fantail::testing
