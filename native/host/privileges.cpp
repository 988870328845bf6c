// SPDX-License-Identifier: MIT-0
#include "host/privileges.hpp"

#include <cap-ng.h>
#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "host/check.hpp"

namespace fantail {

namespace {

/// Root of a container may lack some of what that takes. CAP_KILL is for the supervisor, which has
/// the same rights: without it, it could not end a process of another user that is stuck.
bool may_change_user() {
  if (geteuid() != 0) return false;
  for (const unsigned capability : {CAP_SETUID, CAP_SETGID, CAP_KILL})
    if (capng_have_capability(CAPNG_EFFECTIVE, capability) == 0) return false;
  return true;
}

} // namespace

void drop_capabilities() {
  capng_clear(CAPNG_SELECT_ALL);
  check(capng_apply(CAPNG_SELECT_CAPS), "dropping capabilities");
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

void become(User user) {
  const auto id = static_cast<unsigned>(user);
  // Else it is as unprivileged as it can be, and stays who it is.
  if (may_change_user()) {
    check(setgroups(0, nullptr), "dropping groups");
    check(setresgid(id, id, id), "changing group");
    check(setresuid(id, id, id), "changing user");
  }
  drop_capabilities();
}

void clear_ambient_capabilities() {
  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clearing the ambient set");
}

void raise_ambient_capabilities() {
  for (unsigned number = 0; number <= CAP_LAST_CAP; ++number)
    if (capng_have_capability(CAPNG_PERMITTED, number) != 0 &&
        capng_have_capability(CAPNG_INHERITABLE, number) != 0)
      check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0), "raising the ambient set");
}

} // namespace fantail
