// SPDX-License-Identifier: MIT-0
// wire-feed: puts a numbered UDP feed on a link, at a steady rate that waits for nobody (open
// loop), and prints one line of JSON when done: {"sent", "extra", "refused", "late_ns_max",
// "seconds"}.
//
// Frames leave through AF_PACKET past the queueing discipline, or with --socket through an ordinary
// UDP socket, as a local program would send them. On purpose it can do wrong: --fault spoils every
// N-th packet (to prove the sink), and --extra puts a malformed frame behind every N-th one (to
// prove the replicator); with --unusual-every each N-th packet bears an IP option, which only the
// kernel reads. A frame that the link refuses is counted and sent again, so that the feed
// itself never loses one.
//
// The TX queue of a frame, and with it the RX queue at the far end of a veth pair, is the number of
// the sending CPU modulo the number of queues (no XPS). A feed that changed CPU in mid-run would
// change queue, and frames of two queues overtake each other: so where there are several, this
// process stays on one CPU, of the queue that --queue names, or the one it starts on.

#include <csignal>
#include <filesystem>

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/prctl.h>

#include "frame.hpp"

using fantail::check;
using fantail::Fd;
using namespace wire;

namespace {

constexpr size_t BATCH_MAX = 64;
// Below this (ns) the next packet is waited for by spinning; above, by sleeping, unless --spin.
constexpr uint64_t SPIN_NS = 2'000;
// What makes a byte wrong: any value that is not zero will do.
constexpr uint8_t SPOIL = 0x5a;

enum class Fault {
  none,
  duplicate,
  reorder,
  lose,
  corrupt,
  truncate,
  ip_checksum,
  udp_checksum,
  ttl,
  fragmentable,
  source_port,
  source_mac,
  target_mac
};
enum class Extra {
  none,
  vlan,
  ip_options,
  fragment,
  short_frame,
  ip_length,
  udp_length,
  udp_checksum,
  ip_checksum,
  not_udp,
  not_ipv4,
  other_port
};
enum class Checksum { zero, full, unfilled };

struct Settings {
  std::string interface;
  Mac source_mac{}, target_mac{};
  Endpoint source, target;
  std::vector<size_t> sizes;
  uint64_t rate = 0, count = 0, seed = 0, flow = 0, first = 0;
  Checksum checksum = Checksum::zero;
  Fault fault = Fault::none;
  uint64_t fault_every = 0;
  Extra extra = Extra::none;
  uint64_t extra_every = 0;
  uint64_t unusual_every = 0; // 0: none
  std::optional<uint64_t> queue;
  bool socket = false, spin = false;
};

struct Frame {
  size_t size = 0;
  std::array<uint8_t, FRAME_MAX + 64> bytes{};
};

volatile std::sig_atomic_t stopped = 0; // set by the signal handler only

template<typename T>
T choice(const std::string& flag, const std::string& text, const std::map<std::string, T>& names) {
  const auto found = names.find(text);
  if (found == names.end()) throw Usage(flag + " " + text + " is not known");
  return found->second;
}

const std::map<std::string, Fault> FAULTS{{"duplicate", Fault::duplicate},
                                          {"reorder", Fault::reorder},
                                          {"lose", Fault::lose},
                                          {"corrupt", Fault::corrupt},
                                          {"truncate", Fault::truncate},
                                          {"ip-checksum", Fault::ip_checksum},
                                          {"udp-checksum", Fault::udp_checksum},
                                          {"ttl", Fault::ttl},
                                          {"fragmentable", Fault::fragmentable},
                                          {"source-port", Fault::source_port},
                                          {"source-mac", Fault::source_mac},
                                          {"target-mac", Fault::target_mac}};
const std::map<std::string, Extra> EXTRAS{{"vlan", Extra::vlan},
                                          {"ip-options", Extra::ip_options},
                                          {"fragment", Extra::fragment},
                                          {"short", Extra::short_frame},
                                          {"ip-length", Extra::ip_length},
                                          {"udp-length", Extra::udp_length},
                                          {"udp-checksum", Extra::udp_checksum},
                                          {"ip-checksum", Extra::ip_checksum},
                                          {"not-udp", Extra::not_udp},
                                          {"not-ipv4", Extra::not_ipv4},
                                          {"other-port", Extra::other_port}};
const std::map<std::string, Checksum> CHECKSUMS{
    {"zero", Checksum::zero}, {"full", Checksum::full}, {"unfilled", Checksum::unfilled}};

Settings parse(int argc, char** argv) {
  const Flags flags(
      argc, argv,
      "--interface --source-mac --target-mac --source-ip --source-port --target-ip "
      "--target-port --rate --count --size --sizes --seed --flow --first --udp-checksum "
      "--fault --fault-every --extra --extra-every --unusual-every --queue",
      "--socket --spin");
  Settings settings;
  settings.socket = flags.has("--socket");
  settings.spin = flags.has("--spin");
  settings.interface = flags.text("--interface");
  if (!settings.socket) settings.target_mac = parse_mac(flags.text("--target-mac"));
  if (flags.has("--source-mac")) settings.source_mac = parse_mac(flags.text("--source-mac"));
  else if (!settings.socket) settings.source_mac = mac_of(settings.interface);
  settings.source = {parse_ip(flags.text("--source-ip")), parse_port(flags.text("--source-port"))};
  settings.target = {parse_ip(flags.text("--target-ip")), parse_port(flags.text("--target-port"))};
  settings.rate = flags.number("--rate", std::nullopt, 10'000'000);
  if (settings.rate == 0) throw Usage("--rate 0 sends nothing");
  settings.count = flags.number("--count", std::nullopt, 1ull << 40);
  settings.sizes = parse_sizes(flags.text(flags.has("--sizes") ? "--sizes" : "--size"));
  settings.seed = flags.number("--seed", 1, UINT64_MAX);
  settings.flow = flags.number("--flow", 0, 255);
  settings.first = flags.number("--first", 0, 1ull << 40);
  if (flags.has("--udp-checksum"))
    settings.checksum = choice("--udp-checksum", flags.text("--udp-checksum"), CHECKSUMS);
  if (flags.has("--fault")) settings.fault = choice("--fault", flags.text("--fault"), FAULTS);
  settings.fault_every = flags.number("--fault-every", 100, 1ull << 32);
  if (flags.has("--extra")) settings.extra = choice("--extra", flags.text("--extra"), EXTRAS);
  settings.extra_every = flags.number("--extra-every", 100, 1ull << 32);
  settings.unusual_every = flags.number("--unusual-every", 0, 1ull << 32);
  if (flags.has("--queue")) settings.queue = flags.number("--queue", std::nullopt, 1024);
  if (settings.fault_every == 0 || settings.extra_every == 0)
    throw Usage("every 0 packets makes no sense");
  return settings;
}

// ---- Frames ----

void set_ip_checksum(uint8_t* frame, size_t header_size) {
  store<uint16_t>(frame + IP_AT + 10, 0);
  store(frame + IP_AT + 10, static_cast<uint16_t>(~fold(sum(frame + IP_AT, header_size))));
}

// `unfilled` is what a local stack leaves to hardware: the sum of the pseudo header, which is
// wrong.
void set_udp_checksum(uint8_t* frame, size_t udp_size, Checksum checksum) {
  store<uint16_t>(frame + UDP_AT + 6, 0);
  if (checksum == Checksum::zero) return;
  if (checksum == Checksum::unfilled) {
    store(frame + UDP_AT + 6, fold(pseudo_sum(frame, udp_size)));
    return;
  }
  const auto right = static_cast<uint16_t>(~udp_sum(frame, udp_size));
  store(frame + UDP_AT + 6, right == 0 ? uint16_t{0xffff} : right); // RFC 768: 0 means none
}

void build(const Settings& settings, uint64_t sequence, uint64_t send_ns, Frame& frame) {
  const size_t payload_size = settings.sizes[sequence % settings.sizes.size()];
  const size_t udp_size = UDP_SIZE + payload_size;
  uint8_t* at = frame.bytes.data();
  frame.size = PAYLOAD_AT + payload_size;
  std::memcpy(at, settings.target_mac.data(), 6);
  std::memcpy(at + 6, settings.source_mac.data(), 6);
  store_u16_be(at + 12, ETHERTYPE_IP);
  uint8_t* ip = at + IP_AT;
  ip[0] = 0x45;
  ip[1] = 0;
  store_u16_be(ip + 2, IP_SIZE + udp_size);
  store_u16_be(ip + 4, sequence & 0xffff);
  store_u16_be(ip + 6, 0x4000); // do not fragment
  ip[8] = 64;
  ip[9] = IPPROTO_UDP;
  store(ip + 12, settings.source.ip);
  store(ip + 16, settings.target.ip);
  store(at + UDP_AT, settings.source.port);
  store(at + UDP_AT + 2, settings.target.port);
  store_u16_be(at + UDP_AT + 4, udp_size);
  fill_payload(at + PAYLOAD_AT, payload_size, settings.seed, settings.flow << FLOW_SHIFT | sequence,
               send_ns);
  set_ip_checksum(at, IP_SIZE);
  set_udp_checksum(at, udp_size, settings.checksum);
}

void flip(uint8_t& byte) { byte = static_cast<uint8_t>(byte ^ SPOIL); }

// Spoils one frame in one way; the sink must notice each. Order faults are made by the caller.
void spoil(Fault fault, Frame& frame) {
  uint8_t* at = frame.bytes.data();
  const size_t udp_size = frame.size - UDP_AT;
  switch (fault) {
  case Fault::corrupt: flip(at[frame.size - 1]); break;
  case Fault::truncate:
    frame.size -= 1;
    store_u16_be(at + IP_AT + 2, frame.size - IP_AT);
    store_u16_be(at + UDP_AT + 4, frame.size - UDP_AT);
    set_ip_checksum(at, IP_SIZE);
    break;
  case Fault::ip_checksum: flip(at[IP_AT + 10]); break;
  case Fault::udp_checksum:
    set_udp_checksum(at, udp_size, Checksum::full);
    flip(at[UDP_AT + 6]);
    break;
  case Fault::ttl:
    at[IP_AT + 8] = 63;
    set_ip_checksum(at, IP_SIZE);
    break;
  case Fault::fragmentable:
    store_u16_be(at + IP_AT + 6, 0);
    set_ip_checksum(at, IP_SIZE);
    break;
  case Fault::source_port: flip(at[UDP_AT + 1]); break;
  case Fault::source_mac: flip(at[11]); break;
  case Fault::target_mac: flip(at[5]); break;
  case Fault::none:
  case Fault::duplicate:
  case Fault::reorder:
  case Fault::lose: break;
  }
}

void insert(Frame& frame, size_t offset, size_t size) {
  uint8_t* at = frame.bytes.data() + offset;
  std::memmove(at + size, at, frame.size - offset);
  frame.size += size;
}

// Turns a good frame into one that the replicator must refuse, or leave to the kernel, by name.
void malform(Extra extra, Frame& frame) {
  uint8_t* at = frame.bytes.data();
  switch (extra) {
  case Extra::vlan:
    insert(frame, 12, 4);
    store_u16_be(at + 12, ETHERTYPE_VLAN);
    store_u16_be(at + 14, 7);
    break;
  case Extra::ip_options:
    insert(frame, UDP_AT, 4);
    std::memset(at + UDP_AT, 1, 4); // four times "no operation"
    at[IP_AT] = 0x46;
    store_u16_be(at + IP_AT + 2, frame.size - IP_AT);
    set_ip_checksum(at, IP_SIZE + 4);
    break;
  case Extra::fragment:
    store_u16_be(at + IP_AT + 6, 0x2000);
    set_ip_checksum(at, IP_SIZE);
    break;
  case Extra::short_frame: frame.size = PAYLOAD_AT - 1; break;
  case Extra::ip_length: // both: the frame is shorter than they say
    store_u16_be(at + IP_AT + 2, frame.size - IP_AT + 1);
    store_u16_be(at + UDP_AT + 4, frame.size - UDP_AT + 1);
    set_ip_checksum(at, IP_SIZE);
    break;
  case Extra::udp_length: store_u16_be(at + UDP_AT + 4, frame.size - UDP_AT + 1); break;
  case Extra::ip_checksum: flip(at[IP_AT + 10]); break;
  case Extra::udp_checksum:
    set_udp_checksum(at, frame.size - UDP_AT, Checksum::full);
    flip(at[UDP_AT + 6]);
    break;
  case Extra::not_udp:
    at[IP_AT + 9] = 253;
    set_ip_checksum(at, IP_SIZE);
    break;                                                    // RFC 3692
  case Extra::not_ipv4: store_u16_be(at + 12, 0x88b5); break; // IEEE 802: local experiments
  case Extra::other_port: flip(at[UDP_AT + 3]); break;
  case Extra::none: break;
  }
}

// ---- Link ----

// Where frames go: sendmmsg in batches, each frame until the link has taken it.
class Outlet {
public:
  explicit Outlet(const Settings& settings) : offset_(settings.socket ? PAYLOAD_AT : 0) {
    if (settings.socket) open_udp(settings);
    else open_packet(settings);
    const int size = 8 << 20;
    set_option(socket_, SOL_SOCKET, SO_SNDBUFFORCE, size, "enlarge the send buffer");
  }

  Frame& next() { return frames_[count_]; }
  void push() {
    if (++count_ == BATCH_MAX) flush();
  }
  uint64_t refused() const { return refused_; }

  void flush() {
    std::array<iovec, BATCH_MAX> vectors{};
    std::array<mmsghdr, BATCH_MAX> messages{};
    for (size_t i = 0; i < count_; ++i) {
      vectors[i] = {frames_[i].bytes.data() + offset_, frames_[i].size - offset_};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (size_t done = 0; done < count_;) {
      const auto left = static_cast<unsigned>(count_ - done);
      const int sent = sendmmsg(socket_.get(), messages.data() + done, left, 0);
      if (sent > 0) {
        done += static_cast<size_t>(sent);
      } else if (errno == ENOBUFS || errno == EAGAIN) {
        ++refused_;
        if (stopped != 0) break; // the link may never take another
      } else if (errno != EINTR) check(-1, "send to the link");
    }
    count_ = 0;
  }

private:
  void open_packet(const Settings& settings) {
    socket_.reset(check(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "open a packet socket"));
    const int bypass = 1;
    set_option(socket_, SOL_PACKET, PACKET_QDISC_BYPASS, bypass, "bypass the qdisc");
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = index_of(settings.interface);
    check(bind(socket_.get(), plain(address), sizeof address), "bind to the interface");
  }

  void open_udp(const Settings& settings) {
    socket_.reset(check(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a UDP socket"));
    const int yes = 1;
    set_option(socket_, SOL_SOCKET, SO_REUSEADDR, yes, "share the address");
    const sockaddr_in source = socket_address(settings.source);
    const sockaddr_in target = socket_address(settings.target);
    check(bind(socket_.get(), plain(source), sizeof source), "bind the source");
    check(connect(socket_.get(), plain(target), sizeof target), "name the target");
  }

  Fd socket_;
  size_t offset_;
  size_t count_ = 0;
  uint64_t refused_ = 0;
  std::vector<Frame> frames_ = std::vector<Frame>(BATCH_MAX);
};

uint64_t queue_count(const std::string& interface) {
  uint64_t queues = 0;
  const std::string folder = "/sys/class/net/" + interface + "/queues";
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    queues += entry.path().filename().string().starts_with("tx-") ? 1u : 0u;
  return queues;
}

void pin_to_cpu(unsigned cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  check(sched_setaffinity(0, sizeof one, &one), "pin to a CPU");
}

// Pins this process to a CPU whose frames leave on TX queue `queue`.
void pin_to_queue(const std::string& interface, uint64_t queues, uint64_t queue) {
  cpu_set_t allowed;
  check(sched_getaffinity(0, sizeof allowed, &allowed), "read the CPUs allowed");
  for (unsigned cpu = 0; queue < queues && cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && cpu % queues == queue) return pin_to_cpu(cpu);
  throw Usage("no CPU allowed to this process sends on queue " + std::to_string(queue) + " of " +
              std::to_string(queues) + " of " + interface);
}

// ---- Run ----

class Feed {
public:
  explicit Feed(const Settings& settings) : settings_(settings), outlet_(settings) {}

  void run() {
    start_ns_ = clock_ns(CLOCK_MONOTONIC);
    for (uint64_t done = 0; done < settings_.count && stopped == 0;) {
      const uint64_t now = clock_ns(CLOCK_MONOTONIC);
      if (now < due_ns(done)) {
        outlet_.flush();
        wait_until(due_ns(done));
        continue;
      }
      late_ns_max_ = std::max(late_ns_max_, now - due_ns(done));
      put(settings_.first + done, due_ns(done));
      ++done;
    }
    send_held();
    outlet_.flush();
  }

  void report() const {
    const uint64_t spent = clock_ns(CLOCK_MONOTONIC) - start_ns_;
    const double seconds = static_cast<double>(spent) / static_cast<double>(NS_PER_S);
    std::printf(
        "{\"sent\":%lu,\"extra\":%lu,\"refused\":%lu,\"late_ns_max\":%lu,\"seconds\":%.3f}\n",
        sent_, extra_, outlet_.refused(), late_ns_max_, seconds);
  }

private:
  uint64_t due_ns(uint64_t index) const {
    const uint64_t rate = settings_.rate; // whole seconds first: index * NS_PER_S would overflow
    return start_ns_ + index / rate * NS_PER_S + index % rate * NS_PER_S / rate;
  }

  void wait_until(uint64_t at_ns) const {
    const uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (settings_.spin || at_ns < now + SPIN_NS) return; // run() looks at the clock again
    const timespec at{static_cast<time_t>(at_ns / NS_PER_S), static_cast<long>(at_ns % NS_PER_S)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
  }

  void put(uint64_t sequence, uint64_t send_ns) {
    const Fault fault = (sequence + 1) % settings_.fault_every == 0 ? settings_.fault : Fault::none;
    ++sent_;
    if (fault == Fault::lose) return;
    build(settings_, sequence, send_ns, outlet_.next());
    if (settings_.unusual_every != 0 && (sequence + 1) % settings_.unusual_every == 0)
      malform(Extra::ip_options, outlet_.next());
    spoil(fault, outlet_.next());
    if (fault == Fault::duplicate || fault == Fault::reorder) held_ = outlet_.next();
    if (fault == Fault::reorder) return; // it leaves behind its successor
    outlet_.push();
    send_held();
    if (settings_.extra == Extra::none || (sequence + 1) % settings_.extra_every != 0) return;
    build(settings_, sequence, send_ns, outlet_.next());
    malform(settings_.extra, outlet_.next());
    outlet_.push();
    ++extra_;
  }

  void send_held() {
    if (!held_) return;
    outlet_.next() = *held_;
    outlet_.push();
    held_.reset();
  }

  Settings settings_;
  Outlet outlet_;
  std::optional<Frame> held_; // a frame that is to be sent once more, or later
  uint64_t start_ns_ = 0, sent_ = 0, extra_ = 0, late_ns_max_ = 0;
};

} // namespace

int main(int argc, char** argv) try {
  const Settings settings = parse(argc, argv);
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  prctl(PR_SET_TIMERSLACK, 1ul); // ns; the default of 50 µs makes bursts at 20,000 packets/s
  const uint64_t queues = queue_count(settings.interface);
  if (settings.queue) pin_to_queue(settings.interface, queues, *settings.queue);
  else if (queues > 1) pin_to_cpu(static_cast<unsigned>(check(sched_getcpu(), "find the CPU")));
  Feed feed(settings);
  feed.run();
  feed.report();
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-feed: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-feed: %s\n", error.what());
  return 1;
}
