// SPDX-License-Identifier: MIT-0
//
// Runs a piece of work in another network namespace, on a thread made for it, so that the process
// never changes its own: a socket stays in the namespace that it was made in, and nothing else has
// to be there. The supervisor's side of the addon opens the data plane's sockets through this.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace fantail {

/// Name of a namespace under /run/netns, as `ip netns` makes them; none is the caller's own.
using NamespaceName = std::optional<std::string>;

/// Moves the calling thread into a named namespace, for good: for a program of one thread, before
/// it opens anything.
void enter_namespace(const std::string& name);

/// Runs `work` in that namespace and returns when it is done. What `work` throws is thrown here.
/// Error ENOENT: there is no such namespace. EPERM: entering one takes CAP_SYS_ADMIN.
void in_namespace(const NamespaceName& name, const std::function<void()>& work);

/// The same for work that returns something.
template<class Result>
Result from_namespace(const NamespaceName& name, const std::function<Result()>& work) {
  std::optional<Result> result;
  in_namespace(name, [&] { result.emplace(work()); });
  return std::move(*result);
}

} // namespace fantail
