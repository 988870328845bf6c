// SPDX-License-Identifier: MIT-0
//
// What a card does beyond being an interface: its offloads, how it spreads flows over queues, which
// XDP its driver offers. Read whole for `fantail doctor` alone: some cards are slow to tell. What a
// driver does not tell is left out: few tell all.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "netlink/netlink.hpp"

namespace fantail {

/// An offload or other feature that ethtool -k lists and that is on.
struct Feature {
  std::string name;
  bool changeable; // by ethtool -K
};

/// How the card chooses a queue by a hash (struct ethtool_rxfh of linux/ethtool.h).
struct Spread {
  std::vector<u32> table; // a queue for each of the hash's last values
  std::vector<u8> key;
  bool toeplitz;
  bool has_ports; // the ports of UDP over IPv4 are hashed, too
};

/// A line of `ethtool -n` that is about UDP over IPv4, or all of IPv4. Addresses and ports are in
/// network order; of a mask, bits that are set are compared.
struct FlowRule {
  u32 location;
  std::optional<u32> queue; // none: what matches is dropped
  u32 source, source_mask, target, target_mask;
  u16 source_port, source_port_mask, target_port, target_port_mask;
};

/// What the netdev family tells since Linux 6.3 (linux/netdev.h).
struct XdpFeatures {
  u64 xdp;          // enum netdev_xdp_act
  u32 segments_max; // of a packet in zero copy; 1 where it takes no more
  u64 xsk;          // enum netdev_xsk_flags, since 6.8
};

struct Card {
  bool enabled, multicast, arp;
  std::vector<Feature> features;
  std::optional<Spread> spread;
  std::vector<FlowRule> rules;
  bool takes_rules; // ethtool -N: its feature ntuple-filters is on, or can be switched on
  std::optional<XdpFeatures> xdp;
  int clock; // N of /dev/ptpN, -1: it has none
};

/// Of the calling thread's network namespace. Error ENODEV: there is no such interface.
Card describe_card(const std::string& name);
/// Whether it has rules for flows, or could have: all that `up` asks of a card beside its queues.
bool takes_rules(const std::string& name);

/// Names of the interfaces of that namespace.
std::vector<std::string> list_interfaces();

/// Chains of netfilter's tables that see IPv4 packets on their way in, as `table chain`; nullopt
/// where we may not look, or the kernel has no nf_tables.
std::optional<std::vector<std::string>> list_input_chains();

} // namespace fantail
