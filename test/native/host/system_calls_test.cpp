// SPDX-License-Identifier: MIT-0
//
// What fantail-rx, and whoever runs a module, can no longer ask the kernel for: each call is made
// by a child that has restricted itself, as one that was taken over would make it, past every
// wrapper.
#include "host/system_calls.hpp"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "rig/testing.hpp"

namespace fantail::testing {
namespace {

struct Call {
  const char* what;
  long number;
  long a, b, c;
};

long of(const void* pointer) { return reinterpret_cast<long>(pointer); }

// What leads out, for both. Each would do harm or fail otherwise, so EPERM must be its only end.
std::vector<Call> ways_out() {
  static char* const nothing[] = {nullptr};
  static const char program[] = "/bin/false", file[] = "/tmp/fantail-must-not-be";
  static bpf_attr attributes{};
  return {
      {"another process", SYS_clone, SIGCHLD, 0, 0},
      {"the memory of another", SYS_ptrace, PTRACE_SEIZE, getppid(), 0},
      {"the descriptors of another", SYS_pidfd_open, getppid(), 0, 0},
      {"a signal to another", SYS_kill, getppid(), 0, 0},
      {"a socket", SYS_socket, AF_INET, SOCK_DGRAM, 0},
      {"a file to write to", SYS_openat, AT_FDCWD, of(file), O_WRONLY | O_CREAT},
      {"a BPF program", SYS_bpf, BPF_PROG_LOAD, of(&attributes), sizeof attributes},
      {"a namespace", SYS_unshare, CLONE_NEWUSER, 0, 0},
      {"a mount", SYS_umount2, of("/nothing"), 0, 0},
      {"a file to be gone", SYS_unlinkat, AT_FDCWD, of(file), 0},
      {"io_uring", SYS_io_uring_setup, 1, 0, 0},
      {"perf", SYS_perf_event_open, 0, 0, 0},
      // last: one that is served ends the child with the program's status, which is not 0
      {"another program", SYS_execve, of(program), of(nothing), of(nothing)},
  };
}

// What fantail-rx has no need of either.
std::vector<Call> of_no_use_to_rx() {
  static const char file[] = "/dev/null";
  return {
      {"a file to read", SYS_openat, AT_FDCWD, of(file), O_RDONLY},
      {"a path", SYS_faccessat, AT_FDCWD, of(file), R_OK},
      {"sending to an address", SYS_sendto, 0, 0, 0},
      {"a name", SYS_bind, 0, 0, 0},
      {"another user", SYS_setuid, 0, 0, 0},
      {"ioctl", SYS_ioctl, 0, 0, 0},
      {"more rights", SYS_prctl, PR_SET_DUMPABLE, 1, 0},
  };
}

/// Not _exit(): before a call that does not return ASan asks for what is refused by then.
void end(int status) { syscall(SYS_exit_group, status); }

/// Runs in a child that has restricted itself: 0, or 1 + the first of these that was not refused.
int first_served(const std::vector<Call>& calls) {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const Call& call = calls[i];
    errno = 0;
    const long result = syscall(call.number, call.a, call.b, call.c, 0, 0, 0);
    if (result == 0 && call.number == SYS_clone) end(0); // the child of a clone that was served
    if (result != -1 || errno != EPERM) return static_cast<int>(1 + i);
  }
  return 0;
}

constexpr int still_works_failed = 200, unfiltered = 201;

template<class Work> void in_child(const std::vector<Call>& calls, Work&& restrict_itself) {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    restrict_itself();
    errno = 0;
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER && errno != EPERM) end(unfiltered);
    const int served = first_served(calls);
    if (served != 0) end(served);
    // what the path is made of
    pollfd none{-1, 0, 0};
    void* const page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool works = poll(&none, 1, 0) == 0 && page != MAP_FAILED && getpid() > 0;
    end(works ? 0 : still_works_failed);
  }
  int status = 0;
  expect_equal(waitpid(child, &status, 0), child, "the child has ended");
  expect(WIFEXITED(status), "it ended by itself");
  const int code = WEXITSTATUS(status);
  if (code == unfiltered) fail("no filter is in force");
  if (code == still_works_failed) fail("what the path needs is refused");
  if (code != 0)
    fail(std::string("not refused: ") + calls.at(static_cast<std::size_t>(code - 1)).what);
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run("fantail-rx is refused every way out, and goes on",
            [] { in_child(ways_out(), fantail::allow_receiver_calls); });
  suite.run("fantail-rx is refused what it has no need of",
            [] { in_child(of_no_use_to_rx(), fantail::allow_receiver_calls); });
  suite.run("whoever runs a module finds no io_uring, and is not ended by asking for one", [] {
    in_child({}, [] {
      fantail::forbid_io_uring();
      if (syscall(SYS_io_uring_setup, 1, 0) != -1 || errno != ENOSYS) end(still_works_failed);
    });
  });
  suite.run("whoever runs a module is refused every way out, and goes on",
            [] { in_child(ways_out(), [] { fantail::forbid_ways_out(false); }); });
  suite.run("a worker, too, but it may run a program that it was given", [] {
    in_child(ways_out(), [] {
      fantail::forbid_ways_out(true);
      bpf_attr none{};
      none.test.prog_fd = static_cast<__u32>(-1);
      if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &none, sizeof none) != -1 || errno != EBADF)
        end(still_works_failed);
    });
  });
  return suite.end();
}
