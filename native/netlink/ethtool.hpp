// SPDX-License-Identifier: MIT-0
//
// Questions to a driver by the requests of linux/ethtool.h, which every kernel has.
#pragma once

#include <algorithm>
#include <string>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "host/check.hpp"
#include "host/integers.hpp"

namespace fantail {

inline ifreq request_for(const std::string& name) {
  ifreq request{};
  std::copy_n(name.begin(), std::min(name.size(), sizeof(request.ifr_name) - 1), request.ifr_name);
  return request;
}

/// Asks ethtool to fill `command` in; false where the driver has no answer. More may follow it.
template<class Command>
bool ask_ethtool(int fd, const std::string& name, u32 number, Command& command) {
  command.cmd = number;
  ifreq request = request_for(name);
  request.ifr_data = reinterpret_cast<char*>(&command);
  return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

/// To ask by, in the calling thread's network namespace.
inline Fd open_ethtool() {
  return Fd{check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a socket for ethtool")};
}

} // namespace fantail
