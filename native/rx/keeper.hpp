// SPDX-License-Identifier: MIT-0
//
// What outlives a supervisor: fantail-rx keeps for it what the next one needs (descriptors, and a
// text that only supervisors read), and hands it to whoever comes when that one is gone.
//
//     supervisor lives:  {"keep":…} messages replace what is kept; others are told who it is
//     supervisor gone:   the first that comes and is of our user gets everything, and is the
//                        supervisor from then on
//
// Runs on a thread of its own, which sleeps in poll: the packet path does not know of it.
#pragma once

#include <string>
#include <thread>

#include "host/check.hpp"
#include "host/descriptor_passing.hpp"
#include "rx/inheritance.hpp"

namespace fantail {

class Keeper {
public:
  /// `supervisor`: a connected socket, which stays the caller's; `listener`: an abstract socket
  /// that listens, likewise. Both SOCK_SEQPACKET. `owner`: the user whose supervisors are answered.
  /// `inheritance`: what it was given to keep so far.
  Keeper(int supervisor, int listener, uid_t owner, Inheritance inheritance);
  /// Ends the thread.
  ~Keeper();
  Keeper(const Keeper&) = delete;

private:
  void run();
  /// What it has said, at most messages_a_turn_max. False: it is gone.
  bool hear(int supervisor);
  void answer(Peer peer);

  Fd adopter_;     // a supervisor that came later
  int supervisor_; // that one, or the first, which is the caller's; -1: none lives
  pid_t pid_ = 0;  // of the adopter
  int listener_;
  uid_t owner_;
  Fd stop_; // eventfd
  Inheritance inheritance_;
  std::thread thread_;
};

} // namespace fantail
