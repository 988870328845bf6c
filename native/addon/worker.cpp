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
#include "host/privileges.hpp"
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

[[noreturn]] void throw_js(Napi::Env env, const std::exception& error) {
  throw Napi::Error::New(env, error.what());
}

Attached& worker_of(Napi::Env env) {
  if (!attached) throw Napi::Error::New(env, "no worker is attached");
  return *attached;
}

std::vector<int> fd_list(Napi::Value value, const char* name) {
  if (!value.IsArray())
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a list of descriptors");
  const Napi::Array list = value.As<Napi::Array>();
  std::vector<int> fds;
  for (u32 i = 0; i < list.Length(); ++i) {
    const Napi::Value item = list[i];
    const double fd = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : -1;
    if (!(fd >= 0 && fd <= INT32_MAX && fd == static_cast<int>(fd)))
      throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a list of descriptors");
    fds.push_back(static_cast<int>(fd));
  }
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

/// attachWorker({arena, worker, rx, tx, wake, workerWakes, kernelSockets}, calls) → bytes that a
/// filter's memory must have.
Napi::Value attach_worker(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Arguments arguments(info);
  if (!info[0].IsObject()) throw Napi::TypeError::New(env, "attachWorker takes an object");
  if (attached) throw Napi::Error::New(env, "this process is a worker already");
  const Napi::Object options = info[0].As<Napi::Object>();
  const auto fd = [&](const char* name) {
    return static_cast<int>(arguments.integer_in(options.Get(name), name, 0, INT32_MAX));
  };
  Inherited fds;
  fds.tx = fd("tx");
  fds.wake = fd("wake");
  fds.rx = fd_list(options.Get("rx"), "rx");
  fds.worker_wakes = fd_list(options.Get("workerWakes"), "workerWakes");
  fds.kernel_sockets = fd_list(options.Get("kernelSockets"), "kernelSockets");
  const u32 worker = static_cast<u32>(
      arguments.integer_in(options.Get("worker"), "worker", 0, FANTAIL_WORKERS_MAX - 1));
  filter_calls* const calls = calls_in(info[1]);
  // The kernel looks a descriptor up faster where no other thread shares the table: 40 ns of each
  // kick.
  unshare(CLONE_FILES);
  try {
    attached =
        std::make_unique<Attached>(fd("arena"), worker, fds, info[1].As<Napi::TypedArray>(), calls);
  } catch (const Error& error) {
    throw_js(env, error);
  }
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
Napi::Value overlay_window(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Arguments arguments(info);
  Attached& worker = worker_of(env);
  if (!info[0].IsArrayBuffer() || !info[1].IsObject())
    throw Napi::TypeError::New(
        env, "overlayWindow takes the buffer of a WebAssembly.Memory, and an object");
  Napi::ArrayBuffer buffer = info[0].As<Napi::ArrayBuffer>();
  const Napi::Object options = info[1].As<Napi::Object>();
  const auto number = [&](const char* name, double max) {
    return arguments.integer_in(options.Get(name), name, 0, max);
  };
  constexpr double exact_max = 9007199254740991; // what a double counts without gaps
  const u32 slot = static_cast<u32>(number("slot", FANTAIL_FILTERS_MAX - 1));
  const u64 module = static_cast<u64>(number("module", exact_max)),
            owner = static_cast<u64>(number("owner", exact_max));
  const u32 block = options.Get("block").IsNull()
                        ? TxStage::no_block
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
  try {
    map(FANTAIL_WINDOW_JOBS, offset_of(arena.jobs(worker.index)), FANTAIL_JOBS_MAX * sizeof(job),
        PROT_READ | PROT_WRITE);
    map(FANTAIL_WINDOW_SLOTS, offset_of(arena.slots(worker.index)),
        FANTAIL_JOBS_MAX * FANTAIL_SLOT_SIZE, PROT_READ | PROT_WRITE);
    if (block != TxStage::no_block)
      map(FANTAIL_WINDOW_STATE, offset_of(arena.state(worker.index, block).block),
          FANTAIL_STATE_SIZE, PROT_READ | PROT_WRITE);
    map(FANTAIL_WINDOW_SUBSCRIBERS, h.table, 2 * sizeof(table), PROT_READ);
    map(FANTAIL_WINDOW_FRAMES, h.umem, frames, PROT_READ);
  } catch (const Error& error) {
    throw_js(env, error);
  }
  worker.loop.tx().set_module(slot, module);
  worker.loop.tx().set_state(slot, block, owner);
  if (slot == 0) worker.loop.set_window(memory + FANTAIL_WINDOW_FRAMES);
  return env.Undefined();
}

/// dropPrivileges(): user nobody, no capabilities, no_new_privs. Code must be loaded before.
Napi::Value drop_privileges(const Napi::CallbackInfo& info) {
  try {
    become_nobody();
  } catch (const Error& error) {
    throw_js(info.Env(), error);
  }
  return info.Env().Undefined();
}

Napi::Value pin(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  try {
    pin_to_cpu(static_cast<int>(arguments.integer(0, "cpu", 0, CPU_SETSIZE - 1)));
  } catch (const Error& error) {
    throw_js(info.Env(), error);
  }
  return info.Env().Undefined();
}

/// finish(): sends what the filters answered. A call of its own, since after a system call the
/// processor has forgotten where to return to, all the way up to JavaScript: it learns that here,
/// and not when the next packet is in a hurry.
napi_value finish(napi_env env, napi_callback_info) {
  if (attached) attached->loop.finish();
  else napi_throw_error(env, nullptr, "no worker is attached");
  return nullptr;
}

/// wait(): the next burst, or orders, or the end: see WorkerLoop::wait(). Its answer is in struct
/// filter_calls, since making a JavaScript number takes longer than reading one there.
napi_value wait(napi_env env, napi_callback_info) {
  if (!attached) {
    napi_throw_error(env, nullptr, "no worker is attached");
    return nullptr;
  }
  attached->runs = true;
  attached->calls->calls = static_cast<u32>(attached->loop.wait());
  return nullptr;
}

u32 call_in(const Napi::CallbackInfo& info, Attached& worker) {
  const u32 calls = worker.loop.tx().calls();
  return static_cast<u32>(Arguments(info).integer(0, "call", 0, calls == 0 ? 0 : calls - 1));
}

/// trapped(call): the first job of that call that is still to be answered after a trap; trapped
/// jobs stay unanswered.
Napi::Value trapped(const Napi::CallbackInfo& info) {
  Attached& worker = worker_of(info.Env());
  return Napi::Number::New(info.Env(), worker.loop.tx().trapped(call_in(info, worker)));
}

/// called(call): in a timed burst, that call has returned.
Napi::Value called(const Napi::CallbackInfo& info) {
  Attached& worker = worker_of(info.Env());
  worker.loop.tx().called(call_in(info, worker));
  return info.Env().Undefined();
}

/// ordersDone(number): the supervisor's orders up to that one are carried out.
Napi::Value orders_done(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  worker_of(info.Env())
      .loop.orders_done(static_cast<u64>(arguments.integer(0, "number", 0, 9007199254740991)));
  return info.Env().Undefined();
}

/// readConsistent(arena, state, source, words): copies u64 words that one stage writes, none of its
/// commits between them. `state`, `source`: offsets in the arena. False if it never stood still.
Napi::Value read_words(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  struct Row {
    u64 word[sizeof(counters) / sizeof(u64)];
  };
  if (!info[0].IsArrayBuffer() || !info[3].IsTypedArray())
    throw Napi::TypeError::New(info.Env(), "readConsistent takes buffers");
  Napi::ArrayBuffer arena = info[0].As<Napi::ArrayBuffer>();
  Napi::BigUint64Array target = info[3].As<Napi::BigUint64Array>();
  const double end = static_cast<double>(arena.ByteLength() - sizeof(Row));
  const u64 state = static_cast<u64>(arguments.integer(1, "state", 0, end));
  const u64 source = static_cast<u64>(arguments.integer(2, "source", 0, end));
  if (target.ElementLength() != std::size(Row{}.word) || state % 8 != 0 || source % 8 != 0)
    throw Napi::TypeError::New(info.Env(),
                               "readConsistent takes aligned offsets and room for one row");
  const char* base = static_cast<const char*>(arena.Data());
  // a burst takes microseconds: this many looks never fail but for a frozen machine
  constexpr u32 tries = 100'000;
  const bool whole = read_consistent(*reinterpret_cast<const u64*>(base + state),
                                     *reinterpret_cast<const Row*>(base + source),
                                     *reinterpret_cast<Row*>(target.Data()), tries);
  return Napi::Boolean::New(info.Env(), whole);
}

/// layout(): offsets and sizes as this compiler sees them, to be held against src/memory/layout.ts.
Napi::Value layout_version(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), FANTAIL_LAYOUT_VERSION);
}

} // namespace
} // namespace fantail

Napi::Object init_worker(Napi::Env env, Napi::Object exports) {
  using namespace fantail;
  exports.Set("attachWorker", Napi::Function::New(env, attach_worker));
  exports.Set("overlayWindow", Napi::Function::New(env, overlay_window));
  exports.Set("dropPrivileges", Napi::Function::New(env, drop_privileges));
  exports.Set("pinToCpu", Napi::Function::New(env, pin));
  exports.Set("trapped", Napi::Function::New(env, trapped));
  exports.Set("called", Napi::Function::New(env, called));
  exports.Set("ordersDone", Napi::Function::New(env, orders_done));
  exports.Set("readConsistent", Napi::Function::New(env, read_words));
  exports.Set("layoutVersion", Napi::Function::New(env, layout_version));
  constexpr std::pair<const char*, napi_callback> raw[] = {{"wait", wait}, {"finish", finish}};
  for (const auto& [name, body] : raw) {
    napi_value function = nullptr;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, body, nullptr, &function) != napi_ok)
      throw Napi::Error::New(env, std::string(name) + " cannot be exported");
    exports.Set(name, Napi::Function(env, function));
  }
  return exports;
}
