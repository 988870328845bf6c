// SPDX-License-Identifier: MIT-0
// Attaching the XDP program and working its maps, by raw descriptors. Runs at set-up and for
// statistics, never per packet.
#include "xdp/program.hpp"

#include <optional>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/mman.h>

namespace fantail {
namespace {

std::string interface_name(int ifindex) {
  char name[IF_NAMESIZE];
  if (if_indextoname(static_cast<unsigned>(ifindex), name) != nullptr) return name;
  return "interface " + std::to_string(ifindex);
}

// Id and name. Asking for the name takes CAP_SYS_ADMIN; without it there is the id alone.
std::string describe_program(u32 id) {
  const std::string number = "XDP program " + std::to_string(id);
  const Fd program(bpf_prog_get_fd_by_id(id));
  bpf_prog_info info{};
  u32 size = sizeof info;
  if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &size) < 0) return number;
  return number + " \"" + info.name + "\"";
}

// Whether a process holds the program by a link, so that `ip link` cannot remove it; nullopt where
// we may not look (that takes CAP_SYS_ADMIN).
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
  const std::string who = describe_program(id) + " is attached to it";
  const std::optional<bool> held = is_held_by_link(id);
  // a fantail whose supervisor was killed goes on replicating: data never stops with control
  if (held == true)
    return who +
           " by a running process; stop that process (if it is fantail's: pgrep -af fantail-rx)";
  const std::string line = "`ip link set dev " + interface_name(ifindex) + " " + keyword + " off`";
  if (held == false) return who + "; " + line + " removes it";
  return who + "; " + line + " removes it, unless a running process holds it: then stop that";
}

feed feed_key(u32 queue, u32 ip_be, u16 port_be) {
  return feed{.queue = queue, .daddr = ip_be, .dport = port_be, .pad = 0};
}

} // namespace

Xdp Xdp::adopt(Fd link, Fd xsks, Fd feeds, Fd verdicts, std::optional<Bulk> bulk) {
  Xdp xdp;
  xdp.bulk_ = std::move(bulk);
  xdp.link_ = std::move(link);
  xdp.xsks_ = std::move(xsks);
  xdp.feeds_ = std::move(feeds);
  xdp.verdicts_ = std::move(verdicts);
  return xdp;
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

void remove_bulk_pages(const Bulk& bulk, u32 queue) {
  bpf_map_delete_elem(bulk.bulks.get(), &queue); // what is not there need not be removed
}

void set_feed(int feeds_fd, u32 queue, u32 ip_be, u16 port_be) {
  const feed key = feed_key(queue, ip_be, port_be);
  const u32 value = VERDICT_REDIRECT;
  const int result = bpf_map_update_elem(feeds_fd, &key, &value, BPF_ANY);
  check(result, "add a feed to the XDP program's map");
}

void delete_feed(int feeds_fd, u32 queue, u32 ip_be, u16 port_be) {
  const feed key = feed_key(queue, ip_be, port_be);
  if (bpf_map_delete_elem(feeds_fd, &key) < 0 && errno != ENOENT)
    throw error_of(errno, "remove a feed from the XDP program's map");
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
