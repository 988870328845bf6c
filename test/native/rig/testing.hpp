// SPDX-License-Identifier: MIT-0
//
// What every native test is written with: cases named by a requirement sentence, expectations that
// say what they saw, seeds that are printed, and the hook by which a test stops a stage between any
// two of its stores.
//
// A test's main() makes one Suite, runs its cases and returns end(): 1 if a case failed, 77 if one
// was skipped.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <stdexcept>
#include <string>

#include "shm/store.hpp"

namespace fantail {

/// Called before every store that is made through store.hpp by this thread; null: nothing.
inline thread_local void (*on_store)() = nullptr;
/// Likewise before every load that is made through acquire().
inline thread_local void (*on_acquire)() = nullptr;

namespace testing {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void fail(const std::string& what,
                       std::source_location where = std::source_location::current());

void expect(bool good, const char* what,
            std::source_location where = std::source_location::current());

/// Holds every value of every integer type, so that one function compares them all.
using Integer = __int128;
void expect_equal(Integer is, Integer should, const char* what,
                  std::source_location where = std::source_location::current());

/// The sentence of the exception of type `E` that `call` must throw.
template<class E, class Call>
std::string sentence_of(Call&& call, std::source_location where = std::source_location::current()) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  fail("it was not refused", where);
}

void expect_contains(const std::string& text, const std::string& part,
                     std::source_location where = std::source_location::current());

class Suite {
public:
  /// `argv[1]`, or else SEED in the environment, is the seed to run again with.
  Suite(int argc, char** argv);

  /// Seed of this run's random cases, printed so that a failure can be had again.
  u64 seed();

  template<class Body> void run(const char* requirement, Body&& body) {
    const auto call = [&] { body(); };
    run_case(requirement, [](const void* it) { (*static_cast<decltype(call)*>(it))(); }, &call);
  }

  int end() const;

private:
  /// `call(body)` runs the case.
  void run_case(const char* requirement, void (*call)(const void* body), const void* body);

  const char* program_;
  bool shown_ = false;
  u64 seed_;
  int passed_ = 0, failed_ = 0, skipped_ = 0;
};

/// A small generator with a fixed algorithm: the same seed gives the same run on every machine.
/// (SplitMix64.)
class Random {
public:
  explicit Random(u64 seed) : state_(seed) {}
  u64 next() {
    u64 z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// 0 to `count` - 1.
  u32 below(u32 count) { return static_cast<u32>(next() % count); }
  bool once_in(u32 count) { return below(count) == 0; }

private:
  u64 state_;
};

} // namespace testing
} // namespace fantail
