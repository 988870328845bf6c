// SPDX-License-Identifier: MIT-0
// Loading the XDP program with libbpf, from the compiled object embedded in this executable.
#include <algorithm>
#include <memory>
#include <string_view>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include "xdp/program.hpp"

// Where the compiler finds the object, from the folder that it runs in (native/).
#ifndef FANTAIL_BPF_OBJECT
#define FANTAIL_BPF_OBJECT "build/replicate.bpf.o"
#endif

asm(".pushsection .rodata, \"a\"\n"
    ".balign 8\n" // ELF's own alignment
    "fantail_bpf_object_start:\n"
    ".incbin \"" FANTAIL_BPF_OBJECT "\"\n"
    "fantail_bpf_object_end:\n"
    ".byte 0\n" // so that the end has an address inside the section
    ".popsection\n");
extern "C" const std::byte fantail_bpf_object_start[], fantail_bpf_object_end[];

namespace fantail {
namespace {

constexpr std::size_t VERIFIER_LOG_SIZE = 1 << 20; // a whole log of this program is some 10 KiB
constexpr std::size_t VERIFIER_LINES_SHOWN = 12;

// They choose among the sockets of the slow path.
constexpr const char* selector_name = "fantail_reader";
constexpr const char* member_name = "fantail_member";
// It counts page pools that live on.
constexpr const char* pools_name = "page_pool_release";

using Object = std::unique_ptr<bpf_object, decltype(&bpf_object__close)>;

// The last lines of the verifier's log, after a colon; nothing if it had nothing to say.
std::string tail(std::string log) {
  log.resize(std::strlen(log.c_str()));
  while (log.ends_with('\n')) log.pop_back();
  if (log.empty()) return "";
  std::size_t start = log.size();
  for (std::size_t lines = 0; lines < VERIFIER_LINES_SHOWN && start > 0; ++lines) {
    const std::size_t line_break = log.rfind('\n', start - 1);
    start = line_break == std::string::npos ? 0 : line_break;
  }
  return start == 0 ? ":\n" + log : ":" + log.substr(start);
}

std::string cure(int number) {
  if (number == EPERM) return " (it takes CAP_BPF and CAP_NET_ADMIN)";
  if (number == ENOMEM) return " (before kernel 5.11, raise the limit: `ulimit -l unlimited`)";
  return "";
}

// A descriptor of our own: libbpf closes its with the object.
Fd keep(int fd, const char* doing) {
  return Fd(check(fcntl(check(fd, doing), F_DUPFD_CLOEXEC, 0), doing));
}

Fd keep_map(bpf_object* object, const char* name) {
  return keep(bpf_object__find_map_fd_by_name(object, name), "find a map of the XDP program");
}

constexpr auto as_view = [](const char* name) { return std::string_view(name); };

// The object, with these of its programs loaded.
Object load_object(std::span<const std::byte> bytes, std::span<const char* const> names,
                   bool sends_in_bulk) {
  std::string log(VERIFIER_LOG_SIZE, '\0');
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = "fantail";
  options.kernel_log_buf = log.data();
  options.kernel_log_size = log.size();
  Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &options), &bpf_object__close);
  if (object == nullptr) throw error_of(errno, "open the XDP object");
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, object.get()) {
    const std::string_view found(bpf_program__name(each));
    const bool wanted = std::ranges::find(names, found, as_view) != names.end();
    check(bpf_program__set_autoload(each, wanted), "choose the XDP program");
  }
  for (const char* name : names)
    if (bpf_object__find_program_by_name(object.get(), name) == nullptr)
      throw error_of(ENOENT, "find the XDP program in its object");
  bpf_map* map = nullptr;
  // what only bulk transmit uses is not made for others
  if (!sends_in_bulk)
    for (const char* name : {"bulks", "device", "pendings", "callers", "live_pools"})
      if ((map = bpf_object__find_map_by_name(object.get(), name)) != nullptr)
        check(bpf_map__set_autocreate(map, false), "choose the maps of the XDP program");
  if (bpf_object__load(object.get()) < 0) {
    const Error plain = error_of(errno, "load the XDP program");
    throw Error(plain.number, plain.what() + cure(plain.number) + tail(log));
  }
  return object;
}

} // namespace

std::span<const std::byte> replicate_object() {
  return {fantail_bpf_object_start, fantail_bpf_object_end};
}

Xdp Xdp::load(std::span<const std::byte> object) {
  libbpf_set_print(nullptr); // what it has to say is in our Errors
  try {
    return load_program(object, "fantail");
  } catch (const Error& refused) {
    if (refused.number != EINVAL) throw;
    // A kernel before 5.18, without xdp.frags? If it is not that, the first answer counts.
    try {
      return load_program(object, "fantail_whole");
    } catch (const Error&) {
      throw refused;
    }
  }
}

Xdp Xdp::of(bpf_object* object, const char* program) {
  Xdp xdp;
  bpf_program* const found = bpf_object__find_program_by_name(object, program);
  xdp.program_ = keep(bpf_program__fd(found), "keep the XDP program");
  xdp.xsks_ = keep_map(object, "xsks");
  xdp.feeds_ = keep_map(object, "feeds");
  xdp.own_ = keep_map(object, "own");
  xdp.verdicts_ = keep_map(object, "verdicts");
  xdp.readers_ = keep_map(object, "readers");
  xdp.cookies_ = keep_map(object, "cookies");
  xdp.declined_ = keep_map(object, "declined");
  const auto keep_program = [=](const char* name) {
    const bpf_program* const found = bpf_object__find_program_by_name(object, name);
    return keep(bpf_program__fd(found), "keep a program of the slow path");
  };
  xdp.selector_ = keep_program(selector_name);
  xdp.member_ = keep_program(member_name);
  return xdp;
}

Xdp Xdp::load_program(std::span<const std::byte> bytes, const char* name) {
  const char* const names[] = {name, selector_name, member_name};
  const Object object = load_object(bytes, names, false);
  return of(object.get(), name);
}

Xdp Xdp::load_bulk(int ifindex) {
  // each program on a tracepoint has its name
  constexpr const char* names[] = {"fantail_bulk", "xdp_devmap_xmit", "xdp_redirect_err",
                                   pools_name,     selector_name,     member_name};
  libbpf_set_print(nullptr);
  const Object object = load_object(replicate_object(), names, true);
  Xdp xdp = of(object.get(), names[0]);
  Bulk bulk{
      keep(xdp.program_fd(), "keep the XDP program"), keep_map(object.get(), "bulks"), {}, {}};
  Fd device = keep_map(object.get(), "device");
  constexpr u32 only = 0;
  check(bpf_map_update_elem(device.get(), &only, &ifindex, BPF_ANY),
        "name the device that bulk transmit sends to");
  bulk.held[0] = std::move(device);
  const auto attach = [&](const char* name) {
    const bpf_program* program = bpf_object__find_program_by_name(object.get(), name);
    return bpf_raw_tracepoint_open(name, bpf_program__fd(program));
  };
  for (std::size_t i = 1; i < bulk.held.size(); ++i)
    bulk.held[i] = Fd(check(attach(names[i]), "attach to a tracepoint (it takes CAP_PERFMON)"));
  // without it copies are sent as well
  const int pools = attach(pools_name);
  if (pools >= 0) bulk.pools.reset(pools);
  xdp.bulk_ = std::move(bulk);
  return xdp;
}

} // namespace fantail
