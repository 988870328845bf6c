// SPDX-License-Identifier: MIT-0
/*
 * The least that bulk transmit needs. A received frame of the feed goes to the socket, whose UMEM
 * is a map of this program; a frame of a test run (which comes in on `lo`, index 1) becomes the
 * next copy, header and payload, and goes to the device.
 */
#include <stdbool.h>

#include "bulk.h"
#include "redirect.h"

#define LOOPBACK_INDEX 1
/* What the verifier takes: RX frames begin at 256 of their chunk. */
#define OFFSET_MAX 512
#define SIZE_MAX 3400

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BULK_CHUNKS);
	__type(key, __u32);
	__type(value, struct bulk_chunk);
} umem SEC(".maps");

/* Written by bulk.cpp. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BULK_COPIES);
	__type(key, __u32);
	__type(value, struct bulk_copy);
} copies SEC(".maps");

/* Copies that were ever taken. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} taken SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} device SEC(".maps");

static __always_inline bool fill(struct xdp_md *ctx)
{
	__u32 only = 0, index, chunk, offset, size;
	int grown;
	__u32 *next = bpf_map_lookup_elem(&taken, &only);
	struct bulk_copy *copy;
	struct bulk_chunk *from;

	if (!next)
		return false;
	index = (*next)++ % BULK_COPIES;
	copy = bpf_map_lookup_elem(&copies, &index);
	if (!copy)
		return false;
	chunk = copy->chunk;
	offset = copy->offset;
	size = copy->size;
	from = bpf_map_lookup_elem(&umem, &chunk);
	if (!from || offset > OFFSET_MAX || size == 0 || size > SIZE_MAX)
		return false;
	grown = (int)(WIRE_HEADER_SIZE + size) - (int)(ctx->data_end - ctx->data);
	if (grown != 0 && bpf_xdp_adjust_tail(ctx, grown))
		return false;
	return bpf_xdp_store_bytes(ctx, 0, copy->header, WIRE_HEADER_SIZE) == 0 &&
	       bpf_xdp_store_bytes(ctx, WIRE_HEADER_SIZE, from->bytes + offset, size) == 0;
}

SEC("xdp")
int bulk(struct xdp_md *ctx)
{
	if (ctx->ingress_ifindex != LOOPBACK_INDEX)
		return to_socket(ctx);
	return fill(ctx) ? bpf_redirect_map(&device, 0, 0) : XDP_DROP;
}

char LICENSE[] SEC("license") = "MIT-0";
