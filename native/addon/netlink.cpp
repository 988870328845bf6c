// SPDX-License-Identifier: MIT-0
//
// Routes, neighbours, and news of both.
#include <variant>
#include <vector>

#include <linux/neighbour.h>

#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/namespace.hpp"
#include "netlink/netlink.hpp"

namespace fantail {
namespace {

Napi::Value mac_value(Napi::Env env, const std::optional<Mac>& mac) {
  if (!mac) return env.Null();
  auto bytes = Napi::Uint8Array::New(env, mac->size());
  std::copy(mac->begin(), mac->end(), bytes.Data());
  return bytes;
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

Napi::Object neighbour_object(Napi::Env env, const Neighbour& neighbour) {
  auto object = Napi::Object::New(env);
  object.Set("ip", ip_value(env, neighbour.ip));
  object.Set("mac", mac_value(env, neighbour.mac));
  object.Set("state", state_text(neighbour.state));
  return object;
}

/// One event as src/memory/addon.ts declares them.
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
    object.Set("name", event.link.name.data());
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
  for (u32 i = 0; i < events.size(); ++i) {
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
  for (u32 i = 0; i < neighbours.size(); ++i) {
    array.Set(i, neighbour_object(arguments.env(), neighbours[i]));
  }
  return array;
}

Napi::Value probe_neighbour_js(const Arguments& arguments) {
  probe_neighbour(arguments.fd(0), index_of(arguments), arguments.ip(2));
  return arguments.env().Undefined();
}

} // namespace

void export_netlink(Napi::Object exports) {
  export_function<open_netlink_js>(exports, "openNetlink");
  export_function<open_netlink_events_js>(exports, "openNetlinkEvents");
  export_function<read_netlink_events_js>(exports, "readNetlinkEvents");
  export_function<look_up_route_js>(exports, "lookUpRoute");
  export_function<list_neighbours_js>(exports, "listNeighbours");
  export_function<probe_neighbour_js>(exports, "probeNeighbour");
}

} // namespace fantail
