// SPDX-License-Identifier: Apache-2.0
// Congestion control: how much may be in flight. Slow start with byte counting (RFC 5681, 3465), an
// initial window of ten segments (RFC 6928), and congestion avoidance by CUBIC (cubic.h) or
// NewReno. It decides nothing about which segment is lost. Worker thread only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "net/tcp_state.h"
#include "net/tcp_transport.h"

namespace cachee::net::congestion {

inline constexpr uint32_t kWindowMax = 64u << 20;

inline uint32_t initial_window(uint32_t mss) noexcept {
    return std::min(10 * mss, std::max(2 * mss, 14600u));
}

inline void start(Hot& hot) noexcept {
    hot.cwnd = initial_window(hot.mss);
    hot.ssthresh = kWindowMax;
}

// `acked` bytes were delivered while the window was in use.
void grow(Hot& hot, Cold& cold, CongestionControl control, uint32_t acked,
          uint32_t now_us) noexcept;

// New data was delivered outside fast recovery. `flight` is what was in flight before: a window
// that was not used is not grown (RFC 9293 leaves it open; RFC 7661 says why).
inline void on_ack(Hot& hot, Cold& cold, CongestionControl control, uint32_t acked, uint32_t flight,
                   uint32_t now_us) noexcept {
    if (2ULL * flight < hot.cwnd) return;
    grow(hot, cold, control, acked, now_us);
}

// A loss, a timeout or a congestion mark: the slow-start threshold becomes what the window shall be
// now.
void reduce(Hot& hot, Cold& cold, CongestionControl control, uint32_t flight) noexcept;
// The last reduction was a mistake; windows are the caller's to restore.
void undo(Cold& cold) noexcept;

// RFC 5681, 4.1: what was learned is stale after an idle time of one RTO.
void on_idle(Hot& hot, Cold& cold) noexcept;

}  // namespace cachee::net::congestion
