// SPDX-License-Identifier: MIT-0
#include "rig/kills.hpp"

namespace fantail::testing {

Process& Run::victim() { return world_.processes[plan_.victim]; }

void Run::play(std::span<const u32> rounds) {
  world_.reset();
  victim().stores.kill_at = plan_.first;
  for (Process& process : world_.processes) guard(process, [&] { process.start(); });
  for (const u32 packets : rounds) {
    for (u32 q = 0; q < world_.shape().queues; ++q) world_.deliver(q, packets);
    for (Process& process : world_.processes) guard(process, [&] { process.turn(world_.filter); });
    world_.run_kernel(packets + 1, packets); // less than all, so that frames are in every place
  }
  for (int i = 0; i < 2; ++i) // the last completions and frames go home
    for (Process& process : world_.processes) guard(process, [&] { process.turn(world_.filter); });
  victim().stores.kill_at = never;
  world_.settle();
}

void Run::replace(Process& process) {
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

namespace {

std::string describe(const Plan& plan) {
  return "process " + std::to_string(plan.victim) + " killed at store " +
         std::to_string(plan.first) +
         (plan.second == never ? ""
                               : " and its successor at store " + std::to_string(plan.second)) +
         ", meanwhile " + std::to_string(static_cast<int>(plan.meanwhile)) + ": ";
}

} // namespace

bool survives(World& world, const Plan& plan, std::span<const u32> rounds, Check check,
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

void kill_at_every_store(World& world, std::span<const u32> rounds, Check check, bool thorough) {
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

} // namespace fantail::testing
