// SPDX-License-Identifier: Apache-2.0
// Getting segments back: the mechanism. Whole segments whose time-to-live ended first; then those
// that are to be retired (Segments::resize), whose items are moved while there is room; then the
// segments that EvictionPolicy names, merged: of a group of victims the items that it ranks highest
// are written anew at the end of their class's log, the others are dropped (after Segcache, NSDI
// 2021). Work is cut into steps of a bounded number of items, so that a poll loop can pay for it in
// slices. Owner thread only; no allocation.
//
//   kIdle -> kScan (which segments) -> kExpire                      -> kIdle
//                                   -> kRank (histogram) -> kMove   -> kIdle
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

    void set_policy(const EvictionPolicy* policy) { policy_ = policy; }
    void set_counters(stats::WorkerCounters* counters) { counters_ = counters; }
    // Items of older generations are nobody's any more: a merge drops them.
    void set_generation(uint32_t generation) { generation_ = generation; }

    bool work_is_due(uint64_t now_ms) const noexcept {
        return state_ != State::kIdle || now_ms >= segments_->next_due_ms() || memory_is_low() ||
               segments_->to_empty() > 0;
    }
    bool memory_is_low() const noexcept { return segments_->free_count() < low_water_; }

    // At most about `budget` items' worth of work; returns what is left of the budget (0: not
    // done).
    uint32_t step(uint64_t now_ms, uint32_t budget) noexcept;
    // Until a segment beyond the reserve is free; false when nothing more can be freed.
    bool make_room(uint64_t now_ms) noexcept;
    // After the partition was cleared: forget what was under way.
    void reset() noexcept { state_ = State::kIdle; }
    // After Segments::resize().
    void resized() noexcept;

  private:
    // kExpire also empties segments that are to be retired: nothing in them is judged.
    enum class State : uint8_t { kIdle, kScan, kExpire, kRank, kMove };
    // Why a segment would be a victim; only those of the greatest urgency found are taken.
    enum class Urgency : uint8_t { kNone, kRetiring, kExpired };
    static constexpr uint32_t kGroupMax = 4;
    static constexpr uint32_t kRankBuckets = 132;
    static constexpr uint32_t kBatch = 16;

    struct Candidate {
        uint64_t hash;
        uint64_t offset;
        ItemHeader header;
    };

    void begin_scan() noexcept;
    uint32_t scan(uint64_t now_ms, uint32_t budget) noexcept;
    void consider(uint32_t segment, uint64_t now_ms) noexcept;
    bool begin_victims(State state) noexcept;
    uint32_t visit(uint64_t now_ms, uint32_t budget) noexcept;
    void handle(const Candidate& candidate, uint64_t now_ms) noexcept;
    void move(const Candidate& candidate, Index::Position at, uint32_t rank) noexcept;
    void drop(const Candidate& candidate, Index::Position at, stats::Counter counter) noexcept;
    void finish_victim() noexcept;
    void choose_threshold() noexcept;
    SegmentView view_of(uint32_t segment) const noexcept;
    static uint32_t rank_bucket(uint32_t rank) noexcept;

    Index* index_ = nullptr;
    Segments* segments_ = nullptr;
    const EvictionPolicy* policy_ = nullptr;
    stats::WorkerCounters* counters_ = nullptr;
    uint64_t hash_seed_ = 0;
    uint32_t generation_ = 0;
    uint32_t low_water_ = 2;
    uint32_t group_size_ = 1;

    State state_ = State::kIdle;
    // Scan.
    uint32_t scan_cursor_ = 0;
    uint64_t scan_due_ms_ = 0;
    Urgency scan_urgency_ = Urgency::kNone;
    // Victims of the round: numbers, and the order in which they were sealed (a segment that was
    // freed and used again since has another).
    uint32_t victims_[kGroupMax] = {};
    uint64_t victim_orders_[kGroupMax] = {};
    uint32_t victim_count_ = 0;
    uint32_t victim_ = 0;  // index of the one under way
    uint32_t cursor_ = 0;  // in it
    // Ranks: live bytes per rank bucket; items above the threshold stay, those in it while there is
    // an allowance.
    uint64_t rank_bytes_[kRankBuckets] = {};
    uint32_t threshold_ = 0;
    uint64_t allowance_ = 0;
};

}  // namespace cachee::l1
