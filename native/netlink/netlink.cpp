// SPDX-License-Identifier: MIT-0
#include "netlink/netlink.hpp"

#include <algorithm>
#include <cstring>

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "netlink/attributes.hpp"
#include "netlink/exchange.hpp"

namespace fantail {
namespace {

constexpr u32 iff_lower_up = 1 << 16;      // linux/if.h, which net/if.h shuts out
constexpr int event_buffer_size = 4 << 20; // bytes of events that may wait, about 10,000

// ---- messages into values ----

void read_xdp(const Attributes& attributes, Link& link) {
  link.xdp_id = 0;
  link.xdp_mode = XdpMode::native;
  if (attributes.at[IFLA_XDP] == nullptr) return;
  Attributes xdp;
  mnl_attr_parse_nested(attributes.at[IFLA_XDP], keep_attribute, &xdp);
  const u8 attached = xdp.read<u8>(IFLA_XDP_ATTACHED).value_or(XDP_ATTACHED_NONE);
  if (attached == XDP_ATTACHED_NONE) return;
  // With several programs at once (XDP_ATTACHED_MULTI) the driver's is the one that sees a frame
  // first.
  const auto choose = [&](std::size_t type, XdpMode mode) {
    const u32 id = xdp.read<u32>(type).value_or(0);
    if (id == 0 || link.xdp_id != 0) return;
    link.xdp_id = id;
    link.xdp_mode = mode;
  };
  choose(IFLA_XDP_DRV_PROG_ID, XdpMode::native);
  choose(IFLA_XDP_SKB_PROG_ID, XdpMode::generic);
  choose(IFLA_XDP_HW_PROG_ID, XdpMode::offload);
}

std::optional<Link> link_of(const nlmsghdr* message) {
  const auto* fixed = fixed_part<ifinfomsg>(message);
  if (fixed == nullptr || fixed->ifi_family != AF_UNSPEC)
    return std::nullopt; // AF_BRIDGE: a bridge's view of a port
  const Attributes attributes = attributes_of<ifinfomsg>(message);
  Link link{};
  link.index = fixed->ifi_index;
  attributes.text(IFLA_IFNAME).copy(link.name.data(), link.name.size() - 1);
  link.mtu = attributes.read<u32>(IFLA_MTU).value_or(0);
  link.mac = attributes.mac(IFLA_ADDRESS);
  link.up = (fixed->ifi_flags & IFF_UP) != 0 && (fixed->ifi_flags & IFF_RUNNING) != 0;
  link.carrier = (fixed->ifi_flags & iff_lower_up) != 0;
  link.loopback = (fixed->ifi_flags & IFF_LOOPBACK) != 0;
  read_xdp(attributes, link);
  return link;
}

std::optional<Address> address_of(const nlmsghdr* message) {
  const auto* fixed = fixed_part<ifaddrmsg>(message);
  if (fixed == nullptr || fixed->ifa_family != AF_INET) return std::nullopt;
  // IFA_LOCAL is ours; IFA_ADDRESS is the other end's on a point-to-point link.
  const auto ip = attributes_of<ifaddrmsg>(message).read<u32>(IFA_LOCAL);
  if (!ip) return std::nullopt;
  return Address{static_cast<int>(fixed->ifa_index), *ip, fixed->ifa_prefixlen};
}

std::optional<Neighbour> neighbour_of(const nlmsghdr* message) {
  const auto* fixed = fixed_part<ndmsg>(message);
  if (fixed == nullptr || fixed->ndm_family != AF_INET || (fixed->ndm_flags & NTF_PROXY) != 0)
    return std::nullopt;
  const Attributes attributes = attributes_of<ndmsg>(message);
  const auto ip = attributes.read<u32>(NDA_DST);
  if (!ip) return std::nullopt;
  return Neighbour{fixed->ndm_ifindex, *ip, attributes.mac(NDA_LLADDR), fixed->ndm_state};
}

// ---- requests ----

constexpr int any_index = 0; // interfaces count from 1

/// Reads a whole table, or what of it belongs to one interface, again if it changed meanwhile.
/// `Fixed` is the message's fixed part, `parse` makes a row of it.
template<class Fixed, class Row>
std::vector<Row> dump(int fd, u16 type, int index, std::optional<Row> (*parse)(const nlmsghdr*),
                      const char* doing) {
  for (int tries = 0; tries < dump_tries_max; ++tries) {
    Request request;
    auto* fixed = request.begin<Fixed>(type, NLM_F_DUMP);
    *reinterpret_cast<unsigned char*>(fixed) = AF_INET; // every fixed part begins with its family
    std::vector<Row> rows;
    const Outcome outcome = exchange(fd, request, [&](const nlmsghdr* message) {
      const std::optional<Row> row = parse(message);
      if (row && (index == any_index || row->index == index)) rows.push_back(*row);
    });
    if (outcome.error != 0) throw error_of(outcome.error, doing);
    if (!outcome.interrupted) return rows;
  }
  throw Error(EAGAIN, std::string(doing) + ": it changes faster than it can be read");
}

struct RouteAnswer {
  int error;
  bool unicast;
  std::optional<u32> gateway;
  bool foreign_gateway; // the next hop is an IPv6 address
};

RouteAnswer ask_route(int fd, int index, u32 ip, u32 source, u32 flags) {
  Request request;
  auto* fixed = request.begin<rtmsg>(RTM_GETROUTE, NLM_F_ACK);
  fixed->rtm_family = AF_INET;
  fixed->rtm_dst_len = 32;
  fixed->rtm_flags = flags;
  mnl_attr_put_u32(request.header, RTA_DST, ip);
  mnl_attr_put_u32(request.header, RTA_OIF, static_cast<u32>(index));
  if (source != 0) {
    fixed->rtm_src_len = 32;
    mnl_attr_put_u32(request.header, RTA_SRC, source);
  }
  RouteAnswer answer{0, false, std::nullopt, false};
  const Outcome outcome = exchange(fd, request, [&](const nlmsghdr* message) {
    const auto* route = fixed_part<rtmsg>(message);
    if (route == nullptr) return;
    const Attributes attributes = attributes_of<rtmsg>(message);
    answer.unicast = route->rtm_type == RTN_UNICAST;
    answer.gateway = attributes.read<u32>(RTA_GATEWAY);
    answer.foreign_gateway = attributes.at[RTA_VIA] != nullptr;
  });
  answer.error = outcome.error;
  return answer;
}

/// Errors that say "this way leads nowhere": no route, a prohibited or blackholed one, a source
/// that is not (or not any more) an address of ours, an interface that is gone. Anything else is a
/// failure of the asking.
bool means_no_route(int error) {
  constexpr std::array errors{ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ENODEV, ENXIO, ENETDOWN};
  return std::find(errors.begin(), errors.end(), error) != errors.end();
}

void subscribe(int fd, int group) {
  check(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)),
        "subscribe to rtnetlink events");
}

template<class Kind, class Row>
void append(std::vector<Event>& events, const std::optional<Row>& row, bool deleted) {
  if (row) events.push_back(Kind{*row, deleted});
}

void append_event(const nlmsghdr* message, std::vector<Event>& events) {
  const u16 type = message->nlmsg_type;
  switch (type) {
  case RTM_NEWNEIGH:
  case RTM_DELNEIGH:
    return append<NeighbourEvent>(events, neighbour_of(message), type == RTM_DELNEIGH);
  case RTM_NEWLINK:
  case RTM_DELLINK: return append<LinkEvent>(events, link_of(message), type == RTM_DELLINK);
  case RTM_NEWADDR:
  case RTM_DELADDR: return append<AddressEvent>(events, address_of(message), type == RTM_DELADDR);
  case RTM_NEWROUTE:
  case RTM_DELROUTE:
  case RTM_NEWRULE:
  case RTM_DELRULE:
  case RTM_NEWNEXTHOP:
  case RTM_DELNEXTHOP:
    // A flood of routes is one piece of news.
    if (events.empty() || !std::holds_alternative<RouteEvent>(events.back()))
      events.push_back(RouteEvent{});
    return;
  default: return;
  }
}

} // namespace

Fd open_netlink() {
  Fd fd{check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "open rtnetlink")};
  check(setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &answer_timeout, sizeof(answer_timeout)),
        "limit rtnetlink");
  return fd;
}

Fd open_netlink_events() {
  Fd fd{check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE),
              "open rtnetlink")};
  // The kernel sends no news to a socket without a number of its own.
  sockaddr_nl any{};
  any.nl_family = AF_NETLINK;
  check(bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)),
        "bind an rtnetlink socket");
  // Without CAP_NET_ADMIN the first is refused and the second gives what net.core.rmem_max allows:
  // still correct, since an overrun is told of and everything is read again.
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &event_buffer_size,
                 sizeof(event_buffer_size)) < 0) {
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &event_buffer_size, sizeof(event_buffer_size));
  }
  for (const int group :
       {RTNLGRP_NEIGH, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE}) {
    subscribe(fd.get(), group);
  }
  try {
    subscribe(fd.get(), RTNLGRP_NEXTHOP);
  } catch (const Error&) {
    // Kernels before 5.3 have no next hop objects, hence no news of them.
  }
  return fd;
}

std::optional<Link> read_link(int fd, const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) return std::nullopt;
  Request request;
  request.begin<ifinfomsg>(RTM_GETLINK, NLM_F_ACK)->ifi_family = AF_UNSPEC;
  mnl_attr_put_strz(request.header, IFLA_IFNAME, name.c_str());
  std::optional<Link> link;
  const Outcome outcome =
      exchange(fd, request, [&](const nlmsghdr* message) { link = link_of(message); });
  if (outcome.error == ENODEV) return std::nullopt;
  if (outcome.error != 0) throw error_of(outcome.error, "read the interface " + name);
  return link;
}

std::vector<Address> list_addresses(int fd) {
  return dump<ifaddrmsg, Address>(fd, RTM_GETADDR, any_index, address_of, "read the addresses");
}

std::vector<Neighbour> list_neighbours(int fd, int index) {
  return dump<ndmsg, Neighbour>(fd, RTM_GETNEIGH, index, neighbour_of, "read the neighbour table");
}

std::optional<u32> look_up_route(int fd, int index, u32 ip, u32 source) {
  // Asked for an interface, the kernel takes a destination without a route to be on its link. Only
  // the look-up of the matching table entry says that there is none; only the plain one says which
  // gateway of several it takes.
  for (const u32 flags : {static_cast<u32>(RTM_F_FIB_MATCH), 0u}) {
    const RouteAnswer answer = ask_route(fd, index, ip, source, flags);
    if (means_no_route(answer.error)) return std::nullopt;
    if (answer.error != 0) throw error_of(answer.error, "look a route up");
    // Local, broadcast and multicast destinations have no neighbour. Nor have we one where IPv6
    // carries IPv4.
    if (!answer.unicast || answer.foreign_gateway) return std::nullopt;
    if (flags == 0) return answer.gateway.value_or(ip);
  }
  return std::nullopt;
}

void probe_neighbour(int fd, int index, u32 ip) {
  Request request;
  auto* fixed = request.begin<ndmsg>(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK);
  fixed->ndm_family = AF_INET;
  fixed->ndm_ifindex = index;
  fixed->ndm_state = NUD_NONE;
  fixed->ndm_flags = NTF_USE;
  mnl_attr_put_u32(request.header, NDA_DST, ip);
  const Outcome outcome = exchange(fd, request, [](const nlmsghdr*) {});
  if (outcome.error != 0) throw error_of(outcome.error, "ask for a neighbour");
}

std::vector<Event> read_events(int fd) {
  std::vector<Event> events;
  Buffer buffer;
  bool overrun = false;
  while (events.size() < events_max) {
    std::size_t length = 0;
    try {
      length = receive_some(fd, buffer);
    } catch (const Error& error) {
      if (error.number == EAGAIN) break;
      if (error.number != ENOBUFS && error.number != EMSGSIZE) throw;
      overrun = true;
    }
    // The kernel drops what is newest and keeps what is oldest, and sends nothing more until all of
    // that is taken. None of it may be believed: whoever reads everything again must not then hear
    // of older things.
    if (overrun) continue;
    each_message(buffer, length, [&](const nlmsghdr* message) { append_event(message, events); });
  }
  if (overrun) events.push_back(OverrunEvent{});
  return events;
}

} // namespace fantail
