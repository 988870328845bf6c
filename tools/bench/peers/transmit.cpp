// SPDX-License-Identifier: MIT-0
// transmit: the limit of one thread. Nothing is received: packets 0 to --count - 1 of run --run go
// to every subscriber in turn, from frames that carry their header and pattern already; what is
// written per copy is sequence, time and check, 32 bytes. Prints {"sent", "seconds"} in copies when
// done.
// --seed S, and the flags of peer.hpp and afxdp.hpp.
#include <algorithm>

#include "afxdp.hpp"

using namespace bench;

namespace {

class Transmit {
public:
  Transmit(const Flags& flags, const Peer& peer, const Tuning& tuning)
      : tuning_(tuning), peer_(peer), socket_(peer, tuning), seed_(flags.number("--seed")),
        tag_(flags.number("--run") << WIRE_RUN_SHIFT),
        copies_(flags.number("--count") * peer.subscribers),
        frames_(tuning.tx / peer.subscribers * peer.subscribers) {
    if (frames_ == 0) throw Error(EINVAL, "more subscribers than frames");
    // A frame always serves the same subscriber: they are taken in a circle that all fit in evenly.
    for (u32 i = 0; i < frames_; ++i) {
      write_header(peer.ends(i % peer.subscribers), WIRE_FEED_PORT, WIRE_SUBSCRIBER_PORT, peer.size,
                   frame(i));
      write_pattern(seed_, peer.size, frame(i));
    }
  }

  void run() {
    say_ready();
    const u64 start = now_ns();
    while (stopped == 0 && done_ < copies_) {
      reap();
      turn();
    }
    const double seconds = static_cast<double>(now_ns() - start) / static_cast<double>(NS_PER_S);
    std::printf("{\"sent\":%llu,\"seconds\":%.6f}\n", done_, seconds);
  }

private:
  u64 address(u32 index) const { return u64{tuning_.rx + index} * tuning_.chunk; }
  u8* frame(u32 index) const { return socket_.frames + address(index); }

  // In copy mode the kernel completes in order, so a count is enough.
  void reap() {
    completed_ = socket_.completion.produced();
    socket_.completion.publish(socket_.completion.consumer, completed_);
  }

  void turn() {
    const u32 room = frames_ - (sent_ - completed_);
    const u32 count = static_cast<u32>(std::min<u64>({room, tuning_.batch, copies_ - done_}));
    const u64 now = now_ns();
    for (u32 i = 0; i < count; ++i) {
      stamp(seed_, peer_.size, tag_ + sequence_, now, frame(next_));
      socket_.tx.descriptor(sent_++) = {address(next_),
                                        static_cast<u32>(WIRE_HEADER_SIZE + peer_.size), 0};
      next_ = next_ + 1 == frames_ ? 0 : next_ + 1;
      subscriber_ = subscriber_ + 1 == peer_.subscribers ? 0 : subscriber_ + 1;
      if (subscriber_ == 0) ++sequence_;
    }
    done_ += count;
    socket_.tx.publish(socket_.tx.producer, sent_);
    socket_.kick(sent_);
  }

  Tuning tuning_;
  const Peer& peer_;
  Socket socket_;
  u64 seed_, tag_, copies_, done_ = 0, sequence_ = 0;
  u32 frames_, next_ = 0, subscriber_ = 0, sent_ = 0, completed_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  return run_peer(argc, argv, [](const Flags& flags) {
    const Peer peer(flags);
    Transmit(flags, peer, Tuning(flags)).run();
  });
}
