// SPDX-License-Identifier: Apache-2.0
// What goes when memory is short: the policy. It says which log a new item is written to, which log
// is reclaimed from, which of the items met there are worth keeping and where. How segments are
// chosen from a log (the oldest first), merged, unlinked and reused is the mechanism
// (l1/reclaim.h), which calls this and never the other way round. Owner thread of the partition
// only; nothing here may allocate once the policy was made.
#pragma once

#include <cstdint>

namespace cachee::l1 {

// Logs that a policy may keep apart.
inline constexpr uint32_t kPolicyLogsMax = 2;

struct ItemView {
    uint64_t hash;
    uint32_t log;    // kPolicyLogsMax and above: of a prefix with a quota
    uint32_t bytes;  // header, key and value
    uint64_t deadline_ms;
    uint32_t frequency;  // hits that were noted since it was written or last merged (l1/touch.h)
};

// What the policy may look at, always up to date: borrowed from the partition.
struct MemoryView {
    struct Log {
        uint32_t segments;  // not free
    };
    const Log* logs = nullptr;  // of the policy, then of prefixes with a quota
    uint32_t log_count = 0;
    const uint32_t* segments = nullptr;  // all, free ones too
    const uint64_t* items = nullptr;
};

class EvictionPolicy {
  public:
    static constexpr uint32_t kAllLogs = UINT32_MAX;

    virtual ~EvictionPolicy() = default;
    // Before anything else.
    virtual void attach(const MemoryView&) noexcept {}
    virtual uint32_t logs() const noexcept { return 1; }
    // Once per item put.
    virtual uint32_t log_of_new(uint64_t) noexcept { return 0; }
    // Once per round: a bit for each log whose oldest segments may go; of others only when these
    // have none that is full.
    virtual uint32_t victim_logs() noexcept { return kAllLogs; }
    // Segments merged in one round.
    virtual uint32_t group_max() const noexcept = 0;
    // The higher, the longer it is kept when segments are merged; compared within one round only.
    // 0: not kept.
    virtual uint32_t rank(const ItemView& item) const noexcept = 0;
    // Where an item that is kept goes, and with how many noted hits. An item of a prefix with a
    // quota stays in its log.
    virtual uint32_t log_of_kept(const ItemView& item) const noexcept { return item.log; }
    virtual uint32_t frequency_of_kept(const ItemView&) const noexcept { return 0; }
    // It was not kept (nor was it expired or invalidated).
    virtual void dropped(const ItemView&) noexcept {}
};

// Oldest segment first, items kept by noted hits per byte (the merge rule of Segcache, NSDI 2021).
class FifoMergePolicy final : public EvictionPolicy {
  public:
    uint32_t group_max() const noexcept override { return 4; }
    uint32_t rank(const ItemView& item) const noexcept override {
        return item.frequency * 65536U / (item.bytes / 64 + 1);
    }
};

}  // namespace cachee::l1
