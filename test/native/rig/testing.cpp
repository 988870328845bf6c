// SPDX-License-Identifier: MIT-0
#include "rig/testing.hpp"

#include <chrono>
#include <exception>
#include <random>

namespace fantail {

#ifdef FANTAIL_FAULTS
void fault_point() {
  if (on_store != nullptr) on_store();
}
void look_point() {
  if (on_acquire != nullptr) on_acquire();
}
#endif

namespace testing {

namespace {

/// Of a value that some 64-bit type holds.
std::string text_of(Integer value) {
  return value < 0 ? std::to_string(static_cast<long long>(value))
                   : std::to_string(static_cast<unsigned long long>(value));
}

/// What went wrong in a case; empty: nothing.
std::string trouble_of(void (*call)(const void*), const void* body) {
  try {
    call(body);
    return {};
  } catch (const Skip& skip) {
    return std::string("skip: ") + skip.what();
  } catch (const std::exception& error) {
    return *error.what() == 0 ? "an exception without words" : error.what();
  }
}

} // namespace

void fail(const std::string& what, std::source_location where) {
  const std::string file = where.file_name();
  throw Failure(what + " (" + file.substr(file.rfind('/') + 1) + ":" +
                std::to_string(where.line()) + ")");
}

void expect(bool good, const char* what, std::source_location where) {
  if (!good) fail(std::string("not so: ") + what, where);
}

void expect_equal(Integer is, Integer should, const char* what, std::source_location where) {
  if (is != should)
    fail(std::string(what) + " is " + text_of(is) + ", should be " + text_of(should), where);
}

void expect_contains(const std::string& text, const std::string& part, std::source_location where) {
  if (text.find(part) == std::string::npos)
    fail("\"" + text + "\" does not say \"" + part + "\"", where);
}

// -- the suite ------------------------------------------------------------------------------------

Suite::Suite(int argc, char** argv) : program_(argv[0]) {
  const char* given = argc > 1 ? argv[1] : std::getenv("SEED");
  seed_ = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  setvbuf(stdout, nullptr, _IOLBF, 0);
}

u64 Suite::seed() {
  const unsigned long long value = seed_;
  if (!shown_) std::printf("     seed %llu (again: %s %llu)\n", value, program_, value);
  shown_ = true;
  return seed_;
}

void Suite::run_case(const char* requirement, void (*call)(const void*), const void* body) {
  const auto started = std::chrono::steady_clock::now();
  const std::string trouble = trouble_of(call, body);
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

int Suite::end() const {
  std::printf("%d passed, %d failed, %d skipped\n", passed_, failed_, skipped_);
  return failed_ != 0 ? 1 : skipped_ != 0 ? 77 : 0;
}

} // namespace testing
} // namespace fantail
