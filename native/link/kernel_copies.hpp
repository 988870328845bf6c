// SPDX-License-Identifier: MIT-0
//
// Copies for subscribers whose neighbour is not resolved: they leave through connected raw sockets
// (host/sockets.hpp), so that the kernel resolves the neighbour and sends. What it sends is the
// frame's own IP packet, as on the direct path.
//
//     keep()      private copy, since the RX frame is given back before it is sent
//     commit      counts them as pending, with everything else of the burst
//     send_all()  system calls, then how each ended; the commit after it clears the count
//
// A kill between the two commits leaves the count, which a successor's recover() turns into
// DROP_UNCERTAIN: nobody can know which of them were sent. At most KERNEL_COPIES_MAX.
#pragma once

#include <vector>

#include "link/frame.hpp"
#include "shm/journal.hpp"

namespace fantail {

class KernelCopies {
public:
  /// `sockets`: the pool of connected sockets, by subscriber.kernel_socket. Not closed here.
  KernelCopies(worker& self, std::vector<int> sockets);

  bool is_empty() const { return copies_.empty(); }
  bool is_full() const { return copies_.size() == FANTAIL_KERNEL_COPIES_MAX; }

  struct Bytes {
    const char* at;
    u32 length;
  };
  /// A frame's IP packet in two parts, for the subscriber in `row`. is_full() has said that there
  /// is room.
  void keep(u16 row, u32 socket, Bytes first, Bytes rest);

  /// After the commit that counted them. `accounts.end(row, outcome, bytes)` is told of each;
  /// outcome as in struct tag, bytes on the wire.
  template<class Accounts> void send_all(Accounts& accounts) {
    for (const Copy& copy : copies_)
      accounts.end(copy.row, send_one(copy), copy.length + frame::ethernet_size);
    copies_.clear();
    pending_ = 0;
  }
  /// What a killed predecessor had pending.
  template<class Accounts> void recover(Accounts& accounts) {
    for (; pending_ != 0; --pending_)
      accounts.end(static_cast<u16>(peek(self_.kernel_row[pending_ - 1]) % FANTAIL_SUBSCRIBERS_MAX),
                   1 + DROP_UNCERTAIN, 0);
  }
  void commit_to(Journal& journal) const {
    if (pending_ != peek(self_.kernel_pending)) journal.set(self_.kernel_pending, pending_);
  }

private:
  struct Copy {
    u16 row;
    u32 socket;
    u32 length;
    char bytes[FANTAIL_FRAME_SIZE];
  };

  u32 send_one(const Copy& copy) const;

  worker& self_;
  std::vector<int> sockets_;
  u64 pending_; // ahead of what is committed
  std::vector<Copy> copies_;
};

} // namespace fantail
