// SPDX-License-Identifier: MIT-0
// wire-kill: kills a process of the data path in the middle of a commit, as it runs for users.
//
//   wire-kill --pid PID --at OFFSET [--steps N] [--wait-ms M]
//
// OFFSET is that of the stage's journal word in the arena, whose lower half is not zero while a
// commit is being applied. A hardware watchpoint stops the process at the store that begins its
// next commit; N instructions later it is killed. One that does not commit within M ms is killed
// where it is, and so is everyone where the processor has other debug registers than x86's.
//
// Prints {"inside": whether it left a commit half done}.

#include <csignal>
#include <cstddef>
#include <fstream>
#include <sstream>

#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frame.hpp"

using fantail::check;
using namespace wire;

namespace {

constexpr uint64_t WAIT_MS_DEFAULT = 500;
constexpr timespec LOOK{0, 20'000}; // between two looks at a process that runs

// Where the process has mapped the arena from its beginning on (proc(5), maps).
uint64_t arena_of(pid_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:fantail-arena") == std::string::npos) continue;
    std::istringstream fields(line);
    std::string range, mode, offset;
    fields >> range >> mode >> offset;
    if (mode == "rw-s" && std::stoull(offset, nullptr, 16) == 0)
      return std::stoull(range, nullptr, 16);
  }
  throw std::runtime_error("it has not mapped an arena");
}

class Traced {
public:
  explicit Traced(pid_t pid) : pid_(pid) {
    check(static_cast<int>(ptrace(PTRACE_SEIZE, pid, nullptr, nullptr)), "trace it");
    check(static_cast<int>(ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr)), "stop it");
    wait_stopped(WAIT_MS_DEFAULT);
  }

  uint64_t read(uint64_t address) const {
    errno = 0;
    const long word = ptrace(PTRACE_PEEKDATA, pid_, address, nullptr);
    if (errno != 0) throw std::runtime_error("its memory cannot be read");
    return static_cast<uint64_t>(word);
  }

  // Runs until it has stored 8 bytes there (Intel SDM, volume 3, 18.2: DR0 and DR7). False: not in
  // time.
  bool run_to_store(uint64_t address, uint64_t wait_ms) {
#ifdef __x86_64__
    constexpr uint64_t control = 1u | 1u << 16 | 2u << 18; // DR0: on, by stores, 8 bytes
    set_debug(0, address);
    set_debug(7, control);
    check(static_cast<int>(ptrace(PTRACE_CONT, pid_, nullptr, nullptr)), "let it run");
    return wait_stopped(wait_ms);
#else
    (void)address, (void)wait_ms;
    return false;
#endif
  }

  void step() {
    check(static_cast<int>(ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr)), "step");
    wait_stopped(WAIT_MS_DEFAULT);
  }

private:
#ifdef __x86_64__
  void set_debug(size_t number, uint64_t value) {
    const size_t at = offsetof(user, u_debugreg) + number * sizeof(value);
    check(static_cast<int>(ptrace(PTRACE_POKEUSER, pid_, at, value)), "set a watchpoint");
  }
#endif

  // Passes on signals that are not ours. False: it did not stop in time.
  bool wait_stopped(uint64_t wait_ms) {
    const uint64_t end = clock_ns(CLOCK_MONOTONIC) + wait_ms * 1'000'000;
    while (clock_ns(CLOCK_MONOTONIC) < end) {
      int status = 0;
      const int got = check(waitpid(pid_, &status, WNOHANG | __WALL), "wait for it");
      if (got == 0) {
        nanosleep(&LOOK, nullptr);
        continue;
      }
      if (!WIFSTOPPED(status)) throw std::runtime_error("it has ended");
      const int signal = WSTOPSIG(status);
      if (signal == SIGTRAP || status >> 16 != 0) return true;
      ptrace(PTRACE_CONT, pid_, nullptr, signal);
    }
    return false;
  }

  pid_t pid_;
};

bool is_inside(uint64_t journal) { return static_cast<uint32_t>(journal) != 0; }

bool kill_inside(pid_t pid, uint64_t at, uint64_t steps, uint64_t wait_ms) {
  const uint64_t journal = arena_of(pid) + at;
  Traced traced(pid);
  bool inside = false;
  // the store that ends a commit is one, too
  while (!inside && traced.run_to_store(journal, wait_ms)) inside = is_inside(traced.read(journal));
  for (; inside && steps != 0; --steps) traced.step();
  inside = inside && is_inside(traced.read(journal));
  check(kill(pid, SIGKILL), "kill it");
  return inside;
}

} // namespace

int main(int argc, char** argv) try {
  const Flags flags(argc, argv, "--pid --at --steps --wait-ms", "");
  const auto pid = static_cast<pid_t>(flags.number("--pid", {}, 1u << 22));
  const bool inside =
      kill_inside(pid, flags.number("--at", {}, 1u << 31), flags.number("--steps", 0, 100'000),
                  flags.number("--wait-ms", WAIT_MS_DEFAULT, 60'000));
  std::printf("{\"inside\":%s}\n", inside ? "true" : "false");
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-kill: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-kill: %s\n", error.what());
  return 1;
}
