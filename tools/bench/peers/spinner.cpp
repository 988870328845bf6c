// SPDX-License-Identifier: MIT-0
// spinner: a loop that does nothing but read the clock. What it loses, no program on this core can
// keep: the hypervisor, interrupts and other tasks take it. Spins for --ms on --cpu, then prints as
// JSON: turns that took over 1 µs and over 10 µs, how much time they took in all, and the longest.
#include <algorithm>

#include "peer.hpp"

using namespace bench;

int main(int argc, char** argv) {
  return run_peer(argc, argv, [](const Flags& flags) {
    constexpr u64 brief_ns = 1000, long_ns = 10'000;
    pin_to_cpu(flags.number("--cpu"));
    const u64 start = now_ns(), end = start + flags.number("--ms") * (NS_PER_S / 1000);
    u64 brief = 0, longer = 0, lost = 0, longest = 0;
    for (u64 before = start, now = start; now < end; before = now) {
      now = now_ns();
      const u64 turn = now - before;
      if (turn <= brief_ns) continue;
      ++brief;
      if (turn > long_ns) ++longer;
      lost += turn;
      longest = std::max(longest, turn);
    }
    std::printf("{\"brief\":%llu,\"longer\":%llu,\"lost_ns\":%llu,\"longest_ns\":%llu}\n", brief,
                longer, lost, longest);
  });
}
