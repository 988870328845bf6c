// SPDX-License-Identifier: MIT-0
//
// The data path's half of the addon: what a TX worker calls. One worker a process, attached once;
// it stays attached until the process ends.
//
// wait() and finish() are raw N-API without argument objects: they are called for each burst (9 ns
// against 21 through node-addon-api).
#include <fcntl.h>
#include <napi.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <cinttypes>

#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "path/loops.hpp"

namespace fantail {
namespace {

constexpr std::size_t page_size = 4096;

/// The one worker of this process.
struct Attached {
  Arena arena;
  WorkerLoop loop;
  u32 index;
  filter_calls* calls;
  Napi::Reference<Napi::TypedArray> view; // keeps `calls` alive
  bool runs = false;                      // wait() was called: packets may be waiting
  Attached(int arena_fd, u32 worker, const Inherited& fds, Napi::TypedArray calls_view,
           filter_calls* memory)
      : arena(Arena::attach(arena_fd)), loop(arena, worker, fds, memory), index(worker),
        calls(memory), view(Napi::Persistent(calls_view)) {
    view.SuppressDestruct(); // the process ends first
  }
};
std::unique_ptr<Attached> attached;

Attached& worker_of(Napi::Env env) {
  if (!attached) throw Napi::Error::New(env, "no worker is attached");
  return *attached;
}

std::vector<int> fds_in(const Arguments& arguments, Napi::Value value, const char* name) {
  if (!value.IsArray()) arguments.refuse(name, "a list of descriptors");
  const auto list = value.As<Napi::Array>();
  std::vector<int> fds;
  for (u32 i = 0; i < list.Length(); ++i) fds.push_back(arguments.fd_in(list.Get(i), name));
  return fds;
}

/// A Uint32Array over memory of its own, as large as a struct filter_calls.
filter_calls* calls_in(Napi::Value value) {
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint32_array) {
    Napi::Uint32Array view = value.As<Napi::Uint32Array>();
    if (view.ByteLength() == sizeof(filter_calls))
      return reinterpret_cast<filter_calls*>(view.Data());
  }
  throw Napi::TypeError::New(value.Env(),
                             "calls must be a Uint32Array of the size of struct filter_calls");
}

/// attachWorker({arena, worker, rx, slowPath, feedChannel, intakes, tx, pages, program, pump, wake,
/// workerWakes, kernelSockets}, calls) → bytes that a filter's memory must have. `slowPath`: null
/// but for the first receiver; `tx`: null where it sends in bulk alone; `pages` and `program`: null
/// where it does not; `pump`: null, or the core of its pump, -1 for any.
Napi::Value attach_worker(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const Napi::Object options = arguments.object(0, "descriptors");
  if (attached) throw Napi::Error::New(env, "this process is a worker already");
  const auto fd = [&](const char* name) { return arguments.fd_in(options.Get(name), name); };
  const auto fd_list = [&](const char* name) { return fds_in(arguments, options.Get(name), name); };
  Inherited fds;
  const auto fd_or_none = [&](const char* name) {
    return options.Get(name).IsNull() ? -1 : fd(name);
  };
  fds.tx.socket = fd_or_none("tx");
  fds.tx.pages = fd_or_none("pages");
  fds.tx.program = fd_or_none("program");
  fds.tx.has_pump = !options.Get("pump").IsNull();
  if (fds.tx.has_pump)
    fds.tx.pump_cpu =
        static_cast<int>(arguments.integer_in(options.Get("pump"), "pump", -1, CPU_SETSIZE - 1));
  if ((fds.tx.pages < 0) != (fds.tx.program < 0) || (fds.tx.socket < 0 && fds.tx.pages < 0))
    arguments.refuse("tx, pages and program", "a socket, or a map and its program, or all three");
  if (fds.tx.has_pump && fds.tx.pages < 0)
    arguments.refuse("pump", "null where nothing is in bulk");
  fds.wake = fd("wake");
  fds.rx = fd_list("rx");
  fds.slow_path = fd_or_none("slowPath");
  fds.feed_channel = fd("feedChannel");
  fds.intakes = fd_list("intakes");
  if (fds.slow_path >= 0 && (fds.rx.empty() || fds.intakes.empty()))
    arguments.refuse("slowPath", "null where nothing is received, else with its intake");
  if (fds.slow_path >= 0 && fds.rx.empty())
    arguments.refuse("slowPath", "null where nothing is received");
  fds.worker_wakes = fd_list("workerWakes");
  fds.kernel_sockets = fd_list("kernelSockets");
  const u32 worker = static_cast<u32>(
      arguments.integer_in(options.Get("worker"), "worker", 0, FANTAIL_WORKERS_MAX - 1));
  filter_calls* const calls = calls_in(arguments.at(1));
  // The kernel looks a descriptor up faster where no other thread shares the table: 40 ns of each
  // kick.
  unshare(CLONE_FILES);
  attached = std::make_unique<Attached>(fd("arena"), worker, fds,
                                        arguments.at(1).As<Napi::TypedArray>(), calls);
  const arena_header& header = attached->arena.header();
  return Napi::Number::New(env, FANTAIL_WINDOW_FRAMES +
                                    static_cast<double>(header.rx_frames) * FANTAIL_FRAME_SIZE);
}

/// `populate`: no page faults on the packet path; but it takes milliseconds, in which packets would
/// wait.
void map_over(char* memory, u64 window, const Arena& arena, u64 offset, u64 size, int protection,
              bool populate) {
  const int flags = MAP_SHARED | MAP_FIXED | (populate ? MAP_POPULATE : 0);
  void* at = mmap(memory + window, size, protection, flags, arena.fd(), static_cast<off_t>(offset));
  if (at == MAP_FAILED) throw error_of(errno, "mapping the arena into the filter's memory");
}

/// overlayWindow(buffer, {slot, module, block, owner}): lays the arena over the pages of a
/// WebAssembly.Memory from WINDOW_JOBS on, for the module in that slot. Jobs, header slots and its
/// block of state (null: it keeps none) are writable; subscribers and RX frames are not, so that a
/// filter's store there traps.
Napi::Value overlay_window(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  Attached& worker = worker_of(env);
  Napi::ArrayBuffer buffer = arguments.array_buffer(0, "memory");
  const Napi::Object options = arguments.object(1, "place");
  const auto number = [&](const char* name, double max) {
    return arguments.integer_in(options.Get(name), name, 0, max);
  };
  const u32 slot = static_cast<u32>(number("slot", FANTAIL_FILTERS_MAX - 1));
  const u64 module = static_cast<u64>(number("module", integer_max)),
            owner = static_cast<u64>(number("owner", integer_max));
  const u32 block = options.Get("block").IsNull()
                        ? Filters::no_block
                        : static_cast<u32>(number("block", FANTAIL_FILTERS_MAX - 1));
  const Arena& arena = worker.arena;
  const arena_header& h = arena.header();
  const u64 frames = u64{h.rx_frames} * FANTAIL_FRAME_SIZE;
  char* memory = static_cast<char*>(buffer.Data());
  if (buffer.ByteLength() < FANTAIL_WINDOW_FRAMES + frames ||
      reinterpret_cast<std::uintptr_t>(memory) % page_size != 0)
    throw Napi::Error::New(env, "the filter's memory is too small or not on a page");
  const auto offset_of = [&](const void* place) {
    return static_cast<u64>(static_cast<const char*>(place) - arena.base());
  };
  const auto map = [&](u64 window, u64 offset, u64 size, int protection) {
    map_over(memory, window, arena, offset, size, protection, !worker.runs);
  };
  map(FANTAIL_WINDOW_JOBS, offset_of(arena.jobs(worker.index)), FANTAIL_JOBS_MAX * sizeof(job),
      PROT_READ | PROT_WRITE);
  map(FANTAIL_WINDOW_SLOTS, offset_of(arena.slots(worker.index)),
      FANTAIL_JOBS_MAX * FANTAIL_SLOT_SIZE, PROT_READ | PROT_WRITE);
  if (block != Filters::no_block)
    map(FANTAIL_WINDOW_STATE, offset_of(arena.state(worker.index, block).block), FANTAIL_STATE_SIZE,
        PROT_READ | PROT_WRITE);
  map(FANTAIL_WINDOW_SUBSCRIBERS, h.table, 2 * sizeof(table), PROT_READ);
  map(FANTAIL_WINDOW_FRAMES, h.umem, frames, PROT_READ);
  worker.loop.tx().filters().set_module(slot, module);
  worker.loop.tx().filters().set_state(slot, block, owner);
  if (slot == 0) worker.loop.set_window(memory + FANTAIL_WINDOW_FRAMES);
  return env.Undefined();
}

/// pinToCpu(cpu): this thread runs there only.
Napi::Value pin(const Arguments& arguments) {
  pin_to_cpu(static_cast<int>(arguments.integer(0, "cpu", 0, CPU_SETSIZE - 1)));
  return arguments.env().Undefined();
}

/// Raw N-API's frame around a call: what that throws (a corrupt journal) becomes JavaScript's.
template<class Call> napi_value with_worker(napi_env env, Call&& call) {
  try {
    if (attached) call(*attached);
    else napi_throw_error(env, nullptr, "no worker is attached");
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  return nullptr;
}

/// finish(): sends what the filters answered. A call of its own, not the end of wait(): after a
/// system call the return-stack predictor is cold, so each return up to JavaScript is mispredicted.
/// It warms up here, and not between a packet's arrival and its filter.
napi_value finish(napi_env env, napi_callback_info) {
  return with_worker(env, [](Attached& worker) { worker.loop.finish(); });
}

/// wait(): the next burst, or orders, or the end: see WorkerLoop::wait(). Its answer is in struct
/// filter_calls, since making a JavaScript number takes longer than reading one there.
napi_value wait(napi_env env, napi_callback_info) {
  return with_worker(env, [](Attached& worker) {
    if (!worker.runs) worker.loop.tx().ready();
    worker.runs = true;
    worker.calls->calls = static_cast<u32>(worker.loop.wait());
  });
}

u32 call_in(const Arguments& arguments, Attached& worker) {
  const u32 calls = worker.loop.tx().filters().calls();
  return static_cast<u32>(arguments.integer(0, "call", 0, calls == 0 ? 0 : calls - 1));
}

/// trapped(call): the first job of that call that is still to be answered after a trap; trapped
/// jobs stay unanswered.
Napi::Value trapped(const Arguments& arguments) {
  Attached& worker = worker_of(arguments.env());
  return Napi::Number::New(arguments.env(),
                           worker.loop.tx().filters().trapped(call_in(arguments, worker)));
}

/// called(call): in a timed burst, that call has returned.
Napi::Value called(const Arguments& arguments) {
  Attached& worker = worker_of(arguments.env());
  worker.loop.tx().filters().called(call_in(arguments, worker));
  return arguments.env().Undefined();
}

/// ordersDone(number): the supervisor's orders up to that one are carried out.
Napi::Value orders_done(const Arguments& arguments) {
  const auto number = static_cast<u64>(arguments.integer(0, "number", 0, integer_max));
  worker_of(arguments.env()).loop.orders_done(number);
  return arguments.env().Undefined();
}

/// readConsistent(arena, state, source, words): copies u64 words that one stage writes, none of its
/// commits between them. `state`, `source`: offsets in the arena. False if it never stood still.
Napi::Value read_words(const Arguments& arguments) {
  struct Row {
    u64 word[sizeof(counters) / sizeof(u64)];
  };
  Napi::ArrayBuffer arena = arguments.array_buffer(0, "arena");
  if (!arguments.at(3).IsTypedArray()) arguments.refuse("words", "a BigUint64Array");
  Napi::BigUint64Array target = arguments.at(3).As<Napi::BigUint64Array>();
  const double end = static_cast<double>(arena.ByteLength() - sizeof(Row));
  const u64 state = static_cast<u64>(arguments.integer(1, "state", 0, end));
  const u64 source = static_cast<u64>(arguments.integer(2, "source", 0, end));
  if (target.ElementLength() != std::size(Row{}.word) || state % 8 != 0 || source % 8 != 0)
    throw Napi::TypeError::New(arguments.env(),
                               "readConsistent takes aligned offsets and room for one row");
  const char* base = static_cast<const char*>(arena.Data());
  // some tenths of a millisecond; a burst takes microseconds, unless its stage has lost its core
  constexpr u32 tries = 10'000;
  const bool whole = read_consistent(*reinterpret_cast<const u64*>(base + state),
                                     *reinterpret_cast<const Row*>(base + source),
                                     *reinterpret_cast<Row*>(target.Data()), tries);
  return Napi::Boolean::New(arguments.env(), whole);
}

Napi::Value layout_version(const Arguments& arguments) {
  return Napi::Number::New(arguments.env(), FANTAIL_LAYOUT_VERSION);
}

} // namespace

void export_worker(Napi::Object exports) {
  const Napi::Env env = exports.Env();
  export_function<attach_worker>(exports, "attachWorker");
  export_function<overlay_window>(exports, "overlayWindow");
  export_function<pin>(exports, "pinToCpu");
  export_function<trapped>(exports, "trapped");
  export_function<called>(exports, "called");
  export_function<orders_done>(exports, "ordersDone");
  export_function<read_words>(exports, "readConsistent");
  export_function<layout_version>(exports, "layoutVersion");
  constexpr std::pair<const char*, napi_callback> raw[] = {{"wait", wait}, {"finish", finish}};
  for (const auto& [name, body] : raw) {
    napi_value function = nullptr;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, body, nullptr, &function) != napi_ok)
      throw Napi::Error::New(env, std::string(name) + " cannot be exported");
    exports.Set(name, Napi::Function(env, function));
  }
}

} // namespace fantail
