/* SPDX-License-Identifier: MIT-0 */
/* What clone.bpf.c and clone.cpp share. */
#ifndef BENCH_CLONE_H
#define BENCH_CLONE_H

#include "wire.h"

#define CLONE_SUBSCRIBERS_MAX 64

struct clone_header {
  __u8 bytes[48]; /* WIRE_HEADER_SIZE of them are used */
};

#endif
