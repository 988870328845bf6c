// SPDX-License-Identifier: MIT-0
// wire-served: receives for hundreds of subscribers, and remembers who served whom: which sequences
// came to each subscriber from each sender's address, and when. `ready` on stdout says that it is
// listening.
//
//   wire-served --interface net0 --port 9000 [--size 200] --subscriber 10.0.0.1:9101-9200 …
//
// Lines on stdin are orders, and each is answered by one line on stdout. `look`: what came until
// now; `reset`: the same, and all is forgotten. It ends with its input, or on SIGTERM.
//
//   {"now_ns", "ring_drops", "unexpected", "corrupt", "forgotten", "runs": [[subscriber, sender,
//   first, last, first_ns, last_ns, gap_ns], …]}
//
// A run is what one sender sent to one subscriber, numbered in the order of the command line, one
// sequence after the other: first to last, nothing missing and nothing twice. A sequence that does
// not follow the one before it from that sender begins another run, so that runs tell all that
// there is to tell of sequences. `first_ns` and `last_ns` are when the first and the last of it
// came (CLOCK_MONOTONIC), `gap_ns` is the longest time between two of it. `unexpected` are copies
// from the feed's port to nobody's address, `corrupt` those whose payload is not that of their
// sequence, `forgotten` those that came when RUNS_MAX runs were there.

#include <csignal>
#include <iterator>

#include <netinet/in.h>

#include "ring.hpp"

using fantail::check;
using fantail::Fd;
using namespace wire;

namespace {

constexpr size_t RUNS_MAX = 1 << 20;
constexpr size_t SUBSCRIBERS_MAX = 4096;
// What the kernel has when an order comes is shown by then: it retires a block after 4 ms.
constexpr uint64_t SETTLE_NS = 20'000'000;
constexpr int WAIT_MS = 10;

volatile std::sig_atomic_t stopped = 0; // set by the signal handler only

struct Run {
  size_t subscriber = 0;
  uint32_t sender = 0; // network order
  uint64_t first = 0, last = 0;
  uint64_t first_ns = 0, last_ns = 0, gap_ns = 0;
};

// "10.0.0.1:9101-9103", or one port.
void add_range(std::vector<Endpoint>& all, const std::string& text) {
  const size_t dash = text.find('-');
  const Endpoint first = parse_endpoint(text.substr(0, dash));
  const uint16_t last = dash == std::string::npos ? first.port : parse_port(text.substr(dash + 1));
  for (uint32_t port = ntohs(first.port); port <= ntohs(last); ++port)
    all.push_back({first.ip, htons(static_cast<uint16_t>(port))});
  if (all.size() > SUBSCRIBERS_MAX) throw Usage("--subscriber: more than are possible");
}

class Record {
public:
  explicit Record(const Flags& flags)
      : own_mac_(mac_of(flags.text("--interface"))), port_(parse_port(flags.text("--port"))),
        size_(flags.number("--size", 200, FRAME_MAX)),
        seed_(flags.number("--seed", 1, UINT64_MAX)) {
    for (const std::string& text : flags.all("--subscriber")) add_range(subscribers_, text);
    if (subscribers_.empty()) throw Usage("--subscriber is missing");
    for (size_t index = 0; index < subscribers_.size(); ++index)
      if (!by_endpoint_.emplace(subscribers_[index], index).second)
        throw Usage("a subscriber is given twice");
    if (size_ < PATTERN_AT) throw Usage("--size has no room for a sequence and a time");
  }

  const std::vector<Endpoint>& subscribers() const { return subscribers_; }

  void take(const Seen& frame) {
    if (frame.captured < PAYLOAD_AT || load_u16_be(frame.bytes + 12) != ETHERTYPE_IP) return;
    const uint8_t* ip = frame.bytes + IP_AT;
    const uint8_t* udp = frame.bytes + UDP_AT;
    // A bridge floods what it does not know the port of: that is for other hosts.
    const bool is_ours = std::memcmp(frame.bytes, own_mac_.data(), own_mac_.size()) == 0;
    const bool is_udp = ip[0] == 0x45 && ip[9] == IPPROTO_UDP;
    if (!is_ours || !is_udp || load<uint16_t>(udp) != port_) return;
    const auto found = by_endpoint_.find({load<uint32_t>(ip + 16), load<uint16_t>(udp + 2)});
    if (found == by_endpoint_.end()) ++unexpected_;
    else if (!is_whole(frame)) ++corrupt_;
    else add(found->second, load<uint32_t>(ip + 12), frame);
  }

  void tell(uint64_t ring_drops) {
    ring_drops_ += ring_drops;
    std::printf("{\"now_ns\":%lu,\"ring_drops\":%lu,\"unexpected\":%lu,\"corrupt\":%lu,",
                clock_ns(CLOCK_MONOTONIC), ring_drops_, unexpected_, corrupt_);
    std::printf("\"forgotten\":%lu,\"runs\":[", forgotten_);
    for (size_t i = 0; i < runs_.size(); ++i) {
      const Run& run = runs_[i];
      std::printf("%s[%zu,\"%s\",%lu,%lu,%lu,%lu,%lu]", i == 0 ? "" : ",", run.subscriber,
                  ip_text(run.sender).c_str(), run.first, run.last, run.first_ns, run.last_ns,
                  run.gap_ns);
    }
    std::printf("]}\n");
    std::fflush(stdout);
  }

  void reset() {
    runs_.clear();
    open_.clear();
    ring_drops_ = unexpected_ = corrupt_ = forgotten_ = 0;
  }

private:
  bool is_whole(const Seen& frame) const {
    const uint8_t* payload = frame.bytes + PAYLOAD_AT;
    if (frame.captured != PAYLOAD_AT + size_) return false;
    std::array<uint8_t, FRAME_MAX> wanted;
    fill_payload(wanted.data(), size_, seed_, load<uint64_t>(payload),
                 load<uint64_t>(payload + STAMP_AT));
    return std::memcmp(wanted.data(), payload, size_) == 0;
  }

  void add(size_t subscriber, uint32_t sender, const Seen& frame) {
    const uint64_t sequence = load<uint64_t>(frame.bytes + PAYLOAD_AT);
    const auto open = open_.find({subscriber, sender});
    if (open != open_.end() && sequence == runs_[open->second].last + 1) {
      Run& run = runs_[open->second];
      run.gap_ns = std::max(run.gap_ns, frame.time_ns - std::min(run.last_ns, frame.time_ns));
      run.last = sequence;
      run.last_ns = frame.time_ns;
      return;
    }
    if (runs_.size() == RUNS_MAX) {
      ++forgotten_;
      return;
    }
    open_[{subscriber, sender}] = runs_.size();
    runs_.push_back({subscriber, sender, sequence, sequence, frame.time_ns, frame.time_ns, 0});
  }

  Mac own_mac_;
  uint16_t port_; // network order: the feed's, which copies come from
  size_t size_;
  uint64_t seed_;
  std::vector<Endpoint> subscribers_;
  std::map<Endpoint, size_t> by_endpoint_;
  std::vector<Run> runs_;
  std::map<std::pair<size_t, uint32_t>, size_t> open_; // of subscriber and sender: its last run
  uint64_t ring_drops_ = 0, unexpected_ = 0, corrupt_ = 0, forgotten_ = 0;
};

// Orders as they come; empty: none yet. Its end is an order to end.
class Orders {
public:
  std::string next() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (text_.find('\n') == std::string::npos && poll(&input, 1, 0) > 0) {
      std::array<char, 256> bytes{};
      const ssize_t size = read(STDIN_FILENO, bytes.data(), bytes.size());
      if (size <= 0) stopped = 1;
      else text_.append(bytes.data(), static_cast<size_t>(size));
    }
    const size_t end = text_.find('\n');
    if (end == std::string::npos) return "";
    const std::string order = text_.substr(0, end);
    text_.erase(0, end + 1);
    return order;
  }

private:
  std::string text_;
};

void run(const Flags& flags) {
  Record record(flags);
  Ring ring(flags.text("--interface"));
  std::vector<Fd> drops;
  for (const Endpoint& endpoint : record.subscribers()) drops.push_back(drop_at(endpoint));
  std::printf("ready\n");
  std::fflush(stdout);
  Orders orders;
  while (stopped == 0) {
    ring.read(record, WAIT_MS);
    const std::string order = orders.next();
    if (order.empty()) continue;
    if (order != "look" && order != "reset") throw Usage("unknown order " + order);
    const uint64_t until = clock_ns(CLOCK_MONOTONIC) + SETTLE_NS;
    while (ring.read(record, BLOCK_RETIRE_MS), clock_ns(CLOCK_MONOTONIC) < until) {}
    record.tell(ring.drops());
    if (order == "reset") record.reset();
  }
}

} // namespace

int main(int argc, char** argv) try {
  const Flags flags(argc, argv, "--interface --port --size --seed --subscriber", "");
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  run(flags);
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-served: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-served: %s\n", error.what());
  return 1;
}
