// SPDX-License-Identifier: MIT-0
#include "rig/socket_arena.hpp"

#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>

namespace fantail::testing {

Socket::Socket()
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

void Socket::send_to(u16 port, const Bytes& payload) const {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = loopback;
  address.sin_port = port;
  check(static_cast<int>(sendto(fd(), payload.data(), payload.size(), 0,
                                reinterpret_cast<sockaddr*>(&address), sizeof address)),
        "sending a datagram");
}

void Socket::connect_to(u16 port) const {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = loopback;
  address.sin_port = port;
  check(connect(fd(), reinterpret_cast<sockaddr*>(&address), sizeof address),
        "connecting a UDP socket");
}

std::vector<Socket::Datagram> Socket::take() const {
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

Reserved::Reserved(u64 size) : size_(size) {
  void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw error_of(errno, "reserving memory");
  at_ = static_cast<char*>(mapped);
}

Reserved::~Reserved() { munmap(at_, size_); }

namespace {

Geometry geometry() {
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

} // namespace

SocketArena::SocketArena()
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

SocketArena::~SocketArena() = default;

FeedSocket SocketArena::listen() const { return {-1, feed_ip, feed_port}; }

} // namespace fantail::testing
