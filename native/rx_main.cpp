// SPDX-License-Identifier: MIT-0
//
// fantail-rx: opens everything that takes privileges (arena, UMEM, AF_XDP sockets, XDP program),
// hands the file descriptors to the supervisor, drops its capabilities, and then runs rx_stage
// (split) or keeps everything open (inline). Started by `fantail up`, not by people.
//
// With --adopt it opens nothing: it is the successor of one that died, on the descriptors that the
// supervisor kept. It says over --supervisor, one JSON message each:
//   {"event":"opened","mode":…,"attach":…,"fallbacks":[…]} with the descriptors arena, rx…, tx…,
//   link, xsks, feeds, verdicts
//   {"event":"running"}          {"event":"failed","message":…,"tried":[…]}
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "host/descriptor_passing.hpp"
#include "host/namespace.hpp"
#include "host/privileges.hpp"
#include "path/loops.hpp"
#include "xdp/program.hpp"

namespace fantail {
namespace {

struct Options {
  int supervisor = -1;
  std::string interface;
  std::optional<std::string> netns;
  std::vector<mode> modes;
  std::vector<u32> queues;
  std::vector<int> wakes; // eventfd of each worker
  int wake = -1;          // own eventfd
  int cpu = -1;
  Geometry geometry;
  std::vector<int> join; // link, xsks, feeds, verdicts of another launcher's program
  Attach joined = Attach::native;
  std::vector<int> adopt; // arena, then RX sockets
};

/// What the data plane consists of, while it is being opened and afterwards.
struct Plane {
  std::optional<Arena> arena;
  std::optional<Xdp> xdp;
  Attach attach = Attach::native;
  std::vector<Fd> rx, tx;
};

struct Fallback {
  mode from;
  std::string reason;
};

std::vector<std::string> split(const char* list) {
  std::vector<std::string> items;
  std::stringstream stream(list);
  for (std::string item; std::getline(stream, item, ',');) items.push_back(item);
  return items;
}

template<class T> std::vector<T> numbers(const char* list) {
  std::vector<T> result;
  for (const std::string& item : split(list)) result.push_back(static_cast<T>(std::stol(item)));
  return result;
}

u32 position(const char* const* names, u32 count, const std::string& name) {
  for (u32 i = 0; i < count; ++i)
    if (name == names[i]) return i;
  throw Error(EINVAL, "unknown word " + name);
}

void set_listen(Geometry& geometry, const std::string& value) {
  const std::size_t colon = value.rfind(':');
  in_addr ip;
  if (colon == std::string::npos || inet_pton(AF_INET, value.substr(0, colon).c_str(), &ip) != 1)
    throw Error(EINVAL, "--listen takes IP:PORT");
  geometry.listen_ip = ip.s_addr;
  geometry.listen_port = htons(static_cast<u16>(std::stoul(value.substr(colon + 1))));
}

Options parse(int argc, char** argv) {
  static const option known[] = {
      {"supervisor", 1, nullptr, 's'}, {"interface", 1, nullptr, 'i'},
      {"netns", 1, nullptr, 'n'},      {"modes", 1, nullptr, 'm'},
      {"queues", 1, nullptr, 'q'},     {"wakes", 1, nullptr, 'w'},
      {"wake", 1, nullptr, 'W'},       {"cpu", 1, nullptr, 'c'},
      {"layout", 1, nullptr, 'l'},     {"workers", 1, nullptr, 'x'},
      {"listen", 1, nullptr, 'L'},     {"mtu", 1, nullptr, 'M'},
      {"order", 1, nullptr, 'o'},      {"busy-poll", 0, nullptr, 'b'},
      {"yield", 0, nullptr, 'y'},      {"checksum-full", 0, nullptr, 'f'},
      {"join", 1, nullptr, 'j'},       {"joined-generic", 0, nullptr, 'g'},
      {"adopt", 1, nullptr, 'a'},      {nullptr, 0, nullptr, 0}};
  Options o;
  Geometry& g = o.geometry;
  for (int c; (c = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    switch (c) {
    case 's': o.supervisor = std::stoi(optarg); break;
    case 'i': o.interface = optarg; break;
    case 'n': o.netns = optarg; break;
    case 'm':
      for (const std::string& name : split(optarg))
        o.modes.push_back(mode(position(mode_names, MODE_COUNT, name)));
      break;
    case 'q': o.queues = numbers<u32>(optarg); break;
    case 'w': o.wakes = numbers<int>(optarg); break;
    case 'W': o.wake = std::stoi(optarg); break;
    case 'c': o.cpu = std::stoi(optarg); break;
    case 'l': g.kind = layout(position(layout_names, LAYOUT_COUNT, optarg)); break;
    case 'x': g.workers = static_cast<u32>(std::stoul(optarg)); break;
    case 'L': set_listen(g, optarg); break;
    case 'M': g.mtu = static_cast<u16>(std::stoul(optarg)); break;
    case 'o': g.fan_order = order(position(order_names, ORDER_COUNT, optarg)); break;
    case 'b': g.busy_poll = true; break;
    case 'y': g.yield = true; break;
    case 'f': g.checksum_full = true; break;
    case 'j': o.join = numbers<int>(optarg); break;
    case 'g': o.joined = Attach::generic; break;
    case 'a': o.adopt = numbers<int>(optarg); break;
    default: throw Error(EINVAL, "fantail-rx is started by fantail up");
    }
  }
  if (o.supervisor < 0 || (o.adopt.empty() && (o.modes.empty() || o.queues.empty())))
    throw Error(EINVAL, "fantail-rx is started by fantail up");
  return o;
}

std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    char escaped[8];
    if (static_cast<unsigned char>(c) < 0x20)
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
    else if (c == '"' || c == '\\') std::snprintf(escaped, sizeof escaped, "\\%c", c);
    else std::snprintf(escaped, sizeof escaped, "%c", c);
    json += escaped;
  }
  return json + "\"";
}

/// igb and others reset the link when XDP is attached: wait for the carrier, if it was there
/// before.
bool has_carrier(const std::string& interface) {
  const Fd fd(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "opening a socket"));
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  return ioctl(fd.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0;
}

void wait_for_carrier(const std::string& interface) {
  constexpr timespec pause{0, 10'000'000};
  for (int i = 0; i < 500 && !has_carrier(interface); ++i) nanosleep(&pause, nullptr);
}

/// A program whose last holder has just died is detached some 12 ms later, so EBUSY is believed
/// only after a second.
void attach(Xdp& program, int interface_index, Attach how) {
  constexpr timespec pause{0, 10'000'000};
  for (int tries = 100;; --tries) {
    try {
      return program.attach(interface_index, how);
    } catch (const Error& error) {
      if (error.number != EBUSY || tries == 0) throw;
    }
    nanosleep(&pause, nullptr);
  }
}

void open_program(const Options& o, Plane& plane, int interface_index, Attach how) {
  if (!o.join.empty()) {
    if (how != o.joined) throw Error(EBUSY, "another launcher attached XDP in the other way");
    if (plane.xdp) return;
    std::vector<Fd> fds;
    for (const int fd : o.join)
      fds.emplace_back(check(fcntl(fd, F_DUPFD_CLOEXEC, 3), "taking over the XDP program"));
    plane.xdp =
        Xdp::adopt(std::move(fds[0]), std::move(fds[1]), std::move(fds[2]), std::move(fds[3]));
  } else if (!plane.xdp || plane.attach != how) {
    plane.xdp.reset();
    const bool carrier = has_carrier(o.interface);
    Xdp loaded = Xdp::load();
    attach(loaded, interface_index, how);
    plane.xdp = std::move(loaded);
    if (carrier) wait_for_carrier(o.interface);
  }
  plane.attach = how;
}

/// Gives every RX frame of a queue to the kernel: its first place.
void fill(const KernelRing& ring, u32 queue) {
  for (u32 i = 0; i < FANTAIL_RX_FRAMES; ++i)
    ring.address(i) = (u64{queue} * FANTAIL_RX_FRAMES + i) * FANTAIL_FRAME_SIZE;
  publish(*ring.producer, FANTAIL_RX_FRAMES);
}

void open_xdp_sockets(const Options& o, Plane& plane, int interface_index, bool zero_copy) {
  Arena& arena = *plane.arena;
  std::vector<MappedRing> completions; // mapped before bind, as older kernels want it
  for (u32 q = 0; q < o.queues.size(); ++q) {
    Fd rx =
        q == 0 ? open_rx_socket(arena.umem(), arena.header().umem_size) : open_shared_rx_socket();
    const MappedRing filled = map_ring(rx.get(), XDP_UMEM_PGOFF_FILL_RING, FANTAIL_RX_FRAMES);
    completions.push_back(map_ring(rx.get(), XDP_UMEM_PGOFF_COMPLETION_RING, FANTAIL_TX_FRAMES));
    fill(filled.ring(), q);
    if (q == 0) bind_rx_socket(rx.get(), interface_index, o.queues[q], zero_copy);
    else bind_shared_rx_socket(rx.get(), plane.rx[0].get(), interface_index, o.queues[q]);
    if (zero_copy && !is_zero_copy(rx.get()))
      throw Error(EOPNOTSUPP, "the driver granted no zero copy");
    if (o.geometry.busy_poll) prefer_busy_poll(rx.get());
    plane.rx.push_back(std::move(rx));
  }
  for (u32 w = 0; w < o.geometry.workers; ++w) {
    // No preferred busy poll here: its sendto would poll for reception instead of waking the driver
    // to send, which drivers that send in a NAPI of its own (virtio_net) then never do.
    // (net/xdp/xsk.c, xsk_no_wakeup)
    plane.tx.push_back(open_tx_socket(plane.rx[w].get(), interface_index, o.queues[w]));
  }
  for (u32 q = 0; q < o.queues.size(); ++q) {
    set_xsk(plane.xdp->xsks_fd(), o.queues[q], plane.rx[q].get());
    set_feed(plane.xdp->feeds_fd(), o.queues[q], o.geometry.listen_ip, o.geometry.listen_port);
  }
}

/// Socket mode: one UDP socket per queue, spread over by flow where there are several.
void open_udp_sockets(const Options& o, Plane& plane) {
  for (u32 q = 0; q < o.queues.size(); ++q) {
    Fd fd(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                "opening a UDP socket"));
    const int on = 1, buffer = 8 << 20;
    if (o.queues.size() > 1)
      check(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), "SO_REUSEPORT");
    if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) < 0)
      // as much as net.core.rmem_max lets us have
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0)
      setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (o.interface != "-" && o.interface != "lo")
      check(setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, o.interface.c_str(),
                       static_cast<socklen_t>(o.interface.size())),
            "binding to the interface");
    const int find = IP_PMTUDISC_DO; // DF, as in the other modes
    check(setsockopt(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, &find, sizeof find), "IP_MTU_DISCOVER");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = o.geometry.listen_ip;
    address.sin_port = o.geometry.listen_port;
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
      throw error_of(errno, "listening on " + std::string(inet_ntoa(address.sin_addr)) + ":" +
                                std::to_string(ntohs(address.sin_port)));
    fill(SoftLink(*plane.arena, q, fd.get()).fill_ring(), q);
    plane.rx.push_back(std::move(fd));
  }
  for (u32 w = 0; w < o.geometry.workers; ++w)
    plane.tx.emplace_back(
        check(fcntl(plane.rx[w].get(), F_DUPFD_CLOEXEC, 3), "duplicating a UDP socket"));
}

void open_in_mode(Options& o, Plane& plane, mode wanted) {
  o.geometry.granted = wanted;
  o.geometry.queue_ids = o.queues;
  plane.tx.clear();
  plane.rx.clear();
  plane.arena.reset();
  if (wanted == MODE_SOCKET) {
    plane.xdp.reset();
    plane.arena.emplace(Arena::create(o.geometry));
    return open_udp_sockets(o, plane);
  }
  const int interface_index = static_cast<int>(if_nametoindex(o.interface.c_str()));
  if (interface_index == 0) throw Error(ENODEV, "there is no interface " + o.interface);
  open_program(o, plane, interface_index, wanted == MODE_SKB ? Attach::generic : Attach::native);
  plane.arena.emplace(Arena::create(o.geometry));
  open_xdp_sockets(o, plane, interface_index, wanted == MODE_ZEROCOPY);
}

/// None of several modes was possible; the supervisor may know another way.
struct NoMode : Error {
  explicit NoMode(std::vector<Fallback> tried)
      : Error(0, "no mode is possible"), tried(std::move(tried)) {}
  std::vector<Fallback> tried;
};

/// Tries the modes in the order asked for. Where one was named, its failure is final.
std::vector<Fallback> open_plane(Options& o, Plane& plane) {
  std::vector<Fallback> fallbacks;
  for (const mode wanted : o.modes) {
    try {
      open_in_mode(o, plane, wanted);
      return fallbacks;
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

std::string json_of(const std::vector<Fallback>& fallbacks) {
  std::string text;
  for (const Fallback& each : fallbacks)
    text += std::string(text.empty() ? "" : ",") + R"({"mode":")" + mode_names[each.from] +
            R"(","reason":)" + quoted(each.reason) + "}";
  return "[" + text + "]";
}

void tell_opened(const Options& o, const Plane& plane, const std::vector<Fallback>& fallbacks) {
  std::string text = std::string(R"({"event":"opened","mode":")") + mode_names[o.geometry.granted] +
                     R"(","attach":")" + (plane.attach == Attach::native ? "native" : "generic") +
                     R"(","fallbacks":)" + json_of(fallbacks) + "}";
  std::vector<int> fds{plane.arena->fd()};
  for (const Fd& fd : plane.rx) fds.push_back(fd.get());
  for (const Fd& fd : plane.tx) fds.push_back(fd.get());
  if (plane.xdp)
    fds.insert(fds.end(), {plane.xdp->link_fd(), plane.xdp->xsks_fd(), plane.xdp->feeds_fd(),
                           plane.xdp->verdicts_fd()});
  send_message(o.supervisor, text, fds);
}

void adopt(const Options& o, Plane& plane) {
  plane.arena.emplace(Arena::attach(o.adopt.at(0)));
  for (std::size_t i = 1; i < o.adopt.size(); ++i) plane.rx.emplace_back(o.adopt[i]);
}

/// Inline: holds every descriptor and the registered memory until told to halt. The supervisor may
/// die meanwhile.
void keep(const Arena& arena, int wake) {
  while (acquire(arena.control().state) != RUN_STATE_HALT) {
    pollfd waited{wake, POLLIN, 0};
    poll(&waited, 1, 1000);
    u64 count;
    if (waited.revents != 0) [[maybe_unused]]
      const ssize_t drained = read(wake, &count, sizeof count);
  }
}

/// The last word to the supervisor, or to stderr if there is none.
int fail(const Options& o, const char* message, const std::string& more) {
  try {
    send_message(o.supervisor, R"({"event":"failed","message":)" + quoted(message) + more + "}",
                 {});
  } catch (const std::exception&) {
    std::fprintf(stderr, "fantail-rx: %s\n", message);
  }
  return 1;
}

int run(int argc, char** argv) {
  Options o;
  try {
    o = parse(argc, argv);
    prctl(PR_SET_NAME, "fantail-rx");
    signal(SIGPIPE, SIG_IGN);
    if (o.netns) enter_namespace(*o.netns);
    Plane plane;
    if (o.adopt.empty()) {
      const std::vector<Fallback> fallbacks = open_plane(o, plane);
      tell_opened(o, plane, fallbacks);
    } else {
      adopt(o, plane);
    }
    drop_capabilities();
    pin_to_cpu(o.cpu);
    if (plane.arena->header().layout == LAYOUT_SPLIT) {
      Inherited fds;
      for (const Fd& fd : plane.rx) fds.rx.push_back(fd.get());
      fds.wake = o.wake;
      fds.worker_wakes = o.wakes;
      ReceiverLoop loop(*plane.arena, fds);
      send_message(o.supervisor, R"({"event":"running"})", {});
      loop.run();
    } else {
      send_message(o.supervisor, R"({"event":"running"})", {});
      keep(*plane.arena, o.wake);
    }
    return 0;
  } catch (const NoMode& error) {
    return fail(o, error.what(), R"(,"tried":)" + json_of(error.tried));
  } catch (const std::exception& error) {
    return fail(o, error.what(), "");
  }
}

} // namespace
} // namespace fantail

int main(int argc, char** argv) { return fantail::run(argc, argv); }
