// SPDX-License-Identifier: MIT-0
//
// The harder kills of crash_test.cpp: the successor is killed too, at any store of its start; and a
// process is killed while the TX ring is nearly full.
//
// A run tries a sample of the stores for the first kill, or all of them: see class Sample.
#undef NDEBUG
#include <algorithm>

#include "rig/kills.hpp"

namespace fantail::testing {
namespace {

constexpr u32 short_rounds[] = {1};

/// Kills the successor of a process that is killed at store `k`, at every store of its start.
void kill_successors_of(World& world, std::size_t victim, u64 k, std::span<const u32> rounds,
                        Check check) {
  for (u64 j = 0;; ++j) {
    Run both(world, {victim, k, j, meanwhiles[(k + j) % std::size(meanwhiles)]});
    both.play(rounds, check);
    if (both.killed_twice()) continue;
    return expect(j != 0, "a successor makes stores when it starts");
  }
}

/// Every process at every store of the sample, and its successor at every store of its start.
void kill_successors_too(World& world, Sample& sample, std::span<const u32> rounds, Check check) {
  for (std::size_t victim = 0; victim < world.processes.size(); ++victim) {
    const u64 begin = sample.first();
    for (u64 tried = 0;; ++tried) {
      const u64 k = begin + tried * sample.step();
      expect(k < stores_max, "the scenario ends");
      Run first(world, {victim, k, never, Meanwhile::nothing});
      first.play(rounds);
      if (!first.killed()) {
        sample.note(tried, first.stores());
        break;
      }
      // the start has nothing to finish: now and then will do
      if (first.left_commit() || tried % 16 == 0)
        kill_successors_of(world, victim, k, rounds, check);
    }
  }
}

// -- a TX ring that runs full ---------------------------------------------------------------------

/// Fills the TX ring while the kernel takes nothing, until `room` descriptors are left.
void fill_tx_ring(World& world, u32 room) {
  world.start();
  const u32 copies = FANTAIL_TX_FRAMES - room;
  expect_equal(copies % world.shape().subscribers, 0u, "copies that do not fit a whole packet");
  for (u32 packets = copies / world.shape().subscribers; packets != 0;) {
    const u32 some = std::min(packets, FANTAIL_BURST_MAX);
    world.deliver(0, some);
    world.turn();
    world.turn();
    packets -= some;
  }
  for (int i = 0; i < 4; ++i) world.turn();
  expect_equal(world.tx[0].waiting(), copies, "descriptors on the TX ring");
}

/// Every copy was sent once and in order, or dropped as tx_full (or as backlog: in place, that
/// limit is as near).
void check_sent_or_full(World& world) {
  check_sums(world);
  check_feed(world);
  for (u16 row = 0; row < world.shape().subscribers; ++row) {
    const Received got = read_datagrams(world, world.supervisor.record(row), true);
    const counters& account = world.arena().counters(row);
    expect_equal(account.received, world.delivered[0], "received");
    expect_equal(account.sent, got.count, "sent");
    const u64 dropped = account.drop[DROP_TX_FULL] + account.drop[DROP_BACKLOG];
    expect_equal(dropped, world.delivered[0] - got.count, "dropped as tx_full or backlog");
    expect_equal(account.bytes, got.bytes, "bytes");
  }
}

// -- cases ----------------------------------------------------------------------------------------

void second_kills(Sample& sample, const Shape& shape, Check check) {
  World world(shape);
  world.save();
  kill_successors_too(world, sample, short_rounds, check);
}

void double_kills(Suite& suite, Sample& sample) {
  suite.run("a successor that is killed while it starts loses nothing: sent in place", [&] {
    second_kills(sample, {LAYOUT_SPLIT, 1, 1, 1, Rewrite::longer, wrap_kernel, wrap_ring},
                 check_all_delivered);
  });
  suite.run("a successor that is killed while it starts loses nothing: copied", [&] {
    second_kills(sample, {LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, wrap_kernel, wrap_ring},
                 check_all_delivered);
  });
  suite.run(
      "a successor that is killed while it starts leaves a filter's state as if each packet had "
      "been filtered once",
      [&] {
        second_kills(sample, {LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, wrap_kernel, wrap_ring, true},
                     check_counted_once);
      });
}

void full_ring(Suite& suite, Sample& sample) {
  for (const u32 subscribers : {1u, 3u})
    suite.run(subscribers == 1
                  ? "a kill while the TX ring is nearly full loses nothing but tx_full: in place"
                  : "a kill while the TX ring is nearly full loses nothing but tx_full: copied",
              [&] {
                World world(
                    {LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, wrap_kernel, wrap_ring});
                fill_tx_ring(world, subscribers == 1 ? 2 : 7);
                world.save();
                constexpr u32 one_round[] = {4};
                kill_at_stores(world, sample, one_round, check_sent_or_full, false);
              });
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  Sample sample(suite);
  double_kills(suite, sample);
  full_ring(suite, sample);
  sample.report();
  return suite.end();
}
