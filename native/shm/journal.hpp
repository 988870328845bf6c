// SPDX-License-Identifier: MIT-0
//
// A commit of several words that a kill cannot part: the intent record of one stage.
//
//   set(), copy()    note new values; nothing is visible yet
//   commit()         publishes the count (the commit point), applies the values in the order in
//                    which they were noted, clears the count
//   recover()        what a successor does first: a count that is not zero is applied again, from
//                    the start
//
// Entries hold values, never differences, so applying them twice is the same as once. Ring slots,
// descriptors and free frames may be written before the commit without an entry: nobody looks at
// them until an index moves. One writer (the stage). Readers of counters use `state` as a sequence
// lock, see read_consistent().
//
// Entries are in shared memory: each is read once and held to the arena's bounds before it is
// applied, or a process that is taken over could have another one write anywhere.
#pragma once

#include <cassert>
#include <utility>
#include <vector>

#include "host/check.hpp"
#include "shm/store.hpp"

namespace fantail {

class Journal {
public:
  static constexpr u32 word64 = 0, word32 = 1, kernel_word = 2, copy_bytes = 3;

  /// `base`: start of the arena, of `size` bytes, to which entries are relative. `kernel_words`:
  /// index words of kernel rings, which are mapped elsewhere in each process and hence named by
  /// position.
  Journal(char* base, u64 size, u64& state, journal_entry* entries, std::vector<u32*> kernel_words)
      : base_(base), size_(size), state_(state), entries_(entries),
        kernel_words_(std::move(kernel_words)) {}

  /// From now on the kernel's words are these. Nothing is noted, and nothing was committed halfway.
  void use(std::vector<u32*> kernel_words) { kernel_words_ = std::move(kernel_words); }

  void set(u64& word, u64 value) { note(offset(&word), word64, value); }
  void set(u32& word, u32 value) { note(offset(&word), word32, value); }
  void set_kernel(u32 index, u32 value) { note(index, kernel_word, value); }
  /// Both ends in the arena; `source` must stay as it is until the next commit has begun.
  void copy(void* target, const void* source, u32 length) {
    note(offset(target), length << 8 | copy_bytes, offset(source));
  }

  /// Makes every noted change happen, even if this process is killed in the middle.
  void commit() {
    if (count_ == 0) return;
    const u64 sequence = peek(state_) >> 32;
    publish(state_, sequence << 32 | count_);
    // Each word is stored with release: who sees a new one sees the count before it. Copied bytes
    // are not, and the compiler must not move them up either: a successor would not know that they
    // were begun.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    apply(count_);
    publish(state_, (sequence + 1) << 32);
    count_ = 0;
  }

  /// Finishes what a killed predecessor had committed. Returns how many entries it applied. Throws
  /// Error where an entry is none that a stage writes.
  u32 recover() {
    const u64 state = acquire(state_);
    const u32 count = static_cast<u32>(state);
    if (count == 0) return 0;
    apply(count);
    publish(state_, ((state >> 32) + 1) << 32);
    return count;
  }

private:
  u32 offset(const void* target) const {
    return static_cast<u32>(static_cast<const char*>(target) - base_); // the arena ends below 4 GiB
  }

  void note(u32 target, u32 kind, u64 value) {
    assert(count_ < FANTAIL_JOURNAL_ENTRIES_MAX);
    journal_entry& entry = entries_[count_++];
    put(entry.target, target);
    put(entry.kind, kind);
    put(entry.value, value);
  }

  void apply(u32 count) {
    if (count > FANTAIL_JOURNAL_ENTRIES_MAX) refuse();
    for (u32 i = 0; i < count; ++i) {
      const u32 target = peek(entries_[i].target), kind = peek(entries_[i].kind);
      const u64 value = peek(entries_[i].value);
      switch (kind & 0xff) {
      case word64: publish(word<u64>(target), value); break;
      case word32: publish(word<u32>(target), static_cast<u32>(value)); break;
      case kernel_word:
        if (target >= kernel_words_.size()) refuse();
        publish(*kernel_words_[target], static_cast<u32>(value));
        break;
      default: put_bytes(at(target, kind >> 8), at(value, kind >> 8), kind >> 8);
      }
    }
  }

  template<class T> T& word(u32 offset) const {
    if (offset % sizeof(T) != 0) refuse();
    return *reinterpret_cast<T*>(at(offset, sizeof(T)));
  }

  /// So many bytes of the arena.
  char* at(u64 offset, u32 length) const {
    if (length > size_ || offset > size_ - length) refuse();
    return base_ + offset;
  }

  [[noreturn]] static void refuse() {
    throw Error(EBADMSG, "a journal in the shared memory is corrupt: stop all of fantail, "
                         "start again, and look for who wrote there");
  }

  char* base_;
  u64 size_;
  u64& state_;
  journal_entry* entries_;
  std::vector<u32*> kernel_words_;
  u32 count_ = 0;
};

/// Copies words of a stage so that no commit of it lies between any two of them. False if it never
/// stood still within `tries`; the caller asks again later.
template<class T> bool read_consistent(const u64& state, const T& source, T& copy, u32 tries) {
  static_assert(sizeof(T) % sizeof(u64) == 0);
  const u64* from = reinterpret_cast<const u64*>(&source);
  u64* to = reinterpret_cast<u64*>(&copy);
  for (u32 i = 0; i < tries; ++i) {
    const u64 before = acquire(state);
    if (static_cast<u32>(before) != 0) continue;
    for (std::size_t word = 0; word < sizeof(T) / sizeof(u64); ++word)
      to[word] = acquire(from[word]);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (peek(state) == before) return true;
  }
  return false;
}

} // namespace fantail
