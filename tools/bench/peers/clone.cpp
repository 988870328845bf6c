// SPDX-License-Identifier: MIT-0
// clone: puts clone.bpf.o at the interface's ingress and waits. --object clone.bpf.o, and the flags
// of peer.hpp. Its work is done in the kernel, on the core that the packets come in on.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include "../wire/wire.h"
#include "bpf/clone.h"
#include "peer.hpp"

using namespace bench;

namespace {

bpf_object* load(const Peer& peer, const std::string& path) {
  bpf_object* object = bpf_object__open(path.c_str());
  if (object == nullptr) throw error_of(errno, "opening " + path);
  bpf_map* constants = bpf_object__find_map_by_name(object, ".rodata");
  check(bpf_map__set_initial_value(constants, &peer.subscribers, sizeof peer.subscribers),
        "setting the count");
  check(bpf_object__load(object), "loading the program");
  const int headers = bpf_object__find_map_fd_by_name(object, "headers");
  for (u32 i = 0; i < peer.subscribers; ++i) {
    clone_header header{};
    write_header(peer.ends(i), WIRE_FEED_PORT, WIRE_SUBSCRIBER_PORT, peer.size, header.bytes);
    check(bpf_map_update_elem(headers, &i, &header, BPF_ANY), "writing a header");
  }
  return object;
}

void run(const Flags& flags) {
  const Peer peer(flags);
  if (peer.subscribers > CLONE_SUBSCRIBERS_MAX)
    throw Error(EINVAL, "too many subscribers for the program");
  bpf_object* object = load(peer, flags.text("--object"));
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = index_of(peer.interface),
              .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options,
              .prog_fd = bpf_program__fd(bpf_object__find_program_by_name(object, "fan_out")));
  check(bpf_tc_hook_create(&hook), "making the hook");
  check(bpf_tc_attach(&hook, &options), "attaching to it");
  say_ready();
  while (stopped == 0) pause();
  // the hook itself, too
  hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
  bpf_tc_hook_destroy(&hook);
}

} // namespace

int main(int argc, char** argv) { return run_peer(argc, argv, run); }
