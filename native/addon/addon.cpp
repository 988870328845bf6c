// SPDX-License-Identifier: MIT-0
//
// The addon: each function checks its arguments, calls plain C++, and turns the result into
// JavaScript. src/memory/addon.ts says what they do; it is their only caller.
#include "addon/exports.hpp"

namespace fantail {
namespace {

Napi::Object init(Napi::Env, Napi::Object exports) {
  // the supervisor's half
  export_interface(exports);
  export_card(exports);
  export_udp(exports);
  export_unix_sockets(exports);
  export_watch(exports);
  export_process(exports);
  export_xdp(exports);
  export_netlink(exports);
  // the data path's half
  export_worker(exports);
  return exports;
}

} // namespace
} // namespace fantail

using fantail::init;
NODE_API_MODULE(fantail, init)
