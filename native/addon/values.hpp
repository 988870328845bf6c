// SPDX-License-Identifier: MIT-0
//
// Values of plain C++ as JavaScript's.
#pragma once

#include <cstdio>
#include <optional>
#include <string>

#include <arpa/inet.h>
#include <napi.h>

#include "host/check.hpp"
#include "netlink/netlink.hpp"
#include "shm/layout.h"

namespace fantail {

inline Napi::Value fd_value(Napi::Env env, Fd fd) { return Napi::Number::New(env, fd.release()); }

inline Napi::Value count_value(Napi::Env env, u64 count) {
  return Napi::Number::New(env, static_cast<double>(count)); // exact up to 2^53
}

inline Napi::Value ip_value(Napi::Env env, u32 ip) {
  char text[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &ip, text, sizeof(text));
  return Napi::String::New(env, text);
}

inline std::string mac_text(const std::optional<Mac>& mac) {
  if (!mac) return "";
  char text[18];
  const Mac& byte = *mac;
  std::snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", byte[0], byte[1], byte[2],
                byte[3], byte[4], byte[5]);
  return text;
}

inline Napi::Object address_object(Napi::Env env, const Address& address) {
  auto object = Napi::Object::New(env);
  object.Set("ip", ip_value(env, address.ip));
  object.Set("prefix", address.prefix);
  return object;
}

} // namespace fantail
