// SPDX-License-Identifier: MIT-0
//
// Socket mode on loopback, for tests: UDP sockets, and an arena whose feed and subscribers are such
// sockets.
#pragma once

#include <netinet/in.h>

#include "feeds/feed_sockets.hpp"
#include "rig/world.hpp"

namespace fantail::testing {

inline const u32 loopback = htonl(INADDR_LOOPBACK);

/// A UDP socket on a free port of 127.0.0.1.
class Socket {
public:
  Socket();
  int fd() const { return fd_.get(); }
  u16 port() const { return port_; } // network order

  void send_to(u16 port, const Bytes& payload) const;
  void connect_to(u16 port) const;

  struct Datagram {
    Bytes payload;
    int ttl = 0, tos = 0;
  };
  /// Everything that has arrived. (Loopback delivers before send returns.)
  std::vector<Datagram> take() const;

private:
  Fd fd_;
  u16 port_ = 0;
};

/// Zeroed memory that is only reserved.
class Reserved {
public:
  explicit Reserved(u64 size);
  ~Reserved();
  Reserved(const Reserved&) = delete;
  char* at() const { return at_; }

private:
  u64 size_;
  char* at_;
};

/// Split, one queue, one worker, two subscribers; nobody runs yet.
class SocketArena {
public:
  SocketArena();
  ~SocketArena();
  /// Where datagrams are said to be sent to.
  FeedSocket listen() const;

private:
  Reserved memory_;

public:
  Arena arena;
  Socket feed, link, sinks[2];

private:
  Supervisor supervisor_;
};

} // namespace fantail::testing
