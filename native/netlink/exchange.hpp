// SPDX-License-Identifier: MIT-0
//
// One request to a netlink family and its answer, of whichever family the socket is. The kernel
// answers before send() returns, so nothing here waits for anybody.
#pragma once

#include <array>
#include <functional>

#include <libmnl/libmnl.h>
#include <sys/time.h>

#include "host/check.hpp"
#include "host/integers.hpp"

namespace fantail {

/// A dump that changed while it was read is read again, so often.
constexpr int dump_tries_max = 8;
/// The kernel fills at most 32 KiB of a dump at once.
constexpr std::size_t netlink_buffer_size = 65536;
constexpr timeval answer_timeout{.tv_sec = 2, .tv_usec = 0}; // answers do not take time at all

struct Buffer {
  alignas(nlmsghdr) std::array<char, netlink_buffer_size> bytes;
};

using OnMessage = std::function<void(const nlmsghdr*)>;

u32 next_sequence();

/// One request under construction, and its number.
struct Request {
  Buffer buffer{};
  nlmsghdr* header = nullptr;

  template<class T> T* begin(u16 type, u16 flags) {
    header = mnl_nlmsg_put_header(buffer.bytes.data());
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<u16>(NLM_F_REQUEST | flags);
    header->nlmsg_seq = next_sequence();
    return static_cast<T*>(mnl_nlmsg_put_extra_header(header, sizeof(T)));
  }
};

/// What became of an exchange: 0, or the errno that the kernel answered.
struct Outcome {
  int error;
  bool interrupted; // a dump changed while it was read
};

/// Bytes of what has come; 0 if it is not from the kernel, which alone is believed.
std::size_t receive_some(int fd, Buffer& buffer);

template<class Visit> void each_message(const Buffer& buffer, std::size_t length, Visit visit) {
  int left = static_cast<int>(length);
  const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.bytes.data());
  for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) visit(message);
}

Outcome exchange(int fd, const Request& request, const OnMessage& on_message);

} // namespace fantail
