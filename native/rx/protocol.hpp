// SPDX-License-Identifier: MIT-0
//
// What the supervisor and fantail-rx tell one another; src/processes/rx-protocol.ts is the other
// side. One JSON argument starts fantail-rx, and it answers over a SOCK_SEQPACKET socket, one JSON
// message each:
//   {"event":"opened","mode":…,"attach":…,"fallbacks":[…]} with the descriptors arena, rx…, tx…,
//   link, xsks, feeds, verdicts
//   {"event":"running"}          {"event":"failed","message":…,"tried":[…]}
// Then the supervisor tells what is to be kept (rx/keeper.hpp), and on the abstract socket whoever
// asks is told {"event":"served","pid":…} or {"event":"kept","pid":…,"parts":N} and those parts.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "rx/opening.hpp"

namespace fantail {

/// The argument. Descriptors are inherited.
struct Start {
  int supervisor;                // the socket that messages go to
  int wake;                      // own eventfd
  std::vector<int> worker_wakes; // eventfd of each worker
  int listener;                  // abstract socket on which the next supervisor asks
  int cpu;                       // core to run on; -1: wherever the kernel puts it
  std::variant<Opening, Adoption> data_plane;
};

/// Throws if it is not what the supervisor writes.
Start parse_start(const char* argument);

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
/// To one that asks while a supervisor lives: its process, or 0 for the one that started us.
void tell_served(int peer, pid_t supervisor);
/// To one that asks when none does; so many parts follow.
void tell_kept(int peer, u32 parts);

} // namespace fantail
