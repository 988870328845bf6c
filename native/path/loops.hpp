// SPDX-License-Identifier: MIT-0
//
// The two loops of the data path. A layout only says which stages a loop calls:
//     split:   ReceiverLoop (fantail-rx) calls rx_stage of all queues;   WorkerLoop calls tx_stage
//     inline:  WorkerLoop calls rx_stage of its queues, then tx_stage;   fantail-rx keeps
//     everything open
#pragma once

#include "path/idle.hpp"
#include "path/links.hpp"

namespace fantail {

/// File descriptors that a loop inherits; it closes none of them.
struct Inherited {
  std::vector<int> rx;             // per queue that this process receives on, in order of queue
  int tx = -1;                     // workers: the socket of their own queue
  int wake = -1;                   // own eventfd
  std::vector<int> worker_wakes;   // eventfd of each worker
  std::vector<int> kernel_sockets; // workers: pool for subscribers in kernel state
};

class WorkerLoop {
public:
  /// `calls`: where wait() says which filters to call; JavaScript reads it.
  WorkerLoop(Arena& arena, u32 worker, const Inherited& fds, filter_calls* calls);

  /// The filters have answered the burst that wait() returned: sends what they said. Else does
  /// nothing.
  void finish();
  /// Waits for the next burst. Returns the filter calls that it takes (1 or more), 0 when there are
  /// orders of the supervisor instead, or -1 when told to halt.
  int wait();
  /// Where a filter's memory shows the UMEM.
  void set_window(const char* frames);
  TxStage& tx() { return tx_; }
  /// Orders up to that number are carried out.
  void orders_done(u64 order) { publish(self_.filter_orders_done, order); }

private:
  bool look();
  void rest();
  void sleep();
  void drain();
  bool is_idle() const;
  bool has_orders() const;

  Arena& arena_;
  worker& self_;
  filter_calls* calls_;
  std::vector<RxLinkOwner> rx_links_;
  TxLinkOwner tx_link_;
  std::vector<RxStage> rx_;
  TxStage tx_;
  Idle idle_;
  bool looks_suffice_; // to see that there is something to do; else it takes a turn
  bool asked_ = false;
};

class ReceiverLoop {
public:
  ReceiverLoop(Arena& arena, const Inherited& fds);
  /// Returns when told to halt.
  void run();

private:
  void note(u32 frames, u64 spent_ns);
  void sleep();

  Arena& arena_;
  receiver& self_;
  std::vector<RxLinkOwner> links_;
  RxStage rx_;
  Idle idle_;
};

/// Pins the calling thread; -1: leave it as it is.
void pin_to_cpu(int cpu);

} // namespace fantail
