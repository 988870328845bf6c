// SPDX-License-Identifier: MIT-0
//
// From inherited file descriptors to what the stages work on: kernel rings of AF_XDP sockets, soft
// links of socket mode, bulk links. One class per side, so that a process maps only what it owns.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <memory>

#include "link/bulk_link.hpp"
#include "link/kicks.hpp"
#include "link/soft_link.hpp"
#include "xdp/sockets.hpp"

namespace fantail {

/// The receiving side of one queue. `soft` is set in socket mode, `xsk_fd` otherwise; -1 in tests.
struct RxLink {
  u32 queue = 0; // index among the queues served, not the interface's number
  KernelRing rx;
  KernelRing fill;
  SoftLink* soft = nullptr;
  int xsk_fd = -1;
};

/// The transmitting side of a worker's queue; `soft` and `xsk_fd` as above, `bulk` where it sends
/// in bulk.
struct TxLink {
  KernelRing tx;
  KernelRing completion;
  SoftLink* soft = nullptr;
  int xsk_fd = -1;

  Kicks kicks{};
  BulkLink* bulk = nullptr;

  /// Makes the kernel transmit what is on the TX ring. `lost(address, why)`: that copy ends as a
  /// drop. `retry_ns`: how long socket mode tries a full socket buffer, and bulk a device that
  /// refuses.
  template<class Lost> void kick(worker& counters, u32 mode, u64 retry_ns, Lost&& lost) {
    if (soft != nullptr) return soft->transmit(retry_ns);
    if (bulk != nullptr) return bulk->transmit(retry_ns);
    if (xsk_fd < 0) return;
    const auto send = [this] {
      return sendto(xsk_fd, nullptr, 0, MSG_DONTWAIT, nullptr, 0) < 0 ? errno : 0;
    };
    if (mode == MODE_ZEROCOPY) return Kicks::wake(tx, counters, send);
    kicks.until_taken(tx, counters, send, lost);
  }
};

class RxLinkOwner {
public:
  /// `fd`: the queue's receiving AF_XDP socket, or in socket mode its UDP socket. Not closed here.
  RxLinkOwner(Arena& arena, u32 queue, int fd) {
    if (arena.header().mode == MODE_SOCKET) {
      soft_ = std::make_unique<SoftLink>(arena, queue, fd);
      link_ = {queue, soft_->rx_ring(), soft_->fill_ring(), soft_.get(), -1};
    } else {
      rx_ = map_ring(fd, XDP_PGOFF_RX_RING, FANTAIL_RX_FRAMES);
      fill_ = map_ring(fd, XDP_UMEM_PGOFF_FILL_RING, FANTAIL_RX_FRAMES);
      link_ = {queue, rx_.ring(), fill_.ring(), nullptr, fd};
    }
  }
  const RxLink& link() const { return link_; }

private:
  std::unique_ptr<SoftLink> soft_;
  MappedRing rx_, fill_;
  RxLink link_;
};

class TxLinkOwner {
public:
  /// `fd`: the queue's transmitting AF_XDP socket, in socket mode its UDP socket, in bulk the
  /// worker's map; `program`: what sends in bulk, else -1. Not closed here.
  TxLinkOwner(Arena& arena, u32 queue, int fd, int program) {
    if (arena.header().mode == MODE_SOCKET) {
      soft_ = std::make_unique<SoftLink>(arena, queue, fd);
      link_ = {soft_->tx_ring(), soft_->completion_ring(), soft_.get(), -1, Kicks()};
    } else if (arena.header().transmit == TRANSMIT_BULK) {
      pages_ = BulkPages(fd);
      bulk_ = std::make_unique<BulkLink>(arena.worker(queue), pages_.at(), program,
                                         arena.header().queue_id[queue]);
      link_ = {bulk_->tx_ring(), bulk_->completion_ring(), nullptr, -1, Kicks(), bulk_.get()};
    } else {
      tx_ = map_ring(fd, XDP_PGOFF_TX_RING, FANTAIL_TX_FRAMES);
      completion_ = map_ring(fd, XDP_UMEM_PGOFF_COMPLETION_RING, FANTAIL_TX_FRAMES);
      // 6.17 brought both the budget and the consumer that is published (kicks.hpp)
      link_ = {tx_.ring(), completion_.ring(), nullptr, fd, Kicks(set_tx_budget(fd))};
    }
  }
  const TxLink& link() const { return link_; }

private:
  std::unique_ptr<SoftLink> soft_;
  std::unique_ptr<BulkLink> bulk_;
  BulkPages pages_;
  MappedRing tx_, completion_;
  TxLink link_;
};

} // namespace fantail
