// SPDX-License-Identifier: MIT-0
#include "rx/keeper.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <ctime>

#include "host/integers.hpp"
#include "rx/protocol.hpp"

namespace fantail {

namespace {
// A supervisor that talks without end must not keep us from those that come, nor from the end.
constexpr int messages_a_turn_max = 64;
} // namespace

Keeper::Keeper(int supervisor, int listener, uid_t owner, Inheritance inheritance)
    : supervisor_(supervisor), listener_(listener), owner_(owner),
      stop_(check(eventfd(0, EFD_CLOEXEC), "making an eventfd")),
      inheritance_(std::move(inheritance)), thread_([this] { run(); }) {}

Keeper::~Keeper() {
  const u64 one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void Keeper::run() {
  for (;;) {
    pollfd waited[] = {{stop_.get(), POLLIN, 0}, {supervisor_, POLLIN, 0}, {listener_, POLLIN, 0}};
    if (poll(waited, std::size(waited), -1) < 0) continue; // EINTR
    if (waited[0].revents != 0) return;
    // first who is gone, then who comes: the one that comes may have waited for that
    if (waited[1].revents != 0 && !hear(supervisor_)) {
      supervisor_ = -1; // poll() passes over it
      inheritance_.drop_unfinished();
      adopter_ = Fd();
    }
    if (waited[2].revents == 0) continue;
    try {
      // one a turn: a flood of them must not keep us from the supervisor
      if (std::optional<Peer> peer = accept_peer(listener_)) answer(std::move(*peer));
    } catch (const Error&) {
      constexpr timespec pause{0, 10'000'000}; // it was gone again, or there is no descriptor now
      nanosleep(&pause, nullptr);
    }
  }
}

bool Keeper::hear(int supervisor) {
  for (int messages = 0; messages < messages_a_turn_max; ++messages) {
    try {
      Received received = receive_message(supervisor);
      if (received.what == Received::What::closed) return false;
      if (received.what == Received::What::nothing) return true;
      inheritance_.take(std::move(received));
    } catch (const std::exception&) {
      // one that cannot be taken: a later one may be
    }
  }
  return true;
}

void Keeper::answer(Peer peer) {
  try {
    if (peer.uid != owner_) return;
    if (supervisor_ >= 0) return tell_served(peer.fd.get(), pid_);
    const std::vector<Received>& kept = inheritance_.whole();
    tell_kept(peer.fd.get(), static_cast<u32>(kept.size()));
    for (const Received& part : kept) {
      std::vector<int> fds;
      for (const Fd& fd : part.fds) fds.push_back(fd.get());
      send_message(peer.fd.get(), part.text, fds);
    }
    adopter_ = std::move(peer.fd);
    pid_ = peer.pid;
    supervisor_ = adopter_.get();
  } catch (const Error&) {
    // it has gone again: the next one may stay
  }
}

} // namespace fantail
