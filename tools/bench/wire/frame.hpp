// SPDX-License-Identifier: MIT-0
// What engine and peers share: flags, addresses, the bytes of a frame (wire.h), the clock.
#pragma once

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <string>

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>

#include "host/check.hpp"
#include "wire.h"

namespace bench {

using fantail::check;
using fantail::Error;
using fantail::error_of;
using fantail::Fd;

using u8 = __u8;
using u16 = __u16;
using u32 = __u32;
using u64 = __u64;
using Mac = std::array<u8, 6>;

constexpr u64 NS_PER_S = 1'000'000'000;
// Room for the largest frame.
constexpr std::size_t FRAME_ROOM = 3584;
// Hosts of 10.88.0.0/24.
constexpr u32 REPLICATOR_HOST = 1, SOURCE_HOST = 2;

inline u64 now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * NS_PER_S + static_cast<u64>(now.tv_nsec);
}

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// ---- Command line: pairs of --name value ----

class Flags {
public:
  Flags(int argc, char** argv) {
    for (int i = 1; i + 1 < argc; i += 2) values_[argv[i]] = argv[i + 1];
    if (argc % 2 == 0) throw Error(EINVAL, "flags come as --name value");
  }
  bool has(const std::string& name) const { return values_.contains(name); }
  const std::string& text(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw Error(EINVAL, name + " is missing");
    return found->second;
  }
  u64 number(const std::string& name) const { return std::stoull(text(name)); }
  u64 number(const std::string& name, u64 fallback) const {
    return has(name) ? number(name) : fallback;
  }
  Mac mac(const std::string& name) const {
    Mac mac{};
    if (std::sscanf(text(name).c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2],
                    &mac[3], &mac[4], &mac[5]) != 6)
      throw Error(EINVAL, text(name) + " is not a MAC address");
    return mac;
  }

private:
  std::map<std::string, std::string> values_;
};

inline int index_of(const std::string& interface) {
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) throw error_of(errno, "finding the interface " + interface);
  return static_cast<int>(index);
}

inline void pin_to_cpu(u64 cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  check(sched_setaffinity(0, sizeof set, &set), "pinning to a CPU");
}

// ---- Addresses, in host order ----

inline u32 host_address(u32 host) { return u32{WIRE_NET_HIGH} << 24 | WIRE_NET_LOW << 16 | host; }

inline u32 subscriber_address(u32 index) {
  return host_address((1 + index / WIRE_HOSTS_A_NET) << 8 | (1 + index % WIRE_HOSTS_A_NET));
}

// ---- Bytes ----

inline void store16(u8* at, std::size_t value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}

inline void store32(u8* at, u32 value) {
  store16(at, value >> 16);
  store16(at + 2, value & 0xffff);
}

struct Ends {
  Mac source_mac, target_mac;
  u32 source, target; // IPv4, host order
};

// The 42 bytes before the payload; the UDP checksum is 0, which says that there is none.
inline void write_header(const Ends& ends, u16 source_port, u16 target_port,
                         std::size_t payload_size, u8* frame) {
  std::memset(frame, 0, WIRE_HEADER_SIZE);
  std::memcpy(frame, ends.target_mac.data(), 6);
  std::memcpy(frame + 6, ends.source_mac.data(), 6);
  store16(frame + 12, ETHERTYPE_IP);
  u8* ip = frame + 14;
  ip[0] = 0x45;
  store16(ip + 2, 28 + payload_size);
  store16(ip + 6, 0x4000); // do not fragment
  ip[8] = 64;
  ip[9] = IPPROTO_UDP;
  store32(ip + 12, ends.source);
  store32(ip + 16, ends.target);
  u32 sum = 0;
  for (int i = 0; i < 20; i += 2) sum += static_cast<u32>(ip[i] << 8 | ip[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  store16(ip + 10, ~sum & 0xffff);
  u8* udp = ip + 20;
  store16(udp, source_port);
  store16(udp + 2, target_port);
  store16(udp + 4, 8 + payload_size);
}

// What is the same in the payload of every packet of one seed.
inline void write_pattern(u64 seed, std::size_t payload_size, u8* frame) {
  u8* payload = frame + WIRE_HEADER_SIZE;
  for (std::size_t at = WIRE_PATTERN_AT; at + 8 <= payload_size; at += 8) {
    const u64 word = wire_pattern(seed, at);
    std::memcpy(payload + at, &word, 8);
  }
}

// What is different in each.
inline void stamp(u64 seed, std::size_t payload_size, u64 tag, u64 intended, u8* frame) {
  u8* payload = frame + WIRE_HEADER_SIZE;
  const std::array<u64, 3> head{tag, intended, wire_check(seed, tag, intended)};
  const u64 tail = wire_tail(seed, tag);
  std::memcpy(payload, head.data(), sizeof head);
  std::memcpy(payload + payload_size - WIRE_TAIL_SIZE, &tail, sizeof tail);
}

} // namespace bench
