// SPDX-License-Identifier: MIT-0
// Preloaded into a program, it makes the kernel look like one that was built without AF_XDP.
#include <cerrno>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" int socket(int domain, int type, int protocol) noexcept {
  if (domain == AF_XDP) {
    errno = EAFNOSUPPORT;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_socket, domain, type, protocol));
}
