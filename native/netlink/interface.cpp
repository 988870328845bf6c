// SPDX-License-Identifier: MIT-0
#include "netlink/interface.hpp"

#include <algorithm>
#include <cstring>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace fantail {
namespace {

/// Asks ethtool to fill `command` in; false where the driver has no answer.
template<class Command>
bool ask_ethtool(int fd, const std::string& name, u32 number, Command& command) {
  command.cmd = number;
  ifreq request{};
  std::copy_n(name.begin(), std::min(name.size(), sizeof(request.ifr_name) - 1), request.ifr_name);
  request.ifr_data = reinterpret_cast<char*>(&command);
  return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

Link link_named(int fd, const std::string& name) {
  const std::optional<Link> link = read_link(fd, name);
  if (!link) throw Error(ENODEV, "there is no interface '" + name + "': see `ip link`");
  return *link;
}

} // namespace

Interface describe_interface(const std::string& name) {
  const Fd netlink = open_netlink();
  Interface result{link_named(netlink.get(), name), {}, {}, 1, 1, "", ""};
  for (const Address& address : list_addresses(netlink.get())) {
    const bool is_own = address.index == result.link.index;
    (is_own ? result.addresses : result.others).push_back(address);
  }

  const Fd any{check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a socket for ethtool")};
  ethtool_channels channels{};
  if (ask_ethtool(any.get(), name, ETHTOOL_GCHANNELS, channels)) {
    result.rx_queues = std::max(1u, channels.combined_count + channels.rx_count);
    result.tx_queues = std::max(1u, channels.combined_count + channels.tx_count);
  }
  ethtool_drvinfo info{};
  if (ask_ethtool(any.get(), name, ETHTOOL_GDRVINFO, info)) {
    result.driver.assign(info.driver, strnlen(info.driver, sizeof(info.driver)));
    result.driver_version.assign(info.version, strnlen(info.version, sizeof(info.version)));
  }
  return result;
}

std::optional<XdpProgram> xdp_program_on(const std::string& name) {
  const Link link = link_named(open_netlink().get(), name);
  if (link.xdp_id == 0) return std::nullopt;
  return XdpProgram{link.xdp_id, link.xdp_mode};
}

} // namespace fantail
