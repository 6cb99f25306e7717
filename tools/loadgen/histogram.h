// SPDX-License-Identifier: Apache-2.0
// Latencies in a log-linear histogram (the idea of HdrHistogram): exact below 256 ns, then 128
// steps per power of two, so that a percentile is at most 0.8 % above the true one, whatever the
// range. Not a time series: it only grows. One thread records; any thread may copy a view of it at
// any time.
//
//   value   0..255 | 256..511 | 512..1023 | ... | .. 2^40 ns (18 minutes; larger ones count there)
//   step       1   |    2     |    4      |
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cachee::loadgen {

inline constexpr unsigned kStepBits = 7;
inline constexpr unsigned kValueBits = 40;
inline constexpr size_t kBuckets = (size_t{kValueBits - kStepBits - 1} << kStepBits) + 256;

// The bucket of a value.
constexpr size_t bucket_of(uint64_t value) noexcept {
    const unsigned width = 64u - static_cast<unsigned>(std::countl_zero(value | 1));
    if (width > kValueBits) return kBuckets - 1;
    const unsigned shift = width > kStepBits + 1 ? width - kStepBits - 1 : 0;
    return (size_t{shift} << kStepBits) + static_cast<size_t>(value >> shift);
}

// The largest value of a bucket.
constexpr uint64_t bucket_top(size_t bucket) noexcept {
    if (bucket < 256) return bucket;
    const size_t shift = (bucket >> kStepBits) - 1;
    const uint64_t step = (bucket & ((size_t{1} << kStepBits) - 1)) + (size_t{1} << kStepBits);
    return ((step + 1) << shift) - 1;
}

// A copy at one moment, which can be added to others and asked.
class HistogramView {
  public:
    HistogramView() : counts_(kBuckets) {}

    uint64_t count() const { return count_; }
    uint64_t max() const { return max_; }
    double mean() const {
        return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
    }

    // Nearest rank: the smallest value that at least `percent` of the values do not exceed, rounded
    // up to its bucket's top, and never above max(). 0 when there are no values.
    uint64_t percentile(double percent) const {
        if (count_ == 0) return 0;
        const double exact = std::ceil(percent / 100 * static_cast<double>(count_));
        const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(exact), 1, count_);
        uint64_t seen = 0;
        for (size_t i = 0; i < kBuckets; ++i) {
            seen += counts_[i];
            if (seen >= rank) return i == kBuckets - 1 ? max_ : std::min(bucket_top(i), max_);
        }
        return max_;
    }

    void add(const HistogramView& other) {
        for (size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
        count_ += other.count_;
        sum_ += other.sum_;
        max_ = std::max(max_, other.max_);
    }
    // What came since `earlier`, an older view of the same histograms. max() is the top of the
    // highest bucket then.
    void subtract(const HistogramView& earlier) {
        max_ = 0;
        for (size_t i = 0; i < kBuckets; ++i) {
            counts_[i] -= earlier.counts_[i];
            if (counts_[i] != 0) max_ = bucket_top(i);
        }
        count_ -= earlier.count_;
        sum_ -= earlier.sum_;
    }

  private:
    friend class Histogram;
    std::vector<uint64_t> counts_;
    uint64_t count_ = 0;
    uint64_t sum_ = 0;
    uint64_t max_ = 0;
};

class Histogram {
  public:
    // The owner's thread only.
    void record(uint64_t value) noexcept {
        increase(counts_[bucket_of(value)], 1);
        increase(sum_, value);
        if (value > max_.load(std::memory_order_relaxed)) {
            max_.store(value, std::memory_order_relaxed);
        }
    }

    // Any thread. While the owner records, the view may lack what came during the copy.
    HistogramView view() const {
        HistogramView view;
        for (size_t i = 0; i < kBuckets; ++i) {
            view.counts_[i] = counts_[i].load(std::memory_order_relaxed);
            view.count_ += view.counts_[i];
        }
        view.sum_ = sum_.load(std::memory_order_relaxed);
        view.max_ = max_.load(std::memory_order_relaxed);
        return view;
    }

  private:
    // One writer: no read-modify-write instruction is needed.
    static void increase(std::atomic<uint64_t>& value, uint64_t by) noexcept {
        value.store(value.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
    }

    std::array<std::atomic<uint64_t>, kBuckets> counts_{};
    std::atomic<uint64_t> sum_{0};
    std::atomic<uint64_t> max_{0};
};

}  // namespace cachee::loadgen
