// SPDX-License-Identifier: MIT-0
// What every peer does: the flags it takes, until when it runs, how it says that it does.
//
//   --interface rep0 --source-mac M --target-mac M --subscribers N --size BYTES --cpu C
//
// All subscribers are behind one MAC, and are given at the start: a peer has no table that changes,
// no counters that survive it, and no filter. It prints `ready`, runs until SIGTERM, and leaves.
#pragma once

#include <csignal>

#include "../wire/frame.hpp"

namespace bench {

inline volatile std::sig_atomic_t stopped = 0; // set by the signal handler only

struct Peer {
  explicit Peer(const Flags& flags)
      : interface(flags.text("--interface")), source_mac(flags.mac("--source-mac")),
        target_mac(flags.mac("--target-mac")),
        subscribers(static_cast<u32>(flags.number("--subscribers"))), size(flags.number("--size")) {
    for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
    pin_to_cpu(flags.number("--cpu"));
  }
  // Frames from the replicator to one subscriber.
  Ends ends(u32 subscriber) const {
    return {source_mac, target_mac, host_address(REPLICATOR_HOST), subscriber_address(subscriber)};
  }
  std::string interface;
  Mac source_mac, target_mac;
  u32 subscribers;
  std::size_t size; // of the payload
};

inline void say_ready() {
  std::puts("ready");
  std::fflush(stdout);
}

// Runs a peer's main; what goes wrong is a sentence on stderr and status 1.
template<typename Run> int run_peer(int argc, char** argv, Run run) {
  try {
    run(Flags(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}

} // namespace bench
