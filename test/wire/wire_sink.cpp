// SPDX-License-Identifier: MIT-0
// wire-sink: receives the copies that a replicator puts on a link, checks every byte of them, and
// prints one line of JSON when each subscriber has all it expects, or on SIGTERM. `ready` on stdout
// says that it is listening.
//
// It reads frames from an AF_PACKET ring, beside the kernel's own stack. For each subscriber that
// is an address of this machine it also binds a UDP socket whose filter drops everything, so that
// the kernel draws no ICMP error.
//
// A frame to a subscriber counts in `received` if its payload is that of a sequence not seen
// before, else in `duplicated` or `corrupt`; `reordered` are those that came after a later one.
// Independently of that, its headers may be wrong: `bad_header` (MACs, source, TTL, DF, lengths,
// fragments, options) and `bad_checksum` (IPv4 or UDP). `unexpected` are frames from the
// replicator's source address and a port of its feeds to anybody who is not a subscriber.

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <memory>

#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#include "ring.hpp"

using fantail::check;
using fantail::Fd;
using namespace wire;

namespace {

// A sequence from here on is a broken number, not a late packet; bounds the bitmaps (8 MiB each).
constexpr uint64_t SEQUENCE_MAX = 1 << 26;
constexpr unsigned BUCKETS_PER_OCTAVE = 32;

struct Settings {
  std::string interface;
  uint32_t source_ip = 0;
  std::vector<uint16_t> source_ports; // equally many flows come from each, the first from the first
  std::vector<Mac> source_macs;       // none: any
  std::vector<std::string> subscribers, extras;
  std::vector<size_t> sizes;
  uint64_t seed = 0, expect = 0, flows = 1, linger_ms = 0;
  uint64_t group_ttl = 1; // of copies to a group; those to a host have 64
};

volatile std::sig_atomic_t stopped = 0; // set by the signal handler only

Settings parse(int argc, char** argv) {
  const Flags flags(
      argc, argv,
      "--interface --source-ip --source-port --source-mac --subscriber --extra --size "
      "--sizes --seed --expect --flows --linger-ms --group-ttl",
      "");
  Settings settings;
  settings.interface = flags.text("--interface");
  settings.source_ip = parse_ip(flags.text("--source-ip"));
  for (const std::string& port : flags.all("--source-port"))
    settings.source_ports.push_back(parse_port(port));
  if (settings.source_ports.empty()) throw Usage("--source-port is missing");
  for (const std::string& mac : flags.all("--source-mac"))
    settings.source_macs.push_back(parse_mac(mac));
  settings.subscribers = flags.all("--subscriber");
  settings.extras = flags.all("--extra");
  if (settings.subscribers.empty() && settings.extras.empty())
    throw Usage("--subscriber is missing");
  settings.sizes = parse_sizes(flags.text(flags.has("--sizes") ? "--sizes" : "--size"));
  settings.seed = flags.number("--seed", 1, UINT64_MAX);
  settings.expect = flags.number("--expect", 0, SEQUENCE_MAX);
  settings.flows = flags.number("--flows", 1, 256);
  if (settings.flows == 0) throw Usage("--flows 0 expects nothing");
  if (settings.flows % settings.source_ports.size() != 0)
    throw Usage("--flows must be so many for each --source-port");
  settings.group_ttl = flags.number("--group-ttl", 1, 255);
  settings.linger_ms = flags.number("--linger-ms", 200, 60'000);
  return settings;
}

// Latencies in log-linear buckets: at most 1/32 too high.
class Histogram {
public:
  void add(uint64_t ns) {
    max_ = std::max(max_, ns);
    const double octaves = std::log2(static_cast<double>(std::max<uint64_t>(ns, 1)));
    ++buckets_[std::min(static_cast<size_t>(octaves * BUCKETS_PER_OCTAVE), buckets_.size() - 1)];
    ++count_;
  }

  uint64_t max() const { return max_; }

  // Nearest rank: the upper edge of the bucket that holds it.
  uint64_t percentile(double share) const {
    const auto rank = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_)));
    uint64_t seen = 0;
    for (size_t i = 0; i < buckets_.size() && count_ > 0; ++i) {
      seen += buckets_[i];
      const double edge = std::exp2(static_cast<double>(i + 1) / BUCKETS_PER_OCTAVE);
      if (seen >= rank) return std::min(max_, static_cast<uint64_t>(edge));
    }
    return 0;
  }

private:
  std::array<uint64_t, 40 * BUCKETS_PER_OCTAVE> buckets_{}; // to 2^40 ns = 18 minutes
  uint64_t count_ = 0, max_ = 0;
};

// What one subscriber has seen of one flow.
struct Flow {
  uint64_t next = 0;  // one past the highest sequence seen
  uint64_t first = 0; // lowest sequence seen
  uint64_t unique = 0;
  std::vector<bool> seen;
};

struct Subscriber {
  std::string text;   // as on the command line
  Mac mac{};          // destination MAC that its copies must carry
  bool extra = false; // comes and goes: not waited for, and owed only from its first to its last
  uint64_t received = 0, duplicated = 0, reordered = 0, corrupt = 0;
  uint64_t bad_checksum = 0, bad_header = 0;
  uint64_t unsummed = 0;           // with a UDP checksum of 0
  uint64_t identified = 0;         // with an IP identification that is not 0
  std::map<uint8_t, uint64_t> tos; // copies by their TOS byte: which of several filters made them
  uint64_t first = 0;              // of all copies of a packet, this subscriber's came first
  Histogram latency;
  std::vector<Flow> flows;
};

// ---- Checks ----

class Checker {
public:
  explicit Checker(const Settings& settings)
      : settings_(settings), own_mac_(mac_of(settings.interface)), arrived_(settings.flows) {
    for (const auto& text : settings.subscribers) add(text, false);
    for (const auto& text : settings.extras) add(text, true);
  }

  void take(const Seen& frame) {
    if (frame.captured < PAYLOAD_AT || load_u16_be(frame.bytes + 12) != ETHERTYPE_IP) return;
    const uint8_t* ip = frame.bytes + IP_AT;
    const uint8_t* udp = frame.bytes + UDP_AT;
    const Endpoint source{load<uint32_t>(ip + 12), load<uint16_t>(udp)};
    const Endpoint target{load<uint32_t>(ip + 16), load<uint16_t>(udp + 2)};
    const uint8_t protocol = ip[9];
    if (protocol == IPPROTO_ICMP && source.ip == settings_.source_ip) {
      icmp_errors_ += udp[0] == ICMP_DEST_UNREACH ? 1u : 0u;
      return;
    }
    if (protocol != IPPROTO_UDP) return;
    const auto found = by_endpoint_.find(target);
    if (found != by_endpoint_.end()) check_copy(frame, *found->second, source);
    else if (is_replicator(source)) ++unexpected_;
  }

  // True once every subscriber that is waited for has what it expects of every flow.
  bool complete() const {
    return settings_.expect > 0 && !settings_.subscribers.empty() && waiting_ == 0;
  }

  void report(uint64_t ring_drops) const {
    std::printf("{\"ring_drops\":%lu,\"unexpected\":%lu,\"icmp_errors\":%lu,\"subscribers\":[",
                ring_drops, unexpected_, icmp_errors_);
    for (const auto& one : subscribers_) {
      const size_t colon = one->text.find(':');
      std::printf("%s{\"ip\":\"%s\",\"port\":%s,", one == subscribers_.front() ? "" : ",",
                  one->text.substr(0, colon).c_str(), one->text.substr(colon + 1).c_str());
      std::printf(
          "\"received\":%lu,\"duplicated\":%lu,\"reordered\":%lu,\"lost\":%lu,\"corrupt\":%lu,",
          one->received, one->duplicated, one->reordered, lost(*one), one->corrupt);
      std::printf("\"bad_checksum\":%lu,\"bad_header\":%lu,\"unsummed\":%lu,\"first\":%lu,",
                  one->bad_checksum, one->bad_header, one->unsummed, one->first);
      std::printf("\"identified\":%lu,\"tos\":{", one->identified);
      for (const auto& [tos, copies] : one->tos)
        std::printf("%s\"%u\":%lu", tos == one->tos.begin()->first ? "" : ",", tos, copies);
      std::printf("},");
      std::printf("\"latency_ns\":{\"p50\":%lu,\"p99\":%lu,\"max\":%lu}}",
                  one->latency.percentile(0.5), one->latency.percentile(0.99), one->latency.max());
    }
    std::printf("]}\n");
  }

  std::vector<Endpoint> endpoints() const {
    std::vector<Endpoint> all;
    for (const auto& [endpoint, subscriber] : by_endpoint_) all.push_back(endpoint);
    return all;
  }

private:
  // `text` is ip:port, or ip:port/mac for a subscriber behind another MAC than this interface's
  // own.
  void add(const std::string& text, bool extra) {
    const size_t slash = std::min(text.find('/'), text.size());
    auto subscriber = std::make_unique<Subscriber>();
    subscriber->text = text.substr(0, slash);
    subscriber->mac = slash < text.size() ? parse_mac(text.substr(slash + 1)) : own_mac_;
    subscriber->extra = extra;
    subscriber->flows.resize(settings_.flows);
    for (auto& flow : subscriber->flows) flow.seen.reserve(settings_.expect);
    if (!by_endpoint_.emplace(parse_endpoint(subscriber->text), subscriber.get()).second)
      throw Usage(subscriber->text + " is given twice");
    if (!extra) waiting_ += settings_.flows;
    subscribers_.push_back(std::move(subscriber));
  }

  void check_copy(const Seen& frame, Subscriber& subscriber, Endpoint source) {
    const uint8_t* ip = frame.bytes + IP_AT;
    const size_t ip_size = load_u16_be(ip + 2);
    const size_t udp_size = load_u16_be(frame.bytes + UDP_AT + 4);
    const bool whole = ip[0] == 0x45 && frame.captured == frame.size &&
                       ip_size + ETHERNET_SIZE == frame.size && udp_size + IP_SIZE == ip_size &&
                       udp_size >= UDP_SIZE;
    const auto is_source = [&](const Mac& mac) {
      return std::memcmp(frame.bytes + 6, mac.data(), 6) == 0;
    };
    const std::vector<Mac>& macs = settings_.source_macs;
    const bool from_mac = macs.empty() || std::any_of(macs.begin(), macs.end(), is_source);
    const bool to_mac = std::memcmp(frame.bytes, subscriber.mac.data(), 6) == 0;
    const uint64_t ttl = IN_MULTICAST(ntohl(load<uint32_t>(ip + 16))) ? settings_.group_ttl : 64;
    const bool usual = load_u16_be(ip + 6) == 0x4000 && ip[8] == ttl;
    if (!whole || !from_mac || !to_mac || !usual || !is_replicator(source)) ++subscriber.bad_header;
    if (!whole) {
      ++subscriber.corrupt;
      return;
    }
    ++subscriber.tos[ip[1]];
    const bool summed = load<uint16_t>(frame.bytes + UDP_AT + 6) != 0;
    const bool udp_right = !summed || frame.unfilled || udp_sum(frame.bytes, udp_size) == 0xffff;
    if (!summed) ++subscriber.unsummed;
    if (load_u16_be(ip + 4) != 0) ++subscriber.identified;
    if (fold(sum(ip, IP_SIZE)) != 0xffff || !udp_right) ++subscriber.bad_checksum;
    check_payload(frame, subscriber, source, udp_size - UDP_SIZE);
  }

  // Where copies may come from at all.
  bool is_replicator(Endpoint source) const {
    const std::vector<uint16_t>& ports = settings_.source_ports;
    return source.ip == settings_.source_ip &&
           std::find(ports.begin(), ports.end(), source.port) != ports.end();
  }

  // Where copies of that flow must come from.
  uint16_t source_port_of(uint64_t flow) const {
    return settings_.source_ports[flow * settings_.source_ports.size() / settings_.flows];
  }

  void check_payload(const Seen& frame, Subscriber& subscriber, Endpoint source, size_t size) {
    const uint8_t* payload = frame.bytes + PAYLOAD_AT;
    uint64_t number = subscriber.flows[0].next; // too short to say: the next one of the only flow
    std::memcpy(&number, payload, std::min(size, sizeof number));
    uint64_t send_ns = 0;
    if (size > STAMP_AT)
      std::memcpy(&send_ns, payload + STAMP_AT, std::min(size - STAMP_AT, sizeof send_ns));
    const uint64_t sequence = number & ((1ull << FLOW_SHIFT) - 1);
    const uint64_t flow = number >> FLOW_SHIFT;
    const bool known = flow < settings_.flows && sequence < SEQUENCE_MAX;
    if (!known || size != settings_.sizes[sequence % settings_.sizes.size()]) {
      ++subscriber.corrupt;
      return;
    }
    std::array<uint8_t, FRAME_MAX> wanted;
    fill_payload(wanted.data(), size, settings_.seed, number, send_ns);
    if (std::memcmp(wanted.data(), payload, size) != 0) {
      ++subscriber.corrupt;
      return;
    }
    if (is_replicator(source) && source.port != source_port_of(flow)) ++subscriber.bad_header;
    if (size >= PATTERN_AT)
      subscriber.latency.add(frame.time_ns > send_ns ? frame.time_ns - send_ns : 0);
    account(subscriber, subscriber.flows[flow], sequence);
    if (mark(arrived_[flow], sequence)) ++subscriber.first;
  }

  // Sets the bit of `sequence`; false if it was set before.
  static bool mark(std::vector<bool>& bits, uint64_t sequence) {
    if (sequence >= bits.size()) bits.resize(std::max(sequence + 1, bits.size() * 2));
    if (bits[sequence]) return false;
    bits[sequence] = true;
    return true;
  }

  void account(Subscriber& subscriber, Flow& flow, uint64_t sequence) {
    if (!mark(flow.seen, sequence)) {
      ++subscriber.duplicated;
      return;
    }
    if (sequence < flow.next) ++subscriber.reordered;
    flow.first = flow.unique == 0 ? sequence : std::min(flow.first, sequence);
    flow.next = std::max(flow.next, sequence + 1);
    ++flow.unique;
    ++subscriber.received;
    if (!subscriber.extra && flow.unique == settings_.expect) --waiting_;
  }

  uint64_t lost(const Subscriber& subscriber) const {
    uint64_t total = 0;
    for (const auto& flow : subscriber.flows) {
      const bool all = settings_.expect > 0 && !subscriber.extra;
      const uint64_t owed = all ? std::max(settings_.expect, flow.unique) : flow.next - flow.first;
      total += owed - flow.unique;
    }
    return total;
  }

  Settings settings_;
  Mac own_mac_;
  std::vector<std::vector<bool>> arrived_; // per flow: sequences of which a copy has been seen
  std::vector<std::unique_ptr<Subscriber>> subscribers_;
  std::map<Endpoint, Subscriber*> by_endpoint_;
  uint64_t waiting_ = 0; // flows of subscribers that have not all they expect
  uint64_t unexpected_ = 0, icmp_errors_ = 0;
};

// ---- Run ----

void run(const Settings& settings) {
  Checker checker(settings);
  Ring ring(settings.interface);
  std::vector<Fd> drops;
  for (const Endpoint endpoint : checker.endpoints())
    if (!IN_MULTICAST(ntohl(endpoint.ip))) drops.push_back(drop_at(endpoint)); // it draws none
  std::printf("ready\n");
  std::fflush(stdout);
  while (stopped == 0 && !checker.complete()) ring.read(checker, 100);
  // What comes twice, comes late: listen on for a while, and leave nothing in the ring. In so many
  // looks that found nothing, at least: the time for which this process had no core is no silence.
  // (Others may send on this interface all the while.)
  const uint64_t until = clock_ns(CLOCK_MONOTONIC) + settings.linger_ms * 1'000'000;
  uint64_t silent_ms = 0;
  for (bool found = true;
       found || silent_ms < settings.linger_ms || clock_ns(CLOCK_MONOTONIC) < until;) {
    found = ring.read(checker, BLOCK_RETIRE_MS);
    if (!found) silent_ms += BLOCK_RETIRE_MS;
  }
  checker.report(ring.drops());
}

} // namespace

int main(int argc, char** argv) try {
  const Settings settings = parse(argc, argv);
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  run(settings);
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-sink: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-sink: %s\n", error.what());
  return 1;
}
