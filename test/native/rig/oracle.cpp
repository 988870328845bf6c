// SPDX-License-Identifier: MIT-0
#include "rig/oracle.hpp"

#include <cstring>

namespace fantail::testing {

namespace {

u32 frame_of(u64 address) { return static_cast<u32>(address / FANTAIL_FRAME_SIZE); }

} // namespace

Census::Census(World& world) : world_(world), arena_(world.arena()) {
  const u32 frames = static_cast<u32>(arena_.header().umem_size / FANTAIL_FRAME_SIZE);
  places_.resize(frames);
  holders_.resize(frames);
  copies_.resize(FANTAIL_SUBSCRIBERS_MAX);
  count_kernel_rx();
  count_slow_path();
  count_forward_rings();
  for (u32 w = 0; w < arena_.header().workers; ++w) count_worker(w);
}

void Census::check_frames(u32 lost) const {
  u32 missing = 0;
  for (u32 frame = 0; frame < arena_.header().rx_frames; ++frame) {
    const u32 handed = peek(arena_.handed()[frame]);
    if (handed == 0 && holders_[frame] == 0 && places_[frame] == 0) ++missing;
    else if (holders_[frame] != handed || places_[frame] != (handed == 0 ? 1 : 0))
      say("RX frame", frame, handed);
  }
  if (missing != lost) fail(std::to_string(missing) + " RX frames are in no place");
  for (u32 w = 0; w < arena_.header().workers; ++w)
    for (u32 i = 0; i < FANTAIL_TX_FRAMES; ++i)
      if (places_[arena_.tx_frame_first(w) + i] != 1)
        say("TX frame", arena_.tx_frame_first(w) + i, 0);
}

void Census::check_accounts() const {
  for (u32 row = 0; row < FANTAIL_SUBSCRIBERS_MAX; ++row) {
    const counters& account = arena_.counters(row);
    if (account.epoch == 0) continue;
    expect_equal(copies_[row], in_flight_of(account), "frames with that row's tag");
  }
}

void Census::say(const char* kind, u32 frame, u32 handed) const {
  fail(std::string(kind) + " " + std::to_string(frame) + " is in " +
       std::to_string(places_[frame]) + " places, has " + std::to_string(holders_[frame]) +
       " holders and is handed to " + std::to_string(handed));
}

void Census::count_kernel_rx() {
  for (u32 q = 0; q < arena_.header().queues; ++q) {
    const KernelRing fill = world_.queue(q).fill_ring(), rx = world_.queue(q).rx_ring();
    for (u32 at = peek(*fill.consumer); at != peek(*fill.producer); ++at) {
      if (!arena_.ring_frames(q).contains(frame_of(fill.address(at))))
        fail("a frame is on another queue's fill ring");
      ++places_[frame_of(fill.address(at))];
    }
    for (u32 at = peek(*rx.consumer); at != peek(*rx.producer); ++at)
      ++places_[frame_of(rx.descriptor(at).addr)];
  }
}

void Census::count_slow_path() {
  const soft_link& link = arena_.soft(0);
  for (u32 at = link.fill_consumer; at != link.fill_producer; ++at) {
    if (!Arena::slow_frames().contains(frame_of(link.fill[at % FANTAIL_RX_FRAMES])))
      fail("a frame of a queue is on the slow path's fill ring");
    ++places_[frame_of(link.fill[at % FANTAIL_RX_FRAMES])];
  }
  for (u32 at = link.rx_consumer; at != link.rx_producer; ++at)
    ++places_[frame_of(link.rx[at % FANTAIL_RX_FRAMES].addr)];
}

void Census::count_forward_rings() {
  const u32 mask = arena_.header().ring_slots - 1;
  for (u32 r = 0; r < arena_.header().receivers; ++r)
    for (u32 w = 0; w < arena_.header().workers; ++w) {
      const ring_header& forward = world_.forward(r, w);
      const auto* slots = reinterpret_cast<const forward_slot*>(&forward + 1);
      for (u64 at = forward.head; at != forward.tail; ++at)
        ++holders_[frame_of(slots[at & mask].address)];
      const ring_header& giveback = world_.giveback(r, w);
      const auto* frames = reinterpret_cast<const u32*>(&giveback + 1);
      for (u64 at = giveback.head; at != giveback.tail; ++at) ++holders_[frames[at & mask]];
    }
}

void Census::count_worker(u32 w) {
  const KernelRing tx = world_.queue(w).tx_ring(), done = world_.queue(w).completion_ring();
  for (u32 at = peek(*tx.consumer); at != peek(*tx.producer); ++at)
    count_copy(w, tx.descriptor(at).addr);
  for (u32 i = 0; i < world_.tx[w].held(); ++i) count_copy(w, world_.tx[w].held_address(i));
  for (u32 at = peek(*done.consumer); at != peek(*done.producer); ++at)
    count_copy(w, done.address(at));
  const worker& self = arena_.worker(w);
  for (u64 at = self.free_head; at != self.free_tail; ++at)
    ++places_[arena_.free_frames(w)[at % FANTAIL_TX_FRAMES]];
  for (u64 at = self.hot_head; at != self.hot_tail; ++at)
    ++places_[arena_.free_frames(w)[FANTAIL_TX_FRAMES + at % FANTAIL_HOT_FRAMES]];
}

void Census::count_copy(u32 w, u64 address) {
  const u32 frame = frame_of(address);
  const bool received = frame < arena_.header().rx_frames;
  ++(received ? holders_ : places_)[frame];
  const tag& copy =
      received ? arena_.rx_tag()[frame] : arena_.tx_tag(w)[frame - arena_.tx_frame_first(w)];
  if (arena_.counters(copy.row).epoch == copy.epoch) ++copies_[copy.row];
}

Received read_datagrams(World& world, const subscriber& to, bool gaps_allowed) {
  Received got;
  got.first.assign(world.delivered.size(), never);
  got.end.assign(world.delivered.size(), never);
  const u32 from = FANTAIL_HEADER_SIZE - replaced_by(world.shape().rewrite) + 4 +
                   // where the sequence is in the UDP payload
                   (world.shape().rewrite == Rewrite::longer ? 4 : 0);
  for (const Bytes& datagram : world.tx[to.worker].sent()) {
    if (std::memcmp(&datagram[36], &to.port, sizeof to.port) != 0) continue;
    u64 sequence;
    u32 queue;
    std::memcpy(&sequence, &datagram[FANTAIL_HEADER_SIZE + from], sizeof sequence);
    std::memcpy(&queue, &datagram[FANTAIL_HEADER_SIZE + from + 8], sizeof queue);
    if (queue >= world.delivered.size() || sequence >= world.delivered[queue])
      fail("a datagram was never sent to us");
    if (datagram != world.expected(to, queue, sequence))
      fail("packet " + std::to_string(sequence) + " reached port " +
           std::to_string(ntohs(to.port)) + " changed");
    if (got.first[queue] == never) got.first[queue] = got.end[queue] = sequence;
    if (gaps_allowed ? sequence < got.end[queue] : sequence != got.end[queue])
      fail("port " + std::to_string(ntohs(to.port)) + " got packet " + std::to_string(sequence) +
           " where " + std::to_string(got.end[queue]) + " was next");
    got.end[queue] = sequence + 1;
    ++got.count;
    got.bytes += datagram.size();
  }
  return got;
}

void check_sums(World& world) {
  const Census census(world);
  census.check_frames();
  census.check_accounts();
  for (const FakeTx& link : world.tx)
    if (!link.complaint().empty()) fail(link.complaint());
}

void check_feed(World& world) {
  u64 received = 0, bytes = 0, packets = 0, payload = 0;
  for (u32 r = 0; r < world.arena().header().receivers; ++r) {
    const feed_counters& feed = world.arena().feed_counters(r, 0);
    received += feed.received;
    bytes += feed.bytes;
    for (const u64 invalid : feed.invalid) expect_equal(invalid, 0u, "invalid frames");
  }
  for (u32 q = 0; q < world.delivered.size(); ++q)
    for (u64 sequence = 0; sequence < world.delivered[q]; ++sequence, ++packets)
      payload += world.payload(q, sequence).size();
  expect_equal(received, packets, "feed received");
  const u64 slow = world.shape().slow ? world.delivered.back() : 0;
  expect_equal(world.arena().feed_counters(0, 0).slow_path, slow, "of these by the slow path");
  expect_equal(bytes, payload, "feed bytes");
}

void check_all_delivered(World& world) {
  check_sums(world);
  check_feed(world);
  u64 packets = 0;
  for (const u64 count : world.delivered) packets += count;
  for (u16 row = 0; row < world.shape().subscribers; ++row) {
    const subscriber& to = world.supervisor.record(row);
    const Received got = read_datagrams(world, to);
    for (u32 q = 0; q < world.delivered.size(); ++q)
      if (world.delivered[q] != 0 && (got.first[q] != 0 || got.end[q] != world.delivered[q]))
        fail("port " + std::to_string(ntohs(to.port)) + " missed packets of queue " +
             std::to_string(q));
    const counters& account = world.arena().counters(row);
    expect_equal(account.received, packets, "received");
    expect_equal(account.sent, packets, "sent");
    expect_equal(in_flight_of(account), 0u, "in flight");
    expect_equal(account.bytes, got.bytes, "bytes");
  }
}

void check_counted_once(World& world) {
  check_all_delivered(world);
  for (u32 w = 0; w < world.shape().workers; ++w) {
    u64 owed = 0;
    for (u16 row = 0; row < world.shape().subscribers; ++row)
      if (row % world.shape().workers == w) owed += world.arena().counters(row).received;
    expect_equal(jobs_counted(world.arena(), w), owed, "jobs that the filter's state has counted");
  }
}

} // namespace fantail::testing
