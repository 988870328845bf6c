// SPDX-License-Identifier: MIT-0
// wire-lines: the two lines of an exchange, and whoever gets their messages. It writes down every
// packet that it has sent, or received, so that a test can compare the two.
//
//   wire-lines --source IP --line IP:PORT … --count N --rate R --lose N --behind-us N --seed N
//   --log F wire-lines --subscriber IP:PORT … --log F
//
// Sends `count` sequences, `rate` a second, each on every line, the second one `behind-us` after
// the first and so on, as MoldUDP64 packets of one message (NASDAQ, MoldUDP64 protocol
// specification, 1.00); of each line one packet in `lose`, at random, is never sent. Then it prints
// {"sent", "late_ns_max"}. Or receives until SIGTERM (`ready` on stdout: from now on), and prints
// {"received", "lost"}: lost are those that its sockets had no room for.
//
// A line of the log is a packet, in order: the number of its line, or subscriber, and its sequence.

#include <csignal>
#include <fstream>
#include <queue>
#include <random>

#include <poll.h>
#include <sys/prctl.h>

#include "frame.hpp"

using fantail::check;
using fantail::Fd;
using namespace wire;

namespace {

constexpr size_t SESSION_SIZE = 10;
constexpr size_t SEQUENCE_AT = SESSION_SIZE;
constexpr size_t COUNT_AT = 18;
// Header, the length of the one message, and 42 bytes of it.
constexpr size_t PACKET_SIZE = 64;
constexpr size_t HEADER_SIZE = 20;
constexpr char SESSION[] = "LINES00001";
// Bytes of packets, with the kernel's own share, that a socket keeps: seconds of them.
constexpr int RECEIVE_BUFFER_SIZE = 1 << 29;
constexpr uint64_t SPIN_NS = 20'000; // until then, before a packet is due, it sleeps

volatile std::sig_atomic_t stopped = 0; // set by the signal handler only

struct Packet {
  size_t index = 0; // of its line, or its subscriber
  uint64_t sequence = 0;
};

// Written at the end: nothing but packets happens meanwhile.
void write_log(const std::string& path, const std::vector<Packet>& packets) {
  std::ofstream file(path);
  for (const auto& [index, sequence] : packets) file << index << ' ' << sequence << '\n';
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

sockaddr_in address_of(const Endpoint& endpoint) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = endpoint.ip;
  address.sin_port = endpoint.port;
  return address;
}

Fd open_socket(const Endpoint& local) {
  Fd fd(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a UDP socket"));
  const sockaddr_in address = address_of(local);
  check(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind it");
  return fd;
}

// ---- Sending ----

struct Due {
  uint64_t at_ns = 0;
  Packet packet;
  bool operator>(const Due& other) const { return at_ns > other.at_ns; }
};

void wait_until(uint64_t at_ns) {
  const uint64_t now = clock_ns(CLOCK_MONOTONIC);
  if (at_ns > now + SPIN_NS) {
    const uint64_t early_ns = at_ns - SPIN_NS;
    const timespec at{static_cast<time_t>(early_ns / NS_PER_S),
                      static_cast<long>(early_ns % NS_PER_S)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
  }
  while (clock_ns(CLOCK_MONOTONIC) < at_ns) {}
}

void run_sender(const Flags& flags) {
  const uint64_t count = flags.number("--count", {}, 100'000'000);
  const uint64_t rate = flags.number("--rate", {}, NS_PER_S);
  const uint64_t lose = flags.number("--lose", {}, count);
  const uint64_t behind_ns = 1000 * flags.number("--behind-us", {}, 1'000'000);
  std::mt19937_64 random(flags.number("--seed", {}, UINT64_MAX));
  std::vector<Fd> lines;
  for (const std::string& line : flags.all("--line")) {
    const sockaddr_in to = address_of(parse_endpoint(line));
    lines.push_back(open_socket({parse_ip(flags.text("--source")), 0}));
    check(connect(lines.back().get(), reinterpret_cast<const sockaddr*>(&to), sizeof to),
          "connect a line");
  }
  std::array<uint8_t, PACKET_SIZE> bytes{};
  std::memcpy(bytes.data(), SESSION, SESSION_SIZE);
  bytes[COUNT_AT + 1] = 1;
  bytes[HEADER_SIZE + 1] = PACKET_SIZE - HEADER_SIZE - 2;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> queue;
  std::vector<Packet> log;
  uint64_t late_ns_max = 0;
  const uint64_t start_ns = clock_ns(CLOCK_MONOTONIC) + NS_PER_S / 100;
  const auto send_before = [&](uint64_t end_ns) {
    for (; !queue.empty() && queue.top().at_ns < end_ns; queue.pop()) {
      const auto [at_ns, packet] = queue.top();
      wait_until(at_ns);
      late_ns_max = std::max(late_ns_max, clock_ns(CLOCK_MONOTONIC) - at_ns);
      const uint64_t sequence = htobe64(packet.sequence);
      std::memcpy(bytes.data() + SEQUENCE_AT, &sequence, sizeof sequence);
      if (send(lines[packet.index].get(), bytes.data(), bytes.size(), 0) < 0)
        check(-1, "send a packet");
      log.push_back(packet);
    }
  };
  for (uint64_t sequence = 1; sequence <= count; ++sequence) {
    const uint64_t due_ns = start_ns + (sequence - 1) * NS_PER_S / rate;
    send_before(due_ns);
    for (size_t line = 0; line < lines.size(); ++line)
      if (random() % lose != 0) queue.push({due_ns + line * behind_ns, {line, sequence}});
  }
  send_before(UINT64_MAX);
  write_log(flags.text("--log"), log);
  std::printf("{\"sent\":%zu,\"late_ns_max\":%lu}\n", log.size(), late_ns_max);
}

// ---- Receiving ----

class Receiver {
public:
  explicit Receiver(const std::vector<std::string>& subscribers) {
    for (const std::string& subscriber : subscribers) {
      sockets_.push_back(open_socket(parse_endpoint(subscriber)));
      const int fd = sockets_.back().get();
      const int on = 1;
      check(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &RECEIVE_BUFFER_SIZE,
                       sizeof RECEIVE_BUFFER_SIZE),
            "enlarge a socket's buffer");
      check(setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on), "count what it loses");
      polled_.push_back({fd, POLLIN, 0});
    }
    lost_.resize(sockets_.size());
  }

  // Until it is told to stop and has read what is there.
  void run() {
    for (;;) {
      const bool is_last = stopped != 0;
      if (poll(polled_.data(), polled_.size(), is_last ? 0 : 100) < 0 && errno != EINTR)
        check(-1, "wait for packets");
      for (size_t index = 0; index < sockets_.size(); ++index) read(index);
      if (is_last) return;
    }
  }

  const std::vector<Packet>& log() const { return log_; }
  uint64_t lost() const {
    uint64_t sum = 0;
    for (const uint32_t lost : lost_) sum += lost;
    return sum;
  }

private:
  void read(size_t index) {
    std::array<uint8_t, FRAME_MAX> bytes{};
    std::array<uint8_t, CMSG_SPACE(sizeof(uint32_t))> control{};
    for (;;) {
      iovec place{bytes.data(), bytes.size()};
      msghdr message{};
      message.msg_iov = &place;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      const ssize_t size = recvmsg(sockets_[index].get(), &message, MSG_DONTWAIT);
      if (size < 0) return;
      for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part))
        if (part->cmsg_type == SO_RXQ_OVFL)
          std::memcpy(&lost_[index], CMSG_DATA(part), sizeof lost_[index]);
      if (size != PACKET_SIZE) throw std::runtime_error("a packet of another size has come");
      uint64_t sequence = 0;
      std::memcpy(&sequence, bytes.data() + SEQUENCE_AT, sizeof sequence);
      log_.push_back({index, be64toh(sequence)});
    }
  }

  std::vector<Fd> sockets_;
  std::vector<pollfd> polled_;
  std::vector<uint32_t> lost_;
  std::vector<Packet> log_;
};

void run_receiver(const Flags& flags) {
  Receiver receiver(flags.all("--subscriber"));
  std::printf("ready\n");
  std::fflush(stdout);
  receiver.run();
  write_log(flags.text("--log"), receiver.log());
  std::printf("{\"received\":%zu,\"lost\":%lu}\n", receiver.log().size(), receiver.lost());
}

} // namespace

int main(int argc, char** argv) try {
  const Flags flags(argc, argv,
                    "--source --line --count --rate --lose --behind-us --seed --log --subscriber",
                    "");
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  prctl(PR_SET_TIMERSLACK, 1ul); // ns
  if (flags.has("--subscriber")) run_receiver(flags);
  else run_sender(flags);
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-lines: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-lines: %s\n", error.what());
  return 1;
}
