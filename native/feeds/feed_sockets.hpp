// SPDX-License-Identifier: MIT-0
//
// The UDP sockets of the feeds, as one process of the data path has them: those by which the kernel
// delivers (slow path, socket mode), and in socket mode those by which copies leave.
//
// The first feed's are inherited. The others come and go while the process runs: the supervisor
// sends their descriptors on a SOCK_SEQPACKET socket, a message a feed, before it publishes the
// table that names the feed; who adopts that table takes them in, and closes those of feeds that it
// names no more. What a killed process had not taken in yet is sent again to its successor.
//
//     message   "<index> <epoch>", with a descriptor for each link of the process, in their order
#pragma once

#include <vector>

#include "host/check.hpp"
#include "shm/layout.h"

namespace fantail {

/// A feed's socket of one link; not owned by who reads it. Address and port in network order.
struct FeedSocket {
  int fd;
  u32 ip;
  u16 port;
};

class FeedSockets {
public:
  /// `first`: the first feed's, by link. `channel`: where the others come from; -1: none come.
  /// Neither is closed here. `listen`: where the first feed is sent to.
  FeedSockets(std::vector<int> first, int channel, const FeedSocket& listen);

  u32 links() const { return static_cast<u32>(of_.size()); }
  /// Of all feeds, on that link.
  const std::vector<FeedSocket>& of(u32 link) const { return of_[link]; }
  /// Another number whenever any of them has come or gone.
  u32 version() const { return version_; }

  /// Holds the sockets of that table's feeds. System calls where feeds have come or gone, and no
  /// others; twice for one table does nothing.
  void follow(const table& now);

private:
  struct Held {
    u64 epoch = 0; // of its feed; 0: none is held
    std::vector<Fd> fds;
  };

  void take_in();
  void list(const table& now);

  std::vector<int> first_;
  int channel_;
  u32 version_ = 0;
  Held held_[FANTAIL_FEEDS_MAX];
  std::vector<std::vector<FeedSocket>> of_;
};

} // namespace fantail
