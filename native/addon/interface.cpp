// SPDX-License-Identifier: MIT-0
//
// What an interface is, which XDP program is on it, and what its driver counts.
#include "netlink/interface.hpp"
#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/namespace.hpp"
#include "xdp/program.hpp"

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
  object.Set("combined", Napi::Boolean::New(env, found.combined));
  object.Set("queues_max", found.queues_max);
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
  const ProgramHolder holder = holder_of(found->id);
  const Napi::Env env = arguments.env();
  object.Set("name", holder.name);
  object.Set("by_link", holder.by_link ? Napi::Boolean::New(env, *holder.by_link) : env.Null());
  return object;
}

Napi::Value driver_figures_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string name = arguments.text(1, "name");
  using Figures = std::vector<DriverFigure>;
  const auto figures = from_namespace<Figures>(netns, [&] { return driver_figures(name); });
  auto array = Napi::Array::New(arguments.env());
  for (const DriverFigure& figure : figures) {
    auto pair = Napi::Array::New(arguments.env(), 2);
    pair.Set(0u, figure.name);
    pair.Set(1u, count_value(arguments.env(), figure.value));
    array.Set(array.Length(), pair);
  }
  return array;
}

} // namespace

void export_interface(Napi::Object exports) {
  export_function<describe_interface_js>(exports, "describeInterface");
  export_function<xdp_program_on_js>(exports, "xdpProgramOn");
  export_function<driver_figures_js>(exports, "driverFigures");
}

} // namespace fantail
