// SPDX-License-Identifier: MIT-0
//
// The subscriber table: a worker in a burst keeps the table it began with; a buffer and a row are
// used again only after everybody has passed them; counts start with an add, stop with a remove and
// restart with the next.
#undef NDEBUG
#include <atomic>
#include <thread>

#include "path/rx_stage.hpp"
#include "path/tx_stage.hpp"
#include "rig/oracle.hpp"

namespace fantail::testing {
namespace {

constexpr std::size_t receiver_process = 0, worker_process = 1; // of a split world with one worker

/// A split world that runs, with as many subscribers as wanted.
std::unique_ptr<World> running_world(u32 subscribers, u32 workers = 1) {
  auto world = std::make_unique<World>(
      Shape{LAYOUT_SPLIT, workers, workers, subscribers, Rewrite::plain, 0, 0});
  world->start();
  return world;
}

void burst_keeps_its_table() {
  const auto world = running_world(2);
  world->settle();
  world->deliver(0, 3);
  world->processes[receiver_process].turn(world->filter);

  TxStage& stage = world->processes[worker_process].tx();
  stage.gather();
  expect_equal(stage.jobs(), 6u, "jobs of the burst");
  const u16 third = world->supervisor.add(2, 0);
  world->supervisor.remove(0);
  expect(world->supervisor.publish(), "the next table is published while the burst is under way");
  const u16 fourth = world->supervisor.add(3, 0);
  world->processes[receiver_process].turn(world->filter); // the receiver follows at once
  expect(!world->supervisor.publish(),
         "the one after it would take the buffer that the burst reads: refused");
  expect(fourth != 0, "the row that was removed is not used again yet");

  for (u32 i = 0; i < 6; ++i)
    answer_lawfully(world->arena(), 0, world->arena().jobs(0)[i], Rewrite::plain);
  stage.finish();
  expect(!world->supervisor.publish(), "the worker has not looked again: still refused");
  world->settle();
  expect(world->supervisor.publish(), "once it follows, the buffer is free");
  world->settle();

  expect_equal(world->arena().counters(0).received, 3u, "owed to the one that was removed");
  expect_equal(world->arena().counters(third).received, 0u,
               "owed to the one that was added after the burst began");
  expect(world->supervisor.publish() && world->supervisor.add(4, 0) == 0,
         "then the row is free too");
  check_sums(*world);
}

void counts_from_add_to_remove() {
  const auto world = running_world(1);
  world->deliver(0, 5);
  world->settle();
  const u16 row = world->supervisor.add(7, 0);
  const subscriber first = world->supervisor.record(row);
  world->supervisor.publish();
  world->settle();
  world->deliver(0, 4);
  world->settle();
  expect_equal(world->arena().counters(row).received, 4u, "owed since it was added");
  world->supervisor.remove(row);
  world->supervisor.publish();
  world->settle();
  world->deliver(0, 6);
  world->settle();
  expect_equal(world->arena().counters(row).received, 4u, "owed after it was removed");
  expect_equal(read_datagrams(*world, first).count, 4u, "datagrams it got");
  expect_equal(world->arena().counters(0).sent, 15u, "sent to the one that stayed");
}

void rows_restart() {
  const auto world = running_world(1);
  world->deliver(0, 5);
  world->settle();
  world->supervisor.remove(0);
  world->supervisor.publish();
  world->settle();
  world->supervisor.publish(); // nobody follows the old one any more: the row is free
  world->settle();
  expect_equal(world->supervisor.add(9, 0), 0u, "the row of the next subscriber");
  const u64 epoch = world->supervisor.record(0).epoch;
  world->supervisor.publish();
  world->settle();
  expect_equal(world->arena().counters(0).epoch, epoch, "whom the row counts for");
  expect_equal(world->arena().counters(0).received, 0u, "its count");
  expect_equal(world->arena().counters(0).bytes, 0u, "its bytes");
  world->deliver(0, 2);
  world->settle();
  expect_equal(world->arena().counters(0).sent, 2u, "sent to it");
  check_sums(*world);
}

/// A copy in flight belongs to the subscriber it was made for, whoever has the row when it
/// completes.
void late_completions_count_for_nobody_else() {
  const auto world = running_world(1);
  world->settle();
  world->deliver(0, 2);
  world->turn();
  world->turn();
  world->supervisor.remove(0);
  expect(world->supervisor.publish(), "published");
  world->turn();
  world->turn();
  expect(world->supervisor.publish(), "published again, while the kernel still has the copies");
  expect(world->supervisor.add(1, 0) != 0, "a row with copies in flight is not used again");
  world->turn();
  world->settle();
  expect_equal(world->arena().counters(0).sent, 2u, "sent to the one that left");
  check_sums(*world);
}

void removed_worker_gets_nothing() {
  const auto world = running_world(2, 2);
  world->settle();
  world->supervisor.remove(1); // the only one of worker 1
  world->supervisor.publish();
  world->settle();
  const u64 before = world->forward(0, 1).tail;
  world->deliver(0, 3);
  world->settle();
  expect_equal(world->forward(0, 1).tail, before, "frames handed to a worker without subscribers");
  expect_equal(world->arena().counters(0).received, 3u, "owed to the other");
}

void states_decide() {
  const struct {
    u16 state;
    u64 received;
    int drop; // -1: none
  } cases[] = {{SUBSCRIBER_STATE_UNRESOLVED, 4, DROP_NO_NEIGHBOUR},
               {SUBSCRIBER_STATE_NO_ROUTE, 4, DROP_NO_ROUTE},
               {SUBSCRIBER_STATE_PAUSED, 0, -1},
               // its socket is one that the worker does not have
               {SUBSCRIBER_STATE_KERNEL, 4, DROP_NO_NEIGHBOUR}};
  for (const auto& one : cases) {
    const auto world = running_world(2);
    world->supervisor.record(1).state = one.state;
    world->settle();
    world->supervisor.publish();
    world->settle();
    world->deliver(0, 4);
    world->settle();
    const counters& account = world->arena().counters(1);
    expect_equal(account.received, one.received, "received");
    expect_equal(account.sent, 0u, "sent");
    if (one.drop >= 0) expect_equal(account.drop[one.drop], 4u, drop_names[one.drop]);
    expect_equal(world->arena().counters(0).sent, 4u, "sent to the other");
    check_sums(*world);
  }
}

// -- three threads --------------------------------------------------------------------------------

/// A receiver and a worker in threads of their own, while the supervisor adds and removes as fast
/// as it may. Under TSan this is the proof that nobody reads a table, a frame or a slot that
/// another writes.
class Threads {
public:
  Threads() : world_(Shape{LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0}) {}

  void run() {
    std::thread receiver([this] { receive(); });
    std::thread worker([this] { transmit(); });
    std::string trouble;
    while (!done_ && trouble.empty()) {
      changes_ += change() ? 1 : 0;
      trouble = unbalanced();
      std::this_thread::yield();
    }
    stop_ = true;
    receiver.join();
    worker.join();
    if (!trouble.empty()) fail(trouble);
    expect(changes_ >= changes_wanted, "the table changed often");
    world_.delivered[0] = total_;
    const Received got = read_datagrams(world_, world_.supervisor.record(0));
    expect_equal(got.count, total_.load(), "packets that the one that stayed got");
    check_sums(world_);
  }

private:
  // Traffic goes on until there was enough of both; the last is where a supervisor that is stuck
  // fails.
  static constexpr u64 packets_wanted = 10'000, changes_wanted = 200, packets_max = 1'000'000;

  void receive() {
    RxStage stage(world_.arena(), 0,
                  {{world_.arena().ring_frames(0), world_.queue(0).rx_ring(),
                    world_.queue(0).fill_ring(), nullptr, -1}},
                  {-1});
    ready_ = true;
    u64 delivered = 0;
    while (!stop_) {
      for (u32 i = 0; i < 8 && total_ == 0 && served_ && delivered - finished_ < 2000; ++i) {
        if (world_.rx[0].deliver(feed_frame(payload_of(0, delivered)))) ++delivered;
        const bool enough = delivered >= packets_wanted && changes_ >= changes_wanted;
        if (enough || delivered == packets_max) total_ = delivered;
      }
      if (stage.turn() == 0) std::this_thread::yield();
    }
  }
  void transmit() {
    QueueMemory& own = world_.queue(0);
    TxStage stage(world_.arena(), 0, {own.tx_ring(), own.completion_ring(), nullptr, -1}, {});
    while (!ready_) std::this_thread::yield(); // both follow the first table from here on
    served_ = true;
    while (!stop_) {
      stage.gather();
      for (u32 i = 0; i < stage.jobs(); ++i)
        answer_lawfully(world_.arena(), 0, world_.arena().jobs(0)[i], Rewrite::plain);
      stage.finish();
      world_.tx[0].transmit(FANTAIL_TX_FRAMES);
      world_.tx[0].complete(FANTAIL_TX_FRAMES);
      finished_ = peek(world_.arena().worker(0).packets);
      if (total_ != 0 && finished_ == total_ && world_.tx[0].is_idle() && stage.was_idle())
        done_ = true;
      if (stage.packets() == 0) std::this_thread::yield();
    }
  }
  /// Adds or removes one subscriber, if everybody has followed the last change.
  bool change() {
    if (!world_.supervisor.is_followed()) return false;
    if (guest_ == 0) guest_ = world_.supervisor.add(++number_, 0);
    else world_.supervisor.remove(std::exchange(guest_, u16{0}));
    return world_.supervisor.publish();
  }
  /// What is wrong with an account as `stats` would read it now; empty: nothing.
  std::string unbalanced() {
    for (u16 row = 0; row < 4; ++row) {
      counters account;
      if (!read_consistent(world_.arena().worker(0).journal, world_.arena().counters(row), account,
                           1000))
        continue;
      // more frames than there are cannot be under way, and a sum that is torn wraps
      if (in_flight_of(account) > FANTAIL_TX_FRAMES + FANTAIL_RX_FRAMES)
        return "an account read in between had " + std::to_string(in_flight_of(account)) +
               " in flight";
    }
    return {};
  }

  World world_;
  u16 guest_ = 0;
  u32 number_ = 0;
  std::atomic<bool> ready_ = false, served_ = false, stop_ = false, done_ = false;
  // `total_`: packets in all, once that is known
  std::atomic<u64> finished_ = 0, changes_ = 0, total_ = 0;
};

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run(
      "a burst keeps its table, and nobody writes that buffer before the worker has passed it",
      burst_keeps_its_table);
  suite.run("received starts after add and stops after remove", counts_from_add_to_remove);
  suite.run("a row that is used again counts from zero", rows_restart);
  suite.run("a row with copies in flight is not used again",
            late_completions_count_for_nobody_else);
  suite.run("a worker without subscribers is handed nothing", removed_worker_gets_nothing);
  suite.run("a subscriber that cannot be reached gets the drop of its state", states_decide);
  suite.run(
      "adds and removes under traffic: every account balances at any time, the others miss nothing",
      [] { Threads().run(); });
  return suite.end();
}
