// SPDX-License-Identifier: Apache-2.0
// The segments of one partition: a log per TTL class (for each log that the eviction policy keeps
// apart, and for each prefix with a quota), the free list, and the account of what is live in each
// segment. Mechanism of allocation only: which segment goes when memory is short is
// reclaim.h. Owner thread only.
//
//   free -> active (one per class, filled front to back) -> sealed -> [reclaiming ->] free
//
// A partition that may grow has segments beyond those in use; they are retired until resize()
// brings them into use. Shrinking retires them again: a free one at once, the others as they become
// free, which the reclaimer sees to (reclaim.h).
//
// A pinned segment may become free, but it is not filled anew until its last pin is gone: its bytes
// are being sent. Pins are of this process (any thread) and not in the file: they end with it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/assert.h"
#include "base/units.h"
#include "l1/eviction_policy.h"
#include "l1/layout.h"

namespace cachee::l1 {

inline constexpr uint32_t kNoSegment = UINT32_MAX;
inline constexpr uint32_t kTtlClassesMax = 16;
// Logs of the eviction policy, then one for each prefix with a quota.
inline constexpr uint32_t kQuotasMax = 8;
inline constexpr uint32_t kLogsMax = kPolicyLogsMax + kQuotasMax;
// Kept back so that a merge always has somewhere to write.
inline constexpr uint32_t kSegmentsReserved = 1;
// One segment in so many may be pinned at a time: whoever reads slowly must not stop eviction.
inline constexpr uint32_t kSegmentsPerPinned = 4;

// What is alive in a segment, as a rebuild found it.
struct SegmentContents {
    uint32_t used_bytes = 0;  // where the last live item ends
    uint32_t live_bytes = 0;
    uint32_t live_items = 0;
    uint64_t deadline_ms = 0;

    void add(uint32_t end, uint32_t bytes, uint64_t deadline40) noexcept {
        used_bytes = end;
        live_bytes += bytes;
        ++live_items;
        deadline_ms = std::max(deadline_ms, deadline40 == kNoDeadline ? kSegmentNever : deadline40);
    }
    void remove(uint32_t bytes) noexcept {
        live_bytes -= bytes;
        --live_items;
    }
};

// What the segments hold when this process meets them.
enum class Begin : uint8_t {
    kEmpty,
    kAsFound,  // nothing may be called before restore() but what reads
};

class Segments {
  public:
    Segments() = default;
    // `count_max` at the greatest size, `count_min` at the least, `in_use` of them now.
    Segments(SegmentInfo* table, uint8_t* memory, uint32_t count_max, uint32_t count_min,
             uint32_t in_use, uint32_t bytes_log2, Begin begin = Begin::kEmpty);
    // Makes the books anew from what was found in each segment. What the table says of states,
    // classes and order is a hint: it is followed where it can be.
    void restore(std::span<const SegmentContents> contents);

    // In use, those that are to be retired included.
    uint32_t count() const { return in_use_; }
    uint32_t count_max() const { return count_max_; }
    uint32_t count_min() const { return count_min_; }
    uint32_t segment_bytes() const { return 1U << bytes_log2_; }
    uint32_t free_count() const { return free_count_; }
    uint32_t item_bytes_max() const { return segment_bytes(); }  // header included
    uint8_t* item(uint64_t offset) const { return memory_ + offset; }
    uint8_t* memory(uint32_t segment) const { return memory_ + (uint64_t{segment} << bytes_log2_); }
    const SegmentInfo& info(uint32_t segment) const { return table_[segment]; }
    uint64_t items() const { return items_; }

    // 0: never expires. Items of one class end at about the same time.
    uint32_t class_of(uint64_t deadline40, uint64_t now_ms) const noexcept;

    // Where items of one log and class are written. Prefixes with a quota have one class each: few
    // segments, few classes.
    struct Place {
        uint32_t log;
        uint32_t ttl_class;
    };
    Place place_of(uint32_t log, uint32_t ttl_class) const noexcept {
        return {log, log < kPolicyLogsMax ? ttl_class : 0};
    }
    // Room for an item of `bytes` at the end of the log, or false: no segment left. The reserved
    // segment is given to the reclaimer only. REQUIRES: bytes <= segment_bytes().
    bool allocate(Place place, uint32_t bytes, bool reclaiming, uint64_t* offset) noexcept;
    // The item at `offset` is linked from the index / no longer linked from it. A segment where
    // nothing is live any more becomes free at once, unless the reclaimer holds it.
    void add_live(uint64_t offset, uint32_t bytes, uint64_t deadline40) noexcept;
    void remove_live(uint64_t offset, uint32_t bytes) noexcept;
    // An item already live got another deadline.
    void note_deadline(uint64_t offset, uint64_t deadline40) noexcept;

    uint32_t log_of(uint64_t offset) const noexcept { return table_[segment_of(offset)].log; }
    void seal(Place place) noexcept;
    void seal_all() noexcept;
    // Of the eviction policy. Segments being filled are sealed: logs may mean something else now.
    void set_policy_logs(uint32_t logs) noexcept;
    // What lies in logs of prefixes goes to the first of the policy's: the prefixes are other ones.
    void give_up_quota_logs() noexcept;
    // Above this many segments the log takes no new items, but what a merge keeps; 0: no limit.
    void set_limit(uint32_t log, uint32_t segments) noexcept;
    // A bit for each log at its limit.
    uint32_t full_logs() const noexcept { return full_logs_; }
    // Valid as long as this object stays where it is.
    MemoryView view() const noexcept { return {logs_, kLogsMax, &target_, &items_}; }
    void begin_reclaim(uint32_t segment) noexcept;
    // REQUIRES: begin_reclaim() was called and nothing in it is live.
    void end_reclaim(uint32_t segment) noexcept;
    void clear() noexcept;

    // From now on only segments below `count` are filled. Growing takes effect at once (REQUIRES:
    // their memory is there); shrinking when finish_resize() says so.
    // REQUIRES: count_min() <= count <= count_max().
    void resize(uint32_t count) noexcept;
    uint32_t target() const { return target_; }
    // Segments that are still to be emptied before the memory beyond target() may go.
    uint32_t to_empty() const { return to_empty_; }
    // True when nothing beyond target() is in use or pinned any more.
    bool finish_resize() noexcept;

    // No segment is wholly expired before this time; a lower bound that the reclaimer tightens.
    uint64_t next_due_ms() const { return next_due_ms_; }
    void set_next_due_ms(uint64_t due_ms) { next_due_ms_ = due_ms; }

    // --- any thread ---
    // Keeps the bytes of the segment that holds `offset` as they are until unpin(), one for each
    // pin. False: as many segments as may be are pinned. A pin alone proves nothing: the segment
    // may have been filled anew just before, so look at the item again (Partition::pin).
    bool pin(uint64_t offset) noexcept;
    void unpin(uint64_t offset) noexcept;
    uint32_t pinned_count() const noexcept { return pinned_.load(std::memory_order_relaxed); }
    // --- owner thread only ---

    // Offset in the segment of the first item at or after `cursor`, or used_bytes at the end.
    uint32_t next_item(uint32_t segment, uint32_t cursor) const noexcept;

  private:
    uint32_t segment_of(uint64_t offset) const {
        const auto segment = static_cast<uint32_t>(offset >> bytes_log2_);
        CACHEE_DASSERT(segment < count_max_);
        return segment;
    }
    bool open(Place place, bool reclaiming) noexcept;
    void note_use(uint32_t log) noexcept;
    void release(uint32_t segment) noexcept;
    bool is_pinned(uint32_t segment) noexcept;
    void set_pinned_aside() noexcept;
    void take_back_unpinned() noexcept;
    void retire(uint32_t segment) noexcept;
    uint32_t retire_listed(uint32_t& head) noexcept;
    void raise_deadline(SegmentInfo& info, uint64_t deadline40) noexcept;

    SegmentInfo* table_ = nullptr;
    uint8_t* memory_ = nullptr;
    uint32_t count_max_ = 0;
    uint32_t count_min_ = 0;
    uint32_t in_use_ = 0;
    uint32_t target_ = 0;    // below in_use_ while it shrinks
    uint32_t to_empty_ = 0;  // from target_ on, not retired
    uint32_t bytes_log2_ = 0;
    uint32_t class_count_ = 1;
    uint32_t free_head_ = 0;  // number plus one
    uint32_t free_count_ = 0;
    uint32_t aside_head_ = 0;  // free but pinned: not in the free list
    uint32_t active_[kLogsMax][kTtlClassesMax] = {};
    MemoryView::Log logs_[kLogsMax] = {};
    uint32_t limits_[kLogsMax] = {};
    uint32_t full_logs_ = 0;
    uint64_t seal_order_ = 0;
    uint64_t items_ = 0;
    uint64_t next_due_ms_ = UINT64_MAX;
    std::unique_ptr<std::atomic<uint32_t>[]> pins_;  // of each segment
    std::atomic<uint32_t> pinned_max_{0};
    alignas(64) std::atomic<uint32_t> pinned_{0};  // segments with pins
};

}  // namespace cachee::l1
