// SPDX-License-Identifier: MIT-0
//
// The delivery window that a worker measures: which packets have one, and that none is shorter than
// the time between the device's taking of the first copy and of the last.
#undef NDEBUG
#include "link/window.hpp"

#include <ctime>

#include "host/clock.hpp"
#include "path/tx_stage.hpp"
#include "rig/oracle.hpp"

namespace fantail::testing {
namespace {

constexpr timespec pause_time{0, 3'000'000};
constexpr u64 pause_ns = 3'000'000;

u64 counted(World& world) {
  u64 sum = 0;
  for (const u64& count : world.arena().worker(0).window_ns) sum += peek(count);
  return sum;
}

/// The bucket of the only window that was counted.
u32 only_bucket(World& world) {
  expect_equal(counted(world), 1u, "windows counted");
  const worker& self = world.arena().worker(0);
  for (u32 bucket = 0; bucket < FANTAIL_HISTOGRAM_BUCKETS; ++bucket)
    if (peek(self.window_ns[bucket]) != 0) return bucket;
  fail("there is none");
}

/// Before its first burst, which is timed.
void begin(World& world) {
  world.start();
  world.settle();
}

/// `bursts` of one packet each.
void send(World& world, u32 bursts) {
  for (; bursts != 0; --bursts) {
    world.deliver(0, 1);
    world.settle();
  }
}

void timed_bursts_count(u32 subscribers, u64 expected) {
  World world(Shape{LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, 0, 0});
  begin(world);
  constexpr u32 bursts = 3 * FANTAIL_TIMED_EVERY;
  send(world, bursts);
  expect_equal(world.arena().worker(0).timed_bursts, bursts / FANTAIL_TIMED_EVERY, "timed bursts");
  expect_equal(counted(world), expected, "windows counted");
  check_sums(world);
}

/// The device takes them in three parts, with a pause before each of the last two.
void window_spans_all_parts() {
  constexpr u32 subscribers = 300, part = 100;
  World world(Shape{LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, ~0u - 150, 0});
  begin(world);
  world.deliver(0, 1);
  const u64 before_ns = clock_ns();
  world.turn();
  for (u32 taken = part; taken < subscribers; taken += part) {
    world.tx[0].transmit(part);
    world.turn();
    expect_equal(counted(world), 0u, "windows counted while copies wait");
    nanosleep(&pause_time, nullptr);
  }
  world.tx[0].transmit(part);
  world.turn();
  const u64 all_ns = clock_ns() - before_ns;
  const u32 bucket = only_bucket(world);
  expect(bucket >= bucket_of(2 * pause_ns), "it is no shorter than both pauses");
  expect(bucket <= bucket_of(all_ns), "it is no longer than all of it took");
  world.settle();
  check_sums(world);
}

/// The next timed burst comes while copies of the one before still wait.
void slow_window_is_not_given_up() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 4, Rewrite::plain, 0, 0});
  begin(world);
  for (u32 i = 0; i <= FANTAIL_TIMED_EVERY; ++i) {
    world.deliver(0, 1);
    world.turn();
  }
  expect_equal(world.arena().worker(0).timed_bursts, 2u, "timed bursts");
  nanosleep(&pause_time, nullptr);
  world.settle();
  expect(only_bucket(world) >= bucket_of(pause_ns), "it is the one of the first");
  send(world, FANTAIL_TIMED_EVERY);
  expect_equal(counted(world), 2u, "windows counted once the next burst was timed");
}

/// Of a burst of four packets the first two lose all copies but one, or all.
void first_packet_with_two_copies() {
  constexpr u32 subscribers = 3;
  World world(Shape{LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, 0, 0});
  begin(world);
  u32 asked = 0;
  world.filter = [&](const Arena& arena, u32 worker, job& one) {
    answer_lawfully(arena, worker, one, Rewrite::plain);
    const u32 packet = asked / subscribers, copy = asked % subscribers;
    ++asked;
    if ((packet == 0 && copy != 1) || packet == 1) one.verdict = FILTER_VERDICT_DROP_COPY;
  };
  world.deliver(0, 4);
  world.turn();
  world.tx[0].transmit(1 + subscribers); // all of the third packet, none of the fourth
  world.turn();
  expect_equal(counted(world), 1u, "windows counted when the third packet is gone");
  world.settle();
  expect_equal(counted(world), 1u, "windows of the burst");
  check_sums(world);
}

/// Indices run free.
void window_is_counted_across_the_wrap() {
  auto histogram = std::vector<u64>(FANTAIL_HISTOGRAM_BUCKETS);
  Window window(histogram.data());
  window.watch(~0u, 0);
  expect(!window.is_watched(), "one copy has no window");
  window.watch(~0u - 1, 2); // across the wrap
  expect(window.is_new(), "four have");
  window.begin(1000);
  expect(!window.is_over(~0u - 1) && !window.is_over(1), "the last is not gone");
  expect(window.is_watched() && !window.is_new(), "it is watched until then");
  expect(window.is_over(2), "the last is gone");
  window.end(1300);
  expect(!window.is_watched(), "and it is watched no longer");
  expect_equal(histogram[bucket_of(300)], 1u, "from begin to the last");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run("a window is counted across the wrap of the ring's indices",
            window_is_counted_across_the_wrap);
  suite.run("a packet for one subscriber has no window", [] { timed_bursts_count(1, 0); });
  for (const fantail::u32 subscribers : {2u, 256u, 1024u})
    suite.run(
        ("each timed burst counts one window, of " + std::to_string(subscribers) + " subscribers")
            .c_str(),
        [subscribers] { timed_bursts_count(subscribers, 3); });
  suite.run("a window spans all parts in which the device takes a packet's copies",
            window_spans_all_parts);
  suite.run("a packet that is slow to leave is counted when it has left, not forgotten",
            slow_window_is_not_given_up);
  suite.run("of a burst the first packet counts that has two copies", first_packet_with_two_copies);
  return suite.end();
}
