// SPDX-License-Identifier: MIT-0
//
// A frame of Ethernet, IPv4 without options and UDP: where its fields are, and the sum that its
// checksums are made of. Offsets and sizes are bytes from the frame's beginning; numbers in it are
// big endian. (RFC 791, RFC 768, RFC 1071)
#pragma once

#include <netinet/in.h>

#include "shm/layout.h"

namespace fantail::frame {

constexpr u32 ethernet_size = 14, ipv4_size = 20, udp_size = 8;
static_assert(ethernet_size + ipv4_size + udp_size == FANTAIL_HEADER_SIZE);

constexpr u32 ether_type = 12;
constexpr u32 ip = ethernet_size;
constexpr u32 ip_tos = ip + 1, ip_length = ip + 2, ip_fragment = ip + 6, ip_ttl = ip + 8,
              ip_protocol = ip + 9, ip_checksum = ip + 10, ip_source = ip + 12, ip_target = ip + 16;
constexpr u32 udp = ip + ipv4_size;
constexpr u32 udp_source = udp, udp_target = udp + 2, udp_length = udp + 4;

constexpr u8 version_and_size = 0x45; // IPv4, a header of five words: no options

inline u32 load16(const u8* at) { return static_cast<u32>(at[0] << 8 | at[1]); }

inline void store16(u8* at, u32 value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}

/// Ethernet without tags, IPv4 without options, UDP. At least FANTAIL_HEADER_SIZE bytes are read.
inline bool is_plain_udp(const u8* frame) {
  return frame[ether_type] == 0x08 && frame[ether_type + 1] == 0x00 &&
         frame[ip] == version_and_size && frame[ip_protocol] == IPPROTO_UDP;
}

/// RFC 1071: the one's complement sum of 16-bit words, folded, not complemented; an odd byte counts
/// as the high one. 0xffff over a header whose checksum is right.
inline u32 sum16(const u8* bytes, u32 length) {
  u32 sum = 0; // 2048 words of a whole frame cannot overflow it
  u32 at = 0;
  for (; at + 1 < length; at += 2) sum += load16(bytes + at);
  if (at < length) sum += static_cast<u32>(bytes[at] << 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

} // namespace fantail::frame
