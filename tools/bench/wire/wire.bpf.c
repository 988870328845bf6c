// SPDX-License-Identifier: MIT-0
/*
 * Source and sink of the benchmark, inside the kernel, at the far end of the link.
 *
 *   sink     counts every copy for its subscriber, times it, and drops it
 *   source   writes one packet of the feed per call; the engine runs it with live frames
 *            (BPF_PROG_TEST_RUN), which gives an unpaced flood of some 2.5 million packets a second
 *
 * One CPU at a time runs the sink for one queue (NAPI), and one queue carries a subscriber: so no
 * counter needs to be atomic. All copies cost the same here whoever made them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wire.h"

/* Each is mapped by the engine: it writes config and source, zeroes and reads the others. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wire_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WIRE_SUBSCRIBERS_MAX);
	__type(key, __u32);
	__type(value, struct wire_seen);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WIRE_PACKETS_MAX);
	__type(key, __u32);
	__type(value, struct wire_packet);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WIRE_QUEUES_MAX);
	__type(key, __u32);
	__type(value, struct wire_total);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wire_source);
} sources SEC(".maps");

/* The bytes of a frame that are always there. */
struct frame {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	__u64 tag;
	__u64 intended;
	__u64 check;
} __attribute__((packed));

_Static_assert(sizeof(struct frame) == WIRE_HEADER_SIZE + WIRE_PATTERN_AT, "a frame's fixed part");

/* See WIRE_BUCKETS. BPF has no instruction for the highest bit: it is halved out. */
static __always_inline __u32 bucket_of(__u64 value)
{
	__u64 rest = value >> (WIRE_BUCKET_BITS + 1);
	__u32 shift = 0;

	if (rest == 0)
		return value;
	if (rest >> 32)
		return WIRE_BUCKETS - 1;
	if (rest >> 16) {
		shift += 16;
		rest >>= 16;
	}
	if (rest >> 8) {
		shift += 8;
		rest >>= 8;
	}
	if (rest >> 4) {
		shift += 4;
		rest >>= 4;
	}
	if (rest >> 2) {
		shift += 2;
		rest >>= 2;
	}
	if (rest >> 1)
		shift += 1;
	shift += 1;
	return (shift << WIRE_BUCKET_BITS) + (value >> shift);
}

static __always_inline void add_to(__u32 *buckets, __u64 value)
{
	__u32 bucket = bucket_of(value);

	if (bucket < WIRE_BUCKETS)
		buckets[bucket] += 1;
}

/* Ones' complement sum over an IPv4 header without options: 0xffff where its checksum is right. */
static __always_inline bool has_right_checksum(const void *ip)
{
	const __u16 *word = ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* The subscriber that an address belongs to; past the last one for nobody's. */
static __always_inline __u32 subscriber_of(__be32 address)
{
	__u32 host = bpf_ntohl(address);
	__u32 net = (host >> 8) & 0xff;
	__u32 last = host & 0xff;

	if (host >> 16 != (WIRE_NET_HIGH << 8 | WIRE_NET_LOW) || net == 0 || last == 0)
		return WIRE_SUBSCRIBERS_MAX;
	return (net - 1) * WIRE_HOSTS_A_NET + last - 1;
}

/* Whether the bytes after the header are those that the source wrote. */
static __always_inline bool is_intact(const struct wire_config *is, const struct frame *frame,
				      const void *payload, const void *end)
{
	__u32 tail_at = (is->payload_size - WIRE_TAIL_SIZE) & 0xfff;
	__u32 look_at = WIRE_PATTERN_AT + ((frame->tag << 3) & (is->pattern_span - 1) & 0xfff);
	const __u64 *tail = payload + tail_at;
	const __u64 *look = payload + look_at;

	if ((void *)(tail + 1) > end || (void *)(look + 1) > end)
		return false;
	return frame->check == wire_check(is->seed, frame->tag, frame->intended) &&
	       *tail == wire_tail(is->seed, frame->tag) && *look == wire_pattern(is->seed, look_at);
}

/* Sequence against what came before. False if this very copy came already. */
static __always_inline bool put_in_order(struct wire_seen *to, __u64 sequence)
{
	if (sequence >= to->next) {
		__u64 step = sequence - to->next + 1;

		if (step > 1)
			to->last_gap = sequence;
		to->passed = step < 64 ? to->passed << step | 1 : 1;
		to->next = sequence + 1;
		return true;
	}
	__u64 age = to->next - 1 - sequence;
	/* Too late to tell: a duplicate that old is not known from anything measured here. */
	if (age < 64 && to->passed >> age & 1) {
		to->duplicated += 1;
		return false;
	}
	if (age < 64)
		to->passed |= 1ull << age;
	to->reordered += 1;
	return true;
}

/* One more copy of a packet: when all have come, the time from the first to this one is noted. */
static __always_inline void time_window(const struct wire_config *is, struct wire_total *total,
					__u64 tag, __u64 now)
{
	__u32 key = tag & (WIRE_PACKETS_MAX - 1);
	struct wire_packet *packet = bpf_map_lookup_elem(&packets, &key);

	if (!packet)
		return;
	if (packet->tag != tag) {
		packet->tag = tag;
		packet->first_ns = now;
		packet->copies = 1;
		return;
	}
	packet->copies += 1;
	if (packet->copies != is->subscribers)
		return;
	total->windows += 1;
	now -= packet->first_ns;
	if (now > total->window_max)
		total->window_max = now;
	add_to(total->window, now);
}

static __always_inline void account(const struct wire_config *is, struct wire_total *total,
				    struct wire_seen *to, const struct frame *frame, bool intact)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 latency = now - frame->intended;

	to->received += 1;
	if (!intact) {
		to->corrupt += 1;
		return;
	}
	if (to->first_ns == 0)
		to->first_ns = now;
	to->last_ns = now;
	if (!put_in_order(to, frame->tag & WIRE_SEQUENCE_MASK))
		return;
	if (latency >> 63)
		latency = 0;
	if (latency > to->latency_max)
		to->latency_max = latency;
	to->latency_sum += latency;
	add_to(to->latency, latency);
	if (is->windows)
		time_window(is, total, frame->tag, now);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct frame *frame = data;
	__u32 zero = 0, queue = ctx->rx_queue_index, index;
	struct wire_config *is = bpf_map_lookup_elem(&config, &zero);
	struct wire_total *total = bpf_map_lookup_elem(&totals, &queue);
	struct wire_seen *to;

	if (!is || !total || (void *)(frame + 1) > end)
		return XDP_PASS;
	if (frame->ethernet.h_proto != bpf_htons(ETH_P_IP) || frame->ip.protocol != IPPROTO_UDP ||
	    frame->udp.dest != bpf_htons(WIRE_SUBSCRIBER_PORT))
		return XDP_PASS;
	total->frames += 1;
	index = subscriber_of(frame->ip.daddr);
	to = bpf_map_lookup_elem(&seen, &index);
	if (!to || index >= is->subscribers) {
		total->unexpected += 1;
		return XDP_DROP;
	}
	if (frame->tag >> WIRE_RUN_SHIFT != is->run) {
		total->stale += 1;
		return XDP_DROP;
	}
	if (frame->udp.len != bpf_htons(sizeof(struct udphdr) + is->payload_size) ||
	    !has_right_checksum(data + sizeof(struct ethhdr))) {
		total->malformed += 1;
		return XDP_DROP;
	}
	account(is, total, to, frame, is_intact(is, frame, data + WIRE_HEADER_SIZE, end));
	return XDP_DROP;
}

/*
 * Sent as fast as it can be; `intended` is now. The engine ends it by the number of calls, or this
 * by the clock, since the kernel may take minutes over the calls asked for.
 */
SEC("xdp")
int source(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct frame *frame = data;
	__u32 zero = 0;
	struct wire_source *from = bpf_map_lookup_elem(&sources, &zero);
	__u64 now = bpf_ktime_get_ns();
	__u64 *tail;

	if (!from || (void *)(frame + 1) > end || now > from->until_ns)
		return XDP_DROP;
	tail = data + WIRE_HEADER_SIZE + ((from->payload_size - WIRE_TAIL_SIZE) & 0xfff);
	if ((void *)(tail + 1) > end)
		return XDP_DROP;
	/* A frame comes back from the link with whatever was written over it. */
	__builtin_memcpy(data, from->header, WIRE_HEADER_SIZE);
	frame->tag = from->next;
	frame->intended = now;
	frame->check = wire_check(from->seed, frame->tag, now);
	*tail = wire_tail(from->seed, frame->tag);
	from->next += 1;
	from->sent += 1;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "MIT-0";
