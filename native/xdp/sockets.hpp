// SPDX-License-Identifier: MIT-0
//
// AF_XDP sockets: per queue one that only receives (and owns fill and completion ring) and one that
// only transmits and shares the first one's UMEM. One socket for both would make the receiver's
// poll() transmit the worker's ring. Documentation/networking/af_xdp.rst; ring sizes and flags are
// named at each call.
#pragma once

#include <sys/mman.h>

#include "host/check.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail {

/// One mapped ring of a socket; unmapped with it.
class MappedRing {
public:
  MappedRing() = default;
  MappedRing(MappedRing&& other) noexcept
      : map_(other.map_), size_(other.size_), ring_(other.ring_) {
    other.map_ = nullptr;
  }
  MappedRing& operator=(MappedRing&& other) noexcept {
    std::swap(map_, other.map_);
    std::swap(size_, other.size_);
    std::swap(ring_, other.ring_);
    return *this;
  }
  ~MappedRing() {
    if (map_ != nullptr) munmap(map_, size_);
  }
  const KernelRing& ring() const { return ring_; }

private:
  friend MappedRing map_ring(int, u64, u32);
  void* map_ = nullptr;
  std::size_t size_ = 0;
  KernelRing ring_;
};

/// Maps a ring of any AF_XDP socket, also an inherited one. `page_offset`: XDP_PGOFF_RX_RING,
/// XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_FILL_RING or XDP_UMEM_PGOFF_COMPLETION_RING; `size`: entries
/// it was made with.
MappedRing map_ring(int fd, u64 page_offset, u32 size);

/// Opens the receiving socket of a queue, registers the UMEM with it and makes its rings, without
/// binding it. Fill and completion ring must be mapped before bind on older kernels, so map_ring()
/// comes between this and bind_*.
Fd open_rx_socket(char* umem, u64 umem_size);
/// `zero_copy`: bind demands it (XDP_ZEROCOPY), else XDP_COPY; both with XDP_USE_NEED_WAKEUP. EBUSY
/// is retried for a second: a socket of a process that has just died still holds the queue.
void bind_rx_socket(int fd, int interface_index, u32 queue, bool zero_copy);
/// The transmitting socket of the same queue; flags exactly XDP_SHARED_UMEM, `rx_fd` that queue's
/// receiving socket.
Fd open_tx_socket(int rx_fd, int interface_index, u32 queue);
/// How many descriptors one copy-mode sendto may take. False: this kernel (before 6.17) has no such
/// option, and takes 32.
bool set_tx_budget(int fd);
/// A second queue of the same interface shares the UMEM of the first: own fill and completion ring,
/// own receiving socket.
Fd open_shared_rx_socket();
void bind_shared_rx_socket(int fd, int umem_fd, int interface_index, u32 queue);
/// What the kernel granted, read back by XDP_OPTIONS.
bool is_zero_copy(int fd);
/// Preferred busy polling, of a receiving socket; refused without privilege or on older kernels,
/// which is no failure.
void prefer_busy_poll(int fd);

} // namespace fantail
