// SPDX-License-Identifier: MIT-0
//
// What a loop does when a turn moved nothing: spin (or hand the core over) for about 1 ms, then
// block in poll.
//
// Going to sleep, against a producer that pushes at the same moment; at least one of the two sees
// the other:
//     sleeper:    asleep = 1 · fence · look again · poll
//     producer:   push · fence · asleep? → write its eventfd
#pragma once

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <vector>

#include "feeds/feed_sockets.hpp"
#include "host/clock.hpp"
#include "shm/store.hpp"

namespace fantail {

class Idle {
public:
  /// `wake_fd`: this process's eventfd. Polled for input as well: `sockets`, and those of the
  /// feeds, which come and go.
  Idle(bool busy_poll, bool yield, int wake_fd, const std::vector<int>& sockets,
       const FeedSockets& feeds)
      : busy_poll_(busy_poll), yield_(yield), feeds_(feeds) {
    polled_.reserve(1 + sockets.size() + std::size_t{feeds.links()} * FANTAIL_FEEDS_MAX);
    polled_.push_back({wake_fd, POLLIN, 0});
    for (const int fd : sockets) polled_.push_back({fd, POLLIN, 0});
    own_ = polled_.size();
    watch_feeds();
  }

  void worked() { since_ns_ = 0; }

  /// After a turn that moved nothing. Reads the clock every few turns only and stores it as the
  /// heartbeat. True: about 1 ms has passed idle, sleep now.
  bool is_over(u64& heartbeat_ns) {
    if (yield_) sched_yield();
    else pause();
    if (++turns_ % turns_a_look != 0) return false;
    const u64 now = clock_ns();
    put(heartbeat_ns, now);
    if (since_ns_ == 0) since_ns_ = now;
    return !busy_poll_ && now - since_ns_ > spin_ns;
  }

  /// Blocks until input, a wake-up, or the time limit. The caller has set `asleep`, fenced and
  /// looked again.
  void sleep(int limit_ms) {
    if (feeds_.version() != watched_) watch_feeds();
    poll(polled_.data(), polled_.size(), limit_ms);
    u64 count;
    if ((polled_[0].revents & POLLIN) != 0) [[maybe_unused]]
      const ssize_t drained = read(polled_[0].fd, &count, sizeof count);
    since_ns_ = 0;
  }

private:
  static constexpr u64 spin_ns = 1'000'000;
  static constexpr u32 turns_a_look = 16;

  void watch_feeds() {
    watched_ = feeds_.version();
    polled_.resize(own_);
    for (u32 link = 0; link < feeds_.links(); ++link)
      for (const FeedSocket& socket : feeds_.of(link)) polled_.push_back({socket.fd, POLLIN, 0});
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  bool busy_poll_;
  bool yield_;
  const FeedSockets& feeds_;
  std::vector<pollfd> polled_;
  std::size_t own_ = 0; // of those, the ones that stay
  u32 watched_ = 0;     // version of the feeds' sockets
  u64 since_ns_ = 0;
  u32 turns_ = 0;
};

} // namespace fantail
