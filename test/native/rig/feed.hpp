// SPDX-License-Identifier: MIT-0
//
// Packets of a feed, subscribers, and what each subscriber must receive: slow and obvious, for
// oracles.
#pragma once

#include <arpa/inet.h>

#include <array>
#include <vector>

#include "rig/testing.hpp"
#include "shm/layout.h"

namespace fantail::testing {

using Bytes = std::vector<u8>;

inline const u32 feed_ip = htonl(0x0a090001); // 10.9.0.1
inline const u16 feed_port = htons(9000);
constexpr u32 minimum_frame = 60; // Ethernet pads to this

/// What the test's filter makes of a packet. The last two change the length, and with it where an
/// in-place frame starts.
enum class Rewrite { plain, longer, shorter };

inline void write16(u8* at, u32 value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}

/// RFC 1071, for an IPv4 header of 20 bytes whose checksum field is zero.
u32 checksum_of(const u8* ip);

struct Ends {
  std::array<u8, 6> target_mac, source_mac;
  u32 source_ip, target_ip;     // network order
  u16 source_port, target_port; // network order
};

/// Ethernet, IPv4 and UDP in front of `payload` bytes. RFC 791, RFC 768.
std::array<u8, FANTAIL_HEADER_SIZE> header_of(const Ends& ends, u32 payload);

/// Payload of packet `sequence` on a queue: says both, then bytes that no other packet has; often
/// short, at times long.
Bytes payload_of(u32 queue, u64 sequence);

/// A frame of the feed with that payload, padded as Ethernet wants it.
Bytes feed_frame(const Bytes& payload);

/// Subscriber number `number`, as its record says.
subscriber subscriber_of(u32 number, u32 worker, u64 epoch);

/// The new header for a subscriber, and what more a rewrite adds to it (`longer`: four bytes before
/// the payload).
Bytes new_header(const subscriber& to, u32 payload, Rewrite how);

/// Leading bytes of the packet that the new header stands for.
inline u32 replaced_by(Rewrite how) {
  return how == Rewrite::shorter ? FANTAIL_HEADER_SIZE + 4 : FANTAIL_HEADER_SIZE;
}

/// The datagram that a subscriber must receive for a payload.
Bytes expected_datagram(const subscriber& to, const Bytes& payload, Rewrite how);

} // namespace fantail::testing
