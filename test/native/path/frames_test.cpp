// SPDX-License-Identifier: MIT-0
//
// Hostile frames, made of good ones by random faults: each ends under the one name that a plain
// reading of its bytes gives it, or reaches every subscriber byte for byte. Nothing crashes (the
// sanitizers watch), and no frame of the rings is lost.
//
//   FRAMES=10000000 SEED=n build/asan/frames_test     what `npm run frames` does
#undef NDEBUG
#include <algorithm>
#include <map>

#include "rig/oracle.hpp"

namespace fantail::testing {
namespace {

constexpr u32 frames_default = 100'000;
/// Of one world, which remembers every datagram that it has sent.
constexpr u32 world_frames = 10'000;
/// Between two looks; a queue has room for more.
constexpr u32 batch_max = 64;
constexpr u32 length_max = FANTAIL_FRAME_SIZE - FakeRx::headroom;
/// Between two looks at where each frame is, which take the most time; in batches.
constexpr u32 census_every = 8;
/// A descriptor that lies costs its frame for good: one in so many frames does.
constexpr u32 one_lies_in = 200;

constexpr u32 ip = 14, udp = 34, payload = 42; // offsets in a frame

u32 read16(const Bytes& frame, u32 at) { return static_cast<u32>(frame[at] << 8 | frame[at + 1]); }

void fill_in_checksum(Bytes& frame) {
  write16(&frame[ip + 10], 0);
  write16(&frame[ip + 10], checksum_of(&frame[ip]));
}

/// RFC 1071, word by word; an odd byte counts as the high one.
u32 sum_of(const Bytes& frame, u32 from, u32 length) {
  u32 sum = 0;
  for (u32 at = 0; at < length; ++at) sum += at % 2 == 0 ? frame[from + at] << 8 : frame[from + at];
  return sum;
}

u32 folded(u32 sum) { return sum > 0xffff ? folded((sum & 0xffff) + (sum >> 16)) : sum; }

/// Addresses, protocol and length (RFC 768).
u32 pseudo_sum(const Bytes& frame) {
  return folded(sum_of(frame, ip + 12, 8) + 17 + read16(frame, udp + 4));
}

bool is_udp_right(const Bytes& frame) {
  const u32 checksum = read16(frame, udp + 6);
  const u32 sum = folded(pseudo_sum(frame) + sum_of(frame, udp, read16(frame, udp + 4)));
  return checksum == 0 || sum == 0xffff || checksum == pseudo_sum(frame);
}

void fill_in_udp_checksum(Bytes& frame) {
  write16(&frame[udp + 6], 0);
  const u32 length = static_cast<u32>(frame.size()) - udp;
  const u32 right = ~folded(pseudo_sum(frame) + sum_of(frame, udp, length)) & 0xffff;
  write16(&frame[udp + 6], right == 0 ? 0xffff : right);
}

// -- what a frame is, read slowly -----------------------------------------------------------------

/// enum invalid, or INVALID_COUNT: it is a packet of the feed.
u32 name_of(const Bytes& frame, u64 length) {
  if (length > length_max) return INVALID_DESCRIPTOR;
  if (length < payload) return INVALID_IP_LENGTH;
  if (read16(frame, 12) != 0x0800) return INVALID_FEED;           // IPv4
  if (frame[ip] != 0x45) return INVALID_FEED;                     // version 4, five words
  if (frame[ip + 9] != 17) return INVALID_FEED;                   // UDP
  if ((read16(frame, ip + 6) & 0x3fff) != 0) return INVALID_FEED; // more fragments, or an offset
  if (std::memcmp(&frame[ip + 16], &feed_ip, 4) != 0) return INVALID_FEED;
  if (std::memcmp(&frame[udp + 2], &feed_port, 2) != 0) return INVALID_FEED;
  const u32 ip_length = read16(frame, ip + 2);
  if (ip_length < 28 || ip_length + ip > length) return INVALID_IP_LENGTH;
  if (read16(frame, udp + 4) != ip_length - 20) return INVALID_UDP_LENGTH;
  Bytes header(frame.begin() + ip, frame.begin() + udp);
  const u32 checksum = static_cast<u32>(header[10] << 8 | header[11]);
  header[10] = header[11] = 0;
  // one's complement: 0 and 0xffff are the same sum (RFC 1624)
  const u32 right = checksum_of(header.data());
  if (checksum != right && (checksum ^ right) != 0xffff) return INVALID_CHECKSUM;
  return is_udp_right(frame) ? INVALID_COUNT : INVALID_UDP_CHECKSUM;
}

// -- faults ---------------------------------------------------------------------------------------

using Fault = void (*)(Random&, Bytes&);

u32 any(Random& random, const Bytes& frame) { return random.below(static_cast<u32>(frame.size())); }

constexpr Fault faults[] = {
    [](Random&, Bytes&) {},
    // a bit or a byte, of the headers mostly
    [](Random& r, Bytes& f) { f[r.below(payload)] ^= static_cast<u8>(1u << r.below(8)); },
    [](Random& r, Bytes& f) { f[r.below(payload)] = static_cast<u8>(r.next()); },
    [](Random& r, Bytes& f) { f[any(r, f)] = static_cast<u8>(r.next()); },
    // cut off, or more than it says
    [](Random& r, Bytes& f) { f.resize(1 + any(r, f)); },
    [](Random& r, Bytes& f) { f.resize(1 + r.below(payload + 20), 0xee); },
    [](Random& r, Bytes& f) { f.resize(std::min<u64>(f.size() + r.below(400), length_max), 0xee); },
    // lengths that lie, with a checksum that does not
    [](Random& r, Bytes& f) { write16(&f[ip + 2], r.below(65536)); },
    [](Random& r, Bytes& f) { write16(&f[ip + 2], r.below(64)); },
    [](Random& r, Bytes& f) { write16(&f[udp + 4], r.below(65536)); },
    [](Random& r, Bytes& f) {
      const u32 length = r.below(static_cast<u32>(f.size()) + 40);
      write16(&f[ip + 2], length);
      write16(&f[udp + 4], length - 20);
    },
    // a UDP checksum that is wrong, or as a local sender leaves it
    [](Random& r, Bytes& f) { write16(&f[udp + 6], r.below(65536)); },
    [](Random&, Bytes& f) { write16(&f[udp + 6], pseudo_sum(f)); },
    // other protocols: a VLAN tag, IPv6, ARP, options, fragments, TCP
    [](Random& r, Bytes& f) {
      constexpr u32 types[] = {0x8100, 0x88a8, 0x86dd, 0x0806, 0};
      write16(&f[12], types[r.below(std::size(types))]);
    },
    [](Random& r, Bytes& f) { f[ip] = static_cast<u8>(0x40 | r.below(16)); },
    [](Random& r, Bytes& f) { write16(&f[ip + 6], r.below(65536)); },
    [](Random& r, Bytes& f) { f[ip + 9] = static_cast<u8>(r.below(20)); },
    // nothing but noise, or nothing at all
    [](Random& r, Bytes& f) {
      for (u8& byte : f) byte = static_cast<u8>(r.next());
    },
    [](Random& r, Bytes& f) { std::fill(f.begin(), f.end(), r.once_in(2) ? u8{0} : u8{0xff}); },
};

/// A frame of the feed, at times with a fault or two; its checksum is mostly made right again.
Bytes hostile_frame(Random& random) {
  Bytes data(random.once_in(16) ? random.below(length_max - payload) : random.below(200));
  for (u8& byte : data) byte = static_cast<u8>(random.next());
  Bytes frame = feed_frame(data);
  if (random.once_in(2)) fill_in_udp_checksum(frame);
  for (u32 left = random.below(3); left != 0 && frame.size() >= payload; --left)
    faults[random.below(std::size(faults))](random, frame);
  if (frame.size() >= payload && !random.once_in(4)) fill_in_checksum(frame);
  return frame;
}

// -- what must come of them -----------------------------------------------------------------------

struct Tally {
  u64 invalid[INVALID_COUNT] = {};
  u64 good = 0, too_big = 0;
  u64 frames() const {
    u64 sum = good;
    for (const u64 count : invalid) sum += count;
    return sum;
  }
};

/// One world, its subscribers, and what each of them must have been sent.
class Trial {
public:
  Trial(const Shape& shape, Random& random) : world_(shape), random_(random) {
    world_.start();
    world_.settle();
  }

  void deliver(u32 count) {
    const u32 queue = random_.below(world_.shape().queues);
    for (u32 i = 0; i < count; ++i) deliver_one(queue);
    world_.settle();
    check();
  }

  const Tally& tally() const { return tally_; }

private:
  void deliver_one(u32 queue) {
    const Bytes frame = hostile_frame(random_);
    u64 length = frame.size();
    if (random_.once_in(one_lies_in)) length = length_max + 1 + random_.below(1u << 31);
    expect(world_.rx[queue].deliver_as(frame, static_cast<u32>(length)), "there is a frame");
    const u32 name = name_of(frame, length);
    if (name != INVALID_COUNT) {
      ++tally_.invalid[name];
      return;
    }
    ++tally_.good;
    const u32 packet = read16(frame, ip + 2);
    const u32 grown = world_.shape().rewrite == Rewrite::longer ? 4 : 0;
    if (packet + grown > world_.arena().header().mtu) {
      ++tally_.too_big;
      return;
    }
    const Bytes data(frame.begin() + payload, frame.begin() + ip + packet);
    for (u16 row = 0; row < world_.shape().subscribers; ++row)
      owed_[row].push_back(
          expected_datagram(world_.supervisor.record(row), data, world_.shape().rewrite));
  }

  void check() {
    u64 received = 0;
    u64 invalid[INVALID_COUNT] = {};
    for (u32 r = 0; r < world_.arena().header().receivers; ++r) {
      const feed_counters& feed = world_.arena().feed_counters(r, 0);
      received += feed.received;
      for (u32 why = 0; why < INVALID_COUNT; ++why) invalid[why] += feed.invalid[why];
    }
    for (u32 why = 0; why < INVALID_COUNT; ++why)
      expect_equal(invalid[why], tally_.invalid[why], invalid_names[why]);
    expect_equal(received, tally_.good, "packets of the feed");
    for (u16 row = 0; row < world_.shape().subscribers; ++row) {
      const counters& account = world_.arena().counters(row);
      expect_equal(account.received, tally_.good, "received");
      expect_equal(account.sent, tally_.good - tally_.too_big, "sent");
      expect_equal(account.drop[DROP_TOO_BIG], tally_.too_big, "too_big");
      check_datagrams(row);
    }
    if (++looks_ % census_every == 0) {
      const Census census(world_);
      census.check_frames(static_cast<u32>(tally_.invalid[INVALID_DESCRIPTOR]));
      census.check_accounts();
    }
    for (const FakeTx& link : world_.tx)
      if (!link.complaint().empty()) fail(link.complaint());
  }

  /// What its worker has sent to it since the last look.
  void check_datagrams(u16 row) {
    const subscriber& to = world_.supervisor.record(row);
    const std::vector<Bytes>& sent = world_.tx[to.worker].sent();
    std::vector<Bytes> got;
    for (u64& at = seen_[row]; at < sent.size(); ++at)
      if (std::memcmp(&sent[at][udp + 2], &to.port, 2) == 0) got.push_back(sent[at]);
    expect(got == owed_[row], "each subscriber was sent each packet, in order, byte for byte");
    owed_[row].clear();
  }

  World world_;
  Random& random_;
  Tally tally_;
  u32 looks_ = 0;
  std::map<u16, std::vector<Bytes>> owed_; // by row, since the last look
  std::map<u16, u64> seen_;                // by row: datagrams of its worker that were looked at
};

void all_are_counted(u64 seed, u32 frames) {
  constexpr Shape shapes[] = {
      {LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain},
      {LAYOUT_INLINE, 1, 1, 1, Rewrite::plain}, // sent in place
      {LAYOUT_SPLIT, 2, 2, 3, Rewrite::longer},
      {LAYOUT_INLINE, 2, 2, 3, Rewrite::plain},
  };
  Random random(seed);
  Tally total;
  for (u32 world = 0; total.frames() < frames; ++world) {
    Trial trial(shapes[world % std::size(shapes)], random);
    while (trial.tally().frames() < world_frames) trial.deliver(1 + random.below(batch_max));
    for (u32 why = 0; why < INVALID_COUNT; ++why) total.invalid[why] += trial.tally().invalid[why];
    total.good += trial.tally().good;
    total.too_big += trial.tally().too_big;
  }
  std::printf("  %llu frames: %llu of the feed (%llu too big)",
              static_cast<unsigned long long>(total.frames()),
              static_cast<unsigned long long>(total.good),
              static_cast<unsigned long long>(total.too_big));
  for (u32 why = 0; why < INVALID_COUNT; ++why) {
    // no frame is longer than the one that it is in: that is for datagrams from a socket
    expect((total.invalid[why] != 0) == (why != INVALID_TOO_LONG), "every name occurs");
    std::printf(", %s %llu", invalid_names[why],
                static_cast<unsigned long long>(total.invalid[why]));
  }
  std::printf("\n");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  const char* asked = std::getenv("FRAMES");
  const auto frames = asked == nullptr
                          ? frames_default
                          : static_cast<fantail::u32>(std::strtoul(asked, nullptr, 10));
  suite.run("every hostile frame ends under exactly one name, or reaches every subscriber",
            [&] { all_are_counted(suite.seed(), frames); });
  return suite.end();
}
