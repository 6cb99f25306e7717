// SPDX-License-Identifier: Apache-2.0
// Quantiles of the last interval: 16 linear buckets per power of two of nanoseconds, so an answer
// is at most 6 % above the truth. Plain counters, reset by the reader. Control plane thread only.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace cachee::controlplane {

class LatencyHistogram {
  public:
    void record(uint64_t ns) noexcept {
        ++buckets_[bucket_of(ns)];
        ++count_;
    }
    uint64_t count() const noexcept { return count_; }

    // The upper bound of the bucket that holds quantile q of what was recorded; 0 when nothing was.
    uint64_t quantile(double q) const noexcept {
        if (count_ == 0) return 0;
        const auto rank = static_cast<uint64_t>(q * static_cast<double>(count_ - 1)) + 1;
        uint64_t seen = 0;
        for (size_t i = 0; i < buckets_.size(); ++i) {
            seen += buckets_[i];
            if (seen >= rank) return upper_bound(i);
        }
        return upper_bound(buckets_.size() - 1);
    }
    void reset() noexcept {
        buckets_.fill(0);
        count_ = 0;
    }

  private:
    static constexpr uint32_t kStepBits = 4;
    static constexpr uint64_t kSteps = 1 << kStepBits;

    static size_t bucket_of(uint64_t ns) noexcept {
        if (ns < kSteps) return ns;
        const auto shift = static_cast<uint32_t>(std::bit_width(ns)) - 1 - kStepBits;
        return (uint64_t{shift} + 1) * kSteps + ((ns >> shift) & (kSteps - 1));
    }
    static uint64_t upper_bound(size_t bucket) noexcept {
        if (bucket < kSteps) return bucket;
        const uint64_t shift = bucket / kSteps - 1;
        return ((kSteps + bucket % kSteps + 1) << shift) - 1;
    }

    std::array<uint32_t, (64 - kStepBits + 1) * kSteps> buckets_{};
    uint64_t count_ = 0;
};

}  // namespace cachee::controlplane
