// SPDX-License-Identifier: MIT-0
//
// What the supervisor and fantail-rx tell one another; src/processes/rx-protocol.ts is the other
// side. One JSON message over a SOCK_SEQPACKET socket, with descriptors, says what fantail-rx is to
// do, and it answers there, one JSON message each:
//   {"event":"opened","mode":…,"attach":…,"fallbacks":[…],"ringBecause":…,"tx":N,"pages":N,"intakes":N}
//   with the descriptors arena, rx…, tx…, pages…, intakes…, those of Xdp::fds(), and of a program
//   that can send in bulk those of struct Bulk
//   {"event":"running"}          {"event":"failed","message":…,"tried":[…]}
// Then the supervisor tells what is to be kept (rx/keeper.hpp), and on the abstract socket whoever
// asks is told {"event":"served","pid":…} or {"event":"kept","pid":…,"parts":N} and those parts.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "host/descriptor_passing.hpp"
#include "rx/opening.hpp"

namespace fantail {

/// What it is to do. The descriptors stay open until the process ends.
struct Start {
  int wake;                      // own eventfd
  std::vector<int> worker_wakes; // eventfd of each worker
  int listener;                  // abstract socket on which the next supervisor asks
  int slow_path;                 // the first feed's UDP socket; -1: there is none
  int feed_channel;              // where those of the other feeds come from
  int cpu;                       // core to run on; -1: wherever the kernel puts it
  std::variant<Opening, Adoption> data_plane;
};

/// Throws if it is not what the supervisor writes.
Start parse_start(Received task);

void tell_opened(int supervisor, const DataPlane& plane);
void tell_running(int supervisor);
/// `tried`: each mode that was not possible, where there was a choice.
void tell_failed(int supervisor, const char* message, const std::vector<Fallback>* tried);

/// One of the messages in which a supervisor says what is to be kept.
struct Part {
  u32 index, count;
};
/// Throws if it is none.
Part parse_part(const std::string& text);
bool is_part(const std::string& text);
/// To one that asks while a supervisor lives: its process, or 0 for the one that started us.
void tell_served(int peer, pid_t supervisor);
/// To one that asks when none does; so many parts follow.
void tell_kept(int peer, u32 parts);

} // namespace fantail
