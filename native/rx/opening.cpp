// SPDX-License-Identifier: MIT-0
#include "rx/opening.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/socket.h>

#include "host/sockets.hpp"
#include "link/bulk_link.hpp"
#include "link/soft_link.hpp"
#include "netlink/interface.hpp"
#include "path/loops.hpp"
#include "rx/proof.hpp"
#include "xdp/sockets.hpp"

namespace fantail {
namespace {

constexpr timespec pause_time{0, 10'000'000}; // between two looks
constexpr int carrier_looks_max = 1000;
constexpr int attach_tries_max = 100;
constexpr u64 bulk_proof_ns = 100'000'000;
constexpr u32 plain_mtu = 1500;           // that every driver takes
constexpr int send_buffer_size = 8 << 20; // bytes; sums of bursts, as the rings of the other modes

int duplicate(int fd, const char* doing) { return check(fcntl(fd, F_DUPFD_CLOEXEC, 3), doing); }

// ---- the XDP program ----

bool has_carrier(const std::string& interface) {
  const auto link = read_link(open_netlink().get(), interface);
  return link && link->carrier && link->up;
}

/// igb and others reset the link when XDP is attached, some when a socket is bound.
void await_carrier(const std::string& interface) {
  for (int i = 0; i < carrier_looks_max && !has_carrier(interface); ++i)
    nanosleep(&pause_time, nullptr);
}

/// Drivers have limits of their own, and do not say that it is them.
std::string mtu_hint(const std::string& interface) {
  const auto link = read_link(open_netlink().get(), interface);
  if (!link || link->mtu <= plain_mtu) return "";
  return "; the XDP of this driver may not take an MTU of " + std::to_string(link->mtu) +
         ": try `ip link set dev " + interface + " mtu " + std::to_string(plain_mtu) + "`";
}

/// A program whose last holder has just died is detached some 12 ms later, so EBUSY is believed
/// only after a second.
void attach(Xdp& program, const std::string& interface, int interface_index, Attach how) {
  for (int tries = attach_tries_max;; --tries) {
    try {
      return program.attach(interface_index, how);
    } catch (const Error& error) {
      if (error.number == EINVAL || error.number == EOPNOTSUPP)
        throw Error(error.number, error.what() + mtu_hint(interface));
      if (error.number != EBUSY || tries == 0) throw;
    }
    nanosleep(&pause_time, nullptr);
  }
}

Program load_for(const Paths& paths, int interface_index, Attach how) {
  if (!paths.bulk) return {Xdp::load(), how, ""};
  if (how == Attach::generic) return {Xdp::load(), how, "it takes native XDP"};
  try {
    return {Xdp::load_bulk(interface_index), how, ""};
  } catch (const Error& error) {
    if (!paths.ring) throw;
    return {Xdp::load(), how, error.what()};
  }
}

Program load_program(const Opening& o, int interface_index, Attach how) {
  const std::string& interface = o.interface;
  const bool carrier = has_carrier(interface);
  Program program = load_for(o.paths, interface_index, how);
  attach(program.xdp, interface, interface_index, how);
  if (carrier) await_carrier(interface);
  return program;
}

Program join_program(const SharedProgram& shared, const Paths& paths) {
  const auto take = [](int fd) { return Fd(duplicate(fd, "taking over the XDP program")); };
  std::optional<Bulk> bulk;
  if (!shared.bulk.empty()) {
    const std::vector<int>& fds = shared.bulk;
    bulk = Bulk{take(fds.at(0)), take(fds.at(1)), {}, {}};
    const std::size_t held = bulk->held.size();
    for (std::size_t i = 0; i < held; ++i) bulk->held[i] = take(fds.at(2 + i));
    if (fds.size() > 2 + held) bulk->pools = take(fds.at(2 + held));
  }
  const char* ring_because = "";
  if (paths.bulk && !bulk)
    ring_because = "the launcher that loaded the XDP program of this interface sends by the ring";
  if (!paths.ring && !bulk) throw Error(EBUSY, ring_because);
  std::array<Fd, XDP_FDS> fds;
  for (std::size_t i = 0; i < fds.size(); ++i) fds[i] = take(shared.fds[i]);
  return {Xdp::adopt(std::move(fds), std::move(bulk)), shared.attach, ring_because};
}

/// Leaves in `program` one that is attached in that way; a program that is, stays.
void open_program(const Opening& o, std::optional<Program>& program, int interface_index,
                  Attach how) {
  if (o.join && how != o.join->attach)
    throw Error(EBUSY, "another launcher attached XDP in the other way");
  if (program && program->attach == how) return;
  program.reset();
  program = o.join ? join_program(*o.join, o.paths) : load_program(o, interface_index, how);
}

// ---- sockets ----

/// Puts RX frames in their first place.
void fill(const KernelRing& ring, const FrameRange& frames) {
  for (u32 i = 0; i < frames.count; ++i)
    ring.address(i) = u64{frames.first + i} * FANTAIL_FRAME_SIZE;
  publish(*ring.producer, frames.count);
}

/// While it is there the thread runs on that core; -1: on any.
class OnCore {
public:
  explicit OnCore(int cpu) {
    check(sched_getaffinity(0, sizeof before_, &before_), "reading the cores to run on");
    pin_to_cpu(cpu);
  }
  OnCore(const OnCore&) = delete;
  OnCore& operator=(const OnCore&) = delete;
  ~OnCore() { sched_setaffinity(0, sizeof before_, &before_); }

private:
  cpu_set_t before_;
};

/// A device may take no frames of a program's, and only its tracepoint says so. On the core that
/// the worker will send from: mlx5 and i40e answer ENXIO to one whose number is not below that of
/// their channels (mlx5e_xdp_xmit(), i40e_xdp_xmit()).
void prove_bulk(const Bulk& bulk, int pages_fd, u32 queue, u32 frame_first, const Mac& mac, u32 ip,
                int cpu) {
  const OnCore here(cpu);
  const BulkPages pages(pages_fd);
  worker counters{}; // not the worker's own: this copy is owed to nobody
  BulkLink link(counters, pages.at(), bulk.program.get(), queue);
  bulk_link& words = link.words();
  write_announcement(BulkPages::copy_in(pages.at(), 0, 0, announcement_size), mac, ip);
  words.tx[0] = {u64{frame_first} * FANTAIL_FRAME_SIZE, announcement_size, 0};
  publish(words.tx_producer, 1u);
  link.transmit(bulk_proof_ns);
  publish(words.completion_consumer, 1u);
  if (words.completion[0] >> outcome_shift != 0)
    throw Error(EOPNOTSUPP, "the device took no frame in bulk" +
                                (cpu < 0 ? "" : " on core " + std::to_string(cpu)) +
                                " (of a veth the peer needs an XDP program, or GRO: `ethtool -K`; "
                                "some cards a core whose number is below that of their channels: "
                                "--cpus; Linux 5.19 or newer)");
}

/// That each worker's way to send does: its map, if there is one, else its socket. A link that is
/// down sends nothing, and tells nothing of its driver.
void prove_sending(const Opening& o, const DataPlane& plane,
                   const std::vector<MappedRing>& completions, const Bulk* bulk) {
  const Interface found = describe_interface(o.interface);
  if (!found.link.up || !found.link.mac || found.addresses.empty()) return;
  const Mac& mac = *found.link.mac;
  const u32 ip = found.addresses[0].ip;
  for (u32 w = 0; w < o.geometry.workers; ++w) {
    const u32 frame = plane.arena.tx_frame_first(w);
    if (bulk != nullptr) {
      prove_bulk(*bulk, plane.pages[w].get(), o.queues[w], frame, mac, ip, o.bulk_cpus.at(w));
      continue;
    }
    write_announcement(plane.arena.frame(frame), mac, ip);
    prove_transmit(plane.tx[w].get(), completions[w].ring(), u64{frame} * FANTAIL_FRAME_SIZE,
                   announcement_size);
  }
}

/// The workers' maps, once the device has taken a frame from each.
void open_bulk(const Opening& o, DataPlane& plane, Program& program) {
  const Bulk& bulk = *program.xdp.bulk();
  try {
    for (u32 w = 0; w < o.geometry.workers; ++w)
      plane.pages.push_back(add_bulk_pages(bulk, o.queues[w], plane.arena.tx_frame_first(w)));
    prove_sending(o, plane, {}, &bulk);
  } catch (const Error& error) {
    if (!o.paths.ring) throw;
    program.ring_because = error.what();
    plane.pages.clear();
    for (const u32 queue : o.queues) remove_bulk_pages(bulk, queue);
  }
}

void open_xdp_sockets(const Opening& o, DataPlane& plane, int interface_index, bool zero_copy) {
  const bool carrier = has_carrier(o.interface);
  std::vector<MappedRing> completions; // mapped before bind, as older kernels want it
  for (u32 q = 0; q < o.queues.size(); ++q) {
    Fd rx = q == 0 ? open_rx_socket(plane.arena.umem(), plane.arena.header().umem_size)
                   : open_shared_rx_socket();
    const MappedRing filled = map_ring(rx.get(), XDP_UMEM_PGOFF_FILL_RING, FANTAIL_RX_FRAMES);
    completions.push_back(map_ring(rx.get(), XDP_UMEM_PGOFF_COMPLETION_RING, FANTAIL_TX_FRAMES));
    fill(filled.ring(), plane.arena.ring_frames(q));
    if (q == 0) bind_rx_socket(rx.get(), interface_index, o.queues[q], zero_copy);
    else bind_shared_rx_socket(rx.get(), plane.rx[0].get(), interface_index, o.queues[q]);
    if (zero_copy && !is_zero_copy(rx.get()))
      throw Error(EOPNOTSUPP, "the driver granted no zero copy");
    if (o.geometry.busy_poll) prefer_busy_poll(rx.get());
    plane.rx.push_back(std::move(rx));
  }
  for (u32 w = 0; o.paths.ring && w < o.geometry.workers; ++w) {
    // No preferred busy poll here: its sendto would poll for reception instead of waking the driver
    // to send, which drivers that send in a NAPI of its own (virtio_net) then never do.
    // (net/xdp/xsk.c, xsk_no_wakeup)
    plane.tx.push_back(open_tx_socket(plane.rx[w].get(), interface_index, o.queues[w]));
  }
  if (!zero_copy) return;
  if (carrier) await_carrier(o.interface);
  prove_sending(o, plane, completions, nullptr);
}

/// From now on the program redirects the feed.
void register_sockets(const Opening& o, const std::vector<Fd>& rx, const Program& program) {
  const Interface interface = describe_interface(o.interface);
  const Geometry& g = o.geometry;
  const u32 reader = reader_of(o.queues[0], 0);
  const FeedAddresses feed{.ip = g.listen_ip, .source = 0, .promiscuous = o.promiscuous};
  const feed_rule rule = rule_of(interface, feed, g.mtu, program.attach, reader);
  set_own(program.xdp.own_fd(), interface);
  if (o.slow_path >= 0)
    set_reader(program.xdp.slow_path(), reader, o.slow_path, IN_MULTICAST(ntohl(g.listen_ip)));
  for (u32 q = 0; q < o.queues.size(); ++q) {
    set_xsk(program.xdp.xsks_fd(), o.queues[q], rx[q].get());
    set_feed(program.xdp.feeds_fd(), o.queues[q], g.listen_ip, g.listen_port, rule);
  }
}

/// For the queue of that index: the first joins the group, or each would get a copy.
Fd open_udp_socket(const Opening& o, u32 q) {
  const std::string device = o.interface == "-" ? "" : o.interface;
  Fd fd = open_listener({.ip = o.geometry.listen_ip,
                         .port = o.geometry.listen_port,
                         .device = device == "lo" ? "" : device,
                         .share = o.queues.size() > 1,
                         .join_on = q == 0 ? std::optional(device) : std::nullopt,
                         .groups_by = device});
  const int find = IP_PMTUDISC_DO; // DF, as in the other modes
  check(setsockopt(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, &find, sizeof find), "IP_MTU_DISCOVER");
  set_send_buffer(fd.get(), send_buffer_size);
  return fd;
}

/// Socket mode: one UDP socket per queue, spread over by flow where there are several.
void open_udp_sockets(const Opening& o, DataPlane& plane) {
  for (u32 q = 0; q < o.queues.size(); ++q) {
    Fd fd = open_udp_socket(o, q);
    FeedSockets sockets({fd.get()}, -1, {});
    fill(SoftLink(plane.arena, q, sockets, 0).fill_ring(), plane.arena.ring_frames(q));
    plane.rx.push_back(std::move(fd));
    plane.intakes.push_back(new_intake());
  }
  for (u32 w = 0; w < o.geometry.workers; ++w)
    plane.tx.emplace_back(duplicate(plane.rx[w].get(), "duplicating a UDP socket"));
}

// ---- modes ----

Arena create_arena(const Opening& o, mode granted) {
  Geometry geometry = o.geometry;
  geometry.mode = granted;
  geometry.queue_ids = o.queues;
  return Arena::create(geometry);
}

/// `program`: what an earlier mode has left, and for a later one if this one fails.
DataPlane open_in_mode(const Opening& o, std::optional<Program>& program, mode wanted) {
  if (wanted == MODE_SOCKET) {
    program.reset();
    DataPlane plane{.arena = create_arena(o, wanted)};
    open_udp_sockets(o, plane);
    return plane;
  }
  const int interface_index = static_cast<int>(if_nametoindex(o.interface.c_str()));
  if (interface_index == 0) throw Error(ENODEV, "there is no interface " + o.interface);
  open_program(o, program, interface_index, wanted == MODE_SKB ? Attach::generic : Attach::native);
  DataPlane plane{.arena = create_arena(o, wanted)};
  open_xdp_sockets(o, plane, interface_index, wanted == MODE_ZEROCOPY);
  if (o.slow_path >= 0) plane.intakes.push_back(new_intake());
  if (wanted == MODE_COPY && program->xdp.bulk()) open_bulk(o, plane, *program);
  if (plane.pages.empty()) program->xdp.forget_bulk();
  register_sockets(o, plane.rx, *program);
  plane.program = std::move(program);
  return plane;
}

} // namespace

DataPlane open_data_plane(const Opening& o) {
  std::optional<Program> program;
  std::vector<Fallback> fallbacks;
  for (const mode wanted : o.modes) {
    try {
      DataPlane plane = open_in_mode(o, program, wanted);
      plane.fallbacks = std::move(fallbacks);
      return plane;
    } catch (const Error& error) {
      // somebody else's XDP program, or a queue in use: no mode is a way round that
      if (error.number == EBUSY) throw;
      if (o.modes.size() == 1)
        throw Error(error.number, std::string(mode_names[wanted]) + " mode is not possible on " +
                                      o.interface + ": " + error.what() +
                                      "; --mode auto takes the best one that is");
      fallbacks.push_back({wanted, error.what()});
    }
  }
  throw NoMode(std::move(fallbacks));
}

DataPlane adopt_data_plane(const Adoption& adoption) {
  DataPlane plane{.arena = Arena::attach(adoption.arena)};
  for (const int fd : adoption.rx) plane.rx.emplace_back(fd);
  for (const int fd : adoption.intakes) plane.intakes.emplace_back(fd);
  return plane;
}

} // namespace fantail
