// SPDX-License-Identifier: MIT-0
//
// The only ways to read and write memory that another process, the kernel or a successor sees.
//
// Every store that outlives its process goes through here, so that a test can stop a stage between
// any two of them (FANTAIL_FAULTS) and let a successor finish. Memory orders are named at each
// function.
#pragma once

#include <atomic>
#include <cstring>

#include "shm/layout.h"

namespace fantail {

#ifdef FANTAIL_FAULTS
/// Called before every store; a test throws from it to play a kill at that very instruction.
void fault_point();
/// Called before every load that pairs with another's store; a test plays that other there.
void look_point();
#else
inline void fault_point() {}
inline void look_point() {}
#endif

/// Reads a word that another writes; pairs with publish() at the other side.
template<class T> T acquire(const T& word) {
  static_assert(std::atomic_ref<T>::is_always_lock_free);
  look_point();
  return std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_acquire);
}

/// Reads a word whose order against others does not matter (own words, counters, hints).
template<class T> T peek(const T& word) {
  return std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_relaxed);
}

/// Makes all earlier stores visible, then this one; pairs with acquire() at the other side.
template<class T> void publish(T& word, T value) {
  fault_point();
  std::atomic_ref<T>(word).store(value, std::memory_order_release);
}

/// Stores a word whose order does not matter: nobody acts on it before a later publish(), or it is
/// a statistic.
template<class T> void put(T& word, T value) {
  fault_point();
  std::atomic_ref<T>(word).store(value, std::memory_order_relaxed);
}

/// Adds to a statistic that this process alone writes.
inline void add(u64& counter, u64 count) { put(counter, peek(counter) + count); }

/// Copies bytes into a frame or slot that nobody else reads until a later publish().
inline void put_bytes(void* target, const void* source, std::size_t length) {
#ifdef FANTAIL_FAULTS
  const std::size_t half = length / 2; // a kill may leave half of a copy
  fault_point();
  std::memcpy(target, source, half);
  fault_point();
  std::memcpy(static_cast<char*>(target) + half, static_cast<const char*>(source) + half,
              length - half);
#else
  std::memcpy(target, source, length);
#endif
}

} // namespace fantail
