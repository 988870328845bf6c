// SPDX-License-Identifier: MIT-0
//
// Error, check() and Fd: where errno becomes a sentence, and where a file descriptor is owned.
#pragma once

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include <unistd.h>

namespace fantail {

/// An operating error: what() is a sentence for a person, `number` the errno for the program.
struct Error : std::runtime_error {
  Error(int number, const std::string& sentence) : std::runtime_error(sentence), number(number) {}
  int number;
};

/// The Error for errno value `number`: "doing: strerror".
inline Error error_of(int number, const std::string& doing) {
  return Error(number, doing + ": " + std::strerror(number));
}

/// `result` of a system call, or Error if it is negative. `doing` says what was tried.
inline int check(int result, const char* doing) {
  if (result < 0) throw error_of(errno, doing);
  return result;
}

/// Owns one file descriptor, or none (-1). The destructor cannot fail.
class Fd {
public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  /// Gives the descriptor up; the caller closes it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

  /// Closes what is owned and takes `fd`. errno survives: a clean-up must not hide what went wrong.
  void reset(int fd = -1) {
    const int before = errno;
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
    errno = before;
  }

private:
  int fd_ = -1;
};

} // namespace fantail
