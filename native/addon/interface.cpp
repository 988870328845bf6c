// SPDX-License-Identifier: MIT-0
//
// What an interface is, and which XDP program is on it.
#include "netlink/interface.hpp"
#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/namespace.hpp"

namespace fantail {
namespace {

const char* mode_text(XdpMode mode) {
  switch (mode) {
  case XdpMode::native: return "native";
  case XdpMode::generic: return "generic";
  case XdpMode::offload: return "offload";
  }
  return "";
}

Napi::Array addresses_array(Napi::Env env, const std::vector<Address>& addresses) {
  auto array = Napi::Array::New(env);
  for (const Address& address : addresses) {
    array.Set(array.Length(), address_object(env, address));
  }
  return array;
}

Napi::Value describe_interface_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string name = arguments.text(1, "name");
  const auto found = from_namespace<Interface>(netns, [&] { return describe_interface(name); });
  const Napi::Env env = arguments.env();
  auto object = Napi::Object::New(env);
  object.Set("index", found.link.index);
  object.Set("name", found.link.name.data());
  object.Set("mtu", found.link.mtu);
  object.Set("mac", mac_text(found.link.mac));
  object.Set("up", Napi::Boolean::New(env, found.link.up));
  object.Set("addresses", addresses_array(env, found.addresses));
  object.Set("others", addresses_array(env, found.others));
  object.Set("rx_queues", found.rx_queues);
  object.Set("tx_queues", found.tx_queues);
  object.Set("driver", found.driver);
  object.Set("driver_version", found.driver_version);
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

} // namespace

void export_interface(Napi::Object exports) {
  export_function<describe_interface_js>(exports, "describeInterface");
  export_function<xdp_program_on_js>(exports, "xdpProgramOn");
}

} // namespace fantail
