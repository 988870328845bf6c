// SPDX-License-Identifier: MIT-0
#include "host/system_calls.hpp"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <seccomp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <utility>

namespace fantail {

namespace {

/// A filter that is built rule by rule.
class Filter {
public:
  explicit Filter(unsigned otherwise) : context_(seccomp_init(otherwise)) {
    note(context_ == nullptr ? -ENOMEM : seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1));
  }
  ~Filter() { seccomp_release(context_); }
  Filter(const Filter&) = delete;

  /// `call`: a number that libseccomp knows; one that this machine does not have is passed over.
  void add(unsigned action, int call, std::initializer_list<scmp_arg_cmp> when = {}) {
    if (error_ != 0 || call < 0) return;
    const auto count = static_cast<unsigned>(when.size());
    note(seccomp_rule_add_array(context_, action, call, count, when.begin()));
  }
  void add(unsigned action, std::initializer_list<int> calls) {
    for (const int call : calls) add(action, call);
  }

  void load() {
    if (error_ == 0) note(seccomp_load(context_));
    if (error_ != 0)
      std::fprintf(stderr, "fantail: its system calls cannot be restricted here: %s\n",
                   std::strerror(-error_));
  }

private:
  void note(int result) {
    if (result < 0 && error_ == 0) error_ = result;
  }

  scmp_filter_ctx context_;
  int error_ = 0; // negative errno
};

constexpr unsigned refused = SCMP_ACT_ERRNO(EPERM);
constexpr int setown_ex = 15; // F_SETOWN_EX, which glibc hides without _GNU_SOURCE

} // namespace

void allow_receiver_calls() {
  Filter filter(refused);
  filter.add(SCMP_ACT_ALLOW,
             {SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(read), SCMP_SYS(write),
              SCMP_SYS(sched_yield), SCMP_SYS(recvfrom), SCMP_SYS(recvmmsg), SCMP_SYS(recvmsg),
              SCMP_SYS(sendmsg), SCMP_SYS(accept4), SCMP_SYS(getsockopt), SCMP_SYS(close),
              SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep)});
  filter.add(SCMP_ACT_ALLOW,
             {SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise),
              SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(rt_sigreturn),
              SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall), SCMP_SYS(exit),
              SCMP_SYS(exit_group), SCMP_SYS(gettid), SCMP_SYS(getrandom)});
  // of a thread that has just been started: without these glibc ends the process
  filter.add(SCMP_ACT_ALLOW, {SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(mprotect)});
  // abort()
  filter.add(SCMP_ACT_ALLOW, SCMP_SYS(rt_sigaction));
  filter.add(SCMP_ACT_ALLOW, SCMP_SYS(tgkill),
             {SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(getpid()))});
  filter.load();
}

void forbid_io_uring() {
  Filter filter(SCMP_ACT_ALLOW);
  filter.add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup)); // as of a kernel without them
  filter.load();
}

void forbid_ways_out(bool is_worker) {
  Filter filter(SCMP_ACT_ALLOW);
  filter.add(refused, {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork)});
  filter.add(refused, SCMP_SYS(clone), {SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)});
  filter.add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3)); // whose flags no filter sees: clone is used
  filter.add(refused, {SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
                       SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal),
                       SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(tkill)});
  const auto own = static_cast<scmp_datum_t>(getpid());
  filter.add(refused, SCMP_SYS(kill), {SCMP_A0(SCMP_CMP_NE, own)});
  filter.add(refused, SCMP_SYS(tgkill), {SCMP_A0(SCMP_CMP_NE, own)});
  if (is_worker) filter.add(refused, SCMP_SYS(bpf), {SCMP_A0(SCMP_CMP_NE, BPF_PROG_TEST_RUN)});
  else filter.add(refused, {SCMP_SYS(bpf)});
  filter.add(refused, {SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(perf_event_open),
                       SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
                       SCMP_SYS(io_uring_register), SCMP_SYS(keyctl), SCMP_SYS(add_key),
                       SCMP_SYS(request_key)});
  constexpr std::pair<scmp_datum_t, scmp_datum_t> writing[] = {
      {O_ACCMODE, O_WRONLY}, {O_ACCMODE, O_RDWR}, {O_CREAT, O_CREAT}, {O_TRUNC, O_TRUNC}};
  for (const auto& [mask, flag] : writing) {
    filter.add(refused, SCMP_SYS(open), {SCMP_A1(SCMP_CMP_MASKED_EQ, mask, flag)});
    filter.add(refused, SCMP_SYS(openat), {SCMP_A2(SCMP_CMP_MASKED_EQ, mask, flag)});
  }
  // whom a descriptor signals, and with what
  for (const int command : {F_SETOWN, F_SETSIG, setown_ex})
    filter.add(refused, SCMP_SYS(fcntl),
               {SCMP_A1(SCMP_CMP_EQ, static_cast<scmp_datum_t>(command))});
  filter.add(refused, SCMP_SYS(prlimit64),
             {SCMP_A0(SCMP_CMP_NE, 0), SCMP_A2(SCMP_CMP_NE, 0)}); // limits of others
  filter.add(refused,
             {SCMP_SYS(openat2),  SCMP_SYS(creat),    SCMP_SYS(truncate), SCMP_SYS(unlink),
              SCMP_SYS(unlinkat), SCMP_SYS(rename),   SCMP_SYS(renameat), SCMP_SYS(renameat2),
              SCMP_SYS(link),     SCMP_SYS(linkat),   SCMP_SYS(symlink),  SCMP_SYS(symlinkat),
              SCMP_SYS(mkdir),    SCMP_SYS(mkdirat),  SCMP_SYS(rmdir),    SCMP_SYS(mknod),
              SCMP_SYS(mknodat),  SCMP_SYS(chmod),    SCMP_SYS(fchmodat), SCMP_SYS(chown),
              SCMP_SYS(lchown),   SCMP_SYS(fchownat), SCMP_SYS(setxattr), SCMP_SYS(lsetxattr),
              SCMP_SYS(utimensat)});
  filter.add(refused,
             {SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(move_mount),
              SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsmount), SCMP_SYS(fsconfig),
              SCMP_SYS(fspick), SCMP_SYS(chroot), SCMP_SYS(setns)});
  // a table of descriptors of its own: addon/worker.cpp
  filter.add(refused, SCMP_SYS(unshare), {SCMP_A0(SCMP_CMP_NE, CLONE_FILES)});
  filter.load();
}

} // namespace fantail
