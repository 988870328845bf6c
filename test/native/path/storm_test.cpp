// SPDX-License-Identifier: MIT-0
//
// Long random runs with many kills, in which subscribers come and go, or receivers refuse what
// comes too fast: nothing lost but what was refused, nothing sent twice, every account exact.
#undef NDEBUG
#include <algorithm>

#include "rig/kills.hpp"

namespace fantail::testing {
namespace {

/// A subscriber that comes and goes: of each queue it is owed every packet from `from` on, and none
/// after `until`.
struct Guest {
  subscriber record;
  u16 row;
  bool published = false, leaves = false;
  u64 received_before = 0; // its count when it was told to leave
  // per queue: packets delivered when all had followed; empty: not yet
  std::vector<u64> from, until;
};

/// `paced`: the feed waits while a worker is far behind, so that nothing may drop. `overload`: it
/// does not, and what drops as backlog must be what the receivers refused.
enum class Feed { paced, overload };

class Storm {
public:
  Storm(const Shape& shape, u64 seed, Feed feed) : world_(shape), random_(seed), feed_(feed) {
    world_.save();
    world_.reset();
    for (Process& process : world_.processes) process.stores.between = [this] { between_stores(); };
  }

  void blow(u32 actions) {
    world_.start();
    for (u32 i = 0; i < actions; ++i) {
      act();
      note_followed();
      if (world_.is_between_commits() && random_.once_in(8)) check_sums(world_);
    }
    for (Process& process : world_.processes) {
      process.stores = {};
      if (!process.runs()) process.start();
    }
    world_.settle();
    note_followed();
    if (feed_ == Feed::overload) check_overload();
    else check_all_delivered(world_);
    for (const Guest& guest : guests_) check_guest(guest);
    expect(kills_ > actions / 50, "there were many kills");
  }

private:
  static constexpr u32 guests_max = 4; // at a time

  void act() {
    const u32 choice = random_.below(100);
    Process& process = world_.processes[random_.below(static_cast<u32>(world_.processes.size()))];
    if (choice < 25) feed(random_.below(feed_ == Feed::paced ? 20 : 80));
    else if (choice < 80) take_turn(process);
    else if (choice < 90) kernel_works(200);
    else if (choice < 95) come_or_go();
    else publish();
  }
  void take_turn(Process& process) {
    if (random_.once_in(10)) process.stores.kill_at = process.stores.made + random_.below(1500);
    for (const FakeTx& link : world_.tx) // a full ring is another case's subject
      while (link.waiting() + link.held() > FANTAIL_TX_FRAMES / 4) kernel_works(1000);
    try {
      if (process.runs()) process.turn(world_.filter);
      else if (random_.once_in(3)) process.start();
    } catch (const Kill&) {
      ++kills_;
      process.stop();
      process.stores.kill_at = random_.once_in(4) ? process.stores.made + random_.below(60) : never;
    }
  }
  void between_stores() {
    const u32 chance = random_.below(200);
    if (chance < 4) kernel_works(5);
    if (chance == 4) feed(1);
  }
  void feed(u32 packets) {
    const u32 q = random_.below(static_cast<u32>(world_.rx.size()));
    // the kernel would drop, which is its affair
    if (world_.rx[q].room() < packets) return;
    u64 furthest = 0;
    for (u32 r = 0; r < world_.arena().header().receivers; ++r)
      for (u32 w = 0; w < world_.shape().workers; ++w)
        furthest = std::max(furthest, world_.forward(r, w).tail - world_.giveback(r, w).head);
    if (feed_ == Feed::overload || furthest < FANTAIL_BACKLOG_MAX / 2) world_.deliver(q, packets);
  }
  void kernel_works(u32 most) {
    FakeTx& link = world_.tx[random_.below(static_cast<u32>(world_.tx.size()))];
    link.transmit(random_.below(most + 1));
    link.complete(random_.below(most + 1), random_.once_in(2) ? 0 : random_.below(4));
  }

  void come_or_go() {
    if (feed_ == Feed::overload) return; // a guest's packets could not be told from those that drop
    const auto present =
        std::ranges::count_if(guests_, [](const Guest& guest) { return !guest.leaves; });
    if (present < guests_max && random_.once_in(2)) {
      const u32 number = 100 + static_cast<u32>(guests_.size());
      const u16 row = world_.supervisor.add(number, random_.below(world_.shape().workers));
      guests_.push_back({world_.supervisor.record(row), row, false, false, 0, {}, {}});
    } else if (!guests_.empty()) {
      Guest& guest = guests_[random_.below(static_cast<u32>(guests_.size()))];
      if (guest.from.empty() || guest.leaves) return;
      guest.leaves = true;
      guest.published = false;
      guest.received_before = world_.arena().counters(guest.row).received;
      world_.supervisor.remove(guest.row);
    }
  }
  void publish() {
    if (!world_.supervisor.publish()) return;
    for (Guest& guest : guests_) guest.published = true;
  }
  /// Once everybody follows a table, whoever is new in it is owed every later packet, and whoever
  /// left it none.
  void note_followed() {
    if (!world_.supervisor.is_followed()) return;
    for (Guest& guest : guests_) {
      if (!guest.published) continue;
      if (guest.from.empty()) guest.from = world_.delivered;
      if (guest.leaves && guest.until.empty()) guest.until = world_.delivered;
    }
  }
  /// Each packet was sent once and in order, or refused by a receiver and charged as backlog, and
  /// both counts are exact.
  void check_overload() {
    check_sums(world_);
    check_feed(world_);
    u64 packets = 0, dropped = 0;
    for (const u64 count : world_.delivered) packets += count;
    for (u16 row = 0; row < world_.shape().subscribers; ++row) {
      const subscriber& to = world_.supervisor.record(row);
      u64 refused = 0;
      for (u32 r = 0; r < world_.arena().header().receivers; ++r)
        refused += world_.arena().receiver(r).backlog[to.worker];
      const counters& account = world_.arena().counters(row);
      expect_equal(account.received, packets, "received");
      expect_equal(account.drop[DROP_BACKLOG], refused, "dropped as backlog");
      expect_equal(account.sent, packets - refused, "sent");
      expect_equal(read_datagrams(world_, to, true).count, account.sent, "datagrams");
      dropped += refused;
    }
    expect(dropped > 0, "it was an overload");
  }
  void check_guest(const Guest& guest) {
    const Received got = read_datagrams(world_, guest.record);
    if (guest.from.empty()) return;
    expect(got.count >= guest.received_before, "a guest got all that it was owed when it left");
    for (u32 q = 0; q < world_.rx.size(); ++q) {
      const bool any = got.first[q] != never;
      if (any && got.first[q] > guest.from[q]) fail("a guest missed packets after it was added");
      if (any && !guest.until.empty() && got.end[q] > guest.until[q])
        fail("a guest got packets after it was removed");
      if (guest.leaves || guest.from[q] == world_.delivered[q]) continue;
      if (!any || got.end[q] != world_.delivered[q])
        fail("a guest that stayed missed the last packets");
    }
  }

  World world_;
  Random random_;
  Feed feed_;
  std::vector<Guest> guests_;
  u32 kills_ = 0;
};

void storms(Suite& suite) {
  const u64 seed = suite.seed();
  const struct {
    const char* requirement;
    Shape shape;
  } cases[] = {
      {"any number of kills at random loses nothing while subscribers come and go: split, one "
       "subscriber",
       {LAYOUT_SPLIT, 1, 1, 1, Rewrite::longer, wrap_kernel, wrap_ring}},
      {"any number of kills at random loses nothing while subscribers come and go: split, two "
       "queues and workers",
       {LAYOUT_SPLIT, 2, 2, 3, Rewrite::plain, wrap_kernel, wrap_ring}},
      {"any number of kills at random loses nothing while subscribers come and go: inline, two "
       "queues, one worker",
       {LAYOUT_INLINE, 2, 1, 1, Rewrite::plain, wrap_kernel, wrap_ring}},
      {"any number of kills at random loses nothing while subscribers come and go: inline, two "
       "queues and workers",
       {LAYOUT_INLINE, 2, 2, 2, Rewrite::shorter, wrap_kernel, wrap_ring}},
      {"any number of kills at random loses nothing while subscribers come and go: split, one "
       "queue "
       "and the slow path",
       {LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, wrap_kernel, wrap_ring, false, true}},
  };
  for (const auto& one : cases)
    suite.run(one.requirement, [&] { Storm(one.shape, seed, Feed::paced).blow(2500); });
  suite.run("any number of kills at random under overload: what drops as backlog is what was "
            "refused, exactly",
            [&] {
              Storm({LAYOUT_SPLIT, 2, 2, 3, Rewrite::plain, wrap_kernel, wrap_ring}, seed,
                    Feed::overload)
                  .blow(2500);
            });
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  storms(suite);
  return suite.end();
}
