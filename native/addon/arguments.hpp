// SPDX-License-Identifier: MIT-0
//
// Guard lines of the addon's functions: each takes one argument, checks its type and range, and
// throws a TypeError with a sentence. Wrong arguments are errors of our own TypeScript, so the
// sentence is for its author. Included in this room only, which alone knows of N-API.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <napi.h>

#include "host/check.hpp"
#include "shm/layout.h"

namespace fantail {

/// The largest integer that a JavaScript number holds exactly.
constexpr double integer_max = 9007199254740991.0;

class Arguments {
public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  Napi::Env env() const { return info_.Env(); }

  /// An integer in [min, max]; not a fraction, NaN or a numeric string.
  double integer(std::size_t index, const char* name, double min, double max) const {
    return integer_in(info_[index], name, min, max);
  }

  double integer_in(Napi::Value value, const char* name, double min, double max) const {
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
    if (number >= min && number <= max && std::floor(number) == number) return number;
    refuse(name, "an integer from " + plain(min) + " to " + plain(max));
  }

  /// For what no function here checks.
  Napi::Value at(std::size_t index) const { return info_[index]; }

  int fd(std::size_t index, const char* name = "fd") const { return fd_in(info_[index], name); }

  int fd_in(Napi::Value value, const char* name) const {
    return static_cast<int>(integer_in(value, name, 0, INT32_MAX));
  }

  u16 port(std::size_t index) const { return port_in(info_[index]); }

  /// Network order.
  u16 port_in(Napi::Value value) const {
    return htons(static_cast<u16>(integer_in(value, "port", 0, UINT16_MAX)));
  }

  std::string text(std::size_t index, const char* name) const {
    return text_in(info_[index], name);
  }

  std::string text_in(Napi::Value value, const char* name) const {
    if (!value.IsString()) refuse(name, "a string");
    return value.As<Napi::String>().Utf8Value();
  }

  /// The index of a text among these.
  std::size_t one_of(std::size_t index, const char* name,
                     std::initializer_list<const char*> choices) const {
    const std::string word = text(index, name);
    std::size_t at = 0;
    std::string all;
    for (const char* choice : choices) {
      if (word == choice) return at;
      all += (at++ == 0 ? "" : " or ") + std::string(choice);
    }
    refuse(name, all);
  }

  std::optional<std::string> text_or_null(std::size_t index, const char* name) const {
    if (info_[index].IsNull()) return std::nullopt;
    if (!info_[index].IsString()) refuse(name, "a string or null");
    return text(index, name);
  }

  u32 ip(std::size_t index, const char* name = "ip") const { return ip_in(info_[index], name); }

  /// Network order.
  u32 ip_in(Napi::Value value, const char* name) const {
    u32 address = 0;
    const std::string written = text_in(value, name);
    if (written.find('\0') != std::string::npos ||
        inet_pton(AF_INET, written.c_str(), &address) != 1) {
      refuse(name, "an IPv4 address");
    }
    return address;
  }

  bool flag_in(Napi::Value value, const char* name) const {
    if (!value.IsBoolean()) refuse(name, "a boolean");
    return value.As<Napi::Boolean>().Value();
  }

  /// A list of RX queues of an interface.
  std::vector<u32> queues_in(Napi::Value value) const {
    if (!value.IsArray()) refuse("queues", "a list of queues");
    const auto list = value.As<Napi::Array>();
    std::vector<u32> queues;
    for (u32 i = 0; i < list.Length(); ++i)
      queues.push_back(
          static_cast<u32>(integer_in(list.Get(i), "queue", 0, FANTAIL_QUEUES_MAX - 1)));
    return queues;
  }

  Napi::Object object(std::size_t index, const char* name) const {
    if (!info_[index].IsObject()) refuse(name, "an object");
    return info_[index].As<Napi::Object>();
  }

  Napi::Uint8Array bytes(std::size_t index, const char* name) const {
    const Napi::Value value = info_[index];
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
      refuse(name, "a Uint8Array");
    return value.As<Napi::Uint8Array>();
  }

  Napi::ArrayBuffer array_buffer(std::size_t index, const char* name) const {
    if (!info_[index].IsArrayBuffer()) refuse(name, "an ArrayBuffer");
    return info_[index].As<Napi::ArrayBuffer>();
  }

  Napi::Array array(std::size_t index, const char* name, u32 length_max) const {
    if (!info_[index].IsArray()) refuse(name, "an array");
    const auto array = info_[index].As<Napi::Array>();
    if (array.Length() > length_max)
      refuse(name, "an array of at most " + std::to_string(length_max));
    return array;
  }

  Napi::Function function(std::size_t index, const char* name) const {
    if (!info_[index].IsFunction()) refuse(name, "a function");
    return info_[index].As<Napi::Function>();
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& expected) const {
    throw Napi::TypeError::New(info_.Env(), name + " must be " + expected);
  }

private:
  static std::string plain(double number) { return std::to_string(static_cast<long long>(number)); }

  const Napi::CallbackInfo& info_;
};

/// An errno's name as Node has it: of two names for one number, glibc takes EOPNOTSUPP.
inline std::string code_of(int number) {
  if (number == ENOTSUP) return "ENOTSUP";
  const char* const name = strerrorname_np(number);
  return name == nullptr ? "Unknown system error " + std::to_string(number) : name;
}

/// Runs one exported function; an Error of the plain C++ below becomes a JavaScript Error whose
/// `code` names its errno.
template<Napi::Value (*work)(const Arguments&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return work(Arguments(info));
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    Napi::Error thrown = Napi::Error::New(info.Env(), error.what());
    if (error.number > 0) thrown.Set("code", Napi::String::New(info.Env(), code_of(error.number)));
    throw thrown;
  } catch (const std::exception& error) {
    throw Napi::Error::New(info.Env(), error.what());
  }
}

template<Napi::Value (*work)(const Arguments&)>
void export_function(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<guarded<work>>(exports.Env(), name));
}

} // namespace fantail
