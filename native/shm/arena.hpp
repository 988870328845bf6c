// SPDX-License-Identifier: MIT-0
//
// The one shared memory: a sealed memfd that every process of the data path maps. layout.h
// describes the structs, arena_header says where each region starts. Created once by fantail-rx,
// attached by everybody else, who checks the header once and keeps a copy: any process that is
// taken over can write to the shared one.
#pragma once

#include <span>

#include "host/check.hpp"
#include "shm/layout.h"
#include "shm/ring.hpp"

namespace fantail {

/// Frames of the UMEM, by index.
struct FrameRange {
  u32 first, count;
  bool contains(u64 frame) const { return frame >= first && frame < u64{first} + count; }
};

/// What an arena is made for. Counts are pieces, ids are the interface's own queue numbers.
struct Geometry {
  fantail::layout layout = LAYOUT_INLINE;
  fantail::mode mode = MODE_SOCKET; // what the kernel granted
  std::span<const u32> queue_ids;
  u32 workers = 1;
  u32 listen_ip = 0;   // of the first feed, network order
  u16 listen_port = 0; // network order
  u16 mtu = 1500;      // bytes of IP packet
  fantail::order order = ORDER_ROTATE;
  bool busy_poll = false;
  bool yield = false;
  bool checksum_full = false;
};

// More members than our rule of thumb: one function a region, so that nobody else turns an offset
// into a pointer.
class Arena {
public:
  /// Makes the memfd: sized, sealed against resizing (SHRINK, GROW, SEAL), mode 0600, every frame
  /// in its first place, the magic stored last. Throws Error.
  static Arena create(const Geometry& geometry);
  /// Maps an arena that exists; checks magic, version, size and every offset. Throws Error saying
  /// what is wrong.
  static Arena attach(int fd);
  /// Over memory of the caller's (tests): `memory` must be zeroed, page aligned, size_of(geometry)
  /// bytes.
  static Arena in_memory(const Geometry& geometry, char* memory);
  static u64 size_of(const Geometry& geometry);

  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;
  ~Arena();

  int fd() const { return fd_.get(); }
  char* base() const { return base_; }
  const arena_header& header() const { return header_; }
  fantail::control& control() const { return *at<fantail::control>(header().control); }
  fantail::receiver& receiver(u32 r) const { return at<fantail::receiver>(header().receiver)[r]; }
  fantail::worker& worker(u32 w) const { return at<fantail::worker>(header().worker)[w]; }
  const fantail::table& table(u64 generation) const {
    return at<fantail::table>(header().table)[generation & 1];
  }
  fantail::counters& counters(u32 row) const {
    return at<fantail::counters>(header().counters)[row];
  }
  fantail::feed_counters& feed_counters(u32 r, u32 feed) const {
    return at<fantail::feed_counters>(header().feed_counters)[r * FANTAIL_FEEDS_MAX + feed];
  }
  u32* handed() const { return at<u32>(header().handed); }
  tag* rx_tag() const { return at<tag>(header().rx_tag); }
  tag* tx_tag(u32 w) const { return at<tag>(header().tx_tag) + w * FANTAIL_TX_FRAMES; }
  u32* free_frames(u32 w) const {
    return at<u32>(header().free) + w * (FANTAIL_TX_FRAMES + FANTAIL_HOT_FRAMES);
  }
  filter_slot& filter(u32 w, u32 slot) const {
    return at<filter_slot>(header().filter_slot)[w * FANTAIL_FILTERS_MAX + slot];
  }
  filter_state& state(u32 w, u32 block) const {
    return at<filter_state>(header().filter_state)[w * FANTAIL_FILTERS_MAX + block];
  }
  job* jobs(u32 w) const { return at<job>(header().jobs) + w * FANTAIL_JOBS_MAX; }
  /// Journals: receivers first, then workers.
  journal_entry* journal(u32 index) const {
    return at<journal_entry>(header().journal) + std::size_t{index} * FANTAIL_JOURNAL_ENTRIES_MAX;
  }
  soft_link& soft(u32 q) const { return at<soft_link>(header().soft)[q]; }

  char* umem() const { return base_ + header().umem; }
  char* frame(u32 index) const { return umem() + std::size_t{index} * FANTAIL_FRAME_SIZE; }
  /// First TX frame of a worker; its header slots follow its TX frames.
  u32 tx_frame_first(u32 w) const {
    return header().rx_frames + w * (FANTAIL_TX_FRAMES + slot_frames);
  }
  char* slots(u32 w) const { return frame(tx_frame_first(w) + FANTAIL_TX_FRAMES); }

  /// RX frames that an AF_XDP socket of a queue, or in socket mode its UDP socket, is given.
  FrameRange ring_frames(u32 queue) const {
    const bool shares = queue == 0 && header().mode != MODE_SOCKET;
    return {queue * FANTAIL_RX_FRAMES, FANTAIL_RX_FRAMES - (shares ? FANTAIL_SLOW_FRAMES : 0)};
  }
  /// Those for what the kernel delivers beside (AF_XDP modes): the last of the first queue.
  static constexpr FrameRange slow_frames() {
    return {FANTAIL_RX_FRAMES - FANTAIL_SLOW_FRAMES, FANTAIL_SLOW_FRAMES};
  }

  /// The receiver that owns an RX frame, and the queue that it counts for.
  u32 queue_of(u32 rx_frame) const { return rx_frame / FANTAIL_RX_FRAMES; }
  u32 receiver_of(u32 rx_frame) const {
    return header().layout == LAYOUT_SPLIT ? 0 : queue_of(rx_frame);
  }

  Producer<forward_slot> forward_producer(u32 r, u32 w) const {
    return {ring(header().forward, header().forward_size, r, w), forward_slots(r, w),
            header().ring_slots};
  }
  Consumer<forward_slot> forward_consumer(u32 r, u32 w) const {
    return {ring(header().forward, header().forward_size, r, w), forward_slots(r, w),
            header().ring_slots};
  }
  Producer<u32> giveback_producer(u32 r, u32 w) const {
    return {ring(header().giveback, header().giveback_size, r, w), giveback_slots(r, w),
            header().ring_slots};
  }
  Consumer<u32> giveback_consumer(u32 r, u32 w) const {
    return {ring(header().giveback, header().giveback_size, r, w), giveback_slots(r, w),
            header().ring_slots};
  }

  static constexpr u32 slot_frames = FANTAIL_JOBS_MAX * FANTAIL_SLOT_SIZE / FANTAIL_FRAME_SIZE;

private:
  Arena(Fd fd, char* base, u64 size) : fd_(std::move(fd)), base_(base), size_(size) {}

  template<class T> T* at(u64 offset) const { return reinterpret_cast<T*>(base_ + offset); }
  ring_header* ring(u64 start, u64 size, u32 r, u32 w) const {
    return at<ring_header>(start + size * (r * header().workers + w));
  }
  forward_slot* forward_slots(u32 r, u32 w) const {
    return reinterpret_cast<forward_slot*>(ring(header().forward, header().forward_size, r, w) + 1);
  }
  u32* giveback_slots(u32 r, u32 w) const {
    return reinterpret_cast<u32*>(ring(header().giveback, header().giveback_size, r, w) + 1);
  }
  void fill(const Geometry& geometry);
  arena_header& shared_header() const { return *at<arena_header>(0); }

  Fd fd_;
  char* base_;
  u64 size_; // mapped bytes, 0 where the memory is not ours
  arena_header header_{};
};

} // namespace fantail
