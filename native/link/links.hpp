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
#include "link/pump.hpp"
#include "link/soft_link.hpp"
#include "xdp/sockets.hpp"

namespace fantail {

/// Where packets come from: a queue, or the socket of the slow path. `soft` is set in socket mode
/// and for the slow path, `xsk_fd` otherwise; -1 in tests.
struct RxLink {
  FrameRange frames{}; // that go round in it, and nowhere else
  KernelRing rx;
  KernelRing fill;
  SoftLink* soft = nullptr;
  int xsk_fd = -1;
  bool is_slow = false;
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
  Pump* pump = nullptr; // it makes the calls of `bulk`

  /// Jobs of a burst, as far as packets wait. In bulk that is a call, which costs the same whatever
  /// it sends: 1024 sent a third more than 128, and no more than 2048 (docs/bulk.md).
  u32 jobs_aim() const { return bulk == nullptr ? FANTAIL_JOBS_AIM : bulk_jobs_aim; }
  static constexpr u32 bulk_jobs_aim = 1024;
  static_assert(bulk_jobs_aim <= FANTAIL_JOBS_MAX);
  /// The map that the worker's TX frames are in; null: the UMEM.
  char* pages() const { return bulk == nullptr ? nullptr : bulk->pages(); }

  /// The device takes copies by itself once they are on the TX ring.
  bool takes_unkicked(u32 mode) const {
    return pump != nullptr || (xsk_fd >= 0 && mode == MODE_ZEROCOPY);
  }

  /// Makes the kernel transmit what is on the TX ring. `lost(address, why)`: that copy ends as a
  /// drop. `look()`: some may have been taken. `retry_ns`: how long socket mode tries a full socket
  /// buffer, and bulk a device that refuses.
  template<class Lost, class Look>
  void kick(worker& counters, u32 mode, u64 retry_ns, Lost&& lost, Look&& look) {
    if (soft != nullptr) return soft->transmit(retry_ns, look);
    if (pump != nullptr && !pump->has_failed()) {
      if (bulk->follow(retry_ns)) pump->wake();
      return;
    }
    if (bulk != nullptr) return bulk->transmit(retry_ns);
    if (xsk_fd < 0) return;
    const auto send = [this] {
      return sendto(xsk_fd, nullptr, 0, MSG_DONTWAIT, nullptr, 0) < 0 ? errno : 0;
    };
    if (mode == MODE_ZEROCOPY) return Kicks::wake(tx, counters, send);
    kicks.until_taken(tx, counters, send, lost, look);
  }
};

class RxLinkOwner {
public:
  /// `fd`: the queue's receiving AF_XDP socket. Not closed here.
  static RxLinkOwner xdp(const Arena& arena, u32 queue, int fd) {
    RxLinkOwner owner;
    owner.rx_ = map_ring(fd, XDP_PGOFF_RX_RING, FANTAIL_RX_FRAMES);
    owner.fill_ = map_ring(fd, XDP_UMEM_PGOFF_FILL_RING, FANTAIL_RX_FRAMES);
    owner.link_ = {arena.ring_frames(queue), owner.rx_.ring(), owner.fill_.ring(), nullptr, fd};
    return owner;
  }
  /// Socket mode: the UDP sockets of the queue, which are those of that link of the process.
  static RxLinkOwner udp(Arena& arena, u32 queue, FeedSockets& sockets, u32 link, int intake_fd) {
    RxLinkOwner owner;
    owner.receive_by(arena, queue, sockets, link, intake_fd, arena.ring_frames(queue));
    return owner;
  }
  /// The slow path beside AF_XDP sockets: the UDP sockets that hold the feeds' ports.
  static RxLinkOwner slow(Arena& arena, FeedSockets& sockets, int intake_fd) {
    RxLinkOwner owner;
    owner.receive_by(arena, 0, sockets, 0, intake_fd, Arena::slow_frames());
    owner.link_.is_slow = true;
    return owner;
  }
  const RxLink& link() const { return link_; }

private:
  RxLinkOwner() = default;
  void receive_by(Arena& arena, u32 queue, FeedSockets& sockets, u32 link, int intake_fd,
                  FrameRange frames) {
    intake_ = MappedIntake(intake_fd);
    soft_ = std::make_unique<SoftLink>(arena, queue, sockets, link, intake_.at());
    link_ = {frames, soft_->rx_ring(), soft_->fill_ring(), soft_.get(), -1};
  }

  MappedIntake intake_;
  std::unique_ptr<SoftLink> soft_;
  MappedRing rx_, fill_;
  RxLink link_;
};

/// What a worker has to send by, as descriptors; -1: it has not. Not closed here.
struct TxDescriptors {
  int socket = -1;  // AF_XDP, of its queue; in socket mode UDP, of the first feed
  int pages = -1;   // its map, for bulk
  int program = -1; // what it runs, with that
  bool has_pump = false;
  int pump_cpu = -1; // any
};

/// One path of a worker, or both.
class TxLinkOwner {
public:
  /// `sockets`: in socket mode its own are those of the first link.
  TxLinkOwner(Arena& arena, u32 queue, const TxDescriptors& fds, FeedSockets& sockets) {
    if (arena.header().mode == MODE_SOCKET) {
      soft_ = std::make_unique<SoftLink>(arena, queue, sockets, 0);
      ring_ = {soft_->tx_ring(), soft_->completion_ring(), soft_.get(), -1, Kicks()};
    } else if (fds.socket >= 0) {
      tx_ = map_ring(fds.socket, XDP_PGOFF_TX_RING, FANTAIL_TX_FRAMES);
      completion_ = map_ring(fds.socket, XDP_UMEM_PGOFF_COMPLETION_RING, FANTAIL_TX_FRAMES);
      // 6.17 brought both the budget and the consumer that is published (kicks.hpp)
      ring_ = {tx_.ring(), completion_.ring(), nullptr, fds.socket,
               Kicks(set_tx_budget(fds.socket))};
    }
    if (fds.pages < 0) return;
    pages_ = BulkPages(fds.pages);
    bulk_ = std::make_unique<BulkLink>(arena.worker(queue), pages_.at(), fds.program,
                                       arena.header().queue_id[queue]);
    has_choice_ = fds.socket >= 0;
    worker& self = arena.worker(queue);
    put(self.bulk_pumped, u64{fds.has_pump});
    if (fds.has_pump)
      pump_ = std::make_unique<Pump>(*bulk_, self, fds.pump_cpu, arena.header().busy_poll != 0);
  }
  /// `wanted` where there is a choice, else the one that there is.
  transmit path(u32 wanted) const {
    if (!has_choice_) return bulk_ != nullptr ? TRANSMIT_BULK : TRANSMIT_RING;
    return wanted == TRANSMIT_BULK ? TRANSMIT_BULK : TRANSMIT_RING;
  }
  TxLink link(transmit path) const {
    if (path == TRANSMIT_RING) return ring_;
    return {bulk_->tx_ring(), bulk_->completion_ring(), nullptr, -1, Kicks(), bulk_.get(),
            pump_.get()};
  }

private:
  std::unique_ptr<SoftLink> soft_;
  BulkPages pages_;
  std::unique_ptr<BulkLink> bulk_;
  std::unique_ptr<Pump> pump_; // ends before the link that it reads
  MappedRing tx_, completion_;
  TxLink ring_;
  bool has_choice_ = false;
};

} // namespace fantail
