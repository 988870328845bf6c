// SPDX-License-Identifier: MIT-0
//
// The arena: how it is made, sealed and attached, what is refused and with which words, and that
// its regions are where everybody thinks they are.
#undef NDEBUG
#include "shm/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "rig/testing.hpp"

namespace fantail::testing {
namespace {

constexpr u64 page_size = 4096;

std::vector<u32> ids_of(u32 queues) {
  std::vector<u32> ids(queues);
  std::iota(ids.begin(), ids.end(), 0u);
  return ids;
}

Geometry geometry_of(const std::vector<u32>& ids, layout kind = LAYOUT_SPLIT, u32 workers = 1) {
  Geometry geometry;
  geometry.layout = kind;
  geometry.queue_ids = ids;
  geometry.workers = workers;
  return geometry;
}

Arena small_arena() {
  static const std::vector<u32> ids = {5};
  return Arena::create(geometry_of(ids));
}

void creates_and_attaches() {
  const std::vector<u32> ids = {3, 7};
  Geometry geometry = geometry_of(ids, LAYOUT_INLINE, 2);
  geometry.listen_ip = 0x0100007f;
  geometry.listen_port = 0x2823;
  geometry.mtu = 3498;
  geometry.checksum_full = true;
  const Arena made = Arena::create(geometry);
  const Arena seen = Arena::attach(made.fd());
  expect(seen.base() != made.base(), "it is mapped a second time");
  const arena_header& h = seen.header();
  expect_equal(h.queues, 2u, "queues");
  expect_equal(h.receivers, 2u, "receivers");
  expect_equal(h.workers, 2u, "workers");
  expect_equal(h.queue_id[1], 7u, "the second queue's number");
  expect_equal(h.listen_ip, geometry.listen_ip, "listen_ip");
  expect_equal(h.mtu, 3498u, "mtu");
  expect_equal(h.checksum_full, 1u, "checksum_full");
  put(made.worker(1).packets, u64{42});
  expect_equal(seen.worker(1).packets, 42u, "what the other mapping sees");
  for (u32 w = 0; w < 2; ++w) {
    expect_equal(seen.worker(w).free_tail - seen.worker(w).free_head, FANTAIL_TX_FRAMES,
                 "free TX frames");
    for (u32 i = 0; i < FANTAIL_TX_FRAMES; ++i)
      if (seen.free_frames(w)[i] != seen.tx_frame_first(w) + i)
        fail("a TX frame is not in its first place");
  }
}

void is_sealed() {
  const Arena arena = small_arena();
  const off_t size = static_cast<off_t>(arena.header().size);
  expect(ftruncate(arena.fd(), size - 4096) < 0 && errno == EPERM, "it cannot shrink");
  expect(ftruncate(arena.fd(), size + 4096) < 0 && errno == EPERM, "it cannot grow");
  expect(fcntl(arena.fd(), F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM,
         "its seals are sealed");
  struct stat status{};
  check(fstat(arena.fd(), &status), "fstat");
  expect_equal(status.st_mode & 07777u, 0600u, "its mode");
  expect((fcntl(arena.fd(), F_GETFD) & FD_CLOEXEC) != 0, "it is closed on exec");
}

/// As every process of the data path can write to it.
arena_header& shared_header(const Arena& arena) {
  return *reinterpret_cast<arena_header*>(arena.base());
}

void refuses_what_is_no_arena() {
  const Arena arena = small_arena();
  arena_header& h = shared_header(arena);
  const auto attach = [&] { Arena::attach(arena.fd()); };
  h.magic ^= 1;
  const std::string magic = sentence_of<Error>(attach);
  expect_contains(magic, "0x314c4941544e4146");
  expect_contains(magic, "0x314c4941544e4147");
  h.magic ^= 1;
  h.layout_version ^= 1;
  const std::string version = sentence_of<Error>(attach);
  expect_contains(version, std::to_string(FANTAIL_LAYOUT_VERSION));
  expect_contains(version, std::to_string(FANTAIL_LAYOUT_VERSION ^ 1));
  h.layout_version ^= 1;
  const u64 size = h.size;
  h.size = size + page_size;
  const std::string wrong_size = sentence_of<Error>(attach);
  expect_contains(wrong_size, std::to_string(size));
  expect_contains(wrong_size, std::to_string(size + page_size));
  h.size = size;
  attach();
}

/// By which something is placed, or chosen from a table.
void refuses_a_corrupt_header() {
  const std::vector<u32> ids = {0, 1};
  const Arena arena = Arena::create(geometry_of(ids, LAYOUT_SPLIT, 2));
  arena_header& shared = shared_header(arena);
  const arena_header good = shared;
  using H = arena_header;
  constexpr u32 H::* counts[] = {&H::layout,  &H::mode,      &H::queues,     &H::receivers,
                                 &H::workers, &H::rx_frames, &H::ring_slots, &H::order};
  constexpr u64 H::* offsets[] = {
      &H::control,     &H::receiver,     &H::worker, &H::table,  &H::counters,  &H::forward,
      &H::giveback,    &H::forward_size, &H::handed, &H::rx_tag, &H::tx_tag,    &H::free,
      &H::jobs,        &H::journal,      &H::soft,   &H::umem,   &H::umem_size, &H::giveback_size,
      &H::filter_slot, &H::filter_state, &H::lease};
  const auto is_refused = [&] {
    sentence_of<Error>([&] { Arena::attach(arena.fd()); });
    shared = good;
  };
  for (const auto count : counts) {
    shared.*count += 5;
    is_refused();
  }
  for (const auto offset : offsets) {
    shared.*offset += page_size;
    is_refused();
  }
  const Arena attached = Arena::attach(arena.fd());
  shared.umem = ~0ull;
  expect_equal(attached.header().umem, good.umem, "what was checked once is not read again");
}

void refuses_other_files() {
  const Fd empty(check(memfd_create("fantail-test", MFD_CLOEXEC), "memfd_create"));
  expect_contains(sentence_of<Error>([&] { Arena::attach(empty.get()); }), "too small");
  check(ftruncate(empty.get(), 1 << 20), "sizing");
  expect_contains(sentence_of<Error>([&] { Arena::attach(empty.get()); }), "not finished");
  expect_contains(sentence_of<Error>([] { Arena::attach(-1); }), "fstat");
}

struct Region {
  u64 start, size;
};

/// Where each region must be, computed from the header and the struct sizes alone.
std::vector<Region> regions_of(const arena_header& h) {
  const u64 rings = u64{h.receivers} * h.workers, stages = u64{h.receivers} + h.workers;
  return {{0, sizeof(arena_header)},
          {h.control, sizeof(control)},
          {h.receiver, h.receivers * sizeof(receiver)},
          {h.worker, h.workers * sizeof(worker)},
          {h.table, 2 * sizeof(table)},
          {h.counters, FANTAIL_SUBSCRIBERS_MAX * sizeof(counters)},
          {h.forward, rings * h.forward_size},
          {h.giveback, rings * h.giveback_size},
          {h.handed, h.rx_frames * sizeof(u32)},
          {h.rx_tag, h.rx_frames * sizeof(tag)},
          {h.tx_tag, u64{h.workers} * FANTAIL_TX_FRAMES * sizeof(tag)},
          {h.free, u64{h.workers} * (FANTAIL_TX_FRAMES + FANTAIL_HOT_FRAMES) * sizeof(u32)},
          {h.jobs, u64{h.workers} * FANTAIL_JOBS_MAX * sizeof(job)},
          {h.journal, stages * FANTAIL_JOURNAL_ENTRIES_MAX * sizeof(journal_entry)},
          {h.soft, h.queues * sizeof(soft_link)},
          {h.umem, h.umem_size}};
}

/// In memory that is only reserved: most geometries are larger than this machine would like.
void regions_do_not_overlap() {
  for (const layout kind : {LAYOUT_SPLIT, LAYOUT_INLINE})
    for (const u32 queues : {1u, 2u, 5u, 16u, 64u})
      for (const u32 workers : {1u, std::min(queues, FANTAIL_WORKERS_MAX)}) {
        const std::vector<u32> ids = ids_of(queues);
        const Geometry geometry = geometry_of(ids, kind, workers);
        const u64 size = Arena::size_of(geometry);
        void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        expect(memory != MAP_FAILED, "memory can be reserved");
        {
          const Arena arena = Arena::in_memory(geometry, static_cast<char*>(memory));
          const arena_header& h = arena.header();
          expect_equal(h.size, size, "its size");
          expect(h.ring_slots >= h.rx_frames / h.receivers,
                 "a ring has room for every frame that could be in it");
          std::vector<Region> regions = regions_of(h);
          std::ranges::sort(regions, {}, &Region::start);
          u64 reached = 0;
          for (const Region& region : regions) {
            expect_equal(region.start % page_size, 0u, "a region's start within its page");
            expect(region.start >= reached, "regions do not overlap");
            reached = region.start + region.size;
          }
          expect(reached <= h.size, "the last region ends inside");
          const char* last = arena.slots(workers - 1) + FANTAIL_JOBS_MAX * FANTAIL_SLOT_SIZE;
          expect_equal(last - arena.base(), h.umem + h.umem_size, "end of the last worker's slots");
        }
        munmap(memory, size);
      }
}

void limits_are_refused() {
  const std::vector<u32> none, one = ids_of(1), many = ids_of(65), most = ids_of(64);
  const auto refusal = [](const Geometry& geometry) {
    return sentence_of<Error>([&] { Arena::create(geometry); });
  };
  expect_contains(refusal(geometry_of(none)), "queues");
  expect_contains(refusal(geometry_of(many)), "64");
  expect_contains(refusal(geometry_of(one, LAYOUT_SPLIT, 0)), "workers");
  expect_contains(refusal(geometry_of(one, LAYOUT_SPLIT, 2)), "workers");
  expect_contains(refusal(geometry_of(most, LAYOUT_SPLIT, 17)), "16");
  // so the filter's memory holds whatever can be asked for
  for (const layout kind : {LAYOUT_SPLIT, LAYOUT_INLINE})
    expect(Arena::size_of(geometry_of(most, kind, FANTAIL_WORKERS_MAX)) < 3ull << 30,
           "the largest stays below 3 GiB");
  Geometry wide = geometry_of(one);
  wide.mtu = FANTAIL_FRAME_SIZE - 256 - 14 + 1;
  expect_contains(refusal(wide), "MTU");
  --wide.mtu;
  Arena::create(wide);
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run("what one process creates another attaches, and both see the same memory",
            creates_and_attaches);
  suite.run("it cannot shrink or grow, its seals are final, and only its owner may open it",
            is_sealed);
  suite.run("another magic, layout or size is refused, naming both values",
            refuses_what_is_no_arena);
  suite.run("a header that was changed is refused, and one that is changed later is not read again",
            refuses_a_corrupt_header);
  suite.run("a file that is no arena is refused", refuses_other_files);
  suite.run("regions start on pages and do not overlap, in every geometry", regions_do_not_overlap);
  suite.run("a geometry past a limit is refused, naming the limit", limits_are_refused);
  return suite.end();
}
