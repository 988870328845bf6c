// SPDX-License-Identifier: MIT-0
//
// From inherited file descriptors to what the stages work on: kernel rings of AF_XDP sockets, or
// soft links of socket mode. One class per side, so that a process maps only what it owns.
#pragma once

#include <memory>

#include "path/rx_stage.hpp"
#include "path/tx_stage.hpp"
#include "xdp/sockets.hpp"

namespace fantail {

class RxLinkOwner {
public:
  /// `fd`: the queue's receiving AF_XDP socket, or in socket mode its UDP socket. Not closed here.
  RxLinkOwner(Arena& arena, u32 queue, int fd) : fd_(fd) {
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
  int fd() const { return fd_; }

private:
  int fd_;
  std::unique_ptr<SoftLink> soft_;
  MappedRing rx_, fill_;
  RxLink link_;
};

class TxLinkOwner {
public:
  /// `fd`: the queue's transmitting AF_XDP socket, or in socket mode its UDP socket. Not closed
  /// here.
  TxLinkOwner(Arena& arena, u32 queue, int fd) {
    if (arena.header().mode == MODE_SOCKET) {
      soft_ = std::make_unique<SoftLink>(arena, queue, fd);
      link_ = {soft_->tx_ring(), soft_->completion_ring(), soft_.get(), -1};
    } else {
      tx_ = map_ring(fd, XDP_PGOFF_TX_RING, FANTAIL_TX_FRAMES);
      completion_ = map_ring(fd, XDP_UMEM_PGOFF_COMPLETION_RING, FANTAIL_TX_FRAMES);
      link_ = {tx_.ring(), completion_.ring(), nullptr, fd};
    }
  }
  const TxLink& link() const { return link_; }

private:
  std::unique_ptr<SoftLink> soft_;
  MappedRing tx_, completion_;
  TxLink link_;
};

} // namespace fantail
