// SPDX-License-Identifier: MIT-0
//
// What every native test is written with: cases named by a requirement sentence, expectations that
// say what they saw, seeds that are printed, and the hook by which a test stops a stage between any
// two of its stores.
//
// A test's main() makes one Suite, runs its cases and returns end(): 1 if a case failed, 77 if one
// was skipped.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "shm/store.hpp"

namespace fantail {

/// Called before every store that is made through store.hpp by this thread; null: nothing.
inline thread_local void (*on_store)() = nullptr;

#ifdef FANTAIL_FAULTS
// Not inline: the stages, compiled by themselves, call it too. So one file of a test includes this
// header.
void fault_point() {
  if (on_store != nullptr) on_store();
}
#endif

namespace testing {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const std::string& what,
                              std::source_location where = std::source_location::current()) {
  const std::string file = where.file_name();
  throw Failure(what + " (" + file.substr(file.rfind('/') + 1) + ":" +
                std::to_string(where.line()) + ")");
}

inline void expect(bool good, const char* what,
                   std::source_location where = std::source_location::current()) {
  if (!good) fail(std::string("not so: ") + what, where);
}

template<class A, class B>
void expect_equal(const A& is, const B& should, const char* what,
                  std::source_location where = std::source_location::current()) {
  if (std::cmp_equal(is, should)) return;
  std::ostringstream text;
  text << what << " is " << is << ", should be " << should;
  fail(text.str(), where);
}

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

inline void expect_contains(const std::string& text, const std::string& part,
                            std::source_location where = std::source_location::current()) {
  if (text.find(part) == std::string::npos)
    fail("\"" + text + "\" does not say \"" + part + "\"", where);
}

class Suite {
public:
  /// `argv[1]`, if given, is the seed to run again with.
  Suite(int argc, char** argv)
      : program_(argv[0]), given_(argc > 1),
        seed_(given_ ? std::strtoull(argv[1], nullptr, 0) : std::random_device{}()) {
    setvbuf(stdout, nullptr, _IOLBF, 0);
  }

  /// Seed of this run's random cases, printed so that a failure can be had again.
  u64 seed() {
    if (!shown_) std::printf("     seed %llu (again: %s %llu)\n", value(), program_, value());
    shown_ = true;
    return seed_;
  }

  template<class Body> void run(const char* requirement, Body&& body) {
    const auto started = std::chrono::steady_clock::now();
    const std::string trouble = trouble_of(body);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    on_store = nullptr;
    if (trouble.starts_with("skip: ")) {
      ++skipped_;
      std::printf("%s: %s\n", trouble.c_str(), requirement);
    } else if (trouble.empty()) {
      ++passed_;
      std::printf("ok   %s (%.1f s)\n", requirement, took.count());
    } else {
      ++failed_;
      std::printf("FAIL %s: %s\n", requirement, trouble.c_str());
    }
  }

  int end() const {
    std::printf("%d passed, %d failed, %d skipped\n", passed_, failed_, skipped_);
    return failed_ != 0 ? 1 : skipped_ != 0 ? 77 : 0;
  }

private:
  template<class Body> static std::string trouble_of(Body&& body) {
    try {
      body();
      return {};
    } catch (const Skip& skip) {
      return std::string("skip: ") + skip.what();
    } catch (const std::exception& error) {
      return *error.what() == 0 ? "an exception without words" : error.what();
    }
  }

  unsigned long long value() const { return seed_; }

  const char* program_;
  bool given_, shown_ = false;
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
