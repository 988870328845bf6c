// SPDX-License-Identifier: MIT-0
//
// Opening the data plane: everything that takes privileges (the arena, which is the UMEM too, the
// sockets, the XDP program), in the best mode that is possible. Only fantail-rx does; whoever else
// needs a part of it gets the descriptor.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "shm/arena.hpp"
#include "xdp/program.hpp"

namespace fantail {

/// The XDP program of another launcher, as descriptors.
struct SharedProgram {
  Attach attach;
  std::array<int, XDP_FDS> fds; // as Xdp::adopt() takes them
  std::vector<int> bulk;        // as tell_opened() lists them; none: it does not send in bulk
};

/// How workers are to send. Both: by the one or the other in turn, and by the ring alone where bulk
/// is not possible.
struct Paths {
  bool ring = true, bulk = false;
};

/// What is to be opened.
struct Opening {
  std::string interface; // "-": none
  std::optional<std::string> netns;
  std::vector<mode> modes; // in order of preference
  std::vector<u32> queues; // the interface's numbers
  Geometry geometry;       // but for its mode and queues
  Paths paths;
  std::vector<int> bulk_cpus;        // where each worker sends in bulk; -1: on any core
  std::optional<SharedProgram> join; // none: the program is to be loaded
  int slow_path = -1;                // its UDP socket, if there is one
  bool promiscuous = false;          // the feed may be sent to another host
};

/// What a predecessor has opened, as descriptors.
struct Adoption {
  int arena;
  std::vector<int> rx, intakes;
};

/// A mode that was not possible.
struct Fallback {
  mode from;
  std::string reason;
};

/// The XDP program, and how it is attached.
struct Program {
  Xdp xdp;
  Attach attach;
  std::string ring_because; // both paths are wanted, and this is in the way of bulk
};

/// All of it, open. Closing a socket ends its rings; the kernel detaches the program with the last
/// descriptor of its link.
struct DataPlane {
  Arena arena;
  std::vector<Fd> rx{};      // by queue
  std::vector<Fd> tx{};      // by worker; none if adopted, or if they send in bulk alone
  std::vector<Fd> pages{};   // by worker: their maps; none if adopted, or without bulk
  std::vector<Fd> intakes{}; // of each UDP socket that receives: by queue, or the slow path's
  std::optional<Program> program{}; // none in socket mode, or if adopted
  std::vector<Fallback> fallbacks{};
};

/// None of several modes was possible; the supervisor may know another way.
struct NoMode : Error {
  explicit NoMode(std::vector<Fallback> tried)
      : Error(0, "no mode is possible"), tried(std::move(tried)) {}
  std::vector<Fallback> tried;
};

/// Tries the modes in the order asked for. Where one was named, its failure is final: Error. Runs
/// in the interface's network namespace.
DataPlane open_data_plane(const Opening& opening);

DataPlane adopt_data_plane(const Adoption& adoption);

} // namespace fantail
