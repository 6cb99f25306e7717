// SPDX-License-Identifier: Apache-2.0
// The retransmission timeout (RFC 6298) in microseconds, with a configurable minimum. Worker thread
// only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "net/tcp_state.h"
#include "net/timer_wheel.h"

namespace cachee::net::rto {

inline constexpr uint32_t kSampleMaxUs = 120'000'000;

inline void sample(Hot& hot, uint32_t rtt_us) noexcept {
    rtt_us = std::clamp(rtt_us, 1u, kSampleMaxUs);
    if (hot.srtt_us == 0) {
        hot.srtt_us = rtt_us;
        hot.rttvar_us = rtt_us / 2;
        return;
    }
    const uint32_t error = rtt_us > hot.srtt_us ? rtt_us - hot.srtt_us : hot.srtt_us - rtt_us;
    hot.rttvar_us += error / 4;
    hot.rttvar_us -= std::min(hot.rttvar_us, (hot.rttvar_us - error / 4) / 4);
    hot.srtt_us = std::max(1u, hot.srtt_us - hot.srtt_us / 8 + rtt_us / 8);
}

struct Limits {
    uint32_t initial_us = 0;
    uint32_t min_us = 0;
    uint32_t max_us = 0;
};

// With the back-off applied.
inline uint32_t current_us(const Hot& hot, const Limits& limits) noexcept {
    uint64_t us = limits.initial_us;
    if (hot.srtt_us != 0) {
        constexpr uint64_t kGranularityUs = 1049;  // one tick
        us = hot.srtt_us + std::max<uint64_t>(kGranularityUs, 4ULL * hot.rttvar_us);
        us = std::clamp<uint64_t>(us, limits.min_us, limits.max_us);
    }
    us <<= std::min<uint32_t>(hot.backoff, 20);
    return static_cast<uint32_t>(std::min<uint64_t>(us, limits.max_us));
}

}  // namespace cachee::net::rto
