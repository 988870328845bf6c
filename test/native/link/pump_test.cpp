// SPDX-License-Identifier: MIT-0
//
// A pump as a thread, with its program played: what a worker stores is sent once and in order, a
// pump that sleeps is woken, and one whose calls the kernel refuses leaves them to the worker.
#undef NDEBUG
#include "link/pump.hpp"

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "host/clock.hpp"
#include "rig/testing.hpp"

namespace fantail::testing {
namespace {

constexpr int sleep_limit_ms = 10'000;
constexpr u64 lost_ns = 5'000'000'000; // a burst that takes so long was not woken for
constexpr u64 patience_ns = 1'000'000'000'000;
constexpr u32 frames_a_call = 100; // that are played of those asked for

/// The program beside a device that takes all, and what it has sent. Read by the worker's thread
/// once that is settled.
struct Device {
  std::vector<u32> sent;
  std::atomic<int> error = 0;     // of each call, if it is not 0
  std::atomic<u32> errors_left{}; // calls that end so
  std::atomic<u32> idle_calls = 0;
};

Device* device = nullptr;

int run_fake(const BulkLink& link, u32, u32) {
  if (device->error != 0 && device->errors_left != 0) {
    --device->errors_left;
    return device->error;
  }
  bulk_link& words = link.words();
  const u32 before = peek(words.taken);
  for (u32 i = 0; i < frames_a_call; ++i) {
    publish(words.settled, u64{peek(words.taken)} << 32 | peek(words.cursor));
    const u32 at = peek(words.cursor);
    if (at == acquire(words.tx_producer)) continue;
    publish(words.taken, peek(words.taken) + 1);
    publish(words.cursor, at + 1);
    device->sent.push_back(static_cast<u32>(peek(words.tx[at % FANTAIL_TX_FRAMES].addr)));
  }
  if (peek(words.taken) == before) ++device->idle_calls;
  return 0;
}

struct World {
  World() : link(counters, memory->data(), -1, 0, run_fake) { device = &played; }

  void submit(u32 count) {
    bulk_link& words = link.words();
    for (u32 i = 0; i < count; ++i) {
      const u32 at = words.tx_producer + i;
      soft_descriptor& descriptor = words.tx[at % FANTAIL_TX_FRAMES];
      put(descriptor.addr, u64{at});
      put(descriptor.len, 60u); // which the pump looks at, whatever is there
    }
    publish(words.tx_producer, words.tx_producer + count);
  }
  /// As the worker's turns do, until all is completed. False: it takes too long.
  bool follow(Pump& pump) {
    const u64 end = clock_ns() + lost_ns;
    while (link.follow(patience_ns)) {
      pump.wake();
      if (clock_ns() > end) return false;
    }
    return true;
  }

  struct alignas(4096) Memory : std::array<char, sizeof(bulk_link)> {};
  std::unique_ptr<Memory> memory = std::make_unique<Memory>();
  worker counters{};
  Device played;
  BulkLink link;
};

void all_is_sent_in_order(u64 seed, bool busy_poll) {
  Random random(seed);
  World world;
  u32 count = 0;
  {
    Pump pump(world.link, world.counters, -1, busy_poll, sleep_limit_ms);
    for (int burst = 0; burst < 1000; ++burst) {
      const u32 more = 1 + random.below(40);
      world.submit(more);
      count += more;
      expect(world.follow(pump), "a burst is sent without a sleep to its end");
      // at times so long that it goes to sleep, or is just about to
      for (u32 left = random.below(20'000); left != 0; --left)
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
  }
  expect_equal(world.played.sent.size(), u64{count}, "copies sent");
  for (u32 i = 0; i < count; ++i) expect_equal(world.played.sent[i], i, "in order");
  expect_equal(world.counters.bulk_copies, u64{count}, "counted");
}

void one_that_has_nothing_to_do_sleeps() {
  World world;
  Pump pump(world.link, world.counters, -1, false, sleep_limit_ms);
  world.submit(1);
  expect(world.follow(pump), "it works");
  const u64 end = clock_ns() + lost_ns;
  u32 before = 0;
  // asleep: no call ends meanwhile
  do {
    before = world.played.idle_calls;
    usleep(50'000);
    expect(clock_ns() < end, "it goes to sleep");
  } while (world.played.idle_calls != before);
  world.submit(1);
  expect(world.follow(pump), "and is woken");
}

void calls_that_are_refused_end_it() {
  World world;
  world.played.errors_left = 1;
  world.played.error = EPERM;
  put(world.counters.bulk_pumped, u64{1});
  Pump pump(world.link, world.counters, -1, false, sleep_limit_ms);
  const u64 end = clock_ns() + lost_ns;
  while (!pump.has_failed() && clock_ns() < end) usleep(1000);
  expect(pump.has_failed(), "it says so");
  expect_equal(peek(world.counters.bulk_pumped), u64{0}, "in the statistics, too");
  world.submit(10);
  world.link.transmit(patience_ns);
  expect_equal(world.played.sent.size(), u64{10}, "the worker sends them itself");
}

void want_of_memory_is_got_over() {
  World world;
  world.played.errors_left = 10;
  world.played.error = ENOMEM;
  Pump pump(world.link, world.counters, -1, false, sleep_limit_ms);
  world.submit(10);
  expect(world.follow(pump), "they are sent");
  expect(!pump.has_failed(), "and it goes on");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  const auto seed = suite.seed();
  suite.run("what a worker stores is sent once and in order, and no wake-up is lost",
            [&] { all_is_sent_in_order(seed, false); });
  suite.run("likewise by a pump that never sleeps", [&] { all_is_sent_in_order(seed, true); });
  suite.run("a pump that has nothing to do sleeps", one_that_has_nothing_to_do_sleeps);
  suite.run("one whose calls the kernel refuses leaves them to the worker",
            calls_that_are_refused_end_it);
  suite.run("one that finds no memory for a while goes on", want_of_memory_is_got_over);
  return suite.end();
}
