// SPDX-License-Identifier: MIT-0
//
// Plays the kernel's side of the four rings of one queue over a UDP socket, so that both stages run
// unchanged. The rings live in the arena (struct soft_link).
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

#include "link/intake.hpp"
#include "shm/arena.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail {

/// Completion entries carry 1 + enum drop here when the copy was not sent; kernels leave these bits
/// 0.
constexpr u32 outcome_shift = 56;

class SoftLink {
public:
  /// `socket`: bound to the listen address, nonblocking; the caller keeps it open. `taken`: of a
  /// receiver; what its predecessor was just taking in is on the RX ring then.
  SoftLink(Arena& arena, u32 queue, int socket, intake* taken = nullptr);

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
  void offer(u32 fill, u32 count);
  void take_in();
  void send_some(u32 count, u64 deadline_ns);
  void complete(u32 count, const u16* outcomes);

  Arena& arena_;
  soft_link& link_;
  int socket_;
  intake* taken_;
};

} // namespace fantail
