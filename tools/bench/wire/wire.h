/* SPDX-License-Identifier: MIT-0 */
/*
 * What source, sink and peers agree on: the bytes of a benchmark frame, the addresses of the
 * subscribers, and the maps that the sink counts in. Read by C++ and by BPF C.
 *
 *   0        14         34        42                50          58        66
 *   ┌────────┬──────────┬─────────┬─────────────────┬───────────┬─────────┬─────────────┬────────┐
 *   │ Ether  │ IPv4     │ UDP     │ run << 48 | seq │ intended  │ check   │ pattern …   │ tail 8 │
 *   └────────┴──────────┴─────────┴─────────────────┴───────────┴─────────┴─────────────┴────────┘
 *
 * `intended` is the time (CLOCK_MONOTONIC, ns; bpf_ktime_get_ns is the same clock) at which the
 * packet ought to have been sent: latency counts from there, so a source that is held up hides
 * nothing. `check` depends on sequence, time and seed; `tail` on sequence and seed; the pattern
 * between them on seed and place alone, so that a source writes 32 bytes a packet and no more.
 * A frame that is cut, shifted, overwritten or put together from two packets fails one of them.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <linux/types.h>

/* Ethernet 14 + IPv4 20 + UDP 8. */
#define WIRE_HEADER_SIZE 42
/* Sequence, intended time, check; the tail makes it 32. */
#define WIRE_PATTERN_AT 24
#define WIRE_TAIL_SIZE 8
#define WIRE_PAYLOAD_MIN 40
/* An MTU of 3498 less IPv4 and UDP; veth takes no more with XDP. */
#define WIRE_PAYLOAD_MAX 3470

#define WIRE_SUBSCRIBERS_MAX 1024
/* Queues of the sink's interface; each has counters of its own. */
#define WIRE_QUEUES_MAX 16
/* Packets whose copies are awaited at once; a power of two. */
#define WIRE_PACKETS_MAX 65536
/* A sequence is 48 bits wide, the run above it tells late copies of an earlier run apart. */
#define WIRE_RUN_SHIFT 48
#define WIRE_SEQUENCE_MASK ((1ull << WIRE_RUN_SHIFT) - 1)

/* The feed's target, and where every copy must come from. */
#define WIRE_FEED_PORT 9000
/* Every subscriber has an address of its own and this port. */
#define WIRE_SUBSCRIBER_PORT 9001
/* 10.88.0.1: the replicator. 10.88.0.2: the source. Subscriber i: 10.88.(1 + i / 250).(1 + i %
 * 250). */
#define WIRE_NET_HIGH 10
#define WIRE_NET_LOW 88
#define WIRE_HOSTS_A_NET 250

/* Latency buckets: 32 to an octave, so one is at most 3 % wide; below 64 ns one a nanosecond. */
#define WIRE_BUCKET_BITS 5
#define WIRE_BUCKETS 1088

/* What the sink is told before a run. Written by the engine, read by the sink. */
struct wire_config {
  __u64 seed;
  __u32 run;
  __u32 subscribers;
  __u32 payload_size;
  /* Bytes of the pattern's length that the sink's roving look may reach: a power of two. */
  __u32 pattern_span;
  /* 1: time the delivery window (one queue, more than one subscriber). */
  __u32 windows;
  __u32 pad;
};

/* What the sink saw of one subscriber. Written by the sink, zeroed by the engine between runs. */
struct wire_seen {
  __u64 next;     /* the lowest sequence not yet passed */
  __u64 passed;   /* bit n: next - 1 - n has come */
  __u64 received; /* copies of any kind */
  __u64 duplicated;
  __u64 reordered; /* came after a later one */
  __u64 corrupt;   /* any byte checked is wrong; counted as received, not as passed */
  __u64 last_gap;  /* the highest sequence whose predecessor was missing when it came */
  __u64 first_ns;  /* arrival of the first and of the last copy */
  __u64 last_ns;
  __u64 latency_max;
  __u64 latency_sum;
  __u64 pad[5];
  __u32 latency[WIRE_BUCKETS];
};

/* A packet whose copies are coming in, at sequence % WIRE_PACKETS_MAX. */
struct wire_packet {
  __u64 tag; /* run and sequence */
  __u64 first_ns;
  __u32 copies;
  __u32 pad;
};

/* Per queue of the sink's interface: what belongs to no one subscriber. */
struct wire_total {
  __u64 frames;     /* all UDP frames to the subscribers' port, whatever they were */
  __u64 stale;      /* of an earlier run */
  __u64 unexpected; /* to nobody's address */
  __u64 malformed;  /* wrong length or IPv4 checksum; nobody's fault can be told apart here */
  __u64 windows;    /* packets all of whose copies came */
  __u64 window_max;
  __u64 pad[2];
  __u32 window[WIRE_BUCKETS];
};

/* The in-kernel source: packets are written where they stand, one call of the program each. */
struct wire_source {
  __u8 header[64]; /* the first WIRE_HEADER_SIZE bytes of each frame */
  __u64 seed;
  __u64 next;     /* run and sequence of the next packet */
  __u64 until_ns; /* packets after this time are not sent */
  __u64 sent;
  __u32 payload_size;
  __u32 pad;
};

static inline __attribute__((always_inline)) __u64 wire_mix(__u64 word) {
  word ^= word >> 31;
  word *= 0x9e3779b97f4a7c15ull;
  return word ^ (word >> 29);
}

static inline __attribute__((always_inline)) __u64 wire_check(__u64 seed, __u64 tag,
                                                              __u64 intended) {
  return wire_mix(wire_mix(tag + seed) + intended);
}

static inline __attribute__((always_inline)) __u64 wire_tail(__u64 seed, __u64 tag) {
  return wire_mix((tag ^ seed) * 3 + 1);
}

/* The pattern's eight bytes at `offset` of the payload, a multiple of 8. */
static inline __attribute__((always_inline)) __u64 wire_pattern(__u64 seed, __u64 offset) {
  return wire_mix(seed + offset);
}

#endif
