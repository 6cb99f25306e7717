// SPDX-License-Identifier: Apache-2.0
// CLOCK_MONOTONIC for less than half its price: the cycle counter, tied to the clock anew every few
// milliseconds. It errs on one side only: never behind the clock, and ahead of it by microseconds,
// so that nothing is believed past its deadline. One thread.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace cachee::client {

class TscClock {
  public:
    TscClock();

    uint64_t now_ns() noexcept {
        const uint64_t passed = base::cycles() - anchor_cycles_;
        if (passed < window_cycles_) [[likely]]
            return anchor_ns_ + ((passed * scale_) >> kScaleBits);
        return tie_cold();
    }
    bool uses_cycles() const { return usable_; }

  private:
    static constexpr uint32_t kScaleBits = 20;

    [[gnu::cold, gnu::noinline]] uint64_t tie_cold() noexcept;

    uint64_t anchor_cycles_ = 0;
    uint64_t anchor_ns_ = 0;
    uint64_t window_cycles_ = 0;  // an anchor is good for; 0: not calibrated
    uint64_t scale_ = 0;          // ns per cycle << kScaleBits
    uint64_t first_cycles_ = 0;   // the rate is measured from here
    uint64_t first_ns_ = 0;
    bool usable_ = false;
};

}  // namespace cachee::client
