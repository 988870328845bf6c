// SPDX-License-Identifier: MIT-0
//
// The two loops of the data path. A layout only says which stages a loop calls:
//     split:   ReceiverLoop (fantail-rx) calls rx_stage of all queues;   WorkerLoop calls tx_stage
//     inline:  WorkerLoop calls rx_stage of its queues, then tx_stage;   fantail-rx keeps
//              everything open
//
// A turn of a worker, one line, and no step calls one before it (adopt and kick may commit once
// more: to change tables between two whole bursts, and to count what the kernel's stack took). In
// adopt it learns, too, whether it may still serve: served.hpp.
//     wait():    receive · reap · adopt · make room · take · ask
//                (JavaScript calls the filters)
//     finish():  answer · write · commit · kick
// A turn without jobs is finished by wait() itself, which goes on with the next. One that lacks
// room for a packet takes none, so that its second half and the next reap make some.
//
// -- who may move what
//
// A frame of the UMEM is in exactly one place. It has moved once the cursor that says so is
// committed; the kernel (in socket mode SoftLink) stores its own.
//
//     RX frame                               by         step
//     ------------------------------------   --------   ---------------------------------------
//     fill ring → RX ring                    kernel
//     RX ring → fill ring                    receiver   receive: invalid, or wanted by nobody
//     RX ring → forward rings                receiver   receive: handed = number of workers
//     forward ring → giveback ring           worker     answer: copied or dropped
//     forward ring → TX ring                 worker     write: in place
//     TX ring → completion ring              kernel
//     completion ring → giveback ring        worker     reap
//     giveback ring → fill ring              receiver   reclaim: handed has fallen to 0
//
//     TX frame
//     ------------------------------------   --------   ---------------------------------------
//     free rings → TX ring                   worker     write
//     TX ring → completion ring              kernel
//     completion ring → free rings           worker     reap
//
//     prohibited                                        because
//     -----------------------------------------------   ---------------------------------------
//     worker: forward ring → fill ring                  other workers may still read the frame
//     worker: in place while others hold the frame      its header would change under them
//     worker: writing to an RX frame before a commit    a successor asks the filter again
//     worker: taking a TX frame in the turn in which    until the commit its tag says whose
//       it completed                                    completion it was
//     receiver: moving a frame whose handed is not 0    workers hold it; a descriptor that names
//                                                       it is refused as invalid
//     anyone: taking a frame from the kernel other      the device may be reading or writing it
//       than by a ring that the kernel has moved
//
//     ring slot      by         may                     may not, because
//     ------------   --------   ---------------------   ---------------------------------------
//     head to tail   consumer   read; commit head       write, or pass tail: not its own yet
//                               with the burst          commit head earlier: a killed consumer's
//                                                       slots are its successor's
//     the others     producer   write; commit tail      take back: it may have been read
//                               with the turn           commit tail before what the slot names:
//                                                       the consumer reads at once
//     TX producer    worker     commit, as the last     commit before headers of in-place frames:
//                               entry of a burst        the kernel reads at once
//
// No SPSC ring is ever full: each has as many slots as there are frames that could be on it. The TX
// ring can be, by received frames that are sent in place beside the worker's own: make_room().
#pragma once

#include "link/links.hpp"
#include "path/idle.hpp"
#include "path/rx_stage.hpp"
#include "path/tx_stage.hpp"

namespace fantail {

/// File descriptors that a loop inherits; it closes none of them.
struct Inherited {
  std::vector<int> rx;             // per queue that this process receives on, in order of queue
  TxDescriptors tx;                // workers: of their own queue
  int wake = -1;                   // own eventfd
  std::vector<int> worker_wakes;   // eventfd of each worker
  std::vector<int> kernel_sockets; // workers: pool for subscribers in kernel state
  int slow_path = -1;              // the first feed's, where the first receiver is and there is one
  int feed_channel = -1;           // where the UDP sockets of the other feeds come from
  std::vector<int> intakes;        // of the UDP sockets among these that receive (link/intake.hpp)
};

class WorkerLoop {
public:
  /// `calls`: where wait() says which filters to call; JavaScript reads it.
  WorkerLoop(Arena& arena, u32 worker, const Inherited& fds, filter_calls* calls);

  /// Takes turns until filters are to be called; a turn that needs none it finishes itself. Returns
  /// the filter calls that the burst takes (1 or more), 0 when there are orders of the supervisor
  /// instead, or -1 when told to halt.
  int wait();
  /// The filters have answered the burst that wait() returned: the rest of its turn. Else does
  /// nothing.
  void finish();
  /// Where a filter's memory shows the UMEM.
  void set_window(const char* frames);
  TxStage& tx() { return tx_; }
  /// Orders up to that number are carried out.
  void orders_done(u64 order) { publish(self_.filter_orders_done, order); }

private:
  void rest();
  void sleep();
  void drain();
  bool is_idle() const;
  bool has_orders() const;
  transmit wanted_path() const;
  bool may_change_path() const;
  void change_path();

  // More members than our rule of thumb with the functions counted: the links must outlive the
  // stages.
  Arena& arena_;
  u32 index_;
  worker& self_;
  filter_calls* calls_;
  FeedSockets feed_sockets_;
  std::vector<RxLinkOwner> rx_links_;
  TxLinkOwner tx_link_;
  transmit path_;
  std::vector<RxStage> rx_;
  TxStage tx_;
  Idle idle_;
  bool looks_suffice_;    // to see that there is something to do; else it takes a turn
  bool is_asked_ = false; // wait() has returned a burst that is not finished
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
  FeedSockets feed_sockets_;
  std::vector<RxLinkOwner> links_;
  RxStage rx_;
  Idle idle_;
};

/// Pins the calling thread; -1: leave it as it is.
void pin_to_cpu(int cpu);

} // namespace fantail
