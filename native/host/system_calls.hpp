// SPDX-License-Identifier: MIT-0
//
// Which system calls a process may still make once it is set up (seccomp(2), by libseccomp): what a
// process that is taken over by a packet or a module cannot ask the kernel for. Others are refused
// with EPERM. Of all threads of the process, and for good; no_new_privs must be set.
//
// A kernel or container that takes no filters leaves the process as it is; a line on stderr says
// so.
#pragma once

namespace fantail {

/// fantail-rx: a list of what it needs, and nothing else.
///
///     path/idle            poll, ppoll, read (eventfd), sched_yield
///     path/rx_stage        write (eventfd), recvfrom (zero copy: fill ring), getpid
///     link/soft_link       recvmmsg
///     rx/keeper            poll, accept4, getsockopt, recvmsg, sendmsg, close, nanosleep
///     rx/protocol          getpid, getppid
///     C and C++ libraries  memory, futexes, threads that begin and end, clocks without a vDSO,
///                          abort
void allow_receiver_calls();

/// Whoever runs V8, which needs too much for a list: all but what leads out of the process: other
/// programs and processes, sockets, files to write to, namespaces and mounts, BPF, perf, io_uring,
/// userfaultfd, and the memory, descriptors and signals of others. `is_worker`: it may run BPF
/// programs whose descriptors it has been given (link/bulk_link), and nothing else of BPF.
void forbid_ways_out(bool is_worker);

/// Of this process and all that it starts: none gets a ring of io_uring any more, whose requests no
/// filter sees. A ring that this process has already goes on; what it starts has none, and can then
/// be refused their use as well (forbid_ways_out), which would end a libuv that has one.
void forbid_io_uring();

} // namespace fantail
