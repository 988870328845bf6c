// SPDX-License-Identifier: MIT-0
//
// Several feeds: which one a packet is of, against a search through all of them; which sockets a
// process holds while feeds come and go; and two feeds through both stages, of which each
// subscriber gets those that it chose.
#undef NDEBUG
#include <arpa/inet.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <map>
#include <memory>

#include "feeds/feed_index.hpp"
#include "feeds/feed_sockets.hpp"
#include "host/descriptor_passing.hpp"
#include "link/frame.hpp"
#include "rig/oracle.hpp"
#include "rig/testing.hpp"
#include "rig/world.hpp"

namespace fantail::testing {
namespace {

std::unique_ptr<table> empty_table() { return std::make_unique<table>(); }

void finds_as_a_search_does(u64 seed) {
  Random random(seed);
  FeedIndex index;
  u64 found = 0;
  for (int round = 0; round < 300; ++round) {
    const auto now = empty_table();
    for (table_feed& feed : now->feeds) {
      if (random.below(3) == 0) continue;
      // few addresses and ports, so that many are near one another; each pair once
      const table_feed one{.epoch = 1 + random.below(9),
                           .ip = random.below(40),
                           .port = static_cast<u16>(random.below(40)),
                           .is_open = static_cast<u16>(random.below(2)),
                           .source = random.below(3) == 0 ? random.below(4) : 0,
                           .pad_20 = {}};
      const bool is_there = std::ranges::any_of(now->feeds, [&](const table_feed& other) {
        return other.epoch != 0 && other.ip == one.ip && other.port == one.port;
      });
      if (!is_there) feed = one;
    }
    index.follow(*now);
    for (int packet = 0; packet < 500; ++packet) {
      const u32 ip = random.below(42), source = random.below(4);
      const u16 port = static_cast<u16>(random.below(42));
      u32 expected = FeedIndex::none;
      for (u32 feed = 0; feed < FANTAIL_FEEDS_MAX; ++feed) {
        const table_feed& row = now->feeds[feed];
        if (row.epoch != 0 && row.ip == ip && row.port == port &&
            (row.source == 0 || row.source == source))
          expected = feed;
      }
      expect_equal(index.find(ip, port, source), expected, "the feed of a packet");
      found += expected != FeedIndex::none;
    }
  }
  expect(found > 1000, "many packets were of a feed");
}

Fd some_fd() { return Fd(check(eventfd(0, EFD_CLOEXEC), "eventfd")); }

/// Sockets by feed, as they come and go; the messages may come long before the table, or lie there
/// for a predecessor.
void holds_the_sockets_of_the_table(u64 seed) {
  Random random(seed);
  auto [ours, theirs] = socket_pair();
  const Fd first = some_fd();
  FeedSockets sockets({first.get()}, theirs.get(), {-1, 1, 2});
  const auto now = empty_table();
  now->feed_epochs = 1;
  now->feeds[0] = {.epoch = 1, .ip = 1, .port = 2, .is_open = 1, .source = 0, .pad_20 = {}};
  u64 epochs = 1;
  for (int round = 0; round < 2000; ++round) {
    const u32 index = 1 + random.below(6);
    table_feed& feed = now->feeds[index];
    if (feed.is_open != 0) {
      feed.is_open = 0;
    } else if (feed.epoch != 0 && random.below(2) == 0) {
      feed = {};
    } else {
      const Fd fd = some_fd();
      const int fds[] = {fd.get()};
      // one that no table ever named, then its own
      if (random.below(4) == 0)
        send_message(ours.get(), std::to_string(index) + " " + std::to_string(++epochs), fds);
      send_message(ours.get(), std::to_string(index) + " " + std::to_string(++epochs), fds);
      feed = {.epoch = epochs,
              .ip = index,
              .port = static_cast<u16>(epochs),
              .is_open = 1,
              .source = 0,
              .pad_20 = {}};
      now->feed_epochs = epochs;
    }
    if (random.below(3) == 0) continue; // tables are passed over, too
    sockets.follow(*now);
    std::map<u32, u16> expected{{1, 2}}, held;
    for (u32 f = 1; f < FANTAIL_FEEDS_MAX; ++f)
      if (now->feeds[f].is_open != 0) expected[now->feeds[f].ip] = now->feeds[f].port;
    for (const FeedSocket& socket : sockets.of(0)) {
      expect(socket.fd >= 0, "it is open");
      held[socket.ip] = socket.port;
    }
    expect(held == expected, "those of the table's open feeds, and no other");
  }
}

/// Two feeds by turns; of three subscribers one gets the first, one the second, one both.
void each_gets_what_it_chose(layout kind) {
  World world(Shape{kind, 1, 1, 3, Rewrite::plain, 0, 0});
  const u16 port = htons(4242);
  for (const u64 generation : {0, 1})
    const_cast<table&>(world.arena().table(generation)).feeds[5] = {
        .epoch = 2, .ip = feed_ip, .port = port, .is_open = 1, .source = 0, .pad_20 = {}};
  constexpr u64 masks[] = {1, 1 << 5, ~u64{0}};
  for (u16 row = 0; row < 3; ++row) world.supervisor.record(row).feeds = masks[row];
  world.start();
  world.settle();
  expect(world.supervisor.publish(), "the table is published");
  world.settle();
  constexpr u64 counts[] = {7, 11};
  for (u64 packet = 0; packet < counts[0] + counts[1]; ++packet) {
    Bytes frame = feed_frame(Bytes(100, 0x5a));
    if (packet % 2 == 1 || packet >= 2 * counts[0])
      std::memcpy(frame.data() + frame::udp_target, &port, sizeof port);
    expect(world.rx[0].deliver(frame), "delivered");
  }
  world.settle();
  const u64 expected[] = {counts[0], counts[1], counts[0] + counts[1]};
  for (u16 row = 0; row < 3; ++row) {
    expect_equal(world.arena().counters(row).received, expected[row], "owed");
    expect_equal(world.arena().counters(row).sent, expected[row], "sent");
  }
  expect_equal(world.arena().feed_counters(0, 0).received, counts[0], "of the first feed");
  expect_equal(world.arena().feed_counters(0, 5).received, counts[1], "of the other");
  check_sums(world);
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail;
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run("a packet's feed is the one that a search finds, of its source alone where it has one",
            [&] { finds_as_a_search_does(suite.seed()); });
  suite.run("a process holds the sockets of the open feeds of its table, whatever came before",
            [&] { holds_the_sockets_of_the_table(suite.seed()); });
  suite.run("each subscriber gets the feeds that it chose: inline",
            [] { each_gets_what_it_chose(LAYOUT_INLINE); });
  suite.run("each subscriber gets the feeds that it chose: split",
            [] { each_gets_what_it_chose(LAYOUT_SPLIT); });
  return suite.end();
}
