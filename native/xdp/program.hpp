// SPDX-License-Identifier: MIT-0
// The XDP program of bpf/replicate.bpf.c and its maps, as file descriptors.
//
// fantail-rx loads and attaches it; the descriptors are handed to supervisors and later launchers
// on the same interface, which adopt them. The program stays attached for as long as anyone holds
// the link, and the kernel detaches it soon after the last holder is gone: nothing is pinned.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "host/check.hpp"
#include "netlink/interface.hpp"
#include "shm/layout.h"

struct bpf_object;

namespace fantail {

/// native: in the driver. generic: in the kernel's receive path, on any interface, slower.
enum class Attach { native, generic };

/// What sending in bulk takes (bpf/bulk.bpf.h), all of it loaded and attached.
struct Bulk {
  Fd program; // workers run it
  Fd bulks;   // the map of each worker's map
  // held, so that they are there: the map of the device, and programs on tracepoints
  std::array<Fd, 3> held;
  Fd pools; // likewise, what counts page pools that live on; none where the kernel cannot tell
};

/// The compiled programs, as embedded in this executable. Defined in program_load.cpp.
std::span<const std::byte> replicate_object();

/// What decides which socket of the slow path takes a datagram in (bpf/slow_path.bpf.h): maps of
/// the sockets and of their cookies, the program of sockets that share a port, the filter of
/// members of a group, and a map of how many datagrams that has left to others. Borrowed.
struct SlowPathFds {
  int readers, cookies, selector, member, declined;
};

/// What can be told of anybody's program by its id.
struct ProgramHolder {
  std::string name; // empty where we may not look (that takes CAP_SYS_ADMIN)
  // by a link, so that `ip link` cannot remove it; nullopt where we may not look
  std::optional<bool> by_link;
};
ProgramHolder holder_of(u32 program);

/// Descriptors of the program and its maps that others share.
constexpr std::size_t XDP_FDS = 10;

class Xdp {
public:
  /// Loads the program and makes its maps; needs CAP_BPF and CAP_NET_ADMIN. Throws Error, which
  /// ends in the verifier's last lines if it was the verifier that refused. Tests give objects of
  /// their own. Defined in program_load.cpp.
  static Xdp load(std::span<const std::byte> object = replicate_object());
  /// The one that sends in bulk, too, to that interface; needs CAP_PERFMON as well. Linux 5.19.
  static Xdp load_bulk(int ifindex);

  /// Takes over what another process has loaded and attached.
  static Xdp adopt(std::array<Fd, XDP_FDS> fds, std::optional<Bulk> bulk = std::nullopt);
  /// Its descriptors as adopt() takes them: link, xsks, feeds, own, verdicts, those of
  /// slow_path() in their order.
  std::array<int, XDP_FDS> fds() const;

  /// Attaches to an interface of this network namespace, for as long as link_fd() or a copy is
  /// open. Error.number: EBUSY another program is there, EOPNOTSUPP the driver has no native XDP.
  void attach(int ifindex, Attach how);

  int link_fd() const { return link_.get(); }       // -1 until attached
  int program_fd() const { return program_.get(); } // -1 if adopted
  int xsks_fd() const { return xsks_.get(); }
  int feeds_fd() const { return feeds_.get(); }
  int own_fd() const { return own_.get(); }
  int verdicts_fd() const { return verdicts_.get(); }
  SlowPathFds slow_path() const {
    return {readers_.get(), cookies_.get(), selector_.get(), member_.get(), declined_.get()};
  }
  const std::optional<Bulk>& bulk() const { return bulk_; }
  /// Its programs on tracepoints go, if we are the last to have them.
  void forget_bulk() { bulk_.reset(); }

private:
  static Xdp load_program(std::span<const std::byte> object, const char* name);
  static Xdp of(bpf_object* object, const char* program);

  Fd program_, link_, xsks_, feeds_, own_, verdicts_, readers_, cookies_, selector_, member_,
      declined_;
  std::optional<Bulk> bulk_;
};

/// Makes the map of a worker that sends for `queue`, whose first TX frame is `frame_first` of the
/// UMEM, and lets the program find it.
Fd add_bulk_pages(const Bulk& bulk, u32 queue, u32 frame_first);

/// Page pools of calls of a worker that live on; nullopt: the kernel does not tell. `pages_fd`: its
/// map.
std::optional<u32> live_pools_of(int pages_fd);

/// The program finds none for that queue any more; none there is fine.
void remove_bulk_pages(const Bulk& bulk, u32 queue);

/// One feed of one queue of the interface; `ip_be` and `port_be` in network order. Setting one that
/// is there replaces its rule; deleting one that is not does nothing.
void set_feed(int feeds_fd, u32 queue, u32 ip_be, u16 port_be, const feed_rule& rule);
void delete_feed(int feeds_fd, u32 queue, u32 ip_be, u16 port_be);

/// Where a feed is sent to and, unless 0, the one address that it comes from; network order.
struct FeedAddresses {
  u32 ip, source;
  bool promiscuous = false; // `ip` may be another host's
};
/// What is asked of the frames of a feed, and whose socket takes in those that pass. A group's are
/// addressed to its MAC (RFC 1112, 6.4), those of a broadcast address of `interface` to all, those
/// of another host, where that may be, to any host's MAC, others to the interface's own.
feed_rule rule_of(const Interface& interface, const FeedAddresses& feed, u16 mtu, Attach how,
                  u32 reader);
/// The key of a feed's socket: by its launcher's first queue, and its index there.
constexpr u32 reader_of(u32 queue_first, u32 feed) {
  return queue_first * FANTAIL_FEEDS_MAX + feed;
}

/// The addresses of the host are those of `interface` and its others, and no more.
void set_own(int own_fd, const Interface& interface);

/// Of the sockets that share that one's address and port, it receives the datagrams of frames that
/// came on queues of the feeds whose rule names `reader`; and others that belong to nobody.
/// Of the members of a group, it alone; `is_group` says that its address is one.
void set_reader(const SlowPathFds& path, u32 reader, int udp_fd, bool is_group);

/// Datagrams that a member of a group has left to other launchers' members.
u64 declined_by(int declined_fd, int udp_fd);

/// Makes `xsk_fd` the socket of `queue`. The kernel takes it out when the socket closes.
void set_xsk(int xsks_fd, u32 queue, int xsk_fd);

/// Frames seen on `queue` by enum verdict, the sum over CPUs.
std::array<u64, VERDICT_COUNT> read_verdicts(int verdicts_fd, u32 queue);

} // namespace fantail
