/* SPDX-License-Identifier: MIT-0 */
/*
 * The slow path. What the XDP program passes of a feed, the kernel may deliver: it puts fragments
 * together, reads options, takes off tags of priority. It does so to the socket of the launcher
 * that serves the queue on which the frame came, though several launchers' sockets share address
 * and port:
 *
 *   note_queue()     for a frame that passes: on which queue its flow comes
 *   fantail_reader() of the sockets that share the port, the one of that queue's launcher
 *   fantail_member() of a group's members, each of which the kernel gives a copy: the same
 *
 * A flow keeps its queue (receive-side scaling, Documentation/networking/scaling.rst); all pieces
 * of a datagram are of one flow, and the first piece tells its ports. Where no queue is known, or
 * nobody serves it, the datagram reaches one launcher, whichever.
 */
#pragma once

/* Flows of which the queue is remembered; the least recently used goes. */
#define FLOWS_MAX 4096
/* Tags that a frame is looked behind. */
#define TAGS_MAX 2
#define VLAN_TAG_SIZE 4
/* Bytes of a datagram that a socket filter keeps: all (socket(7), SO_ATTACH_BPF). */
#define WHOLE 0xffff

struct flow {
  __u32 saddr, daddr; /* network order, as all of it is */
  __u16 sport, dport;
};

/* The queue of each flow of which something passed. Written by the XDP program, read here. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, FLOWS_MAX);
  __type(key, struct flow);
  __type(value, __u32);
} flows SEC(".maps");

/*
 * The slow path's socket of each feed of each launcher, at feed_rule.reader. Written by who opened
 * the socket, emptied by the kernel when it closes.
 */
struct {
  __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
  __uint(max_entries, RULES_MAX);
  __type(key, __u32);
  __type(value, __u64);
} readers SEC(".maps");

/* The cookie of each socket of `readers` (SO_COOKIE, socket(7)), written with it; 0: none yet. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, RULES_MAX);
  __type(key, __u32);
  __type(value, __u64);
} cookies SEC(".maps");

/*
 * By cookie: datagrams of a group that a socket has left to another launcher's. To the kernel they
 * are lost ones (SO_MEMINFO, sock_diag(7)), so who tells of losses takes them off. Written here.
 */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, RULES_MAX);
  __type(key, __u64);
  __type(value, __u64);
} declined SEC(".maps");

/* If the frame begins a datagram of a feed of its queue, its flow is noted. */
static __always_inline void note_queue(struct xdp_md* ctx) {
  struct feed key = {.queue = ctx->rx_queue_index};
  struct flow flow = {};
  struct iphdr ip;
  __u16 ports[2];
  __be16 type;
  __u32 at = offsetof(struct ethhdr, h_proto);

  if (bpf_xdp_load_bytes(ctx, at, &type, sizeof(type))) return;
  for (int i = 0; i < TAGS_MAX; ++i) {
    if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD)) break;
    at += VLAN_TAG_SIZE;
    if (bpf_xdp_load_bytes(ctx, at, &type, sizeof(type))) return;
  }
  at += sizeof(type);
  if (type != bpf_htons(ETH_P_IP) || bpf_xdp_load_bytes(ctx, at, &ip, sizeof(ip))) return;
  if (ip.protocol != IPPROTO_UDP || ip.ihl < IP_PLAIN_WORDS || ip.frag_off & bpf_htons(IP_OFFSET))
    return;
  if (bpf_xdp_load_bytes(ctx, at + ip.ihl * 4, ports, sizeof(ports))) return;
  key.daddr = ip.daddr;
  key.dport = ports[1];
  if (!bpf_map_lookup_elem(&feeds, &key)) return;
  flow.saddr = ip.saddr;
  flow.daddr = ip.daddr;
  flow.sport = ports[0];
  flow.dport = ports[1];
  bpf_map_update_elem(&flows, &flow, &key.queue, BPF_ANY);
}

/* False: there is none, or its address and port are not those of the datagram. */
static __always_inline bool choose(struct sk_reuseport_md* ctx, __u32 reader) {
  return bpf_sk_select_reuseport(ctx, &readers, &reader, 0) == 0;
}

/*
 * The flow of a datagram whose context, of either program, begins at the UDP header; false: it
 * cannot be read.
 */
static __always_inline bool read_flow(void* ctx, struct flow* flow) {
  return bpf_skb_load_bytes_relative(ctx, offsetof(struct iphdr, saddr), &flow->saddr,
                                     2 * sizeof(flow->saddr), BPF_HDR_START_NET) == 0 &&
         bpf_skb_load_bytes(ctx, 0, &flow->sport, 2 * sizeof(flow->sport)) == 0;
}

/* What is known of the feed on that queue that a flow is of, by source as well; 0: nothing. */
static __always_inline const struct feed_rule* rule_of(const struct flow* flow, __u32 queue) {
  const struct feed key = {.queue = queue, .daddr = flow->daddr, .dport = flow->dport};
  const struct feed_rule* rule = bpf_map_lookup_elem(&feeds, &key);

  return rule && (!rule->source || rule->source == flow->saddr) ? rule : 0;
}

/* The launcher that serves the feed on that queue. Not inline: the verifier would lose the loop's
 * bound. */
static __noinline bool choose_by_queue(struct sk_reuseport_md* ctx, const struct flow* flow,
                                       __u32 queue) {
  const struct feed_rule* rule = rule_of(flow, queue);

  return rule && choose(ctx, rule->reader);
}

SEC("sk_reuseport")
int fantail_reader(struct sk_reuseport_md* ctx) {
  struct flow flow = {};
  const __u32* queue;

  if (!read_flow(ctx, &flow)) return SK_PASS;
  queue = bpf_map_lookup_elem(&flows, &flow);
  if (queue && choose_by_queue(ctx, &flow, *queue)) return SK_PASS;
  /* runs for what passed alone */
  for (__u32 each = 0; each < FANTAIL_QUEUES_MAX; ++each)
    if (choose_by_queue(ctx, &flow, each)) break;
  return SK_PASS;
}

/* The cookie of the socket of the launcher that serves the feed on that queue; 0: nobody does. */
static __noinline __u64 cookie_by_queue(const struct flow* flow, __u32 queue) {
  const struct feed_rule* rule;
  const __u64* cookie;
  __u32 reader;

  /* a rule outlives a launcher that is killed, its socket does not */
  if (!bpf_map_lookup_elem(&xsks, &queue)) return 0;
  /* of a source that is not its own, its socket is no member */
  rule = rule_of(flow, queue);
  if (!rule) return 0;
  reader = rule->reader;
  cookie = bpf_map_lookup_elem(&cookies, &reader);
  return cookie ? *cookie : 0;
}

/* Another launcher's datagram: none of it is kept. */
static __noinline int decline(__u64 own) {
  const __u64 one = 1;
  __u64* count = bpf_map_lookup_elem(&declined, &own);

  if (count) __sync_fetch_and_add(count, 1);
  else bpf_map_update_elem(&declined, &own, &one, BPF_ANY);
  return 0;
}

/* Of the sockets of one launcher and feed only the slow path's has this filter. */
SEC("socket")
int fantail_member(struct __sk_buff* skb) {
  const __u64 own = bpf_get_socket_cookie(skb);
  struct flow flow = {};
  const __u32* queue;
  __u64 cookie;

  if (!read_flow(skb, &flow)) return WHOLE;
  queue = bpf_map_lookup_elem(&flows, &flow);
  if (queue) {
    cookie = cookie_by_queue(&flow, *queue);
    if (cookie) return cookie == own ? WHOLE : decline(own);
  }
  for (__u32 each = 0; each < FANTAIL_QUEUES_MAX; ++each) {
    cookie = cookie_by_queue(&flow, each);
    if (cookie) return cookie == own ? WHOLE : decline(own);
  }
  return WHOLE;
}
