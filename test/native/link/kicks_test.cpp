// SPDX-License-Identifier: MIT-0
//
// What is said of copies that the device refuses, on a kernel of either kind: no copy that was lost
// counts as sent, and none that was sent as lost; where nobody can know, it is uncertain.
#undef NDEBUG
#include "link/kicks.hpp"

#include <map>
#include <memory>

#include "rig/testing.hpp"

namespace fantail::testing {
namespace {

constexpr u32 slots = 256;

/// __xsk_generic_xmit, as far as cursors and answers go. The truth of every descriptor is kept.
class Kernel {
public:
  Kernel(bool publishes, u32 budget) : publishes_(publishes), budget_(budget) {}

  KernelRing ring() { return {&producer_, &consumer_, &flags_, descriptors_, slots}; }

  /// Puts so many more on the ring; an address is its number.
  void submit(u32 count) {
    for (; count != 0 && producer_ - consumer_ < slots; --count) {
      descriptors_[producer_ % slots] = {submitted_++, 100, 0};
      ++producer_;
    }
  }

  int send() {
    bool sent = false;
    int answer = 0;
    for (u32 left = budget_;; --left) {
      if (cached_producer_ == taken_) { // looks again, and publishes
        consumer_ = taken_;
        cached_producer_ = producer_;
      }
      if (cached_producer_ == taken_) break;
      if (left == 0 || has_no_room) {
        answer = EAGAIN;
        break;
      }
      if (completions_are_full) break; // and answers 0
      const u64 address = descriptors_[taken_++ % slots].addr;
      was_lost[address] = refuses;
      if (refuses) {
        answer = EBUSY;
        break;
      }
      sent = true;
    }
    if (publishes_ && sent) consumer_ = taken_;
    return answer;
  }

  bool is_done() const { return taken_ == producer_; }
  bool refuses = false, has_no_room = false, completions_are_full = false;
  std::map<u64, bool> was_lost; // of those that were taken, by address

private:
  bool publishes_;
  u32 budget_;
  u32 producer_ = 0, consumer_ = 0, flags_ = XDP_RING_NEED_WAKEUP;
  u32 taken_ = 0, cached_producer_ = 0;
  u64 submitted_ = 0;
  xdp_desc descriptors_[slots]{};
};

/// What the worker was told, by address.
using Told = std::map<u64, u32>;

void kick(Kicks& kicks, Kernel& kernel, worker& counters, Told& told) {
  kicks.until_taken(
      kernel.ring(), counters, [&] { return kernel.send(); },
      [&](u64 address, u32 why) { told[address] = why; }, [] {});
}

struct Count {
  u32 taken = 0, lost = 0, told_lost = 0, uncertain = 0;
};

Count check(const Kernel& kernel, const Told& told) {
  Count count;
  for (const auto& [address, was_lost] : kernel.was_lost) {
    const auto found = told.find(address);
    const bool is_uncertain = found != told.end() && found->second == DROP_UNCERTAIN;
    const bool is_told = found != told.end() && found->second == DROP_TX_FULL;
    if (!is_uncertain) expect_equal(is_told, was_lost, "lost, of one that is not uncertain");
    ++count.taken;
    count.lost += was_lost;
    count.told_lost += is_told;
    count.uncertain += is_uncertain;
  }
  return count;
}

void carrier_comes_and_goes(u64 seed, bool publishes, u32 budget) {
  Kernel kernel(publishes, budget);
  Kicks kicks(publishes);
  auto counters = std::make_unique<worker>();
  Told told;
  Random random(seed);
  kernel.submit(1);
  kick(kicks, kernel, *counters, told); // so that the kernel's place is known
  for (u32 i = 0; i < 2000; ++i) {
    kernel.submit(random.below(64));
    kernel.refuses = random.once_in(4);
    kernel.has_no_room = random.once_in(8);
    kernel.completions_are_full = random.once_in(8);
    kick(kicks, kernel, *counters, told);
  }
  kernel.refuses = kernel.has_no_room = kernel.completions_are_full = false;
  for (u32 i = 0; i < 8; ++i) kick(kicks, kernel, *counters, told);
  expect(kernel.is_done(), "all was taken in the end");
  const Count count = check(kernel, told);
  expect(count.lost > 100, "many were lost");
  if (publishes) expect_equal(count.uncertain, 0u, "uncertain, where the kernel tells");
  expect(count.uncertain < count.taken / 2, "of most copies it is known all the same");
  expect_equal(counters->kick_errors, 0u, "errors");
}

/// A worker that is killed knows what the kernel had taken; its successor does not.
void successors_know_less(u64 seed) {
  Kernel kernel(true, 256);
  auto counters = std::make_unique<worker>();
  Told told;
  Random random(seed);
  for (u32 i = 0; i < 500; ++i) {
    Kicks kicks(true);
    for (u32 j = 0; j < 4; ++j) {
      kernel.submit(random.below(16));
      kernel.refuses = random.once_in(2);
      kick(kicks, kernel, *counters, told);
    }
  }
  const Count count = check(kernel, told);
  expect(count.uncertain != 0 && count.told_lost != 0, "each of both occurs");
}

void all_is_taken(bool publishes) {
  Kernel kernel(publishes, 32);
  Kicks kicks(publishes);
  auto counters = std::make_unique<worker>();
  Told told;
  for (u32 i = 0; i < 16; ++i) {
    kernel.submit(slots);
    kick(kicks, kernel, *counters, told);
    expect(kernel.is_done(), "one kick takes all, 32 a call");
  }
  expect(told.empty(), "nothing was lost");
}

} // namespace
} // namespace fantail::testing

int main(int argc, char** argv) {
  using namespace fantail::testing;
  Suite suite(argc, argv);
  suite.run("a full ring is taken by one kick: a kernel before 6.17", [] { all_is_taken(false); });
  suite.run("a full ring is taken by one kick: a kernel since 6.17", [] { all_is_taken(true); });
  suite.run("what the device refuses is lost, nothing else: a kernel since 6.17", [&] {
    for (const fantail::u32 budget : {1u, 32u, 256u})
      carrier_comes_and_goes(suite.seed(), true, budget);
  });
  suite.run("what the device refuses is lost or uncertain, nothing else: a kernel before 6.17",
            [&] { carrier_comes_and_goes(suite.seed(), false, 32); });
  suite.run("what a killed worker knew of the kernel is uncertain to its successor",
            [&] { successors_know_less(suite.seed()); });
  return suite.end();
}
