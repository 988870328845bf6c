// SPDX-License-Identifier: MIT-0
#include "rx/protocol.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "host/descriptor_passing.hpp"

namespace fantail {
namespace {

using Json = nlohmann::json;

/// The member of an enum of layout.h by its name.
template<class Enum> Enum member(const char* const* names, u32 count, const Json& word) {
  for (u32 i = 0; i < count; ++i)
    if (word == names[i]) return Enum(i);
  throw Error(EINVAL, "unknown word " + word.dump());
}

/// Null where the task has null.
const Json* some(const Json& object, const char* name) {
  const Json& value = object.at(name);
  return value.is_null() ? nullptr : &value;
}

Geometry geometry_of(const Json& opening) {
  Geometry g;
  const Json& listen = opening.at("listen");
  in_addr ip;
  if (inet_pton(AF_INET, listen.at("ip").get_ref<const std::string&>().c_str(), &ip) != 1)
    throw Error(EINVAL, "the address to listen on");
  g.layout = member<layout>(layout_names, LAYOUT_COUNT, opening.at("layout"));
  g.workers = opening.at("workers");
  g.listen_ip = ip.s_addr;
  g.listen_port = htons(listen.at("port").get<u16>());
  g.mtu = opening.at("mtu");
  g.order = member<order>(order_names, ORDER_COUNT, opening.at("order"));
  g.busy_poll = opening.at("busyPoll");
  g.yield = opening.at("yields");
  g.checksum_full = opening.at("checksumFull");
  return g;
}

std::array<int, XDP_FDS> xdp_fds(const std::vector<int>& list) {
  std::array<int, XDP_FDS> fds;
  if (list.size() != fds.size()) throw Error(EINVAL, "the descriptors of the XDP program");
  std::ranges::copy(list, fds.begin());
  return fds;
}

/// `list`: the descriptors at some places.
template<class List> Opening opening_of(const Json& json, int slow_path, const List& list) {
  Opening opening{.interface = json.at("interface"),
                  .netns = {},
                  .modes = {},
                  .queues = json.at("queues"),
                  .geometry = geometry_of(json),
                  .paths = {json.at("paths").at("ring"), json.at("paths").at("bulk")},
                  .bulk_cpus = {},
                  .join = {},
                  .slow_path = slow_path,
                  .promiscuous = json.at("promiscuous")};
  if (const Json* netns = some(json, "netns")) opening.netns = netns->get<std::string>();
  for (const Json& cpu : json.at("bulkCpus"))
    opening.bulk_cpus.push_back(cpu.is_null() ? -1 : cpu.get<int>());
  for (const Json& name : json.at("modes"))
    opening.modes.push_back(member<mode>(mode_names, MODE_COUNT, name));
  if (const Json* join = some(json, "join"))
    opening.join = SharedProgram{join->at("attach") == "generic" ? Attach::generic : Attach::native,
                                 xdp_fds(list(join->at("fds"))), list(join->at("bulk"))};
  return opening;
}

Json json_of(const std::vector<Fallback>& fallbacks) {
  Json list = Json::array();
  for (const Fallback& each : fallbacks)
    list.push_back({{"mode", mode_names[each.from]}, {"reason", each.reason}});
  return list;
}

void tell(int supervisor, const Json& message, const std::vector<int>& fds = {}) {
  // the kernel's words may be in any encoding
  send_message(supervisor, message.dump(-1, ' ', false, Json::error_handler_t::replace), fds);
}

} // namespace

Start parse_start(Received task) {
  const Json json = Json::parse(task.text);
  // the descriptors that came with it, by their places, each taken once
  const auto fd = [&task](const Json& place) { return task.fds.at(place.get<u32>()).release(); };
  const auto list = [&fd](const Json& places) {
    std::vector<int> fds;
    for (const Json& place : places) fds.push_back(fd(place));
    return fds;
  };
  const Json* cpu = some(json, "cpu");
  const Json* adopt = some(json, "adopt");
  const Json* slow_path = some(json, "slowPath");
  Start start{.wake = fd(json.at("wake")),
              .worker_wakes = list(json.at("workerWakes")),
              .listener = fd(json.at("listener")),
              .slow_path = slow_path == nullptr ? -1 : fd(*slow_path),
              .feed_channel = fd(json.at("feedChannel")),
              .cpu = cpu == nullptr ? -1 : cpu->get<int>(),
              .data_plane = {}};
  if (adopt != nullptr)
    start.data_plane =
        Adoption{fd(adopt->at("arena")), list(adopt->at("rx")), list(adopt->at("intakes"))};
  else start.data_plane = opening_of(json.at("open"), start.slow_path, list);
  return start;
}

void tell_opened(int supervisor, const DataPlane& plane) {
  std::vector<int> fds{plane.arena.fd()};
  for (const Fd& fd : plane.rx) fds.push_back(fd.get());
  for (const Fd& fd : plane.tx) fds.push_back(fd.get());
  for (const Fd& fd : plane.pages) fds.push_back(fd.get());
  for (const Fd& fd : plane.intakes) fds.push_back(fd.get());
  if (plane.program) {
    const Xdp& xdp = plane.program->xdp;
    const auto shared = xdp.fds();
    fds.insert(fds.end(), shared.begin(), shared.end());
    if (const std::optional<Bulk>& bulk = xdp.bulk()) {
      fds.insert(fds.end(), {bulk->program.get(), bulk->bulks.get()});
      for (const Fd& held : bulk->held) fds.push_back(held.get());
      if (bulk->pools.get() >= 0) fds.push_back(bulk->pools.get());
    }
  }
  const bool is_generic = plane.program && plane.program->attach == Attach::generic;
  tell(supervisor,
       {{"event", "opened"},
        {"mode", mode_names[plane.arena.header().mode]},
        {"attach", is_generic ? "generic" : "native"},
        {"fallbacks", json_of(plane.fallbacks)},
        {"ringBecause", plane.program ? plane.program->ring_because : ""},
        {"tx", plane.tx.size()},
        {"pages", plane.pages.size()},
        {"intakes", plane.intakes.size()}},
       fds);
}

void tell_running(int supervisor) { tell(supervisor, {{"event", "running"}}); }

void tell_failed(int supervisor, const char* message, const std::vector<Fallback>* tried) {
  Json json{{"event", "failed"}, {"message", message}};
  if (tried != nullptr) json["tried"] = json_of(*tried);
  tell(supervisor, json);
}

Part parse_part(const std::string& text) {
  const Json part = Json::parse(text).at("keep");
  return {part.at("index"), part.at("count")};
}

bool is_part(const std::string& text) { return Json::parse(text).contains("keep"); }

void tell_served(int peer, pid_t supervisor) {
  tell(peer, {{"event", "served"}, {"pid", supervisor == 0 ? getppid() : supervisor}});
}

void tell_kept(int peer, u32 parts) {
  tell(peer, {{"event", "kept"}, {"pid", getpid()}, {"parts", parts}});
}

} // namespace fantail
