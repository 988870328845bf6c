// SPDX-License-Identifier: MIT-0
//
// What each file of the addon adds to the exported object; addon.cpp calls them all.
#pragma once

#include <napi.h>

namespace fantail {

void export_watch(Napi::Object exports);

} // namespace fantail

// Written in worker.cpp.
Napi::Object init_worker(Napi::Env env, Napi::Object exports);
