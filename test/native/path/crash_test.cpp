// SPDX-License-Identifier: MIT-0
//
// A process of the data path is killed between any two of its stores, and a successor finishes:
// nothing lost, nothing sent twice, no frame in two places, every account exact. See also
// crash_twice_test.cpp and storm_test.cpp.
//
// A run tries a sample of the stores, or all of them: see class Sample.
#undef NDEBUG
#include "rig/kills.hpp"

namespace fantail::testing {
namespace {

constexpr u32 rounds[] = {2, 3, 1};

void any_store(Sample& sample, const Shape& shape) {
  World world(shape);
  world.save();
  kill_at_stores(world, sample, rounds, check_all_delivered,
                 shape.queues == 1 && shape.kind == LAYOUT_SPLIT);
}

void state_survives(Sample& sample, const Shape& shape) {
  World world(shape);
  world.save();
  kill_at_stores(world, sample, rounds, check_counted_once, false);
}

void single_kills(Suite& suite, Sample& sample) {
  const struct {
    const char* requirement;
    Shape shape;
  } cases[] = {
      {"a kill at any store loses nothing: split, sent in place",
       {LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, 0, 0}},
      {"a kill at any store loses nothing: split, copied",
       {LAYOUT_SPLIT, 1, 1, 3, Rewrite::plain, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: inline, sent in place, longer header",
       {LAYOUT_INLINE, 1, 1, 1, Rewrite::longer, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: inline, copied, shorter",
       {LAYOUT_INLINE, 1, 1, 3, Rewrite::shorter, 0, 0}},
      {"a kill at any store loses nothing: split, two queues, two workers",
       {LAYOUT_SPLIT, 2, 2, 3, Rewrite::plain, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: split, two queues, one worker, sent in place",
       {LAYOUT_SPLIT, 2, 1, 1, Rewrite::shorter, wrap_kernel, 0}},
      {"a kill at any store loses nothing: inline, two queues, two workers",
       {LAYOUT_INLINE, 2, 2, 3, Rewrite::longer, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: inline, two queues, two workers, sent in place",
       {LAYOUT_INLINE, 2, 2, 1, Rewrite::plain, wrap_kernel, wrap_ring}},
      {"a kill at any store loses nothing: split, the slow path beside a queue",
       {LAYOUT_SPLIT, 1, 1, 2, Rewrite::plain, wrap_kernel, wrap_ring, false, true}},
      {"a kill at any store loses nothing: inline, two workers, the slow path, sent in place",
       {LAYOUT_INLINE, 2, 2, 1, Rewrite::plain, 0, 0, false, true}},
  };
  for (const auto& one : cases) suite.run(one.requirement, [&] { any_store(sample, one.shape); });
  suite.run("a kill at any store leaves a filter's state as if each packet had been filtered once: "
            "in place",
            [&] {
              state_survives(sample,
                             {LAYOUT_SPLIT, 1, 1, 1, Rewrite::plain, wrap_kernel, wrap_ring, true});
            });
  suite.run("a kill at any store leaves a filter's state as if each packet had been filtered once: "
            "copied",
            [&] { state_survives(sample, {LAYOUT_INLINE, 1, 1, 2, Rewrite::plain, 0, 0, true}); });
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  Sample sample(suite);
  suite.run("the scenario without a kill delivers everything", [] {
    World world({fantail::LAYOUT_SPLIT, 2, 2, 3, Rewrite::plain, wrap_kernel, wrap_ring});
    world.save();
    Run run(world, {0, never, never, Meanwhile::nothing});
    run.play(rounds, check_all_delivered);
    expect(!run.killed(), "nobody died");
  });
  single_kills(suite, sample);
  sample.report();
  return suite.end();
}
