// SPDX-License-Identifier: MIT-0
#include "path/rx_stage.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "host/clock.hpp"
#include "link/frame.hpp"

namespace fantail {

namespace {

/// Frames taken back from one worker in one turn.
constexpr u32 reclaim_max = 1024;
/// Journal entries that a turn can need: one a frame taken or reclaimed (its `handed`), and
/// counters, cursors and kernel words once.
constexpr u32 turn_entries_max = (FANTAIL_QUEUES_MAX + 1) * (FANTAIL_BURST_MAX + 2) +
                                 FANTAIL_WORKERS_MAX * (reclaim_max + 3 + FANTAIL_FEEDS_MAX) +
                                 FANTAIL_FEEDS_MAX * (3 + INVALID_COUNT) + 16;
static_assert(turn_entries_max <= FANTAIL_JOURNAL_ENTRIES_MAX);

/// A look at the slow path is a system call: so often, and the clock is read once in so many turns,
/// or looks of who is idle.
constexpr u64 slow_pause_ns = 1'000'000;
constexpr u32 turns_a_slow_look = 16;

/// Per link, as the journal names them: RX consumer, fill producer.
std::vector<u32*> words_of(const std::vector<RxLink>& links) {
  std::vector<u32*> words;
  for (const RxLink& link : links) {
    words.push_back(link.rx.consumer);
    words.push_back(link.fill.producer);
  }
  return words;
}

} // namespace

RxStage::RxStage(Arena& arena, u32 receiver, std::vector<RxLink> links, std::vector<int> wake_fds)
    : arena_(arena), self_(arena.receiver(receiver)), index_(receiver),
      workers_(arena.header().workers), links_(std::move(links)), wake_fds_(std::move(wake_fds)),
      journal_(arena.base(), arena.header().size, self_.journal, arena.journal(receiver),
               words_of(links_)),
      handed_(arena.header().rx_frames), wanted_(workers_),
      backlog_max_(u64{FANTAIL_BACKLOG_MAX} * std::ranges::count(links_, false, &RxLink::is_slow)),
      wakes_others_(
          std::any_of(wake_fds_.begin(), wake_fds_.end(), [](int fd) { return fd >= 0; })),
      fill_sleeps_(arena.header().mode == MODE_ZEROCOPY),
      has_slow_(!links_.empty() && links_.back().is_slow) {
  journal_.recover();
  for (u32 w = 0; w < workers_; ++w) {
    forward_.push_back(arena_.forward_producer(index_, w));
    giveback_.push_back(arena_.giveback_consumer(index_, w));
  }
  for (const RxLink& link : links_) {
    rx_consumer_.push_back(peek(*link.rx.consumer));
    fill_producer_.push_back(peek(*link.fill.producer));
  }
  for (u32 f = 0; f < handed_.size(); ++f) handed_[f] = static_cast<u8>(peek(arena_.handed()[f]));
  std::memcpy(&mirror_, &self_, sizeof mirror_);
  for (u32 f = 0; f < FANTAIL_FEEDS_MAX; ++f) counters_.push_back(arena_.feed_counters(index_, f));
  put(self_.asleep, 0u);
  put(self_.pid, static_cast<u32>(getpid()));
  adopt_table();
  wake(); // our predecessor may have died between its commit and its wake-up
}

u32 RxStage::turn() {
  adopt_table();
  u32 moved = reclaim();
  const std::size_t queues = links_.size() - has_slow_;
  for (std::size_t i = 0; i < queues; ++i) moved += receive(links_[i]);
  finish(moved);
  // after what AF_XDP brought has gone on: the look is a system call
  if (has_slow_ && is_slow_due()) {
    const u32 taken = receive(links_.back());
    finish(taken);
    // at once only while it fills whole bursts
    slow_is_due_ = taken == FANTAIL_BURST_MAX;
    slow_due_ns_ = clock_ns() + slow_pause_ns;
    moved += taken;
  }
  // In copy mode the kernel takes from the fill ring when a frame comes; a look would fetch the
  // line it has written to.
  for (RxLink& link : links_)
    if (fill_sleeps_ && link.xsk_fd >= 0 && link.fill.needs_wakeup())
      recvfrom(link.xsk_fd, nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
  return moved;
}

void RxStage::finish(u32 moved) {
  if (moved == 0) return;
  commit();
  wake();
}

/// Reads the table's generation once a turn. From here on every frame follows the new one, so it is
/// done with the old.
void RxStage::adopt_table() {
  const u64 generation = acquire(arena_.control().generation);
  if (generation == generation_ && peek(self_.generation_done) == generation) return;
  const table& now = arena_.table(generation);
  for (u32 w = 0; w < workers_; ++w) wanted_[w] = peek(now.wanted[w]);
  feeds_.follow(now);
  for (const RxLink& link : links_)
    if (link.soft != nullptr) link.soft->follow(now);
  generation_ = generation;
  publish(self_.generation_done, generation);
}

/// Frames that workers have finished with go to the fill ring of their queue once nobody holds
/// them.
u32 RxStage::reclaim() {
  u32 moved = 0;
  for (Consumer<u32>& from : giveback_) {
    const u32 count = std::min(from.available(), reclaim_max);
    for (u32 i = 0; i < count; ++i) {
      const u32 frame = peek(from.take());
      // no worker may give what it was not handed
      if (frame >= handed_.size() || handed_[frame] == 0) continue;
      set_handed(frame, handed_[frame] - 1u);
      if (handed_[frame] == 0) give_to_kernel(frame);
    }
    moved += count;
  }
  return moved;
}

bool RxStage::is_slow_due() const {
  if (!slow_is_due_ && ++slow_turns_ % turns_a_slow_look == 0)
    slow_is_due_ = clock_ns() >= slow_due_ns_;
  return slow_is_due_;
}

u32 RxStage::receive(RxLink& link) {
  if (link.soft != nullptr) link.soft->receive();
  u32& consumer = rx_consumer_[static_cast<std::size_t>(&link - links_.data())];
  // written by the same core as the producer: fetched beside it
  __builtin_prefetch(&link.rx.descriptor(consumer));
  const u32 count = std::min(acquire(*link.rx.producer) - consumer, FANTAIL_BURST_MAX);
  if (count == 0) return 0;
  prefetch(link, consumer, count);
  const u64 stamp_ns = clock_ns();
  for (u32 i = 0; i < count; ++i) {
    const xdp_desc& shared = link.rx.descriptor(consumer++);
    // once: in socket mode, and of the slow path, the ring is in the arena
    const xdp_desc descriptor{peek(shared.addr), peek(shared.len), 0};
    const Judged judged = judge(descriptor, link);
    const u32 frame = static_cast<u32>(descriptor.addr / FANTAIL_FRAME_SIZE);
    feed_counters& counters = ahead(judged.feed);
    if (link.is_slow) ++counters.slow_path;
    if (judged.why != INVALID_COUNT) {
      ++counters.invalid[judged.why];
      // a frame that is not ours to give stays out
      if (judged.why != INVALID_DESCRIPTOR) give_to_kernel(frame);
      continue;
    }
    ++counters.received;
    counters.bytes += judged.length - FANTAIL_HEADER_SIZE;
    const u32 holders = hand_over(static_cast<u32>(descriptor.addr), judged, stamp_ns);
    if (holders == 0) give_to_kernel(frame);
    else set_handed(frame, holders);
  }
  return count;
}

/// Another core wrote the packets, and each is on a page of its own: the cache misses and TLB
/// misses of a burst overlap.
void RxStage::prefetch(const RxLink& link, u32 consumer, u32 count) const {
  for (u32 i = 0; i < count; ++i) {
    const u64 packet = link.rx.descriptor(consumer + i).addr;
    __builtin_prefetch(arena_.umem() + packet);
    if (window_ != nullptr) __builtin_prefetch(window_ + packet);
  }
}

RxStage::Judged RxStage::judge(const xdp_desc& descriptor, const RxLink& link) const {
  const u64 in_frame = descriptor.addr % FANTAIL_FRAME_SIZE;
  if (!link.frames.contains(descriptor.addr / FANTAIL_FRAME_SIZE) ||
      in_frame + descriptor.len > FANTAIL_FRAME_SIZE ||
      handed_[descriptor.addr / FANTAIL_FRAME_SIZE] != 0)
    return {.why = INVALID_DESCRIPTOR};
  if (descriptor.len < FANTAIL_HEADER_SIZE) return {.why = INVALID_IP_LENGTH};

  using namespace frame;
  const u8* bytes = reinterpret_cast<const u8*>(arena_.umem() + descriptor.addr);
  u32 source_ip, target_ip;
  u16 target_port;
  std::memcpy(&source_ip, bytes + ip_source, sizeof source_ip);
  std::memcpy(&target_ip, bytes + ip_target, sizeof target_ip);
  std::memcpy(&target_port, bytes + udp_target, sizeof target_port);
  const bool is_fragment = ((bytes[ip_fragment] & 0x3f) | bytes[ip_fragment + 1]) != 0;
  const u32 feed = feeds_.find(target_ip, target_port, source_ip);
  if (!is_plain_udp(bytes) || is_fragment || feed == FeedIndex::none) return {.why = INVALID_FEED};
  Judged judged{.feed = feed};
  judged.why = judge_lengths(bytes, descriptor.len, link, judged.length);
  return judged;
}

/// Of a frame of `size` bytes that is of a feed: lengths, then checksums, which they cover.
u32 RxStage::judge_lengths(const u8* bytes, u32 size, const RxLink& link, u32& length) const {
  using namespace frame;
  const u32 packet_length = load16(bytes + ip_length);
  // whole, a soft link says, but longer than the frame that it was to be in
  if (link.soft != nullptr && packet_length + ethernet_size > size) return INVALID_TOO_LONG;
  if (packet_length < ipv4_size + udp_size || packet_length + ethernet_size > size)
    return INVALID_IP_LENGTH;
  if (load16(bytes + udp_length) != packet_length - ipv4_size) return INVALID_UDP_LENGTH;
  if (sum16(bytes + ip, ipv4_size) != 0xffff) return INVALID_CHECKSUM;
  if (!is_udp_checksum_good(bytes)) return INVALID_UDP_CHECKSUM;
  length = packet_length + ethernet_size; // short frames are padded on the wire
  return INVALID_COUNT;
}

/// The counters of a feed, which are about to change.
feed_counters& RxStage::ahead(u32 feed) {
  touched_ |= u64{1} << feed;
  return counters_[feed];
}

/// Pushes the frame to every worker that has a subscriber of its feed and room in its backlog;
/// returns how many. Each is told that number: a worker that alone holds a frame may send the frame
/// itself.
u32 RxStage::hand_over(u32 address, const Judged& frame, u64 stamp_ns) {
  u32 takers[FANTAIL_WORKERS_MAX];
  u32 holders = 0;
  for (u32 w = 0; w < workers_; ++w) {
    if ((wanted_[w] >> frame.feed & 1) == 0) continue;
    if (forward_[w].tail() - giveback_[w].head() < backlog_max_) {
      takers[holders++] = w;
    } else { // the worker charges it to its subscribers
      ++mirror_.backlog[w];
      ++mirror_.feed_backlog[w][frame.feed];
    }
  }
  for (u32 i = 0; i < holders; ++i) {
    forward_slot& next = forward_[takers[i]].next();
    put(next.address, address);
    put(next.length, static_cast<u16>(frame.length));
    put(next.holders, static_cast<u8>(holders));
    put(next.feed, static_cast<u8>(frame.feed));
    put(next.stamp_ns, stamp_ns);
  }
  return holders;
}

void RxStage::give_to_kernel(u32 frame) {
  for (std::size_t i = 0; i < links_.size(); ++i)
    if (links_[i].frames.contains(frame)) {
      put(links_[i].fill.address(fill_producer_[i]++), u64{frame} * FANTAIL_FRAME_SIZE);
      return;
    }
}

void RxStage::set_handed(u32 frame, u32 count) {
  handed_[frame] = static_cast<u8>(count);
  journal_.set(arena_.handed()[frame], count);
}

/// All of a turn at once: holders first, so that a worker that sees the tail sees them too.
void RxStage::commit() {
  for (u64 left = touched_; left != 0; left &= left - 1)
    commit_feed(static_cast<u32>(std::countr_zero(left)));
  for (u32 w = 0; w < workers_; ++w) {
    if (mirror_.backlog[w] != self_.backlog[w]) commit_backlog(w);
    if (giveback_[w].moved()) giveback_[w].commit_to(journal_);
    if (forward_[w].moved()) forward_[w].commit_to(journal_);
  }
  touched_ = 0;
  for (u32 i = 0; i < links_.size(); ++i) {
    if (rx_consumer_[i] != peek(*links_[i].rx.consumer))
      journal_.set_kernel(2 * i, rx_consumer_[i]);
    if (fill_producer_[i] != peek(*links_[i].fill.producer))
      journal_.set_kernel(2 * i + 1, fill_producer_[i]);
  }
  journal_.commit();
}

void RxStage::commit_feed(u32 feed) {
  const feed_counters& ahead = counters_[feed];
  feed_counters& committed = arena_.feed_counters(index_, feed);
  if (ahead.received != committed.received) {
    journal_.set(committed.received, ahead.received);
    journal_.set(committed.bytes, ahead.bytes);
  }
  if (ahead.slow_path != committed.slow_path) journal_.set(committed.slow_path, ahead.slow_path);
  for (u32 i = 0; i < INVALID_COUNT; ++i)
    if (ahead.invalid[i] != committed.invalid[i])
      journal_.set(committed.invalid[i], ahead.invalid[i]);
}

/// The sum behind what it is of: whoever sees it sees that.
void RxStage::commit_backlog(u32 worker) {
  for (u64 left = touched_; left != 0; left &= left - 1) {
    const int feed = std::countr_zero(left);
    const u64 ahead = mirror_.feed_backlog[worker][feed];
    u64& committed = self_.feed_backlog[worker][feed];
    if (ahead != committed) journal_.set(committed, ahead);
  }
  journal_.set(self_.backlog[worker], mirror_.backlog[worker]);
}

/// Pairs with the worker's asleep, fence, look again: one of the two sees the other. It is left out
/// where the only worker is this very process.
void RxStage::wake() {
  if (!wakes_others_) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (u32 w = 0; w < workers_; ++w) {
    if (wake_fds_[w] < 0 || peek(arena_.worker(w).asleep) == 0) continue;
    const u64 one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_fds_[w], &one, sizeof one);
  }
}

bool RxStage::was_idle() const {
  if (has_slow_ && is_slow_due()) return false;
  for (std::size_t i = 0; i < links_.size(); ++i)
    if (acquire(*links_[i].rx.producer) != rx_consumer_[i]) return false;
  for (const Consumer<u32>& from : giveback_)
    if (!from.was_empty()) return false;
  return acquire(arena_.control().generation) == generation_;
}

bool RxStage::awaits_frames() const {
  for (u32 w = 0; w < workers_; ++w)
    if (forward_[w].tail() != giveback_[w].head()) return true;
  return false;
}

} // namespace fantail
