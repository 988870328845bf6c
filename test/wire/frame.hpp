// SPDX-License-Identifier: MIT-0
// What the wire tools agree on: the bytes of a test frame, how its payload follows from seed and
// sequence, addresses and flags on a command line. wire_feed.cpp builds frames with it,
// wire_sink.cpp takes them apart. It shares no code with the replicator but check.hpp: what is
// tested must not be its own yardstick.
//
//   0        14         34        42         50        58
//   ┌────────┬──────────┬─────────┬──────────┬─────────┬─────────────────────────────┐
//   │ Ether  │ IPv4     │ UDP     │ sequence │ send ns │ pattern of seed, sequence   │
//   └────────┴──────────┴─────────┴──────────┴─────────┴─────────────────────────────┘
//
// The sequence carries its flow in the top byte, since headers are rewritten on the way. Both
// numbers are in the machine's own order: feed and sink run on one machine, as the two clocks
// behind `send ns` must be one.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "host/check.hpp"

namespace wire {

constexpr size_t ETHERNET_SIZE = 14;
constexpr size_t IP_SIZE = 20;
constexpr size_t UDP_SIZE = 8;
constexpr size_t IP_AT = ETHERNET_SIZE;
constexpr size_t UDP_AT = IP_AT + IP_SIZE;
constexpr size_t PAYLOAD_AT = UDP_AT + UDP_SIZE;
constexpr size_t FRAME_MAX = 9216;
constexpr size_t STAMP_AT = 8;    // in the payload
constexpr size_t PATTERN_AT = 16; // in the payload
constexpr unsigned FLOW_SHIFT = 56;
constexpr uint64_t NS_PER_S = 1'000'000'000;

using Mac = std::array<uint8_t, 6>;

// A command line that makes no sense; the tool prints it and exits 2.
struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// An IPv4 address and a UDP port, both in network order.
struct Endpoint {
  uint32_t ip = 0;
  uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
};

// ---- Clocks ----

inline uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * NS_PER_S + static_cast<uint64_t>(now.tv_nsec);
}

// ---- Command line: `--name value`, a name may repeat; a name alone is a switch ----

class Flags {
public:
  // `known` and `switches` are separated by blanks; any other name is a usage error.
  Flags(int argc, char** argv, std::string_view known, std::string_view switches) {
    for (int i = 1; i < argc; ++i) {
      const std::string name = argv[i];
      if (has_word(switches, name)) {
        values_[name].push_back("");
        continue;
      }
      if (!has_word(known, name)) throw Usage("unknown flag " + name);
      if (++i == argc) throw Usage(name + " needs a value");
      values_[name].push_back(argv[i]);
    }
  }

  bool has(const std::string& name) const { return values_.contains(name); }

  std::vector<std::string> all(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>{} : found->second;
  }

  std::string text(const std::string& name) const {
    const auto values = all(name);
    if (values.empty()) throw Usage(name + " is missing");
    return values.back();
  }

  uint64_t number(const std::string& name, std::optional<uint64_t> fallback, uint64_t max) const {
    if (!has(name) && fallback) return *fallback;
    return parse_number(text(name), name, max);
  }

  static uint64_t parse_number(const std::string& text, const std::string& name, uint64_t max) {
    char* end = nullptr;
    const uint64_t value = std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || *end != 0 || text[0] == '-' || value > max)
      throw Usage(name + " " + text + " is not a number from 0 to " + std::to_string(max));
    return value;
  }

private:
  static bool has_word(std::string_view words, std::string_view word) {
    for (size_t at = 0; at < words.size();) {
      const size_t end = std::min(words.find(' ', at), words.size());
      if (words.substr(at, end - at) == word) return true;
      at = end + 1;
    }
    return false;
  }

  std::map<std::string, std::vector<std::string>> values_;
};

inline uint32_t parse_ip(const std::string& text) {
  in_addr address{};
  if (inet_pton(AF_INET, text.c_str(), &address) != 1)
    throw Usage(text + " is not an IPv4 address");
  return address.s_addr;
}

inline uint16_t parse_port(const std::string& text) {
  return htons(static_cast<uint16_t>(Flags::parse_number(text, "port", 65535)));
}

inline Endpoint parse_endpoint(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) throw Usage(text + " is not ip:port");
  return {parse_ip(text.substr(0, colon)), parse_port(text.substr(colon + 1))};
}

inline Mac parse_mac(const std::string& text) {
  Mac mac{};
  char rest = 0;
  const int count = std::sscanf(text.c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx%c", &mac[0], &mac[1],
                                &mac[2], &mac[3], &mac[4], &mac[5], &rest);
  if (count != 6) throw Usage(text + " is not a MAC address");
  return mac;
}

// "200" or "0,1,2" or "0-3470" or any mix: payload sizes, used in turn by sequence.
inline std::vector<size_t> parse_sizes(const std::string& text) {
  constexpr uint64_t MAX = FRAME_MAX - PAYLOAD_AT;
  std::vector<size_t> sizes;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    const size_t dash = part.find('-');
    const uint64_t first = Flags::parse_number(part.substr(0, dash), "size", MAX);
    const uint64_t last =
        dash == std::string::npos ? first : Flags::parse_number(part.substr(dash + 1), "size", MAX);
    for (uint64_t size = first; size <= last; ++size) sizes.push_back(size);
    at = end + 1;
  }
  if (sizes.empty()) throw Usage("no sizes in " + text);
  return sizes;
}

inline std::string ip_text(uint32_t ip) {
  std::array<char, INET_ADDRSTRLEN> text{};
  inet_ntop(AF_INET, &ip, text.data(), text.size());
  return text.data();
}

inline Mac mac_of(const std::string& interface) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const fantail::Fd socket(fantail::check(fd, "open a socket"));
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  fantail::check(ioctl(socket.get(), SIOCGIFHWADDR, &request), "read the interface's MAC");
  Mac mac{};
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

inline int index_of(const std::string& interface) {
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) throw fantail::error_of(errno, "find interface " + interface);
  return static_cast<int>(index);
}

template<typename T>
void set_option(const fantail::Fd& socket, int level, int name, const T& value, const char* doing) {
  fantail::check(setsockopt(socket.get(), level, name, &value, sizeof value), doing);
}

inline sockaddr_in socket_address(Endpoint endpoint) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = endpoint.ip;
  address.sin_port = endpoint.port;
  return address;
}

// The kernel's calls take every kind of address under one type.
template<typename T> const sockaddr* plain(const T& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// ---- Bytes ----

template<typename T> T load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template<typename T> void store(uint8_t* at, T value) { std::memcpy(at, &value, sizeof value); }

inline void store_u16_be(uint8_t* at, size_t value) {
  store(at, htons(static_cast<uint16_t>(value)));
}

inline size_t load_u16_be(const uint8_t* at) { return ntohs(load<uint16_t>(at)); }

// Adds `size` bytes to a one's complement sum (RFC 1071): in memory order, which fold() keeps.
inline uint64_t sum(const uint8_t* at, size_t size, uint64_t total = 0) {
  for (; size >= 4; at += 4, size -= 4) total += load<uint32_t>(at);
  if (size >= 2) {
    total += load<uint16_t>(at);
    at += 2;
    size -= 2;
  }
  if (size == 1) {
    const std::array<uint8_t, 2> last{*at, 0};
    total += load<uint16_t>(last.data());
  }
  return total;
}

inline uint16_t fold(uint64_t total) {
  while (total >> 16 != 0) total = (total & 0xffff) + (total >> 16);
  return static_cast<uint16_t>(total);
}

// The sum of what RFC 768 puts before the UDP header: addresses, protocol, length.
inline uint64_t pseudo_sum(const uint8_t* frame, size_t udp_size) {
  std::array<uint8_t, 4> rest{0, IPPROTO_UDP};
  store_u16_be(rest.data() + 2, udp_size);
  return sum(rest.data(), rest.size(), sum(frame + IP_AT + 12, 8));
}

// Sum of pseudo header, UDP header and payload as they stand; 0xffff where the checksum is right.
inline uint16_t udp_sum(const uint8_t* frame, size_t udp_size) {
  return fold(sum(frame + UDP_AT, udp_size, pseudo_sum(frame, udp_size)));
}

// ---- Payload ----

// splitmix64: the n-th word of a pattern whose start is given.
inline uint64_t pattern_word(uint64_t start, uint64_t n) {
  uint64_t word = start + (n + 1) * 0x9e3779b97f4a7c15;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
  word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
  return word ^ (word >> 31);
}

// Writes the payload of `sequence`, cut off after `size` bytes.
inline void fill_payload(uint8_t* at, size_t size, uint64_t seed, uint64_t sequence,
                         uint64_t send_ns) {
  std::array<uint8_t, PATTERN_AT> head{};
  store(head.data(), sequence);
  store(head.data() + STAMP_AT, send_ns);
  std::memcpy(at, head.data(), std::min(size, head.size()));
  const uint64_t start = pattern_word(seed, sequence);
  for (size_t offset = PATTERN_AT; offset < size; offset += 8) {
    const uint64_t word = pattern_word(start, offset);
    std::memcpy(at + offset, &word, std::min<size_t>(8, size - offset));
  }
}

} // namespace wire
