// SPDX-License-Identifier: MIT-0
// Loading the XDP program with libbpf, from the compiled object embedded in this executable.
#include <memory>

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

Xdp Xdp::load_program(std::span<const std::byte> bytes, const char* name) {
  std::string log(VERIFIER_LOG_SIZE, '\0');
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = "fantail";
  options.kernel_log_buf = log.data();
  options.kernel_log_size = log.size();
  const Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &options),
                      &bpf_object__close);
  if (object == nullptr) throw error_of(errno, "open the XDP object");

  bpf_program* program = nullptr;
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, object.get()) {
    const bool wanted = std::string(bpf_program__name(each)) == name;
    check(bpf_program__set_autoload(each, wanted), "choose the XDP program");
    if (wanted) program = each;
  }
  if (program == nullptr) throw error_of(ENOENT, "find the XDP program in its object");
  if (bpf_object__load(object.get()) < 0) {
    const Error plain = error_of(errno, "load the XDP program");
    throw Error(plain.number, plain.what() + cure(plain.number) + tail(log));
  }

  Xdp xdp;
  xdp.program_ = keep(bpf_program__fd(program), "keep the XDP program");
  xdp.xsks_ = keep_map(object.get(), "xsks");
  xdp.feeds_ = keep_map(object.get(), "feeds");
  xdp.verdicts_ = keep_map(object.get(), "verdicts");
  return xdp;
}

} // namespace fantail
