// SPDX-License-Identifier: MIT-0
// half: the transmitting half alone. Nothing is received: packets 0 to --count - 1 of run --run,
// each due 1 / --rate s after the one before, are stamped when their time comes and go to every
// subscriber, by --by
//   ring    a plain AF_XDP socket
//   calls   fantail's bulk transmit, its own code: one call a packet
//   pump    the same, with a pump on --pump-cpu
// So what the sink sees as latency is what sending takes. Prints {"sent", "seconds"} in copies.
// --seed S, and the flags of peer.hpp and, for the ring, of afxdp.hpp.
#include <memory>

#include "afxdp.hpp"
#include "link/pump.hpp"
#include "xdp/program.hpp"

using namespace bench;

namespace {

constexpr u64 retry_ns = 1'000'000;

// Two ways, of one form:
//   frame(i)    where copy i of a packet is written
//   send(n, l)  the first n of these leave, l bytes each
//   is_done()   all have left; asked until they have

class ByRing {
public:
  ByRing(const Peer& peer, const Tuning& tuning) : tuning_(tuning), socket_(peer, tuning) {}
  u8* frame(u32 copy) { return socket_.frames + address(copy); }
  void send(u32 copies, u32 length) {
    for (u32 copy = 0; copy < copies; ++copy)
      socket_.tx.descriptor(sent_++) = {address(copy), length, 0};
    socket_.tx.publish(socket_.tx.producer, sent_);
    socket_.kick(sent_);
  }
  bool is_done() {
    const u32 completed = socket_.completion.produced();
    socket_.completion.publish(socket_.completion.consumer, completed);
    return completed == sent_;
  }

private:
  u64 address(u32 copy) const { return u64{tuning_.rx + copy} * tuning_.chunk; }
  Tuning tuning_;
  Socket socket_;
  u32 sent_ = 0;
};

class InBulk {
public:
  /// `pump_cpu`: -1 for calls.
  InBulk(const Peer& peer, int pump_cpu)
      : length_(static_cast<u32>(WIRE_HEADER_SIZE + peer.size)),
        xdp_(fantail::Xdp::load_bulk(index_of(peer.interface))),
        map_(fantail::add_bulk_pages(*xdp_.bulk(), 0, 0)), pages_(map_.get()),
        link_(counters_, pages_.at(), xdp_.bulk()->program.get(), 0) {
    xdp_.attach(index_of(peer.interface), fantail::Attach::native);
    if (pump_cpu >= 0) pump_ = std::make_unique<fantail::Pump>(link_, counters_, pump_cpu, true);
  }
  u8* frame(u32 copy) {
    return reinterpret_cast<u8*>(fantail::BulkPages::copy_in(pages_.at(), copy, 0, length_));
  }
  void send(u32 copies, u32 length) {
    fantail::bulk_link& words = link_.words();
    const u32 first = words.tx_producer;
    for (u32 copy = 0; copy < copies; ++copy)
      words.tx[(first + copy) % FANTAIL_TX_FRAMES] = {u64{copy} * FANTAIL_FRAME_SIZE, length, 0};
    fantail::publish(words.tx_producer, first + copies);
    if (pump_ == nullptr) link_.transmit(retry_ns);
  }
  bool is_done() {
    if (pump_ != nullptr && link_.follow(retry_ns)) pump_->wake();
    fantail::bulk_link& words = link_.words();
    fantail::publish(words.completion_consumer, words.completion_producer);
    return words.tx_consumer == words.tx_producer;
  }

private:
  u32 length_;
  fantail::Xdp xdp_;
  Fd map_;
  fantail::BulkPages pages_;
  fantail::worker counters_{};
  fantail::BulkLink link_;
  std::unique_ptr<fantail::Pump> pump_;
};

template<class Way> void send_all(const Flags& flags, const Peer& peer, Way&& way) {
  const u64 seed = flags.number("--seed"), tag = flags.number("--run") << WIRE_RUN_SHIFT;
  const u64 count = flags.number("--count"), pause_ns = NS_PER_S / flags.number("--rate");
  const u32 length = static_cast<u32>(WIRE_HEADER_SIZE + peer.size);
  for (u32 copy = 0; copy < peer.subscribers; ++copy) {
    write_header(peer.ends(copy), WIRE_FEED_PORT, WIRE_SUBSCRIBER_PORT, peer.size, way.frame(copy));
    write_pattern(seed, peer.size, way.frame(copy));
  }
  say_ready();
  const u64 start = now_ns();
  u64 sent = 0;
  for (u64 due = start; sent < count && stopped == 0; ++sent) {
    // frames are used again for each packet
    while ((!way.is_done() || now_ns() < due) && stopped == 0) relax();
    const u64 now = now_ns();
    for (u32 copy = 0; copy < peer.subscribers; ++copy)
      stamp(seed, peer.size, tag + sent, now, way.frame(copy));
    way.send(peer.subscribers, length);
    due = now + pause_ns;
  }
  while (!way.is_done() && stopped == 0) relax();
  const double seconds = static_cast<double>(now_ns() - start) / static_cast<double>(NS_PER_S);
  std::printf("{\"sent\":%llu,\"seconds\":%.6f}\n", sent * peer.subscribers, seconds);
}

} // namespace

int main(int argc, char** argv) {
  return run_peer(argc, argv, [](const Flags& flags) {
    const Peer peer(flags);
    const std::string& by = flags.text("--by");
    if (by == "ring") return send_all(flags, peer, ByRing(peer, Tuning(flags)));
    if (by == "calls") return send_all(flags, peer, InBulk(peer, -1));
    if (by != "pump") throw Error(EINVAL, "--by is ring, calls or pump");
    const int cpu = static_cast<int>(flags.number("--pump-cpu"));
    send_all(flags, peer, InBulk(peer, cpu));
  });
}
