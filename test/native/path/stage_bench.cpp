// SPDX-License-Identifier: MIT-0
//
// What a copy costs in both stages, without a wire and without a clock: an inline world of one
// queue, a filter that answers with 42 ready bytes, and a kernel that completes at once.
//
//   stage-bench SUBSCRIBERS BURST BURSTS      runs so many bursts and prints the copies
//   stage-bench-entries …                     prints journal entries and commits a copy too
//
// Instructions a copy are the difference of two runs, so that the start does not count:
//   valgrind --tool=callgrind --callgrind-out-file=/dev/null stage-bench 16 1 2000
//   valgrind --tool=callgrind --callgrind-out-file=/dev/null stage-bench 16 1 4000
#undef NDEBUG
#include "path/tx_stage.hpp"
#include "rig/world.hpp"

namespace fantail::testing {
namespace {

u64 entries = 0, commits = 0;
World* bench_world = nullptr;

/// Called before every store: the commit point of a journal is the store that makes its count
/// something else than 0.
void count_entries() {
  static u64 seen[2] = {};
  const u64 now[2] = {peek(bench_world->arena().receiver(0).journal),
                      peek(bench_world->arena().worker(0).journal)};
  for (u32 i = 0; i < 2; ++i) {
    if (now[i] == seen[i]) continue;
    seen[i] = now[i];
    entries += static_cast<u32>(now[i]);
    commits += static_cast<u32>(now[i]) != 0;
  }
}

void answer(const Arena& arena, u32 worker, job& asked) {
  const Question question = question_of(arena, worker, asked);
  std::memcpy(question.slot + FANTAIL_SLOT_HEADROOM, question.packet, FANTAIL_HEADER_SIZE);
  asked.header_start = FANTAIL_SLOT_HEADROOM;
  asked.header_length = FANTAIL_HEADER_SIZE;
  asked.replaced = FANTAIL_HEADER_SIZE;
  asked.verdict = FILTER_VERDICT_SEND;
}

/// Takes and completes everything on the TX ring.
void complete_all(QueueMemory& queue) {
  const KernelRing tx = queue.tx_ring(), done = queue.completion_ring();
  u32 at = peek(*tx.consumer), completed = peek(*done.producer);
  for (; at != acquire(*tx.producer); ++at) done.address(completed++) = tx.descriptor(at).addr;
  kernel_store(*tx.consumer, at);
  kernel_store(*done.producer, completed);
}

void run(u32 subscribers, u32 burst, u32 bursts) {
  World world({LAYOUT_INLINE, 1, 1, subscribers, Rewrite::plain, 0, 0});
  bench_world = &world;
  const Bytes frame = feed_frame(Bytes(200, 0x5a));
  Process& process = world.processes[0];
  process.start();
  if (bursts != 0) process.stores.between = count_entries;
  for (u32 i = 0; i < bursts; ++i) {
    for (u32 p = 0; p < burst; ++p) expect(world.rx[0].deliver(frame), "the kernel has a frame");
    do {
      process.turn(answer);
      complete_all(world.queue(0));
    } while (process.tx().packets() != 0);
  }
  process.stores.between = nullptr;
  const u64 copies = u64{subscribers} * burst * bursts;
  process.turn(answer);
  u64 sent = 0;
  for (u32 row = 0; row < subscribers; ++row) sent += world.arena().counters(row).sent;
  expect_equal(sent, copies, "copies sent");
  std::printf("%llu copies", static_cast<unsigned long long>(copies));
#ifdef FANTAIL_FAULTS
  std::printf(", %.3f entries a copy, %.4f commits a copy",
              static_cast<double>(entries) / static_cast<double>(copies),
              static_cast<double>(commits) / static_cast<double>(copies));
#endif
  std::printf("\n");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s SUBSCRIBERS BURST BURSTS\n", argv[0]);
    return 2;
  }
  const auto number = [&](int i) {
    return static_cast<fantail::u32>(std::strtoul(argv[i], nullptr, 10));
  };
  fantail::testing::run(number(1), number(2), number(3));
}
