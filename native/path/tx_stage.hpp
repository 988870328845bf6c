// SPDX-License-Identifier: MIT-0
//
// tx_stage: the rings of the receivers → jobs → (filter) → frames → TX ring; and completion ring →
// free frames.
//
// A TX worker alone calls it, in one loop:  gather() → the filters answer the jobs, one call each →
// finish(). Jobs stand grouped by filter, so that each is called once; copies are submitted in the
// order of the rotation. gather() only looks: slots stay on the rings until finish() commits
// everything of the burst at once (frames, cursors, every subscriber's account), so a worker killed
// anywhere leaves either the whole burst or none of it done.
//
// A TX frame is in exactly one of these places:
//     free ring → (finish) → TX ring or kernel → completion ring → (reap) → free ring
// An RX frame that is sent in place goes: forward ring → TX ring or kernel → completion ring →
// giveback ring. System calls that it may make: sendto (kick), sendmsg (subscribers in kernel
// state), sendmmsg (socket mode).
#pragma once

#include <vector>

#include "path/free_frames.hpp"
#include "path/laps.hpp"
#include "path/soft_link.hpp"
#include "shm/arena.hpp"
#include "xdp/kernel_ring.hpp"

namespace fantail {

/// The transmitting side of a worker's queue. `soft` is set in socket mode, `xsk_fd` otherwise; -1
/// in tests.
struct TxLink {
  KernelRing tx;
  KernelRing completion;
  SoftLink* soft = nullptr;
  int xsk_fd = -1;
};

class TxStage {
public:
  /// `kernel_sockets`: the pool of connected sockets of subscribers in kernel state.
  TxStage(Arena& arena, u32 worker, TxLink link, std::vector<int> kernel_sockets);

  /// Where gather() is to write its calls instead of here: memory that JavaScript sees, and that
  /// outlives this.
  void set_calls(filter_calls* calls) { calls_ = calls; }
  /// The filter in `slot` keeps state in that block (nobody's: none_block), which starts from zeros
  /// if it was another owner's.
  void set_state(u32 slot, u32 block, u64 owner);
  /// Another module in a slot counts from zero.
  void set_module(u32 slot, u64 module);
  static constexpr u32 no_block = FANTAIL_FILTERS_MAX;

  /// Before the receiving part of a turn, and after it: so that a timed burst knows what that took.
  void begin_turn() { laps_.begin(); }
  void received() { laps_.lap(STAGE_RECEIVE); }
  /// Reaps completions, takes packets, writes jobs for the filters. Returns how many jobs; 0:
  /// nothing to filter (packets that need no filter are done already, and completions are
  /// committed).
  u32 gather();
  /// The filters to call for them.
  u32 calls() const { return static_cast<u32>(groups_.size()); }
  /// In a timed burst: that call has returned.
  void called(u32 call);
  /// Believes the filters' answers as far as they are lawful, builds the frames, commits, kicks.
  void finish();
  /// Takes completions and nothing else: the way out of a worker that is to halt.
  void reap_only();
  /// Makes the kernel transmit what is on the TX ring. True when nothing is left there.
  bool kick();

  /// After a trap in that call: charges the job that trapped, returns the first one after it, at
  /// most the call's end.
  u32 trapped(u32 call);
  u32 jobs() const { return static_cast<u32>(asked_.size()); }
  /// Copies on the TX ring or on their way to completion.
  u32 in_flight() const { return submitted_ - completed_; }
  /// The kernel has taken every descriptor from the TX ring.
  bool has_sent_all() const { return acquire(*link_.tx.consumer) == submitted_; }
  /// Racy look for the way to sleep: was there nothing to do just now?
  bool was_idle() const;
  /// Packets taken by the last gather(), with or without jobs.
  u32 packets() const { return static_cast<u32>(burst_.size()); }

private:
  /// What gather() asked, kept where a filter cannot reach it.
  struct Asked {
    u32 packet; // index into burst_
    u32 job;    // index into jobs_ and slots_
    u16 row;
    u8 slot;
  };
  /// A live row of this worker, as the table had it when it was adopted.
  struct Served {
    u16 row;
    u16 state;
    u8 slot; // of its filter
  };
  /// The jobs of one filter in a burst: [packets × first, packets × (first + count)).
  struct Group {
    u32 slot;
    u32 first, count; // jobs of one packet
  };
  struct Tally {
    u32 sent, dropped, bad_answers, too_big;
  };
  struct Packet {
    u32 address; // in the UMEM
    u32 length;
    u64 stamp_ns;
    bool alone; // one worker, one subscriber: the frame itself may be sent
    bool kept;  // it was: the receiver gets it back when it completes
  };
  /// A datagram on its way through a kernel socket; private, since its RX frame is given back
  /// before it is sent.
  struct KernelCopy {
    u16 row;
    u32 length;
    char bytes[FANTAIL_FRAME_SIZE];
  };

  void adopt_table();
  void follow(u64 generation);
  void restart_account(u16 row, u64 epoch);
  void charge_backlog();
  u32 reap();
  void complete(u64 entry);
  u32 room() const;
  void make_room();
  u32 take_packets();
  void group_rows();
  void begin_calls();
  void keep_state(u32 block);
  void recover_states();
  void note_answers();
  u64 realtime_offset(u64 now_ns);
  void ask(u32 packet);
  u32 payload_sum(const Packet& packet) const;
  void answer(u32 index);
  u32 refusal(const job& answer, const Packet& packet, Tally& tally) const;
  bool send_in_place(const Asked& asked, const job& answer);
  void send_copy(const Asked& asked, const job& answer);
  void submit(u64 address, u32 length, tag& tag, u16 row);
  void drop(u16 row, u32 why, u64 count = 1);
  void mark(u16 row, u32 change);
  void give_back(u32 frame);
  tag* tag_of(u32 frame) const;
  void commit();
  void commit_accounts();
  void note_inside(u64 now_ns);
  void note_laps();
  void keep_for_kernel(const Asked& asked, const job& answer);
  void send_kernel_copies();
  u32 send_one(const KernelCopy& copy) const;
  void recover_kernel_copies();
  void mark_lost();

  Arena& arena_;
  worker& self_;
  u32 index_;
  TxLink link_;
  std::vector<int> kernel_sockets_;
  u32* kernel_words_[2]; // TX producer, completion consumer
  Journal journal_;
  job* jobs_;
  char* slots_;
  bool checksum_full_;
  u32 length_max_; // Ethernet frame, bytes
  bool rotate_;

  std::vector<Consumer<forward_slot>> forward_; // from each receiver
  std::vector<Producer<u32>> giveback_;         // to each receiver
  u32 next_receiver_ = 0;
  u32 submitted_, completed_; // TX producer and completion consumer, ahead of what is committed
  FreeFrames free_;
  std::vector<u64> backlog_seen_;
  u64 packets_;
  u64 kernel_pending_ = 0;
  u64 in_place_;

  std::vector<counters> account_; // mirror of the rows, ahead of what is committed
  std::vector<u32> changes_;      // per row: bits of what differs from the committed row
  std::vector<u16> changed_;      // rows with any bit set

  u64 generation_ = 0;
  const table* table_ = nullptr;
  std::vector<Served> rows_;  // live rows of this worker, in order of adding
  std::vector<Group> groups_; // by filter slot; those that a burst has jobs for
  u32 rotation_ = 0;
  u32 resume_ = 0; // first job that a trap may be charged to
  u32 next_job_[FANTAIL_FILTERS_MAX] = {};
  u32 block_[FANTAIL_FILTERS_MAX]; // of each slot's state, or no_block
  Tally tally_[FANTAIL_FILTERS_MAX] = {};
  u64 call_began_ns_ = 0;
  // CLOCK_REALTIME - CLOCK_MONOTONIC, and when that was
  u64 realtime_offset_ns_ = 0, realtime_read_ns_ = 0;
  filter_calls own_calls_{};
  filter_calls* calls_ = &own_calls_;
  u32 room_ = 0; // copies that still fit into this burst

  Laps laps_;
  std::vector<Asked> asked_;
  std::vector<Packet> burst_;
  std::vector<KernelCopy> kernel_copies_; // capacity KERNEL_COPIES_MAX from the start
};

} // namespace fantail
