// SPDX-License-Identifier: MIT-0
//
// One ring of an AF_XDP socket as user space sees it (Documentation/networking/af_xdp.rst): u32
// cursors that run free and wrap at 2^32. The same view serves real kernel rings, the soft link of
// socket mode, and plain memory in tests.
//
// Unlike libxdp's rings it keeps no state of its own, so a successor can adopt it from the file
// descriptor alone.
#pragma once

#include <linux/if_xdp.h>

#include "shm/store.hpp"

namespace fantail {

struct KernelRing {
  // written by user space on fill and TX, by the kernel on RX and completion
  u32* producer = nullptr;
  u32* consumer = nullptr; // the other way round
  u32* flags = nullptr;    // XDP_RING_NEED_WAKEUP; null where there is no kernel behind it
  void* entries = nullptr; // xdp_desc on RX and TX, u64 address on fill and completion
  u32 size = 0;            // entries, a power of two

  xdp_desc& descriptor(u32 index) const {
    return static_cast<xdp_desc*>(entries)[index & (size - 1)];
  }
  u64& address(u32 index) const { return static_cast<u64*>(entries)[index & (size - 1)]; }
  bool needs_wakeup() const {
    return flags != nullptr && (acquire(*flags) & XDP_RING_NEED_WAKEUP) != 0;
  }
};

} // namespace fantail
