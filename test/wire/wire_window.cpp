// SPDX-License-Identifier: MIT-0
// wire-window: sends a feed one packet at a time, each only when every subscriber has the one
// before, and tells the delivery window of each by the kernel's stamps of its copies.
//
//   wire-window --source IP --target IP:PORT --subscriber IP:PORT … --count N
//
// Prints {"windows_ns": […]}: by packet, from its first copy's stamp to its last's. A stamp
// (SO_TIMESTAMPNS, Documentation/networking/timestamping.rst) is taken when a device hands a frame
// to the stack (net.core.netdev_tstamp_prequeue, which is on): on a veth pair without NAPI that is
// inside the system call that sends it.

#include <algorithm>
#include <span>

#include <poll.h>

#include "frame.hpp"

using fantail::check;
using fantail::Fd;
using namespace wire;

namespace {

constexpr int PATIENCE_MS = 20'000; // for one copy, on a machine that is busy
constexpr size_t PAYLOAD_SIZE = 200;

Fd open_socket(const Endpoint& local) {
  Fd fd(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a UDP socket"));
  const sockaddr_in address = socket_address(local);
  check(bind(fd.get(), plain(address), sizeof address), "bind it");
  return fd;
}

void send_to(const Fd& socket, std::span<const uint8_t> payload, const sockaddr_in& target) {
  const ssize_t sent =
      sendto(socket.get(), payload.data(), payload.size(), 0, plain(target), sizeof target);
  check(static_cast<int>(sent), "send a packet");
}

// The kernel's stamp of the next datagram, CLOCK_REALTIME.
uint64_t stamp_of_next(const Fd& socket) {
  pollfd waited{socket.get(), POLLIN, 0};
  if (check(poll(&waited, 1, PATIENCE_MS), "wait for a copy") == 0)
    throw std::runtime_error("a copy has not come");
  std::array<uint8_t, FRAME_MAX> bytes{};
  std::array<uint8_t, CMSG_SPACE(sizeof(timespec))> control{};
  iovec place{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  check(static_cast<int>(recvmsg(socket.get(), &message, 0)), "receive a copy");
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp;
    std::memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
    return static_cast<uint64_t>(stamp.tv_sec) * NS_PER_S + static_cast<uint64_t>(stamp.tv_nsec);
  }
  throw std::runtime_error("a copy has no stamp");
}

// The kernel begins to stamp some time after the first socket has asked for it; until then
// recvmsg() does.
void await_stamps(const Fd& socket, const Endpoint& itself) {
  const sockaddr_in address = socket_address(itself);
  for (;;) {
    const uint8_t byte = 0;
    send_to(socket, {&byte, 1}, address);
    const uint64_t sent_ns = clock_ns(CLOCK_REALTIME);
    if (stamp_of_next(socket) <= sent_ns) return;
  }
}

void run(const Flags& flags) {
  std::vector<Fd> subscribers;
  for (const std::string& text : flags.all("--subscriber")) {
    subscribers.push_back(open_socket(parse_endpoint(text)));
    set_option(subscribers.back(), SOL_SOCKET, SO_TIMESTAMPNS, 1, "ask for stamps");
  }
  if (subscribers.empty()) throw Usage("--subscriber is missing");
  await_stamps(subscribers[0], parse_endpoint(flags.all("--subscriber")[0]));
  const Fd feed = open_socket({parse_ip(flags.text("--source")), 0});
  const sockaddr_in target = socket_address(parse_endpoint(flags.text("--target")));
  const std::array<uint8_t, PAYLOAD_SIZE> payload{};
  std::printf("{\"windows_ns\":[");
  const uint64_t count = flags.number("--count", {}, 1'000'000);
  for (uint64_t i = 0; i < count; ++i) {
    send_to(feed, payload, target);
    uint64_t first_ns = UINT64_MAX, last_ns = 0;
    for (const Fd& subscriber : subscribers) {
      const uint64_t stamp_ns = stamp_of_next(subscriber);
      first_ns = std::min(first_ns, stamp_ns);
      last_ns = std::max(last_ns, stamp_ns);
    }
    std::printf("%s%lu", i == 0 ? "" : ",", last_ns - first_ns);
  }
  std::printf("]}\n");
}

} // namespace

int main(int argc, char** argv) try {
  run(Flags(argc, argv, "--source --target --subscriber --count", ""));
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-window: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-window: %s\n", error.what());
  return 1;
}
