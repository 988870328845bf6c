// SPDX-License-Identifier: MIT-0
/*
 * In-kernel fan-out: at the ingress of the interface each packet of the feed gets the header of one
 * subscriber after the other; all but the last are sent as clones, the last is the packet itself.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "clone.h"

/* The whole header of a copy: nothing is left to be computed per packet. Written by clone.cpp. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLONE_SUBSCRIBERS_MAX);
	__type(key, __u32);
	__type(value, struct clone_header);
} headers SEC(".maps");

/* Set before the program is loaded. */
const volatile __u32 subscribers = 1;

SEC("tc")
int fan_out(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_UDP || udp->dest != bpf_htons(WIRE_FEED_PORT))
		return TC_ACT_OK;
	for (__u32 i = 0; i < CLONE_SUBSCRIBERS_MAX && i < subscribers; i++) {
		__u32 key = i;
		struct clone_header *header = bpf_map_lookup_elem(&headers, &key);

		if (!header || bpf_skb_store_bytes(skb, 0, header->bytes, WIRE_HEADER_SIZE, 0) < 0)
			return TC_ACT_SHOT;
		if (i + 1 == subscribers)
			return bpf_redirect(skb->ifindex, 0);
		bpf_clone_redirect(skb, skb->ifindex, 0);
	}
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "MIT-0";
