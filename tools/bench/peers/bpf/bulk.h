/* SPDX-License-Identifier: MIT-0 */
/* What bulk.bpf.c and bulk.cpp share. */
#ifndef BENCH_BULK_H
#define BENCH_BULK_H

#include "wire.h"

/* Chunks of the UMEM, as afxdp.hpp has them if nothing is said, and their size. */
#define BULK_CHUNKS (8192 + 256)
#define BULK_CHUNK_SIZE 4096
/* A ring of copies, of which one call makes some; a power of two. */
#define BULK_COPIES 4096

struct bulk_chunk {
  __u8 bytes[BULK_CHUNK_SIZE];
};

struct bulk_copy {
  __u32 chunk;  /* of the received frame */
  __u32 offset; /* of its payload in there */
  __u32 size;   /* of the payload */
  __u32 pad;
  __u8 header[48]; /* WIRE_HEADER_SIZE of them are used */
};

#endif
