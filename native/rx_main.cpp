// SPDX-License-Identifier: MIT-0
//
// fantail-rx: opens everything that takes privileges (rx/opening.cpp), hands the file descriptors
// to the supervisor (rx/protocol.hpp), drops its capabilities, and then runs rx_stage (split) or
// keeps everything open (inline). Started by `fantail up`, not by people.
//
// The successor of one that died opens nothing: it goes on with the descriptors that the supervisor
// kept. And the other way round: what the next supervisor needs is kept here (rx/keeper.hpp).
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>

#include "host/namespace.hpp"
#include "host/privileges.hpp"
#include "path/loops.hpp"
#include "rx/keeper.hpp"
#include "rx/protocol.hpp"

namespace fantail {
namespace {

DataPlane data_plane_of(const Start& start) {
  if (const auto* adoption = std::get_if<Adoption>(&start.data_plane))
    return adopt_data_plane(*adoption);
  const Opening& opening = std::get<Opening>(start.data_plane);
  if (opening.netns) enter_namespace(*opening.netns);
  DataPlane plane = open_data_plane(opening);
  tell_opened(start.supervisor, plane);
  return plane;
}

/// Split: receives until told to halt.
void receive(const Start& start, DataPlane& plane) {
  Inherited fds;
  for (const Fd& fd : plane.rx) fds.rx.push_back(fd.get());
  fds.wake = start.wake;
  fds.worker_wakes = start.worker_wakes;
  ReceiverLoop loop(plane.arena, fds);
  tell_running(start.supervisor);
  loop.run();
}

/// Inline: holds every descriptor and the registered memory until told to halt. The supervisor may
/// die meanwhile.
void keep(const Start& start, const Arena& arena) {
  constexpr int poll_ms = 1000; // in case a wake was lost
  tell_running(start.supervisor);
  while (acquire(arena.control().state) != RUN_STATE_HALT) {
    pollfd waited{start.wake, POLLIN, 0};
    poll(&waited, 1, poll_ms);
    u64 count;
    if (waited.revents != 0) [[maybe_unused]]
      const ssize_t drained = read(start.wake, &count, sizeof count);
  }
}

/// The last word to the supervisor, or to stderr if there is none.
int fail(int supervisor, const char* message, const std::vector<Fallback>* tried = nullptr) {
  try {
    tell_failed(supervisor, message, tried);
  } catch (const std::exception&) {
    std::fprintf(stderr, "fantail-rx: %s\n", message);
  }
  return 1;
}

int run(const Start& start) {
  try {
    DataPlane plane = data_plane_of(start);
    const uid_t owner = geteuid();
    become(User::receiver);
    // before the core is chosen: it needs none of ours
    const Keeper keeper(start.supervisor, start.listener, owner);
    pin_to_cpu(start.cpu);
    if (plane.arena.header().layout == LAYOUT_SPLIT) receive(start, plane);
    else keep(start, plane.arena);
    return 0;
  } catch (const NoMode& error) {
    return fail(start.supervisor, error.what(), &error.tried);
  } catch (const std::exception& error) {
    return fail(start.supervisor, error.what());
  }
}

int main(int argc, char** argv) {
  prctl(PR_SET_NAME, "fantail-rx");
  signal(SIGPIPE, SIG_IGN);
  try {
    if (argc == 2) return run(parse_start(argv[1]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fantail-rx: %s\n", error.what());
  }
  std::fputs("fantail-rx: is started by fantail up\n", stderr);
  return 1;
}

} // namespace
} // namespace fantail

int main(int argc, char** argv) { return fantail::main(argc, argv); }
