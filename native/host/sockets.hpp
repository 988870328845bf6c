// SPDX-License-Identifier: MIT-0
//
// Sockets of the side paths (the UDP socket on the listen port that takes in what is unusual, the
// raw ones that carry copies while a neighbour is unresolved, the packet socket that makes an
// interface promiscuous), those of the programs beside the replicator, and the statistics of an
// AF_XDP socket. Addresses and ports are in network order.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "host/check.hpp"
#include "host/integers.hpp"

namespace fantail {

/// A UDP socket of the calling thread's network namespace. It sends with TTL 64 and DF, as the
/// direct path does, never blocks, and is not bound by what path MTU discovery has learnt.
Fd open_udp(u32 ip, u16 port);

struct ListenOptions {
  u32 ip; // of the host, or a multicast group
  u16 port;
  std::string device; // empty: any
  bool share;         // the port, with others of our user (SO_REUSEPORT)
  // if it is a group: the device on which this socket joins it, empty: where the routes point; of
  // several sockets that share the port one should
  std::optional<std::string> join_on;
  u32 source = 0; // the one host whose packets of a group are taken (RFC 3376); 0: any
  // `ip` may be no address of this host: then nothing comes until it is one (ip(7), IP_FREEBIND)
  bool of_others = false;
  // out of which device leaves what it sends to groups; empty: that of its address, or where the
  // routes point
  std::string groups_by = {};
};

/// A socket that takes in what the kernel delivers of a feed: of socket mode, or of the slow path,
/// where others share its port; which of them receives is xdp/program.hpp's affair (set_reader).
/// It leaves its group when its last descriptor is closed. What it sends to groups leaves by one
/// device, whatever the routes say, and without a copy for this host, as frames of AF_XDP do; its
/// TTL is each message's own (link/soft_link.cpp), which goes before IP_MULTICAST_TTL. Of the
/// calling thread's network namespace; never blocks.
Fd open_listener(const ListenOptions& options);
/// Whether the kernel receives that group on the device, as /proc/net/igmp has it (proc(5)). Of the
/// calling thread's network namespace.
bool is_member(const std::string& device, u32 group);
/// Datagrams that it lost, or that the kernel refused behind it: its receive buffer was full, or a
/// checksum was wrong. The kernel's counter has 32 bits.
u32 lost_datagrams(int fd);

void connect_udp(int fd, u32 ip, u16 port);

/// A raw socket through which the kernel sends IPv4 packets that are whole, out of `device`: it
/// finds the next hop and its MAC address, and fills in the header's checksum, the total length
/// and, in a packet that may be fragmented, an identification that is 0 (raw(7), IP_HDRINCL). What
/// is longer than the device's MTU is EMSGSIZE, whatever path MTU discovery has learnt. `source`:
/// the routes are asked with it (rules may be by source); what leaves has its own. It takes nothing
/// in, not even errors: those are for the sockets of the packet's own protocol. Of the calling
/// thread's network namespace; never blocks. Takes CAP_NET_RAW.
Fd open_raw(u32 source, const std::string& device);
/// Where its packets go, whatever their own destination says; may be called again with another.
void connect_raw(int fd, u32 ip);

/// A packet socket that keeps the device in promiscuous mode as long as a descriptor of it is open
/// (packet(7), PACKET_MR_PROMISC), and receives nothing. Of the calling thread's network namespace.
/// Takes CAP_NET_RAW.
Fd open_promiscuous(const std::string& device);

/// Bytes (with the kernel's own overhead) that a UDP or raw socket has not yet handed to the
/// device, those that wait for a neighbour among them.
int queued_bytes(int fd);

/// Takes one datagram, waiting up to `wait_us` for it. Its whole length, which may be more than
/// `into` holds; -1: none came.
int receive_udp(int fd, std::span<u8> into, u32 wait_us);
/// The kernel notes when each datagram has arrived (SO_TIMESTAMPNS,
/// Documentation/networking/timestamping.rst): when a device hands it to the stack, before a
/// program is woken for it. It begins to some milliseconds later; until then it is when it was
/// received.
void stamp_arrivals(int fd);
struct Arrival {
  u32 size;  // the whole datagram, which may be more than was taken
  u64 at_ns; // CLOCK_MONOTONIC
};
/// Takes one datagram of a socket whose arrivals are stamped; none: none waits. A stamp is of
/// CLOCK_REALTIME, so one that this clock was set since is wrong by as much.
std::optional<Arrival> receive_stamped(int fd, std::span<u8> into);
/// Asks for room for so many bytes of unread datagrams, past the system's limit where this process
/// may. What the kernel granted.
int set_receive_buffer(int fd, int bytes);
/// The same for what waits to be sent; less than asked for is fine.
void set_send_buffer(int fd, int bytes);
/// What is longer than the MTU leaves in fragments (no DF) instead of being refused.
void allow_fragments(int fd);

struct XskStatistics {
  u64 rx_dropped;
  u64 rx_invalid_descs;
  u64 tx_invalid_descs;
  u64 rx_ring_full;
  u64 rx_fill_ring_empty_descs;
  u64 tx_ring_empty_descs;
};
XskStatistics xsk_statistics(int fd);

} // namespace fantail
