// SPDX-License-Identifier: MIT-0
//
// What nearly every native test includes, compiled once for each sanitizer (native/Makefile). A
// test still names what it uses.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "rig/testing.hpp"
#include "rig/world.hpp"
