// SPDX-License-Identifier: MIT-0
//
// engine: the far end of the benchmark's link. Keeps the sink attached, sends feeds, and says what
// the sink has seen. One command a line on stdin, one line of JSON on stdout for each:
//
//   begin subscribers=N size=BYTES queues=Q        forget everything; a new run
//   send rate=PACKETS/S count=N                    paced, open loop: waits for nobody
//   flood ms=T                                     as fast as the kernel can, from inside it
//   collect quiet_ms=T limit_ms=T expect=N detail=0|1
//                                                  once all has come, or nothing has come for
//                                                  quiet_ms
//
// engine --interface net0 --source-mac M --target-mac M --cpu C --seed S --object wire.bpf.o
//
// A paced packet leaves through an AF_PACKET socket past the queueing discipline, by sendmmsg:
// alone if it is alone at its time, together with all others that are due if the socket has kept
// the loop too long. The loop spins on a core of its own and notes what it was late by: a core that
// is taken away from it shows as `stolen_ns`, and is no fault of what is measured.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.hpp"
#include "histogram.hpp"
#include "words.hpp"

using namespace bench;

namespace {

constexpr u64 NS_PER_MS = 1'000'000;
constexpr size_t BATCH_MAX = 64;
// Two looks at the clock further apart than this, with no send between them: the core was
// elsewhere.
constexpr u64 STOLEN_NS = 10'000;
// Frames of one test-run call; a call takes about 10 us to set up, and cannot be left sooner.
constexpr int FLOOD_FRAMES = 1 << 14;
constexpr u32 FLOOD_BATCH = 256;

// ---- The program in the kernel ----

template<typename T> class MapView {
public:
  MapView() = default;
  MapView(bpf_object* object, const char* name, size_t count) {
    const int fd = check(bpf_object__find_map_fd_by_name(object, name), name);
    void* at = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) throw error_of(errno, std::string("mapping the map ") + name);
    values_ = static_cast<T*>(at);
  }
  T& operator[](size_t index) const { return values_[index]; }
  void clear(size_t count) const { std::memset(static_cast<void*>(values_), 0, count * sizeof(T)); }

private:
  T* values_ = nullptr; // mapped until the process ends
};

class Kernel {
public:
  Kernel(const std::string& path, int interface_index) {
    object_ = bpf_object__open(path.c_str());
    if (object_ == nullptr) throw error_of(errno, "opening " + path);
    bpf_program* each = nullptr;
    bpf_object__for_each_program(each, object_)
        check(bpf_program__set_type(each, BPF_PROG_TYPE_XDP), "naming the type");
    check(bpf_object__load(object_), "loading source and sink into the kernel");
    bpf_program* sink = bpf_object__find_program_by_name(object_, "sink");
    if (bpf_program__attach_xdp(sink, interface_index) == nullptr)
      throw error_of(errno, "attaching the sink");
    source_fd = check(bpf_program__fd(bpf_object__find_program_by_name(object_, "source")),
                      "finding the source");
    config = {object_, "config", 1};
    seen = {object_, "seen", WIRE_SUBSCRIBERS_MAX};
    packets = {object_, "packets", WIRE_PACKETS_MAX};
    totals = {object_, "totals", WIRE_QUEUES_MAX};
    source = {object_, "sources", 1};
  }
  MapView<wire_config> config;
  MapView<wire_seen> seen;
  MapView<wire_packet> packets;
  MapView<wire_total> totals;
  MapView<wire_source> source;
  int source_fd = -1;

private:
  bpf_object* object_ = nullptr; // until the process ends, and with it the link
};

// ---- The paced source ----

class Outlet {
public:
  Outlet(const Settings& settings, int interface_index)
      : settings_(settings), frames_(BATCH_MAX * FRAME_ROOM) {
    socket_.reset(
        check(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "opening a packet socket"));
    const int bypass = 1, size = 8 << 20;
    check(setsockopt(socket_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass),
          "bypassing the qdisc");
    check(setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size),
          "enlarging the send buffer");
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = interface_index;
    check(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
          "binding to the interface");
  }

  void prepare(size_t payload_size) {
    payload_size_ = payload_size;
    for (size_t i = 0; i < BATCH_MAX; ++i) {
      u8* frame = frames_.data() + i * FRAME_ROOM;
      write_header(settings_.ends(), WIRE_FEED_PORT - 1, WIRE_FEED_PORT, payload_size, frame);
      write_pattern(settings_.seed, payload_size, frame);
      vectors_[i] = {frame, WIRE_HEADER_SIZE + payload_size};
      messages_[i] = {};
      messages_[i].msg_hdr.msg_iov = &vectors_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  void put(u64 tag, u64 intended) {
    stamp(settings_.seed, payload_size_, tag, intended, frames_.data() + count_ * FRAME_ROOM);
    if (++count_ == BATCH_MAX) flush();
  }

  // A frame that the link refuses is counted and sent again: the source itself loses none.
  bool flush() {
    if (count_ == 0) return false;
    for (unsigned done = 0; done < count_;) {
      const int sent =
          sendmmsg(socket_.get(), messages_.data() + done, static_cast<unsigned>(count_) - done, 0);
      if (sent > 0) done += static_cast<unsigned>(sent);
      else if (errno == ENOBUFS || errno == EAGAIN) ++refused;
      else if (errno != EINTR) check(-1, "sending to the link");
    }
    count_ = 0;
    return true;
  }

  u64 refused = 0;

private:
  const Settings& settings_;
  Fd socket_;
  std::vector<u8> frames_;
  std::array<iovec, BATCH_MAX> vectors_{};
  std::array<mmsghdr, BATCH_MAX> messages_{};
  size_t payload_size_ = 0;
  size_t count_ = 0;
};

// ---- The time that a spinning process has its core for ----

// A process that never sleeps owns its core, but for what the hypervisor and other tasks take: what
// has passed on the clock and not on the process's own is what was taken. The kernel leaves stolen
// time out of the latter (CONFIG_PARAVIRT_TIME_ACCOUNTING).
class OwnTime {
public:
  explicit OwnTime(u64 pid) {
    if (pid == 0) return;
    if (const int error = clock_getcpuclockid(static_cast<pid_t>(pid), &clock_); error != 0)
      throw Error(error, "finding the clock of process " + std::to_string(pid));
    watches_ = true;
    wall_ = now_ns();
    own_ = own();
  }
  // Nanoseconds taken since the construction; 0 if nobody is watched.
  u64 taken() const {
    if (!watches_) return 0;
    const u64 own_now = own() - own_, wall = now_ns() - wall_;
    return wall > own_now ? wall - own_now : 0;
  }

private:
  u64 own() const {
    timespec now{};
    check(clock_gettime(clock_, &now), "reading the clock of a process");
    return static_cast<u64>(now.tv_sec) * NS_PER_S + static_cast<u64>(now.tv_nsec);
  }
  clockid_t clock_{};
  bool watches_ = false;
  u64 wall_ = 0, own_ = 0;
};

// ---- Commands ----

class Engine {
public:
  explicit Engine(const Settings& settings)
      : settings_(settings), interface_index_(index_of(settings.interface)),
        kernel_(settings.object, interface_index_), outlet_(settings_, interface_index_) {}

  std::string carry_out(const Words& words) {
    if (words.verb == "begin") return begin(words);
    if (words.verb == "send") return send(words);
    if (words.verb == "flood") return flood(words);
    if (words.verb == "collect") return collect(words);
    throw Error(EINVAL, "there is no command " + words.verb);
  }

private:
  std::string begin(const Words& words) {
    const u64 size = words.number("size"), subscribers = words.number("subscribers");
    if (size < WIRE_PAYLOAD_MIN || size > WIRE_PAYLOAD_MAX)
      throw Error(EINVAL, "no such payload size");
    if (subscribers < 1 || subscribers > WIRE_SUBSCRIBERS_MAX)
      throw Error(EINVAL, "no such number of subscribers");
    wire_config& config = kernel_.config[0];
    config.subscribers = 0; // nobody is counted while the counters are cleared
    kernel_.seen.clear(std::max<size_t>(subscribers, subscribers_));
    kernel_.totals.clear(WIRE_QUEUES_MAX);
    kernel_.packets.clear(WIRE_PACKETS_MAX);
    run_ = run_ % 0xfffe + 1;
    config.seed = settings_.seed;
    config.run = run_;
    config.payload_size = static_cast<u32>(size);
    config.pattern_span = static_cast<u32>(std::bit_floor(size - WIRE_PATTERN_AT - WIRE_TAIL_SIZE));
    config.windows = subscribers > 1 && words.number("queues") == 1 ? 1 : 0;
    config.subscribers = static_cast<u32>(subscribers);
    subscribers_ = subscribers;
    size_ = size;
    sequence_ = 0;
    return "{\"run\":" + std::to_string(run_) + "}";
  }

  u64 tag(u64 sequence) const { return u64{run_} << WIRE_RUN_SHIFT | sequence; }

  std::string send(const Words& words) {
    const u64 rate = words.number("rate"), count = words.number("count"), refused = outlet_.refused;
    if (rate == 0) throw Error(EINVAL, "a rate of 0 sends nothing");
    outlet_.prepare(size_);
    Histogram late;
    u64 stolen = 0, stolen_max = 0;
    const u64 start = now_ns() + 10'000;
    const auto due = [&](u64 i) {
      return start + i / rate * NS_PER_S + i % rate * NS_PER_S / rate;
    };
    const OwnTime watched(words.number("watch"));
    u64 before = now_ns();
    for (u64 done = 0; done < count;) {
      u64 now = now_ns();
      if (now - before > STOLEN_NS) {
        stolen += now - before;
        stolen_max = std::max(stolen_max, now - before);
      }
      before = now;
      if (now < due(done)) {
        if (outlet_.flush()) before = now_ns();
        continue;
      }
      late.note(now - due(done));
      outlet_.put(tag(sequence_ + done), due(done));
      ++done;
      if (done % BATCH_MAX == 0) before = now_ns(); // put() may have sent
    }
    outlet_.flush();
    const u64 end = now_ns();
    const u64 taken = watched.taken();
    sequence_ += count;
    std::ostringstream json;
    json << "{\"sent\":" << count << ",\"refused\":" << outlet_.refused - refused
         << ",\"start_ns\":" << start << ",\"end_ns\":" << end << ",\"late_ns\":" << late.json()
         << ",\"stolen_ns\":" << stolen << ",\"stolen_ns_max\":" << stolen_max
         << ",\"taken_ns\":" << taken << "}";
    return json.str();
  }

  std::string flood(const Words& words) {
    std::vector<u8> frame(FRAME_ROOM);
    write_header(settings_.ends(), WIRE_FEED_PORT - 1, WIRE_FEED_PORT, size_, frame.data());
    write_pattern(settings_.seed, size_, frame.data());
    const u64 start = now_ns();
    wire_source& source = kernel_.source[0];
    std::memcpy(source.header, frame.data(), WIRE_HEADER_SIZE);
    source.seed = settings_.seed;
    source.next = tag(sequence_);
    source.until_ns = start + words.number("ms") * NS_PER_MS;
    source.sent = 0;
    source.payload_size = static_cast<u32>(size_);
    xdp_md context{};
    context.data_end = static_cast<u32>(WIRE_HEADER_SIZE + size_);
    context.ingress_ifindex = static_cast<u32>(interface_index_);
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
                .data_size_in = static_cast<u32>(WIRE_HEADER_SIZE + size_), .ctx_in = &context,
                .ctx_size_in = sizeof context, .repeat = FLOOD_FRAMES,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = FLOOD_BATCH);
    while (now_ns() < source.until_ns)
      check(bpf_prog_test_run_opts(kernel_.source_fd, &options), "flooding (needs Linux 5.18)");
    const u64 end = now_ns();
    sequence_ += source.sent;
    std::ostringstream json;
    json << "{\"sent\":" << source.sent << ",\"start_ns\":" << start << ",\"end_ns\":" << end
         << "}";
    return json.str();
  }

  u64 frames() const {
    u64 sum = 0;
    for (size_t queue = 0; queue < WIRE_QUEUES_MAX; ++queue) {
      const wire_total& total = kernel_.totals[queue];
      sum += __atomic_load_n(&total.frames, __ATOMIC_RELAXED) -
             __atomic_load_n(&total.stale, __ATOMIC_RELAXED);
    }
    return sum;
  }

  // Until `expected` frames have come, or none for quiet_ms, at most limit_ms.
  void wait_for(u64 expected, u64 quiet_ms, u64 limit_ms) const {
    constexpr timespec pause{0, 1'000'000};
    const u64 start = now_ns();
    u64 last = frames(), changed = start;
    while (last < expected) {
      const u64 now = now_ns();
      if (now - start >= limit_ms * NS_PER_MS || now - changed >= quiet_ms * NS_PER_MS) return;
      nanosleep(&pause, nullptr);
      const u64 seen = frames();
      if (seen != last) changed = now_ns();
      last = seen;
    }
  }

  std::string collect(const Words& words) {
    const u64 expect = words.number("expect");
    wait_for(expect * subscribers_, words.number("quiet_ms"), words.number("limit_ms"));
    Histogram all, window;
    u64 received = 0, duplicated = 0, reordered = 0, corrupt = 0, lost = 0, last_gap = 0;
    u64 first_ns = ~0ull, last_ns = 0;
    std::string rows;
    for (u64 i = 0; i < subscribers_; ++i) {
      const wire_seen& seen = kernel_.seen[i];
      const u64 unique = seen.received - seen.duplicated - seen.corrupt;
      const u64 missing = expect > unique ? expect - unique : 0;
      all.add(seen.latency, seen.latency_max);
      received += seen.received;
      duplicated += seen.duplicated;
      reordered += seen.reordered;
      corrupt += seen.corrupt;
      lost += missing;
      // What never came after the last that did is a gap, too.
      last_gap = std::max(last_gap, missing != 0 && seen.next < expect ? expect : seen.last_gap);
      if (seen.first_ns != 0) first_ns = std::min<u64>(first_ns, seen.first_ns);
      last_ns = std::max<u64>(last_ns, seen.last_ns);
      if (words.number("detail") == 0) continue;
      Histogram one;
      one.add(seen.latency, seen.latency_max);
      std::ostringstream row;
      row << (i == 0 ? "" : ",") << "{\"received\":" << seen.received << ",\"lost\":" << missing
          << ",\"duplicated\":" << seen.duplicated << ",\"reordered\":" << seen.reordered
          << ",\"corrupt\":" << seen.corrupt << ",\"latency_ns\":" << one.json() << "}";
      rows += row.str();
    }
    wire_total sum{};
    for (size_t queue = 0; queue < WIRE_QUEUES_MAX; ++queue) {
      const wire_total& total = kernel_.totals[queue];
      sum.stale += total.stale;
      sum.unexpected += total.unexpected;
      sum.malformed += total.malformed;
      sum.windows += total.windows;
      window.add(total.window, total.window_max);
    }
    std::ostringstream json;
    json << "{\"received\":" << received << ",\"lost\":" << lost << ",\"duplicated\":" << duplicated
         << ",\"reordered\":" << reordered << ",\"corrupt\":" << corrupt
         << ",\"malformed\":" << sum.malformed << ",\"unexpected\":" << sum.unexpected
         << ",\"stale\":" << sum.stale << ",\"last_gap\":" << last_gap
         << ",\"first_ns\":" << (last_ns == 0 ? 0 : first_ns) << ",\"last_ns\":" << last_ns
         << ",\"latency_ns\":" << all.json() << ",\"windows\":" << sum.windows
         << ",\"window_ns\":" << window.json() << ",\"subscribers\":[" << rows << "]}";
    return json.str();
  }

  Settings settings_;
  int interface_index_;
  Kernel kernel_;
  Outlet outlet_;
  u32 run_ = 0;
  u64 subscribers_ = 0, size_ = 0, sequence_ = 0;
};

} // namespace

int main(int argc, char** argv) try {
  const Flags flags(argc, argv);
  pin_to_cpu(flags.number("--cpu"));
  const Settings settings(flags);
  Engine engine(settings);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);)
    std::cout << engine.carry_out(Words(line)) << std::endl;
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "engine: %s\n", error.what());
  return 1;
}
