// SPDX-License-Identifier: Apache-2.0
// Getting segments back: the mechanism. Whole segments whose time-to-live ended first; then those
// that are to be retired (Segments::resize), whose items are moved while there is room; then the
// segments that EvictionPolicy names, merged: of a group of victims the items that it ranks highest
// are written anew at the end of a log that it names, the others are dropped (after Segcache, NSDI
// 2021). Of all memory reclaimed at most kKeepPercentMax is written again. Work is cut into steps
// of a bounded number of items, so that a poll loop can pay for it in slices. Owner thread only; no
// allocation.
//
//   kIdle -> kScan (which segments are old, which expired) -> kExpire                    -> kIdle
//   kIdle ------------------------ or ---------------------> kRank (histogram) -> kMove  -> kIdle
#pragma once

#include <cstdint>

#include "l1/eviction_policy.h"
#include "l1/index.h"
#include "l1/segments.h"
#include "stats/counters.h"

namespace cachee::l1 {

class Reclaimer {
  public:
    Reclaimer() = default;
    Reclaimer(Index* index, Segments* segments, uint64_t hash_seed);

    void set_policy(EvictionPolicy* policy) { policy_ = policy; }
    void set_counters(stats::WorkerCounters* counters) { counters_ = counters; }
    // Items of older generations are nobody's any more: a merge drops them.
    void set_generation(uint32_t generation) { generation_ = generation; }

    bool work_is_due(uint64_t now_ms) const noexcept {
        return state_ != State::kIdle || now_ms >= segments_->next_due_ms() || memory_is_low() ||
               segments_->to_empty() > 0;
    }
    // Free segments run short, or a prefix has used up its quota.
    bool memory_is_low() const noexcept {
        return segments_->free_count() < low_water_ || segments_->full_logs() != 0;
    }

    // At most about `budget` items' worth of work; returns what is left of the budget (0: not
    // done).
    uint32_t step(uint64_t now_ms, uint32_t budget) noexcept;
    // Until a segment beyond the reserve is free and the log may have it; false when nothing more
    // can be freed.
    bool make_room(uint32_t log, uint64_t now_ms) noexcept;
    // After the partition was cleared: forget what was under way.
    void reset() noexcept {
        state_ = State::kIdle;
        keep_credit_ = 0;
        for (Oldest& oldest : oldest_) oldest = {};
    }
    // After Segments::resize().
    void resized() noexcept;
    // Written by merges since the start.
    uint64_t moved_bytes() const noexcept { return moved_bytes_; }

  private:
    // kExpire also empties segments that are to be retired: nothing in them is judged.
    enum class State : uint8_t { kIdle, kScan, kExpire, kRank, kMove };
    // Why a segment would be a victim beyond its age; only those of the greatest urgency are taken.
    enum class Urgency : uint8_t { kNone, kRetiring, kExpired };
    static constexpr uint32_t kGroupMax = 4;
    static constexpr uint32_t kRankBuckets = 132;
    static constexpr uint32_t kBatch = 16;
    static constexpr uint32_t kOldestMax = 16;

    // A segment, and the order in which it was sealed: one that was freed and used again since has
    // another.
    struct Sealed {
        uint32_t segment;
        uint64_t order;
    };

    struct Candidate {
        uint64_t hash;
        uint64_t offset;
        ItemHeader header;
    };

    void begin_scan() noexcept;
    uint32_t scan(uint64_t now_ms, uint32_t budget) noexcept;
    void consider(uint32_t segment, uint64_t now_ms) noexcept;
    void begin_victims(State state) noexcept;
    uint32_t visit(uint64_t now_ms, uint32_t budget) noexcept;
    void handle(const Candidate& candidate, uint64_t now_ms) noexcept;
    bool is_kept(uint32_t rank, uint32_t bytes) noexcept;
    void move(const Candidate& candidate, const ItemView& view, Index::Position at,
              uint32_t rank) noexcept;
    void drop(const Candidate& candidate, Index::Position at, stats::Counter counter) noexcept;
    void finish_victim() noexcept;
    void choose_threshold() noexcept;
    bool has_room(uint32_t log) const noexcept {
        return segments_->free_count() > kSegmentsReserved &&
               (segments_->full_logs() >> log & 1) == 0;
    }
    void keep_oldest(uint32_t segment) noexcept;
    bool is_sealed_still(const Sealed& sealed) const noexcept;
    const Sealed* oldest_of(uint32_t log) noexcept;
    bool take_oldest(uint32_t logs) noexcept;
    bool is_used_up(uint32_t logs) noexcept;
    void choose_victims(bool scanned_just_now) noexcept;
    static uint32_t rank_bucket(uint32_t rank) noexcept;

    Index* index_ = nullptr;
    Segments* segments_ = nullptr;
    EvictionPolicy* policy_ = nullptr;
    stats::WorkerCounters* counters_ = nullptr;
    uint64_t hash_seed_ = 0;
    uint32_t generation_ = 0;
    uint32_t low_water_ = 2;
    uint32_t group_limit_ = 1;  // segments of a round, at most

    State state_ = State::kIdle;
    // Scan.
    uint32_t scan_cursor_ = 0;
    uint64_t scan_due_ms_ = 0;
    Urgency scan_urgency_ = Urgency::kNone;
    // The oldest full segments of each log at the time of the last scan, in order: what one scan
    // finds serves several rounds.
    struct Oldest {
        Sealed sealed[kOldestMax];
        uint32_t count = 0;
        uint32_t next = 0;
    };
    Oldest oldest_[kLogsMax];
    Sealed victims_[kGroupMax] = {};  // of the round
    uint32_t victim_count_ = 0;
    bool for_quota_ = false;  // the round makes room within a quota
    uint32_t victim_ = 0;     // index of the one under way
    uint32_t cursor_ = 0;     // in it
    // Ranks: live bytes per rank bucket; items above the threshold stay, those in it while there is
    // an allowance.
    uint64_t rank_bytes_[kRankBuckets] = {};
    uint32_t threshold_ = 0;
    uint64_t allowance_ = 0;
    // Bytes that may be kept beyond the share of the round: what earlier rounds left.
    uint64_t keep_credit_ = 0;
    uint64_t keep_bytes_max_ = 0;  // of this round
    uint64_t kept_bytes_ = 0;      // in this round
    uint64_t moved_bytes_ = 0;
};

}  // namespace cachee::l1
