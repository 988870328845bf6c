// SPDX-License-Identifier: MIT-0
// Attaching the XDP program and working its maps, by raw descriptors. Runs at set-up and for
// statistics, never per packet.
#include "xdp/program.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <vector>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "host/clock.hpp"

namespace fantail {
namespace {

std::string interface_name(int ifindex) {
  char name[IF_NAMESIZE];
  if (if_indextoname(static_cast<unsigned>(ifindex), name) != nullptr) return name;
  return "interface " + std::to_string(ifindex);
}

// Asking for it takes CAP_SYS_ADMIN.
std::string name_of(u32 id) {
  const Fd program(bpf_prog_get_fd_by_id(id));
  bpf_prog_info info{};
  u32 size = sizeof info;
  if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &size) < 0) return "";
  return info.name;
}

std::optional<bool> is_held_by_link(u32 program) {
  u32 id = 0;
  while (bpf_link_get_next_id(id, &id) == 0) {
    const Fd link(bpf_link_get_fd_by_id(id));
    bpf_link_info info{};
    u32 size = sizeof info;
    if (!link || bpf_obj_get_info_by_fd(link.get(), &info, &size) < 0) continue;
    if (info.type == BPF_LINK_TYPE_XDP && info.prog_id == program) return true;
  }
  if (errno == EPERM) return std::nullopt;
  return false;
}

// By whom the interface is taken, and what frees it.
std::string say_taken(int ifindex) {
  bpf_xdp_query_opts found{};
  found.sz = sizeof found;
  if (bpf_xdp_query(ifindex, 0, &found) < 0) return "another XDP program is attached to it";
  u32 id = found.drv_prog_id;
  std::string keyword = "xdpdrv";
  if (id == 0) {
    id = found.skb_prog_id;
    keyword = "xdpgeneric";
  }
  if (id == 0) {
    id = found.hw_prog_id;
    keyword = "xdpoffload";
  }
  if (id == 0) return "another XDP program was attached and has just gone; try again";
  const ProgramHolder holder = holder_of(id);
  const std::string name = holder.name.empty() ? "" : " \"" + holder.name + "\"";
  const std::string interface = interface_name(ifindex);
  const std::string who =
      "XDP program " + std::to_string(id) + name + " is attached to " + interface;
  // a fantail whose supervisor was killed goes on replicating: data never stops with control
  if (holder.by_link == true)
    return who +
           " by a running process; stop that process (if it is fantail's: pgrep -af fantail-rx)";
  const std::string line = "`ip link set dev " + interface + " " + keyword + " off`";
  if (holder.by_link == false) return who + "; " + line + " removes it";
  return who + "; " + line + " removes it, unless a running process holds it: then stop that";
}

feed feed_key(u32 queue, u32 ip_be, u16 port_be) {
  return feed{.queue = queue, .daddr = ip_be, .dport = port_be, .pad = 0};
}

u64 cookie_of(int fd) {
  u64 cookie = 0;
  socklen_t size = sizeof cookie;
  check(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), "ask for a socket's cookie");
  return cookie;
}

/// Of its subnet, in network order; none has one with a prefix of 31 or 32 bits (RFC 3021).
std::optional<u32> broadcast_of(const Address& address) {
  if (address.prefix >= 31) return std::nullopt;
  return address.ip | htonl(0xffffffffu >> address.prefix);
}

/// An address of this host, on whichever interface.
bool is_own(const Interface& interface, u32 ip) {
  const auto is_it = [=](const Address& each) { return each.ip == ip; };
  return std::ranges::any_of(interface.addresses, is_it) ||
         std::ranges::any_of(interface.others, is_it);
}

} // namespace

ProgramHolder holder_of(u32 program) { return {name_of(program), is_held_by_link(program)}; }

Xdp Xdp::adopt(std::array<Fd, XDP_FDS> fds, std::optional<Bulk> bulk) {
  Xdp xdp;
  xdp.bulk_ = std::move(bulk);
  Fd* const members[] = {&xdp.link_,     &xdp.xsks_,    &xdp.feeds_,   &xdp.own_,
                         &xdp.verdicts_, &xdp.readers_, &xdp.cookies_, &xdp.selector_,
                         &xdp.member_,   &xdp.declined_};
  static_assert(std::size(members) == XDP_FDS);
  for (std::size_t i = 0; i < XDP_FDS; ++i) *members[i] = std::move(fds[i]);
  return xdp;
}

std::array<int, XDP_FDS> Xdp::fds() const {
  const auto [readers, cookies, selector, member, declined] = slow_path();
  return {link_fd(), xsks_fd(), feeds_fd(), own_fd(), verdicts_fd(),
          readers,   cookies,   selector,   member,   declined};
}

void Xdp::attach(int ifindex, Attach how) {
  bpf_link_create_opts options{};
  options.sz = sizeof options;
  options.flags = how == Attach::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  const int link = bpf_link_create(program_.get(), ifindex, BPF_XDP, &options);
  if (link >= 0) {
    link_.reset(link);
    return;
  }
  const int number = errno;
  const std::string doing = "attach the XDP program to " + interface_name(ifindex) + " in " +
                            (how == Attach::native ? "native" : "generic") + " mode";
  // EEXIST: the other program is of the other mode; the cure is the same as for EBUSY.
  if (number == EBUSY || number == EEXIST) throw Error(EBUSY, doing + ": " + say_taken(ifindex));
  // a driver that gives each core or each queue of its peer a ring of its own (drivers/net/veth.c)
  if (number == ENOSPC)
    throw Error(ENOSPC, doing + ": it has too few queues for that; a veth needs as many RX queues "
                                "as its peer has TX queues, numrxqueues of `ip link add`");
  throw error_of(number, doing);
}

std::optional<u32> live_pools_of(int pages_fd) {
  constexpr u32 first = 0;
  alignas(bulk_link) std::array<char, FANTAIL_FRAME_SIZE> page;
  check(bpf_map_lookup_elem(pages_fd, &first, page.data()), "read a worker's map");
  u64 pools_of;
  u32 live;
  std::memcpy(&pools_of, page.data() + __builtin_offsetof(bulk_link, pools_of), sizeof pools_of);
  std::memcpy(&live, page.data() + __builtin_offsetof(bulk_link, live_pools), sizeof live);
  return pools_of == 0 ? std::nullopt : std::optional(live);
}
static_assert(__builtin_offsetof(bulk_link, live_pools) < FANTAIL_FRAME_SIZE);

void remove_bulk_pages(const Bulk& bulk, u32 queue) {
  bpf_map_delete_elem(bulk.bulks.get(), &queue); // what is not there need not be removed
}

void set_feed(int feeds_fd, u32 queue, u32 ip_be, u16 port_be, const feed_rule& rule) {
  const feed key = feed_key(queue, ip_be, port_be);
  const int result = bpf_map_update_elem(feeds_fd, &key, &rule, BPF_ANY);
  check(result, "add a feed to the XDP program's map");
}

void delete_feed(int feeds_fd, u32 queue, u32 ip_be, u16 port_be) {
  const feed key = feed_key(queue, ip_be, port_be);
  if (bpf_map_delete_elem(feeds_fd, &key) < 0 && errno != ENOENT)
    throw error_of(errno, "remove a feed from the XDP program's map");
}

feed_rule rule_of(const Interface& interface, const FeedAddresses& feed, u16 mtu, Attach how,
                  u32 reader) {
  feed_rule rule{.mac = {},
                 .mtu = mtu,
                 .generic = how == Attach::generic,
                 .any_mac = 0,
                 .reader = reader,
                 .source = feed.source,
                 .seen = 0};
  const u32 ip_be = feed.ip, ip = ntohl(feed.ip);
  const bool is_broadcast = ip_be == INADDR_BROADCAST ||
                            std::ranges::any_of(interface.addresses, [=](const Address& each) {
                              return broadcast_of(each) == ip_be;
                            });
  if (is_broadcast) {
    std::memset(rule.mac, 0xff, sizeof rule.mac);
  } else if (IN_MULTICAST(ip)) {
    const u8 mac[] = {0x01, 0x00, 0x5e, u8(ip >> 16 & 0x7f), u8(ip >> 8), u8(ip)};
    std::memcpy(rule.mac, mac, sizeof mac);
  } else if (feed.promiscuous && !is_own(interface, ip_be)) {
    rule.any_mac = 1;
  } else if (interface.link.mac) {
    std::memcpy(rule.mac, interface.link.mac->data(), sizeof rule.mac);
  }
  return rule;
}

void set_own(int own_fd, const Interface& interface) {
  std::set<u32> wanted;
  for (const std::vector<Address>* list : {&interface.addresses, &interface.others})
    for (const Address& each : *list) {
      wanted.insert(each.ip);
      if (const auto broadcast = broadcast_of(each)) wanted.insert(*broadcast);
    }
  std::set<u32> gone;
  u32 key;
  for (const u32* last = nullptr; bpf_map_get_next_key(own_fd, last, &key) == 0; last = &key)
    if (!wanted.contains(key)) gone.insert(key);
  for (const u32 ip : gone) bpf_map_delete_elem(own_fd, &ip);
  constexpr u8 there = 1;
  for (const u32 ip : wanted)
    check(bpf_map_update_elem(own_fd, &ip, &there, BPF_ANY),
          "tell the XDP program an address of this host");
}

u64 declined_by(int declined_fd, int udp_fd) {
  const u64 cookie = cookie_of(udp_fd);
  u64 count = 0;
  if (bpf_map_lookup_elem(declined_fd, &cookie, &count) < 0 && errno != ENOENT)
    throw error_of(errno, "read what a socket of the slow path has left to others");
  return count;
}

void set_reader(const SlowPathFds& path, u32 reader, int udp_fd, bool is_group) {
  const auto attach = [=](int option, int program) {
    check(setsockopt(udp_fd, SOL_SOCKET, option, &program, sizeof program),
          "choose among the sockets of the slow path");
  };
  attach(SO_ATTACH_REUSEPORT_EBPF, path.selector);
  if (is_group) attach(SO_ATTACH_BPF, path.member); // before others leave anything to it
  const u64 value = static_cast<u64>(udp_fd);
  check(bpf_map_update_elem(path.readers, &reader, &value, BPF_ANY),
        "put the socket of the slow path into the XDP program's map");
  const u64 cookie = cookie_of(udp_fd);
  check(bpf_map_update_elem(path.cookies, &reader, &cookie, BPF_ANY),
        "put the cookie of the slow path's socket into the XDP program's map");
}

void set_xsk(int xsks_fd, u32 queue, int xsk_fd) {
  const int result = bpf_map_update_elem(xsks_fd, &queue, &xsk_fd, BPF_ANY);
  check(result, "put a socket into the XDP program's map");
}

Fd add_bulk_pages(const Bulk& bulk, u32 queue, u32 frame_first) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_MMAPABLE;
  Fd pages(check(bpf_map_create(BPF_MAP_TYPE_ARRAY, "bulk_pages", sizeof(u32), FANTAIL_FRAME_SIZE,
                                FANTAIL_BULK_PAGES, &options),
                 "make a worker's map for bulk transmit"));
  void* at = mmap(nullptr, sizeof(bulk_link), PROT_READ | PROT_WRITE, MAP_SHARED, pages.get(), 0);
  if (at == MAP_FAILED) throw error_of(errno, "map a worker's map for bulk transmit");
  static_cast<bulk_link*>(at)->frame_first = frame_first;
  static_cast<bulk_link*>(at)->pools_of = bulk.pools.get() < 0 ? 0 : clock_ns();
  munmap(at, sizeof(bulk_link));
  const int fd = pages.get();
  check(bpf_map_update_elem(bulk.bulks.get(), &queue, &fd, BPF_ANY),
        "let the program find a worker's map for bulk transmit");
  return pages;
}

std::array<u64, VERDICT_COUNT> read_verdicts(int verdicts_fd, u32 queue) {
  if (queue >= FANTAIL_QUEUES_MAX) throw error_of(EINVAL, "read counts of a queue past the last");
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) throw error_of(-cpus, "count the CPUs");
  std::vector<u64> by_cpu(static_cast<std::size_t>(cpus));
  std::array<u64, VERDICT_COUNT> sums{};
  for (u32 verdict = 0; verdict < VERDICT_COUNT; ++verdict) {
    const u32 index = queue * VERDICT_COUNT + verdict;
    check(bpf_map_lookup_elem(verdicts_fd, &index, by_cpu.data()), "read the XDP program's counts");
    for (const u64 frames : by_cpu) sums[verdict] += frames;
  }
  return sums;
}

} // namespace fantail
