// SPDX-License-Identifier: Apache-2.0
// Dropping root after everything that needs it was opened. Cold; main thread, before the workers
// start.
#pragma once

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/result.h"

namespace cachee::bin {

// The account `name`, which must exist and not be root.
inline base::Result<passwd> find_account(const std::string& name) {
    const passwd* entry = ::getpwnam(name.c_str());
    if (entry == nullptr) {
        return base::Error{"instance.user: there is no user \"" + name +
                           "\" on this host; create it (adduser --system --group " + name +
                           ") or leave the key empty"};
    }
    if (entry->pw_uid == 0) return base::Error{"instance.user: \"" + name + "\" is root"};
    return *entry;
}

// Sets the calling thread's capabilities to exactly `permitted`, of which `effective` are in force
// (bits 1 << CAP_*, the first 32).
inline base::Status set_capabilities(uint32_t permitted, uint32_t effective) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {{effective, permitted, 0}, {0, 0, 0}};
    if (::syscall(SYS_capset, &header, data) != 0) {
        return base::Error{std::string("cannot set capabilities: ") + std::strerror(errno)};
    }
    return {};
}

// Becomes the account for good: no supplementary groups, no way back to root. `kept` (bits 1 <<
// CAP_*) stays permitted but not in force; raise it with set_capabilities(kept, kept) for the
// moment it is needed. A process that is not root has nothing to drop.
inline base::Status drop_privileges(const passwd& account, uint32_t kept) {
    if (::geteuid() != 0) return {};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) {
        return base::Error{std::string("cannot prepare to drop privileges: ") +
                           std::strerror(errno)};
    }
    if (::setgroups(0, nullptr) != 0 || ::setgid(account.pw_gid) != 0 ||
        ::setuid(account.pw_uid) != 0) {
        return base::Error{"cannot become user \"" + std::string(account.pw_name) +
                           "\": " + std::strerror(errno)};
    }
    if (base::Status status = set_capabilities(kept, 0); !status) return status;
    if (::setuid(0) == 0) return base::Error{"privileges could be regained after dropping them"};
    return {};
}

}  // namespace cachee::bin
