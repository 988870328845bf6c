// SPDX-License-Identifier: MIT-0
//
// Sockets in the data path, over loopback: the soft link that plays the kernel's rings in socket
// mode, and the connected sockets for subscribers whose neighbour is unresolved (UDP sockets stand
// in for raw ones: their datagrams are the IP packets). A worker killed at any store: each datagram
// was sent, or is counted uncertain, at most a burst of them.
#undef NDEBUG
#include <algorithm>
#include <functional>
#include <optional>

#include "path/rx_stage.hpp"
#include "path/tx_stage.hpp"
#include "rig/oracle.hpp"
#include "rig/socket_arena.hpp"

namespace fantail::testing {
namespace {

/// A receiver and a worker in socket mode, each of which can be killed.
class SocketWorld : public SocketArena {
public:
  SocketWorld() {
    filter = [](const Arena& a, job& asked) { answer_lawfully(a, 0, asked, Rewrite::plain); };
  }

  void start_receiver() {
    const Counting counting(receiver_stores);
    soft_.emplace(arena, 0, sockets_, 0, intake_.at());
    receiver_ =
        std::make_unique<RxStage>(arena, 0,
                                  std::vector<RxLink>{{arena.ring_frames(0), soft_->rx_ring(),
                                                       soft_->fill_ring(), &*soft_, -1}},
                                  std::vector<int>{-1});
  }
  void start_worker() {
    const Counting counting(worker_stores);
    worker_ = std::make_unique<TxStage>(
        arena, 0, TxLink{soft_->tx_ring(), soft_->completion_ring(), &*soft_, -1},
        std::vector<int>{});
  }
  void stop_receiver() { receiver_.reset(); }
  void stop_worker() { worker_.reset(); }
  bool receiver_turn() {
    const Counting counting(receiver_stores);
    return receiver_->turn() != 0;
  }
  bool worker_turn() {
    const Counting counting(worker_stores);
    worker_->gather();
    for (u32 i = 0; i < worker_->jobs(); ++i) filter(arena, arena.jobs(0)[i]);
    worker_->finish();
    return worker_->packets() != 0 || !worker_->was_idle();
  }
  void settle() {
    for (int quiet = 0; quiet < 3;) quiet = receiver_turn() | worker_turn() ? 0 : quiet + 1;
  }

  Stores receiver_stores, worker_stores;
  std::function<void(const Arena&, job&)> filter;

private:
  Fd intake_memory_ = new_intake();
  MappedIntake intake_{intake_memory_.get()};
  FeedSockets sockets_{{link.fd()}, -1, listen()};
  std::optional<SoftLink> soft_; // of the receiver; the worker uses its other half
  std::unique_ptr<RxStage> receiver_;
  std::unique_ptr<TxStage> worker_;
};

std::unique_ptr<SocketWorld> running_world() {
  auto world = std::make_unique<SocketWorld>();
  world->start_receiver();
  world->start_worker();
  world->settle();
  return world;
}

void every_length_passes() {
  const auto world = running_world();
  for (u32 size = 0; size <= 3498 - 28; size += size < 64 ? 1 : 113) {
    const Bytes payload(size, static_cast<u8>(size));
    world->feed.send_to(world->link.port(), payload);
    world->settle();
    for (const Socket& sink : world->sinks) {
      const auto got = sink.take();
      expect_equal(got.size(), 1u, "datagrams that a subscriber got");
      expect(got[0].payload == payload, "its payload is untouched");
      expect_equal(got[0].ttl, 64, "its TTL");
    }
  }
}

/// A datagram longer than a frame holds is cut by the kernel, so it must not be passed on.
void too_long_is_refused() {
  const auto world = running_world();
  const u32 most = FANTAIL_FRAME_SIZE - 256 - FANTAIL_HEADER_SIZE;
  for (const u32 size : {most + 1, 65507u}) world->feed.send_to(world->link.port(), Bytes(size, 1));
  world->feed.send_to(world->link.port(), Bytes(100, 2));
  world->settle();
  expect_equal(world->arena.feed_counters(0, 0).invalid[INVALID_TOO_LONG], 2u, "invalid_too_long");
  expect_equal(world->arena.feed_counters(0, 0).received, 1u, "received");
  expect_equal(world->sinks[0].take().size(), 1u, "datagrams that a subscriber got");
  const soft_link& rings = world->arena.soft(0);
  expect_equal(rings.fill_producer - rings.fill_consumer, FANTAIL_RX_FRAMES,
               "frames back on the fill ring");
}

void headers_aim() {
  const auto world = running_world();
  world->filter = [](const Arena& arena, job& asked) {
    answer_lawfully(arena, 0, asked, Rewrite::plain);
    const Question question = question_of(arena, 0, asked);
    question.slot[FANTAIL_SLOT_HEADROOM + 15] = 0xb8; // DSCP EF
    question.slot[FANTAIL_SLOT_HEADROOM + 22] = 7;    // TTL
  };
  world->feed.send_to(world->link.port(), Bytes(10, 3));
  world->settle();
  const auto got = world->sinks[1].take();
  expect_equal(got.size(), 1u, "datagrams");
  expect_equal(got[0].tos, 0xb8, "DSCP");
  expect_equal(got[0].ttl, 7, "TTL");
}

void other_headers_drop() {
  const auto world = running_world();
  u32 asked_so_far = 0;
  world->filter = [&](const Arena& arena, job& asked) {
    answer_lawfully(arena, 0, asked, Rewrite::plain);
    u8* header = question_of(arena, 0, asked).slot + FANTAIL_SLOT_HEADROOM;
    switch (asked_so_far++ % 4) {
    case 0: header[13] = 0xdd; break;  // not IPv4
    case 1: header[14] = 0x46; break;  // options
    case 2: header[23] = 6; break;     // TCP
    default: asked.header_length = 41; // too short to aim with
    }
  };
  for (int i = 0; i < 2; ++i) world->feed.send_to(world->link.port(), Bytes{});
  world->settle();
  u64 drops = 0;
  for (u32 row = 0; row < 2; ++row)
    drops += world->arena.counters(row).drop[DROP_UNSUPPORTED_HEADER];
  expect_equal(drops, 4u, "unsupported_header");
  for (const Socket& sink : world->sinks) expect(sink.take().empty(), "nothing was sent");
}

// -- kills ----------------------------------------------------------------------------------------

Bytes payload_of_feed(u64 sequence) { return payload_of(0, sequence); }

/// The datagrams at a sink are some of the feed's, in order, none twice; those missing are at most
/// `uncertain`.
void check_sink(const std::vector<Socket::Datagram>& got, const counters& account, u64 owed,
                const std::function<Bytes(u64)>& expected) {
  expect_equal(in_flight_of(account), 0u, "in flight");
  expect_equal(account.received, owed, "received");
  const u64 uncertain = account.drop[DROP_UNCERTAIN];
  expect_equal(account.sent + uncertain, owed, "sent and uncertain");
  expect(got.size() >= account.sent && got.size() <= account.sent + uncertain,
         "what arrived is what the counts allow");
  u64 next = 0;
  for (const Socket::Datagram& datagram : got) {
    while (next < owed && datagram.payload != expected(next)) ++next;
    if (next++ == owed) fail("a datagram came twice, out of order or changed");
  }
}

void worker_kills_are_uncertain_at_most() {
  constexpr u64 packets = 5;
  u64 most = 0, k = 0;
  for (bool killed = true; killed; ++k) {
    const auto world = running_world();
    world->worker_stores = {0, k, {}};
    u64 sent = 0;
    killed = false;
    while (sent < packets) { // bursts of two and three
      for (u64 end = sent == 0 ? 2 : packets; sent < end; ++sent)
        world->feed.send_to(world->link.port(), payload_of(0, sent));
      try {
        for (int i = 0; i < 3; ++i) {
          world->receiver_turn();
          world->worker_turn();
        }
      } catch (const Kill&) {
        killed = true;
        world->worker_stores = {};
        world->stop_worker();
        world->start_worker();
      }
    }
    world->worker_stores = {};
    world->settle();
    u64 uncertain = 0;
    for (u32 i = 0; i < 2; ++i) {
      check_sink(world->sinks[i].take(), world->arena.counters(i), packets, payload_of_feed);
      uncertain += world->arena.counters(i).drop[DROP_UNCERTAIN];
    }
    expect(uncertain <= 2 * 3, "no more than one burst is uncertain");
    expect(killed || uncertain == 0, "nothing is uncertain without a kill");
    most = std::max(most, uncertain);
  }
  expect(k > 50, "there were stores to kill at");
  expect(most > 0, "some kill fell where nobody can know");
}

/// A datagram taken from the socket does not die with a receiver that has not yet said so, and none
/// is passed on twice or changed.
void receiver_kills_lose_nothing() {
  constexpr u64 packets = 4;
  u64 k = 0;
  for (bool killed = true; killed; ++k) {
    const auto world = running_world();
    world->receiver_stores = {0, k, {}};
    for (u64 i = 0; i < packets; ++i) world->feed.send_to(world->link.port(), payload_of(0, i));
    killed = false;
    try {
      for (int i = 0; i < 3; ++i) {
        world->receiver_turn();
        world->worker_turn();
      }
    } catch (const Kill&) {
      killed = true;
      world->receiver_stores = {};
      world->stop_receiver();
      world->start_receiver();
    }
    world->receiver_stores = {};
    world->settle();
    const u64 received = world->arena.feed_counters(0, 0).received;
    expect_equal(received, packets, "datagrams received");
    for (u32 i = 0; i < 2; ++i)
      check_sink(world->sinks[i].take(), world->arena.counters(i), received, payload_of_feed);
    const soft_link& rings = world->arena.soft(0);
    expect_equal(rings.fill_producer - rings.fill_consumer, FANTAIL_RX_FRAMES,
                 "frames back on the fill ring");
  }
  expect(k > 20, "there were stores to kill at");
}

/// The AF_XDP modes: one subscriber is live, the other goes through a connected kernel socket.
class KernelSocketWorld {
public:
  KernelSocketWorld() : world(Shape{LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, 0, 0}) {
    out.connect_to(sink.port());
    world.processes[1].kernel_sockets = {out.fd()};
    world.supervisor.record(1).state = SUBSCRIBER_STATE_KERNEL;
    world.start();
    world.settle();
    world.supervisor.publish();
    world.settle();
    for (Process& process : world.processes) process.stop();
    world.save();
  }

  /// The IP packet of the frame that its filter makes.
  Bytes packet(u64 sequence) {
    const Bytes& frame = world.expected(world.supervisor.record(1), 0, sequence);
    return {frame.begin() + 14, frame.end()};
  }

  World world;
  Socket out, sink;
};

void kernel_copies_are_bounded() {
  KernelSocketWorld both;
  World& world = both.world;
  world.start();
  constexpr u64 packets = 20;
  world.deliver(0, packets);
  world.settle();
  const counters& account = world.arena().counters(1);
  expect_equal(account.received, packets, "received");
  expect_equal(account.sent, FANTAIL_KERNEL_COPIES_MAX, "sent, of one burst");
  expect_equal(account.drop[DROP_NO_NEIGHBOUR], packets - FANTAIL_KERNEL_COPIES_MAX,
               "no_neighbour");
  const auto got = both.sink.take();
  expect_equal(got.size(), account.sent, "datagrams that arrived");
  for (u64 i = 0; i < got.size(); ++i)
    expect(got[i].payload == both.packet(i), "each is the next, as the filter wrote it");
  expect_equal(world.arena().counters(0).sent, packets, "sent to the one that is live");
  check_sums(world);
}

void kernel_copies_are_uncertain_at_most() {
  KernelSocketWorld both;
  World& world = both.world;
  constexpr u64 packets = 5;
  u64 most = 0, k = 0;
  for (bool killed = true; killed; ++k) {
    world.reset();
    Process& worker = world.processes[1];
    killed = false;
    worker.stores.kill_at = k;
    for (u32 burst : {2, 3}) {
      world.deliver(0, burst);
      if (!world.processes[0].runs()) world.processes[0].start();
      world.processes[0].turn(world.filter);
      try {
        if (!worker.runs()) worker.start();
        worker.turn(world.filter);
      } catch (const Kill&) {
        killed = true;
        worker.stop();
        worker.stores = {};
        worker.start();
      }
    }
    worker.stores = {};
    world.settle();
    check_sums(world);
    const counters& account = world.arena().counters(1);
    check_sink(both.sink.take(), account, packets, [&](u64 i) { return both.packet(i); });
    expect(account.drop[DROP_UNCERTAIN] <= 3, "no more than one burst is uncertain");
    expect(killed || account.drop[DROP_UNCERTAIN] == 0, "nothing is uncertain without a kill");
    most = std::max(most, account.drop[DROP_UNCERTAIN]);
    expect_equal(world.arena().counters(0).sent, packets, "sent to the one that is live");
    expect_equal(read_datagrams(world, world.supervisor.record(0)).count, packets, "its datagrams");
  }
  expect(k > 100, "there were stores to kill at");
  expect(most > 0, "some kill fell where nobody can know");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run("socket mode passes payloads of every length", every_length_passes);
  suite.run("socket mode refuses a datagram longer than a frame", too_long_is_refused);
  suite.run("socket mode takes DSCP and TTL from the filter's header", headers_aim);
  suite.run("socket mode drops what is not Ethernet, IPv4, UDP as unsupported_header",
            other_headers_drop);
  suite.run("socket mode, a worker killed at any store: each datagram was sent or is uncertain",
            worker_kills_are_uncertain_at_most);
  suite.run("socket mode, a receiver killed at any store: each datagram was passed on once",
            receiver_kills_lose_nothing);
  suite.run("at most 8 copies a burst go through a kernel socket, the rest drop",
            kernel_copies_are_bounded);
  suite.run("kernel sockets, a worker killed at any store: each datagram was sent or is uncertain",
            kernel_copies_are_uncertain_at_most);
  return suite.end();
}
