// SPDX-License-Identifier: MIT-0
//
// Bulk transmit: plays the kernel's side of one worker's TX and completion ring by running the XDP
// program on frames that the kernel makes for it (bpf/bulk.bpf.h), so that the stage runs
// unchanged. The rings, and the TX frames that a copy is written into, are in a BPF map of that
// worker (struct bulk_link).
//
//   transmit()   round 0:      TX ring → program → device; what it refuses is listed
//                round 1, …:   what the round before listed, again, for at most a millisecond
//                then:         completion ring; what is still refused as tx_full
//   follow()     the same where a pump makes the calls (link/pump.hpp): what there is to be done
//                now, without waiting
//
// Each step is one store, and what is to be done next follows from the words alone: a successor
// goes on where its predecessor was killed, also in the middle of a call, which the kernel finishes
// first. Beside a pump the worker stores to the lists and the cursor only while the program takes
// nothing: all that was taken is settled and something is refused, or the list is at its end.
#pragma once

#include <utility>

#include "shm/arena.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail {

/// A worker's map, mapped; unmapped with it.
class BulkPages {
public:
  BulkPages() = default;
  explicit BulkPages(int fd);
  BulkPages(BulkPages&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
  BulkPages& operator=(BulkPages&& other) noexcept {
    std::swap(at_, other.at_);
    return *this;
  }
  ~BulkPages();
  char* at() const { return at_; }

  /// Where in such a map the program reads a copy of that length from, whose descriptor says that
  /// it begins at `offset` of the worker's TX frame of that number: a short one has its own place.
  static char* copy_in(char* map, u32 frame, u32 offset, u32 length) {
    if (length <= FANTAIL_BULK_SHORT_SIZE)
      return map + u64{FANTAIL_BULK_SHORT_PAGE} * FANTAIL_FRAME_SIZE +
             u64{frame} * FANTAIL_BULK_SHORT_SIZE;
    return map + u64{FANTAIL_BULK_FRAME_PAGE + frame} * FANTAIL_FRAME_SIZE + offset;
  }

private:
  char* at_ = nullptr;
};

class BulkLink {
public:
  /// What makes the program take copies: at most so many; the errno of it, or 0.
  using Run = int (*)(const BulkLink& link, u32 copies, u32 first_length);

  /// `pages`: the worker's map, mapped; `program`: its descriptor; `queue`: the interface's number
  /// of the worker's queue. `run`: tests play the kernel.
  BulkLink(worker& counters, char* pages, int program, u32 queue, Run run = run_program)
      : counters_(counters), link_(*reinterpret_cast<bulk_link*>(pages)), pages_(pages),
        program_(program), queue_(queue), run_(run) {}

  KernelRing tx_ring() const;
  KernelRing completion_ring() const;
  char* pages() const { return pages_; }

  /// Sends all that is on the TX ring.
  void transmit(u64 retry_ns);
  /// Completes what a pump has sent, and has it send again what was refused. True: it has something
  /// to do.
  bool follow(u64 retry_ns);
  /// The last of it was given up, and the device had taken none.
  bool is_refused() const { return is_refused_; }

  bulk_link& words() const { return link_; }
  int program() const { return program_; }
  u32 queue() const { return queue_; }

  // for a pump, from its own thread

  /// Lets the program take copies, as many as come meanwhile, with so many frames; 0 or an errno.
  int run(u32 frames) const { return run_(*this, frames, next_length()); }
  /// Copies ever taken.
  u32 taken() const { return acquire(link_.taken); }
  /// The program would find nothing.
  bool is_empty() const;

private:
  static int run_program(const BulkLink& link, u32 copies, u32 first_length);

  u32 call();
  u32 next_length() const;
  void send_again(u32 refused, u32 taken, u64 retry_ns);
  void note(u64 settled);
  bool is_done();
  void begin_round();
  void give_up(u32 to);
  void finish();
  void complete(u32 to);
  u16 outcome_of(u32 index) const;
  u32 round() const;
  bulk_list& list(u32 of) const;
  bool has_given_up() const;

  worker& counters_;
  bulk_link& link_;
  char* pages_;
  int program_;
  u32 queue_;
  Run run_;
  bool is_refused_ = false;
  // of follow(): until when what is refused is sent again (0: nothing is), and what the program had
  // taken when the round began
  u64 deadline_ns_ = 0;
  u32 round_taken_ = 0;
};

} // namespace fantail
