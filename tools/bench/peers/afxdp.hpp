// SPDX-License-Identifier: MIT-0
// AF_XDP with nothing around it: one UMEM, one socket, its rings, in one thread. The limit that
// fantail is measured against, so every setting that helps it may be chosen:
//
//   --chunk 4096|2048   --rx-ring N   --tx-ring N   --batch N (packets a turn)   --budget N (of one
//   sendto)
//   --prefer-busy-poll 0|1
//
// The defaults are the best that `npm run bench -- --tune` has found; fantail's own settings but
// for the TX ring, since what that one costs, fantail avoids by taking the same few frames again
// and again.
#pragma once

#include <memory>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "peer.hpp"

namespace bench {

// Newer than the oldest headers (include/uapi/linux/if_xdp.h, asm-generic/socket.h).
constexpr int XDP_MAX_TX_BUDGET = 9;
constexpr int PREFER_BUSY_POLL = 69, BUSY_POLL_BUDGET = 70;

struct Tuning {
  explicit Tuning(const Flags& flags)
      : chunk(static_cast<u32>(flags.number("--chunk", 4096))),
        rx(static_cast<u32>(flags.number("--rx-ring", 8192))),
        tx(static_cast<u32>(flags.number("--tx-ring", 256))),
        batch(static_cast<u32>(flags.number("--batch", 64))),
        budget(static_cast<u32>(flags.number("--budget", 256))),
        prefer_busy_poll(static_cast<int>(flags.number("--prefer-busy-poll", 1))) {}
  u32 chunk, rx, tx, batch, budget;
  int prefer_busy_poll;
};

// A ring as user space sees it; one side is ours, the other the kernel's.
struct Ring {
  u32* producer = nullptr;
  u32* consumer = nullptr;
  u32* flags = nullptr;
  void* entries = nullptr;
  u32 mask = 0;

  u32 produced() const { return __atomic_load_n(producer, __ATOMIC_ACQUIRE); }
  u32 consumed() const { return __atomic_load_n(consumer, __ATOMIC_ACQUIRE); }
  void publish(u32* cursor, u32 value) const { __atomic_store_n(cursor, value, __ATOMIC_RELEASE); }
  xdp_desc& descriptor(u32 index) const { return static_cast<xdp_desc*>(entries)[index & mask]; }
  u64& address(u32 index) const { return static_cast<u64*>(entries)[index & mask]; }
  bool needs_wakeup() const {
    return (__atomic_load_n(flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP) != 0;
  }
};

inline bpf_object* load_object(const std::string& path) {
  bpf_object* object = bpf_object__open(path.c_str());
  if (object == nullptr) throw error_of(errno, "opening " + path);
  check(bpf_object__load(object), "loading the XDP program");
  return object;
}

inline u8* map_frames(const Tuning& tuning) {
  void* at = mmap(nullptr, u64{tuning.rx + tuning.tx} * tuning.chunk, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) throw error_of(errno, "mapping the frames");
  return static_cast<u8*>(at);
}

class Socket {
public:
  Socket(const Peer& peer, const Tuning& tuning) : Socket(peer, tuning, map_frames(tuning)) {}
  Socket(const Peer& peer, const Tuning& tuning, u8* memory) : frames(memory), tuning_(tuning) {
    const u64 size = u64{tuning.rx + tuning.tx} * tuning.chunk;
    fd_.reset(check(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), "opening an AF_XDP socket"));
    xdp_umem_reg registration{};
    registration.addr = reinterpret_cast<u64>(frames);
    registration.len = size;
    registration.chunk_size = tuning.chunk;
    set(SOL_XDP, XDP_UMEM_REG, registration, "registering the frames");
    set(SOL_XDP, XDP_UMEM_FILL_RING, tuning.rx, "fill ring");
    set(SOL_XDP, XDP_UMEM_COMPLETION_RING, tuning.tx, "completion ring");
    set(SOL_XDP, XDP_RX_RING, tuning.rx, "RX ring");
    set(SOL_XDP, XDP_TX_RING, tuning.tx, "TX ring");
    fill = map(XDP_UMEM_PGOFF_FILL_RING, tuning.rx);
    completion = map(XDP_UMEM_PGOFF_COMPLETION_RING, tuning.tx);
    rx = map(XDP_PGOFF_RX_RING, tuning.rx);
    tx = map(XDP_PGOFF_TX_RING, tuning.tx);
    sockaddr_xdp address{};
    address.sxdp_family = AF_XDP;
    address.sxdp_ifindex = static_cast<u32>(index_of(peer.interface));
    address.sxdp_flags = XDP_USE_NEED_WAKEUP | XDP_COPY;
    bind_to(address);
    // Both are refused by older kernels, which then do without.
    setsockopt(fd_.get(), SOL_XDP, XDP_MAX_TX_BUDGET, &tuning.budget, sizeof tuning.budget);
    if (tuning.prefer_busy_poll != 0) prefer_busy_poll();
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Attaches a program that redirects by `xsks` of redirect.h and lets it find this socket; it goes
  // with the process.
  void receive(bpf_object* object, const char* name, const std::string& interface) {
    bpf_program* program = bpf_object__find_program_by_name(object, name);
    for (int tries = 100; bpf_program__attach_xdp(program, index_of(interface)) == nullptr;
         --tries) {
      if (errno != EBUSY || tries == 0) throw error_of(errno, "attaching XDP");
      usleep(10'000); // as below
    }
    const u32 queue = 0;
    const int fd = fd_.get();
    const int map_fd = bpf_object__find_map_fd_by_name(object, "xsks");
    check(bpf_map_update_elem(map_fd, &queue, &fd, BPF_ANY), "naming the socket");
  }

  // Has the kernel transmit up to `producer`. Each call takes at most the budget.
  void kick(u32 producer) {
    while (tx.consumed() != producer && stopped == 0) {
      if (!tx.needs_wakeup()) return;
      const ssize_t result = sendto(fd_.get(), nullptr, 0, MSG_DONTWAIT, nullptr, 0);
      if (result < 0 && errno != EAGAIN && errno != EBUSY && errno != ENOBUFS)
        check(-1, "transmitting");
    }
  }

  u8* frames; // RX chunks, then TX chunks
  Ring fill, completion, rx, tx;

private:
  template<typename T> void set(int level, int name, const T& value, const char* doing) {
    check(setsockopt(fd_.get(), level, name, &value, sizeof value), doing);
  }

  // The kernel lets go of the queue some milliseconds after the program before this one has ended.
  void bind_to(const sockaddr_xdp& address) {
    for (int tries = 100;; --tries) {
      if (bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
      if (errno != EBUSY || tries == 0) throw error_of(errno, "binding to queue 0");
      usleep(10'000);
    }
  }

  void prefer_busy_poll() {
    const int on = 1, microseconds = 20, budget = 64;
    setsockopt(fd_.get(), SOL_SOCKET, PREFER_BUSY_POLL, &on, sizeof on);
    setsockopt(fd_.get(), SOL_SOCKET, SO_BUSY_POLL, &microseconds, sizeof microseconds);
    setsockopt(fd_.get(), SOL_SOCKET, BUSY_POLL_BUDGET, &budget, sizeof budget);
  }

  Ring map(u64 page_offset, u32 size) {
    xdp_mmap_offsets offsets{};
    socklen_t length = sizeof offsets;
    check(getsockopt(fd_.get(), SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length), "XDP_MMAP_OFFSETS");
    const bool descriptors = page_offset == XDP_PGOFF_RX_RING || page_offset == XDP_PGOFF_TX_RING;
    const xdp_ring_offset& is = page_offset == XDP_PGOFF_RX_RING          ? offsets.rx
                                : page_offset == XDP_PGOFF_TX_RING        ? offsets.tx
                                : page_offset == XDP_UMEM_PGOFF_FILL_RING ? offsets.fr
                                                                          : offsets.cr;
    const std::size_t bytes = is.desc + size * (descriptors ? sizeof(xdp_desc) : sizeof(u64));
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(),
                    static_cast<off_t>(page_offset));
    if (at == MAP_FAILED) throw error_of(errno, "mapping a ring");
    char* base = static_cast<char*>(at);
    return {reinterpret_cast<u32*>(base + is.producer), reinterpret_cast<u32*>(base + is.consumer),
            reinterpret_cast<u32*>(base + is.flags), base + is.desc, size - 1};
  }

  Tuning tuning_;
  Fd fd_;
};

} // namespace bench
