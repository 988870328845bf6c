// SPDX-License-Identifier: MIT-0
//
// The XDP program's maps, and what the kernel counts of an AF_XDP socket.
#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/namespace.hpp"
#include "host/sockets.hpp"
#include "xdp/program.hpp"

namespace fantail {
namespace {

u32 queue_of(const Arguments& arguments) {
  return static_cast<u32>(arguments.integer(1, "queue", 0, FANTAIL_QUEUES_MAX - 1));
}

u32 feed_index_in(const Arguments& arguments, Napi::Value value) {
  return static_cast<u32>(arguments.integer_in(value, "index", 0, FANTAIL_FEEDS_MAX - 1));
}

/// feedReaderSet(path, queue, index, socket, isGroup): the socket of the slow path of that feed of
/// the launcher whose first queue that is. `path`: SlowPathFds, xdp/program.hpp.
Napi::Value feed_reader_set_js(const Arguments& arguments) {
  const Napi::Object given = arguments.object(0, "path");
  const auto fd = [&](const char* name) { return arguments.fd_in(given.Get(name), name); };
  const SlowPathFds path{fd("readers"), fd("cookies"), fd("selector"), fd("member"),
                         fd("declined")};
  const u32 index = feed_index_in(arguments, arguments.at(2));
  const bool is_group = arguments.flag_in(arguments.at(4), "isGroup");
  set_reader(path, reader_of(queue_of(arguments), index), arguments.fd(3, "socket"), is_group);
  return arguments.env().Undefined();
}

/// declinedBy(declined, socket): datagrams of a group that it has left to other launchers'.
Napi::Value declined_by_js(const Arguments& arguments) {
  const u64 count = declined_by(arguments.fd(0, "declined"), arguments.fd(1, "socket"));
  return Napi::Number::New(arguments.env(), static_cast<double>(count));
}

Napi::Value feed_set_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(2, "netns");
  const std::string name = arguments.text(3, "name");
  const Napi::Object given = arguments.object(4, "feed");
  const int feeds = arguments.fd(0, "feeds"), own = arguments.fd(1, "own");
  const u32 ip = arguments.ip_in(given.Get("ip"), "ip");
  const u16 port = arguments.port_in(given.Get("port"));
  const auto mtu = static_cast<u16>(arguments.integer_in(given.Get("mtu"), "mtu", 1, 0xffff));
  const bool generic = arguments.flag_in(given.Get("generic"), "generic");
  const std::vector<u32> queues = arguments.queues_in(given.Get("queues"));
  const Napi::Value source = given.Get("source");
  const FeedAddresses addresses{.ip = ip,
                                .source = source.IsNull() ? 0 : arguments.ip_in(source, "source"),
                                .promiscuous =
                                    arguments.flag_in(given.Get("promiscuous"), "promiscuous")};
  const u32 index = feed_index_in(arguments, given.Get("index"));
  const auto interface = from_namespace<Interface>(netns, [&] { return describe_interface(name); });
  if (queues.empty()) arguments.refuse("queues", "one queue at least");
  const Attach how = generic ? Attach::generic : Attach::native;
  const feed_rule rule = rule_of(interface, addresses, mtu, how, reader_of(queues[0], index));
  set_own(own, interface);
  for (const u32 queue : queues) set_feed(feeds, queue, ip, port, rule);
  return arguments.env().Undefined();
}

Napi::Value feed_delete_js(const Arguments& arguments) {
  delete_feed(arguments.fd(0, "feeds"), queue_of(arguments), arguments.ip(2), arguments.port(3));
  return arguments.env().Undefined();
}

Napi::Value read_verdicts_js(const Arguments& arguments) {
  const auto counts = read_verdicts(arguments.fd(0, "verdicts"), queue_of(arguments));
  auto array = Napi::Array::New(arguments.env(), counts.size());
  for (u32 i = 0; i < counts.size(); ++i) array.Set(i, count_value(arguments.env(), counts[i]));
  return array;
}

/// livePools(pages): page pools of calls of the worker with that map that live on; null: the
/// kernel does not tell.
Napi::Value live_pools_js(const Arguments& arguments) {
  const std::optional<u32> live = live_pools_of(arguments.fd(0, "pages"));
  if (!live) return arguments.env().Null();
  return Napi::Number::New(arguments.env(), *live);
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

} // namespace

void export_xdp(Napi::Object exports) {
  export_function<feed_set_js>(exports, "feedSet");
  export_function<declined_by_js>(exports, "declinedBy");
  export_function<feed_reader_set_js>(exports, "feedReaderSet");
  export_function<feed_delete_js>(exports, "feedDelete");
  export_function<live_pools_js>(exports, "livePools");
  export_function<read_verdicts_js>(exports, "readVerdicts");
  export_function<xsk_statistics_js>(exports, "xskStatistics");
}

} // namespace fantail
