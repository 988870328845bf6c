/*
 * The filter ABI, version 1, for C: clang --target=wasm32. docs/filter-abi.md says what it all
 * means. A test compares the structs with the description of shared memory.
 */
#ifndef FANTAIL_H
#define FANTAIL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { FANTAIL_ABI = 1, SLOT_SIZE = 256, HEADER_SIZE = 42, STATE_SIZE = 4096 };
enum { DROP_COPY = 0, SEND = 1 };
/* An address of the window, fixed. */
#define WINDOW_STATE 0x230000u
/* payload_sum where no UDP checksum is wanted. */
#define NO_SUM 0xffffffffu

/* Read-only. Addresses and ports are in network order. */
struct subscriber {
  u32 ip;
  u16 port;
  u16 state;
  u8 target_mac[6];
  u8 source_mac[6];
  u32 source_ip;
  u16 source_port;
  u16 kernel_socket;
  u32 worker;
  u64 epoch;
  u16 filter;
  u16 param_length;
  u8 ttl;
  u8 reserved[3];
  u64 feeds;
  u64 set;
  u8 param[64];
};

/* The filter writes verdict to replaced, and the SLOT_SIZE bytes of the slot. */
struct job {
  const u8* packet;
  u32 length;
  u8* slot;
  const struct subscriber* subscriber;
  u32 verdict;
  u16 header_start;
  u16 header_length;
  u32 replaced;
  u32 payload_sum;
  u64 receive_ns;
};

_Static_assert(sizeof(struct subscriber) == 128, "struct subscriber");
_Static_assert(sizeof(struct job) == 40, "struct job");

#define EXPORT(name) __attribute__((export_name(#name)))

#endif
