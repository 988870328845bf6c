// SPDX-License-Identifier: MIT-0
//
// Bulk transmit by a pump: a thread on a core of its own that makes one call of the XDP program
// after another, each for some 10 ms, in which the program looks for copies and sends what there is
// (bpf/bulk.bpf.h). So the worker sends without a system call: it stores the TX producer, and reads
// what became of the copies (BulkLink::follow()).
//
// With nothing to send for a whole call it sleeps, unless it is to poll busily:
//     pump:     asleep = 1 · fence · look again · poll
//     worker:   TX producer, or a round · fence · asleep? → write its eventfd
//
// System calls that it makes: bpf (running the program), poll, read, nanosleep; wake() writes an
// eventfd. x86-64 alone: the program's own loads and stores have no other order.
#pragma once

#include <atomic>
#include <thread>

#include "link/bulk_link.hpp"

namespace fantail {

class Pump {
public:
  /// `link` outlives it, and nobody else runs its program. `cpu`: the core of its own; -1: any.
  /// `sleep_ms`: the longest sleep, whether it is woken or not.
  Pump(const BulkLink& link, worker& counters, int cpu, bool busy_poll, int sleep_ms = 1000);
  /// Ends the thread, which takes as long as a call.
  ~Pump();
  Pump(const Pump&) = delete;

  /// The kernel refuses its calls: it makes none any more.
  bool has_failed() const { return has_failed_.load(std::memory_order_acquire); }
  /// There may be something to send.
  void wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_relaxed) != 0) rouse();
  }

private:
  void run(int cpu, bool busy_poll);
  void sleep();
  void fail();
  void rouse() const;

  const BulkLink& link_;
  worker& counters_;
  int sleep_ms_;
  Fd wake_;
  std::atomic<u32> asleep_ = 0;
  std::atomic<bool> ends_ = false, has_failed_ = false;
  std::thread thread_;
};

} // namespace fantail
