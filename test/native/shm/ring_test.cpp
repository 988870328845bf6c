// SPDX-License-Identifier: MIT-0
//
// The SPSC rings of the arena and the kernel's rings: one thread against a model, two threads, two
// processes; with cursors that wrap, ends that die before they commit, and far cursors that are
// stale.
#undef NDEBUG
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <deque>
#include <memory>
#include <thread>

#include "rig/testing.hpp"
#include "shm/ring.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail::testing {
namespace {

constexpr u32 slot_count = 256;
constexpr u64 almost_2_64 = ~0ull - 99; // the cursors wrap after a hundred slots
constexpr u32 almost_2_32 = ~0u - 99;

#if defined(__SANITIZE_THREAD__)
constexpr u64 items = 1'000'000;
#else
constexpr u64 items = 3'000'000;
#endif

/// What the two ends share: a ring there, a ring back, and the journal of each end. Zeroed memory
/// is a valid start.
struct Shared {
  struct Journaled {
    alignas(64) u64 state;
    journal_entry entries[64];
  };
  ring_header forward;
  u64 forward_slots[slot_count];
  ring_header back;
  u64 back_slots[slot_count];
  Journaled producer, consumer;

  void begin(u64 cursor) { forward.head = forward.tail = back.head = back.tail = cursor; }
  Journal journal_of(Journaled& end) {
    return {reinterpret_cast<char*>(this), sizeof *this, end.state, end.entries, {}};
  }
};

using Ring = Producer<u64>;
using Reader = Consumer<u64>;

Ring forward_end(Shared& shared) { return {&shared.forward, shared.forward_slots, slot_count}; }
Reader forward_reader(Shared& shared) {
  return {&shared.forward, shared.forward_slots, slot_count};
}

/// Item `index` on its way: a value that says which it is.
u64 value_of(u64 index) { return index * 0x9e3779b97f4a7c15ull + 1; }

/// Pushes every item, as long as the other end has given back enough for there to be room.
void produce(Shared& shared) {
  Journal journal = shared.journal_of(shared.producer);
  Ring out = forward_end(shared);
  Reader back(&shared.back, shared.back_slots, slot_count);
  Random random(1);
  u64 pushed = 0, returned = 0;
  while (returned < items) {
    u32 count = 0;
    for (u32 ready = back.available(); ready != 0; --ready, ++count)
      if (back.take() != value_of(returned++)) std::abort();
    for (u32 burst = random.below(16);
         burst != 0 && pushed < items && pushed - returned < slot_count; --burst, ++count)
      put(out.next(), value_of(pushed++));
    if (back.moved()) back.commit_to(journal);
    if (out.moved()) out.commit_to(journal);
    journal.commit();
    if (count == 0) sched_yield();
  }
}

/// Takes every item in order and sends it back. False: one was lost, repeated or changed.
bool consume(Shared& shared) {
  Journal journal = shared.journal_of(shared.consumer);
  Reader in = forward_reader(shared);
  Ring back(&shared.back, shared.back_slots, slot_count);
  for (u64 taken = 0; taken < items;) {
    const u32 ready = std::min(in.available(), 16u);
    if (ready == 0) sched_yield();
    for (u32 i = 0; i < ready; ++i) {
      const u64 value = in.take();
      if (value != value_of(taken++)) return false;
      put(back.next(), value);
    }
    if (in.moved()) in.commit_to(journal);
    if (back.moved()) back.commit_to(journal);
    journal.commit();
  }
  return true;
}

/// All of the items went there and back, over many commits, past 2^64.
void check_totals(const Shared& shared) {
  for (const ring_header* header : {&shared.forward, &shared.back}) {
    expect_equal(header->tail - almost_2_64, items, "items pushed");
    expect_equal(header->head - almost_2_64, items, "items released");
  }
  expect(shared.producer.state >> 32 > items / 64, "the producer committed many times");
  expect(shared.consumer.state >> 32 > items / 64, "the consumer committed many times");
}

void follows_a_model(u64 seed) {
  auto shared = std::make_unique<Shared>();
  shared->begin(almost_2_64);
  Journal out_journal = shared->journal_of(shared->producer),
          in_journal = shared->journal_of(shared->consumer);
  Ring out = forward_end(*shared);
  Reader in = forward_reader(*shared);
  std::deque<u64> model;
  Random random(seed);
  u64 next = 0;
  for (u32 turn = 0; turn < 100'000; ++turn) {
    for (u32 i = random.below(40); i != 0 && model.size() < slot_count; --i) {
      model.push_back(value_of(next++));
      put(out.next(), model.back());
    }
    if (out.moved()) out.commit_to(out_journal);
    out_journal.commit();
    for (u32 i = std::min(in.available(), random.below(40)); i != 0; --i) {
      if (in.take() != model.front()) fail("another item than the model's");
      model.pop_front();
    }
    if (in.moved()) in.commit_to(in_journal);
    in_journal.commit();
    expect_equal(shared->forward.tail - shared->forward.head, model.size(), "items on the ring");
    expect(in.was_empty() == model.empty(), "was_empty() is right when nobody else moves");
  }
  expect(shared->forward.tail < almost_2_64, "the cursors wrapped");
}

void holds_its_capacity() {
  auto shared = std::make_unique<Shared>();
  shared->begin(~0ull - 3);
  Journal journal = shared->journal_of(shared->producer);
  Ring out = forward_end(*shared);
  Reader in = forward_reader(*shared);
  for (u32 i = 0; i < slot_count; ++i) put(out.next(), value_of(i));
  expect_equal(in.available(), 0u, "items seen before the commit");
  out.commit_to(journal);
  journal.commit();
  expect_equal(in.available(), slot_count, "items seen after it");
  for (u32 i = 0; i < slot_count; ++i) expect(in.take() == value_of(i), "the items come in order");
  expect_equal(in.available(), 0u, "items left");
}

void leaves_to_successors() {
  auto shared = std::make_unique<Shared>();
  shared->begin(almost_2_64);
  Journal journal = shared->journal_of(shared->producer);
  {
    Ring dies = forward_end(*shared);
    put(dies.next(), u64{111}); // never committed
  }
  Ring out = forward_end(*shared);
  for (u64 i = 0; i < 3; ++i) put(out.next(), value_of(i));
  out.commit_to(journal);
  journal.commit();
  {
    Reader dies = forward_reader(*shared);
    expect_equal(dies.available(), 3u, "items for the first consumer");
    dies.take();
    dies.take(); // never committed
  }
  Reader in = forward_reader(*shared);
  expect_equal(in.available(), 3u, "items for its successor");
  for (u64 i = 0; i < 3; ++i)
    expect(in.take() == value_of(i), "the successor gets them again, in order");
}

/// A far cursor is read again only when what was seen of it is used up.
void reads_the_far_cursor_late() {
  auto shared = std::make_unique<Shared>();
  Journal journal = shared->journal_of(shared->producer);
  Ring out = forward_end(*shared);
  Reader in = forward_reader(*shared);
  const auto push = [&](u64 count) {
    for (; count != 0; --count) put(out.next(), u64{7});
    out.commit_to(journal);
    journal.commit();
  };
  push(2);
  expect_equal(in.available(), 2u, "items seen");
  push(5);
  expect_equal(in.available(), 2u, "items seen while the old view lasts");
  in.take();
  in.take();
  expect_equal(in.available(), 5u, "items seen after it is used up");
}

void crosses_threads() {
  auto shared = std::make_unique<Shared>();
  shared->begin(almost_2_64);
  bool good = false;
  std::thread consumer([&] { good = consume(*shared); });
  produce(*shared);
  consumer.join();
  expect(good, "every item arrived once, in order");
  check_totals(*shared);
}

#if !defined(__SANITIZE_THREAD__) // it watches one process
void crosses_processes() {
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  expect(memory != MAP_FAILED, "shared memory can be had");
  Shared& shared = *static_cast<Shared*>(memory);
  shared.begin(almost_2_64);
  const pid_t child = fork();
  if (child == 0) _exit(consume(shared) ? 0 : 1);
  produce(shared);
  int status = 0;
  waitpid(child, &status, 0);
  expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "every item arrived once, in order");
  check_totals(shared);
  munmap(memory, sizeof(Shared));
}
#endif

// -- rings of the kernel --------------------------------------------------------------------------

/// A ring of addresses whose one end is a stage with a journal, whose other end plays the kernel.
struct KernelShared {
  alignas(64) u32 producer;
  alignas(64) u32 consumer;
  u64 entries[slot_count];
  Shared::Journaled journaled;

  KernelRing ring() { return {&producer, &consumer, nullptr, entries, slot_count}; }
};

void kernel_cursors_wrap() {
  auto shared = std::make_unique<KernelShared>();
  shared->producer = shared->consumer = almost_2_32;
  std::thread kernel([&] {
    const KernelRing ring = shared->ring();
    for (u64 taken = 0; taken < items / 2;) {
      const u32 at = peek(*ring.consumer), ready = acquire(*ring.producer) - at;
      if (ready == 0) sched_yield();
      for (u32 i = 0; i < ready; ++i)
        if (ring.address(at + i) != value_of(taken++)) std::abort();
      publish(*ring.consumer, at + ready);
    }
  });
  const std::vector<u32*> words = {&shared->producer};
  Journal journal(reinterpret_cast<char*>(shared.get()), sizeof *shared, shared->journaled.state,
                  shared->journaled.entries, words);
  const KernelRing ring = shared->ring();
  u32 producer = peek(*ring.producer);
  for (u64 pushed = 0; pushed < items / 2;) {
    const u32 room = slot_count - (producer - acquire(*ring.consumer));
    if (room == 0) sched_yield();
    for (u32 i = 0; i < std::min(room, 20u) && pushed < items / 2; ++i)
      put(ring.address(producer++), value_of(pushed++));
    journal.set_kernel(0, producer);
    journal.commit();
  }
  kernel.join();
  expect(shared->producer < almost_2_32, "the cursors wrapped");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  const fantail::u64 seed = suite.seed();
  suite.run("a ring gives back what was pushed, in order, while its cursors wrap at 2^64",
            [&] { follows_a_model(seed); });
  suite.run("a ring holds as many items as it has slots, and shows none before the commit",
            holds_its_capacity);
  suite.run("an end that dies before its commit leaves the ring to a successor",
            leaves_to_successors);
  suite.run("the far cursor is stale on purpose until it is needed", reads_the_far_cursor_late);
  suite.run("two threads pass every item once and in order", crosses_threads);
  suite.run("a kernel ring passes every item while its cursors wrap at 2^32", kernel_cursors_wrap);
#if !defined(__SANITIZE_THREAD__)
  suite.run("two processes pass every item once and in order", crosses_processes);
#endif
  return suite.end();
}
