// SPDX-License-Identifier: Apache-2.0
// Growth and reduction of the congestion window; see congestion.h. Worker thread only.
#include "net/congestion.h"

namespace cachee::net::congestion {

namespace {

// Segments that one ACK may grow the window by in slow start. RFC 3465 says 2, from a time when an
// ACK was never for more than that; receivers that merge segments acknowledge dozens at once, and
// RFC 9406, 4.2, has 8. After a timeout it is 1 (RFC 3465, 2.3).
constexpr uint32_t kSlowStartSegments = 8;

}  // namespace

void grow(Hot& hot, Cold& cold, CongestionControl control, uint32_t acked,
          uint32_t now_us) noexcept {
    if (hot.cwnd < hot.ssthresh) {
        const uint32_t limit = cold.recovery.phase == Phase::kLoss ? 1 : kSlowStartSegments;
        hot.cwnd += std::min(acked, limit * hot.mss);
    } else if (control == CongestionControl::kCubic) {
        hot.cwnd += cubic::growth(cold.cubic, hot.cwnd, hot.mss, acked, hot.srtt_us, now_us);
    } else {
        const uint32_t counted = std::min(acked, 2u * hot.mss);
        const uint64_t step = static_cast<uint64_t>(hot.mss) * counted / hot.cwnd;
        hot.cwnd += std::max<uint32_t>(1, static_cast<uint32_t>(step));
    }
    hot.cwnd = std::min(hot.cwnd, kWindowMax);
}

void reduce(Hot& hot, Cold& cold, CongestionControl control, uint32_t flight) noexcept {
    if (control == CongestionControl::kCubic) {
        hot.ssthresh = cubic::reduce(cold.cubic, hot.cwnd, hot.mss, flight);
    } else {
        hot.ssthresh = std::max(flight / 2, 2u * hot.mss);
    }
}

void undo(Cold& cold) noexcept { cubic::undo(cold.cubic); }

void on_idle(Hot& hot, Cold& cold) noexcept {
    hot.cwnd = std::min(hot.cwnd, initial_window(hot.mss));
    cold.cubic.growing = false;
}

}  // namespace cachee::net::congestion
