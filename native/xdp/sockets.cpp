// SPDX-License-Identifier: MIT-0
#include "xdp/sockets.hpp"

#include <sys/socket.h>
#include <time.h>

#include "host/sockets.hpp"

namespace fantail {

namespace {

// Newer than the oldest headers we build with (values from include/uapi/linux/if_xdp.h and
// asm-generic/socket.h).
constexpr int xdp_max_tx_skb_budget = 9;
constexpr int so_prefer_busy_poll = 69, so_busy_poll_budget = 70;
constexpr int busy_poll_us = 20, busy_poll_budget = 64;
// In copy mode what the device has not sent yet is charged to the socket: net.core.wmem_default has
// room for 92 frames of 1500 bytes.
constexpr int send_buffer = FANTAIL_TX_FRAMES * FANTAIL_FRAME_SIZE;
// descriptors one copy-mode sendto may take where the kernel lets us choose (6.17)
constexpr u32 tx_budget = 256;

void set_ring(int fd, int option, u32 size, const char* doing) {
  check(setsockopt(fd, SOL_XDP, option, &size, sizeof size), doing);
}

void bind_queue(int fd, const sockaddr_xdp& address) {
  constexpr int tries = 100;
  constexpr timespec pause{0, 10'000'000};
  for (int i = 0;; ++i) {
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
    const int number = errno;
    if (number == EBUSY && i < tries) {
      nanosleep(&pause, nullptr);
      continue;
    }
    const Error plain = error_of(number, "bind of an AF_XDP socket to queue " +
                                             std::to_string(address.sxdp_queue_id));
    if (number != EBUSY) throw plain;
    throw Error(EBUSY, std::string(plain.what()) +
                           ": another socket serves it; `fantail clean` ends what a "
                           "killed fantail has left, `ss --xdp -p` shows others");
  }
}

sockaddr_xdp address_of(int interface_index, u32 queue, u16 flags) {
  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = static_cast<u32>(interface_index);
  address.sxdp_queue_id = queue;
  address.sxdp_flags = flags;
  return address;
}

void make_rx_rings(int fd) {
  set_ring(fd, XDP_UMEM_FILL_RING, FANTAIL_RX_FRAMES, "fill ring");
  set_ring(fd, XDP_UMEM_COMPLETION_RING, FANTAIL_TX_FRAMES, "completion ring");
  set_ring(fd, XDP_RX_RING, FANTAIL_RX_FRAMES, "RX ring");
}

} // namespace

MappedRing map_ring(int fd, u64 page_offset, u32 size) {
  xdp_mmap_offsets offsets{};
  socklen_t length = sizeof offsets;
  check(getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length), "XDP_MMAP_OFFSETS");
  const bool descriptors = page_offset == XDP_PGOFF_RX_RING || page_offset == XDP_PGOFF_TX_RING;
  const xdp_ring_offset& at = page_offset == XDP_PGOFF_RX_RING          ? offsets.rx
                              : page_offset == XDP_PGOFF_TX_RING        ? offsets.tx
                              : page_offset == XDP_UMEM_PGOFF_FILL_RING ? offsets.fr
                                                                        : offsets.cr;
  MappedRing mapped;
  mapped.size_ = at.desc + size * (descriptors ? sizeof(xdp_desc) : sizeof(u64));
  void* map = mmap(nullptr, mapped.size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                   static_cast<off_t>(page_offset));
  if (map == MAP_FAILED) throw error_of(errno, "mapping an AF_XDP ring");
  mapped.map_ = map;
  char* base = static_cast<char*>(map);
  mapped.ring_ = {reinterpret_cast<u32*>(base + at.producer),
                  reinterpret_cast<u32*>(base + at.consumer),
                  reinterpret_cast<u32*>(base + at.flags), base + at.desc, size};
  return mapped;
}

Fd open_rx_socket(char* umem, u64 umem_size) {
  Fd fd(check(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), "opening an AF_XDP socket"));
  xdp_umem_reg registration{};
  registration.addr = reinterpret_cast<u64>(umem);
  registration.len = umem_size;
  registration.chunk_size = FANTAIL_FRAME_SIZE;
  if (setsockopt(fd.get(), SOL_XDP, XDP_UMEM_REG, &registration, sizeof registration) < 0)
    throw error_of(errno,
                   errno == ENOBUFS
                       ? "registering the UMEM (the memlock limit is too low: grant CAP_IPC_LOCK)"
                       : "registering the UMEM");
  make_rx_rings(fd.get());
  return fd;
}

Fd open_shared_rx_socket() {
  Fd fd(check(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), "opening an AF_XDP socket"));
  make_rx_rings(fd.get());
  return fd;
}

void bind_rx_socket(int fd, int interface_index, u32 queue, bool zero_copy) {
  const u16 flags = XDP_USE_NEED_WAKEUP | (zero_copy ? XDP_ZEROCOPY : XDP_COPY);
  bind_queue(fd, address_of(interface_index, queue, flags));
}

void bind_shared_rx_socket(int fd, int umem_fd, int interface_index, u32 queue) {
  sockaddr_xdp address = address_of(interface_index, queue, XDP_SHARED_UMEM);
  address.sxdp_shared_umem_fd = static_cast<u32>(umem_fd);
  bind_queue(fd, address);
}

Fd open_tx_socket(int rx_fd, int interface_index, u32 queue) {
  Fd fd(check(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), "opening an AF_XDP socket"));
  set_ring(fd.get(), XDP_TX_RING, FANTAIL_TX_FRAMES, "TX ring");
  bind_shared_rx_socket(fd.get(), rx_fd, interface_index, queue);
  // past net.core.wmem_max with CAP_NET_ADMIN, else up to it
  set_send_buffer(fd.get(), send_buffer);
  set_tx_budget(fd.get());
  return fd;
}

bool set_tx_budget(int fd) {
  return setsockopt(fd, SOL_XDP, xdp_max_tx_skb_budget, &tx_budget, sizeof tx_budget) == 0;
}

bool is_zero_copy(int fd) {
  xdp_options options{};
  socklen_t length = sizeof options;
  check(getsockopt(fd, SOL_XDP, XDP_OPTIONS, &options, &length), "XDP_OPTIONS");
  return (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
}

void prefer_busy_poll(int fd) {
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, so_prefer_busy_poll, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &busy_poll_us, sizeof busy_poll_us);
  setsockopt(fd, SOL_SOCKET, so_busy_poll_budget, &busy_poll_budget, sizeof busy_poll_budget);
}

} // namespace fantail
