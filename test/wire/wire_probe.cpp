// SPDX-License-Identifier: MIT-0
// wire-probe: what the tests need beside a feed and a sink, without tools that a machine may lack.
//
//   wire-probe --serve IP:PORT              echoes UDP datagrams and TCP connections
//   wire-probe --target IP:PORT --count N   pings IP, and asks the echo by UDP and by TCP, N times
//   each;
//              [--interval-ms M]            prints {"ping": answered, "udp": …, "tcp": …}
//   wire-probe --hold-xdp INTERFACE         attaches an XDP program of its own, which passes every
//              [--netlink]                  frame: by a link fd, or as `ip link set … xdp` would
//
// The first and the last print `ready`, the last with the program's id, and run until SIGTERM.

#include <csignal>

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/syscall.h>

#include "frame.hpp"

using fantail::check;
using fantail::Fd;
using namespace wire;

namespace {

constexpr int ANSWER_MS = 1000;    // longer than that: not answered
constexpr size_t ECHO_SIZE = 1000; // bytes of an echo's payload
constexpr uint64_t SEED = 1;       // of what is echoed
constexpr size_t PEERS_MAX = 16;   // TCP connections echoed at a time

volatile std::sig_atomic_t stopped = 0; // set by the signal handler only

bool readable(int fd, int wait_ms) {
  pollfd ready{fd, POLLIN, 0};
  return poll(&ready, 1, wait_ms) == 1;
}

// ---- Echo ----

Fd bind_to(const sockaddr_in& address, int type) {
  Fd socket(check(::socket(AF_INET, type | SOCK_CLOEXEC, 0), "open a socket"));
  const int yes = type == SOCK_STREAM ? 1 : 0; // a datagram socket has its port to itself
  set_option(socket, SOL_SOCKET, SO_REUSEADDR, yes, "reuse the address");
  check(bind(socket.get(), plain(address), sizeof address), "bind");
  return socket;
}

// False when the peer has gone.
bool echo_stream(int fd) {
  std::array<uint8_t, 65536> bytes;
  const ssize_t size = read(fd, bytes.data(), bytes.size());
  if (size <= 0) return false;
  return write(fd, bytes.data(), static_cast<size_t>(size)) == size;
}

void echo_datagram(int fd) {
  std::array<uint8_t, 65536> bytes;
  sockaddr_in from{};
  socklen_t from_size = sizeof from;
  const ssize_t size =
      recvfrom(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&from), &from_size);
  if (size >= 0) sendto(fd, bytes.data(), static_cast<size_t>(size), 0, plain(from), from_size);
}

void serve(Endpoint endpoint) {
  const sockaddr_in address = socket_address(endpoint);
  const Fd datagrams = bind_to(address, SOCK_DGRAM);
  const Fd listener = bind_to(address, SOCK_STREAM);
  check(listen(listener.get(), PEERS_MAX), "listen");
  std::vector<Fd> peers;
  std::printf("ready\n");
  std::fflush(stdout);
  while (stopped == 0) {
    std::vector<pollfd> ready{{datagrams.get(), POLLIN, 0}, {listener.get(), POLLIN, 0}};
    for (const Fd& peer : peers) ready.push_back({peer.get(), POLLIN, 0});
    if (poll(ready.data(), ready.size(), -1) < 0) continue; // a signal: look at `stopped`
    if (ready[0].revents != 0) echo_datagram(datagrams.get());
    for (size_t i = peers.size(); i > 0; --i)
      if (ready[i + 1].revents != 0 && !echo_stream(peers[i - 1].get()))
        peers.erase(peers.begin() + static_cast<ptrdiff_t>(i - 1));
    if (ready[1].revents != 0 && peers.size() < PEERS_MAX)
      peers.emplace_back(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
}

// ---- Questions ----

class Questions {
public:
  explicit Questions(Endpoint target) {
    const sockaddr_in address = socket_address(target);
    ping_.reset(check(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP), "open a raw socket"));
    udp_.reset(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a UDP socket"));
    tcp_.reset(check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "open a TCP socket"));
    check(connect(ping_.get(), plain(address), sizeof address), "name the target of pings");
    check(connect(udp_.get(), plain(address), sizeof address), "name the target of datagrams");
    check(connect(tcp_.get(), plain(address), sizeof address), "connect to the echo");
    const int yes = 1;
    set_option(tcp_, IPPROTO_TCP, TCP_NODELAY, yes, "send at once");
  }

  // Each is true if the answer came in time and was right, byte for byte.
  bool ping(uint16_t sequence) {
    std::array<uint8_t, 64> request{};
    fill_payload(request.data() + sizeof(icmphdr), request.size() - sizeof(icmphdr), SEED, sequence,
                 0);
    icmphdr header{};
    header.type = ICMP_ECHO;
    header.un.echo.id = static_cast<uint16_t>(getpid());
    header.un.echo.sequence = sequence;
    store(request.data(), header);
    header.checksum = static_cast<uint16_t>(~fold(sum(request.data(), request.size())));
    store(request.data(), header);
    if (send(ping_.get(), request.data(), request.size(), 0) < 0) return false;
    std::array<uint8_t, 2048> answer;
    while (readable(ping_.get(), ANSWER_MS)) {
      const ssize_t size = recv(ping_.get(), answer.data(), answer.size(), 0);
      if (size != static_cast<ssize_t>(IP_SIZE + request.size())) continue;
      const auto reply = load<icmphdr>(answer.data() + IP_SIZE);
      if (reply.type != ICMP_ECHOREPLY || reply.un.echo.id != header.un.echo.id) continue;
      if (reply.un.echo.sequence != sequence) continue;
      return std::memcmp(answer.data() + IP_SIZE + sizeof reply, request.data() + sizeof reply,
                         request.size() - sizeof reply) == 0;
    }
    return false;
  }

  bool udp(uint16_t sequence) { return echo(udp_.get(), sequence); }
  bool tcp(uint16_t sequence) { return echo(tcp_.get(), sequence); }

private:
  static bool echo(int fd, uint16_t sequence) {
    std::array<uint8_t, ECHO_SIZE> request{}, answer{};
    fill_payload(request.data(), request.size(), SEED, sequence, 0);
    if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) return false;
    size_t size = 0;
    while (size < answer.size() && readable(fd, ANSWER_MS)) {
      const ssize_t got = recv(fd, answer.data() + size, answer.size() - size, 0);
      if (got <= 0) return false;
      size += static_cast<size_t>(got);
    }
    return answer == request;
  }

  Fd ping_, udp_, tcp_;
};

void ask(Endpoint target, uint64_t count, uint64_t interval_ms) {
  Questions questions(target);
  uint64_t ping = 0, udp = 0, tcp = 0;
  for (uint64_t i = 0; i < count && stopped == 0; ++i) {
    ping += questions.ping(static_cast<uint16_t>(i)) ? 1u : 0u;
    udp += questions.udp(static_cast<uint16_t>(i)) ? 1u : 0u;
    tcp += questions.tcp(static_cast<uint16_t>(i)) ? 1u : 0u;
    poll(nullptr, 0, static_cast<int>(interval_ms));
  }
  std::printf("{\"ping\":%lu,\"udp\":%lu,\"tcp\":%lu}\n", ping, udp, tcp);
}

// ---- Somebody else's XDP program ----

int bpf(int command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

Fd load_pass() {
  std::array<bpf_insn, 2> program{};
  program[0].code = BPF_ALU64 | BPF_MOV | BPF_K; // r0 = XDP_PASS
  program[0].imm = XDP_PASS;
  program[1].code = BPF_JMP | BPF_EXIT;
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_XDP;
  attributes.insns = reinterpret_cast<uintptr_t>(program.data());
  attributes.insn_cnt = program.size();
  attributes.license = reinterpret_cast<uintptr_t>("MIT-0");
  return Fd(check(bpf(BPF_PROG_LOAD, attributes), "load an XDP program"));
}

uint32_t id_of(const Fd& program) {
  bpf_prog_info info{};
  bpf_attr attributes{};
  attributes.info.bpf_fd = static_cast<uint32_t>(program.get());
  attributes.info.info_len = sizeof info;
  attributes.info.info = reinterpret_cast<uintptr_t>(&info);
  check(bpf(BPF_OBJ_GET_INFO_BY_FD, attributes), "read the program's id");
  return info.id;
}

Fd attach_by_link(const Fd& program, int interface_index) {
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<uint32_t>(program.get());
  attributes.link_create.target_ifindex = static_cast<uint32_t>(interface_index);
  attributes.link_create.attach_type = BPF_XDP;
  return Fd(check(bpf(BPF_LINK_CREATE, attributes), "attach the XDP program"));
}

void attach_by_netlink(const Fd& program, int interface_index) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
    nlattr nest;
    nlattr fd_header;
    int32_t fd;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_SETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_index = interface_index;
  request.nest.nla_len = sizeof request.nest + sizeof request.fd_header + sizeof request.fd;
  request.nest.nla_type = NLA_F_NESTED | IFLA_XDP;
  request.fd_header.nla_len = sizeof request.fd_header + sizeof request.fd;
  request.fd_header.nla_type = IFLA_XDP_FD;
  request.fd = program.get();
  const Fd socket(
      check(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "open rtnetlink"));
  check(static_cast<int>(send(socket.get(), &request, sizeof request, 0)), "ask rtnetlink");
  struct {
    nlmsghdr header;
    nlmsgerr error;
    std::array<uint8_t, 4096> rest;
  } answer{};
  check(static_cast<int>(recv(socket.get(), &answer, sizeof answer, 0)), "hear rtnetlink");
  if (answer.error.error != 0)
    throw fantail::error_of(-answer.error.error, "attach the XDP program");
}

void hold_xdp(const std::string& interface, bool by_netlink) {
  const Fd program = load_pass();
  Fd link;
  if (by_netlink) attach_by_netlink(program, index_of(interface));
  else link = attach_by_link(program, index_of(interface));
  std::printf("ready %u\n", id_of(program));
  std::fflush(stdout);
  while (stopped == 0) pause();
}

void run(int argc, char** argv) {
  const Flags flags(argc, argv, "--serve --target --count --interval-ms --hold-xdp", "--netlink");
  if (flags.has("--serve")) serve(parse_endpoint(flags.text("--serve")));
  else if (flags.has("--hold-xdp")) hold_xdp(flags.text("--hold-xdp"), flags.has("--netlink"));
  else
    ask(parse_endpoint(flags.text("--target")), flags.number("--count", std::nullopt, 65535),
        flags.number("--interval-ms", 10, 60'000));
}

} // namespace

int main(int argc, char** argv) try {
  struct sigaction action{};
  action.sa_handler = [](int) { stopped = 1; }; // without SA_RESTART: poll and pause return
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
  run(argc, argv);
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "wire-probe: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "wire-probe: %s\n", error.what());
  return 1;
}
