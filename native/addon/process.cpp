// SPDX-License-Identifier: MIT-0
//
// What belongs to the process as a whole: its eventfds, its privileges, the arena that it maps.
#include <algorithm>
#include <cctype>
#include <climits>
#include <csignal>
#include <string>

#include <cap-ng.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <unistd.h>

#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/clock.hpp"
#include "host/privileges.hpp"
#include "host/system_calls.hpp"

namespace fantail {
namespace {

Napi::Value event_fd_js(const Arguments& arguments) {
  const int fd = check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "make an eventfd");
  return fd_value(arguments.env(), Fd{fd});
}

Napi::Value signal_js(const Arguments& arguments) {
  const u64 one = 1;
  const ssize_t written = write(arguments.fd(0), &one, sizeof(one));
  // EAGAIN: it is full of signals already.
  if (written < 0 && errno != EAGAIN) throw error_of(errno, "signal an eventfd");
  return arguments.env().Undefined();
}

/// Follows a process by a descriptor, which never names another one that got the same number.
Napi::Value open_process_js(const Arguments& arguments) {
  const int pid = static_cast<int>(arguments.integer(0, "pid", 1, INT_MAX));
  const long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd_value(arguments.env(), Fd{check(static_cast<int>(fd), "open a process")});
}

Napi::Value kill_process_js(const Arguments& arguments) {
  const long sent = syscall(SYS_pidfd_send_signal, arguments.fd(0), SIGKILL, nullptr, 0);
  if (sent < 0 && errno != ESRCH) throw error_of(errno, "kill a process");
  return arguments.env().Undefined();
}

Napi::Value memory_file_js(const Arguments& arguments) {
  const Napi::Uint8Array bytes = arguments.bytes(0, "bytes");
  Fd fd{check(memfd_create("fantail-filter", MFD_CLOEXEC), "make a file in memory")};
  const ssize_t written = write(fd.get(), bytes.Data(), bytes.ByteLength());
  if (written != static_cast<ssize_t>(bytes.ByteLength()))
    throw error_of(written < 0 ? errno : ENOSPC, "write a file in memory");
  return fd_value(arguments.env(), std::move(fd));
}

Napi::Value capabilities_js(const Arguments& arguments) {
  if (capng_get_caps_process() != 0)
    throw Error(0, "the capabilities of this process cannot be read");
  auto names = Napi::Array::New(arguments.env());
  for (unsigned number = 0; number <= CAP_LAST_CAP; number++) {
    if (capng_have_capability(CAPNG_EFFECTIVE, number) == 0) continue;
    const char* name = capng_capability_to_name(number);
    if (name == nullptr) continue; // newer than the library
    std::string written = "CAP_";
    for (; *name != '\0'; name++) written += static_cast<char>(std::toupper(*name));
    names.Set(names.Length(), written);
  }
  return names;
}

Napi::Value no_new_privileges_js(const Arguments& arguments) {
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges");
  return arguments.env().Undefined();
}

/// dropPrivileges(user). Code must be loaded before: that user may not read it.
Napi::Value drop_privileges_js(const Arguments& arguments) {
  constexpr User users[] = {User::worker, User::checker};
  become(users[arguments.one_of(0, "user", {"worker", "checker"})]);
  return arguments.env().Undefined();
}

/// forbidWaysOut(user): of all threads of this process, for good.
Napi::Value forbid_ways_out_js(const Arguments& arguments) {
  forbid_ways_out(arguments.one_of(0, "user", {"checker", "worker"}) == 1);
  return arguments.env().Undefined();
}

/// forbidIoUring(): of this process, once and for good, and of what it starts.
Napi::Value forbid_io_uring_js(const Arguments& arguments) {
  static bool is_done = false;
  if (!is_done) forbid_io_uring();
  is_done = true;
  return arguments.env().Undefined();
}

/// CPU time that this process has used, rounded up.
rlim_t cpu_seconds_used() {
  rusage used{};
  check(getrusage(RUSAGE_SELF, &used), "read the CPU time of this process");
  const auto seconds = used.ru_utime.tv_sec + used.ru_stime.tv_sec;
  const auto microseconds = used.ru_utime.tv_usec + used.ru_stime.tv_usec;
  return static_cast<rlim_t>(seconds + (microseconds + 999'999) / 1'000'000);
}

/// limitCpu(seconds): from now on; SIGXCPU. At most what limitResources has left.
Napi::Value limit_cpu_js(const Arguments& arguments) {
  const auto seconds = static_cast<rlim_t>(arguments.integer(0, "seconds", 1, INT_MAX));
  rlimit both{};
  check(getrlimit(RLIMIT_CPU, &both), "read the limit of this process's CPU time");
  both.rlim_cur = std::min(both.rlim_max, cpu_seconds_used() + seconds);
  check(setrlimit(RLIMIT_CPU, &both), "limit this process's CPU time");
  return arguments.env().Undefined();
}

/// limitResources(cpuSeconds, bytes): of this process, for good; no core file either.
Napi::Value limit_resources_js(const Arguments& arguments) {
  const auto limit = [](auto resource, rlim_t most) {
    const rlimit both{most, most};
    check(setrlimit(resource, &both), "limit what this process may use");
  };
  const auto seconds = static_cast<rlim_t>(arguments.integer(0, "cpuSeconds", 1, INT_MAX));
  const auto bytes = static_cast<rlim_t>(arguments.integer(1, "bytes", 1, 1e15));
  limit(RLIMIT_CPU, seconds);
  limit(RLIMIT_DATA, bytes);
  limit(RLIMIT_CORE, 0);
  return arguments.env().Undefined();
}

Napi::Value clear_ambient_js(const Arguments& arguments) {
  clear_ambient_capabilities();
  return arguments.env().Undefined();
}

Napi::Value raise_ambient_js(const Arguments& arguments) {
  raise_ambient_capabilities();
  return arguments.env().Undefined();
}

/// The clocks of the data path, and whether something keeps the one on the wall right
/// (adjtimex(2)).
Napi::Value read_clocks_js(const Arguments& arguments) {
  timex asked{};
  const int state = adjtimex(&asked);
  auto object = Napi::Object::New(arguments.env());
  object.Set("monotonic_ns", count_value(arguments.env(), clock_ns()));
  object.Set("realtime_us", count_value(arguments.env(), realtime_ns() / 1000));
  const bool kept = state >= 0 && state != TIME_ERROR && (asked.status & STA_UNSYNC) == 0;
  object.Set("synchronised", Napi::Boolean::New(arguments.env(), kept));
  return object;
}

Napi::Value map_arena_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  struct stat about{};
  check(fstat(fd, &about), "read the size of the arena");
  const auto size = static_cast<std::size_t>(about.st_size);
  if (size == 0) throw Error(EINVAL, "the arena is empty: its creator has not finished");
  void* const start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) throw error_of(errno, "map the arena");
  // Views of it may outlive any owner that we could name, so it is mapped until the process ends.
  return Napi::ArrayBuffer::New(arguments.env(), start, size);
}

} // namespace

void export_process(Napi::Object exports) {
  export_function<event_fd_js>(exports, "eventFd");
  export_function<signal_js>(exports, "signal");
  export_function<open_process_js>(exports, "openProcess");
  export_function<kill_process_js>(exports, "killProcess");
  export_function<memory_file_js>(exports, "memoryFile");
  export_function<capabilities_js>(exports, "capabilities");
  export_function<no_new_privileges_js>(exports, "noNewPrivileges");
  export_function<drop_privileges_js>(exports, "dropPrivileges");
  export_function<forbid_ways_out_js>(exports, "forbidWaysOut");
  export_function<forbid_io_uring_js>(exports, "forbidIoUring");
  export_function<limit_cpu_js>(exports, "limitCpu");
  export_function<limit_resources_js>(exports, "limitResources");
  export_function<clear_ambient_js>(exports, "clearAmbientCapabilities");
  export_function<raise_ambient_js>(exports, "raiseAmbientCapabilities");
  export_function<read_clocks_js>(exports, "readClocks");
  export_function<map_arena_js>(exports, "mapArena");
}

} // namespace fantail
