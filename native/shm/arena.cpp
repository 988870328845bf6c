// SPDX-License-Identifier: MIT-0
#include "shm/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <string>

namespace fantail {

namespace {

constexpr u64 page_size = 4096;
// the filter's memory must hold the RX frames beside its own pages
constexpr u64 arena_size_max = 3ull << 30;

static_assert(FANTAIL_FRAME_SIZE == page_size);
static_assert(sizeof(job) == FANTAIL_JOB_SIZE && sizeof(subscriber) == FANTAIL_SUBSCRIBER_SIZE);
static_assert(sizeof(table) % page_size == 0, "tables are mapped into the filter by pages");
static_assert(__builtin_offsetof(table, rows) % page_size == 0);
static_assert(FANTAIL_JOBS_MAX * sizeof(job) % page_size == 0);
static_assert(FANTAIL_WINDOW_JOBS + FANTAIL_JOBS_MAX * sizeof(job) <= FANTAIL_WINDOW_SLOTS);
static_assert(FANTAIL_WINDOW_SLOTS + FANTAIL_JOBS_MAX * FANTAIL_SLOT_SIZE <= FANTAIL_WINDOW_STATE);
static_assert(FANTAIL_WINDOW_STATE + FANTAIL_STATE_SIZE <= FANTAIL_WINDOW_SUBSCRIBERS);
static_assert(sizeof(filter_state) % page_size == 0,
              "its block is mapped into the filter by pages");
static_assert(FANTAIL_WINDOW_SUBSCRIBERS + 2 * sizeof(table) <= FANTAIL_WINDOW_FRAMES);
static_assert(std::has_single_bit(FANTAIL_RX_FRAMES) && std::has_single_bit(FANTAIL_TX_FRAMES));

/// Hands out page-aligned regions one after the other.
struct Cursor {
  u64 reached = 0;
  u64 take(u64 bytes) {
    const u64 start = reached;
    reached = (reached + bytes + page_size - 1) / page_size * page_size;
    return start;
  }
};

/// The header of an arena of that geometry, all but its magic.
arena_header lay_out(const Geometry& g) {
  arena_header h{};
  const u32 queues = static_cast<u32>(g.queue_ids.size());
  h.layout_version = FANTAIL_LAYOUT_VERSION;
  h.layout = g.layout;
  h.mode = g.mode;
  h.queues = queues;
  h.receivers = g.layout == LAYOUT_SPLIT ? 1 : queues;
  h.workers = g.workers;
  h.listen_ip = g.listen_ip;
  h.listen_port = g.listen_port;
  h.mtu = g.mtu;
  h.order = g.order;
  h.busy_poll = g.busy_poll;
  h.yield = g.yield;
  h.checksum_full = g.checksum_full;
  for (u32 q = 0; q < queues; ++q) h.queue_id[q] = g.queue_ids[q];
  h.rx_frames = queues * FANTAIL_RX_FRAMES;
  h.ring_slots = std::bit_ceil(h.rx_frames / h.receivers);

  Cursor at;
  at.take(sizeof(arena_header));
  const u64 rings = u64{h.receivers} * h.workers;
  h.control = at.take(sizeof(control));
  h.receiver = at.take(h.receivers * sizeof(receiver));
  h.worker = at.take(h.workers * sizeof(worker));
  h.table = at.take(2 * sizeof(table));
  h.counters = at.take(FANTAIL_SUBSCRIBERS_MAX * sizeof(counters));
  h.lease = at.take(FANTAIL_SUBSCRIBERS_MAX * sizeof(lease));
  h.feed_counters = at.take(u64{h.receivers} * FANTAIL_FEEDS_MAX * sizeof(feed_counters));
  h.forward_size = sizeof(ring_header) + u64{h.ring_slots} * sizeof(forward_slot);
  h.forward = at.take(rings * h.forward_size);
  h.giveback_size = sizeof(ring_header) + u64{h.ring_slots} * sizeof(u32);
  h.giveback = at.take(rings * h.giveback_size);
  h.handed = at.take(u64{h.rx_frames} * sizeof(u32));
  h.rx_tag = at.take(u64{h.rx_frames} * sizeof(tag));
  h.tx_tag = at.take(u64{h.workers} * FANTAIL_TX_FRAMES * sizeof(tag));
  h.free = at.take(u64{h.workers} * (FANTAIL_TX_FRAMES + FANTAIL_HOT_FRAMES) * sizeof(u32));
  h.jobs = at.take(u64{h.workers} * FANTAIL_JOBS_MAX * sizeof(job));
  h.journal =
      at.take(u64{h.receivers + h.workers} * FANTAIL_JOURNAL_ENTRIES_MAX * sizeof(journal_entry));
  h.soft = at.take(queues * sizeof(soft_link));
  h.filter_slot = at.take(u64{h.workers} * FANTAIL_FILTERS_MAX * sizeof(filter_slot));
  h.filter_state = at.take(u64{h.workers} * FANTAIL_FILTERS_MAX * sizeof(filter_state));
  h.umem_size = (u64{h.rx_frames} + u64{h.workers} * (FANTAIL_TX_FRAMES + Arena::slot_frames)) *
                FANTAIL_FRAME_SIZE;
  h.umem = at.take(h.umem_size);
  h.size = at.reached;
  return h;
}

/// What lay_out() was given for that header; its queue ids are the header's own.
Geometry geometry_of(const arena_header& h) {
  Geometry g;
  g.layout = fantail::layout(h.layout);
  g.mode = fantail::mode(h.mode);
  g.queue_ids = {h.queue_id, std::min(h.queues, FANTAIL_QUEUES_MAX)};
  g.workers = h.workers;
  g.listen_ip = h.listen_ip;
  g.listen_port = static_cast<u16>(h.listen_port);
  g.mtu = static_cast<u16>(h.mtu);
  g.order = fantail::order(h.order);
  g.busy_poll = h.busy_poll != 0;
  g.yield = h.yield != 0;
  g.checksum_full = h.checksum_full != 0;
  return g;
}

void check_geometry(const Geometry& g) {
  const std::size_t queues = g.queue_ids.size();
  if (queues < 1 || queues > FANTAIL_QUEUES_MAX)
    throw Error(EINVAL, "1 to 64 queues can be served");
  if (g.workers < 1 || g.workers > queues || g.workers > FANTAIL_WORKERS_MAX)
    throw Error(EINVAL, "workers must be at least 1, and at most the queues and 16");
  if (g.mtu > FANTAIL_FRAME_SIZE - 256 - 14)
    throw Error(EMSGSIZE, "the MTU does not fit a 4096-byte frame");
}

/// Whether a header is exactly what its own geometry gives.
bool is_planned(const arena_header& h) {
  if (h.layout >= LAYOUT_COUNT || h.mode >= MODE_COUNT || h.order >= ORDER_COUNT) return false;
  const Geometry geometry = geometry_of(h);
  check_geometry(geometry);
  arena_header planned = lay_out(geometry);
  planned.magic = h.magic;
  return std::memcmp(&planned, &h, sizeof h) == 0;
}

std::string hexadecimal(u64 value) {
  char text[19]; // 0x, 16 digits, end
  std::snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(value));
  return text;
}

} // namespace

u64 Arena::size_of(const Geometry& geometry) { return lay_out(geometry).size; }

Arena Arena::create(const Geometry& geometry) {
  check_geometry(geometry);
  const u64 size = size_of(geometry);
  if (size > arena_size_max)
    throw Error(E2BIG, "the arena would pass 3 GiB; serve fewer queues with --queues");
  Fd fd(check(memfd_create("fantail-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create"));
  check(fchmod(fd.get(), 0600), "fchmod of the arena");
  check(ftruncate(fd.get(), static_cast<off_t>(size)), "sizing the arena");
  check(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
        "sealing the arena");
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) throw error_of(errno, "mapping the arena");
  Arena arena(std::move(fd), static_cast<char*>(base), size);
  arena.fill(geometry);
  return arena;
}

Arena Arena::in_memory(const Geometry& geometry, char* memory) {
  check_geometry(geometry);
  Arena arena(Fd(), memory, 0);
  arena.fill(geometry);
  return arena;
}

Arena Arena::attach(int fd) {
  struct stat status{};
  check(fstat(fd, &status), "fstat of the arena");
  const u64 size = static_cast<u64>(status.st_size);
  if (size < sizeof(arena_header)) throw Error(EINVAL, "the arena is too small to be one");
  // Else the first packet on each page would pay for a page fault.
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (base == MAP_FAILED) throw error_of(errno, "mapping the arena");
  Arena arena(Fd(fcntl(fd, F_DUPFD_CLOEXEC, 0)), static_cast<char*>(base), size);
  const u64 magic = acquire(arena.shared_header().magic);
  if (magic != FANTAIL_MAGIC)
    throw Error(EINVAL, "this is no fantail arena, or it is not finished: it starts with " +
                            hexadecimal(magic) + ", not " + hexadecimal(FANTAIL_MAGIC));
  arena.header_ = arena.shared_header();
  const arena_header& h = arena.header_;
  if (h.layout_version != FANTAIL_LAYOUT_VERSION || h.size != size)
    throw Error(EPROTO, "the arena has layout " + std::to_string(h.layout_version) + " and " +
                            std::to_string(h.size) + " bytes, this program layout " +
                            std::to_string(FANTAIL_LAYOUT_VERSION) + " and " +
                            std::to_string(size) +
                            " bytes: stop all of fantail, build again, start again");
  if (!is_planned(h))
    throw Error(EPROTO, "the arena's header is corrupt: stop all of fantail, start again");
  return arena;
}

/// Both tables know the first feed. Puts every frame in its first place: TX frames on the free
/// rings, those of the slow path on its fill ring (the other RX frames go to theirs with the
/// sockets).
void Arena::fill(const Geometry& geometry) {
  const arena_header planned = lay_out(geometry);
  header_ = planned;
  shared_header() = planned;
  for (u32 i = 0; i < 2; ++i) {
    fantail::table& empty = at<fantail::table>(planned.table)[i];
    empty.feed_epochs = 1;
    empty.feeds[0] = {.epoch = 1,
                      .ip = geometry.listen_ip,
                      .port = geometry.listen_port,
                      .is_open = 1,
                      .source = 0,
                      .pad_20 = {}};
  }
  for (u32 w = 0; w < planned.workers; ++w) {
    for (u32 i = 0; i < FANTAIL_TX_FRAMES; ++i) free_frames(w)[i] = tx_frame_first(w) + i;
    worker(w).free_tail = FANTAIL_TX_FRAMES;
  }
  if (planned.mode != MODE_SOCKET) {
    const auto [first, count] = slow_frames();
    for (u32 i = 0; i < count; ++i) soft(0).fill[i] = u64{first + i} * FANTAIL_FRAME_SIZE;
    soft(0).fill_producer = count;
  }
  header_.magic = FANTAIL_MAGIC;
  publish(shared_header().magic, u64{FANTAIL_MAGIC});
}

Arena::Arena(Arena&& other) noexcept
    : fd_(std::move(other.fd_)), base_(other.base_), size_(other.size_), header_(other.header_) {
  other.base_ = nullptr;
  other.size_ = 0;
}

Arena::~Arena() {
  if (size_ != 0) munmap(base_, size_);
}

} // namespace fantail
