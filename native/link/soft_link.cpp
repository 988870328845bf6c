// SPDX-License-Identifier: MIT-0
#include "link/soft_link.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "link/frame.hpp"

namespace fantail {

namespace {

constexpr u32 headroom = 256; // as the kernel leaves before an XDP frame (XDP_PACKET_HEADROOM)
constexpr u32 payload_max = FANTAIL_FRAME_SIZE - headroom - FANTAIL_HEADER_SIZE;
constexpr u32 send_batch = 64;

/// Two neighbouring u32 cursors as the one u64 that they are stored as. (Little endian: x86-64 and
/// arm64.)
u64 pair_of(u32 low, u32 high) { return u64{high} << 32 | low; }

/// Ethernet (addresses zero), IPv4 and UDP in front of a datagram that a socket delivered.
void write_header(u8* at, const sockaddr_in& source, u32 target_ip, u16 target_port, u32 payload) {
  using namespace frame;
  constexpr u8 dont_fragment = 0x40, ttl = 64;
  std::memset(at, 0, FANTAIL_HEADER_SIZE);
  store16(at + ether_type, 0x0800);
  at[ip] = version_and_size;
  store16(at + ip_length, payload + ipv4_size + udp_size);
  at[ip_fragment] = dont_fragment;
  at[ip_ttl] = ttl;
  at[ip_protocol] = IPPROTO_UDP;
  std::memcpy(at + ip_source, &source.sin_addr.s_addr, sizeof source.sin_addr.s_addr);
  std::memcpy(at + ip_target, &target_ip, sizeof target_ip);
  store16(at + ip_checksum, ~sum16(at + ip, ipv4_size) & 0xffff);
  std::memcpy(at + udp_source, &source.sin_port, sizeof source.sin_port);
  std::memcpy(at + udp_target, &target_port, sizeof target_port);
  store16(at + udp_length, payload + udp_size);
}

} // namespace

SoftLink::SoftLink(Arena& arena, u32 queue, FeedSockets& sockets, u32 link, intake* taken)
    : arena_(arena), link_(arena.soft(queue)), sockets_(sockets), index_(link), taken_(taken) {
  if (taken_ == nullptr || acquire(taken_->offered) == 0) return;
  if (peek(link_.rx_producer) == taken_->rx) take_in();
  else publish(taken_->offered, 0u); // its last store was all that was missing
}

KernelRing SoftLink::rx_ring() const {
  return {&link_.rx_producer, &link_.rx_consumer, nullptr, link_.rx, FANTAIL_RX_FRAMES};
}
KernelRing SoftLink::fill_ring() const {
  return {&link_.fill_producer, &link_.fill_consumer, nullptr, link_.fill, FANTAIL_RX_FRAMES};
}
KernelRing SoftLink::tx_ring() const {
  return {&link_.tx_producer, &link_.tx_consumer, nullptr, link_.tx, FANTAIL_TX_FRAMES};
}
KernelRing SoftLink::completion_ring() const {
  return {&link_.completion_producer, &link_.completion_consumer, nullptr, link_.completion,
          FANTAIL_TX_FRAMES};
}

/// Where a frame begins, in the UMEM whatever address is in the fill ring.
u64 SoftLink::frame_at(const u64& shared) const {
  return peek(shared) / FANTAIL_FRAME_SIZE % arena_.header().rx_frames * FANTAIL_FRAME_SIZE;
}

/// The feeds in turn; which have something, poll tells at the price of one system call.
void SoftLink::receive() {
  if (acquire(link_.rx_consumer) != peek(link_.rx_producer)) return;
  const std::vector<FeedSocket>& sockets = sockets_.of(index_);
  if (sockets.size() == 1) {
    receive_from(sockets[0]);
    return;
  }
  pollfd ready[FANTAIL_FEEDS_MAX];
  const u32 count = static_cast<u32>(sockets.size());
  for (u32 i = 0; i < count; ++i) ready[i] = {sockets[i].fd, POLLIN, 0};
  if (poll(ready, count, 0) <= 0) return;
  turn_ = turn_ + 1 < count ? turn_ + 1 : 0;
  for (u32 i = 0; i < count; ++i) {
    const u32 at = turn_ + i < count ? turn_ + i : turn_ + i - count;
    if (ready[at].revents != 0 && !receive_from(sockets[at])) return;
  }
}

/// False: there is no room for more.
bool SoftLink::receive_from(const FeedSocket& socket) {
  const u32 rx = peek(link_.rx_producer), fill = peek(link_.fill_consumer);
  const u32 waiting = rx - peek(link_.rx_consumer);
  if (waiting >= FANTAIL_BURST_MAX) return false;
  const u32 room = std::min(acquire(link_.fill_producer) - fill, FANTAIL_BURST_MAX);
  if (room == 0) return false;
  // else the compiler could offer before the store that ended the last call
  std::atomic_signal_fence(std::memory_order_seq_cst);
  offer(fill, room);
  taken_->rx = rx;
  taken_->fill = fill;
  taken_->ip = socket.ip;
  taken_->port = socket.port;
  publish(taken_->offered, room);
  recvmmsg(socket.fd, taken_->messages, room, MSG_DONTWAIT | MSG_TRUNC, nullptr);
  take_in();
  return true;
}

/// The payload places of that many frames of the fill ring, from cursor `fill` on.
void SoftLink::offer(u32 fill, u32 count) {
  const KernelRing fills = fill_ring();
  for (u32 i = 0; i < count; ++i) {
    char* frame = arena_.umem() + frame_at(fills.address(fill + i));
    taken_->pieces[i] = {frame + headroom + FANTAIL_HEADER_SIZE, payload_max};
    msghdr& message = taken_->messages[i].msg_hdr;
    message = {};
    message.msg_iov = &taken_->pieces[i];
    message.msg_iovlen = 1;
    message.msg_name = &taken_->sources[i];
    message.msg_namelen = sizeof taken_->sources[i];
    taken_->messages[i].msg_len = intake::untaken;
  }
}

/// What the kernel took off the socket for the last offer goes on the RX ring.
void SoftLink::take_in() {
  const u32 offered = std::min(taken_->offered, FANTAIL_BURST_MAX);
  const u32 rx = taken_->rx, fill = taken_->fill;
  const KernelRing rxs = rx_ring(), fills = fill_ring();
  u32 count = 0;
  for (; count < offered && taken_->messages[count].msg_len != intake::untaken; ++count) {
    // MSG_TRUNC: msg_len is the datagram's real length, so a truncated one fails the receiver's
    // test of lengths
    const u32 payload =
        std::min(taken_->messages[count].msg_len, 0xffffu - frame::ipv4_size - frame::udp_size);
    const u64 address = frame_at(fills.address(fill + count)) + headroom;
    write_header(reinterpret_cast<u8*>(arena_.umem() + address), taken_->sources[count], taken_->ip,
                 taken_->port, payload);
    rxs.descriptor(rx + count) = {address, std::min(payload, payload_max) + FANTAIL_HEADER_SIZE, 0};
  }
  if (count != 0)
    publish(*reinterpret_cast<u64*>(&link_.rx_producer), pair_of(rx + count, fill + count));
  publish(taken_->offered, 0u);
}

/// False: there is none left.
bool SoftLink::send_some(u64 deadline_ns) {
  const u32 waiting = acquire(link_.tx_producer) - peek(link_.tx_consumer);
  if (waiting != 0) send(std::min(waiting, send_batch), deadline_ns);
  return waiting != 0;
}

namespace {

/// What stands in `sending` while `count` descriptors from cursor `first` on are with sendmmsg.
u32 sending_mark(u32 first, u32 count) { return first << 8 | count; }

/// The drop that an error of sendmmsg means for the datagram at its front.
u16 outcome_of(int error) {
  switch (error) {
  case EMSGSIZE: return 1 + DROP_TOO_BIG;
  case ENETUNREACH:
  case EHOSTUNREACH:
  case EPERM: return 1 + DROP_NO_ROUTE;
  default: return 1 + DROP_TX_FULL;
  }
}

/// A message aimed by a frame's own header, with its DSCP and TTL. False: not Ethernet, plain IPv4,
/// UDP.
struct Message {
  sockaddr_in target{};
  iovec piece{};
  alignas(cmsghdr) char control[2 * CMSG_SPACE(sizeof(int))];

  bool aim(const u8* bytes, u32 length, msghdr& header) {
    if (length < FANTAIL_HEADER_SIZE || !frame::is_plain_udp(bytes)) return false;
    target.sin_family = AF_INET;
    std::memcpy(&target.sin_addr.s_addr, bytes + frame::ip_target, sizeof target.sin_addr.s_addr);
    std::memcpy(&target.sin_port, bytes + frame::udp_target, sizeof target.sin_port);
    piece = {const_cast<u8*>(bytes) + FANTAIL_HEADER_SIZE, length - FANTAIL_HEADER_SIZE};
    header = {};
    header.msg_name = &target;
    header.msg_namelen = sizeof target;
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* option = CMSG_FIRSTHDR(&header);
    set(option, IP_TOS, bytes[frame::ip_tos]);
    set(CMSG_NXTHDR(&header, option), IP_TTL, bytes[frame::ip_ttl]);
    return true;
  }

private:
  static void set(cmsghdr* option, int type, int value) {
    option->cmsg_level = IPPROTO_IP;
    option->cmsg_type = type;
    option->cmsg_len = CMSG_LEN(sizeof value);
    std::memcpy(CMSG_DATA(option), &value, sizeof value);
  }
};

} // namespace

/// The socket of the feed whose port a copy leaves from; a filter may have written another one.
int SoftLink::socket_of(const u8* bytes) const {
  const std::vector<FeedSocket>& sockets = sockets_.of(index_);
  u16 port;
  std::memcpy(&port, bytes + frame::udp_source, sizeof port);
  const auto found = std::ranges::find(sockets, port, &FeedSocket::port);
  return (found == sockets.end() ? sockets.front() : *found).fd;
}

/// Sends the first `count` descriptors of the TX ring that leave by one socket, in order; each ends
/// in one completion.
void SoftLink::send(u32 count, u64 deadline_ns) {
  // one transmitting thread a process; too large for the stack
  static thread_local Message bodies[send_batch];
  mmsghdr messages[send_batch];
  u16 outcomes[send_batch];
  const KernelRing tx = tx_ring();
  const u32 first = peek(link_.tx_consumer);
  u32 good = 0;
  int socket = -1;
  for (; good < count; ++good) {
    const u64 address = peek(tx.descriptor(first + good).addr);
    const u32 length = peek(tx.descriptor(first + good).len);
    // no worker of ours writes such a descriptor
    if (length > FANTAIL_FRAME_SIZE || address > arena_.header().umem_size - length) break;
    const u8* bytes = reinterpret_cast<const u8*>(arena_.umem() + address);
    std::memset(bodies[good].control, 0, sizeof bodies[good].control);
    if (!bodies[good].aim(bytes, length, messages[good].msg_hdr)) break;
    if (good == 0) socket = socket_of(bytes);
    else if (socket_of(bytes) != socket) break; // of another feed: in the next call
    outcomes[good] = 0;
  }
  if (good == 0) {
    outcomes[0] = 1 + DROP_UNSUPPORTED_HEADER;
    return complete(1, outcomes);
  }
  publish(link_.sending, sending_mark(first, good));
  int sent = sendmmsg(socket, messages, good, MSG_DONTWAIT);
  if (sent < 0 && errno == ECONNREFUSED) sent = sendmmsg(socket, messages, good, MSG_DONTWAIT);
  if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS) && clock_ns() < deadline_ns) {
    publish(link_.sending, 0u); // nothing left; ask again until the deadline
    return;
  }
  if (sent < 0) {
    outcomes[0] = outcome_of(errno);
    sent = 1;
  }
  complete(static_cast<u32>(sent), outcomes);
}

void SoftLink::complete(u32 count, const u16* outcomes) {
  const KernelRing tx = tx_ring(), completions = completion_ring();
  const u32 consumer = peek(link_.tx_consumer), producer = peek(link_.completion_producer);
  for (u32 i = 0; i < count; ++i)
    completions.address(producer + i) = tx.descriptor(consumer + i).addr | u64{outcomes[i]}
                                                                               << outcome_shift;
  publish(*reinterpret_cast<u64*>(&link_.tx_consumer), pair_of(consumer + count, producer + count));
  publish(link_.sending, 0u);
}

void SoftLink::recover() {
  const u32 sending = acquire(link_.sending), count = sending & 0xff;
  const u32 waiting = acquire(link_.tx_producer) - peek(link_.tx_consumer);
  if (count == 0 || count > std::min(waiting, send_batch)) return;
  // completed, but not unmarked
  if (sending != sending_mark(peek(link_.tx_consumer), count)) return;
  u16 outcomes[send_batch];
  std::fill_n(outcomes, count, u16{1 + DROP_UNCERTAIN});
  complete(count, outcomes);
}

static_assert(sizeof(soft_descriptor) == sizeof(xdp_desc) &&
              __builtin_offsetof(soft_descriptor, addr) == __builtin_offsetof(xdp_desc, addr) &&
              __builtin_offsetof(soft_descriptor, len) == __builtin_offsetof(xdp_desc, len) &&
              __builtin_offsetof(soft_descriptor, options) ==
                  __builtin_offsetof(xdp_desc, options));
static_assert(__builtin_offsetof(soft_link, rx_producer) % 8 == 0);
static_assert(__builtin_offsetof(soft_link, fill_consumer) ==
              __builtin_offsetof(soft_link, rx_producer) + 4);
static_assert(__builtin_offsetof(soft_link, tx_consumer) % 8 == 0);
static_assert(__builtin_offsetof(soft_link, completion_producer) ==
              __builtin_offsetof(soft_link, tx_consumer) + 4);

} // namespace fantail
