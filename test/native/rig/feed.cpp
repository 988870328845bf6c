// SPDX-License-Identifier: MIT-0
#include "rig/feed.hpp"

#include <cstring>

namespace fantail::testing {

u32 checksum_of(const u8* ip) {
  u32 sum = 0;
  for (u32 i = 0; i < 20; i += 2) sum += static_cast<u32>(ip[i] << 8 | ip[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

std::array<u8, FANTAIL_HEADER_SIZE> header_of(const Ends& ends, u32 payload) {
  std::array<u8, FANTAIL_HEADER_SIZE> bytes{};
  std::memcpy(&bytes[0], ends.target_mac.data(), 6);
  std::memcpy(&bytes[6], ends.source_mac.data(), 6);
  bytes[12] = 0x08;
  u8* ip = &bytes[14];
  ip[0] = 0x45;
  write16(ip + 2, payload + 28);
  ip[6] = 0x40; // do not fragment
  ip[8] = 64;
  ip[9] = IPPROTO_UDP;
  std::memcpy(ip + 12, &ends.source_ip, 4);
  std::memcpy(ip + 16, &ends.target_ip, 4);
  write16(ip + 10, checksum_of(ip));
  u8* udp = ip + 20;
  std::memcpy(udp, &ends.source_port, 2);
  std::memcpy(udp + 2, &ends.target_port, 2);
  write16(udp + 4, payload + 8);
  return bytes;
}

Bytes payload_of(u32 queue, u64 sequence) {
  Random random(sequence * 64 + queue + 1);
  const u32 size = random.once_in(8) ? 1400 + random.below(60) : 16 + random.below(48);
  Bytes payload(size);
  for (u8& byte : payload) byte = static_cast<u8>(random.next());
  // the first four bytes may be cut by a rewrite
  std::memcpy(&payload[4], &sequence, sizeof sequence);
  std::memcpy(&payload[12], &queue, sizeof queue);
  return payload;
}

Bytes feed_frame(const Bytes& payload) {
  const Ends ends{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 99}, htonl(0x0a090063), feed_ip, htons(4000),
                  feed_port};
  const auto header = header_of(ends, static_cast<u32>(payload.size()));
  Bytes frame(header.begin(), header.end());
  frame.insert(frame.end(), payload.begin(), payload.end());
  if (frame.size() < minimum_frame) frame.resize(minimum_frame, 0xee);
  return frame;
}

subscriber subscriber_of(u32 number, u32 worker, u64 epoch) {
  subscriber record{};
  record.ip = htonl(0x0a090100 + number);
  record.port = htons(static_cast<u16>(10000 + number));
  record.state = SUBSCRIBER_STATE_LIVE;
  const u8 target[6] = {2, 0, 0, 1, static_cast<u8>(number >> 8), static_cast<u8>(number)};
  const u8 source[6] = {2, 0, 0, 0, 0, 1};
  std::memcpy(record.target_mac, target, 6);
  std::memcpy(record.source_mac, source, 6);
  record.source_ip = feed_ip;
  record.source_port = feed_port;
  record.ttl = 64;
  record.worker = worker;
  record.feeds = 1; // the first
  record.epoch = epoch;
  return record;
}

Bytes new_header(const subscriber& to, u32 payload, Rewrite how) {
  Ends ends{{}, {}, to.source_ip, to.ip, to.source_port, to.port};
  std::memcpy(ends.target_mac.data(), to.target_mac, 6);
  std::memcpy(ends.source_mac.data(), to.source_mac, 6);
  const u32 sent = how == Rewrite::longer    ? payload + 4
                   : how == Rewrite::shorter ? payload - 4
                                             : payload;
  const auto header = header_of(ends, sent);
  Bytes bytes(header.begin(), header.end());
  if (how == Rewrite::longer) bytes.insert(bytes.end(), {'m', 'o', 'r', 'e'});
  return bytes;
}

Bytes expected_datagram(const subscriber& to, const Bytes& payload, Rewrite how) {
  Bytes bytes = new_header(to, static_cast<u32>(payload.size()), how);
  bytes.insert(bytes.end(), payload.begin() + replaced_by(how) - FANTAIL_HEADER_SIZE,
               payload.end());
  return bytes;
}

} // namespace fantail::testing
