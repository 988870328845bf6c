// SPDX-License-Identifier: MIT-0
// bulk: AF_XDP in, bulk transmit out, in one spinning thread, and nothing around it: what fantail's
// `--transmit bulk` is measured against. Copies are made of the received frames where they are, and
// no refusal is looked at. --object bulk.bpf.o, and the flags of peer.hpp and afxdp.hpp.
#include <algorithm>
#include <vector>

#include "afxdp.hpp"
#include "bpf/bulk.h"

using namespace bench;

namespace {

constexpr u32 call_max = 1024; // as fantail's
constexpr u32 batch_max = 16;  // of a call; as fantail's

template<class T> T* mapped(bpf_object* object, const char* name, u64 size) {
  const int fd = bpf_object__find_map_fd_by_name(object, name);
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (at == MAP_FAILED) throw error_of(errno, std::string("mapping ") + name);
  return static_cast<T*>(at);
}

class BulkRelay {
public:
  BulkRelay(const Flags& flags, const Peer& peer, const Tuning& tuning)
      : object_(load_object(flags.text("--object"))),
        socket_(peer, tuning, mapped<u8>(object_, "umem", u64{BULK_CHUNKS} * BULK_CHUNK_SIZE)),
        copies_(mapped<bulk_copy>(object_, "copies", BULK_COPIES * sizeof(bulk_copy))),
        taken_(mapped<u32>(object_, "taken", 4096)), headers_(peer.subscribers),
        frame_(WIRE_HEADER_SIZE + peer.size),
        packets_max_(std::max(call_max / peer.subscribers, 1u)) {
    for (u32 i = 0; i < peer.subscribers; ++i)
      write_header(peer.ends(i), WIRE_FEED_PORT, WIRE_SUBSCRIBER_PORT, peer.size,
                   headers_[i].data());
    for (u32 i = 0; i < tuning.rx; ++i) socket_.fill.address(i) = u64{i} * tuning.chunk;
    filled_ = tuning.rx;
    socket_.fill.publish(socket_.fill.producer, filled_);
    const u32 only = 0;
    const int index = index_of(peer.interface);
    check(bpf_map_update_elem(bpf_object__find_map_fd_by_name(object_, "device"), &only, &index,
                              BPF_ANY),
          "naming the device");
    socket_.receive(object_, "bulk", peer.interface);
    program_ = bpf_program__fd(bpf_object__find_program_by_name(object_, "bulk"));
  }

  void run() {
    say_ready();
    while (stopped == 0)
      if (!turn()) relax();
  }

private:
  bool turn() {
    const u32 count = std::min(socket_.rx.produced() - received_, packets_max_);
    if (count == 0) return false;
    for (u32 i = 0; i < count; ++i) {
      const xdp_desc& packet = socket_.rx.descriptor(received_ + i);
      for (const auto& header : headers_) {
        bulk_copy& copy = copies_[written_++ % BULK_COPIES];
        copy.chunk = static_cast<u32>(packet.addr / BULK_CHUNK_SIZE);
        copy.offset = packet.addr % BULK_CHUNK_SIZE + WIRE_HEADER_SIZE;
        copy.size = packet.len - WIRE_HEADER_SIZE;
        std::memcpy(copy.header, header.data(), WIRE_HEADER_SIZE);
      }
    }
    while (__atomic_load_n(taken_, __ATOMIC_ACQUIRE) != written_ && stopped == 0) call();
    for (u32 i = 0; i < count; ++i)
      socket_.fill.address(filled_++) =
          socket_.rx.descriptor(received_ + i).addr / BULK_CHUNK_SIZE * BULK_CHUNK_SIZE;
    received_ += count;
    socket_.rx.publish(socket_.rx.consumer, received_);
    socket_.fill.publish(socket_.fill.producer, filled_);
    return true;
  }

  // A signal ends one early.
  void call() {
    xdp_md context{};
    context.data_end = static_cast<u32>(frame_.size());
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame_.data(),
                .data_size_in = static_cast<u32>(frame_.size()), .ctx_in = &context,
                .ctx_size_in = sizeof context,
                .repeat = static_cast<int>(std::min(written_ - *taken_, call_max)),
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
    options.batch_size = std::min(static_cast<u32>(options.repeat), batch_max);
    if (bpf_prog_test_run_opts(program_, &options) < 0 && errno != EINTR)
      throw error_of(errno, "running the program");
  }

  bpf_object* object_;
  Socket socket_;
  bulk_copy* copies_;
  u32* taken_;
  std::vector<std::array<u8, WIRE_HEADER_SIZE>> headers_;
  std::vector<u8> frame_;
  u32 packets_max_;
  int program_ = -1;
  u32 received_ = 0, filled_ = 0, written_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  return run_peer(argc, argv, [](const Flags& flags) {
    const Peer peer(flags);
    const Tuning tuning(flags);
    if (tuning.chunk != BULK_CHUNK_SIZE || tuning.rx + tuning.tx > BULK_CHUNKS)
      throw Error(EINVAL, "more or other chunks than the map has");
    BulkRelay(flags, peer, tuning).run();
  });
}
