// SPDX-License-Identifier: MIT-0
// The supervisor's face of the addon: each function here checks its arguments, calls plain C++, and
// turns the result into JavaScript. src/memory/addon.ts says what they do; it is their only caller.
// Read from the end, where they are listed. worker.cpp adds the data path's functions.
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <cap-ng.h>
#include <linux/neighbour.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "host/descriptor_passing.hpp"
#include "host/interface.hpp"
#include "host/namespace.hpp"
#include "host/netlink.hpp"
#include "host/sockets.hpp"
#include "xdp/program.hpp"

namespace fantail {
namespace {

// ---- values into JavaScript ----

Napi::Value fd_value(Napi::Env env, Fd fd) { return Napi::Number::New(env, fd.release()); }

Napi::Value count_value(Napi::Env env, u64 count) {
  return Napi::Number::New(env, static_cast<double>(count)); // exact up to 2^53
}

Napi::Value ip_value(Napi::Env env, u32 ip) {
  char text[INET_ADDRSTRLEN];
  ::inet_ntop(AF_INET, &ip, text, sizeof(text));
  return Napi::String::New(env, text);
}

std::string mac_text(const std::optional<Mac>& mac) {
  if (!mac) return "";
  char text[18];
  const Mac& byte = *mac;
  std::snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", byte[0], byte[1], byte[2],
                byte[3], byte[4], byte[5]);
  return text;
}

Napi::Value mac_value(Napi::Env env, const std::optional<Mac>& mac) {
  if (!mac) return env.Null();
  auto bytes = Napi::Uint8Array::New(env, mac->size());
  std::copy(mac->begin(), mac->end(), bytes.Data());
  return bytes;
}

const char* mode_text(XdpMode mode) {
  switch (mode) {
  case XdpMode::native: return "native";
  case XdpMode::generic: return "generic";
  case XdpMode::offload: return "offload";
  }
  return "";
}

const char* state_text(u16 state) {
  switch (state) {
  case NUD_INCOMPLETE: return "incomplete";
  case NUD_REACHABLE: return "reachable";
  case NUD_STALE: return "stale";
  case NUD_DELAY: return "delay";
  case NUD_PROBE: return "probe";
  case NUD_FAILED: return "failed";
  case NUD_NOARP: return "noarp";
  case NUD_PERMANENT: return "permanent";
  default: return "none";
  }
}

Napi::Object address_object(Napi::Env env, const Address& address) {
  auto object = Napi::Object::New(env);
  object.Set("ip", ip_value(env, address.ip));
  object.Set("prefix", address.prefix);
  return object;
}

Napi::Object neighbour_object(Napi::Env env, const Neighbour& neighbour) {
  auto object = Napi::Object::New(env);
  object.Set("ip", ip_value(env, neighbour.ip));
  object.Set("mac", mac_value(env, neighbour.mac));
  object.Set("state", state_text(neighbour.state));
  return object;
}

// One event as src/memory/addon.ts declares them.
struct EventObject {
  Napi::Env env;

  Napi::Object marked(Napi::Object object, const char* kind, int index, bool deleted) const {
    object.Set("kind", kind);
    object.Set("index", index);
    object.Set("deleted", Napi::Boolean::New(env, deleted));
    return object;
  }
  Napi::Object operator()(const NeighbourEvent& event) const {
    const Neighbour& neighbour = event.neighbour;
    return marked(neighbour_object(env, neighbour), "neighbour", neighbour.index, event.deleted);
  }
  Napi::Object operator()(const LinkEvent& event) const {
    auto object = Napi::Object::New(env);
    object.Set("up", Napi::Boolean::New(env, event.link.up));
    object.Set("mtu", event.link.mtu);
    object.Set("mac", mac_text(event.link.mac));
    return marked(object, "link", event.link.index, event.deleted);
  }
  Napi::Object operator()(const AddressEvent& event) const {
    return marked(address_object(env, event.address), "address", event.address.index,
                  event.deleted);
  }
  Napi::Object operator()(const RouteEvent&) const { return named("route"); }
  Napi::Object operator()(const OverrunEvent&) const { return named("overrun"); }
  Napi::Object named(const char* kind) const {
    auto object = Napi::Object::New(env);
    object.Set("kind", kind);
    return object;
  }
};

// ---- interfaces ----

Napi::Value describe_interface_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string name = arguments.text(1, "name");
  const auto found = from_namespace<Interface>(netns, [&] { return describe_interface(name); });
  const Napi::Env env = arguments.env();
  auto addresses = Napi::Array::New(env);
  for (const Address& address : found.addresses) {
    addresses.Set(addresses.Length(), address_object(env, address));
  }
  auto object = Napi::Object::New(env);
  object.Set("index", found.link.index);
  object.Set("mtu", found.link.mtu);
  object.Set("mac", mac_text(found.link.mac));
  object.Set("up", Napi::Boolean::New(env, found.link.up));
  object.Set("addresses", addresses);
  object.Set("rx_queues", found.rx_queues);
  object.Set("tx_queues", found.tx_queues);
  object.Set("driver", found.driver);
  object.Set("loopback", Napi::Boolean::New(env, found.link.loopback));
  return object;
}

Napi::Value xdp_program_on_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string name = arguments.text(1, "name");
  using Found = std::optional<XdpProgram>;
  const auto found = from_namespace<Found>(netns, [&] { return xdp_program_on(name); });
  if (!found) return arguments.env().Null();
  auto object = Napi::Object::New(arguments.env());
  object.Set("id", found->id);
  object.Set("mode", mode_text(found->mode));
  return object;
}

// ---- UDP ----

Napi::Value open_udp_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const Napi::Object given = arguments.object(1, "options");
  const Napi::Value device = given.Get("device");
  const UdpOptions options{
      .ip = arguments.ip_in(given.Get("ip"), "ip"),
      .port = arguments.port_in(given.Get("port")),
      .device = device.IsNull() ? "" : arguments.text_in(device, "device"),
      .drop = arguments.flag_in(given.Get("drop"), "drop"),
      .reuse = arguments.flag_in(given.Get("reuse"), "reuse"),
  };
  return fd_value(arguments.env(), from_namespace<Fd>(netns, [&] { return open_udp(options); }));
}

Napi::Value connect_udp_js(const Arguments& arguments) {
  connect_udp(arguments.fd(0), arguments.ip(1), arguments.port(2));
  return arguments.env().Undefined();
}

Napi::Value disconnect_udp_js(const Arguments& arguments) {
  disconnect_udp(arguments.fd(0));
  return arguments.env().Undefined();
}

Napi::Value udp_queued_js(const Arguments& arguments) {
  return Napi::Number::New(arguments.env(), udp_queued(arguments.fd(0)));
}

Napi::Value receive_udp_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  Napi::Uint8Array into = arguments.bytes(1, "into");
  const auto wait = static_cast<u32>(arguments.integer(2, "wait_us", 0, 1e9));
  return Napi::Number::New(arguments.env(),
                           receive_udp(fd, {into.Data(), into.ByteLength()}, wait));
}

Napi::Value set_receive_buffer_js(const Arguments& arguments) {
  const auto bytes = static_cast<int>(arguments.integer(1, "bytes", 1, 1 << 30));
  return Napi::Number::New(arguments.env(), set_receive_buffer(arguments.fd(0), bytes));
}

Napi::Value allow_fragments_js(const Arguments& arguments) {
  allow_fragments(arguments.fd(0));
  return arguments.env().Undefined();
}

// ---- Unix sockets ----

Napi::Value socket_pair_js(const Arguments& arguments) {
  auto [left, right] = socket_pair();
  auto array = Napi::Array::New(arguments.env(), 2);
  array.Set(0u, fd_value(arguments.env(), std::move(left)));
  array.Set(1u, fd_value(arguments.env(), std::move(right)));
  return array;
}

Napi::Value send_message_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  const std::string text = arguments.text(1, "text");
  if (text.empty() || text.size() > MESSAGE_SIZE_MAX) {
    arguments.refuse("text", "1 to " + std::to_string(MESSAGE_SIZE_MAX) + " bytes long");
  }
  const Napi::Array given = arguments.array(2, "fds", MESSAGE_FDS_MAX);
  std::vector<int> fds;
  for (u32 i = 0; i < given.Length(); i++) {
    fds.push_back(static_cast<int>(arguments.integer_in(given.Get(i), "fds", 0, INT32_MAX)));
  }
  send_message(fd, text, fds);
  return arguments.env().Undefined();
}

Napi::Value receive_message_js(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  Received received = receive_message(arguments.fd(0));
  if (received.what == Received::What::nothing) return env.Null();
  if (received.what == Received::What::closed) return Napi::String::New(env, "closed");
  auto fds = Napi::Array::New(env, received.fds.size());
  for (u32 i = 0; i < received.fds.size(); i++)
    fds.Set(i, fd_value(env, std::move(received.fds[i])));
  auto object = Napi::Object::New(env);
  object.Set("text", received.text);
  object.Set("fds", fds);
  return object;
}

Napi::Value open_abstract_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  return fd_value(arguments.env(), from_namespace<Fd>(netns, open_abstract));
}

Napi::Value bind_abstract_js(const Arguments& arguments) {
  const bool taken = bind_abstract(arguments.fd(0), arguments.text(1, "name"));
  return Napi::Boolean::New(arguments.env(), taken);
}

Napi::Value connect_abstract_js(const Arguments& arguments) {
  const bool connected = connect_abstract(arguments.fd(0), arguments.text(1, "name"));
  return Napi::Boolean::New(arguments.env(), connected);
}

Napi::Value peer_uid_js(const Arguments& arguments) {
  return Napi::Number::New(arguments.env(), peer_uid(arguments.fd(0)));
}

Napi::Value accept_peer_js(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  std::optional<Peer> peer = accept_peer(arguments.fd(0));
  if (!peer) return env.Null();
  auto object = Napi::Object::New(env);
  object.Set("fd", fd_value(env, std::move(peer->fd)));
  object.Set("uid", peer->uid);
  object.Set("pid", peer->pid);
  return object;
}

// ---- events ----

Napi::Value event_fd_js(const Arguments& arguments) {
  const int fd = check(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "make an eventfd");
  return fd_value(arguments.env(), Fd{fd});
}

Napi::Value signal_js(const Arguments& arguments) {
  const u64 one = 1;
  const ssize_t written = ::write(arguments.fd(0), &one, sizeof(one));
  // EAGAIN: it is full of signals already.
  if (written < 0 && errno != EAGAIN) throw error_of(errno, "signal an eventfd");
  return arguments.env().Undefined();
}

// ---- the process ----

Napi::Value capabilities_js(const Arguments& arguments) {
  if (capng_get_caps_process() != 0)
    throw Error(0, "the capabilities of this process cannot be read");
  auto names = Napi::Array::New(arguments.env());
  for (unsigned number = 0; number <= CAP_LAST_CAP; number++) {
    if (capng_have_capability(CAPNG_EFFECTIVE, number) == 0) continue;
    const char* name = capng_capability_to_name(number);
    if (name == nullptr) continue; // newer than the library
    std::string written = "CAP_";
    for (; *name != '\0'; name++) written += static_cast<char>(std::toupper(*name));
    names.Set(names.Length(), written);
  }
  return names;
}

Napi::Value no_new_privileges_js(const Arguments& arguments) {
  check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges");
  return arguments.env().Undefined();
}

Napi::Value map_arena_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  struct stat about{};
  check(::fstat(fd, &about), "read the size of the arena");
  const auto size = static_cast<std::size_t>(about.st_size);
  if (size == 0) throw Error(EINVAL, "the arena is empty: its creator has not finished");
  void* const start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) throw error_of(errno, "map the arena");
  // Views of it may outlive any owner that we could name, so it is mapped until the process ends.
  return Napi::ArrayBuffer::New(arguments.env(), start, size);
}

// ---- AF_XDP ----

u32 queue_of(const Arguments& arguments) {
  return static_cast<u32>(arguments.integer(1, "queue", 0, FANTAIL_QUEUES_MAX - 1));
}

Napi::Value feed_set_js(const Arguments& arguments) {
  set_feed(arguments.fd(0, "feeds"), queue_of(arguments), arguments.ip(2), arguments.port(3));
  return arguments.env().Undefined();
}

Napi::Value feed_delete_js(const Arguments& arguments) {
  delete_feed(arguments.fd(0, "feeds"), queue_of(arguments), arguments.ip(2), arguments.port(3));
  return arguments.env().Undefined();
}

Napi::Value read_verdicts_js(const Arguments& arguments) {
  const auto counts = read_verdicts(arguments.fd(0, "verdicts"), queue_of(arguments));
  auto array = Napi::Array::New(arguments.env(), counts.size());
  for (u32 i = 0; i < counts.size(); i++) array.Set(i, count_value(arguments.env(), counts[i]));
  return array;
}

Napi::Value xsk_statistics_js(const Arguments& arguments) {
  const XskStatistics now = xsk_statistics(arguments.fd(0));
  const Napi::Env env = arguments.env();
  auto object = Napi::Object::New(env);
  object.Set("rx_dropped", count_value(env, now.rx_dropped));
  object.Set("rx_invalid_descs", count_value(env, now.rx_invalid_descs));
  object.Set("tx_invalid_descs", count_value(env, now.tx_invalid_descs));
  object.Set("rx_ring_full", count_value(env, now.rx_ring_full));
  object.Set("rx_fill_ring_empty_descs", count_value(env, now.rx_fill_ring_empty_descs));
  object.Set("tx_ring_empty_descs", count_value(env, now.tx_ring_empty_descs));
  return object;
}

// ---- rtnetlink ----

Napi::Value open_netlink_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  return fd_value(arguments.env(), from_namespace<Fd>(netns, open_netlink));
}

Napi::Value open_netlink_events_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  return fd_value(arguments.env(), from_namespace<Fd>(netns, open_netlink_events));
}

Napi::Value read_netlink_events_js(const Arguments& arguments) {
  const std::vector<Event> events = read_events(arguments.fd(0));
  auto array = Napi::Array::New(arguments.env(), events.size());
  for (u32 i = 0; i < events.size(); i++) {
    array.Set(i, std::visit(EventObject{arguments.env()}, events[i]));
  }
  return array;
}

int index_of(const Arguments& arguments) {
  return static_cast<int>(arguments.integer(1, "index", 1, INT32_MAX));
}

Napi::Value look_up_route_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  const u32 source = arguments.text_or_null(3, "source") ? arguments.ip(3, "source") : 0;
  const auto hop = look_up_route(fd, index_of(arguments), arguments.ip(2), source);
  return hop ? ip_value(arguments.env(), *hop) : arguments.env().Null();
}

Napi::Value list_neighbours_js(const Arguments& arguments) {
  const auto neighbours = list_neighbours(arguments.fd(0), index_of(arguments));
  auto array = Napi::Array::New(arguments.env(), neighbours.size());
  for (u32 i = 0; i < neighbours.size(); i++) {
    array.Set(i, neighbour_object(arguments.env(), neighbours[i]));
  }
  return array;
}

Napi::Value probe_neighbour_js(const Arguments& arguments) {
  probe_neighbour(arguments.fd(0), index_of(arguments), arguments.ip(2));
  return arguments.env().Undefined();
}

// ---- the list ----

Napi::Object init(Napi::Env env, Napi::Object exports) {
  export_function<describe_interface_js>(exports, "describeInterface");
  export_function<xdp_program_on_js>(exports, "xdpProgramOn");
  export_function<open_udp_js>(exports, "openUdp");
  export_function<connect_udp_js>(exports, "connectUdp");
  export_function<disconnect_udp_js>(exports, "disconnectUdp");
  export_function<udp_queued_js>(exports, "udpQueued");
  export_function<receive_udp_js>(exports, "receiveUdp");
  export_function<set_receive_buffer_js>(exports, "setReceiveBuffer");
  export_function<allow_fragments_js>(exports, "allowFragments");
  export_function<socket_pair_js>(exports, "socketPair");
  export_function<send_message_js>(exports, "sendMessage");
  export_function<receive_message_js>(exports, "receiveMessage");
  export_function<open_abstract_js>(exports, "openAbstract");
  export_function<bind_abstract_js>(exports, "bindAbstract");
  export_function<connect_abstract_js>(exports, "connectAbstract");
  export_function<accept_peer_js>(exports, "acceptPeer");
  export_function<peer_uid_js>(exports, "peerUid");
  export_watch(exports);
  export_function<event_fd_js>(exports, "eventFd");
  export_function<signal_js>(exports, "signal");
  export_function<capabilities_js>(exports, "capabilities");
  export_function<no_new_privileges_js>(exports, "noNewPrivileges");
  export_function<map_arena_js>(exports, "mapArena");
  export_function<feed_set_js>(exports, "feedSet");
  export_function<feed_delete_js>(exports, "feedDelete");
  export_function<read_verdicts_js>(exports, "readVerdicts");
  export_function<xsk_statistics_js>(exports, "xskStatistics");
  export_function<open_netlink_js>(exports, "openNetlink");
  export_function<open_netlink_events_js>(exports, "openNetlinkEvents");
  export_function<read_netlink_events_js>(exports, "readNetlinkEvents");
  export_function<look_up_route_js>(exports, "lookUpRoute");
  export_function<list_neighbours_js>(exports, "listNeighbours");
  export_function<probe_neighbour_js>(exports, "probeNeighbour");
  return init_worker(env, exports);
}

} // namespace
} // namespace fantail

using fantail::init;
NODE_API_MODULE(fantail, init)
