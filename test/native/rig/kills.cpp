// SPDX-License-Identifier: MIT-0
#include "rig/kills.hpp"

#include <cstring>

namespace fantail::testing {

namespace {

std::string describe(const Plan& plan) {
  return "process " + std::to_string(plan.victim) + " killed at store " +
         std::to_string(plan.first) +
         (plan.second == never ? ""
                               : " and its successor at store " + std::to_string(plan.second)) +
         ", meanwhile " + std::to_string(static_cast<int>(plan.meanwhile)) + ": ";
}

} // namespace

Process& Run::victim() { return world_.processes[plan_.victim]; }

void Run::play(std::span<const u32> rounds) {
  world_.reset();
  victim().stores.kill_at = plan_.first;
  for (Process& process : world_.processes) guard(process, [&] { process.start(); });
  u32 round = 0;
  for (const u32 packets : rounds) {
    if (world_.before_round) world_.before_round(world_, round++);
    for (u32 q = 0; q < world_.delivered.size(); ++q) world_.deliver(q, packets);
    for (Process& process : world_.processes) guard(process, [&] { process.turn(world_.filter); });
    world_.run_kernel(packets + 1, packets); // less than all, so that frames are in every place
  }
  for (int i = 0; i < 2; ++i) // the last completions and frames go home
    for (Process& process : world_.processes) guard(process, [&] { process.turn(world_.filter); });
  stores_ = victim().stores.made;
  victim().stores.kill_at = never;
  world_.settle();
}

void Run::play(std::span<const u32> rounds, Check check) {
  try {
    play(rounds);
    check(world_);
  } catch (const Failure& failure) {
    throw Failure(describe(plan_) + failure.what());
  }
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

// -- where to kill --------------------------------------------------------------------------------

namespace {

bool all_wanted() {
  const char* kills = std::getenv("KILLS");
  return kills != nullptr && std::strcmp(kills, "all") == 0;
}

} // namespace

Sample::Sample(Suite& suite)
    : step_(all_wanted() ? 1 : sample_step), random_(step_ == 1 ? 0 : suite.seed()) {}

void Sample::note(u64 tried, u64 stores) {
  expect(stores > 20 && stores < stores_max, "the scenario has a sensible number of stores");
  tried_ += tried;
  stores_ += stores;
}

void Sample::report() const {
  std::printf("     killed before %llu of %llu stores%s\n", tried_, stores_,
              step_ == 1 ? "" : "; before each with KILLS=all");
}

void kill_at_stores(World& world, Sample& sample, std::span<const u32> rounds, Check check,
                    bool thorough) {
  const u32 ways = thorough ? static_cast<u32>(std::size(meanwhiles)) : 1;
  for (std::size_t victim = 0; victim < world.processes.size(); ++victim) {
    const u64 first = sample.first();
    for (u32 way = 0; way < ways; ++way)
      for (u64 tried = 0;; ++tried) {
        const u64 k = first + tried * sample.step();
        Run run(world, {victim, k, never, meanwhiles[(k + way) % std::size(meanwhiles)]});
        run.play(rounds, check);
        if (run.killed()) continue;
        sample.note(tried, run.stores());
        break;
      }
  }
}

} // namespace fantail::testing
