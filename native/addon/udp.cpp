// SPDX-License-Identifier: MIT-0
//
// UDP, raw and packet sockets.
#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/namespace.hpp"
#include "host/sockets.hpp"

namespace fantail {
namespace {

Napi::Value open_udp_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const Napi::Object at = arguments.object(1, "at");
  const u32 ip = arguments.ip_in(at.Get("ip"), "ip");
  const u16 port = arguments.port_in(at.Get("port"));
  return fd_value(arguments.env(), from_namespace<Fd>(netns, [&] { return open_udp(ip, port); }));
}

Napi::Value open_listener_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const Napi::Object given = arguments.object(1, "options");
  const std::string device = arguments.text_in(given.Get("device"), "device");
  const bool joins = arguments.flag_in(given.Get("joins"), "joins");
  const Napi::Value source = given.Get("source");
  const ListenOptions options{.ip = arguments.ip_in(given.Get("ip"), "ip"),
                              .port = arguments.port_in(given.Get("port")),
                              .device = device == "lo" ? "" : device,
                              .share = true,
                              .join_on = joins ? std::optional(device) : std::nullopt,
                              .source = source.IsNull() ? 0 : arguments.ip_in(source, "source"),
                              .of_others = arguments.flag_in(given.Get("ofOthers"), "ofOthers"),
                              .groups_by = device};
  return fd_value(arguments.env(),
                  from_namespace<Fd>(netns, [&] { return open_listener(options); }));
}

Napi::Value is_member_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string device = arguments.text(1, "device");
  const u32 group = arguments.ip(2);
  return Napi::Boolean::New(arguments.env(),
                            from_namespace<bool>(netns, [&] { return is_member(device, group); }));
}

Napi::Value lost_datagrams_js(const Arguments& arguments) {
  return Napi::Number::New(arguments.env(), lost_datagrams(arguments.fd(0)));
}

Napi::Value connect_udp_js(const Arguments& arguments) {
  connect_udp(arguments.fd(0), arguments.ip(1), arguments.port(2));
  return arguments.env().Undefined();
}

Napi::Value open_raw_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const Napi::Object given = arguments.object(1, "options");
  const u32 source = arguments.ip_in(given.Get("source"), "source");
  const std::string device = arguments.text_in(given.Get("device"), "device");
  return fd_value(arguments.env(),
                  from_namespace<Fd>(netns, [&] { return open_raw(source, device); }));
}

Napi::Value open_promiscuous_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string device = arguments.text(1, "device");
  return fd_value(arguments.env(),
                  from_namespace<Fd>(netns, [&] { return open_promiscuous(device); }));
}

Napi::Value connect_raw_js(const Arguments& arguments) {
  connect_raw(arguments.fd(0), arguments.ip(1));
  return arguments.env().Undefined();
}

Napi::Value queued_bytes_js(const Arguments& arguments) {
  return Napi::Number::New(arguments.env(), queued_bytes(arguments.fd(0)));
}

Napi::Value receive_udp_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  Napi::Uint8Array into = arguments.bytes(1, "into");
  const auto wait = static_cast<u32>(arguments.integer(2, "wait_us", 0, 1e9));
  return Napi::Number::New(arguments.env(),
                           receive_udp(fd, {into.Data(), into.ByteLength()}, wait));
}

Napi::Value stamp_arrivals_js(const Arguments& arguments) {
  stamp_arrivals(arguments.fd(0));
  return arguments.env().Undefined();
}

Napi::Value receive_stamped_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  Napi::Uint8Array into = arguments.bytes(1, "into");
  const std::optional<Arrival> arrival = receive_stamped(fd, {into.Data(), into.ByteLength()});
  if (!arrival) return arguments.env().Null();
  auto object = Napi::Object::New(arguments.env());
  object.Set("size", arrival->size);
  object.Set("at_ns", count_value(arguments.env(), arrival->at_ns));
  return object;
}

Napi::Value set_receive_buffer_js(const Arguments& arguments) {
  const auto bytes = static_cast<int>(arguments.integer(1, "bytes", 1, 1 << 30));
  return Napi::Number::New(arguments.env(), set_receive_buffer(arguments.fd(0), bytes));
}

Napi::Value allow_fragments_js(const Arguments& arguments) {
  allow_fragments(arguments.fd(0));
  return arguments.env().Undefined();
}

} // namespace

void export_udp(Napi::Object exports) {
  export_function<open_udp_js>(exports, "openUdp");
  export_function<open_listener_js>(exports, "openListener");
  export_function<is_member_js>(exports, "isMember");
  export_function<lost_datagrams_js>(exports, "lostDatagrams");
  export_function<connect_udp_js>(exports, "connectUdp");
  export_function<open_raw_js>(exports, "openRaw");
  export_function<open_promiscuous_js>(exports, "openPromiscuous");
  export_function<connect_raw_js>(exports, "connectRaw");
  export_function<queued_bytes_js>(exports, "queuedBytes");
  export_function<receive_udp_js>(exports, "receiveUdp");
  export_function<stamp_arrivals_js>(exports, "stampArrivals");
  export_function<receive_stamped_js>(exports, "receiveStamped");
  export_function<set_receive_buffer_js>(exports, "setReceiveBuffer");
  export_function<allow_fragments_js>(exports, "allowFragments");
}

} // namespace fantail
