// SPDX-License-Identifier: Apache-2.0
// The index of a partition that a dead process left, made one that can be walked, and then one that
// has just the slots that were marked: steps 1 and 3 of rebuild.h, and the marks of step 2. Knows
// nothing of items but their offsets. Cold code; the one thread that rebuilds the partition.
//
// A mark lies in the upper two bits of a slot's frequency, which hold no more than 63 meanwhile.
// Readers look at neither. A chain that has to be changed has an odd version until it is settled.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "l1/index.h"

namespace cachee::l1 {

struct RebuildReport;

class IndexRepair {
  public:
    // REQUIRES: `bytes` of segments lie behind the index.
    IndexRepair(Index& index, uint64_t bytes, RebuildReport& report);

    void untangle();
    // The slot of the item at `offset` in its chain, if it is linked; and whether the chain has
    // other marked slots with its tag.
    struct Found {
        std::atomic<uint64_t>* slot = nullptr;
        bool rivals = false;
    };
    Found find(uint64_t hash, uint64_t offset) noexcept;
    // Keeps the slot.
    static void mark(std::atomic<uint64_t>* slot) noexcept {
        slot->store(slot->load(std::memory_order_relaxed) | kMarked, std::memory_order_relaxed);
    }
    // As mark() where there are rivals: asks twin(offset, counted) of each whether it is another
    // item of the same key; then neither is kept, and this is false. counted: it was kept until
    // now.
    template <typename Twin>
    bool mark_unless_twins(uint64_t hash, std::atomic<uint64_t>* slot, Twin twin) noexcept;
    void settle();

  private:
    static constexpr uint64_t kMarked = uint64_t{0x80} << kOffsetBits;
    static constexpr uint64_t kDoubted = uint64_t{0x40} << kOffsetBits;
    static constexpr uint64_t kFrequencyKept = 0x3f;

    struct Chain {
        Bucket* buckets[kChainBucketsMax];
        uint32_t length = 0;
    };

    Chain chain_of(Bucket& first) noexcept;
    void untangle_chain(Bucket& first) noexcept;
    bool settle_sound(Bucket& first) noexcept;
    void settle_chain(Bucket& first) noexcept;
    void count_dropped(uint64_t slot, std::span<const uint64_t> others) noexcept;
    bool can_be(uint64_t slot) const noexcept;
    static void begin_change(Bucket& first) noexcept;

    Index& index_;
    const uint64_t bytes_;
    RebuildReport& report_;
    std::vector<bool> in_chain_;  // overflow buckets
};

template <typename Twin>
bool IndexRepair::mark_unless_twins(uint64_t hash, std::atomic<uint64_t>* slot,
                                    Twin twin) noexcept {
    uint64_t marks = kMarked;
    const Chain chain = chain_of(index_.first_of(hash));
    for (uint32_t b = 0; b < chain.length; ++b) {
        for (auto& each : chain.buckets[b]->slots) {
            const uint64_t seen = each.load(std::memory_order_relaxed);
            if (&each == slot || tag_of_slot(seen) != tag_of(hash) || (seen & kMarked) == 0) {
                continue;
            }
            if (!twin(offset_of(seen), (seen & kDoubted) == 0)) continue;
            each.store(seen | kDoubted, std::memory_order_relaxed);
            marks |= kDoubted;
        }
    }
    slot->store(slot->load(std::memory_order_relaxed) | marks, std::memory_order_relaxed);
    return marks == kMarked;
}

}  // namespace cachee::l1
