// SPDX-License-Identifier: MIT-0
#include "path/tx_stage.hpp"

#include "link/frame.hpp"

namespace fantail {

namespace {

// how long a full TX ring is retried before copies drop as tx_full
constexpr u64 retry_ns = 1'000'000;

/// What one commit can need: three words a row and one for each drop (a job, a backlog charge or a
/// completion each).
static_assert(3 * FANTAIL_SUBSCRIBERS_MAX + 3 * FANTAIL_JOBS_MAX + FANTAIL_BURST_MAX + 256 <=
              FANTAIL_JOURNAL_ENTRIES_MAX);

constexpr u32 word_submitted = 0, word_completed = 1; // of the kernel's rings, in the journal

Journal recovered(Journal journal) {
  journal.recover();
  return journal;
}

} // namespace

TxStage::TxStage(Arena& arena, u32 worker, TxLink link, std::vector<int> kernel_sockets)
    : arena_(arena), index_(worker), self_(arena.worker(worker)), link_(link),
      journal_(recovered(Journal(arena.base(), arena.header().size, self_.journal,
                                 arena.journal(arena.header().receivers + worker),
                                 {link.tx.producer, link.completion.consumer}))),
      ahead_{peek(*link.tx.producer), peek(*link.completion.consumer), peek(self_.packets),
             peek(self_.in_place)},
      frames_(arena, worker, link.pages()), window_(self_.window_ns), accounts_(arena),
      kernel_copies_(self_, std::move(kernel_sockets)), served_(arena), filters_(arena, worker) {
  if (link_.soft != nullptr) link_.soft->recover();
  for (u32 r = 0; r < arena_.header().receivers; ++r)
    sources_.push_back({arena_.forward_consumer(r, index_), arena_.giveback_producer(r, index_),
                        FeedBacklog(arena_.receiver(r), index_, self_.backlog_seen[r])});
  burst_.reserve(FANTAIL_BURST_MAX);
  asked_.reserve(FANTAIL_JOBS_MAX);
  kernel_copies_.recover(accounts_);
  commit();
  put(self_.asleep, 0u);
  put(self_.calling, 0u);
  put(self_.starts, peek(self_.starts) + 1);
  // frames refused while nobody ran are owed to those that our predecessor served
  follow(peek(self_.generation_done), peek(self_.fenced) != 0);
  adopt();
}

void TxStage::gather() {
  reap();
  adopt();
  laps_.lap(STAGE_REAP);
  burst_.clear();
  if (make_room()) take();
  if (burst_.empty()) laps_.cancel();
  ask();
}

void TxStage::finish() {
  laps_.lap(STAGE_FILTER);
  answer();
  laps_.lap(STAGE_WRITE);
  const bool submitted = ahead_.submitted != peek(*link_.tx.producer);
  if (window_.is_new()) window_.begin(clock_ns());
  commit();
  laps_.lap(STAGE_COMMIT);
  const u64 committed_ns = submitted ? clock_ns() : 0;
  if (submitted) submitted_ns_ = committed_ns;
  // no device that is kicked has taken any by then
  if (window_.is_new() && !link_.takes_unkicked(arena_.header().mode)) window_.begin(committed_ns);
  kick();
  send_kernel_copies();
  laps_.lap(STAGE_KICK);
  if (!burst_.empty()) note(committed_ns);
}

// -- reap -----------------------------------------------------------------------------------------

void TxStage::reap() {
  const u32 waiting = acquire(*link_.completion.producer) - ahead_.completed;
  for (u32 i = std::min(waiting, FANTAIL_TX_FRAMES); i != 0; --i)
    complete(link_.completion.address(ahead_.completed++));
}

/// Ends one copy: sent, or the drop that it was marked with; its frame goes home.
void TxStage::complete(u64 entry) {
  const u64 address = entry & ((1ull << outcome_shift) - 1);
  const u32 frame = static_cast<u32>(address / FANTAIL_FRAME_SIZE);
  const tag* copy = frames_.tag_of(frame);
  if (copy == nullptr) return; // an address that we never submitted
  const u32 outcome = static_cast<u32>(entry >> outcome_shift) | peek(copy->outcome);
  const u16 row = peek(copy->row);
  if (frames_.is_received(frame)) give_back(frame);
  else frames_.put_back(frame);
  // a row that does not exist, or that serves another subscriber by now
  if (row >= FANTAIL_SUBSCRIBERS_MAX || peek(copy->epoch) != accounts_.epoch(row)) return;
  accounts_.end(row, outcome, peek(copy->bytes));
}

// -- adopt ----------------------------------------------------------------------------------------

/// Follows the newest table, and the fence. Frames refused so far are owed to those served so far.
void TxStage::adopt() {
  charge_backlog();
  const bool is_fenced = served_.is_past_fence(); // first: the table is no older
  const u64 generation = acquire(arena_.control().generation);
  if (generation == served_.generation() && is_fenced == served_.is_fenced()) return;
  commit();
  follow(generation, is_fenced);
  publish(self_.fenced, u32{is_fenced});
  publish(self_.generation_done, generation);
}

/// Frames that a receiver could not hand over were owed to each subscriber of their feed here.
void TxStage::charge_backlog() {
  for (Source& source : sources_) {
    if (!source.backlog.has_more()) continue;
    source.backlog.charge(journal_, [this](u32 feed, u64 count) {
      for (const Served::Row& to : served_.rows(feed)) {
        if (to.state == SUBSCRIBER_STATE_PAUSED) continue; // owed nothing
        accounts_.owe(to.row, count);
        accounts_.drop(to.row, DROP_BACKLOG, count);
      }
    });
  }
}

/// Serves the rows of a table, or fenced none; new ones count from zero. Nothing is pending.
void TxStage::follow(u64 generation, bool is_fenced) {
  served_.follow(generation, index_, is_fenced);
  for (const u16 row : served_.listed()) {
    const u64 epoch = served_.record(row).epoch;
    if (epoch != accounts_.epoch(row)) accounts_.restart(row, epoch, journal_);
  }
  if (link_.soft != nullptr) link_.soft->follow(arena_.table(generation));
}

// -- make room, take ------------------------------------------------------------------------------

/// Copies that can be submitted now.
u32 TxStage::room() const {
  const u32 on_ring = ahead_.submitted - acquire(*link_.tx.consumer);
  return std::min(FANTAIL_TX_FRAMES - on_ring, frames_.room());
}

/// False: no room for one packet to all that may get it, so this turn takes none; its commit, kick
/// and the next reap make some. True after 1 ms all the same: what does not fit drops as tx_full.
bool TxStage::make_room() {
  const auto is_waiting = [](Source& from) { return from.forward.available() != 0; };
  if (room() < served_.reached_max() && std::ranges::any_of(sources_, is_waiting)) {
    const u64 now = clock_ns();
    if (full_since_ns_ == 0) full_since_ns_ = now;
    if (now - full_since_ns_ < retry_ns) return false;
  }
  full_since_ns_ = 0;
  return true;
}

/// Packets of all receivers in turn, as many as the burst aims at.
void TxStage::take() {
  u32 jobs_left = 0;
  bool is_full = false;
  const u32 count = static_cast<u32>(sources_.size());
  for (u32 i = 0; i < count && !is_full; ++i) {
    const u32 at = next_source_ + i;
    Consumer<forward_slot>& from = sources_[at < count ? at : at - count].forward;
    u32 available = from.available();
    if (available == 0) continue;
    if (burst_.empty()) jobs_left = std::min(link_.jobs_aim(), room());
    for (; available != 0; --available) {
      // receivers of ours write no other
      const u32 feed = peek(from.look().feed) % FANTAIL_FEEDS_MAX, jobs = served_.reached(feed);
      is_full = burst_.size() == FANTAIL_BURST_MAX || (!burst_.empty() && jobs > jobs_left);
      if (is_full) break;
      jobs_left -= std::min(jobs, jobs_left);
      const forward_slot& slot = from.take();
      const u32 address = peek(slot.address), length = peek(slot.length);
      // no receiver of ours writes that; a frame that does not exist cannot be given back
      if (!frames_.is_received(address / FANTAIL_FRAME_SIZE) || length < FANTAIL_HEADER_SIZE ||
          address % FANTAIL_FRAME_SIZE + length > FANTAIL_FRAME_SIZE)
        continue;
      const bool alone = served_.count(feed) == 1 && peek(slot.holders) == 1;
      burst_.push_back({address, static_cast<u16>(length), static_cast<u8>(feed),
                        peek(slot.stamp_ns), alone, false});
    }
  }
  next_source_ = next_source_ + 1 < count ? next_source_ + 1 : 0;
}

// -- ask ------------------------------------------------------------------------------------------

/// Owes each packet to every subscriber, and writes the jobs for those that it can reach.
void TxStage::ask() {
  asked_.clear();
  if (burst_.empty()) return;
  filters_.begin_placing();
  for (const Packet& packet : burst_) filters_.want(served_.groups(packet.feed));
  filters_.place();
  for (u32 p = 0; p < packets(); ++p)
    if (served_.count(burst_[p].feed) != 0) ask(p);
  laps_.lap(STAGE_GATHER);
  if (!asked_.empty()) filters_.begin(ahead_.packets, laps_.is_timed());
}

/// One packet, beginning with the subscriber whose turn it is.
void TxStage::ask(u32 index) {
  const Packet& packet = burst_[index];
  const u8* payload = reinterpret_cast<const u8*>(arena_.umem() + packet.address);
  // once a packet; each subscriber's pseudo header is added by the filter
  const u32 sum =
      arena_.header().checksum_full != 0
          ? frame::sum16(payload + FANTAIL_HEADER_SIZE, packet.length - FANTAIL_HEADER_SIZE)
          : FANTAIL_VERDICT_UNSET;
  const u64 receive_ns = realtime_.of(packet.stamp_ns);
  const u32 records = served_.window_records();
  const std::span<const Served::Row> rows = served_.rows(packet.feed);
  u32 turn = served_.next_first(packet.feed);
  for (std::size_t left = rows.size(); left != 0; --left) {
    const Served::Row to = rows[turn];
    if (++turn == rows.size()) turn = 0;
    if (to.state == SUBSCRIBER_STATE_PAUSED) continue; // owed nothing
    accounts_.owe(to.row);
    if (!to.is_reached()) {
      accounts_.drop(to.row, to.why_unreached());
      continue;
    }
    const u32 at = filters_.next_job(to.slot);
    job& next = filters_.job_at(at);
    next.packet = FANTAIL_WINDOW_FRAMES + packet.address;
    next.length = packet.length;
    next.slot = FANTAIL_WINDOW_SLOTS + at * FANTAIL_SLOT_SIZE;
    next.subscriber = records + to.row * FANTAIL_SUBSCRIBER_SIZE;
    next.verdict = FANTAIL_VERDICT_UNSET;
    next.payload_sum = sum;
    next.receive_ns = receive_ns;
    asked_.push_back({index, at, to.row, to.slot, static_cast<u8>(to.state)});
  }
}

// -- answer, write --------------------------------------------------------------------------------

/// Believes the filters' answers as far as they are lawful, and writes the frames. Packets that
/// were not sent themselves go back to their receivers.
void TxStage::answer() {
  u32 room = asked_.empty() ? 0 : this->room();
  for (std::span<const Asked> left(asked_); !left.empty();) {
    // a packet at a time as long as none is watched; one call, so that it is inlined
    const bool watches = laps_.is_timed() && !window_.is_watched();
    const std::span<const Asked> next = watches ? first_packet_of(left) : left;
    const u32 first = ahead_.submitted;
    for (const Asked& asked : next) answer(asked, room);
    if (watches) window_.watch(first, ahead_.submitted);
    left = left.subspan(next.size());
  }
  for (const Packet& packet : burst_)
    if (!packet.kept) give_back(packet.address / FANTAIL_FRAME_SIZE);
  ahead_.packets += burst_.size();
  if (served_.is_fenced() && !burst_.empty())
    journal_.set(self_.fenced_packets, peek(self_.fenced_packets) + burst_.size());
}

void TxStage::answer(const Asked& asked, u32& room) {
  const job answer = filters_.job_at(asked.job); // the filter may write there at any time
  const u32 why = filters_.judge(asked.slot, answer, burst_[asked.packet].length);
  if (why != DROP_COUNT) return accounts_.drop(asked.row, why);
  if (asked.state == SUBSCRIBER_STATE_KERNEL) return keep_for_kernel(asked, answer);
  if (room == 0) return accounts_.drop(asked.row, DROP_TX_FULL);
  --room;
  if (!send_in_place(asked, answer)) send_copy(asked, answer);
}

/// A subscriber whose neighbour is not resolved: the kernel's stack sends the IP packet, and
/// resolves.
void TxStage::keep_for_kernel(const Asked& asked, const job& answer) {
  const Packet& packet = burst_[asked.packet];
  const char* header = filters_.header_of(asked.job, answer);
  if (kernel_copies_.is_full()) return accounts_.drop(asked.row, DROP_NO_NEIGHBOUR);
  if (answer.header_length < FANTAIL_HEADER_SIZE ||
      !frame::is_plain_udp(reinterpret_cast<const u8*>(header)))
    return accounts_.drop(asked.row, DROP_UNSUPPORTED_HEADER);
  kernel_copies_.keep(
      asked.row, served_.record(asked.row).kernel_socket,
      {header + frame::ip, answer.header_length - frame::ip},
      {arena_.umem() + packet.address + answer.replaced, packet.length - answer.replaced});
}

/// The received frame itself, when nobody else needs it: only its header is written, by the commit,
/// from the slot.
bool TxStage::send_in_place(const Asked& asked, const job& answer) {
  Packet& packet = burst_[asked.packet];
  const u32 frame = packet.address / FANTAIL_FRAME_SIZE;
  if (!packet.alone || link_.bulk != nullptr ||
      packet.address % FANTAIL_FRAME_SIZE + answer.replaced < answer.header_length)
    return false;
  const u32 start = packet.address + answer.replaced - answer.header_length;
  if (answer.header_length != 0)
    journal_.copy(arena_.umem() + start, filters_.header_of(asked.job, answer),
                  answer.header_length);
  submit(start, answer.header_length + packet.length - answer.replaced, *frames_.tag_of(frame),
         asked.row);
  packet.kept = true;
  ++ahead_.in_place;
  return true;
}

/// Header and payload side by side in a TX frame. (Scatter-gather, header slot and shared payload
/// frame without this copy, has its place here: where the driver takes two zero-copy segments.)
void TxStage::send_copy(const Asked& asked, const job& answer) {
  const Packet& packet = burst_[asked.packet];
  const u32 frame = frames_.take();
  tag* const mine = frames_.own_tag_of(frame);
  // no worker of ours writes that, and nothing may be written there
  if (mine == nullptr) return accounts_.drop(asked.row, DROP_TX_FULL);
  const u32 rest = packet.length - answer.replaced;
  const u32 length = answer.header_length + rest;
  const u32 start = frames_.start_of(frame, length);
  char* target = frames_.at(start, length);
  put_bytes(target, filters_.header_of(asked.job, answer), answer.header_length);
  put_bytes(target + answer.header_length, arena_.umem() + packet.address + answer.replaced, rest);
  submit(start, length, *mine, asked.row);
}

/// Beyond the TX producer that the kernel sees, until the commit.
void TxStage::submit(u64 address, u32 length, tag& copy, u16 row) {
  put(copy.epoch, accounts_.epoch(row));
  put(copy.row, row);
  put(copy.outcome, u16{0});
  put(copy.bytes, length);
  xdp_desc& descriptor = link_.tx.descriptor(ahead_.submitted++);
  put(descriptor.addr, __u64{address});
  put(descriptor.len, length);
  put(descriptor.options, 0u);
}

// -- commit ---------------------------------------------------------------------------------------

/// Everything since the last commit at once. Headers of in-place frames are in the journal already,
/// so they are written before the TX producer, which comes last.
void TxStage::commit() {
  accounts_.commit_to(journal_);
  for (const Source& source : sources_) {
    if (source.forward.moved()) source.forward.commit_to(journal_);
    if (source.giveback.moved()) source.giveback.commit_to(journal_);
  }
  frames_.commit_to(journal_);
  if (ahead_.packets != peek(self_.packets)) journal_.set(self_.packets, ahead_.packets);
  if (ahead_.in_place != peek(self_.in_place)) journal_.set(self_.in_place, ahead_.in_place);
  kernel_copies_.commit_to(journal_);
  if (ahead_.completed != peek(*link_.completion.consumer))
    journal_.set_kernel(word_completed, ahead_.completed);
  if (ahead_.submitted != peek(*link_.tx.producer))
    journal_.set_kernel(word_submitted, ahead_.submitted);
  journal_.commit();
}

// -- kick -----------------------------------------------------------------------------------------

/// Makes the kernel transmit what is on the TX ring, and what an earlier kick has left there.
void TxStage::kick() {
  const auto lost = [&](u64 address, u32 why) {
    tag* copy = frames_.tag_of(static_cast<u32>(address / FANTAIL_FRAME_SIZE));
    if (copy != nullptr) put(copy->outcome, static_cast<u16>(1 + why));
  };
  link_.kick(self_, arena_.header().mode, retry_ns, lost, [this] { look(); });
  look();
}

/// Copies for the kernel's own stack leave after the commit that counted them in flight.
void TxStage::send_kernel_copies() {
  if (kernel_copies_.is_empty()) return;
  kernel_copies_.send_all(accounts_);
  commit();
}

// -- statistics, and the way to sleep -------------------------------------------------------------

/// Outside the commit, and after the kick: what is sent does not wait for statistics.
/// `committed_ns`: 0 if nothing was submitted.
void TxStage::note(u64 committed_ns) {
  if (committed_ns != 0)
    for (const Packet& packet : burst_)
      add(self_.inside_ns[bucket_of(committed_ns - packet.stamp_ns)], 1);
  if (!asked_.empty()) filters_.note_answers();
  laps_.end(self_, jobs());
  add(self_.bursts, 1);
}

bool TxStage::was_idle() const {
  for (const Source& source : sources_)
    if (!source.forward.was_empty() || source.backlog.has_more()) return false;
  return served_.is_fenced() == served_.was_past_fence(peek(self_.heartbeat_ns)) &&
         acquire(*link_.completion.producer) == ahead_.completed &&
         acquire(arena_.control().generation) == served_.generation();
}

} // namespace fantail
