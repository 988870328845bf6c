// SPDX-License-Identifier: MIT-0
//
// What a receiver has asked of recvmmsg, in memory that outlives it: whoever is killed between the
// kernel's taking datagrams off a socket and saying so in the arena has a successor that finds them
// here. The kernel completes a call that does not wait before it lets a process die
// (net/socket.c, do_recvmmsg), so msg_len tells which datagrams were taken.
//
// The memory is not the arena: it holds addresses to which the kernel writes, and whoever can write
// to the arena could turn those into any address of a receiver. It is shared by a receiver and its
// successors alone.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <utility>

#include "host/check.hpp"
#include "shm/layout.h"

namespace fantail {

/// One call at a time. Written by the receiver, and by the kernel in its place.
struct intake {
  /// What msg_len is before the kernel has taken a datagram.
  static constexpr u32 untaken = 0xffffffff;

  u32 offered; // frames, with the call or with what came of it; 0: nothing to be said
  u32 rx;      // cursors of the soft link when they were
  u32 fill;
  u32 ip; // where the socket's datagrams are sent to, network order
  u16 port;
  mmsghdr messages[FANTAIL_BURST_MAX];
  iovec pieces[FANTAIL_BURST_MAX];
  sockaddr_in sources[FANTAIL_BURST_MAX];
};

/// Empty memory for one receiving socket (memfd, sealed against resizing).
Fd new_intake();

/// It mapped, for as long as this lives.
class MappedIntake {
public:
  MappedIntake() = default;
  explicit MappedIntake(int fd);
  MappedIntake(MappedIntake&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
  MappedIntake& operator=(MappedIntake&& other) noexcept {
    std::swap(at_, other.at_);
    return *this;
  }
  ~MappedIntake();
  intake* at() const { return at_; }

private:
  intake* at_ = nullptr;
};

} // namespace fantail
