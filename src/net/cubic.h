// SPDX-License-Identifier: Apache-2.0
// CUBIC (RFC 9438): growth of the congestion window as a cubic function of the time since the last
// reduction, and never below what Reno would reach. Only congestion avoidance and the reduction;
// slow start is congestion.h's. Pure functions; windows in bytes, times in microseconds that wrap.
// Worker thread only.
#pragma once

#include <cstdint>

namespace cachee::net {

// One connection's; part of Cold. Windows are kept in segments, as the RFC's formulas are.
struct Cubic {
    float window_max = 0;        // W_max: where the last reduction was
    float prior_window_max = 0;  // before that reduction, for undo
    float prior_window = 0;      // cwnd_prior
    float estimate = 0;          // W_est: Reno's window
    float fraction = 0;          // growth of less than a byte, in bytes
    float k_s = 0;               // until the curve is back at window_max
    uint32_t epoch_us = 0;       // when congestion avoidance began; with `growing`
    uint32_t last_us = 0;        // last ACK that could grow the window
    bool growing = false;
};

namespace cubic {

inline constexpr float kBeta = 0.7F;
inline constexpr float kC = 0.4F;

// How many bytes larger the window becomes by an ACK of `acked` bytes.
uint32_t growth(Cubic& cubic, uint32_t cwnd, uint32_t mss, uint32_t acked, uint32_t srtt_us,
                uint32_t now_us) noexcept;
// A loss or a congestion mark at window `cwnd`: the new slow-start threshold, of `flight` bytes.
uint32_t reduce(Cubic& cubic, uint32_t cwnd, uint32_t mss, uint32_t flight) noexcept;
// The reduction was a mistake.
void undo(Cubic& cubic) noexcept;

}  // namespace cubic
}  // namespace cachee::net
