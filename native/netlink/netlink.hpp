// SPDX-License-Identifier: MIT-0
//
// rtnetlink through libmnl: what the interface is, which way a destination lies, who the neighbours
// are, and news of all of them. A request and its answer pass within one call: the kernel answers
// before send() returns, so nothing here waits for anybody. Addresses are in network order.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "host/check.hpp"
#include "host/integers.hpp"

struct nlmsghdr;

namespace fantail {

using Mac = std::array<u8, 6>;

struct Address {
  int index; // of its interface
  u32 ip;
  u8 prefix; // bits
};

struct Neighbour {
  int index; // of its interface
  u32 ip;
  std::optional<Mac> mac;
  u16 state; // NUD_*; 0 is none
};

enum class XdpMode { native, generic, offload };

struct Link {
  int index;
  std::array<char, 16> name; // IFNAMSIZ; as it is now, since it may be renamed; ends in a zero
  u32 mtu;                   // bytes of IP packet
  std::optional<Mac> mac;    // none on a device without a link layer
  bool up;                   // switched on, and its carrier is there
  bool carrier;              // as the driver says; `up` follows later, both ways
  bool loopback;
  u32 xdp_id; // 0: no XDP program
  XdpMode xdp_mode;
};

/// An event: `deleted` says whether it came or went.
struct NeighbourEvent {
  Neighbour neighbour;
  bool deleted;
};
struct LinkEvent {
  Link link;
  bool deleted;
};
struct AddressEvent {
  Address address;
  bool deleted;
};
struct RouteEvent {};   // some route, rule or next hop changed
struct OverrunEvent {}; // the kernel had to throw events away: read everything again
using Event = std::variant<NeighbourEvent, LinkEvent, AddressEvent, RouteEvent, OverrunEvent>;

constexpr std::size_t events_max =
    1024; // of one read_events(), so that a flood does not hold its caller

/// Sockets of the calling thread's network namespace.
Fd open_netlink();
Fd open_netlink_events();

/// None: there is no such interface.
std::optional<Link> read_link(int fd, const std::string& name);
/// Of all interfaces.
std::vector<Address> list_addresses(int fd);
std::vector<Neighbour> list_neighbours(int fd, int index);

/// The address to ask for the MAC of: the gateway's, or `ip` itself; none without a route out of
/// that interface. `source` (0: any) is for machines where rules choose a routing table by it.
std::optional<u32> look_up_route(int fd, int index, u32 ip, u32 source);

/// Makes the kernel use the neighbour, that is, ask for it or confirm it. Takes CAP_NET_ADMIN.
void probe_neighbour(int fd, int index, u32 ip);

/// What has happened, oldest first, at most events_max (a few more if one read brings several).
std::vector<Event> read_events(int fd);

} // namespace fantail
