// SPDX-License-Identifier: MIT-0
// The XDP program and its loader: which verdict a frame gets, what is counted, what is redirected,
// and what is said when it cannot be loaded or attached.
//
// Most cases run the program on one frame with BPF_PROG_TEST_RUN; the last few send frames over a
// veth pair. All of it happens in a network namespace of this process's own, which ends with it.
// Prints a line per case; exits 1 if one failed, 77 if the kernel does not let us try.
#undef NDEBUG
#include <algorithm>
#include <cassert>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <vector>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "xdp/program.hpp"

namespace fantail {
namespace {

using Bytes = std::vector<u8>;

constexpr int SKIPPED = 77;
constexpr u32 VETH_QUEUES = FANTAIL_QUEUES_MAX + 2; // two more than are counted by themselves
constexpr const char* FEED_IP = "10.77.0.1";
constexpr u16 FEED_PORT = 9000; // 0x2328: differs from its byte-swapped self
constexpr u32 LAST_QUEUE = FANTAIL_QUEUES_MAX - 1;
constexpr std::size_t FRAME_ROOM = 3840; // of a 4096-byte UMEM frame, after the kernel's 256

int cases = 0, failures = 0;

// One case: `problem` is empty if it went well.
void report(const std::string& name, const std::string& problem) {
  ++cases;
  if (problem.empty()) {
    std::printf("ok   %s\n", name.c_str());
  } else {
    ++failures;
    std::printf("FAIL %s: %s\n", name.c_str(), problem.c_str());
  }
}

// The last line, and the exit status that goes with it.
int summary() {
  std::printf("%d passed, %d failed, 0 skipped\n", cases - failures, failures);
  return failures == 0 ? 0 : 1;
}

int skip(const std::string& reason) {
  std::printf("skip: %s\n0 passed, 0 failed, 1 skipped\n", reason.c_str());
  return SKIPPED;
}

void expect(const std::string& name, bool good) { report(name, std::string(good ? "" : "not so")); }

// ---- frames -------------------------------------------------------------------------------------

// A packet of the feed on FEED_IP:FEED_PORT, but for what a case sets otherwise.
struct Packet {
  u16 ether_type = 0x0800;
  u8 version = 4;
  u8 header_words = 5;
  u16 fragment = 0x4000; // DF
  u8 protocol = 17;
  const char* ip = FEED_IP;
  u16 port = FEED_PORT;
  std::size_t payload = 158;
  std::array<u8, 6> target_mac{2, 0, 0, 0, 0, 1};
  const char* source = "10.77.0.9";
  int udp_more = 0; // than the rest of the IP packet
  u16 checksum = 0; // of UDP
};

// What the cases ask of a frame, but for what one sets otherwise.
constexpr feed_rule RULE{.mac = {2, 0, 0, 0, 0, 1},
                         .mtu = 9000,
                         .generic = 0,
                         .any_mac = 0,
                         .reader = 0,
                         .source = 0,
                         .seen = 0};

void put16(Bytes& bytes, unsigned value) {
  bytes.push_back(static_cast<u8>(value >> 8));
  bytes.push_back(static_cast<u8>(value & 0xff));
}

Fd open_socket(int family, int type) {
  return Fd(check(socket(family, type | SOCK_CLOEXEC, 0), "open a socket"));
}

u32 address(const char* text) {
  in_addr parsed{};
  assert(inet_pton(AF_INET, text, &parsed) == 1);
  return parsed.s_addr;
}

unsigned ip_checksum(const Bytes& frame) {
  unsigned sum = 0;
  for (std::size_t i = 14; i < 34; i += 2)
    sum += static_cast<unsigned>(frame[i] << 8 | frame[i + 1]);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~(sum + (sum >> 16)) & 0xffff;
}

// Ethernet, IPv4 and UDP header at their usual 42 bytes, whatever the fields say, and the payload.
Bytes frame_of(const Packet& packet) {
  Bytes frame(packet.target_mac.begin(), packet.target_mac.end());
  frame.insert(frame.end(), {2, 0, 0, 0, 0, 2});
  put16(frame, packet.ether_type);
  put16(frame, static_cast<unsigned>(packet.version << 12 | packet.header_words << 8));
  put16(frame, static_cast<unsigned>(28 + packet.payload));
  put16(frame, 0);
  put16(frame, packet.fragment);
  put16(frame, 64u << 8 | packet.protocol);
  put16(frame, 0);
  for (const char* text : {packet.source, packet.ip}) {
    const u32 ip = ntohl(address(text));
    put16(frame, ip >> 16);
    put16(frame, ip & 0xffff);
  }
  const unsigned sum = ip_checksum(frame);
  frame[24] = static_cast<u8>(sum >> 8);
  frame[25] = static_cast<u8>(sum & 0xff);
  put16(frame, 5555);
  put16(frame, packet.port);
  put16(frame, static_cast<unsigned>(8 + static_cast<int>(packet.payload) + packet.udp_more));
  put16(frame, packet.checksum);
  for (std::size_t i = 0; i < packet.payload; ++i) frame.push_back(static_cast<u8>(i));
  return frame;
}

Bytes cut(Bytes frame, std::size_t length) {
  frame.resize(length);
  return frame;
}

// ---- the program under test ---------------------------------------------------------------------

using Counts = std::array<std::array<u64, VERDICT_COUNT>, FANTAIL_QUEUES_MAX>;

// Queue 0 and the last: the feed and a socket. 1: a socket. 2 and one past the last: the feed.
class Bench {
public:
  Bench(Xdp xdp, int ifindex)
      : xdp_(std::move(xdp)), ifindex_(ifindex), socket_(open_socket(AF_XDP, SOCK_RAW)) {
    for (const u32 queue : {0u, 2u, LAST_QUEUE, LAST_QUEUE + 2})
      set_feed(xdp_.feeds_fd(), queue, address(FEED_IP), htons(FEED_PORT), RULE);
    set_feed(xdp_.feeds_fd(), 0, address("239.7.7.7"), htons(FEED_PORT), RULE);
    for (const u32 queue : {0u, 1u, LAST_QUEUE}) set_xsk(xdp_.xsks_fd(), queue, socket_.get());
    interface_.addresses = {{.index = 1, .ip = address(FEED_IP), .prefix = 24}};
    interface_.others = {{.index = 2, .ip = address("192.0.2.1"), .prefix = 31}};
    set_own(xdp_.own_fd(), interface_);
    counted_ = counts();
  }

  const Interface& interface() const { return interface_; }
  const Xdp& xdp() const { return xdp_; }

  // The XDP action for one frame on one queue, or -errno where the kernel does not run it.
  int run(const Bytes& frame, u32 queue) const {
    xdp_md context{};
    context.data_end = static_cast<u32>(frame.size());
    context.ingress_ifindex = static_cast<u32>(ifindex_);
    context.rx_queue_index = queue;
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<u32>(frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
    const int result = bpf_prog_test_run_opts(xdp_.program_fd(), &options);
    return result < 0 ? result : static_cast<int>(options.retval);
  }

  // Empty, or what is wrong: `wanted` is counted once, nothing else is, and the action is its own.
  std::string problem(const Bytes& frame, u32 queue, verdict wanted) {
    const int action = run(frame, queue);
    const Counts before = std::exchange(counted_, counts());
    if (action < 0) return std::string("not run: ") + std::strerror(-action);
    const u32 row = std::min(queue, LAST_QUEUE);
    std::string wrong;
    for (u32 each = 0; each < FANTAIL_QUEUES_MAX; ++each)
      for (u32 kind = 0; kind < VERDICT_COUNT; ++kind) {
        const u64 more = counted_[each][kind] - before[each][kind];
        if (more == (each == row && kind == wanted ? 1 : 0)) continue;
        wrong += std::to_string(more) + " counted as " + verdict_names[kind] + " on queue " +
                 std::to_string(each) + "; ";
      }
    const int wanted_action = wanted == VERDICT_REDIRECT ? XDP_REDIRECT : XDP_PASS;
    return action == wanted_action ? wrong : wrong + "action " + std::to_string(action);
  }

private:
  Counts counts() const {
    Counts all;
    for (u32 queue = 0; queue < FANTAIL_QUEUES_MAX; ++queue)
      all[queue] = read_verdicts(xdp_.verdicts_fd(), queue);
    return all;
  }

  Xdp xdp_;
  int ifindex_;
  Fd socket_; // in the map it need not be bound
  Interface interface_{};
  Counts counted_{};
};

struct Case {
  const char* name;
  Packet packet;
  u32 queue;
  verdict wanted;
};

// The bare sum of the pseudo header of a Packet{} (RFC 768).
constexpr u16 UNFILLED = [] {
  constexpr u32 udp_length = 8 + 158;
  u32 sum = 0x0a4d + 0x0009 + 0x0a4d + 0x0001 + IPPROTO_UDP + udp_length;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<u16>(sum);
}();

constexpr Case table[] = {
    {"a packet of the feed", {}, 0, VERDICT_REDIRECT},
    {"without payload", {.payload = 0}, 0, VERDICT_REDIRECT},
    {"of a multicast feed", {.ip = "239.7.7.7"}, 0, VERDICT_REDIRECT},
    {"that may be fragmented", {.fragment = 0}, 0, VERDICT_REDIRECT},
    {"with the reserved flag", {.fragment = 0x8000}, 0, VERDICT_REDIRECT},
    {"on the last queue", {}, LAST_QUEUE, VERDICT_REDIRECT},

    {"the feed where no socket is", {}, 2, VERDICT_NO_SOCKET},
    {"the feed on a queue past the last", {}, LAST_QUEUE + 2, VERDICT_NO_SOCKET},

    {"the next address", {.ip = "10.77.0.2"}, 0, VERDICT_OTHER},
    {"the address before", {.ip = "10.77.0.0"}, 0, VERDICT_OTHER},
    {"another network", {.ip = "11.77.0.1"}, 0, VERDICT_OTHER},
    {"the address swapped", {.ip = "1.0.77.10"}, 0, VERDICT_OTHER},
    {"the next port", {.port = FEED_PORT + 1}, 0, VERDICT_OTHER},
    {"the port before", {.port = FEED_PORT - 1}, 0, VERDICT_OTHER},
    {"the port swapped", {.port = 0x2823}, 0, VERDICT_OTHER},
    {"a queue without the feed", {}, 1, VERDICT_OTHER},
    {"another multicast group", {.ip = "239.7.7.8"}, 0, VERDICT_OTHER},
    {"no feed, on a queue past the last", {}, LAST_QUEUE + 1, VERDICT_OTHER},

    {"ARP", {.ether_type = 0x0806}, 0, VERDICT_NOT_IPV4},
    {"IPv6", {.ether_type = 0x86dd}, 0, VERDICT_NOT_IPV4},
    {"EtherType 0x0801", {.ether_type = 0x0801}, 0, VERDICT_NOT_IPV4},
    {"EtherType of IPv4 swapped", {.ether_type = 0x0008}, 0, VERDICT_NOT_IPV4},
    {"IPv4 by EtherType, 6 by version", {.version = 6}, 0, VERDICT_NOT_IPV4},
    {"IPv4 by EtherType, 5 by version", {.version = 5}, 0, VERDICT_NOT_IPV4},

    {"TCP", {.protocol = 6}, 0, VERDICT_NOT_UDP},
    {"ICMP", {.protocol = 1}, 0, VERDICT_NOT_UDP},
    {"protocol 16", {.protocol = 16}, 0, VERDICT_NOT_UDP},
    {"protocol 18", {.protocol = 18}, 0, VERDICT_NOT_UDP},
    {"UDP-Lite", {.protocol = 136}, 0, VERDICT_NOT_UDP},

    {"an 802.1Q tag", {.ether_type = 0x8100}, 0, VERDICT_VLAN},
    {"an 802.1ad tag", {.ether_type = 0x88a8}, 0, VERDICT_VLAN},
    {"EtherType 0x8101", {.ether_type = 0x8101}, 0, VERDICT_NOT_IPV4},
    {"EtherType 0x88a7", {.ether_type = 0x88a7}, 0, VERDICT_NOT_IPV4},

    {"one word of IP options", {.header_words = 6}, 0, VERDICT_IP_OPTIONS},
    {"the most IP options", {.header_words = 15}, 0, VERDICT_IP_OPTIONS},
    {"an IP header that is too small", {.header_words = 4}, 0, VERDICT_IP_OPTIONS},

    {"a first fragment", {.fragment = 0x2000}, 0, VERDICT_FRAGMENT},
    {"a first fragment with DF", {.fragment = 0x6000}, 0, VERDICT_FRAGMENT},
    {"a fragment at the least offset", {.fragment = 0x0001}, 0, VERDICT_FRAGMENT},
    {"a fragment at offset 0x0100", {.fragment = 0x0100}, 0, VERDICT_FRAGMENT},
    {"a fragment at the highest bit", {.fragment = 0x1000}, 0, VERDICT_FRAGMENT},

    {"a tag comes before a fragment", {.ether_type = 0x8100, .fragment = 0x2000}, 0, VERDICT_VLAN},
    {"TCP comes before options", {.header_words = 6, .protocol = 6}, 0, VERDICT_NOT_UDP},
    {"options come before fragments", {.header_words = 6, .fragment = 1}, 0, VERDICT_IP_OPTIONS},
    {"a fragment comes before the feed", {.fragment = 0x2000, .port = 1}, 0, VERDICT_FRAGMENT},

    {"to another MAC", {.target_mac = {2, 0, 0, 0, 0, 2}}, 0, VERDICT_FOREIGN_MAC},
    {"to a MAC that differs first", {.target_mac = {6, 0, 0, 0, 0, 1}}, 0, VERDICT_FOREIGN_MAC},
    {"to all", {.target_mac = {255, 255, 255, 255, 255, 255}}, 0, VERDICT_FOREIGN_MAC},
    {"another port to another MAC", {.port = 1, .target_mac = {6}}, 0, VERDICT_OTHER},

    {"from 0.0.0.0", {.source = "0.0.0.0"}, 0, VERDICT_MARTIAN},
    {"from 0.255.255.255", {.source = "0.255.255.255"}, 0, VERDICT_MARTIAN},
    {"from 1.0.0.0", {.source = "1.0.0.0"}, 0, VERDICT_REDIRECT},
    {"from 126.255.255.255", {.source = "126.255.255.255"}, 0, VERDICT_REDIRECT},
    {"from 127.0.0.1", {.source = "127.0.0.1"}, 0, VERDICT_MARTIAN},
    {"from 128.0.0.0", {.source = "128.0.0.0"}, 0, VERDICT_REDIRECT},
    {"from 223.255.255.255", {.source = "223.255.255.255"}, 0, VERDICT_REDIRECT},
    {"from a group", {.source = "224.0.0.1"}, 0, VERDICT_MARTIAN},
    {"from 240.0.0.1", {.source = "240.0.0.1"}, 0, VERDICT_MARTIAN},
    {"from all", {.source = "255.255.255.255"}, 0, VERDICT_MARTIAN},
    {"from our own address", {.source = FEED_IP}, 0, VERDICT_MARTIAN},
    {"from the broadcast address of our subnet", {.source = "10.77.0.255"}, 0, VERDICT_MARTIAN},
    {"from another address of the host", {.source = "192.0.2.1"}, 0, VERDICT_MARTIAN},
    {"from beside that, a subnet of two", {.source = "192.0.2.0"}, 0, VERDICT_REDIRECT},

    {"UDP shorter than the rest of IP", {.udp_more = -1}, 0, VERDICT_UDP_LENGTH},
    {"UDP longer", {.udp_more = 1}, 0, VERDICT_UDP_LENGTH},
    {"UDP of no length", {.payload = 10, .udp_more = -18}, 0, VERDICT_UDP_LENGTH},
    {"an unfilled checksum in native XDP", {.checksum = UNFILLED}, 0, VERDICT_REDIRECT},
};

static_assert(
    [] {
      for (u32 kind = 0; kind < VERDICT_COUNT; ++kind) {
        const bool elsewhere = kind == VERDICT_SHORT || kind == VERDICT_MULTI_BUFFER ||
                               kind == VERDICT_OVER_MTU || kind == VERDICT_UNFILLED_CHECKSUM;
        if (!elsewhere && std::ranges::find(table, kind, &Case::wanted) == std::end(table))
          return false;
      }
      return true;
    }(),
    "each verdict has a case, so that program and layout.h count alike");

// Each length that the kernel lets in, up to Ethernet's smallest frame; only at 42 does it matter.
void test_lengths(Bench& bench, const std::string& which) {
  const Case kinds[] = {
      {"the feed", {}, 0, VERDICT_REDIRECT},
      {"another port", {.port = 1}, 0, VERDICT_OTHER},
      {"TCP", {.protocol = 6}, 0, VERDICT_NOT_UDP},
      {"a tagged frame", {.ether_type = 0x8100}, 0, VERDICT_VLAN},
      {"ARP", {.ether_type = 0x0806}, 0, VERDICT_NOT_IPV4},
  };
  for (const Case& kind : kinds) {
    std::string wrong;
    for (std::size_t length = ETH_HLEN; length <= ETH_ZLEN && wrong.empty(); ++length) {
      const bool lacking = kind.packet.ether_type == 0x0800 && length < FANTAIL_HEADER_SIZE;
      const Bytes frame = cut(frame_of(kind.packet), length);
      wrong = bench.problem(frame, 0, lacking ? VERDICT_SHORT : kind.wanted);
      if (!wrong.empty()) wrong = std::to_string(length) + " bytes: " + wrong;
    }
    report(which + "every length from 14 to 60 of " + kind.name, wrong);
  }
  const Bytes less = cut(frame_of({}), ETH_HLEN - 1);
  expect(which + "13 bytes never get here", bench.run(less, 0) == -EINVAL);
}

// A frame may lie in several buffers of the driver, but it must fit one of ours.
void test_multi_buffer(Bench& bench) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::string wrong;
  for (const std::size_t length : {std::size_t{1514}, std::size_t{3512}, FRAME_ROOM})
    wrong += bench.problem(cut(frame_of({}), length), 0, VERDICT_REDIRECT);
  report("up to 3840 bytes are one buffer", wrong);
  for (const std::size_t length : {FRAME_ROOM + 1, page, page + 1, 2 * page, std::size_t{9014}})
    wrong += bench.problem(cut(frame_of({}), length), 0, VERDICT_MULTI_BUFFER);
  report("from there they are several, up to a jumbo frame", wrong);
  const Bytes other = cut(frame_of({.port = 1}), 2 * page);
  report("several buffers of another port", bench.problem(other, 0, VERDICT_MULTI_BUFFER));
  const Bytes fragment = cut(frame_of({.fragment = 1}), 2 * page);
  report("several buffers of a fragment", bench.problem(fragment, 0, VERDICT_FRAGMENT));
}

// What an interface and a way to attach ask beyond that.
void test_rules(Bench& bench) {
  const u32 ip = address("10.77.0.60"), group = address("239.129.7.7");
  const auto set = [&](u32 target, const feed_rule& rule) {
    set_feed(bench.xdp().feeds_fd(), 0, target, htons(FEED_PORT), rule);
  };
  const auto check = [&](const char* name, const Packet& packet, verdict wanted) {
    report(name, bench.problem(frame_of(packet), 0, wanted));
  };
  Interface interface{};
  interface.link.mac = Mac{2, 0, 0, 0, 0, 1};
  interface.addresses = {{.index = 1, .ip = ip, .prefix = 24}};
  const Packet plain{.ip = "10.77.0.60"};

  set(ip, rule_of(interface, {ip, 0}, 28 + 158, Attach::native, 0));
  check("a packet as long as the MTU", plain, VERDICT_REDIRECT);
  check("one byte longer", {.ip = "10.77.0.60", .payload = 159}, VERDICT_OVER_MTU);
  set(ip, rule_of(interface, {ip, 0}, 1500, Attach::generic, 0));
  check("generic: no checksum", plain, VERDICT_REDIRECT);
  const u16 unfilled = UNFILLED + 0x3b; // .60 is 0x3b more than .1
  check("generic: an unfilled one", {.ip = "10.77.0.60", .checksum = unfilled},
        VERDICT_UNFILLED_CHECKSUM);
  for (const int by : {-1, 1, 256})
    check("generic: one that differs",
          {.ip = "10.77.0.60", .checksum = static_cast<u16>(unfilled + by)}, VERDICT_REDIRECT);
  delete_feed(bench.xdp().feeds_fd(), 0, ip, htons(FEED_PORT));

  set(group, rule_of(interface, {group, 0}, 1500, Attach::native, 0));
  const Packet to_group{.ip = "239.129.7.7", .target_mac = {1, 0, 0x5e, 1, 7, 7}};
  check("a group's frames bear its MAC", to_group, VERDICT_REDIRECT);
  check("and no other", {.ip = "239.129.7.7"}, VERDICT_FOREIGN_MAC);
  const u32 all = address("10.77.0.255");
  set(all, rule_of(interface, {all, 0}, 1500, Attach::native, 0));
  check("those of a broadcast address that of all",
        {.ip = "10.77.0.255", .target_mac = {255, 255, 255, 255, 255, 255}}, VERDICT_REDIRECT);
  check("and no host's", {.ip = "10.77.0.255"}, VERDICT_FOREIGN_MAC);

  const u32 other = address("10.77.0.61");
  interface.others = {{.index = 2, .ip = address("192.0.2.5"), .prefix = 32}};
  const auto set_promiscuous = [&](u32 target) {
    const FeedAddresses feed{.ip = target, .source = 0, .promiscuous = true};
    set(target, rule_of(interface, feed, 1500, Attach::native, 0));
  };
  set_promiscuous(other);
  for (const u8 first : {u8{2}, u8{6}, u8{0xfe}})
    check("promiscuous: another host's, whatever its MAC",
          {.ip = "10.77.0.61", .target_mac = {first, 9, 9, 9, 9, 9}}, VERDICT_REDIRECT);
  for (const u8 first : {u8{1}, u8{3}, u8{0xff}})
    check("promiscuous: not to a MAC of a group or of all",
          {.ip = "10.77.0.61", .target_mac = {first, 9, 9, 9, 9, 9}}, VERDICT_FOREIGN_MAC);
  check("promiscuous: not from our own address", {.ip = "10.77.0.61", .source = FEED_IP},
        VERDICT_MARTIAN);
  for (const char* own : {"10.77.0.60", "192.0.2.5"}) {
    set_promiscuous(address(own));
    check("promiscuous: to an address of our own by our MAC", {.ip = own}, VERDICT_REDIRECT);
    check("promiscuous: and by no other", {.ip = own, .target_mac = {2, 9, 9, 9, 9, 9}},
          VERDICT_FOREIGN_MAC);
  }
  set_promiscuous(group);
  check("promiscuous: a group's as ever", to_group, VERDICT_REDIRECT);
  check("promiscuous: and by no other MAC", {.ip = "239.129.7.7"}, VERDICT_FOREIGN_MAC);
  set(other, rule_of(interface, {other, 0}, 1500, Attach::native, 0));
  check("not promiscuous: our own MAC alone",
        {.ip = "10.77.0.61", .target_mac = {2, 9, 9, 9, 9, 9}}, VERDICT_FOREIGN_MAC);

  Interface without = bench.interface();
  without.others.clear();
  set_own(bench.xdp().own_fd(), without);
  check("an address that the host has no more may be another's", {.source = "192.0.2.1"},
        VERDICT_REDIRECT);
  check("one that it still has may not", {.source = FEED_IP}, VERDICT_MARTIAN);
  check("the former again", {.source = "192.0.2.1"}, VERDICT_REDIRECT);
  set_own(bench.xdp().own_fd(), bench.interface());
  set_feed(bench.xdp().feeds_fd(), 0, address(FEED_IP), htons(FEED_PORT), RULE);
  check("once the host has it again, it may not", {.source = "192.0.2.1"}, VERDICT_MARTIAN);
}

void test_table(Bench& bench, const std::string& which) {
  for (const Case& each : table)
    report(which + each.name + " → " + verdict_names[each.wanted],
           bench.problem(frame_of(each.packet), each.queue, each.wanted));
}

// ---- maps ---------------------------------------------------------------------------------------

int number_of(const std::function<void()>& action, std::string* sentence = nullptr) {
  try {
    action();
  } catch (const Error& error) {
    if (sentence != nullptr) *sentence = error.what();
    return error.number;
  }
  return 0;
}

void test_maps(Bench& bench) {
  const int feeds = bench.xdp().feeds_fd();
  const u32 ip = address("10.77.0.50");
  const Bytes frame = frame_of({.ip = "10.77.0.50"});
  set_feed(feeds, 0, ip, htons(FEED_PORT), RULE);
  set_feed(feeds, 0, ip, htons(FEED_PORT), RULE);
  report("a feed may be set twice", bench.problem(frame, 0, VERDICT_REDIRECT));
  delete_feed(feeds, 0, ip, htons(FEED_PORT));
  delete_feed(feeds, 0, ip, htons(FEED_PORT));
  report("and deleted twice", bench.problem(frame, 0, VERDICT_OTHER));
  {
    const Fd socket_of_two = open_socket(AF_XDP, SOCK_RAW);
    set_xsk(bench.xdp().xsks_fd(), 2, socket_of_two.get());
    report("a socket that is put in is used", bench.problem(frame_of({}), 2, VERDICT_REDIRECT));
  }
  report("and leaves when it is closed", bench.problem(frame_of({}), 2, VERDICT_NO_SOCKET));
  const Fd homeless = open_socket(AF_XDP, SOCK_RAW);
  const u32 past = LAST_QUEUE + 1;
  expect("a queue past the last takes no socket",
         number_of([&] { set_xsk(bench.xdp().xsks_fd(), past, homeless.get()); }) == E2BIG);
  expect("nor has it counts",
         number_of([&] { read_verdicts(bench.xdp().verdicts_fd(), past); }) == EINVAL);
  const Xdp fresh = Xdp::load();
  for (u32 i = 0; i < 4096; ++i) set_feed(fresh.feeds_fd(), i / 64, htonl(i), htons(1), RULE);
  expect("the 4097th feed is refused",
         number_of([&] { set_feed(fresh.feeds_fd(), 0, htonl(4096), htons(1), RULE); }) == E2BIG);
  const auto copy = [](int fd) { return Fd(check(fcntl(fd, F_DUPFD_CLOEXEC, 0), "copy")); };
  std::array<Fd, XDP_FDS> copies;
  for (std::size_t i = 1; i < XDP_FDS; ++i) copies[i] = copy(bench.xdp().fds()[i]);
  const Xdp adopted = Xdp::adopt(std::move(copies));
  delete_feed(adopted.feeds_fd(), 0, address(FEED_IP), htons(FEED_PORT));
  report("who adopts the maps writes the same maps", bench.problem(frame_of({}), 0, VERDICT_OTHER));
}

// Of a worker's map as it is made; page pools that live on are tried over a link
// (test/path/live-pools.test.ts).
void test_live_pools(int interface) {
  const Xdp xdp = Xdp::load_bulk(interface);
  const Bulk& bulk = *xdp.bulk();
  const Fd told = add_bulk_pages(bulk, 0, 0);
  expect("a new map has no live page pools", live_pools_of(told.get()) == std::optional(0u));
  const auto copy = [](int fd) { return Fd(check(fcntl(fd, F_DUPFD_CLOEXEC, 0), "copy")); };
  const Bulk untold{copy(bulk.program.get()), copy(bulk.bulks.get()), {}, {}};
  const Fd pages = add_bulk_pages(untold, 1, 0);
  expect("without the tracepoint nothing is said of them", !live_pools_of(pages.get()));
}

// ---- what the compiler made of layout.h ---------------------------------------------------------

void test_btf() {
  const auto bytes = replicate_object();
  bpf_object* object = bpf_object__open_mem(bytes.data(), bytes.size(), nullptr);
  assert(object != nullptr);
  const btf* types = bpf_object__btf(object);
  const int feed_id = btf__find_by_name_kind(types, "feed", BTF_KIND_STRUCT);
  expect("BTF has struct feed", feed_id > 0);
  assert(feed_id > 0);

  const btf_type* structure = btf__type_by_id(types, static_cast<u32>(feed_id));
  const struct {
    const char* name;
    std::size_t offset, size;
  } fields[] = {
      {"queue", offsetof(feed, queue), sizeof feed::queue},
      {"daddr", offsetof(feed, daddr), sizeof feed::daddr},
      {"dport", offsetof(feed, dport), sizeof feed::dport},
      {"pad", offsetof(feed, pad), sizeof feed::pad},
  };
  bool same = structure->size == sizeof(feed) && btf_vlen(structure) == std::size(fields);
  for (u32 i = 0; same && i < std::size(fields); ++i) {
    const btf_member& member = btf_members(structure)[i];
    same = std::string(btf__name_by_offset(types, member.name_off)) == fields[i].name &&
           btf_member_bit_offset(structure, i) == fields[i].offset * 8 &&
           btf__resolve_size(types, member.type) == static_cast<long long>(fields[i].size);
  }
  expect("struct feed is the same here and there", same);
  bpf_object__close(object);
}

// ---- loading and attaching ----------------------------------------------------------------------

// The object with every call of one helper made a call of a helper that no kernel has.
std::vector<std::byte> without_helper(u32 helper) {
  const auto original = replicate_object();
  std::vector<std::byte> patched(original.begin(), original.end());
  u8 call[8] = {0x85, 0, 0, 0};
  std::memcpy(call + 4, &helper, sizeof helper);
  const auto* pattern = reinterpret_cast<const std::byte*>(call);
  int found = 0;
  for (auto at = patched.begin();; ++found) {
    at = std::search(at, patched.end(), pattern, pattern + sizeof call);
    if (at == patched.end()) break;
    at[6] = std::byte{0x7f};
  }
  assert(found > 0);
  return patched;
}

// Runs `action` in a child that keeps no capability but `kept` (bits); true if it exits well.
bool with_capabilities(u64 kept, const std::function<bool()>& action) {
  std::fflush(stdout);
  const pid_t child = fork();
  assert(child >= 0);
  if (child == 0) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    for (u32 i = 0; i < 2; ++i)
      data[i].effective = data[i].permitted = static_cast<u32>(kept >> 32 * i);
    _exit(syscall(SYS_capset, &header, data) == 0 && action() ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0;
}

constexpr u64 bit(int capability) { return u64{1} << capability; }

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void test_load() {
  const u64 few = bit(CAP_BPF) | bit(CAP_NET_ADMIN);
  expect("it loads with CAP_BPF and CAP_NET_ADMIN alone",
         with_capabilities(few, [] { return Xdp::load().program_fd() >= 0; }));
  expect("without capabilities the error names them", with_capabilities(0, [] {
           std::string sentence;
           return number_of([] { Xdp::load(); }, &sentence) == EPERM && has(sentence, "CAP_BPF");
         }));
  const auto broken = without_helper(BPF_FUNC_redirect_map);
  std::string sentence;
  const int number = number_of([&] { Xdp::load(broken); }, &sentence);
  const bool explained = number != 0 && has(sentence, "invalid func");
  report("a refusal ends in the verifier's words", explained ? "" : sentence);
  const std::vector<std::byte> nonsense(64);
  expect("an object that is none is refused", number_of([&] { Xdp::load(nonsense); }) != 0);
}

bool shell(const std::string& line) { return std::system(line.c_str()) == 0; }

u32 program_on(int ifindex) {
  u32 id = 0;
  return bpf_xdp_query_id(ifindex, 0, &id) == 0 ? id : 0;
}

// Somebody else's program, put there in the old way: the error must hold the line that removes it.
void test_foreign_program(int ifindex, u32 flags, const char* mode) {
  const Xdp foreign = Xdp::load();
  check(bpf_xdp_attach(ifindex, foreign.program_fd(), flags, nullptr), "attach in the old way");
  Xdp ours = Xdp::load();
  for (const Attach how : {Attach::native, Attach::generic}) {
    std::string sentence;
    const int number = number_of([&] { ours.attach(ifindex, how); }, &sentence);
    const std::string id = std::to_string(program_on(ifindex));
    const bool named = has(sentence, "XDP program " + id + " \"fantail\"");
    const std::string tried = how == Attach::native ? "native" : "generic";
    report(std::string("a foreign ") + mode + " program is named when we try " + tried,
           number == EBUSY && named ? "" : sentence);
    if (how == Attach::native) continue;
    const std::size_t start = sentence.find('`') + 1;
    const std::string line = sentence.substr(start, sentence.find('`', start) - start);
    expect("`" + line + "` is the cure", shell(line) && program_on(ifindex) == 0);
  }
}

void test_attach(int ifindex) {
  test_foreign_program(ifindex, XDP_FLAGS_DRV_MODE, "native");
  test_foreign_program(ifindex, XDP_FLAGS_SKB_MODE, "generic");
  Xdp second = Xdp::load();
  std::string sentence;
  for (const Attach how : {Attach::native, Attach::generic}) {
    const std::string which = how == Attach::native ? "native: " : "generic: ";
    Xdp first = Xdp::load();
    first.attach(ifindex, how);
    expect(which + "attached by a link that can be handed on",
           first.link_fd() >= 0 && program_on(ifindex) != 0);
    const int number = number_of([&] { second.attach(ifindex, how); }, &sentence);
    report(which + "a program that a process holds is not for `ip link` to remove",
           number == EBUSY && has(sentence, "stop that process") ? "" : sentence);
    const u64 few = bit(CAP_NET_ADMIN) | bit(CAP_BPF);
    expect(which + "without CAP_SYS_ADMIN it is named by number", with_capabilities(few, [&] {
             std::string blind;
             return number_of([&] { second.attach(ifindex, how); }, &blind) == EBUSY &&
                    has(blind, "XDP program " + std::to_string(program_on(ifindex)) + " is") &&
                    has(blind, "unless a running process holds it");
           }));
  }
  for (int tries = 0; tries < 1000 && program_on(ifindex) != 0; ++tries) usleep(1000);
  expect("no program is left when the link is closed", program_on(ifindex) == 0);

  const int loopback = static_cast<int>(if_nametoindex("lo"));
  expect("lo has no native XDP",
         number_of([&] { second.attach(loopback, Attach::native); }) == EOPNOTSUPP);
  expect("but generic", number_of([&] { second.attach(loopback, Attach::generic); }) == 0);
  expect("no such interface", number_of([&] { second.attach(9999, Attach::native); }) != 0);
}

// ---- frames on a wire ---------------------------------------------------------------------------

// Memory that is unmapped at the end.
class Mapping {
public:
  Mapping(std::size_t size, int flags, int fd, u64 page) : size_(size) {
    start_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, static_cast<off_t>(page));
    assert(start_ != MAP_FAILED);
  }
  Mapping(const Mapping&) = delete;
  ~Mapping() { munmap(start_, size_); }
  template<class Value> Value* at(u64 offset) const {
    return reinterpret_cast<Value*>(static_cast<u8*>(start_) + offset);
  }

private:
  std::size_t size_;
  void* start_;
};

// The least AF_XDP socket that receives: its frames are filled in once and never given back.
class Receiver {
public:
  Receiver(int ifindex, u32 queue) : socket_(open_socket(AF_XDP, SOCK_RAW)) {
    xdp_umem_reg region{};
    region.addr = reinterpret_cast<u64>(umem_.at<u8>(0));
    region.len = FRAMES * FANTAIL_FRAME_SIZE;
    region.chunk_size = FANTAIL_FRAME_SIZE;
    set(XDP_UMEM_REG, region);
    set(XDP_UMEM_FILL_RING, FRAMES);
    set(XDP_UMEM_COMPLETION_RING, FRAMES);
    set(XDP_RX_RING, FRAMES);
    socklen_t size = sizeof offsets_;
    check(getsockopt(socket_.get(), SOL_XDP, XDP_MMAP_OFFSETS, &offsets_, &size), "find the rings");
    const Mapping fill(offsets_.fr.desc + FRAMES * sizeof(u64), MAP_SHARED, socket_.get(),
                       XDP_UMEM_PGOFF_FILL_RING);
    for (u64 i = 0; i < FRAMES; ++i) fill.at<u64>(offsets_.fr.desc)[i] = i * FANTAIL_FRAME_SIZE;
    __atomic_store_n(fill.at<u32>(offsets_.fr.producer), FRAMES, __ATOMIC_RELEASE);
    rx_.emplace(offsets_.rx.desc + FRAMES * sizeof(xdp_desc), MAP_SHARED, socket_.get(),
                XDP_PGOFF_RX_RING);
    sockaddr_xdp name{};
    name.sxdp_family = AF_XDP;
    name.sxdp_flags = XDP_COPY;
    name.sxdp_ifindex = static_cast<u32>(ifindex);
    name.sxdp_queue_id = queue;
    // The socket before ours on this queue leaves some milliseconds after it is closed.
    int result = -1;
    for (int tries = 0; tries < 1000 && result < 0; ++tries) {
      result = bind(socket_.get(), reinterpret_cast<sockaddr*>(&name), sizeof name);
      if (result < 0 && errno == EBUSY) usleep(1000);
    }
    check(result, "bind the AF_XDP socket");
  }

  int fd() const { return socket_.get(); }

  // The next frame, or none after a second.
  Bytes receive() {
    const u32* producer = rx_->at<u32>(offsets_.rx.producer);
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (poll(&waiting, 1, 1000) != 1 || __atomic_load_n(producer, __ATOMIC_ACQUIRE) == taken_)
      return {};
    const xdp_desc& found = rx_->at<xdp_desc>(offsets_.rx.desc)[taken_];
    ++taken_;
    __atomic_store_n(rx_->at<u32>(offsets_.rx.consumer), taken_, __ATOMIC_RELEASE);
    return Bytes(umem_.at<u8>(found.addr), umem_.at<u8>(found.addr + found.len));
  }

private:
  static constexpr u32 FRAMES = 64; // more than a case sends, so no ring wraps

  template<class Value> void set(int option, const Value& value) {
    check(setsockopt(socket_.get(), SOL_XDP, option, &value, sizeof value), "set up the socket");
  }

  Mapping umem_{FRAMES * FANTAIL_FRAME_SIZE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0};
  Fd socket_;
  xdp_mmap_offsets offsets_{};
  std::optional<Mapping> rx_;
  u32 taken_ = 0;
};

void send_on(int ifindex, const Bytes& frame) {
  const Fd wire = open_socket(AF_PACKET, SOCK_RAW);
  sockaddr_ll target{};
  target.sll_family = AF_PACKET;
  target.sll_ifindex = ifindex;
  const auto sent = sendto(wire.get(), frame.data(), frame.size(), 0,
                           reinterpret_cast<sockaddr*>(&target), sizeof target);
  check(static_cast<int>(sent), "send a frame");
}

// The feed's packets reach the AF_XDP socket as they were sent, those of the port beside it the
// kernel's socket. Frames in several buffers of the driver arrive whole since Linux 6.6.
void test_wire(int near, int far, Attach how) {
  const std::string which = how == Attach::native ? "native: " : "generic: ";
  Xdp xdp = Xdp::load();
  xdp.attach(near, how);
  Receiver receiver(near, 0);
  set_xsk(xdp.xsks_fd(), 0, receiver.fd());
  set_feed(xdp.feeds_fd(), 0, address(FEED_IP), htons(FEED_PORT), RULE);

  const Fd kernel = open_socket(AF_INET, SOCK_DGRAM);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(FEED_PORT + 1);
  name.sin_addr.s_addr = address(FEED_IP);
  const int bound = bind(kernel.get(), reinterpret_cast<sockaddr*>(&name), sizeof name);
  check(bound, "bind the UDP socket");

  std::string wrong;
  constexpr std::size_t most = FRAME_ROOM - FANTAIL_HEADER_SIZE; // several buffers to veth
  for (const std::size_t payload : {std::size_t{0}, std::size_t{1}, std::size_t{1472}, most}) {
    const Bytes frame = frame_of({.payload = payload});
    send_on(far, frame);
    if (receiver.receive() != frame) wrong += std::to_string(payload) + " not; ";
  }
  report(which + "what fits our buffers arrives as it was sent", wrong);
  for (const Packet& packet : {Packet{.port = FEED_PORT + 1, .payload = 33},
                               Packet{.port = FEED_PORT + 1, .payload = FRAME_ROOM}}) {
    send_on(far, frame_of(packet));
    pollfd waiting{kernel.get(), POLLIN, 0};
    u8 buffer[FANTAIL_FRAME_SIZE];
    ssize_t got = -1;
    if (poll(&waiting, 1, 1000) == 1) got = recv(kernel.get(), buffer, sizeof buffer, 0);
    const std::string size = std::to_string(packet.payload) + " bytes ";
    expect(which + size + "to the port beside it reach the kernel's socket",
           got == static_cast<ssize_t>(packet.payload));
  }
  const auto counts = read_verdicts(xdp.verdicts_fd(), 0);
  expect(which + "each was counted under its verdict", counts[VERDICT_REDIRECT] == 4 &&
                                                           counts[VERDICT_OTHER] == 1 &&
                                                           counts[VERDICT_MULTI_BUFFER] == 1);
}

// A pair of interfaces that stay silent.
void set_up_interfaces() {
  shell("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"); // no router solicitations
  const std::string queues = std::to_string(VETH_QUEUES);
  assert(shell("ip link add fta-near address 02:00:00:00:00:01 numtxqueues 1 numrxqueues " +
               queues + " type veth peer name fta-far numtxqueues 1 numrxqueues 1") &&
         shell("ip address add 10.77.0.1/24 dev fta-near") &&
         shell("ip link set fta-near up arp off mtu 9000") &&
         shell("ip link set fta-far up arp off mtu 9000") && shell("ip link set lo up"));
}

int run_all() {
  if (unshare(CLONE_NEWNET) < 0) return skip("needs root, for a network namespace and BPF");
  std::string sentence;
  if (number_of([] { Xdp::load(); }, &sentence) == EPERM) return skip(sentence);
  set_up_interfaces();
  const int near = static_cast<int>(if_nametoindex("fta-near"));
  const int far = static_cast<int>(if_nametoindex("fta-far"));
  test_btf();
  test_load();
  {
    // A queue can be named to BPF_PROG_TEST_RUN while its interface has a program. This one's maps
    // are not those under test.
    Xdp door_opener = Xdp::load();
    door_opener.attach(near, Attach::native);
    Bench bench(Xdp::load(), near);
    test_table(bench, "");
    test_lengths(bench, "");
    test_multi_buffer(bench);
    test_rules(bench);
    test_maps(bench);
    // What a kernel without the helper of xdp.frags gets.
    Bench whole(Xdp::load(without_helper(BPF_FUNC_xdp_get_buff_len)), near);
    test_table(whole, "before 5.18: ");
    test_lengths(whole, "before 5.18: ");
  }
  test_attach(near);
  test_live_pools(near);
  test_wire(near, far, Attach::native);
  test_wire(near, far, Attach::generic);
  return summary();
}

} // namespace
} // namespace fantail

int main() {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    return fantail::run_all();
  } catch (const fantail::Error& error) {
    fantail::report("the cases that followed could not be tried", error.what());
    return fantail::summary();
  }
}
