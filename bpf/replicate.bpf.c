// SPDX-License-Identifier: MIT-0
/*
 * Is this frame one packet of a feed of ours? If so it goes to the AF_XDP socket of the queue it
 * came in on; everything else, and all that is not understood, stays with the kernel (XDP_PASS).
 *
 *   frame
 *     ├─ 14 bytes of Ethernet header?     no ──► short
 *     ├─ untagged?                        no ──► vlan
 *     ├─ EtherType of IPv4?               no ──► not_ipv4
 *     ├─ 42 bytes, IPv4 and UDP header?   no ──► short
 *     ├─ IP version 4?                    no ──► not_ipv4
 *     ├─ UDP?                             no ──► not_udp
 *     ├─ IP header without options?       no ──► ip_options
 *     ├─ not a fragment?                  no ──► fragment
 *     ├─ fits one buffer of ours?         no ──► multi_buffer
 *     ├─ a feed of this queue?            no ──► other
 *     ├─ from its source, if it has one?  no ──► other
 *     ├─ to the MAC of its receivers?     no ──► foreign_mac (of another host's feed: any host's)
 *     ├─ from what another host may be?   no ──► martian
 *     ├─ UDP the whole IP packet?         no ──► udp_length
 *     ├─ as long as the MTU at most?      no ──► over_mtu
 *     ├─ surely one datagram?             no ──► unfilled_checksum
 *     ├─ a socket on this queue?          no ──► no_socket
 *     ▼
 *   redirect
 *
 * Every frame is counted once, by CPU and queue, under the verdict where it left this path. What is
 * taken is certain to be what a UDP socket would have received; what the kernel makes of the rest
 * (options, fragments, tags of priority) reaches the receiver by a socket. Only the 42 bytes of
 * fixed headers are read; lengths and checksums that lie are for the receiver to refuse. A VLAN tag
 * that the NIC has taken out of the frame is not seen here: such a frame counts as untagged.
 *
 * Packet pointers move by constants and are compared, nothing else: to subtract them, or to add a
 * length to one, takes CAP_PERFMON. So a frame that the driver holds in several buffers is known by
 * its length alone; one that is short enough for a UMEM frame is put together there by the kernel
 * (6.6 and later; before, it arrives cut and the receiver refuses it for its length).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shm/layout.h"

/* Entries of `feeds`: those of a launcher on each queue. */
#define RULES_MAX (FANTAIL_QUEUES_MAX * FANTAIL_FEEDS_MAX)
/* Entries of `verdicts`: a counter for each verdict of each queue. */
#define VERDICTS_MAX (FANTAIL_QUEUES_MAX * VERDICT_COUNT)
/* Entries of `own`. */
#define OWN_MAX 4096
/*
 * iphdr.frag_off: "more fragments" and the offset; the offset alone. Left out: "do not fragment",
 * a reserved bit.
 */
#define IP_FRAGMENT 0x3fff
#define IP_OFFSET 0x1fff
/* iphdr.ihl of a header without options, in 32-bit words. */
#define IP_PLAIN_WORDS 5
/* Bytes of packet that a UMEM frame takes: the kernel keeps its headroom in each. */
#define FRAME_ROOM_SIZE (FANTAIL_FRAME_SIZE - XDP_PACKET_HEADROOM)

/*
 * The feeds, by queue. Written by the launcher that serves the queue (its RX process at the start,
 * its supervisor when the interface changes) but for the source that judge() remembers.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RULES_MAX);
	__type(key, struct feed);
	__type(value, struct feed_rule);
} feeds SEC(".maps");

/*
 * The addresses of this host and the broadcast addresses of its subnets, in network order: none of
 * them is another host's. Written by every launcher's processes as `feeds` is, read by classify().
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OWN_MAX);
	__type(key, __u32);
	__type(value, __u8);
} own SEC(".maps");

/*
 * The receive socket of each queue. Written by the RX process that opened the socket, emptied by
 * the kernel when the socket closes, read by classify() and the redirect.
 */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, FANTAIL_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/*
 * Frames seen, at queue * VERDICT_COUNT + verdict. Written by this program alone, read by
 * supervisors as the sum over CPUs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

/*
 * Whether an IPv4 source is none that another host could have: "this network" and loopback (RFC
 * 1122, 3.2.1.3), multicast and above, or one of our own. The kernel decides (martian source).
 */
static __always_inline bool is_martian(__u32 source)
{
	const __u32 first = bpf_ntohl(source) >> 24;

	return first == 0 || first == IN_LOOPBACKNET || first >= 224 ||
	       bpf_map_lookup_elem(&own, &source);
}

/*
 * The checksum of a datagram whose sender leaves it to the device: the bare sum of the pseudo
 * header (RFC 768; CHECKSUM_PARTIAL). In words as they stand: the order of bytes does not matter
 * (RFC 1071).
 */
static __always_inline __u16 unfilled_checksum(const struct iphdr *ip, const struct udphdr *udp)
{
	__u64 sum = (__u64)ip->saddr + ip->daddr + bpf_htons(IPPROTO_UDP) + udp->len;

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The bit of a MAC's first byte that groups have, and no host (IEEE 802, 8.2). */
#define MAC_GROUP 1

/*
 * Whether a frame is addressed to those who receive the feed: to one MAC, or, of a feed of another
 * host, to that of any host.
 */
static __always_inline bool is_for(const struct feed_rule *rule, const struct ethhdr *ethernet)
{
	const __u16 *to = (const __u16 *)ethernet->h_dest, *mac = (const __u16 *)rule->mac;

	if (rule->any_mac)
		return !(ethernet->h_dest[0] & MAC_GROUP);
	return to[0] == mac[0] && to[1] == mac[1] && to[2] == mac[2];
}

/*
 * A frame of a feed by address and port: VERDICT_REDIRECT, or why the kernel is to judge it. A feed
 * comes from the same source again and again, so the last good one is remembered: with it, a look
 * into `own` is saved.
 */
static __always_inline enum verdict judge(struct feed_rule *rule, const struct ethhdr *ethernet,
					  const struct iphdr *ip, const struct udphdr *udp)
{
	const __u16 length = bpf_ntohs(ip->tot_len);

	if (rule->source && ip->saddr != rule->source)
		return VERDICT_OTHER;
	if (!is_for(rule, ethernet))
		return VERDICT_FOREIGN_MAC;
	if (ip->saddr != rule->seen) {
		if (is_martian(ip->saddr))
			return VERDICT_MARTIAN;
		rule->seen = ip->saddr;
	}
	if (bpf_ntohs(udp->len) + sizeof(*ip) != length)
		return VERDICT_UDP_LENGTH;
	if (length > rule->mtu)
		return VERDICT_OVER_MTU;
	if (rule->generic && udp->check && udp->check == unfilled_checksum(ip, udp))
		return VERDICT_UNFILLED_CHECKSUM;
	return VERDICT_REDIRECT;
}

/* What the frame is; changes nothing but the source that a rule remembers. `frags`: frames of
 * several buffers can come here. */
static __always_inline enum verdict classify(struct xdp_md *ctx, const bool frags)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct feed key = {.queue = ctx->rx_queue_index};
	struct feed_rule *rule;
	enum verdict verdict;

	if ((void *)(ethernet + 1) > data_end)
		return VERDICT_SHORT;
	if (ethernet->h_proto == bpf_htons(ETH_P_8021Q) ||
	    ethernet->h_proto == bpf_htons(ETH_P_8021AD))
		return VERDICT_VLAN;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP))
		return VERDICT_NOT_IPV4;
	if ((void *)(udp + 1) > data_end)
		return VERDICT_SHORT; /* this one check covers all that is read below */
	if (ip->version != 4)
		return VERDICT_NOT_IPV4;
	if (ip->protocol != IPPROTO_UDP)
		return VERDICT_NOT_UDP;
	if (ip->ihl != IP_PLAIN_WORDS)
		return VERDICT_IP_OPTIONS;
	if (ip->frag_off & bpf_htons(IP_FRAGMENT))
		return VERDICT_FRAGMENT;
	/* Without frags there is one buffer; with pages of 64 KiB it may be larger than ours. */
	if (frags ? bpf_xdp_get_buff_len(ctx) > FRAME_ROOM_SIZE : data + FRAME_ROOM_SIZE < data_end)
		return VERDICT_MULTI_BUFFER;
	key.daddr = ip->daddr;
	key.dport = udp->dest;
	rule = bpf_map_lookup_elem(&feeds, &key);
	if (!rule)
		return VERDICT_OTHER;
	verdict = judge(rule, ethernet, ip, udp);
	if (verdict == VERDICT_REDIRECT && !bpf_map_lookup_elem(&xsks, &key.queue))
		return VERDICT_NO_SOCKET;
	return verdict;
}

/* Adds one to the verdict of the queue. Queues past the last row are counted in the last row. */
static __always_inline void count(__u32 queue, enum verdict verdict)
{
	__u32 row = queue < FANTAIL_QUEUES_MAX ? queue : FANTAIL_QUEUES_MAX - 1;
	__u32 index = row * VERDICT_COUNT + verdict;
	__u64 *frames = bpf_map_lookup_elem(&verdicts, &index);

	if (frames)
		*frames += 1;
}

#include "slow_path.bpf.h"

/* Verdict to action. The fallback is for a socket that closes after classify() has seen it. */
static __always_inline int replicate(struct xdp_md *ctx, const bool frags)
{
	enum verdict verdict = classify(ctx, frags);

	count(ctx->rx_queue_index, verdict);
	if (verdict != VERDICT_REDIRECT) {
		/* these are no datagrams, or plain ones of no feed: no queue need be noted */
		if (frags && verdict != VERDICT_OTHER && verdict != VERDICT_NOT_IPV4 &&
		    verdict != VERDICT_NOT_UDP && verdict != VERDICT_SHORT)
			note_queue(ctx);
		return XDP_PASS;
	}
	return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

SEC("xdp.frags")
int fantail(struct xdp_md *ctx)
{
	return replicate(ctx, true);
}

#include "bulk.bpf.h"

/* For who sends in bulk: what fantail does, and the frames of test runs. Takes CAP_PERFMON. */
SEC("xdp.frags")
int fantail_bulk(struct xdp_md *ctx)
{
	if (ctx->ingress_ifindex == LOOPBACK_INDEX)
		return bulk_transmit(ctx);
	return replicate(ctx, true);
}

/*
 * For kernels before 5.18, which know neither frames of several buffers nor the helper that sees
 * them. The loader takes it when the kernel refuses the other.
 */
SEC("xdp")
int fantail_whole(struct xdp_md *ctx)
{
	return replicate(ctx, false);
}

char LICENSE[] SEC("license") = "MIT-0";
