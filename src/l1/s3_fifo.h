// SPDX-License-Identifier: Apache-2.0
// S3-FIFO (Yang et al., SOSP 2023) over segments: new items go to a probationary log of a tenth of
// the memory; those hit there often enough move to the main log, the others leave their hash in a
// ghost. A key that is put while the ghost remembers it goes to the main log at once. The main log
// writes what was hit anew, with one hit less, and drops the rest. Owner thread only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "l1/eviction_policy.h"
#include "l1/ghost.h"

namespace cachee::l1 {

class S3FifoPolicy final : public EvictionPolicy {
  public:
    // `items_expected`: as many as memory holds; what the ghost is sized for.
    explicit S3FifoPolicy(uint64_t items_expected) : ghost_(items_expected) {}

    uint32_t logs() const noexcept override { return 2; }
    void attach(const MemoryView& memory) noexcept override { memory_ = memory; }
    uint32_t log_of_new(uint64_t hash) noexcept override {
        // Until memory was full once, what probation has no room for goes to main.
        const bool filling = !was_full_ && probation_share_reached(*memory_.segments);
        return ghost_.take(hash, main_items()) || filling ? kMain : kProbation;
    }
    uint32_t victim_logs() noexcept override {
        was_full_ = true;
        uint32_t whole = 0;
        for (uint32_t i = 0; i < memory_.log_count; ++i) whole += memory_.logs[i].segments;
        // Prefixes with a quota take their turn with main.
        return probation_share_reached(whole) ? 1U << kProbation : ~(1U << kProbation);
    }
    uint32_t group_max() const noexcept override { return 1; }
    uint32_t rank(const ItemView& item) const noexcept override {
        const uint32_t needed = item.log == kProbation ? kHitsToMain : 1;
        return item.frequency >= needed ? std::min(item.frequency, kFrequencyKeptMax) : 0;
    }
    uint32_t log_of_kept(const ItemView&) const noexcept override { return kMain; }
    uint32_t frequency_of_kept(const ItemView& item) const noexcept override {
        return item.log == kProbation ? 0 : std::min(item.frequency, kFrequencyKeptMax) - 1;
    }
    void dropped(const ItemView& item) noexcept override {
        if (item.log == kProbation) ghost_.insert(item.hash);
    }

  private:
    static constexpr uint32_t kProbation = 0;
    static constexpr uint32_t kMain = 1;
    static constexpr uint32_t kProbationPercent = 10;
    static constexpr uint32_t kHitsToMain = 2;
    static constexpr uint32_t kFrequencyKeptMax = 3;

    // How far back the ghost remembers: as many evictions as main has items.
    uint64_t main_items() const noexcept {
        return *memory_.items * (100 - kProbationPercent) / 100;
    }
    bool probation_share_reached(uint32_t segments) const noexcept {
        return memory_.logs[kProbation].segments * 100 > segments * kProbationPercent;
    }

    Ghost ghost_;
    MemoryView memory_;
    bool was_full_ = false;
};

}  // namespace cachee::l1
