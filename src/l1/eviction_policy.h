// SPDX-License-Identifier: Apache-2.0
// Which segment goes, and which of its items are worth keeping: the policy. How segments are
// merged, unlinked and reused is the mechanism (l1/reclaim.h), which calls this and never the other
// way round. Owner thread of the partition only; must not allocate.
#pragma once

#include <cstdint>

namespace cachee::l1 {

struct SegmentView {
    uint32_t segment;       // its number
    uint64_t sealed_order;  // grows with the order in which segments were filled
    uint32_t items;         // live items
    uint32_t live_bytes;
    uint32_t capacity_bytes;
    uint64_t deadline_ms;  // the latest deadline in it, 0 when something in it never expires
};

struct ItemView {
    uint64_t hash;
    uint32_t bytes;  // header, key and value
    uint64_t deadline_ms;
    uint32_t frequency;  // sampled hits since it was written or last merged, saturating
};

class EvictionPolicy {
  public:
    virtual ~EvictionPolicy() = default;
    // True when `a` should be reclaimed before `b`.
    virtual bool evict_before(const SegmentView& a, const SegmentView& b) const noexcept = 0;
    // The higher, the longer it is kept when a segment is merged; compared within one merge only.
    // 0: not kept.
    virtual uint32_t rank(const ItemView& item) const noexcept = 0;
};

// Oldest segment first, items kept by sampled hits per byte (the merge rule of Segcache, NSDI
// 2021).
class FifoMergePolicy final : public EvictionPolicy {
  public:
    bool evict_before(const SegmentView& a, const SegmentView& b) const noexcept override {
        return a.sealed_order < b.sealed_order;
    }
    uint32_t rank(const ItemView& item) const noexcept override {
        return item.frequency * 65536U / (item.bytes / 64 + 1);
    }
};

}  // namespace cachee::l1
