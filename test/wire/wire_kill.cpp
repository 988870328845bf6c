// SPDX-License-Identifier: MIT-0
// wire-kill: kills a process of the data path in the middle of a commit, or of a call that sends in
// bulk, as it runs for users.
//
//   wire-kill --pid PID --journal OFFSET --image FILE --apply ADDRESS [--steps N] [--wait-ms M]
//   wire-kill --pid PID --call-ns N [--wait-ms M]
//
// OFFSET is that of the stage's journal word in the arena, whose lower half is not zero while a
// commit is being applied; ADDRESS that of the function that applies it, in FILE, as nm tells it.
// A breakpoint there stops the process; N instructions further it is killed, or after as many as
// a commit has. One that does not commit within M ms is killed where it is. (A watchpoint on the
// word would need no address; under some hypervisors debug registers are set without an error and
// never trap.)
//
// In the second form it is stopped where it enters bpf(2), and killed when it has run for N ns from
// there; if the call is over by then, the next one has half the time. It would stop where the call
// ends, so that it never comes back from the one that it is killed in.
//
// Prints {"inside": whether it left a commit half done, or a call that had begun, "instructions":
// how far into the commit it was taken}.

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fstream>
#include <sstream>

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frame.hpp"

using fantail::check;
using namespace wire;

namespace {

constexpr uint64_t WAIT_MS_DEFAULT = 5000;
constexpr uint64_t CALL_NS_MIN = 2000;          // from the stop, so that the call has begun
constexpr uint64_t CORE_NS_MAX = 1'000'000'000; // without a core to run the call on
constexpr uint8_t INT3 = 0xcc;                  // the breakpoint of x86, one byte

// Where the process has mapped a file from its beginning on (proc(5), maps).
uint64_t base_of(pid_t pid, std::string_view file) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(file) == std::string::npos) continue;
    std::istringstream fields(line);
    std::string range, mode, offset;
    fields >> range >> mode >> offset;
    if (std::stoull(offset, nullptr, 16) == 0) return std::stoull(range, nullptr, 16);
  }
  throw std::runtime_error("it has not mapped " + std::string(file));
}

// A timer ends each wait from then on.
void begin_timeout(uint64_t ms) {
  struct sigaction action{};
  action.sa_handler = [](int) {}; // without SA_RESTART: waitpid returns
  sigaction(SIGALRM, &action, nullptr);
  constexpr suseconds_t again_us = 1000; // one that came before the wait ends the next
  const itimerval timer{
      {0, again_us}, {static_cast<time_t>(ms / 1000), static_cast<suseconds_t>(ms % 1000 * 1000)}};
  check(setitimer(ITIMER_REAL, &timer, nullptr), "set a timer");
}

// Somebody else has killed it.
struct Ended : std::runtime_error {
  Ended() : std::runtime_error("it has ended") {}
};

class Traced {
public:
  explicit Traced(pid_t pid) : pid_(pid) {
    check(static_cast<int>(ptrace(PTRACE_SEIZE, pid, nullptr, nullptr)), "trace it");
    check(static_cast<int>(ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr)), "stop it");
    wait_stopped();
  }

  uint64_t read(uint64_t address) const {
    errno = 0;
    const long word = ptrace(PTRACE_PEEKDATA, pid_, address, nullptr);
    if (errno == ESRCH) throw Ended();
    if (errno != 0) throw std::runtime_error("its memory cannot be read");
    return static_cast<uint64_t>(word);
  }

  // To an instruction, which is then the next. False: it takes too long.
  bool run_to(uint64_t address) {
    if (!step()) return false; // it may stand there
    const uint64_t code = read(address);
    write(address, (code & ~uint64_t{0xff}) | INT3);
    do {
      if (!resume(PTRACE_CONT)) return false;
    } while (status_ >> 8 != SIGTRAP); // not a signal of its own, nor an event
    write(address, code);
#if defined(__x86_64__)
    user_regs_struct registers{};
    ask(PTRACE_GETREGS, &registers);
    registers.rip = address;
    ask(PTRACE_SETREGS, &registers);
#endif
    return true;
  }

  // One instruction.
  bool step() { return resume(PTRACE_SINGLESTEP); }

  // To where it enters that system call. False: it takes too long.
  bool run_to_call(long number) {
    ask(PTRACE_SETOPTIONS, reinterpret_cast<void*>(PTRACE_O_TRACESYSGOOD));
    for (;;) {
      if (!resume(PTRACE_SYSCALL)) return false;
      if (WSTOPSIG(status_) != (SIGTRAP | 0x80)) continue;
#if defined(__x86_64__)
      user_regs_struct registers{};
      ask(PTRACE_GETREGS, &registers);
      // no result yet: it enters (ptrace(2), Syscall-stops)
      const bool enters = static_cast<long>(registers.rax) == -ENOSYS;
      if (enters && static_cast<long>(registers.orig_rax) == number) return true;
#endif
    }
  }

  // Goes on into the call, and looks once the process has run for so long. False: it has ended.
  bool is_in_call_after(uint64_t ns) {
    clockid_t used;
    const int error = clock_getcpuclockid(pid_, &used);
    if (error != 0) throw fantail::error_of(error, "find the clock of its CPU time");
    const uint64_t start = clock_ns(used), began = clock_ns(CLOCK_MONOTONIC);
    ask(PTRACE_SYSCALL, nullptr);
    while (waitpid(pid_, &status_, __WALL | WNOHANG) == 0) {
      if (clock_ns(used) - start >= ns) return true;
      if (clock_ns(CLOCK_MONOTONIC) - began > CORE_NS_MAX) throw Ended();
    }
    if (!WIFSTOPPED(status_)) throw Ended();
    return false;
  }

private:
  void ask(__ptrace_request what, void* data) const {
    if (ptrace(what, pid_, nullptr, data) < 0) throw Ended();
  }

  void write(uint64_t address, uint64_t word) const {
    if (ptrace(PTRACE_POKETEXT, pid_, address, word) < 0) throw Ended();
  }

  // A signal of its own that it was about to get is delivered with it.
  bool resume(__ptrace_request how) {
    const bool is_ours = (WSTOPSIG(status_) & 0x7f) == SIGTRAP || status_ >> 16 != 0;
    if (ptrace(how, pid_, nullptr, is_ours ? 0 : WSTOPSIG(status_)) < 0) throw Ended();
    return wait_stopped();
  }

  bool wait_stopped() {
    const pid_t got = waitpid(pid_, &status_, __WALL);
    if (got < 0 && errno == EINTR) return false;
    check(got, "wait for it");
    if (!WIFSTOPPED(status_)) throw Ended();
    return true;
  }

  pid_t pid_;
  int status_ = 0; // of its last stop
};

struct Killed {
  bool inside;
  uint64_t instructions;
};

Killed kill_inside(pid_t pid, uint64_t journal, uint64_t apply, uint64_t steps, uint64_t wait_ms) {
  Killed killed{false, 0};
  try {
    begin_timeout(wait_ms);
    Traced traced(pid);
    const auto is_open = [&] { return static_cast<uint32_t>(traced.read(journal)) != 0; };
    bool is_stopped = true;
    while (is_stopped && !killed.inside) {
      is_stopped = traced.run_to(apply);
      killed.inside = is_stopped && is_open(); // not: it is the commit of another stage of its
      for (uint64_t left = steps; killed.inside && left != 0; --left, ++killed.instructions) {
        is_stopped = traced.step();
        killed.inside = is_stopped && is_open();
      }
      steps /= 2; // for one that turned out to be shorter
    }
  } catch (const Ended&) {
    killed.inside = false; // by somebody else
  }
  kill(pid, SIGKILL);
  return killed;
}

// `ns` after it has entered one, or less where calls are shorter.
Killed kill_in_call(pid_t pid, uint64_t ns, uint64_t wait_ms) {
  Killed killed{false, 0};
  try {
    begin_timeout(wait_ms);
    Traced traced(pid);
    while (!killed.inside && traced.run_to_call(SYS_bpf)) {
      killed.inside = traced.is_in_call_after(std::max(ns, CALL_NS_MIN));
      ns /= 2;
    }
  } catch (const Ended&) {
    killed.inside = false; // by somebody else
  }
  kill(pid, SIGKILL);
  return killed;
}

} // namespace

int main(int argc, char** argv) try {
#if !defined(__x86_64__)
  throw std::runtime_error("it knows the breakpoints of x86-64 only");
#endif
  const Flags flags(argc, argv, "--pid --journal --image --apply --steps --call-ns --wait-ms", "");
  const auto pid = static_cast<pid_t>(flags.number("--pid", {}, 1u << 22));
  const uint64_t wait_ms = flags.number("--wait-ms", WAIT_MS_DEFAULT, 60'000);
  const auto in_commit = [&] {
    return kill_inside(
        pid, base_of(pid, "/memfd:fantail-arena") + flags.number("--journal", {}, 1u << 31),
        base_of(pid, flags.text("--image")) + flags.number("--apply", {}, 1u << 31),
        flags.number("--steps", 0, 100'000), wait_ms);
  };
  const Killed killed = flags.has("--call-ns")
                            ? kill_in_call(pid, flags.number("--call-ns", {}, 1'000'000), wait_ms)
                            : in_commit();
  std::printf("{\"inside\":%s,\"instructions\":%llu}\n", killed.inside ? "true" : "false",
              static_cast<unsigned long long>(killed.instructions));
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-kill: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-kill: %s\n", error.what());
  return 1;
}
