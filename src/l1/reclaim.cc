// SPDX-License-Identifier: Apache-2.0
#include "l1/reclaim.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/hash.h"

namespace cachee::l1 {

namespace {

// A merge keeps at most this share of its victims' capacity: what it costs to get the rest back.
constexpr uint32_t kKeepPercentMax = 50;
// Segments looked at for the price of one item.
constexpr uint32_t kScanPerItem = 16;

}  // namespace

Reclaimer::Reclaimer(Index* index, Segments* segments, uint64_t hash_seed)
    : index_(index), segments_(segments), hash_seed_(hash_seed) {
    resized();
}

void Reclaimer::resized() noexcept {
    low_water_ = kSegmentsReserved + std::clamp(segments_->target() / 32, 1U, 16U);
    group_size_ = std::clamp(segments_->target() / 8, 1U, kGroupMax);
}

uint32_t Reclaimer::rank_bucket(uint32_t rank) noexcept {
    // Four buckets to each power of two.
    if (rank < 4) return rank;
    const auto width = static_cast<uint32_t>(std::bit_width(rank));
    return (width - 2) * 4 + ((rank >> (width - 3)) & 3);
}

SegmentView Reclaimer::view_of(uint32_t segment) const noexcept {
    const SegmentInfo& info = segments_->info(segment);
    return {.segment = segment,
            .sealed_order = info.sealed_order,
            .items = info.live_items,
            .live_bytes = info.live_bytes,
            .capacity_bytes = segments_->segment_bytes(),
            .deadline_ms = info.deadline_ms == kSegmentNever ? 0 : info.deadline_ms};
}

void Reclaimer::begin_scan() noexcept {
    state_ = State::kScan;
    scan_cursor_ = 0;
    scan_due_ms_ = UINT64_MAX;
    scan_urgency_ = Urgency::kNone;
    victim_count_ = 0;
    victim_ = 0;
    // What is put while the scan is on its way lowers this again.
    segments_->set_next_due_ms(UINT64_MAX);
}

// The more urgent displace the others; candidates for a merge stay ordered, the first to go first.
void Reclaimer::consider(uint32_t segment, uint64_t now_ms) noexcept {
    const SegmentInfo& info = segments_->info(segment);
    if (info.state != SegmentState::kActive && info.state != SegmentState::kSealed) return;
    if (info.live_items == 0) return;
    const bool expired = now_ms >= info.deadline_ms;
    if (expired && info.state == SegmentState::kActive) segments_->seal_class(info.ttl_class);
    if (!expired) scan_due_ms_ = std::min(scan_due_ms_, info.deadline_ms);
    if (info.state != SegmentState::kSealed) return;
    const Urgency urgency = expired                          ? Urgency::kExpired
                            : segment >= segments_->target() ? Urgency::kRetiring
                                                             : Urgency::kNone;
    if (urgency > scan_urgency_) {
        scan_urgency_ = urgency;
        victim_count_ = 0;
    }
    if (urgency != scan_urgency_) return;
    const uint32_t limit = expired ? kGroupMax : group_size_;
    uint32_t at = victim_count_;
    if (urgency == Urgency::kNone) {
        const SegmentView view = view_of(segment);
        while (at > 0 && policy_->evict_before(view, view_of(victims_[at - 1]))) --at;
    }
    if (at >= limit) {
        if (expired) scan_due_ms_ = now_ms;  // more than fit: scan again
        return;
    }
    victim_count_ = std::min(victim_count_ + 1, limit);
    for (uint32_t i = victim_count_ - 1; i > at; --i) {
        victims_[i] = victims_[i - 1];
        victim_orders_[i] = victim_orders_[i - 1];
    }
    victims_[at] = segment;
    victim_orders_[at] = info.sealed_order;
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
    } else if (memory_is_low()) {
        begin_victims(State::kRank);
    }
    return budget;
}

// Takes the chosen segments out of circulation; those that went another way meanwhile are left out.
bool Reclaimer::begin_victims(State state) noexcept {
    uint32_t taken = 0;
    for (uint32_t i = 0; i < victim_count_; ++i) {
        const SegmentInfo& info = segments_->info(victims_[i]);
        if (info.state != SegmentState::kSealed || info.sealed_order != victim_orders_[i]) continue;
        segments_->begin_reclaim(victims_[i]);
        victims_[taken++] = victims_[i];
    }
    victim_count_ = taken;
    victim_ = 0;
    cursor_ = 0;
    if (taken == 0) return false;
    if (state == State::kRank) std::memset(rank_bytes_, 0, sizeof rank_bytes_);
    state_ = state;
    return true;
}

void Reclaimer::choose_threshold() noexcept {
    const uint64_t keep_bytes =
        uint64_t{segments_->segment_bytes()} * victim_count_ * kKeepPercentMax / 100;
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
    if (state_ != State::kRank) segments_->end_reclaim(victims_[victim_ - 1]);
    if (victim_ < victim_count_) return;
    victim_ = 0;
    if (state_ == State::kRank) {
        choose_threshold();
        state_ = State::kMove;
    } else {
        state_ = State::kIdle;
    }
}

// One batch of items of the current victim; their buckets are prefetched before they are looked at.
uint32_t Reclaimer::visit(uint64_t now_ms, uint32_t budget) noexcept {
    Candidate batch[kBatch];
    uint32_t count = 0;
    const uint32_t segment = victims_[victim_];
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
                        .bytes = header.bytes(),
                        .deadline_ms = header.deadline40 == kNoDeadline ? 0 : header.deadline40,
                        .frequency = frequency_of(Index::load(at))};
    const uint32_t rank = state_ == State::kExpire ? UINT32_MAX : policy_->rank(view);
    if (state_ == State::kRank) {
        rank_bytes_[rank_bucket(rank)] += header.bytes();
    } else {
        move(candidate, at, rank);
    }
}

void Reclaimer::move(const Candidate& candidate, Index::Position at, uint32_t rank) noexcept {
    const uint32_t bytes = candidate.header.bytes();
    if (state_ == State::kMove) {
        const uint32_t bucket = rank_bucket(rank);
        const bool keep = bucket > threshold_ || (bucket == threshold_ && allowance_ >= bytes);
        if (!keep) return drop(candidate, at, stats::Counter::l1_evicted);
        if (bucket == threshold_) allowance_ -= bytes;
    }
    uint64_t offset = 0;
    const uint32_t ttl_class = segments_->info(victims_[victim_]).ttl_class;
    if (!segments_->allocate(ttl_class, bytes, true, &offset)) {
        return drop(candidate, at, stats::Counter::l1_evicted);
    }
    const uint8_t* old_item = segments_->item(candidate.offset);
    std::memcpy(segments_->item(offset), old_item, bytes);
    segments_->add_live(offset, bytes, read_header(old_item).deadline40);
    index_->replace(candidate.hash, at, make_slot(candidate.hash, 0, offset));
    segments_->remove_live(candidate.offset, bytes);
}

void Reclaimer::drop(const Candidate& candidate, Index::Position at,
                     stats::Counter counter) noexcept {
    index_->unlink(candidate.hash, at);
    segments_->remove_live(candidate.offset, candidate.header.bytes());
    if (counters_ != nullptr) counters_->add(counter);
}

uint32_t Reclaimer::step(uint64_t now_ms, uint32_t budget) noexcept {
    while (budget > 0) {
        switch (state_) {
            case State::kIdle: {
                if (!work_is_due(now_ms)) return budget;
                const uint32_t free_before = segments_->free_count();
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

bool Reclaimer::make_room(uint64_t now_ms) noexcept {
    // A round ends after a bounded number of items; two rounds free more than they write, unless
    // every item is as large as a segment.
    for (uint32_t round = 0; round < 4; ++round) {
        if (segments_->free_count() > kSegmentsReserved) return true;
        if (state_ == State::kIdle) begin_scan();
        while (state_ != State::kIdle && segments_->free_count() <= kSegmentsReserved) {
            step(now_ms, 1024);
            if (state_ == State::kIdle) break;
        }
        if (segments_->free_count() > kSegmentsReserved) return true;
        // Only segments that are still being filled are left: seal them, so that they can be
        // chosen.
        for (uint32_t ttl_class = 0; ttl_class < segments_->class_count(); ++ttl_class) {
            segments_->seal_class(ttl_class);
        }
    }
    return segments_->free_count() > kSegmentsReserved;
}

}  // namespace cachee::l1
