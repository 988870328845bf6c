// SPDX-License-Identifier: MIT-0
//
// What the default filter does (assembly/rewrite.ts, which says why each line is as it is), in C++
// over the same memory and called in the same place: so that what WebAssembly costs can be
// measured, and for nothing else.
//
//   attach(buffer)               the memory of a WebAssembly.Memory; later calls replace it
//   burst(jobs, first, count)    as fantail_burst of the filter ABI
//
// Unlike the filter it is called through N-API, some 20 ns a burst, and nothing keeps it inside its
// memory.
#include <cstring>

#include <node_api.h>

#include "shm/layout.h"

using namespace fantail;

namespace {

char* memory = nullptr; // base of the memory attached last

template<typename T> T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template<typename T> void store(char* at, T value) { std::memcpy(at, &value, sizeof value); }

u32 network16(u32 value) { return (value & 0xff) << 8 | value >> 8; }
u32 pair(u32 words) { return (words & 0xffff) + (words >> 16); }
u32 fold(u32 sum) { return pair(pair(sum)); }

u32 udp_checksum(u32 header_sum, u32 payload_sum) {
  const u32 checksum = ~fold(header_sum + network16(fold(payload_sum))) & 0xffff;
  return checksum == 0 ? 0xffff : checksum;
}

void rewrite(const job& job, char* header) {
  const char* record = memory + job.subscriber;
  const u32 source = load<u32>(record + offsetof(subscriber, source_ip));
  const u32 target = load<u32>(record + offsetof(subscriber, ip));
  const u32 ports = load<u16>(memory + job.packet + 36) | // the feed's port
                    u32{load<u16>(record + offsetof(subscriber, port))} << 16;
  const u32 total_length = network16(job.length - 14), udp_length = network16(job.length - 34);
  const u32 addresses = pair(source) + pair(target);
  store(header, load<u64>(record + offsetof(subscriber, target_mac)));
  store(header + 8, load<u32>(record + offsetof(subscriber, source_mac) + 2));
  store(header + 12, u32{0x00450008});
  const u32 ttl = load<u8>(record + offsetof(subscriber, ttl)), fixed = 0x0045 + 0x0040 + 0x1100;
  store(header + 16, u64{total_length} | u64{0x11000040 | ttl << 16} << 32);
  store(header + 24, static_cast<u16>(~fold(fixed + ttl + total_length + addresses)));
  store(header + 26, source);
  store(header + 30, target);
  store(header + 34, ports);
  u32 checksum = 0;
  if (job.payload_sum != FANTAIL_VERDICT_UNSET)
    checksum = udp_checksum(addresses + 0x1100 + pair(ports) + 2 * udp_length, job.payload_sum);
  store(header + 38, udp_length | checksum << 16);
}

void answer(job& job) {
  if (job.length - FANTAIL_HEADER_SIZE > 14u + 0xffff - FANTAIL_HEADER_SIZE) {
    job.verdict = FILTER_VERDICT_DROP_COPY;
    return;
  }
  rewrite(job, memory + job.slot + FANTAIL_SLOT_HEADROOM);
  job.verdict = FILTER_VERDICT_SEND;
  job.header_start = FANTAIL_SLOT_HEADROOM;
  job.header_length = FANTAIL_HEADER_SIZE;
  job.replaced = FANTAIL_HEADER_SIZE;
}

napi_value attach(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value buffer;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, &buffer, nullptr, nullptr) != napi_ok || count != 1 ||
      napi_get_arraybuffer_info(env, buffer, &data, nullptr) != napi_ok)
    napi_throw_type_error(env, nullptr, "attach takes an ArrayBuffer");
  memory = static_cast<char*>(data);
  return nullptr;
}

napi_value burst(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value values[3];
  u32 number[3] = {};
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  for (size_t i = 0; i < count; ++i) napi_get_value_uint32(env, values[i], &number[i]);
  job* jobs = reinterpret_cast<job*>(memory + number[0]);
  for (u32 i = number[1]; i < number[1] + number[2]; ++i) answer(jobs[i]);
  return nullptr;
}

napi_value init(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"attach", nullptr, attach, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"burst", nullptr, burst, nullptr, nullptr, nullptr, napi_default, nullptr},
  };
  napi_define_properties(env, exports, 2, functions);
  return exports;
}

} // namespace

NAPI_MODULE(rewrite, init)
