// SPDX-License-Identifier: MIT-0
//
// What a card does beyond being an interface, and what else the network of a namespace holds.
#include "netlink/card.hpp"
#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/namespace.hpp"

namespace fantail {
namespace {

template<class Range, class Make>
Napi::Array array_of(Napi::Env env, const Range& range, Make make) {
  auto array = Napi::Array::New(env, range.size());
  u32 at = 0;
  for (const auto& each : range) array.Set(at++, make(each));
  return array;
}

Napi::Array texts(Napi::Env env, const std::vector<std::string>& all) {
  return array_of(env, all, [&](const std::string& text) { return Napi::String::New(env, text); });
}

Napi::Array numbers(Napi::Env env, const auto& all) {
  return array_of(env, all, [&](auto number) { return Napi::Number::New(env, number); });
}

Napi::Value spread_value(Napi::Env env, const std::optional<Spread>& spread) {
  if (!spread) return env.Null();
  auto object = Napi::Object::New(env);
  object.Set("table", numbers(env, spread->table));
  object.Set("key", numbers(env, spread->key));
  object.Set("toeplitz", Napi::Boolean::New(env, spread->toeplitz));
  object.Set("has_ports", Napi::Boolean::New(env, spread->has_ports));
  return object;
}

Napi::Object rule_object(Napi::Env env, const FlowRule& rule) {
  auto object = Napi::Object::New(env);
  object.Set("location", rule.location);
  object.Set("queue", rule.queue ? Napi::Value(Napi::Number::New(env, *rule.queue)) : env.Null());
  object.Set("source", ip_value(env, rule.source));
  object.Set("source_mask", ip_value(env, rule.source_mask));
  object.Set("target", ip_value(env, rule.target));
  object.Set("target_mask", ip_value(env, rule.target_mask));
  object.Set("source_port", ntohs(rule.source_port));
  object.Set("source_port_mask", ntohs(rule.source_port_mask));
  object.Set("target_port", ntohs(rule.target_port));
  object.Set("target_port_mask", ntohs(rule.target_port_mask));
  return object;
}

Napi::Value xdp_value(Napi::Env env, const std::optional<XdpFeatures>& features) {
  if (!features) return env.Null();
  auto object = Napi::Object::New(env);
  object.Set("xdp", count_value(env, features->xdp));
  object.Set("segments_max", features->segments_max);
  object.Set("xsk", count_value(env, features->xsk));
  return object;
}

Napi::Value describe_card_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string name = arguments.text(1, "name");
  const Napi::Env env = arguments.env();
  const Card card = from_namespace<Card>(netns, [&] { return describe_card(name); });
  auto object = Napi::Object::New(env);
  object.Set("enabled", Napi::Boolean::New(env, card.enabled));
  object.Set("multicast", Napi::Boolean::New(env, card.multicast));
  object.Set("arp", Napi::Boolean::New(env, card.arp));
  object.Set("features", array_of(env, card.features, [&](const Feature& feature) {
               auto row = Napi::Object::New(env);
               row.Set("name", feature.name);
               row.Set("changeable", Napi::Boolean::New(env, feature.changeable));
               return row;
             }));
  object.Set("spread", spread_value(env, card.spread));
  object.Set("rules", array_of(env, card.rules,
                               [&](const FlowRule& rule) { return rule_object(env, rule); }));
  object.Set("takes_rules", Napi::Boolean::New(env, card.takes_rules));
  object.Set("xdp", xdp_value(env, card.xdp));
  object.Set("clock", card.clock);
  return object;
}

Napi::Value takes_rules_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const std::string name = arguments.text(1, "name");
  const bool takes = from_namespace<bool>(netns, [&] { return takes_rules(name); });
  return Napi::Boolean::New(arguments.env(), takes);
}

Napi::Value list_interfaces_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  return texts(arguments.env(), from_namespace<std::vector<std::string>>(netns, list_interfaces));
}

Napi::Value list_input_chains_js(const Arguments& arguments) {
  using Chains = std::optional<std::vector<std::string>>;
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  const Chains chains = from_namespace<Chains>(netns, list_input_chains);
  return chains ? Napi::Value(texts(arguments.env(), *chains)) : arguments.env().Null();
}

} // namespace

void export_card(Napi::Object exports) {
  export_function<describe_card_js>(exports, "describeCard");
  export_function<takes_rules_js>(exports, "takesRules");
  export_function<list_interfaces_js>(exports, "listInterfaces");
  export_function<list_input_chains_js>(exports, "listInputChains");
}

} // namespace fantail
