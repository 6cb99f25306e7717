// SPDX-License-Identifier: Apache-2.0
// Congestion control: how much may be in flight. Reno with byte counting (RFC 5681, RFC 3465 with
// L = 2) and an initial window of ten segments (RFC 6928). It decides nothing about which segment
// is lost (loss_recovery.h does). Worker thread only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "net/tcp_state.h"

namespace cachee::net::congestion {

inline constexpr uint32_t kWindowMax = 64u << 20;

inline uint32_t initial_window(uint32_t mss) noexcept {
    return std::min(10 * mss, std::max(2 * mss, 14600u));
}

inline void start(Hot& hot) noexcept {
    hot.cwnd = initial_window(hot.mss);
    hot.ssthresh = kWindowMax;
}

// New data was acknowledged outside recovery. `flight` is what was in flight before: a window that
// was not used is not grown (RFC 9293 leaves it open; RFC 7661 says why).
inline void on_ack(Hot& hot, uint32_t acked, uint32_t flight) noexcept {
    if (2ULL * flight < hot.cwnd) return;
    const uint32_t counted = std::min(acked, 2u * hot.mss);
    if (hot.cwnd < hot.ssthresh) {
        hot.cwnd += counted;
    } else {
        const uint64_t step = static_cast<uint64_t>(hot.mss) * counted / hot.cwnd;
        hot.cwnd += std::max<uint32_t>(1, static_cast<uint32_t>(step));
    }
    hot.cwnd = std::min(hot.cwnd, kWindowMax);
}

inline uint32_t threshold_after_loss(const Hot& hot, uint32_t flight) noexcept {
    return std::max(flight / 2, 2u * hot.mss);
}

inline void on_timeout(Hot& hot, uint32_t flight, bool first) noexcept {
    if (first) hot.ssthresh = threshold_after_loss(hot, flight);
    hot.cwnd = hot.mss;
}

// RFC 5681, 4.1: what was learned is stale after an idle time of one RTO.
inline void on_idle(Hot& hot) noexcept { hot.cwnd = std::min(hot.cwnd, initial_window(hot.mss)); }

}  // namespace cachee::net::congestion
