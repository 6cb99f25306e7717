// SPDX-License-Identifier: Apache-2.0
#include "l1/reclaim.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/hash.h"

namespace cachee::l1 {

namespace {

// Merges keep at most this share of what they reclaim: what it costs to get the rest back.
constexpr uint32_t kKeepPercentMax = 75;
// What rounds that kept less leave to later ones, in segments.
constexpr uint32_t kKeepCreditSegmentsMax = 4;
// One segment in so many is kept free ahead of need.
constexpr uint32_t kSegmentsPerFree = 64;
constexpr uint32_t kFreeMax = 16;
constexpr uint32_t kRoundsMax = 64;
constexpr uint32_t kRoomBudget = 1024;
// Segments looked at for the price of one item.
constexpr uint32_t kScanPerItem = 16;

}  // namespace

Reclaimer::Reclaimer(Index* index, Segments* segments, uint64_t hash_seed)
    : index_(index), segments_(segments), hash_seed_(hash_seed) {
    resized();
}

void Reclaimer::resized() noexcept {
    low_water_ =
        kSegmentsReserved + std::clamp(segments_->target() / kSegmentsPerFree, 1U, kFreeMax);
    group_limit_ = std::clamp(segments_->target() / 8, 1U, kGroupMax);
}

uint32_t Reclaimer::rank_bucket(uint32_t rank) noexcept {
    // Four buckets to each power of two.
    if (rank < 4) return rank;
    const auto width = static_cast<uint32_t>(std::bit_width(rank));
    return (width - 2) * 4 + ((rank >> (width - 3)) & 3);
}

void Reclaimer::begin_scan() noexcept {
    state_ = State::kScan;
    scan_cursor_ = 0;
    scan_due_ms_ = UINT64_MAX;
    scan_urgency_ = Urgency::kNone;
    victim_count_ = 0;
    victim_ = 0;
    for (Oldest& oldest : oldest_) oldest.count = oldest.next = 0;
    // What is put while the scan is on its way lowers this again.
    segments_->set_next_due_ms(UINT64_MAX);
}

void Reclaimer::keep_oldest(uint32_t segment) noexcept {
    const SegmentInfo& info = segments_->info(segment);
    Oldest& oldest = oldest_[info.log];
    uint32_t at = oldest.count;
    while (at > 0 && info.sealed_order < oldest.sealed[at - 1].order) --at;
    if (at == kOldestMax) return;
    oldest.count = std::min(oldest.count + 1, kOldestMax);
    for (uint32_t i = oldest.count - 1; i > at; --i) oldest.sealed[i] = oldest.sealed[i - 1];
    oldest.sealed[at] = {segment, info.sealed_order};
}

// The more urgent displace the others.
void Reclaimer::consider(uint32_t segment, uint64_t now_ms) noexcept {
    const SegmentInfo& info = segments_->info(segment);
    if (info.state != SegmentState::kActive && info.state != SegmentState::kSealed) return;
    if (info.live_items == 0) return;
    if (now_ms < info.deadline_ms) {
        scan_due_ms_ = std::min(scan_due_ms_, info.deadline_ms);
        if (info.state != SegmentState::kSealed) return;
        if (segment < segments_->target()) return keep_oldest(segment);
        if (scan_urgency_ == Urgency::kExpired) return;
        scan_urgency_ = Urgency::kRetiring;
        if (victim_count_ < group_limit_) victims_[victim_count_++] = {segment, info.sealed_order};
        return;
    }
    if (info.state == SegmentState::kActive) segments_->seal({info.log, info.ttl_class});
    if (scan_urgency_ != Urgency::kExpired) victim_count_ = 0;
    scan_urgency_ = Urgency::kExpired;
    if (victim_count_ == kGroupMax) {
        scan_due_ms_ = now_ms;  // more than fit: scan again
    } else {
        victims_[victim_count_++] = {segment, info.sealed_order};
    }
}

uint32_t Reclaimer::scan(uint64_t now_ms, uint32_t budget) noexcept {
    uint32_t seen = 0;
    while (scan_cursor_ < segments_->count()) {
        if (budget == 0) return 0;
        consider(scan_cursor_++, now_ms);
        if (++seen % kScanPerItem == 0) --budget;
    }
    segments_->set_next_due_ms(std::min(segments_->next_due_ms(), scan_due_ms_));
    state_ = State::kIdle;
    if (scan_urgency_ == Urgency::kExpired ||
        (scan_urgency_ == Urgency::kRetiring && !memory_is_low())) {
        begin_victims(State::kExpire);
    } else if (scan_urgency_ == Urgency::kRetiring) {
        begin_victims(State::kRank);
    } else if (memory_is_low()) {
        choose_victims(true);
    }
    return budget;
}

bool Reclaimer::is_sealed_still(const Sealed& sealed) const noexcept {
    const SegmentInfo& info = segments_->info(sealed.segment);
    return info.state == SegmentState::kSealed && info.sealed_order == sealed.order;
}

// nullptr: none, or none that the last scan kept.
const Reclaimer::Sealed* Reclaimer::oldest_of(uint32_t log) noexcept {
    Oldest& oldest = oldest_[log];
    while (oldest.next < oldest.count && !is_sealed_still(oldest.sealed[oldest.next])) {
        ++oldest.next;
    }
    return oldest.next < oldest.count ? &oldest.sealed[oldest.next] : nullptr;
}

// More segments of these logs may be full than the last scan kept.
bool Reclaimer::is_used_up(uint32_t logs) noexcept {
    for (uint32_t log = 0; log < kLogsMax; ++log) {
        if ((logs >> log & 1) == 0) continue;
        if (oldest_of(log) == nullptr && oldest_[log].count == kOldestMax) return true;
    }
    return false;
}

// Adds the oldest segment of the logs to the victims.
bool Reclaimer::take_oldest(uint32_t logs) noexcept {
    uint32_t chosen = kLogsMax;
    const Sealed* first = nullptr;
    for (uint32_t log = 0; log < kLogsMax; ++log) {
        if ((logs >> log & 1) == 0) continue;
        const Sealed* sealed = oldest_of(log);
        if (sealed == nullptr || (first != nullptr && first->order < sealed->order)) continue;
        first = sealed;
        chosen = log;
    }
    if (first == nullptr) return false;
    victims_[victim_count_++] = *first;
    ++oldest_[chosen].next;
    return true;
}

// From what the last scan found; leaves the state as it is when that does not do.
void Reclaimer::choose_victims(bool scanned_just_now) noexcept {
    const uint32_t group = std::min(policy_->group_max(), group_limit_);
    // Whoever is at its quota makes room itself.
    for_quota_ = segments_->full_logs() != 0;
    const uint32_t logs = for_quota_ ? segments_->full_logs() : policy_->victim_logs();
    victim_count_ = 0;
    if (!scanned_just_now && is_used_up(logs)) return;
    while (victim_count_ < group && take_oldest(logs)) {
    }
    const bool others_too = scanned_just_now && segments_->free_count() < low_water_;
    if (victim_count_ == 0 && others_too) take_oldest(EvictionPolicy::kAllLogs);
    begin_victims(State::kRank);
}

// Takes the chosen segments out of circulation; those that went another way meanwhile are left out.
void Reclaimer::begin_victims(State state) noexcept {
    uint32_t taken = 0;
    for (uint32_t i = 0; i < victim_count_; ++i) {
        if (!is_sealed_still(victims_[i])) continue;
        segments_->begin_reclaim(victims_[i].segment);
        victims_[taken++] = victims_[i];
    }
    victim_count_ = taken;
    victim_ = 0;
    cursor_ = 0;
    if (taken == 0) return;
    if (state == State::kRank) std::memset(rank_bytes_, 0, sizeof rank_bytes_);
    state_ = state;
}

void Reclaimer::choose_threshold() noexcept {
    const uint64_t segment_bytes = segments_->segment_bytes();
    const uint64_t credit_max = segment_bytes * kKeepCreditSegmentsMax;
    const uint64_t keep_bytes =
        std::min(keep_credit_ + segment_bytes * victim_count_ * kKeepPercentMax / 100, credit_max);
    keep_bytes_max_ = keep_bytes;
    kept_bytes_ = 0;
    uint64_t above = 0;
    threshold_ = kRankBuckets;
    allowance_ = 0;
    // Bucket 0 is rank 0: not worth keeping.
    for (uint32_t bucket = kRankBuckets - 1; bucket > 0; --bucket) {
        threshold_ = bucket;
        allowance_ = keep_bytes - above;
        if (above + rank_bytes_[bucket] > keep_bytes) return;
        above += rank_bytes_[bucket];
    }
}

void Reclaimer::finish_victim() noexcept {
    cursor_ = 0;
    ++victim_;
    if (state_ != State::kRank) segments_->end_reclaim(victims_[victim_ - 1].segment);
    if (victim_ < victim_count_) return;
    victim_ = 0;
    if (state_ == State::kRank) {
        choose_threshold();
        state_ = State::kMove;
    } else {
        if (state_ == State::kMove) keep_credit_ = keep_bytes_max_ - kept_bytes_;
        state_ = State::kIdle;
    }
}

// One batch of items of the current victim; their buckets are prefetched before they are looked at.
uint32_t Reclaimer::visit(uint64_t now_ms, uint32_t budget) noexcept {
    Candidate batch[kBatch];
    uint32_t count = 0;
    const uint32_t segment = victims_[victim_].segment;
    const uint64_t segment_offset = uint64_t{segment} * segments_->segment_bytes();
    const uint32_t used = segments_->info(segment).used_bytes;
    while (count < kBatch && count < budget) {
        cursor_ = segments_->next_item(segment, cursor_);
        if (cursor_ >= used) break;
        Candidate& candidate = batch[count++];
        candidate.offset = segment_offset + cursor_;
        const uint8_t* item = segments_->item(candidate.offset);
        candidate.header = read_header(item);
        candidate.hash = base::hash_key(key_of(item, candidate.header), hash_seed_);
        __builtin_prefetch(&index_->bucket_of(candidate.hash));
        cursor_ += candidate.header.bytes();
    }
    const bool at_end = cursor_ >= used;
    for (uint32_t i = 0; i < count; ++i) handle(batch[i], now_ms);
    if (at_end) finish_victim();
    return budget - std::min(budget, std::max(count, 1U));
}

void Reclaimer::handle(const Candidate& candidate, uint64_t now_ms) noexcept {
    const Index::Position at = index_->find_offset(candidate.hash, candidate.offset);
    if (at.bucket == nullptr) return;  // overwritten or erased: dead bytes
    // The header again: the deadline may have been changed since the batch was read.
    const ItemHeader header = read_header(segments_->item(candidate.offset));
    if (now_ms >= header.deadline40) {
        drop(candidate, at, stats::Counter::l1_expired);
        return;
    }
    // In a segment to be expired everything is expired; only a deadline moved since is not. One
    // that is to be retired while there is room loses nothing.
    if (header.generation != generation_) {
        drop(candidate, at, stats::Counter::l1_evicted);
        return;
    }
    const ItemView view{.hash = candidate.hash,
                        .log = segments_->info(victims_[victim_].segment).log,
                        .bytes = header.bytes(),
                        .deadline_ms = header.deadline40 == kNoDeadline ? 0 : header.deadline40,
                        .frequency = frequency_of(Index::load(at))};
    const uint32_t rank = state_ == State::kExpire ? UINT32_MAX : policy_->rank(view);
    if (state_ == State::kRank) {
        rank_bytes_[rank_bucket(rank)] += header.bytes();
    } else {
        move(candidate, view, at, rank);
    }
}

bool Reclaimer::is_kept(uint32_t rank, uint32_t bytes) noexcept {
    if (state_ == State::kExpire) return true;
    const uint32_t bucket = rank_bucket(rank);
    if (bucket < threshold_ || (bucket == threshold_ && allowance_ < bytes)) return false;
    // An item hit since the ranks were counted is above the threshold without being allowed for.
    if (kept_bytes_ + bytes > keep_bytes_max_) return false;
    if (bucket == threshold_) allowance_ -= bytes;
    kept_bytes_ += bytes;
    return true;
}

void Reclaimer::move(const Candidate& candidate, const ItemView& view, Index::Position at,
                     uint32_t rank) noexcept {
    const uint32_t bytes = candidate.header.bytes();
    const bool merging = state_ == State::kMove;
    uint64_t offset = 0;
    const SegmentInfo& info = segments_->info(victims_[victim_].segment);
    const uint32_t log =
        merging && view.log < kPolicyLogsMax ? policy_->log_of_kept(view) : view.log;
    if (!is_kept(rank, bytes) ||
        !segments_->allocate(segments_->place_of(log, info.ttl_class), bytes, true, &offset)) {
        if (merging) policy_->dropped(view);
        return drop(candidate, at, stats::Counter::l1_evicted);
    }
    moved_bytes_ += bytes;
    const uint32_t frequency = merging ? policy_->frequency_of_kept(view) : view.frequency;
    const uint8_t* old_item = segments_->item(candidate.offset);
    std::memcpy(segments_->item(offset), old_item, bytes);
    segments_->add_live(offset, bytes, read_header(old_item).deadline40);
    index_->replace(candidate.hash, at, make_slot(candidate.hash, frequency, offset));
    segments_->remove_live(candidate.offset, bytes);
}

void Reclaimer::drop(const Candidate& candidate, Index::Position at,
                     stats::Counter counter) noexcept {
    index_->unlink(candidate.hash, at);
    segments_->remove_live(candidate.offset, candidate.header.bytes());
    if (counters_ == nullptr) return;
    counters_->add(counter);
    if (for_quota_ && state_ == State::kMove) counters_->add(stats::Counter::l1_quota_evicted);
}

uint32_t Reclaimer::step(uint64_t now_ms, uint32_t budget) noexcept {
    while (budget > 0) {
        switch (state_) {
            case State::kIdle: {
                if (!work_is_due(now_ms)) return budget;
                const uint32_t free_before = segments_->free_count();
                if (now_ms < segments_->next_due_ms() && segments_->to_empty() == 0) {
                    choose_victims(false);
                }
                if (state_ != State::kIdle) break;
                begin_scan();
                budget = scan(now_ms, budget);
                // Nothing to take, although memory is low: more of the same would not help.
                if (state_ == State::kIdle && segments_->free_count() == free_before) return budget;
                break;
            }
            case State::kScan:
                budget = scan(now_ms, budget);
                break;
            case State::kExpire:
            case State::kRank:
            case State::kMove:
                budget = visit(now_ms, budget);
                break;
        }
    }
    return 0;
}

bool Reclaimer::make_room(uint32_t log, uint64_t now_ms) noexcept {
    // A round ends after a bounded number of items. What rounds keep is bounded by the credit and a
    // share of what they take, so that after some there is a segment more.
    for (uint32_t round = 0; round < kRoundsMax; ++round) {
        if (has_room(log)) return true;
        do {
            step(now_ms, kRoomBudget);
        } while (state_ != State::kIdle && !has_room(log));
        if (has_room(log)) return true;
        // Only segments that are still being filled are left: seal them, so that they can be
        // chosen.
        if (victim_count_ == 0) segments_->seal_all();
    }
    return has_room(log);
}

}  // namespace cachee::l1
