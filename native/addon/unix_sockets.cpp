// SPDX-License-Identifier: MIT-0
//
// Messages with descriptors to other processes of fantail.
#include <string>
#include <vector>

#include "addon/arguments.hpp"
#include "addon/exports.hpp"
#include "addon/values.hpp"
#include "host/descriptor_passing.hpp"
#include "host/namespace.hpp"

namespace fantail {
namespace {

Napi::Value socket_pair_js(const Arguments& arguments) {
  auto [left, right] = socket_pair();
  auto array = Napi::Array::New(arguments.env(), 2);
  array.Set(0u, fd_value(arguments.env(), std::move(left)));
  array.Set(1u, fd_value(arguments.env(), std::move(right)));
  return array;
}

Napi::Value send_message_js(const Arguments& arguments) {
  const int fd = arguments.fd(0);
  const std::string text = arguments.text(1, "text");
  if (text.empty() || text.size() > message_size_max) {
    arguments.refuse("text", "1 to " + std::to_string(message_size_max) + " bytes long");
  }
  const Napi::Array given = arguments.array(2, "fds", message_fds_max);
  std::vector<int> fds;
  for (u32 i = 0; i < given.Length(); ++i) {
    fds.push_back(arguments.fd_in(given.Get(i), "fds"));
  }
  send_message(fd, text, fds);
  return arguments.env().Undefined();
}

Napi::Value receive_message_js(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  Received received = receive_message(arguments.fd(0));
  if (received.what == Received::What::nothing) return env.Null();
  if (received.what == Received::What::closed) return Napi::String::New(env, "closed");
  auto fds = Napi::Array::New(env, received.fds.size());
  for (u32 i = 0; i < received.fds.size(); ++i)
    fds.Set(i, fd_value(env, std::move(received.fds[i])));
  auto object = Napi::Object::New(env);
  object.Set("text", received.text);
  object.Set("fds", fds);
  return object;
}

Napi::Value open_abstract_js(const Arguments& arguments) {
  const NamespaceName netns = arguments.text_or_null(0, "netns");
  return fd_value(arguments.env(), from_namespace<Fd>(netns, open_abstract));
}

Napi::Value bind_abstract_js(const Arguments& arguments) {
  const bool taken = bind_abstract(arguments.fd(0), arguments.text(1, "name"));
  return Napi::Boolean::New(arguments.env(), taken);
}

Napi::Value connect_abstract_js(const Arguments& arguments) {
  const bool connected = connect_abstract(arguments.fd(0), arguments.text(1, "name"));
  return Napi::Boolean::New(arguments.env(), connected);
}

Napi::Value connect_datagrams_js(const Arguments& arguments) {
  return fd_value(arguments.env(), connect_datagrams(arguments.text(0, "address")));
}

Napi::Value peer_uid_js(const Arguments& arguments) {
  return Napi::Number::New(arguments.env(), peer_uid(arguments.fd(0)));
}

Napi::Value accept_peer_js(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  std::optional<Peer> peer = accept_peer(arguments.fd(0));
  if (!peer) return env.Null();
  auto object = Napi::Object::New(env);
  object.Set("fd", fd_value(env, std::move(peer->fd)));
  object.Set("uid", peer->uid);
  object.Set("pid", peer->pid);
  return object;
}

} // namespace

void export_unix_sockets(Napi::Object exports) {
  export_function<socket_pair_js>(exports, "socketPair");
  export_function<send_message_js>(exports, "sendMessage");
  export_function<receive_message_js>(exports, "receiveMessage");
  export_function<open_abstract_js>(exports, "openAbstract");
  export_function<bind_abstract_js>(exports, "bindAbstract");
  export_function<connect_abstract_js>(exports, "connectAbstract");
  export_function<connect_datagrams_js>(exports, "connectDatagrams");
  export_function<peer_uid_js>(exports, "peerUid");
  export_function<accept_peer_js>(exports, "acceptPeer");
}

} // namespace fantail
