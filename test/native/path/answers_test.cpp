// SPDX-License-Identifier: MIT-0
//
// A filter whose answers are random: the fields of every answer uniform, at their borders or all
// ones, the question that stands beside it overwritten, jobs that nobody asked about written too,
// any bytes in the header slots.
//
// An oracle reads the jobs as the filter has left them and says what each copy must become. Every
// copy ends in exactly that outcome, counted at its own subscriber; what is transmitted is the
// oracle's frames, in order; every TX and RX frame is still in exactly one place. ASan sees what is
// read or written past a bound.
#undef NDEBUG
#include <algorithm>

#include "path/rx_stage.hpp"
#include "path/tx_stage.hpp"
#include "rig/oracle.hpp"
#include "rig/socket_arena.hpp"

namespace fantail::testing {
namespace {

constexpr u32 worlds = 48, bursts = 16; // of each case; about 2 s
constexpr u32 packets_max = 24;         // of a burst
constexpr u32 payload_max = 1500;       // some frames are longer than the MTU lets go out
constexpr u32 length_max = 1514, length_min = 14;
constexpr u32 ethernet = 14, plain = 42;

/// What one copy must become.
struct Copy {
  u16 row;
  u32 why; // enum drop; DROP_COUNT: it is sent
  Bytes frame;
};

// -- the answers ----------------------------------------------------------------------------------

u32 odd_word(Random& random) {
  constexpr u32 borders[] = {0,      1,      2,       13,         14,         41,      42,
                             43,     255,    256,     257,        1514,       4096,    0x7fff,
                             0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, ~0u - 1, ~0u};
  if (random.once_in(2)) return borders[random.below(std::size(borders))];
  return random.once_in(2) ? random.below(300) : static_cast<u32>(random.next());
}

/// Within one of `border`, seldom elsewhere.
u32 near(Random& random, u32 border) {
  return random.once_in(8) ? odd_word(random) : border - 1 + random.below(3);
}

/// A sending answer whose three numbers are about to break one bound: of the slot, the packet,
/// Ethernet or the MTU.
void answer_at_a_border(Random& random, job& asked, u32 length) {
  u32 start = random.below(FANTAIL_SLOT_SIZE + 1), header = plain, replaced = plain;
  switch (random.below(5)) {
  case 0: header = near(random, FANTAIL_SLOT_SIZE - start); break;
  case 1: replaced = near(random, length); break;
  case 2: // what is left is about as long as an Ethernet header
    header = random.below(20);
    replaced = near(random, length + header - length_min);
    break;
  case 3: // or as the MTU
    header = random.below(FANTAIL_SLOT_SIZE + 1);
    start = 0;
    replaced = near(random, length + header > length_max ? length + header - length_max : 0);
    break;
  default: start = random.below(FANTAIL_SLOT_SIZE - plain + 1); // lawful
  }
  asked.verdict = FILTER_VERDICT_SEND;
  asked.header_start = static_cast<u16>(start);
  asked.header_length = static_cast<u16>(header);
  asked.replaced = replaced;
}

void answer_at_random(Random& random, job& asked) {
  const u32 verdict = random.below(4);
  asked.verdict = verdict < 2    ? u32{FILTER_VERDICT_SEND}
                  : verdict == 2 ? odd_word(random)
                                 : FANTAIL_VERDICT_UNSET;
  asked.header_start = static_cast<u16>(odd_word(random));
  asked.header_length = static_cast<u16>(odd_word(random));
  asked.replaced = odd_word(random);
}

/// What a filter may do to its question: nothing that native code asks it may be believed
/// afterwards.
void scribble(Random& random, job& asked) {
  asked.packet = odd_word(random);
  asked.length = odd_word(random);
  asked.slot = odd_word(random);
  asked.subscriber = odd_word(random);
  asked.payload_sum = odd_word(random);
}

// -- the oracle -----------------------------------------------------------------------------------

Copy oracle(u16 row, const Bytes& packet, const u8* slot, const job& answer) {
  const u64 start = answer.header_start, header = answer.header_length, replaced = answer.replaced;
  if (answer.verdict == FANTAIL_VERDICT_UNSET) return {row, DROP_FILTER_TRAP, {}};
  if (answer.verdict == FILTER_VERDICT_DROP_COPY) return {row, DROP_FILTER_DROP, {}};
  if (answer.verdict != FILTER_VERDICT_SEND) return {row, DROP_FILTER_BAD_ANSWER, {}};
  if (start + header > FANTAIL_SLOT_SIZE || replaced > packet.size())
    return {row, DROP_FILTER_BAD_ANSWER, {}};
  Bytes frame(slot + start, slot + start + header);
  frame.insert(frame.end(), packet.begin() + static_cast<long>(replaced), packet.end());
  if (frame.size() < length_min) return {row, DROP_FILTER_BAD_ANSWER, {}};
  if (frame.size() > length_max) return {row, DROP_TOO_BIG, {}};
  return {row, DROP_COUNT, std::move(frame)};
}

// -- one world ------------------------------------------------------------------------------------

struct Sums {
  u64 received = 0, sent = 0, bytes = 0;
  u64 drop[DROP_COUNT]{};
};

class Trial {
public:
  Trial(Random& random, const Shape& shape, bool kernel)
      : random_(random), world_(shape), arena_(world_.arena()), kernel_(kernel),
        sums_(shape.subscribers) {
    sent_.resize(shape.workers);
    link_.connect_to(sink_.port());
    for (Process& process : world_.processes) process.kernel_sockets = {link_.fd()};
    world_.start();
    world_.settle();
    if (!kernel) return;
    world_.supervisor.record(0).state = SUBSCRIBER_STATE_KERNEL; // row 0, and so worker 0
    expect(world_.supervisor.publish(), "published");
    world_.settle();
  }

  void burst() {
    for (u32 count = 1 + random_.below(packets_max); count != 0; --count) deliver();
    do {
      for (Process& process : world_.processes) turn(process);
      const bool slow = random_.once_in(3); // frames stay with the kernel over some bursts
      world_.run_kernel(slow ? random_.below(50) : FANTAIL_TX_FRAMES,
                        slow ? random_.below(50) : FANTAIL_TX_FRAMES);
    } while (!world_.is_quiet());
    for (const Socket::Datagram& datagram : sink_.take()) datagrams_.push_back(datagram.payload);
    check_sums(world_);
  }

  void check() {
    for (u32 w = 0; w < world_.shape().workers; ++w) check_frames(w);
    for (u16 row = 0; row < world_.shape().subscribers; ++row) {
      if (kernel_ && row == 0) check_kernel();
      else check_account(row);
    }
  }
  u64 copies() const { return copies_; }

private:
  void deliver() {
    Bytes payload(random_.below(random_.once_in(4) ? payload_max : 64));
    for (u8& byte : payload) byte = static_cast<u8>(random_.next());
    expect(world_.rx[random_.below(world_.shape().queues)].deliver(feed_frame(payload)),
           "delivered");
  }

  /// One turn of a process, as Process::turn() makes it, with all jobs in the filter's hand at
  /// once.
  void turn(Process& process) {
    const u32 process_index = static_cast<u32>(&process - world_.processes.data());
    const bool split = world_.shape().kind == LAYOUT_SPLIT;
    // the receiver, which has no filter
    if (split && process_index == 0) return process.turn(world_.filter);
    const u32 worker = process_index - (split ? 1 : 0);
    if (!split)
      for (u32 q = worker, i = 0; q < world_.shape().queues; q += world_.shape().workers, ++i)
        process.rx(i).turn();
    process.tx().gather();
    if (process.tx().jobs() != 0) answer(worker, process.tx().jobs());
    process.tx().finish();
  }

  void answer(u32 worker, u32 count) {
    job* jobs = arena_.jobs(worker);
    std::vector<std::pair<u16, Bytes>> asked;
    for (u32 i = 0; i < count; ++i) {
      const Question question = question_of(arena_, worker, jobs[i]);
      asked.emplace_back(static_cast<u16>(ntohs(question.to->port) - 10000),
                         Bytes(question.packet, question.packet + jobs[i].length));
      answer_one(jobs[i], question);
    }
    // jobs of nobody, and of others than itself
    for (u32 more = random_.below(8); more != 0; --more) {
      job& any = jobs[random_.once_in(2) ? random_.below(FANTAIL_JOBS_MAX) : random_.below(count)];
      scribble(random_, any);
      answer_at_random(random_, any);
    }
    for (u32 i = 0; i < count; ++i) {
      const u8* slot =
          reinterpret_cast<const u8*>(arena_.slots(worker)) + u64{i} * FANTAIL_SLOT_SIZE;
      note(worker, oracle(asked[i].first, asked[i].second, slot, jobs[i]));
    }
    copies_ += count;
  }

  void answer_one(job& asked, const Question& question) {
    const u32 length = asked.length;
    for (u32 i = 0; i < FANTAIL_SLOT_SIZE; ++i) question.slot[i] = static_cast<u8>(random_.next());
    if (random_.once_in(3)) { // a header that a kernel socket can send, where most starts are
      const Bytes header = new_header(*question.to, length - plain, Rewrite::plain);
      std::memcpy(question.slot + FANTAIL_SLOT_HEADROOM, header.data(), header.size());
    }
    if (random_.once_in(4)) answer_at_random(random_, asked);
    else answer_at_a_border(random_, asked, length);
    if (random_.once_in(2)) asked.header_start = FANTAIL_SLOT_HEADROOM;
    if (random_.once_in(3)) scribble(random_, asked);
  }

  void note(u32 worker, Copy copy) {
    Sums& sums = sums_[copy.row];
    ++sums.received;
    if (copy.why != DROP_COUNT) {
      ++sums.drop[copy.why];
      return;
    }
    ++sums.sent;
    sums.bytes += copy.frame.size();
    if (kernel_ && copy.row == 0) kernel_copies_.push_back(std::move(copy.frame));
    else sent_[worker].push_back(std::move(copy.frame));
  }

  /// What the worker has transmitted is what it had to, nothing left out.
  void check_frames(u32 worker) const {
    const std::vector<Bytes>& is = world_.tx[worker].sent();
    const std::vector<Bytes>& should = sent_[worker];
    expect_equal(is.size(), should.size(), "frames transmitted");
    for (std::size_t i = 0; i < is.size(); ++i)
      if (is[i] != should[i])
        fail("frame " + std::to_string(i) + " of worker " + std::to_string(worker) +
             " is another one");
  }

  void check_account(u16 row) const {
    const counters& account = arena_.counters(row);
    const Sums& sums = sums_[row];
    expect_equal(account.received, sums.received, "received");
    expect_equal(account.sent, sums.sent, "sent");
    expect_equal(account.bytes, sums.bytes, "bytes");
    expect_equal(in_flight_of(account), 0u, "in flight");
    for (u32 why = 0; why < DROP_COUNT; ++why)
      expect_equal(account.drop[why], sums.drop[why], drop_names[why]);
  }

  /// Of a subscriber behind a kernel socket: what can go, as many a burst as there is room for; the
  /// order is kept.
  void check_kernel() const {
    const counters& account = arena_.counters(0);
    const Sums& sums = sums_[0];
    const u64 refused = account.drop[DROP_NO_NEIGHBOUR] + account.drop[DROP_UNSUPPORTED_HEADER];
    expect_equal(account.received, sums.received, "received through the kernel");
    expect_equal(account.sent + refused, sums.sent,
                 "sent through the kernel, or more or other than that can send");
    for (const drop why :
         {DROP_FILTER_DROP, DROP_FILTER_TRAP, DROP_FILTER_BAD_ANSWER, DROP_TOO_BIG})
      expect_equal(account.drop[why], sums.drop[why], drop_names[why]);
    expect_equal(datagrams_.size(), account.sent, "datagrams");
    std::size_t next = 0;
    for (const Bytes& datagram : datagrams_) {
      while (next < kernel_copies_.size() && !is_packet_of(datagram, kernel_copies_[next])) ++next;
      expect(next++ < kernel_copies_.size(), "a datagram that nobody answered");
    }
  }
  /// A UDP socket stands in for the raw one: its datagrams are the IP packets.
  static bool is_packet_of(const Bytes& datagram, const Bytes& frame) {
    return std::equal(datagram.begin(), datagram.end(), frame.begin() + ethernet, frame.end());
  }

  Random& random_;
  World world_;
  const Arena& arena_;
  bool kernel_;
  std::vector<Sums> sums_;               // per row
  std::vector<std::vector<Bytes>> sent_; // per worker
  std::vector<Bytes> kernel_copies_, datagrams_;
  Socket link_, sink_;
  u64 copies_ = 0;
};

void try_shapes(u64 seed, layout kind, bool kernel) {
  Random random(seed + kind * 2 + kernel);
  u64 copies = 0;
  for (u32 i = 0; i < worlds; ++i) {
    const u32 queues = 1 + random.below(2);
    Trial trial(
        random,
        Shape{kind, queues, 1 + random.below(queues), 1 + random.below(4), Rewrite::plain, 0, 0},
        kernel);
    for (u32 b = 0; b < bursts; ++b) trial.burst();
    trial.check();
    copies += trial.copies();
  }
  std::printf("     %llu copies\n", static_cast<unsigned long long>(copies));
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  const fantail::u64 seed = suite.seed();
  for (const fantail::layout kind : {fantail::LAYOUT_INLINE, fantail::LAYOUT_SPLIT}) {
    const std::string name = fantail::layout_names[kind];
    suite.run(("random answers end as the oracle says, and what is sent is what it says: " + name)
                  .c_str(),
              [&] { try_shapes(seed, kind, false); });
    suite.run(("the same with a subscriber behind a kernel socket: " + name).c_str(),
              [&] { try_shapes(seed, kind, true); });
  }
  return suite.end();
}
