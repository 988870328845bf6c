// SPDX-License-Identifier: MIT-0
//
// A commit happens wholly or not at all, wherever it is killed; finishing it twice is the same as
// once; and whoever reads counters beside it never sees half of one.
#undef NDEBUG
#include "shm/journal.hpp"

#include <atomic>
#include <memory>
#include <thread>

#include "rig/testing.hpp"

namespace fantail::testing {
namespace {

constexpr u32 copy_size = 46;

/// A small arena: words of every kind, a source and a target of a copy, the journal.
struct Memory {
  u64 long_words[4];
  u32 short_words[4];
  char source[copy_size], target[copy_size];
  alignas(64) u64 state;
  journal_entry entries[64];
  u32 kernel[2];

  char* base() { return reinterpret_cast<char*>(this); }
  bool operator==(const Memory& other) const {
    return std::memcmp(long_words, other.long_words, sizeof long_words) == 0 &&
           std::memcmp(short_words, other.short_words, sizeof short_words) == 0 &&
           std::memcmp(target, other.target, sizeof target) == 0 &&
           std::memcmp(kernel, other.kernel, sizeof kernel) == 0;
  }
};

struct Kill {};
u64 stores_left = 0;

/// Lets `stores` stores happen, then kills. False if there were not so many.
template<class Action> bool kill_after(u64 stores, Action&& action) {
  stores_left = stores;
  on_store = [] {
    if (stores_left-- == 0) throw Kill{};
  };
  bool killed = false;
  try {
    action();
  } catch (const Kill&) {
    killed = true;
  }
  on_store = nullptr;
  return killed;
}

std::unique_ptr<Memory> begin() {
  auto memory = std::make_unique<Memory>();
  for (u32 i = 0; i < copy_size; ++i) memory->source[i] = static_cast<char>('a' + i % 26);
  memory->kernel[0] = ~0u;
  return memory;
}

/// One commit with an entry of every kind, some words twice.
void change(Memory& memory) {
  const std::vector<u32*> kernel = {&memory.kernel[0], &memory.kernel[1]};
  Journal journal(memory.base(), sizeof memory, memory.state, memory.entries, kernel);
  for (u32 i = 0; i < 4; ++i) journal.set(memory.long_words[i], ~u64{i});
  for (u32 i = 0; i < 4; ++i) journal.set(memory.short_words[i], i + 1);
  journal.set(memory.short_words[2], 99);
  journal.copy(memory.target, memory.source, copy_size);
  journal.set_kernel(0, 3); // past 2^32
  journal.set_kernel(1, 17);
  journal.commit();
}

u32 recover(Memory& memory) {
  const std::vector<u32*> kernel = {&memory.kernel[0], &memory.kernel[1]};
  return Journal(memory.base(), sizeof memory, memory.state, memory.entries, kernel).recover();
}

bool is_open(const Memory& memory) { return static_cast<u32>(memory.state) != 0; }

void all_or_nothing() {
  const auto before = begin();
  const auto after = begin();
  change(*after);
  expect(!(*before == *after), "the commit changes something");
  bool finished = false;
  u64 k = 0;
  for (; !finished; ++k) {
    const auto memory = begin();
    finished = !kill_after(k, [&] { change(*memory); });
    const bool committed = is_open(*memory) || finished || *memory == *after;
    if (!is_open(*memory))
      expect(*memory == *before || *memory == *after, "closed, it is wholly done or not begun");
    recover(*memory);
    expect(*memory == (committed ? *after : *before),
           "after recovery it is wholly done or not begun");
    expect(!is_open(*memory), "recovery closes it");
  }
  expect(k > 3 * 12 + 12, "every entry's stores were kill points");
}

void recovery_repeats() {
  const auto after = begin();
  change(*after);
  for (u64 k = 0;; ++k) {
    const auto memory = begin();
    if (!kill_after(k, [&] { change(*memory); })) break;
    if (!is_open(*memory)) continue;
    for (u64 j = 0;; ++j) { // recoveries that die themselves
      const auto again = std::make_unique<Memory>(*memory);
      const bool killed = kill_after(j, [&] { recover(*again); });
      recover(*again);
      expect(*again == *after, "a second recovery ends the same");
      if (!killed) break;
    }
    recover(*memory);
    expect_equal(recover(*memory), 0u, "entries that a recovery after a recovery applies");
  }
}

/// Entries that no stage writes, each of which would reach memory that is not the arena's.
void corrupt_entries_are_refused() {
  constexpr journal_entry corrupt[] = {
      {sizeof(Memory) - 7, Journal::word64, 0},
      {~0u, Journal::word64, 0},
      {sizeof(Memory) - 3, Journal::word32, 0},
      {4, Journal::word64, 0}, // not aligned
      {6, Journal::word32, 0},
      {2, Journal::kernel_word, 0},
      {~0u, Journal::kernel_word, 0},
      {0, (sizeof(Memory) + 1) << 8 | Journal::copy_bytes, 0},
      {1, sizeof(Memory) << 8 | Journal::copy_bytes, 0},
      {0, 8 << 8 | Journal::copy_bytes, sizeof(Memory) - 7},
      {0, 8 << 8 | Journal::copy_bytes, ~0ull - 3},
      {0, 8 << 8 | Journal::copy_bytes, u64{1} << 32},
  };
  for (const journal_entry& entry : corrupt) {
    const auto memory = begin();
    memory->entries[0] = entry;
    memory->state = 1;
    expect_contains(sentence_of<Error>([&] { recover(*memory); }), "journal");
  }
  const auto memory = begin();
  memory->state = FANTAIL_JOURNAL_ENTRIES_MAX + 1;
  expect_contains(sentence_of<Error>([&] { recover(*memory); }), "corrupt");
}

/// What the writer below keeps true of every state that a reader may see.
struct Account {
  u64 sum, parts[7];
};

void readers_never_see_half() {
  struct Shared {
    Account account;
    alignas(64) u64 state;
    journal_entry entries[64];
  };
  auto shared = std::make_unique<Shared>();
  constexpr u64 reads_min = 100;
  std::atomic<bool> done = false, read_enough = false;
  std::thread writer([&] {
    Journal journal(reinterpret_cast<char*>(shared.get()), sizeof *shared, shared->state,
                    shared->entries, {});
    Account mirror{};
    Random random(3);
    for (u32 i = 0; i < 200'000 || !read_enough; ++i) {
      u64& part = mirror.parts[random.below(7)];
      const u64 more = random.below(1000);
      part += more;
      mirror.sum += more;
      journal.set(shared->account.sum, mirror.sum);
      journal.set(shared->account.parts[&part - mirror.parts], part);
      journal.commit();
    }
    done = true;
  });
  u64 read = 0, last = 0;
  while (!done || read == 0) {
    Account copy{};
    if (!read_consistent(shared->state, shared->account, copy, 1000)) continue;
    if (++read > reads_min) read_enough = true;
    u64 sum = 0;
    for (const u64 part : copy.parts) sum += part;
    if (sum != copy.sum || sum < last) {
      read_enough = true;
      writer.join();
      fail("a reader saw a sum of " + std::to_string(copy.sum) + " over parts of " +
           std::to_string(sum));
    }
    last = sum;
  }
  writer.join();
  expect(read > reads_min, "the reader read often beside the writer");
}

void open_is_refused() {
  auto memory = begin();
  memory->state = 1ull << 32 | 3; // a commit of three entries that nobody finishes
  u64 copy[1];
  using One = u64[1];
  expect(!read_consistent(memory->state, *reinterpret_cast<One*>(memory->long_words), copy, 100),
         "a reader gives up while a commit stays open");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run("a commit killed at any store is wholly done after recovery, or not begun",
            all_or_nothing);
  suite.run("recovery applied twice, or killed and applied again, is the same as once",
            recovery_repeats);
  suite.run("an entry that reaches past the arena is refused with a sentence, and reaches nothing",
            corrupt_entries_are_refused);
  suite.run("a reader beside the writer never sees half of a commit", readers_never_see_half);
  suite.run("a reader of a commit that stays open gives up", open_is_refused);
  return suite.end();
}
