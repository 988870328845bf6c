// SPDX-License-Identifier: MIT-0
#include "host/descriptor_passing.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>

namespace fantail {
namespace {

constexpr int listen_backlog = 16; // launchers of one interface; more wait and try again

struct UnixAddress {
  sockaddr_un address;
  socklen_t length;
};

UnixAddress abstract_address(std::string_view name) {
  if (name.empty() || name.size() > abstract_name_max) {
    throw Error(EINVAL,
                "an abstract socket name has 1 to " + std::to_string(abstract_name_max) + " bytes");
  }
  UnixAddress result{};
  result.address.sun_family = AF_UNIX;
  std::copy(name.begin(), name.end(), result.address.sun_path + 1);
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return result;
}

UnixAddress path_address(std::string_view path) {
  UnixAddress result{};
  if (path.empty() || path.size() >= sizeof result.address.sun_path) {
    throw Error(EINVAL, "the path of a socket has 1 to 107 bytes");
  }
  result.address.sun_family = AF_UNIX;
  path.copy(result.address.sun_path, path.size());
  result.length = sizeof result.address;
  return result;
}

/// Room for the descriptors of one message, aligned as the kernel wants it.
struct Control {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * message_fds_max)> bytes;
};

/// Takes ownership of every descriptor that came with `message`.
std::vector<Fd> take_fds(msghdr& message) {
  std::vector<Fd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

} // namespace

std::pair<Fd, Fd> socket_pair() {
  int ends[2];
  check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "make a socket pair");
  return {Fd{ends[0]}, Fd{ends[1]}};
}

void send_message(int fd, std::string_view text, std::span<const int> fds) {
  // An empty message would look like the end of the connection to its reader.
  if (text.empty() || text.size() > message_size_max)
    throw Error(EMSGSIZE, "a message has 1 to 65536 bytes");
  if (fds.size() > message_fds_max)
    throw Error(EMSGSIZE, "a message carries at most 250 descriptors");
  iovec part{const_cast<char*>(text.data()), text.size()}; // sendmsg does not write to it
  Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  ssize_t sent;
  do sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  check(static_cast<int>(sent), "send a message to another process of fantail");
}

namespace {

/// ECONNRESET: the peer was killed with messages of ours unread. It is told once, before what the
/// peer has said, and after that the end is told as of one that closed.
bool is_passing(int error) { return error == EINTR || error == ECONNRESET; }

} // namespace

Received receive_message(int fd) {
  std::string text(message_size_max, '\0');
  iovec part{text.data(), text.size()};
  Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t length;
  do length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (length < 0 && is_passing(errno));
  if (length < 0 && errno == EAGAIN) return {Received::What::nothing, {}, {}};
  check(static_cast<int>(length), "receive a message from another process of fantail");
  std::vector<Fd> fds = take_fds(message);
  if (length == 0) return {Received::What::closed, {}, {}};
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    throw Error(EMSGSIZE, "a message or its descriptors did not fit: see `ulimit -n`");
  }
  text.resize(static_cast<std::size_t>(length));
  return {Received::What::message, std::move(text), std::move(fds)};
}

bool is_silent(int fd) {
  char first;
  ssize_t length;
  do length = recv(fd, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT);
  while (length < 0 && is_passing(errno));
  return length == 0;
}

Fd open_abstract() {
  return Fd{check(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                  "open a Unix socket")};
}

bool bind_abstract(int fd, std::string_view name) {
  const UnixAddress at = abstract_address(name);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at.address), at.length) < 0) {
    if (errno == EADDRINUSE) return false;
    throw error_of(errno, "take the launcher's socket name");
  }
  check(listen(fd, listen_backlog), "listen for other launchers");
  return true;
}

bool connect_abstract(int fd, std::string_view name) {
  const UnixAddress at = abstract_address(name);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&at.address), at.length) == 0) return true;
  if (errno == ECONNREFUSED) return false;
  throw error_of(errno, "connect to another launcher");
}

Fd connect_datagrams(std::string_view address) {
  const UnixAddress at =
      address.starts_with('@') ? abstract_address(address.substr(1)) : path_address(address);
  Fd fd{check(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "open a Unix socket")};
  check(connect(fd.get(), reinterpret_cast<const sockaddr*>(&at.address), at.length),
        "connect to who reads datagrams");
  return fd;
}

uid_t peer_uid(int fd) {
  ucred who{};
  socklen_t size = sizeof who;
  check(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size), "ask who is at the other end");
  return who.uid;
}

std::optional<Peer> accept_peer(int fd) {
  Fd peer{accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!peer) {
    // Nobody waits, or who waited has gone again.
    if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return std::nullopt;
    throw error_of(errno, "accept another launcher");
  }
  ucred who{};
  socklen_t size = sizeof(who);
  check(getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size),
        "ask who another launcher is");
  return Peer{std::move(peer), who.uid, who.pid};
}

} // namespace fantail
