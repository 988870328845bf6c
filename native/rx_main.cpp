// SPDX-License-Identifier: MIT-0
//
// fantail-rx: opens everything that takes privileges (rx/opening.cpp), hands the file descriptors
// to the supervisor (rx/protocol.hpp), drops its capabilities, and then runs rx_stage (split) or
// keeps everything open (inline). Started by `fantail up`, not by people:
//
//   fantail-rx IFACE            opens what it is told to open
//   fantail-rx IFACE standby    waits, without privileges, to take the place of one that died
//
// A successor opens nothing: it goes on with the descriptors that the supervisor kept. And the
// other way round: what the next supervisor needs is kept here (rx/keeper.hpp).
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "host/descriptor_passing.hpp"
#include "host/namespace.hpp"
#include "host/privileges.hpp"
#include "host/system_calls.hpp"
#include "path/loops.hpp"
#include "rx/keeper.hpp"
#include "rx/protocol.hpp"

namespace fantail {
namespace {

/// The socket of the supervisor: what is to be done comes by it, and what is said goes there.
constexpr int supervisor = 3;

DataPlane data_plane_of(const Start& start) {
  if (const auto* adoption = std::get_if<Adoption>(&start.data_plane))
    return adopt_data_plane(*adoption);
  const Opening& opening = std::get<Opening>(start.data_plane);
  if (opening.netns) enter_namespace(*opening.netns);
  DataPlane plane = open_data_plane(opening);
  tell_opened(supervisor, plane);
  return plane;
}

/// What a process is given to do, and before that, to keep for the supervisor after its own.
struct Given {
  Received task;
  Inheritance inheritance;
};

/// `may_be_orphan`: it goes on without the supervisor that started it, since the next one finds in
/// it all that it needs.
void say_running(bool may_be_orphan) {
  try {
    tell_running(supervisor);
  } catch (const Error& error) {
    if (!may_be_orphan || (error.number != EPIPE && error.number != ECONNRESET)) throw;
  }
}

/// Split: receives until told to halt.
void receive(const Start& start, DataPlane& plane, bool may_be_orphan) {
  Inherited fds;
  for (const Fd& fd : plane.rx) fds.rx.push_back(fd.get());
  fds.slow_path = start.slow_path;
  fds.feed_channel = start.feed_channel;
  for (const Fd& fd : plane.intakes) fds.intakes.push_back(fd.get());
  fds.wake = start.wake;
  fds.worker_wakes = start.worker_wakes;
  ReceiverLoop loop(plane.arena, fds);
  allow_receiver_calls();
  say_running(may_be_orphan);
  loop.run();
}

/// Inline: holds every descriptor and the registered memory until told to halt. The supervisor may
/// die meanwhile.
void keep(const Start& start, const Arena& arena, bool may_be_orphan) {
  constexpr int poll_ms = 1000; // in case a wake was lost
  allow_receiver_calls();
  say_running(may_be_orphan);
  while (acquire(arena.control().state) != RUN_STATE_HALT) {
    pollfd waited{start.wake, POLLIN, 0};
    poll(&waited, 1, poll_ms);
    u64 count;
    if (waited.revents != 0) [[maybe_unused]]
      const ssize_t drained = read(start.wake, &count, sizeof count);
  }
}

/// The last word to the supervisor, or to stderr if there is none.
int fail(const char* message, const std::vector<Fallback>* tried = nullptr) {
  try {
    tell_failed(supervisor, message, tried);
  } catch (const std::exception&) {
    std::fprintf(stderr, "fantail-rx: %s\n", message);
  }
  return 1;
}

/// `owner`: the user whose supervisors are believed.
int run(Given given, uid_t owner) {
  try {
    const bool may_be_orphan = !given.inheritance.whole().empty();
    const Start start = parse_start(std::move(given.task));
    DataPlane plane = data_plane_of(start);
    become(User::receiver);
    // before the core is chosen: it needs none of ours
    const Keeper keeper(supervisor, start.listener, owner, std::move(given.inheritance));
    pin_to_cpu(start.cpu);
    if (plane.arena.header().layout == LAYOUT_SPLIT) receive(start, plane, may_be_orphan);
    else keep(start, plane.arena, may_be_orphan);
    return 0;
  } catch (const NoMode& error) {
    return fail(error.what(), &error.tried);
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}

/// Until there is a task; `closed` if the supervisor has gone and the next one would find nothing
/// here, or had none to give.
Given await_task() {
  Inheritance inheritance;
  for (;;) {
    pollfd waited{supervisor, POLLIN, 0};
    poll(&waited, 1, -1);
    Received received = receive_message(supervisor);
    if (received.what == Received::What::nothing) continue;
    if (received.what == Received::What::message && is_part(received.text)) {
      inheritance.take(std::move(received));
      continue;
    }
    // it may have waited long, and whoever sent it be gone by now
    if (inheritance.whole().empty() && is_silent(supervisor))
      received.what = Received::What::closed;
    return {std::move(received), std::move(inheritance)};
  }
}

int main(int argc, char** argv) {
  prctl(PR_SET_NAME, "fantail-rx");
  signal(SIGPIPE, SIG_IGN);
  const bool is_standby = argc == 3 && std::strcmp(argv[2], "standby") == 0;
  try {
    const uid_t owner = geteuid();
    if (is_standby) become(User::receiver);
    if (argc == 2 || is_standby) {
      Given given = await_task();
      if (given.task.what == Received::What::closed) return 0;
      if (is_standby) std::memset(argv[2], 0, std::strlen(argv[2])); // for who looks at processes
      return run(std::move(given), owner);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fantail-rx: %s\n", error.what());
  }
  std::fputs("fantail-rx: is started by fantail up\n", stderr);
  return 1;
}

} // namespace
} // namespace fantail

int main(int argc, char** argv) { return fantail::main(argc, argv); }
