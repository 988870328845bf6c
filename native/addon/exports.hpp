// SPDX-License-Identifier: MIT-0
//
// What each file of the addon adds to the exported object. addon.cpp calls them all.
#pragma once

#include <napi.h>

namespace fantail {

void export_interface(Napi::Object exports);
void export_card(Napi::Object exports);
void export_udp(Napi::Object exports);
void export_unix_sockets(Napi::Object exports);
void export_watch(Napi::Object exports);
void export_process(Napi::Object exports);
void export_xdp(Napi::Object exports);
void export_netlink(Napi::Object exports);
void export_worker(Napi::Object exports);

} // namespace fantail
