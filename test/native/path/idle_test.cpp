// SPDX-License-Identifier: MIT-0
//
// Going to sleep loses no wake-up: whatever the order of push, look and poll, one of the two sides
// sees the other. A lost one would show as a sleep to its time limit.
#undef NDEBUG
#include "path/idle.hpp"

#include <sys/eventfd.h>

#include <atomic>
#include <thread>

#include "path/loops.hpp"
#include "rig/socket_arena.hpp"

namespace fantail::testing {
namespace {

constexpr int sleep_limit_ms = 10'000;
constexpr u64 lost_ns = 5'000'000'000; // a sleep this long was not woken
#if defined(__SANITIZE_THREAD__)
constexpr u64 rounds = 5'000;
#else
constexpr u64 rounds = 20'000;
#endif

/// A different delay each time, of up to some microseconds. Both sides take one, the sleeper just
/// before it says that it sleeps, so that a push falls before, into and after every step on the way
/// to sleep.
void dawdle(Random& random) {
  for (u32 i = random.below(2000); i != 0; --i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

struct Shared {
  ring_header header;
  u64 slots[64];
  alignas(64) u64 producer_state;
  journal_entry producer_entries[8];
  alignas(64) u64 consumer_state;
  journal_entry consumer_entries[8];
  alignas(64) u32 asleep;
};

void protocol_loses_no_wake_up(u64 seed) {
  auto shared = std::make_unique<Shared>();
  char* base = reinterpret_cast<char*>(shared.get());
  const Fd wake(check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
  std::atomic<bool> lost = false;
  std::atomic<u64> sleeps = 0;
  std::thread sleeper([&] {
    Random random(~seed);
    const FeedSockets none({}, -1, {});
    Idle idle(false, false, wake.get(), {}, none);
    Journal journal(base, sizeof *shared, shared->consumer_state, shared->consumer_entries, {});
    Consumer<u64> in(&shared->header, shared->slots, 64);
    for (u64 taken = 0; taken < rounds;) {
      if (in.available() != 0) {
        in.take();
        ++taken;
        in.commit_to(journal);
        journal.commit();
        continue;
      }
      dawdle(random);
      publish(shared->asleep, 1u);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      const u64 before = clock_ns();
      if (in.was_empty() && !lost) {
        ++sleeps;
        idle.sleep(sleep_limit_ms);
      }
      publish(shared->asleep, 0u);
      if (clock_ns() - before > lost_ns) lost = true;
    }
  });
  Journal journal(base, sizeof *shared, shared->producer_state, shared->producer_entries, {});
  Producer<u64> out(&shared->header, shared->slots, 64);
  Random random(seed);
  for (u64 i = 0; i < rounds; ++i) {
    while (acquire(shared->header.head) != i) sched_yield();
    dawdle(random);
    put(out.next(), i);
    out.commit_to(journal);
    journal.commit();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const u64 one = 1;
    if (peek(shared->asleep) != 0)
      check(static_cast<int>(write(wake.get(), &one, sizeof one)), "writing the eventfd");
  }
  sleeper.join();
  expect(!lost, "no sleep went on to its limit");
  expect(sleeps > 0, "it slept at times");
}

// -- the loops themselves -------------------------------------------------------------------------

constexpr u64 spin_ns = 1'000'000;     // of class Idle
constexpr u64 prompt_ns = 500'000'000; // a worker that was not woken sleeps for a second

RxStage receiver_of(SocketArena& world, SoftLink& soft, int wake) {
  return RxStage(world.arena, 0,
                 {{world.arena.ring_frames(0), soft.rx_ring(), soft.fill_ring(), &soft, -1}},
                 {wake});
}

void answer_all(const Arena& arena, int jobs) {
  for (int i = 0; i < jobs; ++i) answer_lawfully(arena, 0, arena.jobs(0)[i], Rewrite::plain);
}

/// A push at one of the stores that decide. The worker's heartbeat tells where it is: once it has
/// stored one that is a spin later than the first, its next store sets `asleep`. The receiver still
/// sees it awake and does not wake it, so only the worker's second look can find the packet.
struct Injection {
  const worker* self;
  std::function<void()> push;
  u64 started_ns, first_beat_ns = 0;
  u32 before; // how many such stores happen first
  u32 late_stores = 0;
  bool pushed = false, slept = false;
};
thread_local Injection* injection = nullptr;

void inject() {
  Injection& here = *injection;
  const u64 beat = peek(here.self->heartbeat_ns);
  if (here.pushed || beat < here.started_ns) return;
  if (here.first_beat_ns == 0) here.first_beat_ns = beat;
  if (beat - here.first_beat_ns <= spin_ns || here.late_stores++ != here.before) return;
  here.slept = peek(here.self->asleep) != 0;
  here.pushed = true;
  on_store = nullptr; // the receiver's own stores are none of ours
  here.push();
}

void push_before_sleep_is_found() {
  SocketArena world;
  const Fd wake(check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
  const Fd memory = new_intake();
  const MappedIntake taken(memory.get());
  FeedSockets sockets({world.link.fd()}, -1, world.listen());
  SoftLink soft(world.arena, 0, sockets, 0, taken.at());
  RxStage receiver = receiver_of(world, soft, wake.get());
  filter_calls calls{};
  WorkerLoop loop(world.arena, 0, {{}, {world.link.fd()}, wake.get(), {wake.get()}, {}, -1, -1, {}},
                  &calls);
  const auto push = [&] {
    world.feed.send_to(world.link.port(), payload_of(0, 0));
    while (receiver.turn() == 0) continue;
  };
  u32 found = 0;
  for (u32 before = 0;; ++before)
    for (u32 time = 0; time < 20; ++time) {
      Injection here{&world.arena.worker(0), push, clock_ns(), 0, before};
      injection = &here;
      on_store = inject;
      expect_equal(loop.wait(), 1, "calls");
      on_store = nullptr;
      const int jobs = static_cast<int>(loop.tx().jobs());
      expect_equal(jobs, 2, "jobs");
      answer_all(world.arena, jobs);
      loop.finish();
      // past the last store before it
      if (here.slept) return expect(found >= 20, "pushes fell just before the sleep");
      if (clock_ns() - here.started_ns > prompt_ns)
        fail("a push before late store " + std::to_string(before) + " was not seen");
      ++found;
    }
}

/// Both loops in threads of their own; packets come one at a time, about when both are going to
/// sleep.
void loops_lose_no_wake_up(u64 seed) {
  constexpr u64 packets = 200;
  SocketArena world;
  const Fd receiver_wake(check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
  const Fd worker_wake(check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
  const Fd memory = new_intake();
  std::thread receiver([&] {
    ReceiverLoop(world.arena, {{world.link.fd()},
                               {},
                               receiver_wake.get(),
                               {worker_wake.get()},
                               {},
                               -1,
                               -1,
                               {memory.get()}})
        .run();
  });
  std::thread worker([&] {
    filter_calls calls{};
    WorkerLoop loop(world.arena, 0,
                    {{}, {world.link.fd()}, worker_wake.get(), {worker_wake.get()}, {}, -1, -1, {}},
                    &calls);
    for (; loop.wait() >= 0; loop.finish())
      answer_all(world.arena, static_cast<int>(loop.tx().jobs()));
  });
  while (acquire(world.arena.worker(0).generation_done) == 0 ||
         acquire(world.arena.receiver(0).generation_done) == 0)
    sched_yield();
  Random random(seed);
  u64 slept = 0;
  std::string trouble;
  for (u64 i = 0; i < packets && trouble.empty(); ++i) {
    const u64 ready = clock_ns(), pause = spin_ns * 8 / 10 + random.below(spin_ns * 6 / 10);
    while (clock_ns() - ready < pause) sched_yield();
    slept += peek(world.arena.worker(0).asleep);
    const u64 sent = clock_ns();
    world.feed.send_to(world.link.port(), payload_of(0, i));
    while (acquire(world.arena.counters(1).sent) != i + 1 && clock_ns() - sent < prompt_ns)
      sched_yield();
    if (clock_ns() - sent >= prompt_ns)
      trouble = "packet " + std::to_string(i) + " waited for a sleep to end";
  }
  std::atomic_ref<u32>(world.arena.control().state)
      .store(RUN_STATE_HALT, std::memory_order_release);
  for (const int fd : {receiver_wake.get(), worker_wake.get()}) eventfd_write(fd, 1);
  receiver.join();
  worker.join();
  if (!trouble.empty()) fail(trouble);
  expect(slept > 0, "the worker slept at times");
}

void spins_then_sleeps() {
  const Fd wake(check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
  u64 heartbeat = 0;
  const FeedSockets none({}, -1, {});
  Idle idle(false, false, wake.get(), {}, none);
  idle.worked();
  const u64 started = clock_ns();
  while (!idle.is_over(heartbeat)) expect(clock_ns() - started < lost_ns, "it does get tired");
  expect(clock_ns() - started >= 1'000'000, "it spins for a millisecond first");
  expect(heartbeat >= started, "the heartbeat is stored while it spins");
  Idle busy(true, false, wake.get(), {}, none);
  for (const u64 from = clock_ns(); clock_ns() - from < 5'000'000;)
    expect(!busy.is_over(heartbeat), "with --busy-poll it never gets tired");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  const fantail::u64 seed = suite.seed();
  suite.run("the way to sleep loses no wake-up", [&] { protocol_loses_no_wake_up(seed); });
  suite.run(
      "a push just before the worker sleeps, that does not wake it, is found by its second look",
      push_before_sleep_is_found);
  suite.run("receiver and worker in their loops: no packet waits for a sleep to end",
            [&] { loops_lose_no_wake_up(seed); });
  suite.run("idle is spinning for a millisecond, then sleep; never with busy polling",
            spins_then_sleeps);
  return suite.end();
}
