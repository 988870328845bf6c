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

  void play(std::span<const u32> rounds) {
    world_.reset();
    victim().stores.kill_at = plan_.first;
    for (Process& process : world_.processes) guard(process, [&] { process.start(); });
    for (const u32 packets : rounds) {
      for (u32 q = 0; q < world_.shape().queues; ++q) world_.deliver(q, packets);
      for (Process& process : world_.processes)
        guard(process, [&] { process.turn(world_.filter); });
      world_.run_kernel(packets + 1, packets); // less than all, so that frames are in every place
    }
    for (int i = 0; i < 2; ++i) // the last completions and frames go home
      for (Process& process : world_.processes)
        guard(process, [&] { process.turn(world_.filter); });
    victim().stores.kill_at = never;
    world_.settle();
  }
  bool killed() const { return kills_ > 0; }
  bool killed_twice() const { return kills_ > 1; }
  /// True if the victim left a commit half applied.
  bool left_commit() const { return left_commit_; }

private:
  Process& victim() { return world_.processes[plan_.victim]; }

  template<class Action> void guard(Process& process, Action&& action) {
    try {
      action();
    } catch (const Kill&) {
      replace(process);
    }
  }
  void replace(Process& process) {
    ++kills_;
    process.stop();
    const bool between_commits = world_.is_between_commits();
    left_commit_ = left_commit_ || !between_commits;
    if (between_commits) check_sums(world_);
    if (plan_.meanwhile != Meanwhile::nothing)
      world_.run_kernel(FANTAIL_TX_FRAMES, FANTAIL_TX_FRAMES);
    if (plan_.meanwhile == Meanwhile::all_others_run) {
      world_.turn();
      world_.run_kernel(FANTAIL_TX_FRAMES, FANTAIL_TX_FRAMES);
      world_.turn();
    }
    process.stores = {0, kills_ == 1 ? plan_.second : never, {}};
    guard(process, [&] { process.start(); });
    process.stores.kill_at = never;
    if (!between_commits) check_sums(world_);
  }

  World& world_;
  Plan plan_;
  int kills_ = 0;
  bool left_commit_ = false;
};

inline std::string describe(const Plan& plan) {
  return "process " + std::to_string(plan.victim) + " killed at store " +
         std::to_string(plan.first) +
         (plan.second == never ? ""
                               : " and its successor at store " + std::to_string(plan.second)) +
         ", meanwhile " + std::to_string(static_cast<int>(plan.meanwhile)) + ": ";
}

using Check = void (*)(World&);

/// False if the victim was never killed by that plan: it makes fewer stores.
inline bool survives(World& world, const Plan& plan, std::span<const u32> rounds, Check check,
                     bool twice) {
  Run run(world, plan);
  try {
    run.play(rounds);
    check(world);
  } catch (const Failure& failure) {
    throw Failure(describe(plan) + failure.what());
  }
  return twice ? run.killed_twice() : run.killed();
}

constexpr u32 stores_max = 100'000; // of one process in one scenario; more means that it never ends

/// Every process at every store. `thorough`: each with everything that may happen meanwhile; else
/// these take turns.
inline void kill_at_every_store(World& world, std::span<const u32> rounds, Check check,
                                bool thorough) {
  const u32 ways = thorough ? static_cast<u32>(std::size(meanwhiles)) : 1;
  for (std::size_t victim = 0; victim < world.processes.size(); ++victim)
    for (u32 way = 0; way < ways; ++way) {
      u64 k = 0;
      while (survives(world, {victim, k, never, meanwhiles[(k + way) % std::size(meanwhiles)]},
                      rounds, check, false))
        ++k;
      expect(k > 20 && k < stores_max, "the scenario has a sensible number of stores");
    }
}

// Where the cursors of a scenario begin, so that they wrap in it.
constexpr u32 wrap_kernel = 0xffffffffu - 2; // three slots before cursors of kernel rings wrap
constexpr u64 wrap_ring = ~0ull - 1;         // two slots before cursors of arena rings wrap

} // namespace fantail::testing
