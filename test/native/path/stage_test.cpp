// SPDX-License-Identifier: MIT-0
//
// What the two stages do with lies and limits: filters that answer unlawfully, frames that are not
// what they say, a worker that falls behind.
#undef NDEBUG
#include <sys/eventfd.h>

#include <algorithm>

#include "path/tx_stage.hpp"
#include "rig/oracle.hpp"

namespace fantail::testing {
namespace {

constexpr std::size_t receiver_process = 0, worker_process = 1;

// -- answers of a filter --------------------------------------------------------------------------

/// A filter that answers lawfully, but for what a case then changes.
using Lie = void (*)(job&);

struct LieCase {
  const char* requirement;
  Lie lie;
  drop why;
};

constexpr LieCase lies[] = {
    {"a header that ends past its slot",
     [](job& j) {
       j.header_start = 250;
       j.header_length = 42;
     },
     DROP_FILTER_BAD_ANSWER},
    {"a header that starts past its slot",
     [](job& j) {
       j.header_start = 65535;
       j.header_length = 65535;
     },
     DROP_FILTER_BAD_ANSWER},
    {"a header longer than its slot",
     [](job& j) {
       j.header_start = 0;
       j.header_length = 257;
     },
     DROP_FILTER_BAD_ANSWER},
    {"replaced one past the packet", [](job& j) { j.replaced = j.length + 1; },
     DROP_FILTER_BAD_ANSWER},
    {"replaced 2^32 - 1", [](job& j) { j.replaced = ~0u; }, DROP_FILTER_BAD_ANSWER},
    {"replaced more, and a length that hides it",
     [](job& j) {
       j.replaced = j.length + 10;
       j.length += 100;
     },
     DROP_FILTER_BAD_ANSWER},
    {"nothing left of the frame",
     [](job& j) {
       j.replaced = j.length;
       j.header_length = 0;
     },
     DROP_FILTER_BAD_ANSWER},
    {"a frame shorter than Ethernet",
     [](job& j) {
       j.replaced = j.length;
       j.header_length = 13;
     },
     DROP_FILTER_BAD_ANSWER},
    {"a verdict that does not exist", [](job& j) { j.verdict = 2; }, DROP_FILTER_BAD_ANSWER},
    {"a verdict of 2^32 - 2", [](job& j) { j.verdict = ~1u; }, DROP_FILTER_BAD_ANSWER},
    {"a verdict left unset", [](job& j) { j.verdict = FANTAIL_VERDICT_UNSET; }, DROP_FILTER_TRAP},
    {"a drop",
     [](job& j) {
       j.verdict = FILTER_VERDICT_DROP_COPY;
       j.header_length = 9999;
     },
     DROP_FILTER_DROP},
};

/// A copy of everything but what the worker itself writes in a burst: the frames, and the accounts
/// of the others.
Bytes frames_of(World& world) {
  const char* first = world.arena().umem();
  // those of the first packets
  return Bytes(first, first + world.arena().header().rx_frames * u64{FANTAIL_FRAME_SIZE} / 64);
}

/// Every second packet's job for the last subscriber is answered with a lie.
void check_lie(const LieCase& one, u32 subscribers) {
  World world(Shape{LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  const u16 liar = static_cast<u16>(subscribers - 1);
  u32 lied = 0;
  Bytes before;
  world.filter = [&](const Arena& arena, u32 worker, job& asked) {
    const u16 number = static_cast<u16>(ntohs(question_of(arena, worker, asked).to->port) - 10000);
    answer_lawfully(arena, worker, asked, Rewrite::plain);
    if (number != liar) return;
    one.lie(asked);
    ++lied;
  };
  world.deliver(0, 6);
  before = frames_of(world);
  world.settle();
  expect_equal(lied, 6u, "lies told");
  const counters& account = world.arena().counters(liar);
  expect_equal(account.received, 6u, "received");
  expect_equal(account.sent, 0u, "sent");
  expect_equal(account.drop[one.why], 6u, drop_names[one.why]);
  for (u16 row = 0; row < liar; ++row)
    expect_equal(world.arena().counters(row).sent, 6u, "sent to the others");
  expect(frames_of(world) == before, "no received frame was written");
  check_sums(world);
}

void lies_are_dropped(Suite& suite) {
  for (const LieCase& one : lies)
    suite.run((std::string("a filter's answer is refused by its name: ") + one.requirement).c_str(),
              [&] {
                check_lie(one, 1); // would be sent in place
                check_lie(one, 3); // would be copied
              });
}

/// The longest frame that the MTU allows, and one byte more, by a header that grows.
void too_big_is_measured() {
  for (const u32 subscribers : {1u, 2u})
    for (const u32 more : {0u, 1u}) {
      World world(Shape{LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, 0, 0});
      world.start();
      world.settle();
      const u32 added = 8 + more, payload = 1500 - 28 - 8;
      world.filter = [&](const Arena& arena, u32 worker, job& asked) {
        answer_lawfully(arena, worker, asked, Rewrite::plain);
        asked.header_length = static_cast<u16>(FANTAIL_HEADER_SIZE + added);
      };
      expect(world.rx[0].deliver(feed_frame(Bytes(payload, 0xab))), "delivered");
      world.settle();
      const counters& account = world.arena().counters(0);
      expect_equal(account.sent, 1 - more, "sent");
      expect_equal(account.drop[DROP_TOO_BIG], more, "too_big");
      if (more == 0) expect_equal(account.bytes, 1514u, "bytes on the wire");
      check_sums(world);
    }
}

/// A whole slot of header in front of the whole packet just fits into the room that the kernel
/// leaves.
void header_needs_room() {
  for (const u32 header : {42u, 200u, FANTAIL_SLOT_SIZE}) {
    World world(Shape{LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0});
    world.start();
    world.settle();
    world.filter = [&](const Arena& arena, u32 worker, job& asked) {
      answer_lawfully(arena, worker, asked, Rewrite::plain);
      asked.header_start = 0;
      asked.header_length = static_cast<u16>(header);
      asked.replaced = 0;
    };
    const Bytes frame = feed_frame(Bytes(100, 0xcd));
    expect(world.rx[0].deliver(frame), "delivered");
    world.settle();
    expect_equal(world.arena().worker(0).in_place, 1u, "sent in place");
    expect_equal(world.arena().counters(0).bytes, header + frame.size(), "bytes on the wire");
    check_sums(world);
  }
}

void trap_is_charged_once() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 3, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  world.deliver(0, 4);
  world.processes[receiver_process].turn(world.filter);
  TxStage& stage = world.processes[worker_process].tx();
  stage.gather();
  expect_equal(stage.jobs(), 12u, "jobs");
  const auto answer = [&](u32 first, u32 end) {
    for (u32 i = first; i < end; ++i)
      answer_lawfully(world.arena(), 0, world.arena().jobs(0)[i], Rewrite::plain);
  };
  answer(0, 5); // job 5 traps
  expect_equal(stage.filters().trapped(0), 6u, "where the burst goes on");
  answer(6, 11); // job 11, the last, traps too
  expect_equal(stage.filters().trapped(0), 12u, "where it ends");
  stage.finish();
  world.settle();
  u64 traps = 0, sent = 0;
  for (u16 row = 0; row < 3; ++row) {
    traps += world.arena().counters(row).drop[DROP_FILTER_TRAP];
    sent += world.arena().counters(row).sent;
  }
  expect_equal(traps, 2u, "dropped as filter_trap");
  expect_equal(sent, 10u, "sent");
  expect_equal(world.arena().worker(0).traps, 2u, "traps counted");
  check_sums(world);
}

/// Rows 0 to 4 have the filters 0, 2, 0, 15, 2. Each is called once a burst for its own jobs;
/// copies leave in rotation.
void filters_share_a_burst() {
  // the last of the IPv4 destination
  constexpr u32 subscribers = 5, packets = 4, destination_byte = 33;
  constexpr u16 slots[subscribers] = {0, 2, 0, 15, 2};
  World world(Shape{LAYOUT_SPLIT, 1, 1, subscribers, Rewrite::plain, 0, 0});
  for (u16 row = 0; row < subscribers; ++row) world.supervisor.record(row).filter = slots[row];
  world.start();
  world.settle();
  expect(world.supervisor.publish(), "the table with filters is published");
  world.settle();
  world.deliver(0, packets);
  world.processes[receiver_process].turn(world.filter);
  TxStage& stage = world.processes[worker_process].tx();
  filter_calls calls{};
  stage.filters().set_calls(&calls);
  stage.gather();
  expect_equal(stage.jobs(), packets * subscribers, "jobs");
  expect_equal(stage.filters().calls(), 3u, "calls");
  u32 reached = 0;
  for (u32 call = 0; call < stage.filters().calls(); ++call) {
    expect_equal(calls.first[call], reached, "first job of a call");
    u32 packet_before = 0;
    for (u32 i = calls.first[call]; i < calls.first[call] + calls.count[call]; ++i) {
      job& asked = world.arena().jobs(0)[i];
      const Question question = question_of(world.arena(), 0, asked);
      expect_equal(u32{question.to->filter}, calls.slot[call],
                   "filter of the subscriber that the job is for");
      expect(asked.packet >= packet_before, "a packet's jobs stand together, in order of arrival");
      packet_before = asked.packet;
      answer_lawfully(world.arena(), 0, asked, Rewrite::plain);
    }
    reached += calls.count[call];
  }
  expect_equal(reached, packets * subscribers, "jobs of all calls");
  stage.finish();
  world.settle();
  const std::vector<Bytes>& sent = world.tx[0].sent();
  expect_equal(sent.size(), std::size_t{packets * subscribers}, "copies");
  const auto number_of = [&](u32 i) { return u32{sent[i][destination_byte]}; };
  const u32 lowest =
      std::min({number_of(0), number_of(1), number_of(2), number_of(3), number_of(4)});
  for (u32 i = 0; i < sent.size(); ++i) {
    // each packet starts one further on
    const u32 turn = i / subscribers + i % subscribers + (number_of(0) - lowest);
    expect_equal(number_of(i) - lowest, turn % subscribers,
                 ("subscriber of copy " + std::to_string(i)).c_str());
  }
  for (const u32 slot : {0u, 2u, 15u}) {
    const filter_slot& counted = world.arena().filter(0, slot);
    const u64 jobs = packets * (slot == 15 ? 1 : 2);
    expect_equal(counted.calls, 1u, "calls counted");
    expect_equal(counted.jobs, jobs, "jobs counted");
    expect_equal(counted.sent, jobs, "jobs answered with send");
  }
  check_sums(world);
}

/// Another owner's state, and another module's counts, start from zero; the same ones go on.
void state_has_an_owner() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0, true});
  world.start();
  world.settle();
  world.deliver(0, 3);
  world.settle();
  TxStage& stage = world.processes[worker_process].tx();
  stage.filters().set_module(0, 1);
  world.deliver(0, 2);
  world.settle();
  stage.filters().set_module(0, 1);
  stage.filters().set_state(0, count_block, 1);
  expect_equal(jobs_counted(world.arena(), 0), u64{5}, "counted by the same owner");
  expect_equal(world.arena().filter(0, 0).jobs, u64{2}, "jobs of the same module");
  stage.filters().set_module(0, 2);
  stage.filters().set_state(0, count_block, 2);
  expect_equal(jobs_counted(world.arena(), 0), u64{0}, "counted by another owner");
  expect_equal(world.arena().filter(0, 0).jobs, u64{0}, "jobs of another module");
}

// -- frames ---------------------------------------------------------------------------------------

struct FrameCase {
  const char* requirement;
  void (*spoil)(Bytes&);
  int why; // enum invalid; -1: it is good
};

/// Sets the IPv4 length and the checksum that goes with it.
void set_ip_length(Bytes& frame, u32 length) {
  write16(&frame[16], length);
  write16(&frame[24], 0);
  write16(&frame[24], checksum_of(&frame[14]));
}

constexpr FrameCase frames[] = {
    {"a good frame", [](Bytes&) {}, -1},
    {"41 bytes", [](Bytes& f) { f.resize(41); }, INVALID_IP_LENGTH},
    {"no payload at all",
     [](Bytes& f) {
       f.resize(42);
       set_ip_length(f, 28);
       write16(&f[38], 8);
     },
     -1},
    {"an IP length below the headers", [](Bytes& f) { set_ip_length(f, 27); }, INVALID_IP_LENGTH},
    {"an IP length past the frame",
     [](Bytes& f) {
       set_ip_length(f, static_cast<u32>(f.size()) - 14 + 1);
       write16(&f[38], static_cast<u32>(f.size()) - 33);
     },
     INVALID_IP_LENGTH},
    {"an IP length of 65535", [](Bytes& f) { set_ip_length(f, 65535); }, INVALID_IP_LENGTH},
    {"a UDP length that differs", [](Bytes& f) { f[39] = static_cast<u8>(f[39] + 1); },
     INVALID_UDP_LENGTH},
    {"a UDP length of 0", [](Bytes& f) { write16(&f[38], 0); }, INVALID_UDP_LENGTH},
    {"a wrong IP checksum", [](Bytes& f) { f[25] ^= 1; }, INVALID_CHECKSUM},
    {"another ethertype", [](Bytes& f) { f[13] = 0xdd; }, INVALID_FEED},
    {"IP options", [](Bytes& f) { f[14] = 0x46; }, INVALID_FEED},
    {"TCP", [](Bytes& f) { f[23] = 6; }, INVALID_FEED},
    {"a first fragment", [](Bytes& f) { f[20] |= 0x20; }, INVALID_FEED},
    {"a later fragment", [](Bytes& f) { f[21] = 1; }, INVALID_FEED},
    {"another address", [](Bytes& f) { f[33] ^= 1; }, INVALID_FEED},
    {"another port", [](Bytes& f) { f[37] ^= 1; }, INVALID_FEED},
};

void check_frame(const FrameCase& one) {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, 0, 0});
  world.start();
  Bytes frame = feed_frame(Bytes(100, 0x5a));
  one.spoil(frame);
  for (int i = 0; i < 3; ++i) expect(world.rx[0].deliver(frame), "delivered");
  world.settle();
  const feed_counters& self = world.arena().feed_counters(0, 0);
  for (u32 why = 0; why < INVALID_COUNT; ++why)
    expect_equal(self.invalid[why], static_cast<int>(why) == one.why ? 3u : 0u, invalid_names[why]);
  expect_equal(self.received, one.why < 0 ? 3u : 0u, "received");
  expect_equal(world.arena().counters(1).sent, one.why < 0 ? 3u : 0u, "sent");
  check_sums(world); // the frames are back on the fill ring
}

void bad_frames_are_counted(Suite& suite) {
  for (const FrameCase& one : frames)
    suite.run(
        (std::string("a received frame gets its name and goes back: ") + one.requirement).c_str(),
        [&] { check_frame(one); });
}

/// Descriptors that no kernel writes: counted, and nothing outside the queue's frames is touched.
void bad_descriptors_are_counted() {
  World world(Shape{LAYOUT_SPLIT, 2, 2, 2, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  const u64 frames_end = 2ull * FANTAIL_RX_FRAMES * FANTAIL_FRAME_SIZE;
  const xdp_desc bad[] = {{frames_end, 100, 0}, // a TX frame
                          {~0ull, 100, 0},      // nowhere
                          // the other queue's
                          {u64{FANTAIL_RX_FRAMES} * FANTAIL_FRAME_SIZE, 100, 0},
                          // the slow path's
                          {u64{Arena::slow_frames().first} * FANTAIL_FRAME_SIZE, 100, 0},
                          // past its frame's end
                          {4096 - 50, 100, 0},
                          // a length that wraps
                          {256, ~0u - 255, 0}};
  const KernelRing rx = world.queue(0).rx_ring();
  for (const xdp_desc& descriptor : bad) {
    rx.descriptor(*rx.producer) = descriptor;
    kernel_store(*rx.producer, *rx.producer + 1);
  }
  world.deliver(0, 2);
  world.settle();
  expect_equal(world.arena().feed_counters(0, 0).invalid[INVALID_DESCRIPTOR], std::size(bad),
               "invalid_descriptor");
  for (u16 row = 0; row < 2; ++row)
    expect_equal(world.arena().counters(row).sent, 2u, "sent of what was good");
  check_sums(world);
}

/// A frame that workers still hold cannot come from the kernel.
void held_frames_are_not_taken_twice() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  world.deliver(0, 1);
  const KernelRing rx = world.queue(0).rx_ring();
  rx.descriptor(*rx.producer) = rx.descriptor(*rx.producer - 1);
  kernel_store(*rx.producer, *rx.producer + 1);
  world.settle();
  expect_equal(world.arena().feed_counters(0, 0).invalid[INVALID_DESCRIPTOR], 1u,
               "invalid_descriptor");
  expect_equal(world.arena().counters(0).sent, 1u, "sent");
  check_sums(world);
}

// -- limits ---------------------------------------------------------------------------------------

constexpr u32 over = 708; // frames past the backlog limit

/// A worker that stands still while its receiver runs past the limit. `dies`: its successor finds
/// all that.
void backlog_is_charged(bool dies, bool another) {
  World world(Shape{LAYOUT_SPLIT, 2, another ? 2u : 1u, another ? 4u : 2u, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  Process& stuck = world.processes[worker_process];
  const auto run_the_others = [&] {
    world.processes[receiver_process].turn(world.filter);
    if (another) world.processes[2].turn(world.filter);
    world.run_kernel(FANTAIL_TX_FRAMES, FANTAIL_TX_FRAMES);
  };
  const u32 limit = 2 * FANTAIL_BACKLOG_MAX; // of a receiver with two queues
  for (u32 sent = 0; sent < limit + over; sent += 50) {
    world.deliver(sent / 50 % 2, 50);
    run_the_others();
    run_the_others();
  }
  expect_equal(world.arena().receiver(0).backlog[0], over,
               "frames that the receiver could not hand over");
  check_sums(world);
  if (dies) stuck.stop();
  world.start();
  world.settle();
  check_sums(world);
  check_feed(world);
  for (u16 row = 0; row < world.shape().subscribers; ++row) {
    const bool late = row % world.shape().workers == 0;
    const counters& account = world.arena().counters(row);
    expect_equal(account.received, limit + over, "received");
    expect_equal(account.drop[DROP_BACKLOG], late ? over : 0u, "dropped as backlog");
    expect_equal(account.sent, limit + (late ? 0u : over), "sent");
    expect_equal(read_datagrams(world, world.supervisor.record(row), true).count, account.sent,
                 "datagrams");
  }
}

void new_subscribers_are_not_charged() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0});
  world.start();
  world.settle();
  for (u32 sent = 0; sent < FANTAIL_BACKLOG_MAX + over; sent += 64) {
    world.deliver(0, std::min(64u, FANTAIL_BACKLOG_MAX + over - sent));
    world.processes[receiver_process].turn(world.filter);
  }
  const u16 row = world.supervisor.add(1, 0);
  expect(world.supervisor.publish(), "published");
  world.processes[worker_process].stop();
  world.processes[worker_process].start();
  world.settle();
  expect_equal(world.arena().counters(0).drop[DROP_BACKLOG], over,
               "charged to who was served when they were refused");
  expect_equal(world.arena().counters(row).drop[DROP_BACKLOG], 0u, "charged to who came later");
  check_sums(world);
}

/// A receiver that died between its commit and its wake-up has left a worker asleep.
void successor_wakes_sleepers() {
  World world(Shape{LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0});
  const Fd wake(check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
  world.processes[receiver_process].wake_fds = {wake.get()};
  world.start();
  world.settle();
  eventfd_t count = 0;
  eventfd_read(wake.get(), &count);
  put(world.arena().worker(0).asleep, 1u);
  world.deliver(0, 1);
  world.processes[receiver_process].turn(world.filter);
  expect(eventfd_read(wake.get(), &count) == 0, "a push wakes a worker that sleeps");
  world.processes[receiver_process].turn(world.filter);
  expect(eventfd_read(wake.get(), &count) < 0, "a turn that moved nothing does not");
  world.processes[receiver_process].start();
  expect(eventfd_read(wake.get(), &count) == 0, "a receiver that starts does, for its predecessor");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  lies_are_dropped(suite);
  suite.run("a frame of exactly the MTU is sent, one byte more is too_big", too_big_is_measured);
  suite.run("a header may grow into the room before the packet", header_needs_room);
  suite.run("several filters share a burst: one call each, copies in the order of the rotation",
            filters_share_a_burst);
  suite.run("state starts from zeros for another owner, and counts for another module",
            state_has_an_owner);
  suite.run("a trap costs the job that trapped and no other", trap_is_charged_once);
  bad_frames_are_counted(suite);
  suite.run("a descriptor outside the queue's frames is counted and touches nothing",
            bad_descriptors_are_counted);
  suite.run("a frame that workers hold is not taken from the kernel again",
            held_frames_are_not_taken_twice);
  suite.run("frames past the backlog limit are charged exactly, once the worker runs again",
            [] { backlog_is_charged(false, false); });
  suite.run("frames past the backlog limit are charged exactly by a killed worker's successor",
            [] { backlog_is_charged(true, false); });
  suite.run("a worker that falls behind costs no other worker's subscribers a packet",
            [] { backlog_is_charged(true, true); });
  suite.run("frames refused before a subscriber was added are not charged to it",
            new_subscribers_are_not_charged);
  suite.run("a receiver's successor wakes a worker that its predecessor may have left asleep",
            successor_wakes_sleepers);
  return suite.end();
}
