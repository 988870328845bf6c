// SPDX-License-Identifier: MIT-0
// relay: what one writes with sockets. recvmmsg takes up to 64 datagrams, sendmmsg sends each of
// them to every subscriber, up to 1024 messages a call. It spins instead of sleeping, as fantail
// does with
// --busy-poll, and has 8 MiB of buffer each way. Flags: see peer.hpp.
#include <algorithm>
#include <vector>

#include <sys/socket.h>

#include "peer.hpp"

using namespace bench;

namespace {

constexpr std::size_t RECEIVE_BATCH = 64;
constexpr std::size_t SEND_BATCH = 1024; // UIO_MAXIOV: sendmmsg takes no more

sockaddr_in socket_address(u32 ip, u16 port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(ip);
  address.sin_port = htons(port);
  return address;
}

Fd open_socket() {
  Fd fd(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "opening a UDP socket"));
  const int size = 8 << 20;
  check(setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size),
        "enlarging the receive buffer");
  check(setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size),
        "enlarging the send buffer");
  const sockaddr_in address = socket_address(host_address(REPLICATOR_HOST), WIRE_FEED_PORT);
  check(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
        "listening to the feed");
  return fd;
}

class Relay {
public:
  explicit Relay(const Peer& peer) : socket_(open_socket()), bytes_(RECEIVE_BATCH * FRAME_ROOM) {
    for (u32 i = 0; i < peer.subscribers; ++i)
      targets_.push_back(socket_address(subscriber_address(i), WIRE_SUBSCRIBER_PORT));
    for (std::size_t i = 0; i < RECEIVE_BATCH; ++i) {
      pieces_[i] = {bytes_.data() + i * FRAME_ROOM, FRAME_ROOM};
      in_[i].msg_hdr.msg_iov = &pieces_[i];
      in_[i].msg_hdr.msg_iovlen = 1;
    }
    out_.resize(SEND_BATCH);
  }

  void run() {
    say_ready();
    while (stopped == 0) {
      for (iovec& piece : pieces_) piece.iov_len = FRAME_ROOM;
      const int count = recvmmsg(socket_.get(), in_.data(), RECEIVE_BATCH, MSG_DONTWAIT, nullptr);
      if (count > 0) fan_out(static_cast<std::size_t>(count));
      else relax();
    }
  }

private:
  void fan_out(std::size_t packets) {
    std::size_t filled = 0;
    for (std::size_t p = 0; p < packets; ++p) {
      pieces_[p].iov_len = in_[p].msg_len;
      for (sockaddr_in& target : targets_) {
        msghdr& message = out_[filled].msg_hdr;
        message = {};
        message.msg_name = &target;
        message.msg_namelen = sizeof target;
        message.msg_iov = &pieces_[p];
        message.msg_iovlen = 1;
        if (++filled == SEND_BATCH) filled = send(filled);
      }
    }
    send(filled);
  }

  std::size_t send(std::size_t count) {
    for (std::size_t done = 0; done < count && stopped == 0;) {
      const int sent =
          sendmmsg(socket_.get(), out_.data() + done, static_cast<unsigned>(count - done), 0);
      if (sent > 0) done += static_cast<std::size_t>(sent);
      else if (errno != EINTR && errno != ENOBUFS && errno != EAGAIN) check(-1, "sending");
    }
    return 0;
  }

  Fd socket_;
  std::vector<u8> bytes_;
  std::vector<sockaddr_in> targets_;
  std::array<iovec, RECEIVE_BATCH> pieces_{};
  std::array<mmsghdr, RECEIVE_BATCH> in_{};
  std::vector<mmsghdr> out_;
};

} // namespace

int main(int argc, char** argv) {
  return run_peer(argc, argv, [](const Flags& flags) { Relay(Peer(flags)).run(); });
}
