// SPDX-License-Identifier: MIT-0
#include "netlink/interface.hpp"

#include <algorithm>
#include <cstring>

#include "netlink/ethtool.hpp"

namespace fantail {
namespace {

/// More figures than any driver has: mlx5 with 64 queues has some 4000.
constexpr u32 figures_max = 65536;
/// Kernels write as many as the driver has when they are asked, whatever there is room for. It
/// changes with the channels, so there is room for twice as many as a moment ago, and these.
constexpr u32 figures_more = 4096;

/// How many figures there are; 0 where the driver has none to tell.
u32 count_figures(int fd, const std::string& name) {
  std::vector<u64> room(sizeof(ethtool_sset_info) / sizeof(u64) + 1);
  auto* info = reinterpret_cast<ethtool_sset_info*>(room.data());
  info->sset_mask = 1ull << ETH_SS_STATS;
  if (!ask_ethtool(fd, name, ETHTOOL_GSSET_INFO, *info) || info->sset_mask == 0) return 0;
  return std::min(info->data[0], figures_max);
}

Link link_named(int fd, const std::string& name) {
  const std::optional<Link> link = read_link(fd, name);
  if (!link) throw Error(ENODEV, "there is no interface '" + name + "': see `ip link`");
  return *link;
}

} // namespace

Interface describe_interface(const std::string& name) {
  const Fd netlink = open_netlink();
  Interface result{link_named(netlink.get(), name), {}, {}, 1, 1, true, 1, "", ""};
  for (const Address& address : list_addresses(netlink.get())) {
    const bool is_own = address.index == result.link.index;
    (is_own ? result.addresses : result.others).push_back(address);
  }

  const Fd any = open_ethtool();
  ethtool_channels channels{};
  if (ask_ethtool(any.get(), name, ETHTOOL_GCHANNELS, channels)) {
    result.rx_queues = std::max(1u, channels.combined_count + channels.rx_count);
    result.tx_queues = std::max(1u, channels.combined_count + channels.tx_count);
    result.combined = channels.max_combined != 0;
    // one kind or the other: some drivers count the same queues as both
    const u32 apart = std::min(channels.max_rx, channels.max_tx);
    result.queues_max = std::max(1u, result.combined ? channels.max_combined : apart);
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

std::vector<DriverFigure> driver_figures(const std::string& name) {
  link_named(open_netlink().get(), name);
  const Fd fd = open_ethtool();
  const u32 count = count_figures(fd.get(), name);
  if (count == 0) return {};
  const std::size_t room = 2 * std::size_t{count} + figures_more;

  std::vector<char> strings_room(sizeof(ethtool_gstrings) + room * ETH_GSTRING_LEN);
  auto* strings = reinterpret_cast<ethtool_gstrings*>(strings_room.data());
  strings->string_set = ETH_SS_STATS;
  strings->len = count;
  std::vector<u64> values_room(sizeof(ethtool_stats) / sizeof(u64) + room);
  auto* values = reinterpret_cast<ethtool_stats*>(values_room.data());
  values->n_stats = count;
  if (!ask_ethtool(fd.get(), name, ETHTOOL_GSTRINGS, *strings) ||
      !ask_ethtool(fd.get(), name, ETHTOOL_GSTATS, *values))
    return {};
  // the channels have changed in between: no name would be sure of its value
  if (strings->len != values->n_stats || values->n_stats > room) return {};

  std::vector<DriverFigure> figures;
  for (u32 i = 0; i < values->n_stats; ++i) {
    const char* text =
        strings_room.data() + sizeof(ethtool_gstrings) + std::size_t{i} * ETH_GSTRING_LEN;
    figures.push_back({std::string(text, strnlen(text, ETH_GSTRING_LEN)), values->data[i]});
  }
  return figures;
}

} // namespace fantail
