// SPDX-License-Identifier: Apache-2.0
// Time. Everything above the drivers is handed `now_ns` (CLOCK_MONOTONIC, or a test's virtual time)
// by its caller, once per burst; only composition roots and event loops read these clocks.
#pragma once

#include <time.h>

#include <cstdint>

#include "base/units.h"

namespace cachee::base {

// Through the vDSO: no system call. One time base for all processes of a host until it reboots.
inline uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * kNsPerS + static_cast<uint64_t>(now.tv_nsec);
}

// Milliseconds of the Unix epoch; only to translate EXPIREAT and friends, never to judge expiry.
inline uint64_t wall_ms() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / kNsPerMs;
}

inline uint64_t cycles() { return __builtin_ia32_rdtsc(); }

}  // namespace cachee::base
