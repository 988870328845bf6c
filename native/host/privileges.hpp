// SPDX-License-Identifier: MIT-0
//
// Giving privileges up, once everything is open.
#pragma once

namespace fantail {

/// A user for each kind of process that handles what others send, so that one that is taken over
/// can neither signal nor trace another kind. 65520 to 65533 are users of nobody (systemd, "Users,
/// Groups, UIDs and GIDs on systemd systems").
enum class User : unsigned { receiver = 65521, worker = 65522, checker = 65523 };

/// Empties every capability set of the calling thread and forbids it to gain any (no_new_privs).
/// Throws Error.
void drop_capabilities();

/// The same, and changes to that user and group with no further groups; only where the process is
/// root and has CAP_SETUID, CAP_SETGID and CAP_KILL. All threads of the process change user (the C
/// library sees to that), and lose their capabilities by it (capabilities(7), effect of user ID
/// changes).
void become(User user);

/// What is started from now on gets none of the capabilities of a process that is not root
/// (capabilities(7), ambient set).
void clear_ambient_capabilities();

/// What is started from now on gets what this process may hand on (permitted and inheritable).
void raise_ambient_capabilities();

} // namespace fantail
