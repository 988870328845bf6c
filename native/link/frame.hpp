// SPDX-License-Identifier: MIT-0
//
// A frame of Ethernet, IPv4 without options and UDP: where its fields are, and the sum that its
// checksums are made of. Offsets and sizes are bytes from the frame's beginning; numbers in it are
// big endian. (RFC 791, RFC 768, RFC 1071)
#pragma once

#include <netinet/in.h>

#include <bit>
#include <cstring>

#include "shm/layout.h"

namespace fantail::frame {

constexpr u32 ethernet_size = 14, ipv4_size = 20, udp_size = 8;
static_assert(ethernet_size + ipv4_size + udp_size == FANTAIL_HEADER_SIZE);

constexpr u32 ether_type = 12;
constexpr u32 ip = ethernet_size;
constexpr u32 ip_tos = ip + 1, ip_length = ip + 2, ip_fragment = ip + 6, ip_ttl = ip + 8,
              ip_protocol = ip + 9, ip_checksum = ip + 10, ip_source = ip + 12, ip_target = ip + 16;
constexpr u32 udp = ip + ipv4_size;
constexpr u32 udp_source = udp, udp_target = udp + 2, udp_length = udp + 4, udp_checksum = udp + 6;

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

/// Folds a one's complement sum of wider words into 16 bits.
inline u32 fold16(u64 sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<u32>(sum);
}

/// RFC 1071: the one's complement sum of 16-bit words, folded, not complemented; an odd byte counts
/// as the high one. 0xffff over a header whose checksum is right. In words of 64 bits, of the
/// machine's byte order: both are the same but for a swap at the end (section 2 there).
inline u32 sum16(const u8* bytes, u32 length) {
  static_assert(std::endian::native == std::endian::little);
  u64 sum = 0;
  const auto add = [&sum](u64 word) {
    sum += word;
    sum += sum < word; // the carry, around the end
  };
  u64 word;
  u32 at = 0;
  for (; at + sizeof word <= length; at += sizeof word) {
    std::memcpy(&word, bytes + at, sizeof word);
    add(word);
  }
  word = 0;
  std::memcpy(&word, bytes + at, length - at);
  add(word);
  return __builtin_bswap16(static_cast<u16>(fold16(sum)));
}

/// Whether the UDP checksum of a frame (is_plain_udp(), with lengths that are right) is one that a
/// receiver takes: none, or the right one (RFC 768); or the bare sum of the pseudo header, which a
/// sender of this very machine leaves for its card to complete (CHECKSUM_PARTIAL).
inline bool is_udp_checksum_good(const u8* frame) {
  const u32 field = load16(frame + udp_checksum), length = load16(frame + udp_length);
  if (field == 0) return true;
  const u32 pseudo = fold16(u64{sum16(frame + ip_source, 8)} + IPPROTO_UDP + length);
  return fold16(u64{pseudo} + sum16(frame + udp, length)) == 0xffff || field == pseudo;
}

} // namespace fantail::frame
