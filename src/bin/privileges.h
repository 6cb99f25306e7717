// SPDX-License-Identifier: Apache-2.0
// Dropping root after everything that needs it was opened. Cold; main thread, before the workers start.
#pragma once

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/result.h"

namespace cachee::bin {

// Becomes `user` for good: no supplementary groups, no capabilities, no way back. An empty name or a
// process that is not root: nothing to drop.
inline base::Status drop_privileges(const std::string& user) {
    // Core dumps and ptrace stay off limits for others after the change; no exec may gain anything.
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return base::Error{std::string("cannot set no_new_privs: ") + std::strerror(errno)};
    }
    if (user.empty() || ::geteuid() != 0) return {};
    const passwd* entry = ::getpwnam(user.c_str());
    if (entry == nullptr) {
        return base::Error{"instance.user: there is no user \"" + user +
                           "\" on this host; create it (adduser --system --group " + user +
                           ") or leave the key empty"};
    }
    if (entry->pw_uid == 0) return base::Error{"instance.user: \"" + user + "\" is root"};
    if (::setgroups(0, nullptr) != 0 || ::setgid(entry->pw_gid) != 0 ||
        ::setuid(entry->pw_uid) != 0) {
        return base::Error{"cannot become user \"" + user + "\": " + std::strerror(errno)};
    }
    if (::setuid(0) == 0) return base::Error{"privileges could be regained after dropping them"};
    return {};
}

}  // namespace cachee::bin
