// SPDX-License-Identifier: MIT-0
//
// Plays the kernel's side of the four rings of one queue over the UDP sockets of the feeds, so that
// both stages run unchanged. The rings live in the arena (struct soft_link).
//
//   receive()    called by the receiver, in socket mode and for the slow path:
//                fill ring → recvmmsg behind a synthetic 42-byte header → RX ring
//   transmit()   called by the worker:
//                TX ring → sendmmsg, aimed by the frame's own header → completion ring
//
// Both cursors of a direction are stored as one u64, so a kill cannot part them. What recvmmsg gave
// a killed receive() is in its intake, from where the successor takes it. What a killed transmit()
// had handed to sendmmsg is undecidable: at most one burst, completed as DROP_UNCERTAIN by
// recover().
#pragma once

#include "feeds/feed_sockets.hpp"
#include "host/clock.hpp"
#include "link/intake.hpp"
#include "shm/arena.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail {

/// Completion entries carry 1 + enum drop here when the copy was not sent; kernels leave these bits
/// 0.
constexpr u32 outcome_shift = 56;

class SoftLink {
public:
  /// `sockets`: bound to the feeds' addresses, nonblocking, by `link` of the process; they may
  /// change between two calls. `taken`: of a receiver; what its predecessor was just taking in is
  /// on the RX ring then.
  SoftLink(Arena& arena, u32 queue, FeedSockets& sockets, u32 link, intake* taken = nullptr);

  KernelRing rx_ring() const;
  KernelRing fill_ring() const;
  KernelRing tx_ring() const;
  KernelRing completion_ring() const;

  /// Takes at most FANTAIL_BURST_MAX datagrams of each feed that has any, as long as fewer than
  /// that are on the RX ring; and only while it is empty.
  void receive();
  /// Sends everything on the TX ring; a full socket buffer is retried for at most `retry_ns`, then
  /// drops as tx_full. Each leaves by the socket of its feed, whose port is its source port.
  /// `look()`: after each call.
  template<class Look> void transmit(u64 retry_ns, Look&& look) {
    for (const u64 deadline_ns = clock_ns() + retry_ns; send_some(deadline_ns);) look();
  }
  /// The worker's successor: completes what may or may not have been sent.
  void recover();
  /// A table is adopted, whose feeds' sockets are to be there from now on.
  void follow(const table& now) { sockets_.follow(now); }

private:
  u64 frame_at(const u64& shared) const;
  bool receive_from(const FeedSocket& socket);
  void offer(u32 fill, u32 count);
  int socket_of(const u8* bytes) const;
  void take_in();
  bool send_some(u64 deadline_ns);
  void send(u32 count, u64 deadline_ns);
  void complete(u32 count, const u16* outcomes);

  Arena& arena_;
  soft_link& link_;
  FeedSockets& sockets_;
  u32 index_;
  u32 turn_ = 0; // of the feeds' sockets, the one that is read first
  intake* taken_;
};

} // namespace fantail
