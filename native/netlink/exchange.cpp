// SPDX-License-Identifier: MIT-0
#include "netlink/exchange.hpp"

#include <atomic>

#include <sys/socket.h>

#include "netlink/attributes.hpp"

namespace fantail {
namespace {

int error_in(const nlmsghdr* message) {
  if (message->nlmsg_type == NLMSG_ERROR) {
    const auto* fixed = fixed_part<nlmsgerr>(message);
    return fixed == nullptr ? EBADMSG : -fixed->error;
  }
  // NLMSG_DONE carries an int that is negative if a dump failed half-way.
  const auto* failed = fixed_part<int>(message);
  return failed == nullptr || *failed >= 0 ? 0 : -*failed;
}

} // namespace

u32 next_sequence() {
  static std::atomic<u32> last{0};
  return ++last;
}

std::size_t receive_some(int fd, Buffer& buffer) {
  sockaddr_nl from{};
  socklen_t from_size = sizeof(from);
  ssize_t length; // of the whole message, even if it did not fit (MSG_TRUNC)
  do
    length = recvfrom(fd, buffer.bytes.data(), buffer.bytes.size(), MSG_TRUNC,
                      reinterpret_cast<sockaddr*>(&from), &from_size);
  while (length < 0 && errno == EINTR);
  check(static_cast<int>(length), "read from netlink");
  if (static_cast<std::size_t>(length) > buffer.bytes.size())
    throw Error(EMSGSIZE, "a netlink message is longer than 64 KiB");
  return from.nl_pid == 0 ? static_cast<std::size_t>(length) : 0; // only the kernel is believed
}

Outcome exchange(int fd, const Request& request, const OnMessage& on_message) {
  const ssize_t sent = send(fd, request.header, request.header->nlmsg_len, 0);
  check(static_cast<int>(sent), "ask netlink");
  Outcome outcome{};
  Buffer buffer;
  for (bool finished = false; !finished;) {
    each_message(buffer, receive_some(fd, buffer), [&](const nlmsghdr* message) {
      // An answer that failed half-way may have left a rest.
      if (finished || message->nlmsg_seq != request.header->nlmsg_seq) return;
      if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) outcome.interrupted = true;
      finished = message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE;
      if (finished) outcome.error = error_in(message);
      else on_message(message);
    });
  }
  return outcome;
}

} // namespace fantail
