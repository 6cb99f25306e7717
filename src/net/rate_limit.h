// SPDX-License-Identifier: Apache-2.0
// So many a second and no more, for answers that a stranger can provoke: challenge ACKs, RSTs,
// repeated SYN and ACKs. How many a given second allows is drawn anew for each, between half of the
// configured number and one and a half times of it: a fixed limit, shared by all connections, lets
// an attacker count its own answers and so find out whether another connection got one
// (CVE-2016-5696; RFC 5961, 7). Worker thread only.
#pragma once

#include <cstdint>

#include "net/siphash.h"

namespace cachee::net {

class RateLimit {
  public:
    // REQUIRES: per_second > 0.
    RateLimit(uint32_t per_second, SipKey key) : per_second_(per_second), key_(key) {}

    // True: one more is within the limit, and is taken from it. `tick`: see timer_wheel.h.
    bool allow(uint32_t tick) noexcept {
        if (!started_ || tick - second_tick_ >= kTicksPerSecond) begin(tick);
        if (left_ == 0) return false;
        --left_;
        return true;
    }

  private:
    static constexpr uint32_t kTicksPerSecond = 954;

    void begin(uint32_t tick) noexcept {
        started_ = true;
        second_tick_ = tick;
        const uint64_t draw = siphash_128(key_, ++seconds_, per_second_);
        left_ = per_second_ / 2 + static_cast<uint32_t>(draw % per_second_);
        if (left_ == 0) left_ = 1;
    }

    const uint32_t per_second_;
    const SipKey key_;
    uint64_t seconds_ = 0;
    uint32_t second_tick_ = 0;
    uint32_t left_ = 0;
    bool started_ = false;
};

}  // namespace cachee::net
