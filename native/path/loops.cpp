// SPDX-License-Identifier: MIT-0
#include "path/loops.hpp"

#include <sched.h>

#include <algorithm>

namespace fantail {

namespace {

constexpr int sleep_ms = 1000;            // a sleeper's heartbeat
constexpr int brief_sleep_ms = 10;        // while frames are under way whose return wakes nobody
constexpr u64 path_pause_ns = 10'000'000; // without copies, before another path is taken up
constexpr u64 drain_ns = 100'000'000;     // how long a halted worker waits for its last completions

bool halted(const Arena& arena) { return acquire(arena.control().state) == RUN_STATE_HALT; }

/// By link: in socket mode those of the process's queues, its own first; else the slow path's.
FeedSockets open_feed_sockets(const Arena& arena, const Inherited& fds) {
  const arena_header& h = arena.header();
  std::vector<int> first;
  if (h.mode != MODE_SOCKET) {
    if (fds.slow_path >= 0) first.push_back(fds.slow_path);
  } else {
    first = fds.rx.empty() ? std::vector{fds.tx.socket} : fds.rx;
  }
  const int channel = first.empty() ? -1 : fds.feed_channel;
  return FeedSockets(std::move(first), channel, {-1, h.listen_ip, h.listen_port});
}

/// The slow path, where there is one, comes last.
std::vector<RxLinkOwner> open_links(Arena& arena, u32 first, u32 stride, const Inherited& fds,
                                    FeedSockets& feed_sockets) {
  std::vector<RxLinkOwner> links;
  links.reserve(fds.rx.size() + 1);
  const bool is_udp = arena.header().mode == MODE_SOCKET;
  for (u32 i = 0; i < fds.rx.size(); ++i) {
    const u32 queue = first + i * stride;
    links.push_back(is_udp ? RxLinkOwner::udp(arena, queue, feed_sockets, i, fds.intakes.at(i))
                           : RxLinkOwner::xdp(arena, queue, fds.rx[i]));
  }
  if (fds.slow_path >= 0)
    links.push_back(RxLinkOwner::slow(arena, feed_sockets, fds.intakes.at(0)));
  return links;
}

/// AF_XDP sockets, by which a process that sleeps is to be woken.
std::vector<int> xdp_sockets_of(const Arena& arena, const Inherited& fds) {
  return arena.header().mode == MODE_SOCKET ? std::vector<int>() : fds.rx;
}

std::vector<RxLink> views(const std::vector<RxLinkOwner>& owners) {
  std::vector<RxLink> links;
  for (const RxLinkOwner& owner : owners) links.push_back(owner.link());
  return links;
}

/// Inline: one receiver per queue of this worker, and the first has the slow path, too.
std::vector<RxStage> open_stages(Arena& arena, u32 worker, const std::vector<RxLinkOwner>& links,
                                 std::vector<int> wakes) {
  if (worker < wakes.size()) wakes[worker] = -1; // it does not wake itself
  std::vector<std::vector<RxLink>> receivers;
  for (const RxLinkOwner& owner : links) {
    if (owner.link().is_slow) receivers.at(0).push_back(owner.link());
    else receivers.push_back({owner.link()});
  }
  std::vector<RxStage> stages;
  stages.reserve(receivers.size());
  for (const std::vector<RxLink>& each : receivers)
    stages.emplace_back(arena, arena.queue_of(each[0].frames.first), each, wakes);
  return stages;
}

} // namespace

WorkerLoop::WorkerLoop(Arena& arena, u32 worker, const Inherited& fds, filter_calls* calls)
    : arena_(arena), index_(worker), self_(arena.worker(worker)), calls_(calls),
      feed_sockets_(open_feed_sockets(arena, fds)),
      rx_links_(open_links(arena, worker, arena.header().workers, fds, feed_sockets_)),
      tx_link_(arena, worker, fds.tx, feed_sockets_), path_(tx_link_.path(peek(self_.path))),
      rx_(open_stages(arena, worker, rx_links_, fds.worker_wakes)),
      tx_(arena, worker, tx_link_.link(path_), fds.kernel_sockets),
      idle_(arena.header().busy_poll != 0, arena.header().yield != 0, fds.wake,
            xdp_sockets_of(arena, fds), feed_sockets_),
      looks_suffice_(arena.header().mode == MODE_COPY || arena.header().mode == MODE_SKB) {
  tx_.filters().set_calls(calls);
  put(self_.path, u32{path_});
}

int WorkerLoop::wait() {
  for (;;) {
    if (may_change_path()) change_path();
    tx_.begin_turn();
    u32 moved = 0;
    for (RxStage& stage : rx_) moved += stage.turn();
    tx_.received();
    tx_.gather();
    if (moved + tx_.packets() != 0) idle_.worked();
    calls_->orders = has_orders();
    is_asked_ = tx_.jobs() != 0;
    if (is_asked_) return static_cast<int>(tx_.filters().calls());
    tx_.finish();
    if (halted(arena_)) break;
    if (calls_->orders != 0) return 0;
    if (tx_.packets() == 0) rest();
  }
  drain();
  return -1;
}

void WorkerLoop::finish() {
  if (is_asked_) tx_.finish();
  is_asked_ = false;
}

void WorkerLoop::set_window(const char* frames) {
  for (RxStage& stage : rx_) stage.set_window(frames);
}

bool WorkerLoop::has_orders() const {
  return acquire(arena_.control().filter_orders) != peek(self_.filter_orders_done);
}

/// After a turn that moved nothing: until something has, or for a sleep. A look at the words that
/// would say so takes a quarter of a turn. Only a turn will do where no kernel moves them (socket
/// mode), where a driver may want to be woken first (zero copy), or where descriptors are left to
/// kick.
void WorkerLoop::rest() {
  do {
    if (idle_.is_over(self_.heartbeat_ns)) return sleep();
  } while (looks_suffice_ && tx_.has_sent_all() && is_idle());
}

bool WorkerLoop::is_idle() const {
  if (!tx_.was_idle() || halted(arena_) || has_orders() || may_change_path()) return false;
  return std::all_of(rx_.begin(), rx_.end(), [](const RxStage& stage) { return stage.was_idle(); });
}

void WorkerLoop::sleep() {
  publish(self_.asleep, 1u);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const bool brief = tx_.in_flight() != 0 ||
                     std::any_of(rx_.begin(), rx_.end(),
                                 [](const RxStage& stage) { return stage.awaits_frames(); });
  if (is_idle()) idle_.sleep(brief ? brief_sleep_ms : sleep_ms);
  for (RxStage& stage : rx_) stage.slept();
  publish(self_.asleep, 0u);
  put(self_.heartbeat_ns, clock_ns());
}

transmit WorkerLoop::wanted_path() const {
  return tx_link_.path(u32(peek(arena_.control().bulk_wanted) >> index_ & 1));
}

bool WorkerLoop::may_change_path() const { return wanted_path() != path_ && tx_.in_flight() == 0; }

/// After a pause without copies alone: two of one subscriber that leave by two paths may overtake
/// one another further on. Or where the path sends none anyway.
void WorkerLoop::change_path() {
  const bool has_paused = peek(self_.heartbeat_ns) >= tx_.submitted_ns() + path_pause_ns;
  if (!has_paused && !tx_.is_refused()) return;
  path_ = wanted_path();
  tx_.use(tx_link_.link(path_));
  put(self_.path, u32{path_});
  add(self_.path_changes, 1);
}

/// What is on the TX ring goes out before the process does.
void WorkerLoop::drain() {
  const u64 deadline = clock_ns() + drain_ns;
  while (tx_.in_flight() != 0 && clock_ns() < deadline) tx_.drain();
}

ReceiverLoop::ReceiverLoop(Arena& arena, const Inherited& fds)
    : arena_(arena), self_(arena.receiver(0)), feed_sockets_(open_feed_sockets(arena, fds)),
      links_(open_links(arena, 0, 1, fds, feed_sockets_)),
      rx_(arena, 0, views(links_), fds.worker_wakes),
      idle_(arena.header().busy_poll != 0, arena.header().yield != 0, fds.wake,
            xdp_sockets_of(arena, fds), feed_sockets_) {}

void ReceiverLoop::run() {
  Laps laps;
  while (!halted(arena_)) {
    laps.begin();
    const u32 moved = rx_.turn();
    if (moved != 0) {
      laps.lap(STAGE_RECEIVE);
      if (laps.end()) note(moved, laps.spent(STAGE_RECEIVE));
      idle_.worked();
      if (arena_.header().yield != 0) sched_yield(); // the worker that has this core gets it now
    } else if (idle_.is_over(self_.heartbeat_ns)) {
      sleep();
    }
  }
}

void ReceiverLoop::note(u32 frames, u64 spent_ns) {
  add(self_.timed_bursts, 1);
  add(self_.timed_frames, frames);
  add(self_.receive_ns, spent_ns);
}

void ReceiverLoop::sleep() {
  publish(self_.asleep, 1u);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (rx_.was_idle() && !halted(arena_))
    idle_.sleep(rx_.awaits_frames() ? brief_sleep_ms : sleep_ms);
  rx_.slept();
  publish(self_.asleep, 0u);
  put(self_.heartbeat_ns, clock_ns());
}

void pin_to_cpu(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  check(sched_setaffinity(0, sizeof set, &set), "pinning to a CPU (see --cpus)");
}

} // namespace fantail
