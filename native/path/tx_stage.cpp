// SPDX-License-Identifier: MIT-0
#include "path/tx_stage.hpp"

#include <netinet/ip.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "host/clock.hpp"
#include "shm/histogram.hpp"

namespace fantail {

namespace {

// how long a full TX ring is retried before copies drop as tx_full
constexpr u64 retry_ns = 1'000'000;
// sendto calls of one kick(); each takes at least 32 descriptors or fails
constexpr u32 kicks_max = 1024;
constexpr u32 useless_kicks_max = 8; // of those, in a row without progress
constexpr u32 ethernet_size = 14;
constexpr u32 outcome_sent = 0xff;
constexpr u64 realtime_ns_max = 10'000'000; // a step of CLOCK_REALTIME is seen after this
constexpr u64 no_undo = ~u64{0};

/// Bits of changes_: which words of an account differ from the committed row.
constexpr u32 change_received = 1, change_in_flight = 2, change_sent = 4, change_drop = 8;
static_assert(DROP_COUNT <= 28);

/// What one commit can need: four words a row and one for each drop (a job, a backlog charge or a
/// completion each).
static_assert(4 * FANTAIL_SUBSCRIBERS_MAX + 3 * FANTAIL_JOBS_MAX + FANTAIL_BURST_MAX + 256 <=
              FANTAIL_JOURNAL_ENTRIES_MAX);

/// The start of a frame as every kernel can send it through a UDP socket: Ethernet, plain IPv4,
/// UDP.
bool is_plain_udp(const u8* header) {
  return header[12] == 0x08 && header[13] == 0x00 && header[14] == 0x45 &&
         header[23] == IPPROTO_UDP;
}

/// Where in its frame a copy starts, bytes: if all of them started at one, they would share a few
/// sets of each cache.
u32 colour_of(u32 frame, u32 length) {
  constexpr u32 line = 64, colours = 8, step = 7 * line;
  return std::min(frame % colours * step, (FANTAIL_FRAME_SIZE - length) / line * line);
}

} // namespace

TxStage::TxStage(Arena& arena, u32 worker, TxLink link, std::vector<int> kernel_sockets)
    : arena_(arena), self_(arena.worker(worker)), index_(worker), link_(link),
      kernel_sockets_(std::move(kernel_sockets)),
      kernel_words_{link.tx.producer, link.completion.consumer},
      journal_(arena.base(), self_.journal, arena.journal(arena.header().receivers + worker),
               kernel_words_),
      jobs_(arena.jobs(worker)), slots_(arena.slots(worker)),
      checksum_full_(arena.header().checksum_full != 0),
      length_max_(std::min(arena.header().mtu + ethernet_size, FANTAIL_FRAME_SIZE)),
      rotate_(arena.header().order == ORDER_ROTATE), account_(FANTAIL_SUBSCRIBERS_MAX),
      changes_(FANTAIL_SUBSCRIBERS_MAX) {
  journal_.recover();
  recover_states();
  std::fill(std::begin(block_), std::end(block_), no_block);
  if (link_.soft != nullptr) link_.soft->recover();
  for (u32 r = 0; r < arena_.header().receivers; ++r) {
    forward_.push_back(arena_.forward_consumer(r, index_));
    giveback_.push_back(arena_.giveback_producer(r, index_));
    backlog_seen_.push_back(peek(self_.backlog_seen[r]));
  }
  submitted_ = peek(*link_.tx.producer);
  completed_ = peek(*link_.completion.consumer);
  free_ = FreeFrames(arena_, index_);
  packets_ = peek(self_.packets);
  in_place_ = peek(self_.in_place);
  kernel_pending_ = peek(self_.kernel_pending);
  std::memcpy(account_.data(), &arena_.counters(0), FANTAIL_SUBSCRIBERS_MAX * sizeof(counters));
  asked_.reserve(FANTAIL_JOBS_MAX);
  burst_.reserve(FANTAIL_BURST_MAX);
  changed_.reserve(FANTAIL_SUBSCRIBERS_MAX);
  rows_.reserve(FANTAIL_SUBSCRIBERS_MAX);
  groups_.reserve(FANTAIL_FILTERS_MAX);
  kernel_copies_.reserve(FANTAIL_KERNEL_COPIES_MAX);
  recover_kernel_copies();
  put(self_.asleep, 0u);
  put(self_.calling, 0u);
  // whoever sees it sees that no filter is being called
  publish(self_.pid, static_cast<u32>(getpid()));
  put(self_.starts, peek(self_.starts) + 1);
  // frames refused while nobody ran are owed to those that our predecessor served
  follow(peek(self_.generation_done));
  adopt_table();
}

u32 TxStage::gather() {
  asked_.clear();
  burst_.clear();
  resume_ = 0;
  reap();
  if (acquire(arena_.control().generation) != generation_) adopt_table();
  charge_backlog();
  laps_.lap(STAGE_REAP);
  if (take_packets() == 0) {
    commit();
    return 0;
  }
  for (const Group& group : groups_) next_job_[group.slot] = packets() * group.first;
  for (u32 p = 0; p < packets(); ++p) ask(p);
  laps_.lap(STAGE_GATHER);
  if (asked_.empty()) finish();
  else begin_calls();
  return jobs();
}

/// Says whom to call for which jobs, and keeps what a filter's state was until then.
void TxStage::begin_calls() {
  for (u32 call = 0; call < calls(); ++call) {
    const Group& group = groups_[call];
    calls_->slot[call] = group.slot;
    calls_->first[call] = packets() * group.first;
    calls_->count[call] = packets() * group.count;
    if (block_[group.slot] != no_block) keep_state(block_[group.slot]);
  }
  calls_->timed = laps_.is_timed();
  if (calls_->timed != 0) call_began_ns_ = clock_ns();
}

void TxStage::called(u32 call) {
  const u64 now = clock_ns();
  filter_slot& self = arena_.filter(index_, calls_->slot[call]);
  add(self.timed_jobs, calls_->count[call]);
  add(self.timed_ns, now - call_began_ns_);
  call_began_ns_ = now;
}

void TxStage::finish() {
  laps_.lap(STAGE_FILTER);
  room_ = room();
  for (u32 i = 0; i < asked_.size(); ++i) answer(i);
  for (const Packet& packet : burst_)
    if (!packet.kept) give_back(packet.address / FANTAIL_FRAME_SIZE);
  packets_ += burst_.size();
  laps_.lap(STAGE_WRITE);
  const bool submitted = submitted_ != peek(*link_.tx.producer);
  commit();
  laps_.lap(STAGE_COMMIT);
  const u64 committed_ns = clock_ns();
  if (submitted) kick();
  send_kernel_copies();
  laps_.lap(STAGE_KICK);
  // Statistics are for afterwards: what is sent does not wait for them.
  if (submitted) note_inside(committed_ns);
  if (!asked_.empty()) note_answers();
  if (laps_.end()) note_laps();
  add(self_.bursts, 1);
}

// -- the table and the accounts -------------------------------------------------------------------

/// Follows the newest table. Frames refused so far are charged to the old one first.
void TxStage::adopt_table() {
  charge_backlog();
  const u64 generation = acquire(arena_.control().generation);
  follow(generation);
  commit();
  publish(self_.generation_done, generation);
}

/// Serves the rows that a table lists for this worker; those that are new in it count from zero.
void TxStage::follow(u64 generation) {
  generation_ = generation;
  table_ = &arena_.table(generation);
  const u16* list = table_->list + std::size_t{index_} * FANTAIL_SUBSCRIBERS_MAX;
  const u32 count = std::min(peek(table_->count[index_]), FANTAIL_SUBSCRIBERS_MAX);
  rows_.clear();
  for (u32 i = 0; i < count; ++i) {
    const u16 row = peek(list[i]);
    if (row >= FANTAIL_SUBSCRIBERS_MAX) continue;
    const subscriber& record = reinterpret_cast<const subscriber*>(table_->rows)[row];
    if (record.epoch != account_[row].epoch) restart_account(row, record.epoch);
    rows_.push_back({row, record.state, static_cast<u8>(record.filter % FANTAIL_FILTERS_MAX)});
  }
  group_rows();
}

/// Every packet of a burst has the same jobs, since rows do not change within a table: so each
/// filter's share is known.
void TxStage::group_rows() {
  u32 count[FANTAIL_FILTERS_MAX] = {};
  for (const Served& served : rows_)
    if (served.state == SUBSCRIBER_STATE_LIVE || served.state == SUBSCRIBER_STATE_KERNEL)
      ++count[served.slot];
  groups_.clear();
  u32 first = 0;
  for (u32 slot = 0; slot < FANTAIL_FILTERS_MAX; ++slot) {
    if (count[slot] != 0) groups_.push_back({slot, first, count[slot]});
    first += count[slot];
  }
}

/// A row that serves a new subscriber counts from zero. Its predecessor has nothing in flight: the
/// supervisor saw to it.
void TxStage::restart_account(u16 row, u64 epoch) {
  commit();
  account_[row] = counters{};
  account_[row].epoch = epoch;
  u64* words = reinterpret_cast<u64*>(&arena_.counters(row));
  for (u32 word = 1; word < sizeof(counters) / sizeof(u64); ++word)
    journal_.set(words[word], u64{0});
  journal_.set(words[0], epoch);
  journal_.commit();
}

/// Frames that a receiver could not hand over were owed to each subscriber here.
void TxStage::charge_backlog() {
  for (u32 r = 0; r < backlog_seen_.size(); ++r) {
    const u64 refused = acquire(arena_.receiver(r).backlog[index_]);
    const u64 count = refused - backlog_seen_[r];
    if (count == 0) continue;
    backlog_seen_[r] = refused;
    for (const Served& served : rows_) {
      account_[served.row].received += count;
      mark(served.row, change_received);
      drop(served.row, DROP_BACKLOG, count);
    }
  }
}

void TxStage::mark(u16 row, u32 change) {
  if (changes_[row] == 0) changed_.push_back(row);
  changes_[row] |= change;
}

void TxStage::drop(u16 row, u32 why, u64 count) {
  account_[row].drop[why] += count;
  mark(row, change_drop << why);
}

// -- completions ----------------------------------------------------------------------------------

void TxStage::reap_only() {
  reap();
  commit();
}

u32 TxStage::reap() {
  const u32 count = std::min(acquire(*link_.completion.producer) - completed_, FANTAIL_TX_FRAMES);
  for (u32 i = 0; i < count; ++i) complete(link_.completion.address(completed_++));
  return count;
}

/// Ends one copy: sent, or the drop that it was marked with; its frame goes home.
void TxStage::complete(u64 entry) {
  const u64 address = entry & ((1ull << outcome_shift) - 1);
  const u32 frame = static_cast<u32>(address / FANTAIL_FRAME_SIZE);
  const tag* copy = tag_of(frame);
  if (copy == nullptr) return; // an address that we never submitted
  const u32 outcome = static_cast<u32>(entry >> outcome_shift) | copy->outcome;
  if (frame < arena_.header().rx_frames) give_back(frame);
  else free_.put_back(frame);

  counters& account = account_[copy->row];
  if (copy->epoch != account.epoch) return;
  --account.in_flight;
  if (outcome == 0) {
    ++account.sent;
    account.bytes += copy->bytes;
    mark(copy->row, change_in_flight | change_sent);
  } else {
    mark(copy->row, change_in_flight);
    drop(copy->row, std::min(outcome - 1, u32{DROP_COUNT} - 1));
  }
}

tag* TxStage::tag_of(u32 frame) const {
  if (frame < arena_.header().rx_frames) return arena_.rx_tag() + frame;
  const u32 index = frame - arena_.tx_frame_first(index_);
  return index < FANTAIL_TX_FRAMES ? arena_.tx_tag(index_) + index : nullptr;
}

void TxStage::give_back(u32 frame) { put(giveback_[arena_.receiver_of(frame)].next(), frame); }

// -- from rings to jobs ---------------------------------------------------------------------------

/// Copies that can be submitted now.
u32 TxStage::room() const {
  const u32 ring = FANTAIL_TX_FRAMES - (submitted_ - acquire(*link_.tx.consumer));
  return std::min(ring, free_.room());
}

/// Waits at most 1 ms for room for one packet to all subscribers; what does not fit then drops as
/// tx_full.
void TxStage::make_room() {
  const u32 wanted = static_cast<u32>(rows_.size());
  if (room() >= wanted) return;
  const u64 deadline = clock_ns() + retry_ns;
  do {
    commit();
    kick();
    reap();
    commit();
  } while (room() < wanted && clock_ns() < deadline);
}

u32 TxStage::take_packets() {
  u32 wanted = FANTAIL_BURST_MAX;
  const u32 subscribers = static_cast<u32>(rows_.size());
  const u32 receivers = static_cast<u32>(forward_.size());
  for (u32 i = 0; i < receivers && burst_.size() < wanted; ++i) {
    Consumer<forward_slot>& from =
        forward_[next_receiver_ + i < receivers ? next_receiver_ + i
                                                : next_receiver_ + i - receivers];
    u32 count = from.available();
    if (count == 0) continue;
    if (burst_.empty() && subscribers != 0) {
      make_room();
      wanted = std::clamp(std::min(FANTAIL_JOBS_AIM, room()) / subscribers, 1u, FANTAIL_BURST_MAX);
    }
    for (; count != 0 && burst_.size() < wanted; --count) {
      const forward_slot& slot = from.take();
      const u32 frame = slot.address / FANTAIL_FRAME_SIZE;
      if (frame >= arena_.header().rx_frames ||
          slot.address % FANTAIL_FRAME_SIZE + slot.length > FANTAIL_FRAME_SIZE)
        // no receiver of ours writes that; a frame that does not exist cannot be given back
        continue;
      const bool alone = subscribers == 1 && peek(arena_.handed()[frame]) == 1;
      burst_.push_back({slot.address, slot.length, slot.stamp_ns, alone, false});
    }
  }
  next_receiver_ = next_receiver_ + 1 < receivers ? next_receiver_ + 1 : 0;
  return packets();
}

/// Owes the packet to every subscriber, starting with the next in turn, and writes the jobs for
/// those that it can reach.
void TxStage::ask(u32 index) {
  const Packet& packet = burst_[index];
  const u32 count = static_cast<u32>(rows_.size());
  if (count == 0) return;
  const u32 sum = checksum_full_ ? payload_sum(packet) : FANTAIL_VERDICT_UNSET;
  const u32 records =
      static_cast<u32>(FANTAIL_WINDOW_SUBSCRIBERS + (generation_ & 1) * sizeof(table) +
                       __builtin_offsetof(table, rows));
  const u64 receive_ns = packet.stamp_ns + realtime_offset(packet.stamp_ns);
  if (rotation_ >= count) rotation_ = 0;
  u32 turn = rotate_ ? rotation_++ : 0;
  for (u32 i = 0; i < count; ++i, turn = turn + 1 == count ? 0 : turn + 1) {
    const auto [row, state, filter] = rows_[turn];
    if (state == SUBSCRIBER_STATE_PAUSED) continue; // owed nothing
    ++account_[row].received;
    mark(row, change_received);
    if (state != SUBSCRIBER_STATE_LIVE && state != SUBSCRIBER_STATE_KERNEL) {
      drop(row, state == SUBSCRIBER_STATE_NO_ROUTE ? DROP_NO_ROUTE : DROP_NO_NEIGHBOUR);
      continue;
    }
    const u32 place = next_job_[filter]++;
    job& next = jobs_[place];
    next.packet = FANTAIL_WINDOW_FRAMES + packet.address;
    next.length = packet.length;
    next.slot = FANTAIL_WINDOW_SLOTS + place * FANTAIL_SLOT_SIZE;
    next.subscriber = records + row * FANTAIL_SUBSCRIBER_SIZE;
    next.verdict = FANTAIL_VERDICT_UNSET;
    next.payload_sum = sum;
    next.receive_ns = receive_ns;
    asked_.push_back({index, place, row, filter});
  }
}

/// What to add to a time of CLOCK_MONOTONIC: read again when the last reading is old.
u64 TxStage::realtime_offset(u64 now_ns) {
  if (now_ns - realtime_read_ns_ > realtime_ns_max) {
    realtime_offset_ns_ = realtime_ns() - clock_ns();
    realtime_read_ns_ = now_ns;
  }
  return realtime_offset_ns_;
}

/// RFC 1071 sum of the UDP payload, once per packet; each subscriber's pseudo header is added by
/// the filter.
u32 TxStage::payload_sum(const Packet& packet) const {
  const u8* byte = reinterpret_cast<const u8*>(arena_.umem() + packet.address);
  u64 sum = 0;
  u32 at = FANTAIL_HEADER_SIZE;
  for (; at + 1 < packet.length; at += 2) sum += static_cast<u32>(byte[at] << 8 | byte[at + 1]);
  if (at < packet.length) sum += static_cast<u32>(byte[at] << 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<u32>(sum);
}

// -- from answers to frames -----------------------------------------------------------------------

void TxStage::answer(u32 index) {
  const Asked& asked = asked_[index];
  const job answer = jobs_[asked.job];
  const Packet& packet = burst_[asked.packet];
  Tally& tally = tally_[asked.slot];
  const u32 why = refusal(answer, packet, tally);
  if (why != DROP_COUNT) return drop(asked.row, why);
  ++tally.sent;
  const subscriber& record = reinterpret_cast<const subscriber*>(table_->rows)[asked.row];
  if (record.state == SUBSCRIBER_STATE_KERNEL) return keep_for_kernel(asked, answer);
  if (room_ == 0) return drop(asked.row, DROP_TX_FULL);
  --room_;
  if (!send_in_place(asked, answer)) send_copy(asked, answer);
}

/// Why an answer cannot be followed, or DROP_COUNT if it can. Nothing of it is believed before
/// this.
u32 TxStage::refusal(const job& answer, const Packet& packet, Tally& tally) const {
  if (answer.verdict == FANTAIL_VERDICT_UNSET) return DROP_FILTER_TRAP;
  if (answer.verdict == FILTER_VERDICT_DROP_COPY) {
    ++tally.dropped;
    return DROP_FILTER_DROP;
  }
  const u32 length = answer.header_length + packet.length - answer.replaced;
  if (answer.verdict != FILTER_VERDICT_SEND || answer.replaced > packet.length ||
      u32{answer.header_start} + answer.header_length > FANTAIL_SLOT_SIZE ||
      length < ethernet_size) {
    ++tally.bad_answers;
    return DROP_FILTER_BAD_ANSWER;
  }
  if (length <= length_max_) return DROP_COUNT;
  if (packet.length <= length_max_) ++tally.too_big;
  return DROP_TOO_BIG;
}

/// Statistics only, so outside the commit: what each filter has answered.
void TxStage::note_answers() {
  for (const Group& group : groups_) {
    filter_slot& self = arena_.filter(index_, group.slot);
    Tally& tally = tally_[group.slot];
    add(self.calls, 1);
    add(self.jobs, packets() * group.count);
    add(self.sent, tally.sent);
    add(self.dropped, tally.dropped);
    add(self.bad_answers, tally.bad_answers);
    add(self.too_big, tally.too_big);
    tally = {};
  }
}

/// The received frame itself, when nobody else needs it: only its header is written, by the commit,
/// from the slot.
bool TxStage::send_in_place(const Asked& asked, const job& answer) {
  Packet& packet = burst_[asked.packet];
  const u32 frame = packet.address / FANTAIL_FRAME_SIZE;
  if (!packet.alone || packet.address % FANTAIL_FRAME_SIZE + answer.replaced < answer.header_length)
    return false;
  const u32 start = packet.address + answer.replaced - answer.header_length;
  const char* header = slots_ + std::size_t{asked.job} * FANTAIL_SLOT_SIZE + answer.header_start;
  if (answer.header_length != 0) journal_.copy(arena_.umem() + start, header, answer.header_length);
  submit(start, answer.header_length + packet.length - answer.replaced, arena_.rx_tag()[frame],
         asked.row);
  packet.kept = true;
  ++in_place_;
  return true;
}

/// Header and payload side by side in a TX frame. (Scatter-gather, header slot and shared payload
/// frame without this copy, has its place here: where the driver takes two zero-copy segments.)
void TxStage::send_copy(const Asked& asked, const job& answer) {
  const Packet& packet = burst_[asked.packet];
  const u32 frame = free_.take();
  const char* header = slots_ + std::size_t{asked.job} * FANTAIL_SLOT_SIZE + answer.header_start;
  const u32 rest = packet.length - answer.replaced;
  const u32 length = answer.header_length + rest;
  const u32 start = frame * FANTAIL_FRAME_SIZE + colour_of(frame, length);
  char* target = arena_.umem() + start;
  put_bytes(target, header, answer.header_length);
  put_bytes(target + answer.header_length, arena_.umem() + packet.address + answer.replaced, rest);
  submit(start, length, *tag_of(frame), asked.row);
}

void TxStage::submit(u64 address, u32 length, tag& copy, u16 row) {
  put(copy.epoch, account_[row].epoch);
  put(copy.row, row);
  put(copy.outcome, u16{0});
  put(copy.bytes, length);
  xdp_desc& descriptor = link_.tx.descriptor(submitted_++);
  put(descriptor.addr, __u64{address});
  put(descriptor.len, length);
  put(descriptor.options, 0u);
  ++account_[row].in_flight;
  mark(row, change_in_flight);
}

// -- the commit -----------------------------------------------------------------------------------

/// Everything since the last commit at once. Headers of in-place frames are in the journal already,
/// so they are written before the TX producer, which comes last.
void TxStage::commit() {
  commit_accounts();
  for (u32 r = 0; r < forward_.size(); ++r) {
    if (forward_[r].moved()) forward_[r].commit_to(journal_);
    if (giveback_[r].moved()) giveback_[r].commit_to(journal_);
    if (backlog_seen_[r] != peek(self_.backlog_seen[r]))
      journal_.set(self_.backlog_seen[r], backlog_seen_[r]);
  }
  free_.commit_to(journal_);
  if (packets_ != peek(self_.packets)) journal_.set(self_.packets, packets_);
  if (in_place_ != peek(self_.in_place)) journal_.set(self_.in_place, in_place_);
  if (kernel_pending_ != peek(self_.kernel_pending))
    journal_.set(self_.kernel_pending, kernel_pending_);
  if (completed_ != peek(*link_.completion.consumer)) journal_.set_kernel(1, completed_);
  if (submitted_ != peek(*link_.tx.producer)) journal_.set_kernel(0, submitted_);
  journal_.commit();
}

void TxStage::commit_accounts() {
  for (const u16 row : changed_) {
    const counters& now = account_[row];
    counters& then = arena_.counters(row);
    const u32 changes = changes_[row];
    if (changes & change_received) journal_.set(then.received, now.received);
    if (changes & change_in_flight) journal_.set(then.in_flight, now.in_flight);
    if (changes & change_sent) {
      journal_.set(then.sent, now.sent);
      journal_.set(then.bytes, now.bytes);
    }
    for (u32 drops = changes / change_drop, why = 0; drops != 0; drops >>= 1, ++why)
      if (drops & 1) journal_.set(then.drop[why], now.drop[why]);
    changes_[row] = 0;
  }
  changed_.clear();
}

/// Statistics only, so outside the commit: how long each packet was inside.
void TxStage::note_inside(u64 now_ns) {
  for (const Packet& packet : burst_) {
    add(self_.inside_ns[bucket_of(now_ns - packet.stamp_ns)], 1);
  }
}

void TxStage::note_laps() {
  add(self_.timed_bursts, 1);
  add(self_.timed_copies, jobs());
  for (u32 stage = 0; stage < STAGE_COUNT; ++stage) add(self_.stage_ns[stage], laps_.spent(stage));
  add(self_.kick_ns[bucket_of(laps_.spent(STAGE_KICK))], 1);
}

// -- modules and their state ----------------------------------------------------------------------

void TxStage::set_module(u32 slot, u64 module) {
  filter_slot& self = arena_.filter(index_, slot);
  if (peek(self.module) == module) return;
  self = filter_slot{};
  put(self.module, module);
}

void TxStage::set_state(u32 slot, u32 block, u64 owner) {
  block_[slot] = block;
  if (block == no_block) return;
  filter_state& state = arena_.state(index_, block);
  if (peek(state.owner) == owner) return;
  put(state.undo_packets, no_undo);
  std::memset(state.block, 0, sizeof state.block);
  put(state.owner, owner);
}

/// A filter changes its state while it answers; if this burst is not committed, a successor asks it
/// the same again.
void TxStage::keep_state(u32 block) {
  filter_state& state = arena_.state(index_, block);
  put(state.undo_packets, no_undo);
  std::atomic_thread_fence(std::memory_order_release);
  put_bytes(state.undo, state.block, sizeof state.undo);
  publish(state.undo_packets, packets_);
}

/// After the journal: where no packet was committed since the copy was made, the burst after it was
/// not.
void TxStage::recover_states() {
  for (u32 block = 0; block < FANTAIL_FILTERS_MAX; ++block) {
    filter_state& state = arena_.state(index_, block);
    if (acquire(state.undo_packets) == peek(self_.packets))
      put_bytes(state.block, state.undo, sizeof state.block);
  }
}

// -- the kernel -----------------------------------------------------------------------------------

/// A copy-mode sendto transmits 32 descriptors and returns EAGAIN while more are left; EBUSY means
/// that the last one taken was lost, though it completes; after other errors nothing was taken.
/// (net/xdp/xsk.c, __xsk_generic_xmit)
bool TxStage::kick() {
  if (link_.soft != nullptr) {
    link_.soft->transmit(retry_ns);
    return true;
  }
  const u32 producer = peek(*link_.tx.producer);
  const bool once = arena_.header().mode == MODE_ZEROCOPY; // the driver takes them when it runs
  u32 useless = 0, calls = 0;
  bool idle = true;
  for (u32 i = 0; link_.xsk_fd >= 0 && i < kicks_max; ++i) {
    const u32 consumer = acquire(*link_.tx.consumer);
    if (consumer == producer || !link_.tx.needs_wakeup()) break;
    ++calls;
    const ssize_t result = sendto(link_.xsk_fd, nullptr, 0, MSG_DONTWAIT, nullptr, 0);
    const int error = result < 0 ? errno : 0;
    if (error == EBUSY) mark_lost();
    if (error != 0 && error != EAGAIN && error != EBUSY && error != ENOBUFS) {
      add(self_.kick_errors, 1);
      idle = false;
      break;
    }
    if (once) break;
    useless = acquire(*link_.tx.consumer) == consumer ? useless + 1 : 0;
    if (useless == useless_kicks_max) {
      idle = false;
      break;
    }
  }
  if (calls != 0) add(self_.kicks, calls);
  return idle;
}

/// The last descriptor that the kernel took will complete, but it was not sent.
void TxStage::mark_lost() {
  const u32 last = acquire(*link_.tx.consumer) - 1;
  tag* copy = tag_of(static_cast<u32>(link_.tx.descriptor(last).addr / FANTAIL_FRAME_SIZE));
  if (copy != nullptr) put(copy->outcome, static_cast<u16>(1 + DROP_TX_FULL));
}

/// A subscriber whose neighbour is not resolved: the kernel's stack sends the datagram, and
/// resolves.
void TxStage::keep_for_kernel(const Asked& asked, const job& answer) {
  const u16 row = asked.row;
  const Packet& packet = burst_[asked.packet];
  const char* header = slots_ + std::size_t{asked.job} * FANTAIL_SLOT_SIZE + answer.header_start;
  if (kernel_copies_.size() == FANTAIL_KERNEL_COPIES_MAX) return drop(row, DROP_NO_NEIGHBOUR);
  if (answer.header_length < FANTAIL_HEADER_SIZE ||
      !is_plain_udp(reinterpret_cast<const u8*>(header)))
    return drop(row, DROP_UNSUPPORTED_HEADER);
  const u32 more = answer.header_length - FANTAIL_HEADER_SIZE;
  const u32 rest = packet.length - answer.replaced;
  put(self_.kernel_row[kernel_copies_.size()], u32{row});
  KernelCopy& copy = kernel_copies_.emplace_back();
  copy.row = row;
  copy.length = more + rest;
  std::memcpy(copy.bytes, header + FANTAIL_HEADER_SIZE, more);
  std::memcpy(copy.bytes + more, arena_.umem() + packet.address + answer.replaced, rest);
  ++account_[row].in_flight;
  mark(row, change_in_flight);
  ++kernel_pending_;
}

/// After the commit that counted them in flight. A kill in here leaves kernel_pending, which
/// recover_kernel_copies() turns into `uncertain`.
void TxStage::send_kernel_copies() {
  if (kernel_copies_.empty()) return;
  for (const KernelCopy& copy : kernel_copies_) {
    const u32 outcome = send_one(copy);
    counters& account = account_[copy.row];
    --account.in_flight;
    mark(copy.row, change_in_flight);
    if (outcome == outcome_sent) {
      ++account.sent;
      account.bytes += copy.length + FANTAIL_HEADER_SIZE;
      mark(copy.row, change_sent);
    } else {
      drop(copy.row, outcome);
    }
  }
  kernel_copies_.clear();
  kernel_pending_ = 0;
  commit();
}

/// Sends through the subscriber's connected socket; returns outcome_sent or the drop.
u32 TxStage::send_one(const KernelCopy& copy) const {
  const u32 slot = reinterpret_cast<const subscriber*>(table_->rows)[copy.row].kernel_socket;
  if (slot >= kernel_sockets_.size()) return DROP_NO_NEIGHBOUR;
  ssize_t sent = send(kernel_sockets_[slot], copy.bytes, copy.length, MSG_DONTWAIT);
  if (sent < 0 && errno == ECONNREFUSED) // an ICMP answer to an earlier datagram, not to this one
    sent = send(kernel_sockets_[slot], copy.bytes, copy.length, MSG_DONTWAIT);
  if (sent >= 0) return outcome_sent;
  if (errno == EMSGSIZE) return DROP_TOO_BIG;
  return errno == ENETUNREACH ? DROP_NO_ROUTE : DROP_NO_NEIGHBOUR;
}

void TxStage::recover_kernel_copies() {
  const u64 count = std::min(kernel_pending_, u64{FANTAIL_KERNEL_COPIES_MAX});
  for (u64 i = 0; i < count; ++i) {
    const u16 row = static_cast<u16>(peek(self_.kernel_row[i]) % FANTAIL_SUBSCRIBERS_MAX);
    --account_[row].in_flight;
    mark(row, change_in_flight);
    drop(row, DROP_UNCERTAIN);
  }
  kernel_pending_ = 0;
  commit();
}

// -- traps and sleep ------------------------------------------------------------------------------

u32 TxStage::trapped(u32 call) {
  const u32 end = calls_->first[call] + calls_->count[call];
  add(self_.traps, 1);
  add(arena_.filter(index_, calls_->slot[call]).traps, 1);
  resume_ = std::max(resume_, u32{calls_->first[call]});
  while (resume_ < end && jobs_[resume_].verdict != FANTAIL_VERDICT_UNSET) ++resume_;
  if (resume_ < end) ++resume_; // this one trapped: it stays unset, and drops as filter_trap
  return resume_;
}

bool TxStage::was_idle() const {
  for (u32 r = 0; r < forward_.size(); ++r)
    if (!forward_[r].was_empty() || acquire(arena_.receiver(r).backlog[index_]) != backlog_seen_[r])
      return false;
  return acquire(*link_.completion.producer) == completed_ &&
         acquire(arena_.control().generation) == generation_;
}

} // namespace fantail
