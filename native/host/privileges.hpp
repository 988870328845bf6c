// SPDX-License-Identifier: MIT-0
//
// Giving privileges up, once everything is open.
#pragma once

namespace fantail {

/// Empties every capability set of the calling thread and forbids it to gain any (no_new_privs).
/// Throws Error.
void drop_capabilities();

/// The same, and changes to user and group 65534 ("nobody") with no further groups; only where the
/// process is root. All threads of the process change user (the C library sees to that).
void become_nobody();

} // namespace fantail
