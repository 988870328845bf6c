// SPDX-License-Identifier: MIT-0
//
// A process of the data path is killed between any two of its stores, and a successor finishes:
// nothing lost, nothing sent twice, no frame in two places, every account exact.
//
// The same short scenario runs once for each store of each process: stopped there, all that is
// private forgotten, the kernel and the other processes run on or not, a successor starts on the
// same memory. Then the same with a successor that is killed while it starts, and long random runs
// with many kills, in which subscribers come and go.
#undef NDEBUG
#include "oracle.hpp"

namespace fantail::testing {
namespace {

/// What happens between the kill and the successor.
enum class Meanwhile { nothing, kernel_runs, all_others_run };
constexpr Meanwhile meanwhiles[] = {Meanwhile::nothing, Meanwhile::kernel_runs,
                                    Meanwhile::all_others_run};

struct Plan {
  std::size_t victim; // index of the process to kill
  u64 first;          // before this store of it
  u64 second;         // before this store of its successor's start; `never`: it lives
  Meanwhile meanwhile;
};

/// One run of the scenario with one plan.
class Run {
public:
  Run(World& world, const Plan& plan) : world_(world), plan_(plan) {}

  void play(std::span<const u32> rounds) {
    world_.reset();
    victim().stores.kill_at = plan_.first;
    for (Process& process : world_.processes) guard(process, [&] { process.start(); });
    for (const u32 packets : rounds) {
      for (u32 q = 0; q < world_.shape().queues; ++q) world_.deliver(q, packets);
      for (Process& process : world_.processes)
        guard(process, [&] { process.turn(world_.filter); });
      world_.run_kernel(packets + 1, packets); // less than all, so that frames are in every place
    }
    for (int i = 0; i < 2; ++i) // the last completions and frames go home
      for (Process& process : world_.processes)
        guard(process, [&] { process.turn(world_.filter); });
    victim().stores.kill_at = never;
    world_.settle();
  }
  bool killed() const { return kills_ > 0; }
  bool killed_twice() const { return kills_ > 1; }
  /// True if the victim left a commit half applied.
  bool left_commit() const { return left_commit_; }

private:
  Process& victim() { return world_.processes[plan_.victim]; }

  template<class Action> void guard(Process& process, Action&& action) {
    try {
      action();
    } catch (const Kill&) {
      replace(process);
    }
  }
  void replace(Process& process) {
    ++kills_;
    process.stop();
    const bool between_commits = world_.is_between_commits();
    left_commit_ = left_commit_ || !between_commits;
    if (between_commits) check_sums(world_);
    if (plan_.meanwhile != Meanwhile::nothing)
      world_.run_kernel(FANTAIL_TX_FRAMES, FANTAIL_TX_FRAMES);
    if (plan_.meanwhile == Meanwhile::all_others_run) {
      world_.turn();
      world_.run_kernel(FANTAIL_TX_FRAMES, FANTAIL_TX_FRAMES);
      world_.turn();
    }
    process.stores = {0, kills_ == 1 ? plan_.second : never, {}};
    guard(process, [&] { process.start(); });
    process.stores.kill_at = never;
    if (!between_commits) check_sums(world_);
  }

  World& world_;
  Plan plan_;
  int kills_ = 0;
  bool left_commit_ = false;
};

std::string describe(const Plan& plan) {
  return "process " + std::to_string(plan.victim) + " killed at store " +
         std::to_string(plan.first) +
         (plan.second == never ? ""
                               : " and its successor at store " + std::to_string(plan.second)) +
         ", meanwhile " + std::to_string(static_cast<int>(plan.meanwhile)) + ": ";
}

using Check = void (*)(World&);

/// False if the victim was never killed by that plan: it makes fewer stores.
bool survives(World& world, const Plan& plan, std::span<const u32> rounds, Check check,
              bool twice) {
  Run run(world, plan);
  try {
    run.play(rounds);
    check(world);
  } catch (const Failure& failure) {
    throw Failure(describe(plan) + failure.what());
  }
  return twice ? run.killed_twice() : run.killed();
}

constexpr u32 stores_max = 100'000; // of one process in one scenario; more means that it never ends

/// Every process at every store. `thorough`: each with everything that may happen meanwhile; else
/// these take turns.
void kill_at_every_store(World& world, std::span<const u32> rounds, Check check, bool thorough) {
  const u32 ways = thorough ? static_cast<u32>(std::size(meanwhiles)) : 1;
  for (std::size_t victim = 0; victim < world.processes.size(); ++victim)
    for (u32 way = 0; way < ways; ++way) {
      u64 k = 0;
      while (survives(world, {victim, k, never, meanwhiles[(k + way) % std::size(meanwhiles)]},
                      rounds, check, false))
        ++k;
      expect(k > 20 && k < stores_max, "the scenario has a sensible number of stores");
    }
}

/// Every process at every store, and its successor at every store of its start.
void kill_successors_too(World& world, std::span<const u32> rounds, Check check) {
  for (std::size_t victim = 0; victim < world.processes.size(); ++victim)
    for (u64 k = 0;; ++k) {
      expect(k < stores_max, "the scenario ends");
      Run first(world, {victim, k, never, Meanwhile::nothing});
      first.play(rounds);
      if (!first.killed()) break;
      // the start has nothing to finish: now and then will do
      if (!first.left_commit() && k % 16 != 0) continue;
      u64 j = 0;
      while (survives(world, {victim, k, j, meanwhiles[(k + j) % std::size(meanwhiles)]}, rounds,
                      check, true))
        ++j;
      expect(j != 0, "a successor makes stores when it starts");
    }
}

// -- a TX ring that runs full ---------------------------------------------------------------------

/// Fills the TX ring while the kernel takes nothing, until `room` descriptors are left.
void fill_tx_ring(World& world, u32 room) {
  world.start();
  const u32 copies = FANTAIL_TX_FRAMES - room;
  expect_equal(copies % world.shape().subscribers, 0u, "copies that do not fit a whole packet");
  for (u32 packets = copies / world.shape().subscribers; packets != 0;) {
    const u32 some = std::min(packets, FANTAIL_BURST_MAX);
    world.deliver(0, some);
    world.turn();
    world.turn();
    packets -= some;
  }
  for (int i = 0; i < 4; ++i) world.turn();
  expect_equal(world.tx[0].waiting(), copies, "descriptors on the TX ring");
}

/// Every copy was sent once and in order, or dropped as tx_full (or as backlog: in place, that
/// limit is as near).
void check_sent_or_full(World& world) {
  check_sums(world);
  check_feed(world);
  for (u16 row = 0; row < world.shape().subscribers; ++row) {
    const Received got = read_datagrams(world, world.supervisor.record(row), true);
    const counters& account = world.arena().counters(row);
    expect_equal(account.received, world.delivered[0], "received");
    expect_equal(account.sent, got.count, "sent");
    const u64 dropped = account.drop[DROP_TX_FULL] + account.drop[DROP_BACKLOG];
    expect_equal(dropped, world.delivered[0] - got.count, "dropped as tx_full or backlog");
    expect_equal(account.bytes, got.bytes, "bytes");
  }
}

// -- a random run with many kills -----------------------------------------------------------------

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
    const u32 q = random_.below(world_.shape().queues);
    const KernelRing fill = world_.queue(q).fill_ring();
    // the kernel would drop, which is its affair
    if (peek(*fill.producer) - peek(*fill.consumer) < packets) return;
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
    for (u32 q = 0; q < world_.shape().queues; ++q) {
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

// -- cases ----------------------------------------------------------------------------------------

constexpr u32 wrap_kernel = 0xffffffffu - 2; // three slots before cursors of kernel rings wrap
constexpr u64 wrap_ring = ~0ull - 1;         // two slots before cursors of arena rings wrap
constexpr u32 rounds[] = {2, 3, 1};
constexpr u32 short_rounds[] = {1};

void every_store(const Shape& shape) {
  World world(shape);
  world.save();
  kill_at_every_store(world, rounds, check_all_delivered,
                      shape.queues == 1 && shape.kind == LAYOUT_SPLIT);
}

void every_second_kill(const Shape& shape) {
  World world(shape);
  world.save();
  kill_successors_too(world, short_rounds, check_all_delivered);
}

/// A filter's state has seen each job once, however often the filter was asked.
void check_counted_once(World& world) {
  check_all_delivered(world);
  for (u32 w = 0; w < world.shape().workers; ++w) {
    u64 owed = 0;
    for (u16 row = 0; row < world.shape().subscribers; ++row)
      if (row % world.shape().workers == w) owed += world.arena().counters(row).received;
    expect_equal(jobs_counted(world.arena(), w), owed, "jobs that the filter's state has counted");
  }
}

void state_survives(const Shape& shape) {
  World world(shape);
  world.save();
  kill_at_every_store(world, rounds, check_counted_once, false);
  if (shape.subscribers == 1) kill_successors_too(world, short_rounds, check_counted_once);
}

void single_kills(Suite& suite) {
  const struct {
    const char* requirement;
    Shape shape;
  } cases[] = {
      {"a kill at any store loses nothing: split, sent in place",
       {LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0}},
      {"a kill at any store loses nothing: split, copied",
       {LAYOUT_SPLIT, 1, 1, 3, Rewrite::plain, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: inline, sent in place, longer header",
       {LAYOUT_INLINE, 1, 1, 1, Rewrite::longer, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: inline, copied, shorter",
       {LAYOUT_INLINE, 1, 1, 3, Rewrite::shorter, 0, 0}},
      {"a kill at any store loses nothing: split, two queues, two workers",
       {LAYOUT_SPLIT, 2, 2, 3, Rewrite::plain, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: split, two queues, one worker, sent in place",
       {LAYOUT_SPLIT, 2, 1, 1, Rewrite::shorter, wrap_kernel, 0}},
      {"a kill at any store loses nothing: inline, two queues, two workers",
       {LAYOUT_INLINE, 2, 2, 3, Rewrite::longer, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: inline, two queues, two workers, sent in place",
       {LAYOUT_INLINE, 2, 2, 1, Rewrite::plain, wrap_kernel, wrap_ring}},
  };
  for (const auto& one : cases) suite.run(one.requirement, [&] { every_store(one.shape); });
  suite.run("a kill at any store leaves a filter's state as if each packet had been filtered once: "
            "in place",
            [] {
              state_survives({LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, wrap_kernel, wrap_ring, true});
            });
  suite.run("a kill at any store leaves a filter's state as if each packet had been filtered once: "
            "copied",
            [] { state_survives({LAYOUT_INLINE, 1, 1, 2, Rewrite::plain, 0, 0, true}); });
}

void double_kills(Suite& suite) {
  suite.run("a successor that is killed while it starts loses nothing: sent in place", [] {
    every_second_kill({LAYOUT_SPLIT, 1, 1, 1, Rewrite::longer, wrap_kernel, wrap_ring});
  });
  suite.run("a successor that is killed while it starts loses nothing: copied", [] {
    every_second_kill({LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, wrap_kernel, wrap_ring});
  });
}

void full_ring(Suite& suite) {
  for (const u32 subscribers : {1u, 3u})
    suite.run(subscribers == 1
                  ? "a kill while the TX ring is nearly full loses nothing but tx_full: in place"
                  : "a kill while the TX ring is nearly full loses nothing but tx_full: copied",
              [&] {
                World world(
                    {LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, wrap_kernel, wrap_ring});
                fill_tx_ring(world, subscribers == 1 ? 2 : 7);
                world.save();
                constexpr u32 one_round[] = {4};
                kill_at_every_store(world, one_round, check_sent_or_full, false);
              });
}

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
  suite.run("the scenario without a kill delivers everything", [] {
    World world({fantail::LAYOUT_SPLIT, 2, 2, 3, Rewrite::plain, wrap_kernel, wrap_ring});
    world.save();
    expect(
        !survives(world, {0, never, never, Meanwhile::nothing}, rounds, check_all_delivered, false),
        "nobody died");
  });
  single_kills(suite);
  double_kills(suite);
  full_ring(suite);
  storms(suite);
  return suite.end();
}
