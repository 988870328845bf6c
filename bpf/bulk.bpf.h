/* SPDX-License-Identifier: MIT-0 */
/*
 * Bulk transmit. A worker that has copies to send runs the XDP program itself, on frames that the
 * kernel makes for it (BPF_PROG_TEST_RUN with live frames, Documentation/bpf/bpf_prog_run.rst). For
 * each frame the program takes a copy from that worker's TX ring, stores it into the frame, and
 * redirects it to the device, which sends by ndo_xdp_xmit: no skb, and no softirq a frame.
 *
 *   bulk_transmit()     one frame: the next copy ──► frame ──► device
 *   xdp_devmap_xmit()   what the device made of some of them, in their order
 *   xdp_redirect_err()  the last one was not even given to the device
 *   page_pool_release() a page pool is to end, and does unless frames of it are still in flight
 *
 * What the program has taken is the truth of what was sent: the cursor is in the worker's map, and
 * the kernel finishes what a killed worker has begun. A copy that the device refuses is put on a
 * list, and nothing more is taken before the worker has begun another round (link/bulk_link.hpp).
 */
#pragma once

/* Frames of a test run come in on `lo`, which has this index in every namespace; real ones never.
 */
#define LOOPBACK_INDEX 1
/* A group of the kernel's (DEV_MAP_BULK_SIZE, 16), and those that come before it is given away. */
#define PENDING_MAX 32

struct bulk_page {
  __u8 bytes[FANTAIL_FRAME_SIZE];
};

/* Of one worker: struct bulk_link, its TX frames, and a place for each, where a short copy is. */
struct bulk_pages {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, FANTAIL_BULK_PAGES);
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(struct bulk_page));
};

/*
 * The pages of each worker, by the queue that it sends for. Written by the RX process that made
 * them, read by the programs.
 */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, FANTAIL_QUEUES_MAX);
  __type(key, __u32);
  __array(values, struct bulk_pages);
} bulks SEC(".maps");

/* The device, at 0. Written by RX. (A bare index would be one of the caller's namespace.) */
struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} device SEC(".maps");

/* The threads that make test runs, of all workers that have been. */
#define CALLERS_MAX 1024

/*
 * By bpf_get_current_pid_tgid(), the queue that it sends for. Written by xdp_devmap_xmit(), read by
 * page_pool_release(). Nobody takes one out: the number of one that has ended may be another
 * thread's, whose page pools are then the worker's if it destroys any that has frames in flight.
 */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, CALLERS_MAX);
  __type(key, __u64);
  __type(value, __u32);
} callers SEC(".maps");

/* Whose a page pool is; pools_of as in struct bulk_link. */
struct live_pool {
  __u64 pools_of;
  __u32 queue, pad; /* pad is zero */
};

/* By address, page pools that have outlived their call. Of page_pool_release() alone. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, FANTAIL_LIVE_POOLS_MAX);
  __type(key, __u64);
  __type(value, struct live_pool);
} live_pools SEC(".maps");

/* Copies that this CPU has redirected and that were not given to the device yet. */
struct pending {
  __u32 queue;
  __u32 first, end;         /* of those in `index`, which is a ring; both run free */
  __u32 index[PENDING_MAX]; /* on the TX ring */
  __u32 caller_queue;       /* of the caller */
  __u64 caller;             /* the last that is in `callers` by this CPU */
};

/* Read and written by the programs alone; empty between two batches of a test run. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct pending);
} pendings SEC(".maps");

static __always_inline struct pending* pending_here(void) {
  __u32 only = 0;

  return bpf_map_lookup_elem(&pendings, &only);
}

static __always_inline struct bulk_link* link_of(void* pages) {
  __u32 first = 0;

  return bpf_map_lookup_elem(pages, &first);
}

/* On the list of this round. */
static __always_inline void refuse(struct bulk_link* link, __u32 index) {
  struct bulk_list* list = link->round % 2 ? &link->lists[1] : &link->lists[0];
  __u32 at = list->count;

  if (at >= FANTAIL_BULK_REFUSED_MAX) return; /* a batch has no more frames */
  list->index[at] = index;
  list->count = at + 1;
}

/*
 * The next copy's index on the TX ring; negative: there is none. A worker with a pump changes round
 * and lists meanwhile, so each word is read once; and `taken` is stored before the cursor, so that
 * whoever sees a cursor at its end sees all that was taken (BulkLink::follow()).
 */
static __always_inline __s64 take(struct bulk_link* link) {
  const __u32 round = *(volatile __u32*)&link->round;
  struct bulk_list* refused = round % 2 ? &link->lists[1] : &link->lists[0];
  struct bulk_list* again = round % 2 ? &link->lists[0] : &link->lists[1];
  __u64 both;
  __u32 at;

  if (*(volatile __u32*)&refused->count != 0) return -1;
  if (round == 0) {
    at = link->cursor;
    if (at == *(volatile __u32*)&link->tx_producer) return -1;
    *(volatile __u32*)&link->taken = link->taken + 1;
    *(volatile __u32*)&link->cursor = at + 1;
    return at;
  }
  both = *(volatile __u64*)&again->count; /* and the cursor behind it */
  at = both >> 32;
  if (at >= (__u32)both || at >= FANTAIL_BULK_REFUSED_MAX) return -1;
  *(volatile __u32*)&link->taken = link->taken + 1;
  *(volatile __u32*)&again->cursor = at + 1;
  return again->index[at];
}

/*
 * The device has been given all that was taken, and what it refused is on the list: whoever sees
 * this word sees that.
 */
static __always_inline void settle(struct bulk_link* link) {
  const __u64 now = (__u64)link->taken << 32 | link->cursor;

  if (link->settled != now) __sync_lock_test_and_set(&link->settled, now);
}

static __always_inline struct soft_descriptor* descriptor_of(void* pages, __u32 index) {
  const __u32 in_page = FANTAIL_FRAME_SIZE / sizeof(struct soft_descriptor);
  const __u32 slot = index % FANTAIL_TX_FRAMES;
  __u32 page = __builtin_offsetof(struct bulk_link, tx) / FANTAIL_FRAME_SIZE + slot / in_page;
  struct soft_descriptor* first = bpf_map_lookup_elem(pages, &page);

  return first ? first + slot % in_page : 0;
}

/* Makes the frame the copy that the descriptor names. */
static __always_inline bool fill(struct xdp_md* ctx, void* pages, __u32 frame_first,
                                 const struct soft_descriptor* descriptor) {
  const __u32 short_in_page = FANTAIL_FRAME_SIZE / FANTAIL_BULK_SHORT_SIZE;
  const __u64 address = descriptor->addr;
  const __u32 length = descriptor->len, size = ctx->data_end - ctx->data;
  const __u32 frame = (__u32)(address / FANTAIL_FRAME_SIZE) - frame_first;
  const struct bulk_page* from;
  __u32 page = FANTAIL_BULK_FRAME_PAGE + frame, offset = address % FANTAIL_FRAME_SIZE;

  if (length < ETH_HLEN || length > FANTAIL_BULK_LENGTH_MAX) return false;
  if (length <= FANTAIL_BULK_SHORT_SIZE) {
    page = FANTAIL_BULK_SHORT_PAGE + frame / short_in_page;
    offset = frame % short_in_page * FANTAIL_BULK_SHORT_SIZE;
  } else if (offset > FANTAIL_BULK_OFFSET_MAX) {
    return false;
  }
  from = bpf_map_lookup_elem(pages, &page);
  if (!from) return false;
  if (size != length && bpf_xdp_adjust_tail(ctx, (int)length - (int)size)) return false;
  return bpf_xdp_store_bytes(ctx, 0, (void*)from->bytes + offset, length) == 0;
}

/* One frame of a test run, whose metadata is the queue of the worker that makes it. */
static __always_inline int bulk_transmit(struct xdp_md* ctx) {
  __u32* meta = (void*)(long)ctx->data_meta;
  struct pending* pending = pending_here();
  const struct soft_descriptor* descriptor;
  struct bulk_link* link;
  void* pages;
  __u32 queue;
  __s64 index;

  if ((void*)(meta + 1) > (void*)(long)ctx->data || !pending) return XDP_DROP;
  queue = *meta;
  pages = bpf_map_lookup_elem(&bulks, &queue);
  if (!pages) return XDP_DROP;
  link = link_of(pages);
  if (!link) return XDP_DROP;
  if (pending->end - pending->first >= PENDING_MAX)
    return XDP_DROP; /* the kernel gives them away sooner */
  if (pending->end == pending->first) settle(link);
  index = take(link);
  if (index < 0) return XDP_DROP;
  descriptor = descriptor_of(pages, (__u32)index);
  /* the device leaves its map when it is deleted, or moved to another namespace */
  if (!descriptor || !fill(ctx, pages, link->frame_first, descriptor) ||
      bpf_redirect_map(&device, 0, 0) != XDP_REDIRECT) {
    refuse(link, (__u32)index);
    return XDP_DROP;
  }
  pending->queue = queue;
  pending->index[pending->end++ % PENDING_MAX] = (__u32)index;
  return XDP_REDIRECT;
}

static __always_inline struct bulk_link* link_at(__u32 queue) {
  void* pages = bpf_map_lookup_elem(&bulks, &queue);

  return pages ? link_of(pages) : 0;
}

static __always_inline struct bulk_link* link_pending(const struct pending* pending) {
  return link_at(pending->queue);
}

static __always_inline void note_caller(struct pending* pending) {
  const __u64 caller = bpf_get_current_pid_tgid();
  const __u32 queue = pending->queue;

  if (pending->caller == caller && pending->caller_queue == queue) return;
  pending->caller = caller;
  pending->caller_queue = queue;
  bpf_map_update_elem(&callers, &caller, &queue, BPF_ANY);
}

/* The queue that the current thread sends for; null: it makes no test runs. */
static __always_inline const __u32* queue_of_caller(void) {
  const __u64 caller = bpf_get_current_pid_tgid();
  struct pending* pending = pending_here();

  if (pending && pending->caller == caller) return &pending->caller_queue;
  return bpf_map_lookup_elem(&callers, &caller);
}

/*
 * The kernel has given a group of frames to a device, which took the first `sent` of them. Between
 * a test run's first redirect and its flush nothing else on this CPU does that.
 */
SEC("raw_tp/xdp_devmap_xmit")
int xdp_devmap_xmit(struct bpf_raw_tracepoint_args* ctx) {
  struct pending* pending = pending_here();
  const __u32 sent = (__u32)ctx->args[2], given = sent + (__u32)ctx->args[3];
  struct bulk_link* link;
  __u32 i;

  if (!pending || pending->first == pending->end) return 0;
  note_caller(pending);
  link = link_pending(pending);
  for (i = 0; i < PENDING_MAX; i++)
    if (link && i >= sent && i < given)
      refuse(link, pending->index[(pending->first + i) % PENDING_MAX]);
  pending->first += given < pending->end - pending->first ? given : pending->end - pending->first;
  return 0;
}

/*
 * The frame that was redirected last: its link is down, it is too long, its driver has no XDP. (For
 * redirects by a map, too, since Linux 5.13.)
 */
SEC("raw_tp/xdp_redirect_err")
int xdp_redirect_err(void* ctx) {
  struct pending* pending = pending_here();
  struct bulk_link* link;

  if (!pending || pending->first == pending->end) return 0;
  link = link_pending(pending);
  if (link) refuse(link, pending->index[--pending->end % PENDING_MAX]);
  return 0;
}

/*
 * Somebody looks whether a page pool can end: whoever destroys it, at the end of a test run its
 * caller, and as long as frames of it are in flight a worker of the kernel, after a second and then
 * again and again.
 */
SEC("raw_tp/page_pool_release")
int page_pool_release(struct bpf_raw_tracepoint_args* ctx) {
  const __u64 pool = ctx->args[0];
  const __s32 in_flight = (__s32)ctx->args[1];
  const struct live_pool* known = bpf_map_lookup_elem(&live_pools, &pool);
  struct live_pool made = {};
  struct bulk_link* link;
  const __u32* queue;

  if (known) {
    if (in_flight != 0) return 0;
    made = *known;
    bpf_map_delete_elem(&live_pools, &pool);
    link = link_at(made.queue);
    if (link && link->pools_of == made.pools_of) __sync_fetch_and_add(&link->live_pools, -1);
    return 0;
  }
  if (in_flight <= 0) return 0;
  queue = queue_of_caller();
  link = queue ? link_at(*queue) : 0;
  if (!link) return 0;
  made.pools_of = link->pools_of;
  made.queue = *queue;
  if (bpf_map_update_elem(&live_pools, &pool, &made, BPF_NOEXIST) == 0)
    __sync_fetch_and_add(&link->live_pools, 1);
  return 0;
}
