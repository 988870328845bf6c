// SPDX-License-Identifier: MIT-0
#include "link/bulk_link.hpp"

#include <bpf/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "host/clock.hpp"
#include "link/soft_link.hpp"

namespace fantail {

namespace {

// Frames of a batch: the device is given them all at once (DEV_MAP_BULK_SIZE), so that what it
// refuses is the end of them, and nothing overtakes it.
constexpr u32 batch_max = 16;
// After a refusal the frames that are left of a call are made for nothing.
constexpr u32 call_max = 1024;
// A program that is attached nowhere waits for RCU at each call, some 25 ms.
constexpr u64 slow_ns = 5'000'000;
constexpr u32 frame_min = 14; // Ethernet's header: less the kernel does not run a program on
constexpr u32 meta_size = 4;  // before the frame: the queue, for the program

void clear(bulk_list& list) { publish(*reinterpret_cast<u64*>(&list.count), u64{0}); }

bool is_before(u32 a, u32 b) { return static_cast<std::int32_t>(a - b) < 0; }

} // namespace

BulkPages::BulkPages(int fd) {
  constexpr std::size_t size = u64{FANTAIL_BULK_PAGES} * FANTAIL_FRAME_SIZE;
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (at == MAP_FAILED) throw error_of(errno, "mapping the frames that are sent in bulk");
  at_ = static_cast<char*>(at);
}

BulkPages::~BulkPages() {
  if (at_ != nullptr) munmap(at_, u64{FANTAIL_BULK_PAGES} * FANTAIL_FRAME_SIZE);
}

KernelRing BulkLink::tx_ring() const {
  return {&link_.tx_producer, &link_.tx_consumer, nullptr, link_.tx, FANTAIL_TX_FRAMES};
}
KernelRing BulkLink::completion_ring() const {
  return {&link_.completion_producer, &link_.completion_consumer, nullptr, link_.completion,
          FANTAIL_TX_FRAMES};
}

u32 BulkLink::round() const { return peek(link_.round) & ~FANTAIL_BULK_GIVEN_UP; }
bool BulkLink::has_given_up() const { return (peek(link_.round) & FANTAIL_BULK_GIVEN_UP) != 0; }

/// `of`: 0 what this round was refused, 1 what it sends again.
bulk_list& BulkLink::list(u32 of) const { return link_.lists[(round() + of) % 2]; }

void BulkLink::transmit(u64 retry_ns) {
  u64 deadline_ns = 0; // from the first copy that was refused, or call that moved nothing
  while (!is_done()) {
    if (has_given_up()) {
      complete(peek(link_.give_up_to));
      finish();
      continue;
    }
    const u32 taken = peek(list(0).count) == 0 ? call() : 0;
    const u32 refused = peek(list(0).count);
    if (refused == 0 && taken != 0) {
      deadline_ns = 0;
      is_refused_ = false;
      continue;
    }
    const u64 now = clock_ns();
    if (deadline_ns == 0) deadline_ns = now + retry_ns;
    // a device that took nothing of the last call, or a program that does not, takes no more either
    const bool is_dead = taken == refused && (refused != 0 || round() == 0);
    if (now >= deadline_ns) {
      is_refused_ = is_dead;
      give_up(is_dead ? acquire(link_.tx_producer) : peek(link_.cursor));
    } else if (refused != 0) {
      begin_round();
    }
  }
}

bool BulkLink::follow(u64 retry_ns) {
  if (has_given_up()) {
    complete(peek(link_.give_up_to));
    finish();
  }
  // In this order: at the end of the list all that was taken is counted in `taken`, and what was
  // refused of all that is settled is on the list.
  const u32 again = acquire(list(1).cursor);
  const u64 settled = acquire(link_.settled);
  const u32 refused = acquire(list(0).count), taken = acquire(link_.taken);
  note(settled);
  if (round() == 0 && refused == 0) {
    const u32 cursor = static_cast<u32>(settled);
    if (is_before(peek(link_.tx_consumer), cursor)) {
      complete(cursor);
      is_refused_ = false;
    }
    return peek(link_.tx_consumer) != peek(link_.tx_producer);
  }
  if (settled >> 32 != taken) return true;
  if (refused != 0) {
    send_again(refused, taken, retry_ns);
  } else if (again == peek(list(1).count)) {
    // this round has sent all that it had to
    complete(peek(link_.cursor));
    finish();
    is_refused_ = false;
    deadline_ns_ = 0;
  }
  return true;
}

/// All that was taken is settled, and so many were refused.
void BulkLink::send_again(u32 refused, u32 taken, u64 retry_ns) {
  // since the round began; at the first nobody knows
  const bool is_dead = deadline_ns_ != 0 && refused == taken - round_taken_;
  const u64 now = clock_ns();
  if (deadline_ns_ == 0) deadline_ns_ = now + retry_ns;
  round_taken_ = taken;
  if (now < deadline_ns_) return begin_round();
  is_refused_ = is_dead;
  give_up(is_dead ? peek(link_.tx_producer) : peek(link_.cursor));
  deadline_ns_ = 0;
}

/// Counts what was taken since it was looked at last, by whomever.
void BulkLink::note(u64 settled) {
  const u64 noted = peek(link_.noted);
  const u32 all = static_cast<u32>(settled >> 32) - static_cast<u32>(noted >> 32);
  if (all == 0 || all >> 31 != 0) return; // a pump's program has not said it yet
  const u32 first = static_cast<u32>(settled) - static_cast<u32>(noted);
  add(counters_.bulk_copies, first);
  if (all != first) add(counters_.bulk_resent, all - first);
  put(link_.noted, settled);
}

bool BulkLink::is_empty() const {
  if (peek(list(0).count) != 0) return true;
  if (round() == 0) return peek(link_.cursor) == acquire(link_.tx_producer);
  return peek(list(1).cursor) == peek(list(1).count);
}

/// Ends a round that has sent all that it had to. True: there is nothing to send.
bool BulkLink::is_done() {
  if (has_given_up() || peek(list(0).count) != 0) return false;
  if (round() != 0) {
    if (peek(list(1).cursor) != peek(list(1).count)) return false;
    complete(peek(link_.cursor));
    finish();
  }
  const u32 cursor = peek(link_.cursor);
  if (cursor != acquire(link_.tx_producer)) return false;
  complete(cursor);
  return true;
}

/// Of the copy that the program takes first.
u32 BulkLink::next_length() const {
  const bulk_list& again = list(1);
  const u32 next = round() == 0 ? peek(link_.cursor)
                                : peek(again.index[peek(again.cursor) % FANTAIL_BULK_REFUSED_MAX]);
  return peek(link_.tx[next % FANTAIL_TX_FRAMES].len);
}

/// One call of the program. Returns the copies that it took.
u32 BulkLink::call() {
  const bulk_list& again = list(1);
  const bool is_first = round() == 0;
  const u32& cursor = is_first ? link_.cursor : again.cursor;
  const u32 before = peek(cursor);
  const u32 end = is_first ? acquire(link_.tx_producer) : peek(again.count);
  const u64 began_ns = clock_ns();
  const int error = run(std::min(end - before, call_max));
  const u64 took_ns = clock_ns() - began_ns;
  add(counters_.bulk_calls, 1);
  if (error == EINTR) add(counters_.bulk_interrupted, 1);
  else if (error != 0) add(counters_.kick_errors, 1);
  if (took_ns > peek(counters_.bulk_slowest_ns)) put(counters_.bulk_slowest_ns, took_ns);
  if (took_ns > slow_ns) add(counters_.bulk_slow, 1);
  const u32 taken = acquire(cursor) - before;
  note(u64{peek(link_.taken)} << 32 | peek(link_.cursor));
  return taken;
}

/// What was refused, and after it what this round had not come to, is sent again, in that order.
void BulkLink::begin_round() {
  bulk_list &refused = list(0), &again = list(1);
  const u32 count = peek(refused.count);
  add(counters_.bulk_refused, count);
  const u32 left = round() == 0 ? 0 : peek(again.count) - peek(again.cursor);
  // a predecessor may have put them there: the last one that is left cannot have been refused
  if (left != 0 && left <= FANTAIL_BULK_REFUSED_MAX - count &&
      peek(refused.index[count - 1]) != peek(again.index[peek(again.count) - 1])) {
    for (u32 i = 0; i < left; ++i)
      put(refused.index[count + i], peek(again.index[peek(again.cursor) + i]));
    publish(refused.count, count + left);
  }
  clear(again); // for what the next round is refused
  publish(link_.round, round() + 1);
}

/// From here on it is certain: what is not sent, of all before `to`, is tx_full.
void BulkLink::give_up(u32 to) {
  add(counters_.bulk_refused, peek(list(0).count));
  put(link_.give_up_to, to);
  publish(link_.round, round() | FANTAIL_BULK_GIVEN_UP);
}

/// Round 0 again, with nothing refused.
void BulkLink::finish() {
  if (has_given_up()) {
    const u32 to = peek(link_.give_up_to);
    publish(link_.cursor, to);
    put(link_.noted, peek(link_.noted) >> 32 << 32 | to); // those were not taken
  }
  // in this order: a pump's program takes nothing from the one as long as the other is not empty
  clear(list(1));
  clear(list(0));
  publish(link_.round, 0u);
}

/// Completes all before `to`: as sent, if the round was not given up.
void BulkLink::complete(u32 to) {
  const KernelRing tx = tx_ring(), completions = completion_ring();
  const bool check = has_given_up();
  while (peek(link_.tx_consumer) != to) {
    const u32 consumer = peek(link_.tx_consumer), producer = peek(link_.completion_producer);
    const u32 count = std::min(to - consumer, batch_max);
    for (u32 i = 0; i < count; ++i) {
      const u64 outcome = check ? outcome_of(consumer + i) : 0;
      const u64 address = peek(tx.descriptor(consumer + i).addr);
      put(completions.address(producer + i), address | outcome << outcome_shift);
    }
    publish(*reinterpret_cast<u64*>(&link_.tx_consumer),
            u64{producer + count} << 32 | (consumer + count));
  }
}

u16 BulkLink::outcome_of(u32 index) const {
  const auto has = [index](const bulk_list& list, u32 first) {
    for (u32 i = first; i < std::min(peek(list.count), FANTAIL_BULK_REFUSED_MAX); ++i)
      if (peek(list.index[i]) == index) return true;
    return false;
  };
  const bool is_lost = !is_before(index, peek(link_.cursor)) || has(list(0), 0) ||
                       (round() != 0 && has(list(1), peek(list(1).cursor)));
  return is_lost ? u16{1 + DROP_TX_FULL} : u16{0};
}

int BulkLink::run_program(const BulkLink& link, u32 copies, u32 first_length) {
  alignas(8) static thread_local char frame[meta_size + FANTAIL_FRAME_SIZE];
  const u32 length = std::clamp(first_length, frame_min, FANTAIL_BULK_LENGTH_MAX);
  std::memcpy(frame, &link.queue_, meta_size);
  xdp_md context{};
  context.data = meta_size;
  context.data_end = meta_size + length;
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = frame;
  options.data_size_in = meta_size + length;
  options.ctx_in = &context;
  options.ctx_size_in = sizeof context;
  options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
  options.repeat = static_cast<int>(copies);
  options.batch_size = std::min(copies, batch_max);
  return bpf_prog_test_run_opts(link.program_, &options) < 0 ? errno : 0;
}

static_assert(__builtin_offsetof(bulk_link, tx_consumer) % 8 == 0);
static_assert(__builtin_offsetof(bulk_link, lists) % 8 == 0 && sizeof(bulk_list) % 8 == 0 &&
              __builtin_offsetof(bulk_list, cursor) == __builtin_offsetof(bulk_list, count) + 4);
static_assert(__builtin_offsetof(bulk_link, completion_producer) ==
              __builtin_offsetof(bulk_link, tx_consumer) + 4);
static_assert(sizeof(bulk_link) == FANTAIL_BULK_FRAME_PAGE * FANTAIL_FRAME_SIZE);
static_assert(FANTAIL_BULK_SHORT_PAGE == FANTAIL_BULK_FRAME_PAGE + FANTAIL_TX_FRAMES);
static_assert((FANTAIL_BULK_PAGES - FANTAIL_BULK_SHORT_PAGE) * FANTAIL_FRAME_SIZE ==
              FANTAIL_TX_FRAMES * FANTAIL_BULK_SHORT_SIZE);

} // namespace fantail
