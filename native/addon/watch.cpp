// SPDX-License-Identifier: MIT-0
//
// watchFd: one thread, for all watches of a Node environment, waits in epoll_wait() and calls back
// on the event loop through a thread-safe function. Not libuv's uv_poll: an addon of N-API alone
// serves every Node.
//
// Level-triggered, one round at a time: the thread hands over what epoll_wait() found, sleeps until
// the last of those callbacks has returned, and looks again. So nothing is queued twice, a
// descriptor that is always ready gets one callback a round, between two of which the loop does its
// other work, and what became ready meanwhile is found by the next look.
#include <array>
#include <atomic>
#include <csignal>
#include <memory>
#include <semaphore>
#include <thread>
#include <unordered_map>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "addon/arguments.hpp"
#include "addon/exports.hpp"

namespace fantail {
namespace {

constexpr int round_max = 64;        // descriptors of one round; further ones wait for the next
constexpr std::uintptr_t end_id = 0; // of the eventfd that ends the thread

void check_napi(napi_status status, const char* doing) {
  if (status != napi_ok) throw Error(0, std::string(doing) + " failed");
}

/// The watches of one environment. Everything but run() happens on the event loop's thread; the
/// other one knows no watch but its number, which is never given twice. So a callback that is on
/// its way when its watch is closed finds nothing to call.
class Watches {
public:
  explicit Watches(Napi::Env env)
      : env_(env), epoll_(check(epoll_create1(EPOLL_CLOEXEC), "make an epoll")),
        end_(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "make an eventfd")) {
    add_to_epoll(end_.get(), EPOLLIN, end_id);
    check_napi(napi_create_threadsafe_function(env, nullptr, nullptr,
                                               Napi::String::New(env, "fantail.watchFd"), 0, 1,
                                               nullptr, nullptr, this, call_back, &calls_),
               "making a thread-safe function");
    start_thread();
    // Hooks run in reverse order: the thread has ended before the thread-safe function is torn
    // down.
    napi_add_env_cleanup_hook(env, [](void* self) { delete static_cast<Watches*>(self); }, this);
  }

  Watches(const Watches&) = delete;
  Watches& operator=(const Watches&) = delete;

  /// The watch's number, for close().
  std::uintptr_t open(int fd, const Napi::Function& callback) {
    const std::uintptr_t id = ++last_id_;
    try {
      add_to_epoll(fd, EPOLLIN | EPOLLRDHUP, id);
    } catch (...) {
      hold_loop();
      throw;
    }
    watches_.emplace(id, Watch{fd, Napi::Persistent(callback)});
    hold_loop();
    return id;
  }

  void close(std::uintptr_t id) {
    const auto watch = watches_.find(id);
    if (watch == watches_.end()) return;
    // Close the watch before the descriptor: epoll follows the open file, which a duplicate in
    // another process keeps alive. Refused if it was closed before; then the event finds no watch.
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watch->second.fd, nullptr);
    watches_.erase(watch);
    hold_loop();
  }

private:
  struct Watch {
    int fd;
    Napi::FunctionReference callback;
  };

  ~Watches() {
    ending_ = true;
    returned_.release(round_max);
    eventfd_write(end_.get(), 1);
    thread_.join();
    napi_release_threadsafe_function(calls_, napi_tsfn_release);
  }

  void add_to_epoll(int fd, u32 events, std::uintptr_t id) {
    epoll_event event{};
    event.events = events; // and EPOLLHUP and EPOLLERR, always
    event.data.u64 = id;
    check(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "watch a descriptor");
  }

  /// An open watch keeps the process alive.
  void hold_loop() {
    if (watches_.empty()) napi_unref_threadsafe_function(env_, calls_);
    else napi_ref_threadsafe_function(env_, calls_);
  }

  /// Node's own threads are to take the process's signals.
  void start_thread() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void run() {
    std::array<epoll_event, round_max> ready;
    while (!ending_) {
      const int found = epoll_wait(epoll_.get(), ready.data(), round_max, -1);
      int called = 0;
      for (int i = 0; i < found; ++i) {
        const auto id = static_cast<std::uintptr_t>(ready[static_cast<std::size_t>(i)].data.u64);
        if (id == end_id) return;
        void* const data = reinterpret_cast<void*>(id); // N-API passes pointers
        if (napi_call_threadsafe_function(calls_, data, napi_tsfn_nonblocking) != napi_ok) return;
        ++called;
      }
      while (called-- > 0) returned_.acquire();
    }
  }

  /// On the event loop, in a callback scope of Node's. Readable, hung up or in error: the callback
  /// reads, and so finds out which. `env` is null in calls that the end of the environment
  /// overtook.
  static void call_back(napi_env env, napi_value, void* context, void* data) {
    if (env == nullptr) return;
    auto* const self = static_cast<Watches*>(context);
    const auto watch = self->watches_.find(reinterpret_cast<std::uintptr_t>(data));
    if (watch != self->watches_.end()) {
      try {
        watch->second.callback.Value().Call({}); // may close this watch, and open others
      } catch (const Napi::Error& error) {
        napi_fatal_exception(env, error.Value()); // as an exception in any other callback
      }
    }
    self->returned_.release();
  }

  Napi::Env env_;
  Fd epoll_, end_;
  napi_threadsafe_function calls_ = nullptr;
  std::counting_semaphore<> returned_{0}; // callbacks of this round
  std::atomic<bool> ending_ = false;
  std::thread thread_;
  std::unordered_map<std::uintptr_t, Watch> watches_;
  std::uintptr_t last_id_ = end_id;
};

/// The cleanup hook is earlier, and deletes them.
void keep_watches(Napi::Env, Watches*) {}

/// Made by the first watch, ended with the environment.
Watches& watches_of(Napi::Env env) {
  if (auto* made = env.GetInstanceData<Watches>()) return *made;
  auto* const made = new Watches(env);
  env.SetInstanceData<Watches, keep_watches>(made);
  return *made;
}

Napi::Value watch_fd_js(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  Watches& watches = watches_of(env);
  const auto id = watches.open(arguments.fd(0), arguments.function(1, "callback"));
  auto object = Napi::Object::New(env);
  const auto close = [&watches, id](const Napi::CallbackInfo&) { watches.close(id); };
  object.Set("close", Napi::Function::New(env, close, "close"));
  return object;
}

} // namespace

void export_watch(Napi::Object exports) { export_function<watch_fd_js>(exports, "watchFd"); }

} // namespace fantail
