// SPDX-License-Identifier: MIT-0
//
// Messages with file descriptors over SOCK_SEQPACKET Unix sockets: between supervisor and RX
// process over a socket pair, and between launchers over an abstract name (which lives in a network
// namespace and leaves nothing behind). None of these functions blocks.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "host/check.hpp"

namespace fantail {

constexpr std::size_t message_size_max = 65536; // bytes of text in a message; at least 1
constexpr std::size_t message_fds_max = 250;    // the kernel takes 253 (SCM_MAX_FD)
constexpr std::size_t abstract_name_max = 107;  // sun_path without the zero that makes it abstract

/// Two connected ends, close-on-exec. They block by nature; the functions here do not.
std::pair<Fd, Fd> socket_pair();

/// One message. Error EAGAIN: the other side does not read; EPIPE: it is gone; ECONNRESET, once:
/// it is, with messages unread.
void send_message(int fd, std::string_view text, std::span<const int> fds);

struct Received {
  enum class What { message, nothing, closed };
  What what;
  std::string text;
  std::vector<Fd> fds; // close-on-exec
};

/// One message if there is one. A message cut short for want of room is Error EMSGSIZE, its
/// descriptors closed.
Received receive_message(int fd);

/// True: the peer has closed its end, or is dead, and all that it said has been received.
bool is_silent(int fd);

/// A socket that is neither bound nor connected, of the calling thread's network namespace.
Fd open_abstract();
/// Takes the name and listens. False: somebody has it.
bool bind_abstract(int fd, std::string_view name);
/// False: nobody listens under that name.
bool connect_abstract(int fd, std::string_view name);

/// Connected to whoever reads datagrams at that path, or under that abstract name behind an `@`;
/// each write(2) is one, and none blocks. ENOENT, ECONNREFUSED: nobody does.
Fd connect_datagrams(std::string_view address);

struct Peer {
  Fd fd;
  uid_t uid;
  pid_t pid;
};
/// User that the other end of a connected socket belonged to when it listened or connected
/// (SO_PEERCRED).
uid_t peer_uid(int fd);
/// The next connection and who made it, or none.
std::optional<Peer> accept_peer(int fd);

} // namespace fantail
