// SPDX-License-Identifier: MIT-0
#include "host/namespace.hpp"

#include <exception>
#include <thread>

#include <fcntl.h>
#include <sched.h>

#include "host/check.hpp"

namespace fantail {
namespace {

/// A name that could lead out of /run/netns names no namespace.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

Fd open_namespace(const std::string& name) {
  const std::string cure = "make it with `ip netns add " + name + "`, or see `ip netns list`";
  if (!is_plain_name(name)) throw Error(ENOENT, "'" + name + "' cannot name a network namespace");
  Fd fd{open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd && errno == ENOENT)
    throw Error(ENOENT, "there is no network namespace '" + name + "': " + cure);
  check(fd.get(), ("open the network namespace " + name).c_str());
  return fd;
}

void enter(const Fd& fd, const std::string& name) {
  if (setns(fd.get(), CLONE_NEWNET) == 0) return;
  if (errno == EPERM) {
    throw Error(EPERM,
                "entering the network namespace '" + name + "' takes CAP_SYS_ADMIN: run as root");
  }
  if (errno == EINVAL)
    throw Error(EINVAL, "/run/netns/" + name + " is not a network namespace: delete that file");
  throw error_of(errno, "enter the network namespace " + name);
}

} // namespace

void enter_namespace(const std::string& name) { enter(open_namespace(name), name); }

void in_namespace(const NamespaceName& name, const std::function<void()>& work) {
  if (!name) return work();
  const Fd fd = open_namespace(*name);
  std::exception_ptr failure;
  // setns() moves the calling thread only, and this one ends before we return.
  std::thread thread([&] {
    try {
      enter(fd, *name);
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  thread.join();
  if (failure) std::rethrow_exception(failure);
}

} // namespace fantail
