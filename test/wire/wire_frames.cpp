// SPDX-License-Identifier: MIT-0
// wire-frames: puts frames of any kind on a link, as they come on stdin, and ends with it. A line
// is the bytes in hexadecimal; `gso=SIZE` and a blank before them: a batch of UDP datagrams of SIZE
// bytes each, as a sender with UDP_SEGMENT (udp(7)) hands it to its device: cut apart by whoever
// must, its checksum not filled in. Prints {"sent"} as one line of JSON.
//
// Each frame goes through the queueing discipline, on one CPU, so that they stay in order.

#include <iostream>

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>

#include "frame.hpp"

using fantail::check;
using fantail::Fd;
using namespace wire;

namespace {

constexpr uint16_t UDP_CHECKSUM_IN_HEADER = 6; // bytes

// struct virtio_net_hdr of linux/virtio_net.h, which C++ does not take.
struct OffloadHeader {
  static constexpr uint8_t NEEDS_CSUM = 1, GSO_UDP_L4 = 5; // Linux 6.2
  uint8_t flags, gso_type;
  uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
static_assert(sizeof(OffloadHeader) == 10);

struct Line {
  OffloadHeader header{};
  std::vector<uint8_t> frame;
};

std::vector<uint8_t> bytes_of(std::string_view digits) {
  std::vector<uint8_t> bytes;
  for (size_t at = 0; at < digits.size(); at += 2) {
    const std::string pair(digits.substr(at, 2));
    char* end = nullptr;
    bytes.push_back(static_cast<uint8_t>(std::strtoul(pair.c_str(), &end, 16)));
    if (pair.size() != 2 || *end != 0) throw Usage("not a byte in hexadecimal: " + pair);
  }
  if (bytes.size() < ETHERNET_SIZE) throw Usage("a frame has a header of 14 bytes at least");
  return bytes;
}

Line parse(const std::string& text) {
  constexpr std::string_view prefix = "gso=";
  if (!text.starts_with(prefix)) return {{}, bytes_of(text)};
  const size_t blank = text.find(' ');
  if (blank == std::string::npos) throw Usage("gso=SIZE and a frame");
  const std::string size = text.substr(prefix.size(), blank - prefix.size());
  Line line{{}, bytes_of(text.substr(blank + 1))};
  line.header.flags = OffloadHeader::NEEDS_CSUM;
  line.header.gso_type = OffloadHeader::GSO_UDP_L4;
  line.header.gso_size = static_cast<uint16_t>(Flags::parse_number(size, "gso", 0xffff));
  line.header.hdr_len = PAYLOAD_AT;
  line.header.csum_start = UDP_AT;
  line.header.csum_offset = UDP_CHECKSUM_IN_HEADER;
  return line;
}

void stay_on_this_cpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(sched_getcpu()), &set);
  check(sched_setaffinity(0, sizeof set, &set), "stay on a CPU");
}

void run(int argc, char** argv) {
  const Flags flags(argc, argv, "--interface", "");
  const std::string interface = flags.text("--interface");
  stay_on_this_cpu();
  const Fd wire(check(socket(AF_PACKET, SOCK_RAW, 0), "open a packet socket"));
  const int on = 1;
  check(setsockopt(wire.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), "PACKET_VNET_HDR");
  sockaddr_ll target{};
  target.sll_family = AF_PACKET;
  target.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
  uint64_t sent = 0;
  for (std::string text; std::getline(std::cin, text); ++sent) {
    Line line = parse(text);
    std::memcpy(&target.sll_protocol, line.frame.data() + 12, sizeof target.sll_protocol);
    iovec pieces[] = {{&line.header, sizeof line.header}, {line.frame.data(), line.frame.size()}};
    msghdr message{};
    message.msg_name = &target;
    message.msg_namelen = sizeof target;
    message.msg_iov = pieces;
    message.msg_iovlen = std::size(pieces);
    check(static_cast<int>(sendmsg(wire.get(), &message, 0)), ("send frame " + text).c_str());
  }
  std::printf("{\"sent\":%llu}\n", static_cast<unsigned long long>(sent));
}

} // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
    return 0;
  } catch (const Usage& error) {
    std::fprintf(stderr, "wire-frames: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "wire-frames: %s\n", error.what());
    return 1;
  }
}
