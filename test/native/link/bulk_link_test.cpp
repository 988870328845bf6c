// SPDX-License-Identifier: MIT-0
//
// Bulk transmit against a device that refuses, and a program that is interrupted: every copy ends
// under one name, which tells what the device has seen, in order and once, through a kill before
// every store.
#undef NDEBUG
#include "link/bulk_link.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "link/soft_link.hpp"
#include "rig/oracle.hpp"
#include "rig/testing.hpp"

namespace fantail::testing {
namespace {

constexpr u32 group = 16;                      // DEV_MAP_BULK_SIZE
constexpr u32 frame_first = 7;                 // any
constexpr u64 patience_ns = 1'000'000'000'000; // no test is given up for its time
constexpr u64 no_patience = 0;
constexpr u64 little_patience_ns = 3000; // for some rounds

/// bpf/bulk.bpf.h and the kernel, slow and plain: batches of a group, of which the device takes the
/// first ones.
class Kernel {
public:
  Kernel(u64 seed, u32 start) : random_(seed) {
    words().tx_producer = words().tx_consumer = words().cursor = start;
    words().settled = start; // nothing is taken
    words().completion_producer = words().completion_consumer = start;
    words().frame_first = frame_first;
  }

  bulk_link& words() { return *reinterpret_cast<bulk_link*>(memory_.data()); }
  char* memory() { return memory_.data(); }

  int run(u32 copies) {
    for (u32 left = copies; left != 0;) {
      if (interrupts_in != 0 && random_.once_in(interrupts_in)) return EINTR;
      if (kills_in != never && kills_in-- == 0) throw Kill();
      const u32 batch = std::min(left, group);
      std::vector<u32> taken;
      for (u32 i = 0; i < batch; ++i)
        if (u32 index; take(index)) taken.push_back(index);
      give(taken);
      left -= batch;
    }
    return 0;
  }

  /// So many steps of a pump's program, of which a frame that is a copy has two: it is counted, and
  /// taken. A batch goes on with the next ones.
  void pump(u32 steps) {
    for (u32 i = 0; i < steps; ++i) {
      if (!half_taken_) {
        if (batch_.empty()) words().settled = u64{words().taken} << 32 | words().cursor;
        half_taken_ = next() != nullptr;
        if (half_taken_) {
          ++words().taken;
          continue;
        }
      } else {
        finish_taking();
      }
      if (++in_batch_ == group) end_batch();
    }
  }
  /// As when the call ends, or who made it is killed.
  void end_batch() {
    if (half_taken_) finish_taking();
    give(batch_);
    batch_.clear();
    in_batch_ = 0;
  }

  /// One group in so many is refused in part, or all of it; 0: none.
  u32 refuses_in = 0;
  /// Before one batch in so many the call ends.
  u32 interrupts_in = 0;
  bool is_dead = false;
  /// Before batch number so many the worker is killed; the kernel has finished those before.
  u64 kills_in = never;
  /// What the device has sent.
  std::vector<u32> sent;

private:
  /// The cursor that names the next copy; null: there is none.
  u32* next() {
    bulk_link& w = words();
    bulk_list &refused = w.lists[w.round % 2], &again = w.lists[(w.round + 1) % 2];
    if (refused.count != 0) return nullptr;
    if (w.round == 0) return w.cursor == w.tx_producer ? nullptr : &w.cursor;
    return again.cursor >= again.count ? nullptr : &again.cursor;
  }

  bool take(u32& index) {
    u32* const cursor = next();
    if (cursor == nullptr) return false;
    ++words().taken;
    index = index_at(cursor);
    return true;
  }

  u32 index_at(u32* cursor) {
    bulk_link& w = words();
    const u32 at = (*cursor)++;
    return cursor == &w.cursor ? at : w.lists[(w.round + 1) % 2].index[at];
  }

  void finish_taking() {
    batch_.push_back(index_at(next()));
    half_taken_ = false;
  }

  void give(const std::vector<u32>& taken) {
    std::size_t good = taken.size();
    if (is_dead) good = 0;
    else if (refuses_in != 0 && random_.once_in(refuses_in))
      good = random_.below(static_cast<u32>(taken.size()) + 1);
    bulk_list& refused = words().lists[words().round % 2];
    for (std::size_t i = 0; i < taken.size(); ++i)
      if (i < good) sent.push_back(taken[i]);
      else refused.index[refused.count++] = taken[i];
  }

  Random random_;
  std::vector<u32> batch_; // of a pump: what it has taken and not given yet
  u32 in_batch_ = 0;
  bool half_taken_ = false; // it is counted, and its cursor not moved yet
  alignas(4096) std::array<char, sizeof(bulk_link)> memory_{};
};

thread_local Kernel* kernel = nullptr;

int run_fake(const BulkLink&, u32 copies, u32) { return kernel->run(copies); }

struct World {
  World(u64 seed, u32 start) : kernel_(seed, start), start(start) {
    kernel = &kernel_;
    restart();
  }
  void restart() { link = std::make_unique<BulkLink>(counters, kernel_.memory(), -1, 0, run_fake); }
  /// As the stage does, but for its journal.
  void submit(u32 count) {
    bulk_link& words = kernel_.words();
    for (u32 i = 0; i < count; ++i) {
      const u32 index = words.tx_producer + i;
      words.tx[index % FANTAIL_TX_FRAMES] = {address_of(index), 60, 0};
    }
    words.tx_producer += count;
  }
  static u64 address_of(u32 index) {
    return u64{frame_first + index % FANTAIL_TX_FRAMES} * FANTAIL_FRAME_SIZE;
  }

  worker counters{};
  Kernel kernel_;
  u32 start;
  std::unique_ptr<BulkLink> link;
};

/// Each of `count` copies is completed once, in order, as what the device knows of it. Returns how
/// many were lost.
u32 check(World& world, u32 count) {
  bulk_link& words = world.kernel_.words();
  expect_equal(words.round, 0u, "the round that comes next");
  expect_equal(words.tx_consumer, world.start + count, "descriptors taken");
  expect_equal(words.completion_producer, world.start + count, "completions");
  const std::vector<u32>& sent = world.kernel_.sent;
  u32 lost = 0, at = 0;
  for (u32 i = 0; i < count; ++i) {
    const u32 index = world.start + i;
    const u64 entry = words.completion[index % FANTAIL_TX_FRAMES];
    expect_equal(entry & ((1ull << outcome_shift) - 1), World::address_of(index), "its address");
    const u32 outcome = static_cast<u32>(entry >> outcome_shift);
    if (outcome == 0) {
      if (at == sent.size() || sent[at] != index)
        fail("a copy that counts as sent is not the next");
      ++at;
    } else {
      expect_equal(outcome, 1u + DROP_TX_FULL, "why it was lost");
      ++lost;
    }
  }
  expect_equal(at, sent.size(), "copies that the device has sent, of those that count so");
  return lost;
}

/// Ten bursts of any size, each sent before the next. Returns how many copies that were.
u32 send_bursts(World& world, Random& random, u64 retry_ns) {
  u32 count = 0;
  for (int burst = 0; burst < 10; ++burst) {
    const u32 more = random.below(300);
    world.submit(more);
    count += more;
    world.link->transmit(retry_ns);
  }
  return count;
}

void all_is_sent_once_whatever_is_refused(u64 seed) {
  Random random(seed);
  for (int i = 0; i < 200; ++i) {
    World world(random.next(), static_cast<u32>(random.next()));
    world.kernel_.refuses_in = random.below(4);
    world.kernel_.interrupts_in = random.below(2) * 5;
    const u32 count = send_bursts(world, random, patience_ns);
    expect_equal(check(world, count), 0u, "copies lost");
  }
}

void what_is_refused_for_too_long_is_tx_full(u64 seed) {
  Random random(seed);
  u32 lost = 0;
  for (int i = 0; i < 200; ++i) {
    World world(random.next(), static_cast<u32>(random.next()));
    world.kernel_.refuses_in = 1 + random.below(4);
    const u32 count = send_bursts(world, random, no_patience);
    lost += check(world, count);
  }
  expect(lost != 0, "some were lost");
}

void a_dead_device_loses_all_of_it() {
  World world(1, 0xffffffffu - 20); // the cursors wrap
  world.kernel_.is_dead = true;
  world.submit(100);
  world.link->transmit(no_patience);
  expect_equal(check(world, 100), 100u, "copies lost");
  world.kernel_.is_dead = false;
  world.submit(50);
  world.link->transmit(no_patience);
  expect_equal(check(world, 150), 100u, "and none after that");
}

void a_program_that_cannot_run_loses_all_of_it() {
  World world(1, 0);
  world.kernel_.interrupts_in = 1; // it takes nothing
  world.submit(100);
  world.link->transmit(no_patience);
  expect_equal(check(world, 100), 100u, "copies lost");
}

/// Killed before each store in turn, and then left alone.
void kills_lose_nothing(u64 seed, u64 retry_ns) {
  constexpr u32 count = 40;
  bool killed = true;
  u64 k = 0;
  for (; killed; ++k) {
    World world(seed + k % 16, 0xffffffffu - 20);
    world.kernel_.refuses_in = 2;
    world.submit(count);
    Stores stores{0, k, {}};
    killed = false;
    try {
      const Counting counting(stores);
      world.link->transmit(retry_ns);
    } catch (const Kill&) {
      killed = true;
    }
    world.restart();
    world.link->transmit(retry_ns);
    const u32 lost = check(world, count);
    if (retry_ns == patience_ns) expect_equal(lost, 0u, "copies lost");
  }
  expect(k > 20, "there were stores to kill at");
}

void kills_inside_a_call_lose_nothing(u64 seed) {
  constexpr u32 count = 400;
  bool killed = true;
  u64 k = 0;
  for (; killed; ++k) {
    World world(seed + k % 16, 0xffffffffu - 20);
    world.kernel_.refuses_in = 3;
    world.kernel_.kills_in = k;
    world.submit(count);
    killed = false;
    try {
      world.link->transmit(patience_ns);
    } catch (const Kill&) {
      killed = true;
    }
    world.restart();
    world.link->transmit(patience_ns);
    expect_equal(check(world, count), 0u, "copies lost");
  }
  expect(k > count / group, "there were batches to be killed between");
}

/// The worker follows and the pump's program goes on, in any order, until all is done. (Between two
/// stores of the worker as well, where a test counts them.)
void pump_until_done(World& world, Random& random, u64 retry_ns) {
  bulk_link& words = world.kernel_.words();
  const auto is_done = [&] { return words.tx_consumer == words.tx_producer && words.round == 0; };
  for (int turns = 0; !is_done(); ++turns) {
    expect(turns < 100'000, "it comes to an end");
    if (random.below(2) == 0) world.link->follow(retry_ns);
    else world.kernel_.pump(random.below(40));
  }
}

u32 pump_bursts(World& world, Random& random, u64 retry_ns) {
  u32 count = 0;
  for (int burst = 0; burst < 30; ++burst) {
    const u32 more = random.below(100);
    world.submit(more);
    count += more;
    for (u32 turns = random.below(6); turns != 0; --turns)
      if (random.below(2) == 0) world.link->follow(retry_ns);
      else world.kernel_.pump(random.below(40));
  }
  pump_until_done(world, random, retry_ns);
  return count;
}

void a_pump_sends_all_once(u64 seed, u64 retry_ns) {
  Random random(seed);
  u32 lost = 0;
  for (int i = 0; i < 300; ++i) {
    World world(random.next(), static_cast<u32>(random.next()));
    world.kernel_.refuses_in = random.below(4);
    Stores stores{0, never, [&] { world.kernel_.pump(random.below(20)); },
                  [&] { world.kernel_.pump(random.below(3)); }};
    const Counting counting(stores);
    const u32 count = pump_bursts(world, random, retry_ns);
    lost += check(world, count);
  }
  expect((lost != 0) == (retry_ns != patience_ns), "copies are lost for want of patience alone");
}

void a_pump_of_a_dead_device_loses_all_of_it(u64 seed) {
  Random random(seed);
  World world(seed, 0xffffffffu - 20);
  world.kernel_.is_dead = true;
  world.submit(100);
  pump_until_done(world, random, no_patience);
  expect_equal(check(world, 100), 100u, "copies lost");
  world.kernel_.is_dead = false;
  world.submit(50);
  pump_until_done(world, random, no_patience);
  expect_equal(check(world, 150), 100u, "and none after that");
}

/// The worker is killed before each store in turn; the kernel finishes the pump's batch, and a
/// successor goes on, with a pump or without.
void kills_of_a_pumping_worker_lose_nothing(u64 seed, u64 retry_ns) {
  constexpr u32 count = 60;
  bool killed = true;
  u64 k = 0;
  for (; killed; ++k) {
    Random random(seed + k);
    World world(seed + k % 16, 0xffffffffu - 20);
    world.kernel_.refuses_in = 2;
    world.submit(count);
    Stores stores{0, k, [&] { world.kernel_.pump(random.below(20)); },
                  [&] { world.kernel_.pump(random.below(3)); }};
    killed = false;
    try {
      const Counting counting(stores);
      pump_until_done(world, random, retry_ns);
    } catch (const Kill&) {
      killed = true;
    }
    world.kernel_.end_batch();
    world.restart();
    if (k % 2 == 0) pump_until_done(world, random, retry_ns);
    else world.link->transmit(retry_ns);
    const u32 lost = check(world, count);
    if (retry_ns == patience_ns) expect_equal(lost, 0u, "copies lost");
  }
  expect(k > 20, "there were stores to kill at");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  const auto seed = suite.seed();
  suite.run("all is sent once and in order, whatever is refused and interrupted",
            [&] { all_is_sent_once_whatever_is_refused(seed); });
  suite.run("what a device refuses for too long ends as tx_full, and nothing else does",
            [&] { what_is_refused_for_too_long_is_tx_full(seed); });
  suite.run("a device that takes nothing loses what was on the ring, and no more",
            a_dead_device_loses_all_of_it);
  suite.run("a program that cannot be run loses what was on the ring",
            a_program_that_cannot_run_loses_all_of_it);
  suite.run("a worker killed before any store loses nothing and sends nothing twice",
            [&] { kills_lose_nothing(seed, patience_ns); });
  suite.run("and one killed while it gives up tells what was sent",
            [&] { kills_lose_nothing(seed, no_patience); });
  suite.run("one killed inside a call goes on where the kernel has come to",
            [&] { kills_inside_a_call_lose_nothing(seed); });
  suite.run("a pump sends all once and in order, whatever is refused meanwhile",
            [&] { a_pump_sends_all_once(seed, patience_ns); });
  suite.run("and what it cannot send in time is tx_full, and nothing else", [&] {
    a_pump_sends_all_once(seed, no_patience);
    a_pump_sends_all_once(seed, little_patience_ns);
  });
  suite.run("a pump of a device that takes nothing loses what was on the ring, and no more",
            [&] { a_pump_of_a_dead_device_loses_all_of_it(seed); });
  suite.run("a worker with a pump, killed before any store, loses nothing and sends nothing twice",
            [&] { kills_of_a_pumping_worker_lose_nothing(seed, patience_ns); });
  suite.run("and one that gives up meanwhile tells what was sent", [&] {
    kills_of_a_pumping_worker_lose_nothing(seed, no_patience);
    kills_of_a_pumping_worker_lose_nothing(seed, little_patience_ns);
  });
  return suite.end();
}
