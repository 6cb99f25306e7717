// SPDX-License-Identifier: Apache-2.0
// CUBIC; see cubic.h. Worker thread only.
#include "net/cubic.h"

#include <algorithm>
#include <cmath>

namespace cachee::net::cubic {
namespace {

constexpr float kUsPerS = 1e6F;
constexpr float kRenoAlpha = 3 * (1 - kBeta) / (1 + kBeta);  // section 4.3
constexpr uint32_t kIdleUs = 100'000;

float curve(const Cubic& cubic, float t_s) noexcept {
    const float d = t_s - cubic.k_s;
    return kC * d * d * d + cubic.window_max;
}

void begin(Cubic& cubic, float window, uint32_t now_us) noexcept {
    cubic.growing = true;
    cubic.epoch_us = now_us;
    cubic.last_us = now_us;
    cubic.estimate = window;
    cubic.fraction = 0;
    if (window < cubic.window_max) {
        cubic.k_s = std::cbrt((cubic.window_max - window) / kC);
    } else {
        cubic.k_s = 0;
        cubic.window_max = window;
    }
}

}  // namespace

uint32_t growth(Cubic& cubic, uint32_t cwnd, uint32_t mss, uint32_t acked, uint32_t srtt_us,
                uint32_t now_us) noexcept {
    const auto segment = static_cast<float>(mss);
    const float window = static_cast<float>(cwnd) / segment;
    const float acked_segments = static_cast<float>(acked) / segment;
    if (!cubic.growing) begin(cubic, window, now_us);
    // Time in which the window was not what held the sender back does not count (section 5.8).
    const uint32_t gap_us = now_us - cubic.last_us;
    if (gap_us > kIdleUs && gap_us > 2 * srtt_us) cubic.epoch_us += gap_us;
    cubic.last_us = now_us;

    const float t_s = static_cast<float>(now_us - cubic.epoch_us) / kUsPerS;
    const float rtt_s = static_cast<float>(srtt_us) / kUsPerS;
    const float alpha = cubic.estimate < cubic.prior_window ? kRenoAlpha : 1.0F;
    cubic.estimate += alpha * acked_segments / window;
    const float target = std::clamp(curve(cubic, t_s + rtt_s), window, 1.5F * window);
    const float step = curve(cubic, t_s) < cubic.estimate
                           ? std::max(0.0F, cubic.estimate - window)
                           : (target - window) / window * acked_segments;
    cubic.fraction += std::min(step * segment, static_cast<float>(acked));
    const auto whole = static_cast<uint32_t>(cubic.fraction);
    cubic.fraction -= static_cast<float>(whole);
    return whole;
}

uint32_t reduce(Cubic& cubic, uint32_t cwnd, uint32_t mss, uint32_t flight) noexcept {
    const float window = static_cast<float>(cwnd) / static_cast<float>(mss);
    cubic.prior_window_max = cubic.window_max;
    cubic.prior_window = window;
    // Fast convergence (section 4.7): a flow that is losing ground leaves room for others.
    cubic.window_max = window < cubic.window_max ? window * (1 + kBeta) / 2 : window;
    cubic.growing = false;
    const auto reduced = static_cast<uint32_t>(static_cast<float>(flight) * kBeta);
    return std::max(reduced, 2 * mss);
}

void undo(Cubic& cubic) noexcept {
    cubic.window_max = std::max(cubic.window_max, cubic.prior_window_max);
    cubic.growing = false;
}

}  // namespace cachee::net::cubic
