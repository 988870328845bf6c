// SPDX-License-Identifier: MIT-0
// bounce: one AF_XDP socket in one spinning thread. Every packet gets the header of the one
// subscriber, where it stands, and goes back out: the latency that no replicator can undercut by
// much, since it does nothing else. --object redirect.bpf.o, and the flags of peer.hpp, afxdp.hpp.
#include <algorithm>

#include "afxdp.hpp"

using namespace bench;

namespace {

class Bounce {
public:
  Bounce(const Flags& flags, const Peer& peer, const Tuning& tuning)
      : tuning_(tuning), socket_(peer, tuning) {
    write_header(peer.ends(0), WIRE_FEED_PORT, WIRE_SUBSCRIBER_PORT, peer.size, header_.data());
    for (u32 i = 0; i < tuning.rx; ++i) socket_.fill.address(i) = u64{i} * tuning.chunk;
    filled_ = tuning.rx;
    socket_.fill.publish(socket_.fill.producer, filled_);
    socket_.receive(load_object(flags.text("--object")), "redirect", peer.interface);
  }

  void run() {
    say_ready();
    while (stopped == 0) {
      reap();
      if (!turn()) relax();
    }
  }

private:
  // Frames that have been sent go straight back to the fill ring.
  void reap() {
    const u32 count = socket_.completion.produced() - completed_;
    if (count == 0) return;
    for (u32 i = 0; i < count; ++i) {
      const u64 address = socket_.completion.address(completed_++);
      socket_.fill.address(filled_++) = address / tuning_.chunk * tuning_.chunk;
    }
    socket_.completion.publish(socket_.completion.consumer, completed_);
    socket_.fill.publish(socket_.fill.producer, filled_);
  }

  bool turn() {
    const u32 room = tuning_.tx - (sent_ - socket_.tx.consumed());
    const u32 count = std::min({socket_.rx.produced() - received_, tuning_.batch, room});
    if (count == 0) return false;
    for (u32 i = 0; i < count; ++i) {
      const xdp_desc& packet = socket_.rx.descriptor(received_++);
      std::memcpy(socket_.frames + packet.addr, header_.data(), WIRE_HEADER_SIZE);
      socket_.tx.descriptor(sent_++) = {packet.addr, packet.len, 0};
    }
    socket_.rx.publish(socket_.rx.consumer, received_);
    socket_.tx.publish(socket_.tx.producer, sent_);
    socket_.kick(sent_);
    return true;
  }

  Tuning tuning_;
  Socket socket_;
  std::array<u8, WIRE_HEADER_SIZE> header_{};
  u32 received_ = 0, sent_ = 0, completed_ = 0, filled_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  return run_peer(argc, argv, [](const Flags& flags) {
    const Peer peer(flags);
    Bounce(flags, peer, Tuning(flags)).run();
  });
}
