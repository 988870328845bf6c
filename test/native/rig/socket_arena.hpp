// SPDX-License-Identifier: MIT-0
//
// Socket mode on loopback, for tests: UDP sockets, and an arena whose feed and subscribers are such
// sockets.
#pragma once

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "rig/world.hpp"

namespace fantail::testing {

inline const u32 loopback = htonl(INADDR_LOOPBACK);

/// A UDP socket on a free port of 127.0.0.1.
class Socket {
public:
  Socket()
      : fd_(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                  "opening a UDP socket")) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = loopback;
    socklen_t length = sizeof address;
    check(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length), "binding a UDP socket");
    check(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
    port_ = address.sin_port;
    const int on = 1;
    check(setsockopt(fd_.get(), IPPROTO_IP, IP_RECVTTL, &on, sizeof on), "IP_RECVTTL");
    check(setsockopt(fd_.get(), IPPROTO_IP, IP_RECVTOS, &on, sizeof on), "IP_RECVTOS");
  }
  int fd() const { return fd_.get(); }
  u16 port() const { return port_; } // network order

  void send_to(u16 port, const Bytes& payload) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = loopback;
    address.sin_port = port;
    check(static_cast<int>(sendto(fd(), payload.data(), payload.size(), 0,
                                  reinterpret_cast<sockaddr*>(&address), sizeof address)),
          "sending a datagram");
  }
  void connect_to(u16 port) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = loopback;
    address.sin_port = port;
    check(connect(fd(), reinterpret_cast<sockaddr*>(&address), sizeof address),
          "connecting a UDP socket");
  }

  struct Datagram {
    Bytes payload;
    int ttl = 0, tos = 0;
  };
  /// Everything that has arrived. (Loopback delivers before send returns.)
  std::vector<Datagram> take() const {
    std::vector<Datagram> taken;
    for (;;) {
      Datagram datagram{Bytes(65536), 0, 0};
      alignas(cmsghdr) char control[128];
      iovec piece{datagram.payload.data(), datagram.payload.size()};
      msghdr message{};
      message.msg_iov = &piece;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      const ssize_t length = recvmsg(fd(), &message, 0);
      if (length < 0) return taken;
      datagram.payload.resize(static_cast<std::size_t>(length));
      for (cmsghdr* option = CMSG_FIRSTHDR(&message); option != nullptr;
           option = CMSG_NXTHDR(&message, option)) {
        if (option->cmsg_type == IP_TTL)
          std::memcpy(&datagram.ttl, CMSG_DATA(option), sizeof datagram.ttl);
        if (option->cmsg_type == IP_TOS) datagram.tos = *CMSG_DATA(option);
      }
      taken.push_back(std::move(datagram));
    }
  }

private:
  Fd fd_;
  u16 port_ = 0;
};

/// Zeroed memory that is only reserved.
class Reserved {
public:
  explicit Reserved(u64 size) : size_(size) {
    void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) throw error_of(errno, "reserving memory");
    at_ = static_cast<char*>(mapped);
  }
  ~Reserved() { munmap(at_, size_); }
  Reserved(const Reserved&) = delete;
  char* at() const { return at_; }

private:
  u64 size_;
  char* at_;
};

/// Split, one queue, one worker, two subscribers; nobody runs yet.
class SocketArena {
public:
  SocketArena()
      : memory_(Arena::size_of(geometry())), arena(Arena::in_memory(geometry(), memory_.at())),
        supervisor_(arena) {
    for (u32 i = 0; i < FANTAIL_RX_FRAMES; ++i) arena.soft(0).fill[i] = u64{i} * FANTAIL_FRAME_SIZE;
    arena.soft(0).fill_producer = FANTAIL_RX_FRAMES;
    for (u32 i = 0; i < std::size(sinks); ++i) {
      subscriber& record = supervisor_.record(supervisor_.add(i, 0));
      record.ip = loopback;
      record.port = sinks[i].port();
    }
    supervisor_.publish();
  }

private:
  static Geometry geometry() {
    static constexpr u32 ids[] = {0};
    Geometry g;
    g.layout = LAYOUT_SPLIT;
    g.mode = MODE_SOCKET;
    g.queue_ids = ids;
    g.listen_ip = feed_ip;
    g.listen_port = feed_port;
    g.mtu = 3498;
    return g;
  }

  Reserved memory_;

public:
  Arena arena;
  Socket feed, link, sinks[2];

private:
  Supervisor supervisor_;
};

} // namespace fantail::testing
