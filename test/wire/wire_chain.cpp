// SPDX-License-Identifier: MIT-0
//
// wire-chain TABLE CHAIN: adds a chain to netfilter that packets for this host pass (hook input),
// in the network namespace that it is run in, as `nft add table` and `nft add chain` do.
#include <array>
#include <cstring>
#include <string>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>

namespace {

/// Messages one behind the other, as one batch.
struct Batch {
  alignas(nlmsghdr) std::array<char, 4096> bytes{};
  std::size_t size = 0;
  std::size_t message = 0;

  template<class T> void put(const T& value) {
    std::memcpy(bytes.data() + size, &value, sizeof value);
    size += NLMSG_ALIGN(sizeof value);
  }
  void begin(int type, int flags, int family, int resource) {
    message = size;
    put(nlmsghdr{0, static_cast<__u16>(type), static_cast<__u16>(NLM_F_REQUEST | flags), 1, 0});
    put(nfgenmsg{static_cast<__u8>(family), NFNETLINK_V0, htons(static_cast<__u16>(resource))});
  }
  void end() { reinterpret_cast<nlmsghdr*>(&bytes[message])->nlmsg_len = __u32(size - message); }
  std::size_t open(int type) {
    const std::size_t at = size;
    put(nlattr{0, static_cast<__u16>(type)});
    return at;
  }
  void close(std::size_t at) { reinterpret_cast<nlattr*>(&bytes[at])->nla_len = __u16(size - at); }
  void text(int type, const std::string& value) {
    put(nlattr{static_cast<__u16>(NLA_HDRLEN + value.size() + 1), static_cast<__u16>(type)});
    std::memcpy(bytes.data() + size, value.c_str(), value.size() + 1);
    size += NLMSG_ALIGN(value.size() + 1);
  }
  void number(int type, __u32 value) {
    put(nlattr{NLA_HDRLEN + sizeof value, static_cast<__u16>(type)});
    put(htonl(value));
  }
};

int message_type(int type) { return NFNL_SUBSYS_NFTABLES << 8 | type; }

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Batch batch;
  batch.begin(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  batch.end();
  batch.begin(message_type(NFT_MSG_NEWTABLE), NLM_F_CREATE | NLM_F_ACK, NFPROTO_IPV4, 0);
  batch.text(NFTA_TABLE_NAME, argv[1]);
  batch.end();
  batch.begin(message_type(NFT_MSG_NEWCHAIN), NLM_F_CREATE | NLM_F_ACK, NFPROTO_IPV4, 0);
  batch.text(NFTA_CHAIN_TABLE, argv[1]);
  batch.text(NFTA_CHAIN_NAME, argv[2]);
  const std::size_t hook = batch.open(NFTA_CHAIN_HOOK | NLA_F_NESTED);
  batch.number(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_IN);
  batch.number(NFTA_HOOK_PRIORITY, 0);
  batch.close(hook);
  batch.text(NFTA_CHAIN_TYPE, "filter");
  batch.end();
  batch.begin(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  batch.end();
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  const timeval patience{5, 0};
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (fd < 0 || send(fd, batch.bytes.data(), batch.size, 0) < 0) return 1;
  // two answers, of the table and of the chain, each in a datagram of its own
  for (int i = 0; i < 2; ++i) {
    alignas(nlmsghdr) std::array<char, 4096> answer{};
    if (recv(fd, answer.data(), answer.size(), 0) < static_cast<ssize_t>(sizeof(nlmsghdr)))
      return 1;
    const auto* error =
        static_cast<const nlmsgerr*>(NLMSG_DATA(reinterpret_cast<const nlmsghdr*>(answer.data())));
    if (error->error != 0) {
      std::fprintf(stderr, "wire-chain: %s\n", std::strerror(-error->error));
      return 1;
    }
  }
  close(fd);
  return 0;
}
