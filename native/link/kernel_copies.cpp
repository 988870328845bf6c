// SPDX-License-Identifier: MIT-0
#include "link/kernel_copies.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace fantail {

KernelCopies::KernelCopies(worker& self, std::vector<int> sockets)
    : self_(self), sockets_(std::move(sockets)),
      pending_(std::min(peek(self.kernel_pending), u64{FANTAIL_KERNEL_COPIES_MAX})) {
  copies_.reserve(FANTAIL_KERNEL_COPIES_MAX);
}

void KernelCopies::keep(u16 row, u32 socket, Bytes first, Bytes rest) {
  put(self_.kernel_row[copies_.size()], u32{row});
  Copy& copy = copies_.emplace_back();
  copy.row = row;
  copy.socket = socket;
  copy.length = first.length + rest.length;
  std::memcpy(copy.bytes, first.at, first.length);
  std::memcpy(copy.bytes + first.length, rest.at, rest.length);
  ++pending_;
}

/// 0: sent; else 1 + enum drop.
u32 KernelCopies::send_one(const Copy& copy) const {
  if (copy.socket >= sockets_.size()) return 1 + DROP_NO_NEIGHBOUR;
  if (send(sockets_[copy.socket], copy.bytes, copy.length, MSG_DONTWAIT) >= 0) return 0;
  if (errno == EMSGSIZE) return 1 + DROP_TOO_BIG;
  return 1 + (errno == ENETUNREACH ? DROP_NO_ROUTE : DROP_NO_NEIGHBOUR);
}

} // namespace fantail
