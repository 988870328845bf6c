// SPDX-License-Identifier: MIT-0
//
// What one interface is: link, addresses, channels, driver, and the XDP program on it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "netlink/netlink.hpp"

namespace fantail {

struct Interface {
  Link link;
  std::vector<Address> addresses;
  std::vector<Address> others; // of the other interfaces of the host
  u32 rx_queues;               // active channels that receive; 1 where the driver does not say
  u32 tx_queues;               // active channels that transmit; likewise
  bool combined;               // its channels receive and transmit, as most cards' do
  u32 queues_max;              // that it can be made to have; 1 where the driver does not say
  std::string driver;          // empty where ethtool does not say
  std::string driver_version;  // its own, or the kernel's of one that comes with it; likewise
};

/// Of the calling thread's network namespace. Error ENODEV: there is no such interface.
Interface describe_interface(const std::string& name);

struct XdpProgram {
  u32 id;
  XdpMode mode;
};
std::optional<XdpProgram> xdp_program_on(const std::string& name);

/// One figure of a driver, as `ethtool -S` shows it.
struct DriverFigure {
  std::string name;
  u64 value;
};

/// All of them, in the driver's order; none where the driver has none to tell. Some drivers ask
/// their card for them, under the lock of all interfaces: for a person who asks, not for a timer.
/// Error ENODEV: there is no such interface.
std::vector<DriverFigure> driver_figures(const std::string& name);

} // namespace fantail
