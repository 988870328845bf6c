// SPDX-License-Identifier: MIT-0
#include "netlink/card.hpp"

#include <algorithm>
#include <cstring>

#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include "netlink/attributes.hpp"
#include "netlink/ethtool.hpp"
#include "netlink/exchange.hpp"

namespace fantail {
namespace {

// linux/netdev.h, which the oldest headers that we build with have not
constexpr u8 netdev_cmd_dev_get = 1, netdev_version = 1;
constexpr u16 netdev_a_ifindex = 1, netdev_a_xdp_features = 3, netdev_a_zc_max_segs = 4,
              netdev_a_xsk_features = 6;

constexpr u32 words_max = 1024;  // of a table or a key that a driver tells
constexpr u32 strings_max = 256; // features of a device; some 70 so far
constexpr u32 rules_max = 8192;

/// A command of ethtool with room for what follows its fixed part.
template<class Command, class Item> struct Longer {
  std::vector<u64> bytes;
  explicit Longer(std::size_t count)
      : bytes((sizeof(Command) + count * sizeof(Item)) / sizeof(u64) + 1) {}
  Command& command() { return *reinterpret_cast<Command*>(bytes.data()); }
  Item* items() {
    return reinterpret_cast<Item*>(reinterpret_cast<char*>(bytes.data()) + sizeof(Command));
  }
};

// ---- by ethtool ----

u32 feature_count(int fd, const std::string& name) {
  Longer<ethtool_sset_info, u32> info(1);
  info.command().sset_mask = 1ull << ETH_SS_FEATURES;
  if (!ask_ethtool(fd, name, ETHTOOL_GSSET_INFO, info.command())) return 0;
  return info.command().sset_mask == 0 ? 0 : std::min(info.items()[0], strings_max);
}

/// Fills in which are on, and whether rules are or could be.
void read_features(int fd, const std::string& name, Card& card) {
  const u32 count = feature_count(fd, name);
  Longer<ethtool_gstrings, char[ETH_GSTRING_LEN]> names(count);
  names.command().string_set = ETH_SS_FEATURES;
  names.command().len = count;
  Longer<ethtool_gfeatures, ethtool_get_features_block> states((count + 31) / 32);
  states.command().size = (count + 31) / 32;
  if (count == 0 || !ask_ethtool(fd, name, ETHTOOL_GSTRINGS, names.command()) ||
      !ask_ethtool(fd, name, ETHTOOL_GFEATURES, states.command())) {
    return;
  }
  for (u32 i = 0; i < count; ++i) {
    const ethtool_get_features_block& block = states.items()[i / 32];
    const u32 bit = 1u << i % 32;
    const char* const text = names.items()[i];
    const Feature feature{{text, strnlen(text, ETH_GSTRING_LEN)}, (block.available & bit) != 0};
    const bool active = (block.active & bit) != 0;
    if (active) card.features.push_back(feature);
    if (feature.name == "rx-ntuple-filter") card.takes_rules = active || feature.changeable;
  }
}

std::optional<Spread> spread_of(int fd, const std::string& name) {
  ethtool_rxfh sizes{};
  if (!ask_ethtool(fd, name, ETHTOOL_GRSSH, sizes)) return std::nullopt;
  const u32 entries = sizes.indir_size, key_size = sizes.key_size;
  if (entries == 0 || entries > words_max || key_size > words_max) return std::nullopt;
  Longer<ethtool_rxfh, u32> all(entries + key_size / sizeof(u32) + 1);
  all.command().indir_size = entries;
  all.command().key_size = key_size;
  if (!ask_ethtool(fd, name, ETHTOOL_GRSSH, all.command())) return std::nullopt;
  Spread spread;
  spread.table.assign(all.items(), all.items() + entries);
  const u8* const key = reinterpret_cast<const u8*>(all.items() + entries);
  spread.key.assign(key, key + key_size);
  spread.toeplitz = all.command().hfunc == 1; // ETH_RSS_HASH_TOP of linux/ethtool.h
  ethtool_rxnfc fields{};
  fields.flow_type = UDP_V4_FLOW;
  const bool told = ask_ethtool(fd, name, ETHTOOL_GRXFH, fields);
  spread.has_ports = told && (fields.data & (RXH_L4_B_0_1 | RXH_L4_B_2_3)) != 0;
  return spread;
}

std::optional<FlowRule> rule_at(int fd, const std::string& name, u32 location) {
  ethtool_rxnfc asked{};
  asked.fs.location = location;
  if (!ask_ethtool(fd, name, ETHTOOL_GRXCLSRULE, asked)) return std::nullopt;
  const ethtool_rx_flow_spec& spec = asked.fs;
  FlowRule rule{};
  rule.location = location;
  const bool drops = spec.ring_cookie == RX_CLS_FLOW_DISC;
  // of a VLAN, a MAC address, a function of the card or a table of its own: what it does to a feed
  // is not known
  if ((spec.flow_type & (FLOW_EXT | FLOW_MAC_EXT | FLOW_RSS)) != 0) return std::nullopt;
  if (!drops && ethtool_get_flow_spec_ring_vf(spec.ring_cookie) != 0) return std::nullopt;
  if (!drops) rule.queue = static_cast<u32>(ethtool_get_flow_spec_ring(spec.ring_cookie));
  const u32 type = spec.flow_type;
  if (type == UDP_V4_FLOW) {
    const ethtool_tcpip4_spec &is = spec.h_u.udp_ip4_spec, &mask = spec.m_u.udp_ip4_spec;
    rule.source = is.ip4src, rule.source_mask = mask.ip4src;
    rule.target = is.ip4dst, rule.target_mask = mask.ip4dst;
    rule.source_port = is.psrc, rule.source_port_mask = mask.psrc;
    rule.target_port = is.pdst, rule.target_port_mask = mask.pdst;
    return rule;
  }
  if (type != IPV4_USER_FLOW) return std::nullopt;
  const ethtool_usrip4_spec &is = spec.h_u.usr_ip4_spec, &mask = spec.m_u.usr_ip4_spec;
  if (mask.proto != 0 && is.proto != IPPROTO_UDP) return std::nullopt;
  rule.source = is.ip4src, rule.source_mask = mask.ip4src;
  rule.target = is.ip4dst, rule.target_mask = mask.ip4dst;
  return rule;
}

void read_rules(int fd, const std::string& name, Card& card) {
  ethtool_rxnfc counted{};
  if (!ask_ethtool(fd, name, ETHTOOL_GRXCLSRLCNT, counted)) return;
  const u32 count = std::min(counted.rule_cnt, rules_max);
  if (count == 0) return;
  Longer<ethtool_rxnfc, u32> all(count);
  all.command().rule_cnt = count;
  if (!ask_ethtool(fd, name, ETHTOOL_GRXCLSRLALL, all.command())) return;
  const u32* const locations = all.command().rule_locs;
  for (u32 i = 0; i < std::min(count, all.command().rule_cnt); ++i)
    if (const auto rule = rule_at(fd, name, locations[i])) card.rules.push_back(*rule);
}

// ---- by netlink ----

Fd open_family(int protocol) {
  Fd fd{check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), "open netlink")};
  check(setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &answer_timeout, sizeof(answer_timeout)),
        "limit netlink");
  return fd;
}

/// The number of a generic family; none: the kernel has no such.
std::optional<u16> family_number(int fd, const char* family) {
  Request request;
  auto* fixed = request.begin<genlmsghdr>(GENL_ID_CTRL, NLM_F_ACK);
  fixed->cmd = CTRL_CMD_GETFAMILY;
  fixed->version = 1;
  mnl_attr_put_strz(request.header, CTRL_ATTR_FAMILY_NAME, family);
  std::optional<u16> number;
  exchange(fd, request, [&](const nlmsghdr* message) {
    number = attributes_of<genlmsghdr>(message).read<u16>(CTRL_ATTR_FAMILY_ID);
  });
  return number;
}

std::optional<XdpFeatures> xdp_features(u32 index) {
  const Fd fd = open_family(NETLINK_GENERIC);
  const auto family = family_number(fd.get(), "netdev");
  if (!family) return std::nullopt;
  Request request;
  auto* fixed = request.begin<genlmsghdr>(*family, NLM_F_ACK);
  fixed->cmd = netdev_cmd_dev_get;
  fixed->version = netdev_version;
  mnl_attr_put_u32(request.header, netdev_a_ifindex, index);
  std::optional<XdpFeatures> features;
  exchange(fd.get(), request, [&](const nlmsghdr* message) {
    const Attributes told = attributes_of<genlmsghdr>(message);
    const auto xdp = told.read<u64>(netdev_a_xdp_features);
    if (!xdp) return;
    features = XdpFeatures{*xdp, told.read<u32>(netdev_a_zc_max_segs).value_or(1),
                           told.read<u64>(netdev_a_xsk_features).value_or(0)};
  });
  return features;
}

/// Where what comes in passes: hooks of the families that see IPv4.
bool sees_input(u8 family, u32 hook) {
  if (family == NFPROTO_NETDEV) return hook == NF_NETDEV_INGRESS;
  return (family == NFPROTO_IPV4 || family == NFPROTO_INET) &&
         (hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_IN);
}

std::optional<std::string> input_chain(const nlmsghdr* message) {
  const auto* fixed = fixed_part<nfgenmsg>(message);
  if (fixed == nullptr) return std::nullopt;
  const Attributes chain = attributes_of<nfgenmsg>(message);
  if (chain.at[NFTA_CHAIN_HOOK] == nullptr) return std::nullopt; // only jumped to
  Attributes hook;
  mnl_attr_parse_nested(chain.at[NFTA_CHAIN_HOOK], keep_attribute, &hook);
  const u32 number = ntohl(hook.read<u32>(NFTA_HOOK_HOOKNUM).value_or(0));
  if (!sees_input(fixed->nfgen_family, number)) return std::nullopt;
  return chain.text(NFTA_CHAIN_TABLE) + " " + chain.text(NFTA_CHAIN_NAME);
}

} // namespace

bool takes_rules(const std::string& name) {
  Card card{};
  read_features(open_ethtool().get(), name, card);
  return card.takes_rules;
}

Card describe_card(const std::string& name) {
  const Fd fd = open_ethtool();
  ifreq request = request_for(name);
  check(ioctl(fd.get(), SIOCGIFFLAGS, &request), ("read the flags of " + name).c_str());
  const auto flags = static_cast<unsigned>(request.ifr_flags);
  Card card{};
  card.enabled = (flags & IFF_UP) != 0;
  card.multicast = (flags & IFF_MULTICAST) != 0;
  card.arp = (flags & IFF_NOARP) == 0;
  read_features(fd.get(), name, card);
  card.spread = spread_of(fd.get(), name);
  read_rules(fd.get(), name, card);
  ethtool_ts_info stamps{};
  card.clock = ask_ethtool(fd.get(), name, ETHTOOL_GET_TS_INFO, stamps) ? stamps.phc_index : -1;
  card.xdp = xdp_features(if_nametoindex(name.c_str()));
  return card;
}

std::vector<std::string> list_interfaces() {
  struct Names {
    struct if_nameindex* first = if_nameindex();
    ~Names() { if_freenameindex(first); }
  } const all;
  if (all.first == nullptr) throw error_of(errno, "list the interfaces");
  std::vector<std::string> names;
  for (const struct if_nameindex* at = all.first; at->if_name != nullptr; ++at)
    names.emplace_back(at->if_name);
  return names;
}

std::optional<std::vector<std::string>> list_input_chains() {
  Fd fd;
  try {
    fd = open_family(NETLINK_NETFILTER);
  } catch (const Error&) {
    return std::nullopt; // this kernel has no nfnetlink
  }
  for (int tries = 0; tries < dump_tries_max; ++tries) {
    Request request;
    constexpr u16 type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN;
    auto* fixed = request.begin<nfgenmsg>(type, NLM_F_DUMP);
    fixed->nfgen_family = NFPROTO_UNSPEC;
    fixed->version = NFNETLINK_V0;
    std::vector<std::string> chains;
    const Outcome outcome = exchange(fd.get(), request, [&](const nlmsghdr* message) {
      if (const auto chain = input_chain(message)) chains.push_back(*chain);
    });
    if (outcome.error != 0) return std::nullopt;
    if (!outcome.interrupted) return chains;
  }
  return std::nullopt; // they change faster than they can be read
}

} // namespace fantail
