// SPDX-License-Identifier: MIT-0
//
// Makes the kernel transmit what is on the TX ring of an AF_XDP socket, one sendto after another,
// and tells from the answers what became of the copies (net/xdp/xsk.c, __xsk_generic_xmit):
//
//     0         the kernel has taken all that there was, or the completion ring has no room
//     EAGAIN    it has taken as many as one call may (32, or XDP_MAX_TX_SKB_BUDGET), or has no room
//     EBUSY     the last that it took was refused by the device: lost, though it completes as if
//               sent
//     others    it has taken none; ENOBUFS: for want of memory
//
// Which copy EBUSY is about follows from the ring's consumer, as far as the kernel publishes it:
//
//     always        when it has gone through all that it saw when it last looked: perhaps many
//                   calls later
//     since 6.17    at the end of a call that has sent something, too
//
// Where that does not tell, every copy that it may be is uncertain.
#pragma once

#include <cerrno>
#include <cstdint>

#include "xdp/kernel_ring.hpp"

namespace fantail {

class Kicks {
public:
  /// `tells`: the kernel publishes its consumer at the end of a call (6.17 and later).
  explicit Kicks(bool tells = false) : tells_(tells) {}

  /// Copy mode: until the kernel has taken all, or takes no more. `send()` makes one call and
  /// returns its errno or 0. `lost(address, why)`: that copy ends as a drop (enum drop). `look()`:
  /// after each call.
  template<class Send, class Lost, class Look>
  void until_taken(const KernelRing& tx, worker& counters, Send&& send, Lost&& lost, Look&& look) {
    const u32 producer = peek(*tx.producer);
    u32 useless = 0, calls = 0;
    u32 before = acquire(*tx.consumer);
    // where progress does not show, as many calls as all of it takes
    const u32 useless_max = useless_min + (tells_ ? 0 : (producer - before) / budget_min);
    while (before != producer && tx.needs_wakeup() && calls < calls_max && useless < useless_max) {
      ++calls;
      const int error = send();
      look();
      const u32 after = acquire(*tx.consumer);
      note(tx, {before, after, producer}, error, lost);
      if (error != 0 && error != EAGAIN && error != EBUSY && error != ENOBUFS) {
        add(counters.kick_errors, 1);
        break;
      }
      useless = after == before ? useless + 1 : 0;
      before = after;
    }
    if (calls != 0) add(counters.kicks, calls);
  }

  /// Zero copy: one call wakes the driver, which takes them when it runs.
  template<class Send> static void wake(const KernelRing& tx, worker& counters, Send&& send) {
    if (acquire(*tx.consumer) == peek(*tx.producer) || !tx.needs_wakeup()) return;
    add(counters.kicks, 1);
    const int error = send();
    if (error != 0 && error != EAGAIN && error != EBUSY && error != ENOBUFS)
      add(counters.kick_errors, 1);
  }

private:
  static constexpr u32 calls_max = 1024, useless_min = 8;
  /// Descriptors that a call takes where it can (TX_BATCH_SIZE).
  static constexpr u32 budget_min = 32;

  /// The consumer before and after a call, and how far the ring is filled.
  struct Cursors {
    u32 before, after, producer;
  };

  template<class Lost>
  void note(const KernelRing& tx, const Cursors& at, int error, const Lost& lost) {
    const bool moved = at.after != at.before;
    if (error != EBUSY) {
      // one that did not move says nothing: those that it lost are past it as before
      if (moved) {
        taken_ = at.after;
        known_ = tells_;
      }
      return;
    }
    if (known_) {
      // past what it had taken before: it has sent some, then lost the last; else it lost the first
      if (static_cast<std::int32_t>(at.after - taken_) > 0) taken_ = at.after;
      else ++taken_;
      return lost(tx.descriptor(taken_ - 1).addr, DROP_TX_FULL);
    }
    for (u32 i = moved ? at.after - 1 : at.after; i != at.producer; ++i)
      lost(tx.descriptor(i).addr, DROP_UNCERTAIN);
  }

  bool tells_;
  bool known_ = false; // taken_ is; not after a predecessor that was killed
  u32 taken_ = 0;      // by the kernel: past its consumer by those that it lost and did not publish
};

} // namespace fantail
