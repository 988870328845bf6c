// SPDX-License-Identifier: MIT-0
//
// Socket mode: plays the kernel's side of the four rings of one queue over a UDP socket, so that
// both stages run unchanged. The rings live in the arena (struct soft_link).
//
//   receive()    called by the receiver:
//                fill ring → recvmmsg behind a synthetic 42-byte header → RX ring
//   transmit()   called by the worker:
//                TX ring → sendmmsg, aimed by the frame's own header → completion ring
//
// Both cursors of a direction are stored as one u64, so a kill cannot part them. What a killed
// transmit() had handed to sendmmsg is undecidable: at most one burst, completed as DROP_UNCERTAIN
// by recover().
#pragma once

#include "shm/arena.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail {

/// Completion entries carry 1 + enum drop here when the copy was not sent; kernels leave these bits
/// 0.
constexpr u32 outcome_shift = 56;

class SoftLink {
public:
  /// `socket`: bound to the listen address, nonblocking; the caller keeps it open.
  SoftLink(Arena& arena, u32 queue, int socket);

  KernelRing rx_ring() const;
  KernelRing fill_ring() const;
  KernelRing tx_ring() const;
  KernelRing completion_ring() const;

  /// Takes at most FANTAIL_BURST_MAX datagrams, and only while the RX ring is empty.
  void receive();
  /// Sends everything on the TX ring; a full socket buffer is retried for at most `retry_ns`, then
  /// drops as tx_full.
  void transmit(u64 retry_ns);
  /// The worker's successor: completes what may or may not have been sent.
  void recover();

private:
  u64 frame_at(const u64& shared) const;
  void send_some(u32 count, u64 deadline_ns);
  void complete(u32 count, const u16* outcomes);

  Arena& arena_;
  soft_link& link_;
  int socket_;
};

} // namespace fantail
