// SPDX-License-Identifier: MIT-0
#include "link/pump.hpp"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "host/clock.hpp"

namespace fantail {

namespace {

// How long a call is to go on. RCU waits for it as long as no tick asks for the core. A frame that
// becomes a copy takes several times as long as one that is dropped, hence the maximum.
constexpr u64 call_ns = 10'000'000;
constexpr u32 frames_min = 1024, frames_max = 1 << 17; // of a call
constexpr timespec pause_time{0, 1'000'000};           // after a call for which there was no memory
constexpr u32 failures_max = 100;                      // such calls, one after the other

/// Of the next call, after one of `frames` that took so long.
u32 frames_for(u32 frames, u64 took_ns) {
  const u64 wanted = frames * call_ns / std::max<u64>(took_ns, 1);
  // not more than twice as many: one call may have been short by chance
  return static_cast<u32>(
      std::clamp<u64>(wanted, frames_min, std::min<u64>(frames_max, 2 * u64{frames})));
}

} // namespace

Pump::Pump(const BulkLink& link, worker& counters, int cpu, bool busy_poll, int sleep_ms)
    : link_(link), counters_(counters), sleep_ms_(sleep_ms),
      wake_(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "making a pump's eventfd")) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the process's other threads' affair
  thread_ = std::thread([this, cpu, busy_poll] { run(cpu, busy_poll); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Pump::~Pump() {
  ends_.store(true);
  rouse();
  thread_.join();
}

void Pump::rouse() const {
  const u64 one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
}

/// The worker makes its calls itself from now on.
void Pump::fail() {
  put(counters_.bulk_pumped, u64{0});
  has_failed_.store(true, std::memory_order_release);
}

void Pump::run(int cpu, bool busy_poll) {
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) return fail(); // it would share the worker's
  }
  unshare(CLONE_FILES); // a table of its own is looked up in faster (addon/worker.cpp)
  u32 frames = frames_min, failures = 0;
  while (!ends_.load(std::memory_order_relaxed)) {
    const u32 before = link_.taken();
    const u64 began_ns = clock_ns();
    const int error = link_.run(frames);
    add(counters_.bulk_calls, 1);
    if (error == EINTR) {
      add(counters_.bulk_interrupted, 1);
    } else if (error == 0) {
      frames = frames_for(frames, clock_ns() - began_ns);
      failures = 0;
    } else {
      if (error != ENOMEM || ++failures == failures_max) return fail();
      nanosleep(&pause_time, nullptr);
    }
    if (!busy_poll && link_.taken() == before) sleep();
  }
}

/// Until there is something to send, or the end.
void Pump::sleep() {
  asleep_.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  pollfd waited{wake_.get(), POLLIN, 0};
  while (link_.is_empty() && !ends_.load(std::memory_order_relaxed)) {
    u64 count;
    if (poll(&waited, 1, sleep_ms_) > 0) [[maybe_unused]]
      const ssize_t drained = read(wake_.get(), &count, sizeof count);
  }
  asleep_.store(0, std::memory_order_relaxed);
}

} // namespace fantail
