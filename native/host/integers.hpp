// SPDX-License-Identifier: MIT-0
//
// Integers of a size, as the kernel's headers name them.
#pragma once

#include <cstdint>

namespace fantail {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

} // namespace fantail
