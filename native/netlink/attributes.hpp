// SPDX-License-Identifier: MIT-0
//
// A netlink message taken apart: its fixed part, and its attributes by type (RFC 3549, 2.3).
#pragma once

#include <array>
#include <cstring>
#include <optional>
#include <string>

#include <libmnl/libmnl.h>

#include "netlink/netlink.hpp"

namespace fantail {

constexpr std::size_t attributes_max = 64; // above every type that we read (IFLA_XDP is 43)

/// The attributes of one message or nest by type; what is not there is null.
struct Attributes {
  std::array<const nlattr*, attributes_max> at{};

  template<class T> std::optional<T> read(std::size_t type) const {
    if (at[type] == nullptr || mnl_attr_get_payload_len(at[type]) < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, mnl_attr_get_payload(at[type]), sizeof(T));
    return value;
  }

  /// Text up to its zero, or the attribute's end; empty where there is none.
  std::string text(std::size_t type) const {
    if (at[type] == nullptr) return {};
    const auto* start = static_cast<const char*>(mnl_attr_get_payload(at[type]));
    return {start, strnlen(start, mnl_attr_get_payload_len(at[type]))};
  }

  /// A MAC has six bytes; a longer hardware address (Infiniband) is none to us.
  std::optional<Mac> mac(std::size_t type) const {
    if (at[type] == nullptr || mnl_attr_get_payload_len(at[type]) != sizeof(Mac))
      return std::nullopt;
    return read<Mac>(type);
  }
};

inline int keep_attribute(const nlattr* attribute, void* into) {
  const std::size_t type = mnl_attr_get_type(attribute);
  if (type < attributes_max) static_cast<Attributes*>(into)->at[type] = attribute;
  return MNL_CB_OK;
}

/// The fixed part of a message of type T, or null if it is too short for one.
template<class T> const T* fixed_part(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(T)) return nullptr;
  return static_cast<const T*>(mnl_nlmsg_get_payload(message));
}

template<class T> Attributes attributes_of(const nlmsghdr* message) {
  Attributes result;
  mnl_attr_parse(message, sizeof(T), keep_attribute, &result);
  return result;
}

} // namespace fantail
