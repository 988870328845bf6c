/* SPDX-License-Identifier: MIT-0 */
/* The least that a raw AF_XDP program needs: the feed's port goes to the socket, all else passes.
 */
#ifndef BENCH_REDIRECT_H
#define BENCH_REDIRECT_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wire.h"

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, WIRE_QUEUES_MAX);
  __type(key, __u32);
  __type(value, __u32);
} xsks SEC(".maps");

static __always_inline int to_socket(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  struct ethhdr* ethernet = data;
  struct iphdr* ip = (void*)(ethernet + 1);
  struct udphdr* udp = (void*)(ip + 1);

  if ((void*)(udp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) ||
      ip->protocol != IPPROTO_UDP || udp->dest != bpf_htons(WIRE_FEED_PORT))
    return XDP_PASS;
  return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

#endif
