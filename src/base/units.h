// SPDX-License-Identifier: Apache-2.0
// Sizes and times in their base units: bytes, and nanoseconds of CLOCK_MONOTONIC.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cachee::base {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

inline constexpr uint64_t kNsPerUs = 1000;
inline constexpr uint64_t kNsPerMs = 1000 * kNsPerUs;
inline constexpr uint64_t kNsPerS = 1000 * kNsPerMs;

inline constexpr size_t kCacheLine = 64;
inline constexpr uint64_t kHugepageBytes = 2 * kMiB;

constexpr uint64_t align_up(uint64_t value, uint64_t power_of_two) {
    return (value + power_of_two - 1) & ~(power_of_two - 1);
}

}  // namespace cachee::base
