// SPDX-License-Identifier: MIT-0
#include "host/sockets.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "host/clock.hpp"

#ifndef SOL_XDP
#define SOL_XDP 283 // linux/socket.h, kernel 4.18
#endif

namespace fantail {
namespace {

constexpr int output_ttl = 64;

void set_option(int fd, int level, int name, int value, const char* doing) {
  check(setsockopt(fd, level, name, &value, sizeof(value)), doing);
}

sockaddr_in address_of(u32 ip, u16 port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ip;
  address.sin_port = port;
  return address;
}

std::string text_of(u32 ip) {
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &ip, text, sizeof(text));
}

std::string text_of(u32 ip, u16 port) { return text_of(ip) + ":" + std::to_string(ntohs(port)); }

/// "ret 0": keep no byte of any packet.
void refuse_everything(int fd) {
  sock_filter instruction{BPF_RET | BPF_K, 0, 0, 0};
  const sock_fprog program{1, &instruction};
  check(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)),
        "attach a filter to a raw socket");
}

void bind_to_device(int fd, const std::string& device) {
  const int result = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.data(),
                                static_cast<socklen_t>(device.size()));
  check(result, ("bind a socket to the interface " + device).c_str());
}

/// IGMP asks for it out of that device, or where the routes point (ip(7)).
void join_group(int fd, u32 group, const std::string& device) {
  ip_mreqn request{};
  request.imr_multiaddr.s_addr = group;
  request.imr_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  check(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)),
        ("join the multicast group " + text_of(group, 0) + " on " + device).c_str());
}

/// The same for what one host sends. The old request names no device but an address of it; this one
/// names its index (RFC 3678, 5.1).
void join_source(int fd, u32 group, u32 source, const std::string& device) {
  group_source_req request{};
  request.gsr_interface = if_nametoindex(device.c_str());
  const sockaddr_in of = address_of(group, 0), from = address_of(source, 0);
  std::memcpy(&request.gsr_group, &of, sizeof(of));
  std::memcpy(&request.gsr_source, &from, sizeof(from));
  check(setsockopt(fd, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &request, sizeof(request)),
        ("join the multicast group " + text_of(group, 0) + " on " + device).c_str());
}

void aim_groups(int fd, const std::string& device) {
  set_option(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0, "keep copies to groups from the host");
  if (device.empty()) return;
  ip_mreqn by{};
  by.imr_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  check(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by)),
        ("send copies to groups by " + device).c_str());
}

void bind_udp(int fd, u32 ip, u16 port) {
  const sockaddr_in at = address_of(ip, port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0) return;
  const std::string where = text_of(ip, port);
  switch (errno) {
  case EADDRINUSE:
    throw Error(EADDRINUSE, "UDP " + where + " is in use: see `ss -lunp`, or choose another port");
  case EADDRNOTAVAIL:
    throw Error(EADDRNOTAVAIL, where + " is not an address of this machine: see `ip address`");
  default: throw error_of(errno, "bind to UDP " + where);
  }
}

} // namespace

Fd open_udp(u32 ip, u16 port) {
  Fd fd{check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "open a UDP socket")};
  set_option(fd.get(), IPPROTO_IP, IP_TTL, output_ttl, "set the TTL of a UDP socket");
  set_option(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "set DF on a UDP socket");
  bind_udp(fd.get(), ip, port);
  return fd;
}

Fd open_listener(const ListenOptions& options) {
  constexpr int buffer_size = 8 << 20; // bytes; sums of bursts, as the rings of AF_XDP
  Fd fd{check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "open a UDP socket")};
  if (options.share) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "share a UDP port");
  if (!options.device.empty()) bind_to_device(fd.get(), options.device);
  set_receive_buffer(fd.get(), buffer_size);
  // only groups that this very socket has joined
  set_option(fd.get(), IPPROTO_IP, IP_MULTICAST_ALL, 0, "choose the groups of a UDP socket");
  aim_groups(fd.get(), options.groups_by);
  if (options.of_others)
    set_option(fd.get(), IPPROTO_IP, IP_FREEBIND, 1, "bind to an address of another host");
  bind_udp(fd.get(), options.ip, options.port);
  if (options.join_on && IN_MULTICAST(ntohl(options.ip))) {
    if (options.source != 0) join_source(fd.get(), options.ip, options.source, *options.join_on);
    else join_group(fd.get(), options.ip, *options.join_on);
  }
  return fd;
}

bool is_member(const std::string& device, u32 group) {
  std::ifstream table("/proc/thread-self/net/igmp");
  char wanted[9]; // the address as the kernel prints a word of network order
  std::snprintf(wanted, sizeof(wanted), "%08X", group);
  bool is_device = false; // of the lines that follow
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string first, second;
    words >> first >> second;
    if (!line.starts_with('\t')) is_device = second == device;
    else if (is_device && first == wanted) return true;
  }
  return false;
}

u32 lost_datagrams(int fd) {
  u32 memory[SK_MEMINFO_VARS]{};
  socklen_t size = sizeof(memory);
  check(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size), "ask what a UDP socket has lost");
  return memory[SK_MEMINFO_DROPS];
}

void connect_udp(int fd, u32 ip, u16 port) {
  const sockaddr_in to = address_of(ip, port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) return;
  throw error_of(errno, "connect a UDP socket to " + text_of(ip, port));
}

Fd open_raw(u32 source, const std::string& device) {
  Fd fd{check(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW),
              "open a raw socket")};
  // a packet of protocol 255 would be for it (raw_v4_input)
  refuse_everything(fd.get());
  bind_to_device(fd.get(), device);
  set_option(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "set DF on a raw socket");
  // the device may lose that address while the socket lives, and connects all the same
  set_option(fd.get(), IPPROTO_IP, IP_TRANSPARENT, 1, "give a raw socket any source address");
  const sockaddr_in at = address_of(source, 0);
  check(bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)), "bind a raw socket");
  return fd;
}

Fd open_promiscuous(const std::string& device) {
  constexpr int no_protocol = 0; // no frame is of it
  Fd fd{socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, no_protocol)};
  if (!fd && errno == EAFNOSUPPORT)
    throw Error(EAFNOSUPPORT, "--promiscuous takes a packet socket, which is not allowed here; "
                              "under systemd it is by RestrictAddressFamilies=AF_PACKET");
  check(fd.get(), "open a packet socket");
  packet_mreq request{};
  request.mr_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  request.mr_type = PACKET_MR_PROMISC;
  check(setsockopt(fd.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof(request)),
        ("put " + device + " in promiscuous mode").c_str());
  return fd;
}

void connect_raw(int fd, u32 ip) {
  const sockaddr_in to = address_of(ip, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) return;
  throw error_of(errno, "connect a raw socket to " + text_of(ip));
}

int queued_bytes(int fd) {
  int bytes = 0;
  check(ioctl(fd, SIOCOUTQ, &bytes), "ask what a socket still has to send");
  return bytes;
}

int receive_udp(int fd, std::span<u8> into, u32 wait_us) {
  const auto take = [&] {
    const ssize_t length =
        recv(fd, into.data(), into.size(), MSG_DONTWAIT | MSG_TRUNC); // TRUNC: the whole length
    if (length >= 0) return static_cast<int>(length);
    if (errno == EAGAIN || errno == EINTR) return -1;
    throw error_of(errno, "receive from a UDP socket");
  };
  const int length = take();
  if (length >= 0 || wait_us == 0) return length;
  pollfd readable{fd, POLLIN, 0};
  const timespec wait{wait_us / 1000000, static_cast<long>(wait_us % 1000000) * 1000};
  if (ppoll(&readable, 1, &wait, nullptr) <= 0) return -1;
  return take();
}

void stamp_arrivals(int fd) {
  set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1, "ask for the times of arrival");
}

std::optional<Arrival> receive_stamped(int fd, std::span<u8> into) {
  alignas(cmsghdr) std::array<u8, CMSG_SPACE(sizeof(timespec))> control{};
  iovec place{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC); // TRUNC: the whole size
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (size < 0) throw error_of(errno, "receive from a UDP socket");
  const cmsghdr* part = CMSG_FIRSTHDR(&message);
  if (part == nullptr || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPNS)
    throw std::runtime_error("a datagram has no time of arrival: none was asked for");
  timespec stamp;
  std::memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
  const u64 stamp_ns =
      static_cast<u64>(stamp.tv_sec) * 1'000'000'000 + static_cast<u64>(stamp.tv_nsec);
  return Arrival{static_cast<u32>(size), stamp_ns - (realtime_ns() - clock_ns())};
}

int set_receive_buffer(int fd, int bytes) {
  // Without CAP_NET_ADMIN net.core.rmem_max is the limit.
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
    set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes, "set the receive buffer of a UDP socket");
  int granted = 0;
  socklen_t size = sizeof(granted);
  check(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &granted, &size),
        "ask for the receive buffer of a UDP socket");
  return granted / 2; // the kernel doubles it for its own overhead
}

void set_send_buffer(int fd, int bytes) {
  // Without CAP_NET_ADMIN net.core.wmem_max is the limit.
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

void allow_fragments(int fd) {
  set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT, "clear DF on a UDP socket");
}

XskStatistics xsk_statistics(int fd) {
  xdp_statistics now{};
  socklen_t size = sizeof(now);
  check(getsockopt(fd, SOL_XDP, XDP_STATISTICS, &now, &size),
        "read the statistics of an AF_XDP socket");
  return {now.rx_dropped,   now.rx_invalid_descs,         now.tx_invalid_descs,
          now.rx_ring_full, now.rx_fill_ring_empty_descs, now.tx_ring_empty_descs};
}

} // namespace fantail
