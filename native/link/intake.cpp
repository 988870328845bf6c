// SPDX-License-Identifier: MIT-0
#include "link/intake.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fantail {

Fd new_intake() {
  Fd fd(check(memfd_create("fantail-intake", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create"));
  check(fchmod(fd.get(), 0600), "fchmod of the memory of a receiving socket");
  check(ftruncate(fd.get(), sizeof(intake)), "sizing the memory of a receiving socket");
  check(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
        "sealing the memory of a receiving socket");
  return fd;
}

MappedIntake::MappedIntake(int fd) {
  void* at =
      mmap(nullptr, sizeof(intake), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (at == MAP_FAILED) throw error_of(errno, "mapping the memory of a receiving socket");
  at_ = static_cast<intake*>(at);
}

MappedIntake::~MappedIntake() {
  if (at_ != nullptr) munmap(at_, sizeof(intake));
}

} // namespace fantail
