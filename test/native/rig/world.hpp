// SPDX-License-Identifier: MIT-0
//
// A whole data path in one thread, without network: an arena, fake kernel rings behind it, a
// supervisor that publishes tables, and the processes of a layout, each of which can be killed
// between any two of its stores.
//
// save() makes what is there the starting point; reset() goes back to it, so that the same scenario
// can run once for each store at which a stage can be killed. The memory is then a private,
// copy-on-write view of a memfd, and reset() copies back the pages that were written.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "rig/fake_kernel.hpp"

namespace fantail {
class RxStage;
class TxStage;
struct RxLink;
} // namespace fantail

namespace fantail::testing {

struct Shape {
  layout kind = LAYOUT_SPLIT;
  u32 queues = 1, workers = 1, subscribers = 1;
  Rewrite rewrite = Rewrite::plain;
  u32 kernel_start = 0; // where the cursors of the kernel's rings begin
  // where the cursors of the arena's rings begin; a multiple of the free ring's size and more
  u64 ring_start = 0;
  bool counts = false; // the filter keeps state: how many jobs it has answered
  bool slow = false;   // packets come by the slow path, too: as of one more queue
};

/// The block of state that the filter of a world that counts keeps on a worker: its first word is
/// the count.
constexpr u32 count_block = 3;
u64& jobs_counted(const Arena& arena, u32 worker);

/// Packets that a subscriber received and that have not ended.
u64 in_flight_of(const counters& account);

// -- kills ----------------------------------------------------------------------------------------

/// What a stage is left by when it is killed. Not a std::exception, so that nobody catches it by
/// mistake.
struct Kill {};

constexpr u64 never = ~0ull;

/// Counts the stores of the process that runs, kills it before store number `kill_at`, and may let
/// others run between.
struct Stores {
  u64 made = 0;
  u64 kill_at = never;
  std::function<void()> between;
  std::function<void()> at_acquire = {};

  void next();
};

/// While it lives, stores of this thread are counted by `stores`.
class Counting {
public:
  explicit Counting(Stores& stores);
  ~Counting();
  Counting(const Counting&) = delete;
};

// -- the supervisor -------------------------------------------------------------------------------

/// Publishes subscriber tables as the real supervisor does: a buffer or a row is used again only
/// after everybody who follows the old one has passed it.
class Supervisor {
public:
  explicit Supervisor(const Arena& arena) : arena_(&arena) {}

  /// Adds subscriber `number` (its address) for `worker`; takes effect with the next publish().
  /// Returns its row.
  u16 add(u32 number, u32 worker);
  void remove(u16 row);
  subscriber& record(u16 row);

  /// True if everybody has finished with every generation but the newest.
  bool is_followed() const;

  /// False: not yet, somebody follows the table whose buffer is next.
  bool publish();
  u64 generation() const { return generation_; }

private:
  void write(u64 generation);

  const Arena* arena_;
  std::map<u16, subscriber> desired_;
  std::map<u16, u64> retired_; // row → the first generation without it
  std::vector<u16> order_;
  u64 generation_ = 0, epoch_ = 0;
};

// -- the filter -----------------------------------------------------------------------------------

/// One job as a filter sees it, with the offsets in its memory turned into ours.
struct Question {
  const u8* packet;
  u8* slot;
  const subscriber* to;
};

Question question_of(const Arena& arena, u32 worker, const job& asked);

/// Answers one job lawfully. Its stores are fault points too: a worker may be killed inside its
/// filter.
void answer_lawfully(const Arena& arena, u32 worker, job& asked, Rewrite how);

using Filter = std::function<void(const Arena&, u32 worker, job&)>;

// -- processes ------------------------------------------------------------------------------------

/// The stages that live and die together: fantail-rx (split), or a worker (with its receivers,
/// inline).
class Process {
public:
  Process(Arena& arena, std::vector<QueueMemory*> queues, std::vector<u32> receivers, int worker);
  Process(Process&&) noexcept;
  ~Process();

  bool runs() const { return started_; }

  void start();
  /// Forgets all that is private, as a killed process does.
  void stop();
  /// One turn of its loop (see WorkerLoop::wait and ReceiverLoop::run).
  void turn(const Filter& filter);
  bool is_idle() const;
  TxStage& tx() { return *tx_; }
  RxStage& rx(u32 index = 0) { return *rx_[index]; }

  Stores stores;
  std::vector<int> kernel_sockets;
  std::vector<int> wake_fds; // empty: nobody sleeps
  bool counts = false;       // see Shape
  bool slow = false;

private:
  std::vector<RxLink> links_of(u32 receiver) const;
  std::vector<int> wakes() const;

  Arena* arena_;
  std::vector<QueueMemory*> queues_;
  std::vector<u32> receivers_;
  int worker_;
  bool started_ = false;
  std::vector<std::unique_ptr<RxStage>> rx_;
  std::unique_ptr<TxStage> tx_;
};

// -- the world ------------------------------------------------------------------------------------

class World {
public:
  explicit World(const Shape& shape);
  ~World();
  World(const World&) = delete;

  Arena& arena() { return arena_; }
  const Shape& shape() const { return shape_; }
  QueueMemory& queue(u32 q) { return reinterpret_cast<QueueMemory*>(base_ + arena_size_)[q]; }

  void save();
  void reset();

  void start();
  /// payload_of(), remembered: the same scenario runs very often.
  const Bytes& payload(u32 q, u64 sequence);
  /// The datagram that `to` must get for a packet.
  const Bytes& expected(const subscriber& to, u32 q, u64 sequence);
  /// The feed's next `count` packets on a queue.
  void deliver(u32 q, u32 count);
  void turn();
  void run_kernel(u32 transmit, u32 complete);
  bool is_quiet() const;
  /// Lets everybody run until nothing moves any more.
  void settle();

  /// True if no process was killed in the middle of applying a commit, so that all sums must be
  /// right just now.
  bool is_between_commits() const;
  ring_header& forward(u32 r, u32 w);
  ring_header& giveback(u32 r, u32 w);

private:
  struct Saved;

  char* map(int flags, char* at) const;
  /// A page of the private view that was written is anonymous (Documentation/admin-guide/mm/
  /// pagemap.rst: bit 63 present, 62 swapped, 61 file page). Copying is far cheaper than mapping
  /// anew, after which every page faults again.
  void restore_written_pages();
  ring_header& ring(u64 first, u64 size, u32 r, u32 w);
  /// Puts the cursors of all rings in the arena at `start`.
  void move_rings(u64 start);
  void make_processes();

  Shape shape_;
  Geometry geometry_;
  u64 arena_size_, size_;
  Fd memory_;
  char* base_;
  char* original_ = nullptr; // what save() has kept
  Fd pagemap_;
  Arena arena_;
  std::unique_ptr<Saved> saved_;
  std::vector<std::vector<Bytes>> payloads_;                   // per queue, by sequence
  std::map<std::pair<u16, u32>, std::vector<Bytes>> expected_; // per port and queue, by sequence

public:
  std::vector<FakeRx> rx; // per queue; of the slow path, where there is one, the last
  std::vector<FakeTx> tx; // per queue; worker w transmits on queue w
  Supervisor supervisor;
  std::vector<u64> delivered; // the same way: packets of the feed so far
  Filter filter;
  /// What the supervisor does before each round of a scenario (kills.hpp), counted from 0.
  std::function<void(World&, u32 round)> before_round;
  std::vector<Process> processes; // split: fantail-rx, then the workers
};

} // namespace fantail::testing
