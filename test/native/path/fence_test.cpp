// SPDX-License-Identifier: MIT-0
//
// The fence: past it a worker serves nobody, owes nothing, and loses nothing of what it had begun;
// once it has moved on everything is as it was. Whoever is killed meanwhile.
#undef NDEBUG
#include <algorithm>

#include "host/clock.hpp"
#include "path/tx_stage.hpp"
#include "rig/kills.hpp"

namespace fantail::testing {
namespace {

constexpr u64 passed = 1, far_off = never - 1, none = 0; // ns

void set_fence(World& world, u64 until_ns) {
  std::atomic_ref<u64>(world.arena().control().serve_until_ns).store(until_ns);
}

void expect_fenced(World& world, bool is_fenced) {
  for (u32 w = 0; w < world.shape().workers; ++w)
    expect_equal(world.arena().worker(w).fenced, is_fenced, "the worker says that it is fenced");
}

void run_packets(World& world, u32 count) {
  world.deliver(0, count);
  world.settle();
}

/// Datagrams that bear that packet to `to`.
u64 copies_of(World& world, u16 row, u64 sequence) {
  const subscriber& to = world.supervisor.record(row);
  return static_cast<u64>(
      std::ranges::count(world.tx[to.worker].sent(), world.expected(to, 0, sequence)));
}

/// Packets [from, to) of the first queue came to a row once each, or not at all.
void expect_copies(World& world, u16 row, u64 from, u64 to, u64 copies) {
  for (u64 sequence = from; sequence < to; ++sequence)
    expect_equal(copies_of(world, row, sequence), copies, "copies of a packet");
}

void expect_account(World& world, u16 row, u64 packets) {
  const counters& account = world.arena().counters(row);
  expect_equal(account.received, packets, "received");
  expect_equal(account.sent, packets, "sent");
}

// -- what the fence does --------------------------------------------------------------------------

void nobody_is_served_past_it(layout kind, u32 subscribers) {
  World world(Shape{kind, 1, 1, subscribers, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  run_packets(world, 2); // there is none
  set_fence(world, far_off);
  run_packets(world, 3);
  expect_fenced(world, false);
  set_fence(world, passed);
  run_packets(world, 7);
  expect_fenced(world, true);
  for (u16 row = 0; row < subscribers; ++row) expect_account(world, row, 5);
  expect_equal(world.arena().worker(0).fenced_packets, 7u, "packets taken while it was fenced");
  check_sums(world);
  set_fence(world, far_off);
  run_packets(world, 4);
  set_fence(world, passed);
  world.settle();
  set_fence(world, none);
  run_packets(world, 1);
  expect_fenced(world, false);
  for (u16 row = 0; row < subscribers; ++row) {
    expect_account(world, row, 10);
    expect_copies(world, row, 0, 5, 1);
    expect_copies(world, row, 5, 12, 0);
    expect_copies(world, row, 12, 17, 1);
  }
  expect_equal(world.arena().worker(0).fenced_packets, 7u, "packets taken while it was fenced");
  expect_equal(world.arena().worker(0).packets, 17u, "packets");
  check_sums(world);
  check_feed(world);
}

/// Turns as the fence draws near and passes, each with a packet: read before the turn the clock
/// says what it may still do, read after adopting what it must do.
void a_turn_looks_at_the_clock() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  Process& receiver = world.processes[0];
  TxStage& stage = world.processes[1].tx();
  const u64 until = clock_ns() + 3'000'000;
  set_fence(world, until);
  u32 before = 0, past = 0;
  while (past < 20) {
    world.deliver(0, 1);
    receiver.turn(world.filter);
    const u64 began_ns = clock_ns();
    stage.gather();
    const u64 gathered_ns = clock_ns();
    expect_equal(stage.packets(), 1u, "packets taken");
    if (began_ns >= until) expect_equal(stage.jobs(), 0u, "jobs of a turn that began past it");
    if (gathered_ns < until) expect_equal(stage.jobs(), 2u, "jobs of one that gathered before it");
    before += stage.jobs() != 0;
    past += began_ns >= until;
    for (u32 i = 0; i < stage.jobs(); ++i)
      answer_lawfully(world.arena(), 0, world.arena().jobs(0)[i], Rewrite::plain);
    stage.finish();
    world.run_kernel(FANTAIL_TX_FRAMES, FANTAIL_TX_FRAMES);
  }
  world.settle();
  for (const u16 row : {u16{0}, u16{1}}) expect_account(world, row, before);
  expect_equal(world.arena().worker(0).fenced_packets, world.delivered[0] - before,
               "packets taken while it was fenced");
  check_sums(world);
}

/// A packet that was received before the fence, and that its worker takes past it, is not served:
/// that a worker has stood still is no reason to serve.
void waiting_is_not_served() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  set_fence(world, far_off);
  world.deliver(0, 5);
  world.processes[0].turn(world.filter);
  set_fence(world, passed);
  world.settle();
  expect_account(world, 0, 0);
  expect_equal(world.arena().worker(0).fenced_packets, 5u, "packets taken while it was fenced");
  check_sums(world);
}

void what_was_begun_ends() {
  for (const u32 subscribers : {1u, 3u}) {
    World world(Shape{LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, 0, 0});
    world.start();
    world.settle();
    world.deliver(0, 4);
    world.processes[0].turn(world.filter);
    TxStage& stage = world.processes[1].tx();
    stage.gather();
    set_fence(world, passed); // the filters are at work
    for (u32 i = 0; i < stage.jobs(); ++i)
      answer_lawfully(world.arena(), 0, world.arena().jobs(0)[i], Rewrite::plain);
    stage.finish();
    world.deliver(0, 3);
    world.turn(); // and what is on the TX ring has not been taken
    expect_fenced(world, true);
    expect_equal(world.tx[0].waiting(), 4 * subscribers, "copies on the TX ring");
    world.settle();
    for (u16 row = 0; row < subscribers; ++row) {
      expect_account(world, row, 4);
      expect_copies(world, row, 0, 4, 1);
    }
    check_sums(world);
  }
}

// -- what goes on meanwhile -----------------------------------------------------------------------

void tables_are_followed() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  run_packets(world, 3);
  set_fence(world, passed);
  run_packets(world, 2);
  world.supervisor.remove(1);
  expect(world.supervisor.publish(), "published");
  world.settle();
  expect(world.supervisor.is_followed(), "a fenced worker follows");
  expect(world.supervisor.publish(), "published: the row is free");
  world.settle();
  expect_equal(world.supervisor.add(7, 0), 1u, "the row of the next subscriber");
  expect(world.supervisor.publish(), "published");
  run_packets(world, 4);
  expect_account(world, 0, 3);
  expect_account(world, 1, 0);
  expect_equal(world.arena().counters(1).epoch, world.supervisor.record(1).epoch,
               "whom the row counts for");
  set_fence(world, far_off);
  run_packets(world, 5);
  expect_account(world, 0, 8);
  expect_account(world, 1, 5);
  expect_copies(world, 1, 0, 9, 0);
  expect_copies(world, 1, 9, 14, 1);
  check_sums(world);
}

/// Frames that the receiver cannot hand over, since the worker stands still: those before the fence
/// are owed, those that came while the worker was fenced are not.
void backlog_is_owed_before_it(bool is_fenced, bool dies) {
  constexpr u32 over = 100;
  World world(Shape{LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  set_fence(world, is_fenced ? passed : far_off);
  world.turn();
  expect_fenced(world, is_fenced);
  for (u32 sent = 0; sent < FANTAIL_BACKLOG_MAX + over; sent += 28) {
    world.deliver(0, std::min(28u, FANTAIL_BACKLOG_MAX + over - sent));
    world.processes[0].turn(world.filter);
  }
  expect_equal(world.arena().receiver(0).backlog[0], over, "frames not handed over");
  set_fence(world, passed);
  if (dies) world.processes[1].start();
  world.settle();
  for (const u16 row : {u16{0}, u16{1}}) {
    const counters& account = world.arena().counters(row);
    expect_equal(account.received, is_fenced ? 0u : over, "received");
    expect_equal(account.drop[DROP_BACKLOG], is_fenced ? 0u : over, "dropped as backlog");
  }
  expect_equal(world.arena().worker(0).fenced_packets, FANTAIL_BACKLOG_MAX,
               "packets taken while it was fenced");
  check_sums(world);
}

/// Who only looks whether there is something to do sees the fence pass and move on, too.
void idle_worker_sees_it() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  worker& self = world.arena().worker(0);
  const TxStage& stage = world.processes[1].tx();
  const u64 until = clock_ns() + 3'600'000'000'000;
  set_fence(world, until);
  world.settle();
  expect(stage.was_idle(), "before the fence there is nothing to do");
  put(self.heartbeat_ns, until - 1);
  expect(stage.was_idle(), "nor at the last moment before it");
  put(self.heartbeat_ns, until);
  expect(!stage.was_idle(), "at the fence there is");
  set_fence(world, passed);
  world.settle();
  expect_fenced(world, true);
  expect(stage.was_idle(), "a fenced worker has nothing to do");
  set_fence(world, far_off);
  expect(!stage.was_idle(), "until the fence has moved on");
}

// -- kills ----------------------------------------------------------------------------------------

constexpr u32 rounds[] = {2, 3, 1, 2};

/// What the supervisor does before each round: far off, passed as its packets come, still so, far
/// off again.
void move_fence(World& world, u32 round) {
  constexpr u64 fences[] = {far_off, passed, passed, far_off};
  set_fence(world, fences[round]);
}

/// In the middle of the burst that the first round's packets are.
void pass_in_a_burst(World& world) {
  world.filter = [&world](const Arena& arena, u32 worker, job& asked) {
    set_fence(world, passed);
    answer_lawfully(arena, worker, asked, world.shape().rewrite);
  };
}

/// Each packet was owed to everybody and sent once, or taken by a fenced worker; none was both.
void check_owed_or_fenced(World& world) {
  check_sums(world);
  check_feed(world);
  expect_equal(world.shape().workers, 1u, "workers");
  const worker& self = world.arena().worker(0);
  u64 packets = 0;
  for (const u64 count : world.delivered) packets += count;
  expect_equal(self.packets, packets, "packets taken");
  for (u16 row = 0; row < world.shape().subscribers; ++row) {
    expect_account(world, row, packets - self.fenced_packets);
    expect_equal(read_datagrams(world, world.supervisor.record(row), true).count,
                 packets - self.fenced_packets, "datagrams");
  }
}

void check_moved_fence(World& world) {
  check_owed_or_fenced(world);
  expect_fenced(world, false);
  // as far as no packet of one round was left for the next, which a kill may cause
  for (u16 row = 0; row < world.shape().subscribers; ++row)
    expect(world.arena().counters(row).sent <= 5 * world.delivered.size(),
           "what came between was owed to nobody");
}

void check_passed(World& world) {
  check_owed_or_fenced(world);
  expect_fenced(world, true);
}

void kills(Suite& suite, Sample& sample) {
  const Shape shapes[] = {{LAYOUT_SPLIT, 1, 1, 1, Rewrite::longer, wrap_kernel, wrap_ring},
                          {LAYOUT_SPLIT, 2, 1, 3, Rewrite::plain, wrap_kernel, wrap_ring},
                          {LAYOUT_INLINE, 1, 1, 1, Rewrite::plain, 0, 0},
                          {LAYOUT_INLINE, 1, 1, 3, Rewrite::shorter, wrap_kernel, wrap_ring}};
  for (const Shape& shape : shapes) {
    const std::string where = std::string(shape.kind == LAYOUT_SPLIT ? "split" : "inline") +
                              (shape.subscribers == 1 ? ", sent in place" : ", copied");
    suite.run(
        ("a kill at any store loses nothing while the fence passes and moves on: " + where).c_str(),
        [&] {
          World world(shape);
          world.before_round = move_fence;
          world.save();
          kill_at_stores(world, sample, rounds, check_moved_fence, false);
        });
    suite.run(
        ("a kill at any store loses nothing when the fence passes in a burst: " + where).c_str(),
        [&] {
          World world(shape);
          pass_in_a_burst(world);
          world.save();
          kill_at_stores(world, sample, rounds, check_passed, false);
        });
  }
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  for (const auto kind : {fantail::LAYOUT_SPLIT, fantail::LAYOUT_INLINE})
    for (const fantail::u32 subscribers : {1u, 3u})
      suite.run(
          (std::string("past the fence nobody is served, and once it has moved on everybody is: ") +
           (kind == fantail::LAYOUT_SPLIT ? "split" : "inline") +
           (subscribers == 1 ? ", sent in place" : ", copied"))
              .c_str(),
          [&] { nobody_is_served_past_it(kind, subscribers); });
  suite.run("a turn that begins at the fence or past it serves nobody, one that gathers before it "
            "everybody",
            a_turn_looks_at_the_clock);
  suite.run("packets that have waited for their worker until past the fence are not served",
            waiting_is_not_served);
  suite.run("a burst that was gathered before the fence is finished, and what is on the TX ring "
            "completes and is accounted",
            what_was_begun_ends);
  suite.run("a fenced worker follows tables: rows count on or from zero, and nothing of meanwhile",
            tables_are_followed);
  for (const bool is_fenced : {false, true})
    for (const bool dies : {false, true})
      suite.run((std::string("frames past the backlog limit are owed by a worker that ") +
                 (is_fenced ? "is not, being fenced" : "has not seen the fence pass") +
                 (dies ? ", and dies" : ""))
                    .c_str(),
                [&] { backlog_is_owed_before_it(is_fenced, dies); });
  suite.run("an idle worker sees the fence pass and move on", idle_worker_sees_it);
  Sample sample(suite);
  kills(suite, sample);
  sample.report();
  return suite.end();
}
