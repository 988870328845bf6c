// SPDX-License-Identifier: MIT-0
#include "rig/world.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "path/rx_stage.hpp"
#include "path/tx_stage.hpp"

namespace fantail::testing {

u64& jobs_counted(const Arena& arena, u32 worker) {
  return *reinterpret_cast<u64*>(arena.state(worker, count_block).block);
}

u64 in_flight_of(const counters& account) {
  u64 left = account.received - account.sent;
  for (const u64 drops : account.drop) left -= drops;
  return left;
}

// -- kills ----------------------------------------------------------------------------------------

namespace {

thread_local Stores* counted = nullptr;

} // namespace

void Stores::next() {
  if (made == kill_at) throw Kill{};
  ++made;
  if (between) between();
}

Counting::Counting(Stores& stores) {
  counted = &stores;
  on_store = [] { counted->next(); };
  if (stores.at_acquire) on_acquire = [] { counted->at_acquire(); };
}

Counting::~Counting() {
  on_store = on_acquire = nullptr;
  counted = nullptr;
}

// -- the supervisor -------------------------------------------------------------------------------

u16 Supervisor::add(u32 number, u32 worker) {
  u16 row = 0;
  while (desired_.contains(row) || retired_.contains(row)) ++row;
  desired_[row] = subscriber_of(number, worker, ++epoch_);
  order_.push_back(row);
  return row;
}

void Supervisor::remove(u16 row) {
  retired_[row] = generation_ + 1;
  desired_.erase(row);
  std::erase(order_, row);
}

subscriber& Supervisor::record(u16 row) { return desired_.at(row); }

bool Supervisor::is_followed() const {
  for (u32 w = 0; w < arena_->header().workers; ++w)
    if (acquire(arena_->worker(w).generation_done) != generation_) return false;
  for (u32 r = 0; r < arena_->header().receivers; ++r)
    if (acquire(arena_->receiver(r).generation_done) != generation_) return false;
  return true;
}

bool Supervisor::publish() {
  if (!is_followed()) return false;
  std::erase_if(retired_, [&](const auto& entry) {
    return entry.second <= generation_ && in_flight_of(arena_->counters(entry.first)) == 0;
  });
  write(generation_ + 1);
  ++generation_;
  std::atomic_ref<u64>(arena_->control().generation).store(generation_, std::memory_order_release);
  return true;
}

void Supervisor::write(u64 generation) {
  table& buffer = const_cast<table&>(arena_->table(generation)); // we are its one writer
  for (u32 w = 0; w < FANTAIL_WORKERS_MAX; ++w) buffer.wanted[w] = buffer.count[w] = 0;
  for (const u16 row : order_) {
    const subscriber& record = desired_.at(row);
    buffer.list[record.worker][buffer.count[record.worker]++] = row;
    buffer.wanted[record.worker] |= record.feeds;
    buffer.rows[row] = record;
  }
  buffer.generation = generation;
}

// -- the filter -----------------------------------------------------------------------------------

Question question_of(const Arena& arena, u32 worker, const job& asked) {
  const u64 tables = arena.header().table;
  return {reinterpret_cast<const u8*>(arena.umem()) + (asked.packet - FANTAIL_WINDOW_FRAMES),
          reinterpret_cast<u8*>(arena.slots(worker)) + (asked.slot - FANTAIL_WINDOW_SLOTS),
          reinterpret_cast<const subscriber*>(arena.base() + tables +
                                              (asked.subscriber - FANTAIL_WINDOW_SUBSCRIBERS))};
}

void answer_lawfully(const Arena& arena, u32 worker, job& asked, Rewrite how) {
  const Question question = question_of(arena, worker, asked);
  const u32 payload = static_cast<u32>(question.packet[38] << 8 | question.packet[39]) - 8;
  u32 daddr;
  std::memcpy(&daddr, question.packet + 30, sizeof daddr);
  if (daddr != feed_ip)
    fail("the filter was asked about a frame whose header is already rewritten");
  const Bytes header = new_header(*question.to, payload, how);
  put_bytes(question.slot + FANTAIL_SLOT_HEADROOM, header.data(), header.size());
  put(asked.header_start, static_cast<u16>(FANTAIL_SLOT_HEADROOM));
  put(asked.header_length, static_cast<u16>(header.size()));
  put(asked.replaced, replaced_by(how));
  put(asked.verdict, u32{FILTER_VERDICT_SEND});
}

// -- processes ------------------------------------------------------------------------------------

Process::Process(Arena& arena, std::vector<QueueMemory*> queues, std::vector<u32> receivers,
                 int worker)
    : arena_(&arena), queues_(std::move(queues)), receivers_(std::move(receivers)),
      worker_(worker) {}

Process::Process(Process&&) noexcept = default;
Process::~Process() = default;

void Process::start() {
  stop();
  const Counting counting(stores);
  for (const u32 r : receivers_)
    rx_.push_back(std::make_unique<RxStage>(*arena_, r, links_of(r), wakes()));
  if (worker_ >= 0) {
    QueueMemory& own = *queues_[static_cast<u32>(worker_)];
    tx_ = std::make_unique<TxStage>(*arena_, static_cast<u32>(worker_),
                                    TxLink{own.tx_ring(), own.completion_ring(), nullptr, -1},
                                    kernel_sockets);
    if (counts) tx_->filters().set_state(0, count_block, 1);
  }
  started_ = true;
}

void Process::stop() {
  started_ = false;
  rx_.clear();
  tx_.reset();
}

void Process::turn(const Filter& filter) {
  const soft_link& slow_path = arena_->soft(0);
  const Counting counting(stores);
  if (tx_) tx_->begin_turn();
  for (const auto& stage : rx_) {
    // by the clock it would look at some stores and not at others
    if (slow && peek(slow_path.rx_producer) != peek(slow_path.rx_consumer)) stage->slept();
    stage->turn();
  }
  if (!tx_) return;
  tx_->received();
  tx_->gather();
  const u32 worker = static_cast<u32>(worker_);
  for (u32 i = 0; i < tx_->jobs(); ++i) filter(*arena_, worker, arena_->jobs(worker)[i]);
  tx_->finish();
}

bool Process::is_idle() const {
  for (const auto& stage : rx_)
    if (!stage->was_idle()) return false;
  return !tx_ || tx_->was_idle();
}

std::vector<RxLink> Process::links_of(u32 receiver) const {
  std::vector<RxLink> links;
  for (u32 q = 0; q < queues_.size(); ++q)
    if (arena_->header().layout == LAYOUT_SPLIT || q == receiver)
      links.push_back(
          {arena_->ring_frames(q), queues_[q]->rx_ring(), queues_[q]->fill_ring(), nullptr, -1});
  if (slow && receiver == 0) {
    FeedSockets none({-1}, -1, {});
    const SoftLink rings(*arena_, 0, none, 0);
    links.push_back({Arena::slow_frames(), rings.rx_ring(), rings.fill_ring(), nullptr, -1, true});
  }
  return links;
}

std::vector<int> Process::wakes() const {
  return wake_fds.empty() ? std::vector<int>(arena_->header().workers, -1) : wake_fds;
}

// -- the world ------------------------------------------------------------------------------------

namespace {

Geometry geometry_of(const Shape& shape) {
  static constexpr u32 ids[] = {0, 1, 2, 3};
  Geometry geometry;
  geometry.layout = shape.kind;
  geometry.mode = MODE_COPY;
  geometry.queue_ids = std::span(ids).first(shape.queues);
  geometry.workers = shape.workers;
  geometry.listen_ip = feed_ip;
  geometry.listen_port = feed_port;
  return geometry;
}

Fd new_memory(u64 size) {
  Fd fd(check(memfd_create("fantail-test", MFD_CLOEXEC), "memfd_create"));
  check(ftruncate(fd.get(), static_cast<off_t>(size)), "sizing the test's memory");
  return fd;
}

} // namespace

struct World::Saved {
  std::vector<FakeRx> rx;
  std::vector<FakeTx> tx;
  Supervisor supervisor;
  std::vector<u64> delivered;
};

World::World(const Shape& shape)
    : shape_(shape), geometry_(geometry_of(shape)), arena_size_(Arena::size_of(geometry_)),
      size_(arena_size_ + shape.queues * sizeof(QueueMemory)), memory_(new_memory(size_)),
      base_(map(MAP_SHARED, nullptr)),
      pagemap_(
          check(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), "opening /proc/self/pagemap")),
      arena_(Arena::in_memory(geometry_, base_)), supervisor(arena_) {
  for (u32 q = 0; q < shape.queues; ++q) {
    queue(q).begin(arena_.ring_frames(q), shape.kernel_start);
    rx.emplace_back(arena_.umem(), queue(q).fill_ring(), queue(q).rx_ring());
    tx.emplace_back(arena_.umem(), arena_.header().umem_size, queue(q));
  }
  if (shape.slow) {
    FeedSockets none({-1}, -1, {});
    const SoftLink rings(arena_, 0, none, 0);
    rx.emplace_back(arena_.umem(), rings.fill_ring(), rings.rx_ring());
  }
  move_rings(shape.ring_start);
  for (u32 i = 0; i < shape.subscribers; ++i) supervisor.add(i, i % shape.workers);
  if (shape.subscribers != 0) supervisor.publish();
  delivered.resize(rx.size());
  payloads_.resize(rx.size());
  filter = [how = shape.rewrite, counts = shape.counts](const Arena& arena, u32 worker,
                                                        job& asked) {
    answer_lawfully(arena, worker, asked, how);
    if (counts) put(jobs_counted(arena, worker), peek(jobs_counted(arena, worker)) + 1);
  };
  make_processes();
  for (Process& process : processes) {
    process.counts = shape.counts;
    process.slow = shape.slow;
  }
}

World::~World() {
  processes.clear();
  munmap(base_, size_);
  if (original_ != nullptr) munmap(original_, size_);
}

void World::save() {
  saved_ = std::make_unique<Saved>(Saved{rx, tx, supervisor, delivered});
  original_ = map(MAP_SHARED, nullptr);
  map(MAP_PRIVATE | MAP_FIXED, base_);
}

void World::reset() {
  for (Process& process : processes) process.stop();
  restore_written_pages();
  rx = saved_->rx;
  tx = saved_->tx;
  supervisor = saved_->supervisor;
  delivered = saved_->delivered;
  for (Process& process : processes) process.stores = {};
}

void World::start() {
  for (Process& process : processes)
    if (!process.runs()) process.start();
}

const Bytes& World::payload(u32 q, u64 sequence) {
  while (payloads_[q].size() <= sequence)
    payloads_[q].push_back(payload_of(q, payloads_[q].size()));
  return payloads_[q][sequence];
}

const Bytes& World::expected(const subscriber& to, u32 q, u64 sequence) {
  std::vector<Bytes>& known = expected_[{to.port, q}];
  if (known.size() <= sequence) known.resize(sequence + 1);
  if (known[sequence].empty())
    known[sequence] = expected_datagram(to, payload(q, sequence), shape_.rewrite);
  return known[sequence];
}

void World::deliver(u32 q, u32 count) {
  for (; count != 0; --count) {
    if (!rx[q].deliver(feed_frame(payload(q, delivered[q]))))
      fail("the kernel had no room for a packet");
    ++delivered[q];
  }
}

void World::turn() {
  for (Process& process : processes)
    if (process.runs()) process.turn(filter);
}

void World::run_kernel(u32 transmit, u32 complete) {
  for (FakeTx& link : tx) {
    link.transmit(transmit);
    link.complete(complete);
  }
}

bool World::is_quiet() const {
  for (const Process& process : processes)
    if (!process.is_idle()) return false;
  for (const FakeTx& link : tx)
    if (!link.is_idle()) return false;
  return true;
}

void World::settle() {
  constexpr u32 turns_max = 10'000;
  for (u32 i = 0; i < turns_max; ++i) {
    turn();
    run_kernel(FANTAIL_TX_FRAMES, FANTAIL_TX_FRAMES);
    if (is_quiet()) return;
  }
  fail("it does not come to rest");
}

bool World::is_between_commits() const {
  for (u32 r = 0; r < arena_.header().receivers; ++r)
    if (static_cast<u32>(peek(arena_.receiver(r).journal)) != 0) return false;
  for (u32 w = 0; w < arena_.header().workers; ++w)
    if (static_cast<u32>(peek(arena_.worker(w).journal)) != 0) return false;
  return true;
}

ring_header& World::forward(u32 r, u32 w) {
  return ring(arena_.header().forward, arena_.header().forward_size, r, w);
}

ring_header& World::giveback(u32 r, u32 w) {
  return ring(arena_.header().giveback, arena_.header().giveback_size, r, w);
}

char* World::map(int flags, char* at) const {
  void* mapped = mmap(at, size_, PROT_READ | PROT_WRITE, flags, memory_.get(), 0);
  if (mapped == MAP_FAILED) throw error_of(errno, "mapping the test's memory");
  return static_cast<char*>(mapped);
}

void World::restore_written_pages() {
  constexpr u64 page = 4096, present = 1ull << 63, swapped = 1ull << 62, of_file = 1ull << 61;
  std::vector<u64> entries(size_ / page);
  const off_t at = static_cast<off_t>(reinterpret_cast<u64>(base_) / page * sizeof(u64));
  const ssize_t wanted = static_cast<ssize_t>(entries.size() * sizeof(u64));
  if (pread(pagemap_.get(), entries.data(), static_cast<std::size_t>(wanted), at) != wanted)
    fail("/proc/self/pagemap cannot be read");
  for (u64 i = 0; i < entries.size(); ++i)
    if ((entries[i] & (present | swapped)) != 0 && (entries[i] & of_file) == 0)
      std::memcpy(base_ + i * page, original_ + i * page, page);
}

ring_header& World::ring(u64 first, u64 size, u32 r, u32 w) {
  return *reinterpret_cast<ring_header*>(base_ + first + size * (r * arena_.header().workers + w));
}

void World::move_rings(u64 start) {
  for (u32 w = 0; w < shape_.workers; ++w) {
    for (u32 r = 0; r < arena_.header().receivers; ++r)
      for (ring_header* header : {&forward(r, w), &giveback(r, w)})
        header->head = header->tail = start;
    arena_.worker(w).free_head = start;
    arena_.worker(w).free_tail = start + FANTAIL_TX_FRAMES;
    arena_.worker(w).hot_head = arena_.worker(w).hot_tail = start;
  }
}

void World::make_processes() {
  std::vector<QueueMemory*> queues;
  for (u32 q = 0; q < shape_.queues; ++q) queues.push_back(&queue(q));
  if (shape_.kind == LAYOUT_SPLIT) processes.emplace_back(arena_, queues, std::vector<u32>{0}, -1);
  for (u32 w = 0; w < shape_.workers; ++w) {
    std::vector<u32> receivers;
    for (u32 q = 0; shape_.kind == LAYOUT_INLINE && q < shape_.queues; ++q)
      if (q % shape_.workers == w) receivers.push_back(q);
    processes.emplace_back(arena_, queues, receivers, static_cast<int>(w));
  }
}

} // namespace fantail::testing
