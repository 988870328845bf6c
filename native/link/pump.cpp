// SPDX-License-Identifier: MIT-0
#include "link/pump.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/clock.hpp"

namespace fantail {

namespace {

// How long a call is to go on. RCU waits for it as long as no tick asks for the core.
constexpr u64 call_ns = 20'000'000;
constexpr u32 frames_min = 1024, frames_max = 1 << 20; // of a call
constexpr int sleep_ms = 1000;

/// Of the next call, after one of `frames` that took so long.
u32 frames_for(u32 frames, u64 took_ns) {
  const u64 wanted = frames * call_ns / std::max<u64>(took_ns, 1);
  // not more than twice as many: one call may have been short by chance
  return static_cast<u32>(
      std::clamp<u64>(wanted, frames_min, std::min<u64>(frames_max, 2 * u64{frames})));
}

} // namespace

Pump::Pump(const BulkLink& link, worker& counters, int cpu, bool busy_poll)
    : link_(link), counters_(counters),
      wake_(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "making a pump's eventfd")),
      thread_([this, cpu, busy_poll] { run(cpu, busy_poll); }) {}

Pump::~Pump() {
  ends_.store(true);
  rouse();
  thread_.join();
}

void Pump::rouse() const {
  const u64 one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
}

void Pump::run(int cpu, bool busy_poll) {
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    sched_setaffinity(0, sizeof set, &set); // else wherever the kernel puts it
  }
  unshare(CLONE_FILES); // a table of its own is looked up in faster (addon/worker.cpp)
  u32 frames = frames_min;
  while (!ends_.load(std::memory_order_relaxed)) {
    const u32 before = link_.taken();
    const u64 began_ns = clock_ns();
    const int error = link_.run(frames);
    add(counters_.bulk_calls, 1);
    if (error == EINTR) {
      add(counters_.bulk_interrupted, 1);
    } else if (error != 0) {
      put(counters_.bulk_pumped, u64{0});
      has_failed_.store(true, std::memory_order_release);
      return;
    } else {
      frames = frames_for(frames, clock_ns() - began_ns);
    }
    if (busy_poll || link_.taken() != before) continue;
    asleep_.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    pollfd waited{wake_.get(), POLLIN, 0};
    if (link_.is_empty()) poll(&waited, 1, sleep_ms);
    asleep_.store(0, std::memory_order_relaxed);
    u64 count;
    [[maybe_unused]] const ssize_t drained = read(wake_.get(), &count, sizeof count);
  }
}

} // namespace fantail
