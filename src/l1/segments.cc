// SPDX-License-Identifier: Apache-2.0
#include "l1/segments.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "l1/item.h"

namespace cachee::l1 {

namespace {

// Where an item of `bytes` goes when the log stands at `cursor`: small items stay within a line.
uint32_t start_of_next(uint32_t cursor, uint32_t bytes) {
    const auto start = static_cast<uint32_t>(base::align_up(cursor, kItemAlignment));
    if (bytes <= base::kCacheLine && start % base::kCacheLine + bytes > base::kCacheLine) {
        return static_cast<uint32_t>(base::align_up(start, base::kCacheLine));
    }
    return start;
}

}  // namespace

Segments::Segments(SegmentInfo* table, uint8_t* memory, uint32_t count_max, uint32_t count_min,
                   uint32_t in_use, uint32_t bytes_log2, Begin begin)
    : table_(table),
      memory_(memory),
      count_max_(count_max),
      count_min_(count_min),
      in_use_(in_use),
      target_(in_use),
      bytes_log2_(bytes_log2),
      pins_(std::make_unique<std::atomic<uint32_t>[]>(count_max)) {
    CACHEE_ASSERT(count_min <= in_use && in_use <= count_max);
    pinned_max_.store(in_use / kSegmentsPerPinned, std::memory_order_relaxed);
    for (uint32_t segment = in_use; segment < count_max; ++segment) retire(segment);
    for (auto& log : active_) std::fill(std::begin(log), std::end(log), kNoSegment);
    if (begin == Begin::kEmpty) clear();
    set_policy_logs(1);
}

void Segments::set_policy_logs(uint32_t logs) noexcept {
    CACHEE_ASSERT(logs <= kPolicyLogsMax);
    seal_all();
    // Each class holds one partly filled segment: few segments, few classes.
    class_count_ = std::clamp(count_min_ / (8 * logs), 1U, kTtlClassesMax);
}

void Segments::give_up_quota_logs() noexcept {
    seal_all();
    for (uint32_t segment = 0; segment < in_use_; ++segment) {
        SegmentInfo& info = table_[segment];
        if (info.state == SegmentState::kFree || info.state == SegmentState::kRetired) continue;
        if (info.log < kPolicyLogsMax) continue;
        --logs_[info.log].segments;
        note_use(info.log);
        info.log = 0;
        ++logs_[0].segments;
    }
}

void Segments::restore(std::span<const SegmentContents> contents) {
    CACHEE_ASSERT(contents.size() == in_use_);
    for (auto& log : active_) std::fill(std::begin(log), std::end(log), kNoSegment);
    std::fill(std::begin(logs_), std::end(logs_), MemoryView::Log{});
    full_logs_ = 0;
    free_head_ = free_count_ = aside_head_ = 0;
    items_ = 0;
    next_due_ms_ = UINT64_MAX;
    std::vector<std::pair<uint64_t, uint32_t>> sealed;  // order, segment
    for (uint32_t segment = in_use_; segment-- > 0;) {
        const SegmentContents& found = contents[segment];
        if (found.live_items == 0) {
            table_[segment].state = SegmentState::kFree;  // none of a log's
            release(segment);
            continue;
        }
        const SegmentInfo hint = table_[segment];
        // Field by field: killed in between, this still says how far the log goes.
        SegmentInfo& info = table_[segment];
        info.sealed_order = 0;
        info.next_free = 0;
        info.log = hint.log < kLogsMax ? hint.log : 0;
        info.ttl_class = hint.ttl_class < class_count_ ? hint.ttl_class : 0;
        info.used_bytes = found.used_bytes;
        info.live_bytes = found.live_bytes;
        info.live_items = found.live_items;
        info.deadline_ms = found.deadline_ms;
        items_ += found.live_items;
        ++logs_[info.log].segments;
        next_due_ms_ = std::min(next_due_ms_, found.deadline_ms);
        uint32_t& active = active_[info.log][info.ttl_class];
        if (hint.state == SegmentState::kActive && active == kNoSegment) {
            info.state = SegmentState::kActive;
            active = segment;
        } else {
            info.state = SegmentState::kSealed;
            // One that was active was the last to be filled.
            sealed.emplace_back(
                hint.state == SegmentState::kActive ? UINT64_MAX : hint.sealed_order, segment);
        }
    }
    for (uint32_t log = 0; log < kLogsMax; ++log) note_use(log);
    std::sort(sealed.begin(), sealed.end());
    seal_order_ = 0;
    for (const auto& [order, segment] : sealed) table_[segment].sealed_order = ++seal_order_;
}

uint32_t Segments::class_of(uint64_t deadline40, uint64_t now_ms) const noexcept {
    if (deadline40 == kNoDeadline || class_count_ == 1) return 0;
    const uint64_t left_ms = deadline40 > now_ms ? deadline40 - now_ms : 0;
    // Powers of two of seconds: under 1 s, 2 s, 4 s ... 9 h and above, squeezed into the classes.
    const uint32_t scale = std::min(static_cast<uint32_t>(std::bit_width(left_ms / 1000)), 15U);
    return 1 + scale * (class_count_ - 1) / 16;
}

void Segments::set_limit(uint32_t log, uint32_t segments) noexcept {
    limits_[log] = segments;
    note_use(log);
}

void Segments::note_use(uint32_t log) noexcept {
    const bool full = limits_[log] != 0 && logs_[log].segments >= limits_[log];
    full_logs_ = (full_logs_ & ~(1U << log)) | (uint32_t{full} << log);
}

bool Segments::open(Place place, bool reclaiming) noexcept {
    const uint32_t kept = reclaiming ? 0 : kSegmentsReserved;
    if (!reclaiming && (full_logs_ >> place.log & 1) != 0) return false;
    if (aside_head_ != 0) take_back_unpinned();
    set_pinned_aside();  // pinned since it was freed, by a reader that has not looked again yet
    // The full one is sealed only once there is another: nothing changes when there is none.
    if (free_count_ <= kept) return false;
    seal(place);
    const uint32_t segment = free_head_ - 1;
    SegmentInfo& info = table_[segment];
    CACHEE_ASSERT(info.state == SegmentState::kFree);
    free_head_ = info.next_free;
    --free_count_;
    info = SegmentInfo{};
    info.state = SegmentState::kActive;
    info.ttl_class = place.ttl_class;
    info.log = place.log;
    active_[place.log][place.ttl_class] = segment;
    ++logs_[place.log].segments;
    note_use(place.log);
    return true;
}

bool Segments::allocate(Place place, uint32_t bytes, bool reclaiming, uint64_t* offset) noexcept {
    CACHEE_DASSERT(bytes <= segment_bytes());
    uint32_t segment = active_[place.log][place.ttl_class];
    uint32_t start = 0;
    if (segment != kNoSegment) {
        SegmentInfo& info = table_[segment];
        if (info.live_items == 0 && !is_pinned(segment)) {
            info.used_bytes = 0;
            info.deadline_ms = 0;
        }
        start = start_of_next(info.used_bytes, bytes);
    }
    if (segment == kNoSegment || start + bytes > segment_bytes()) {
        if (!open(place, reclaiming)) return false;
        segment = active_[place.log][place.ttl_class];
        start = 0;
    }
    SegmentInfo& info = table_[segment];
    const auto even = static_cast<uint32_t>(base::align_up(info.used_bytes, kItemAlignment));
    if (start > even) std::memcpy(memory(segment) + even, &kPadding, sizeof kPadding);
    info.used_bytes = start + bytes;
    *offset = (uint64_t{segment} << bytes_log2_) + start;
    return true;
}

void Segments::raise_deadline(SegmentInfo& info, uint64_t deadline40) noexcept {
    const uint64_t deadline_ms = deadline40 == kNoDeadline ? kSegmentNever : deadline40;
    info.deadline_ms = std::max(info.deadline_ms, deadline_ms);
    next_due_ms_ = std::min(next_due_ms_, info.deadline_ms);
}

void Segments::add_live(uint64_t offset, uint32_t bytes, uint64_t deadline40) noexcept {
    SegmentInfo& info = table_[segment_of(offset)];
    ++items_;
    ++info.live_items;
    info.live_bytes += bytes;
    raise_deadline(info, deadline40);
}

void Segments::note_deadline(uint64_t offset, uint64_t deadline40) noexcept {
    raise_deadline(table_[segment_of(offset)], deadline40);
}

void Segments::remove_live(uint64_t offset, uint32_t bytes) noexcept {
    const uint32_t segment = segment_of(offset);
    SegmentInfo& info = table_[segment];
    CACHEE_DASSERT(info.live_items > 0);
    CACHEE_DASSERT(info.live_bytes >= bytes);
    --items_;
    --info.live_items;
    info.live_bytes -= bytes;
    if (info.live_items == 0 && info.state == SegmentState::kSealed) release(segment);
}

void Segments::release(uint32_t segment) noexcept {
    SegmentInfo& info = table_[segment];
    const bool was_in_use =
        info.state != SegmentState::kFree && info.state != SegmentState::kRetired;
    if (was_in_use) {
        --logs_[info.log].segments;
        note_use(info.log);
    }
    if (segment >= target_) {
        --to_empty_;
        retire(segment);
        return;
    }
    info = SegmentInfo{};
    info.state = SegmentState::kFree;
    if (is_pinned(segment)) {
        info.next_free = aside_head_;
        aside_head_ = segment + 1;
        return;
    }
    info.next_free = free_head_;
    free_head_ = segment + 1;
    ++free_count_;
}

void Segments::seal_all() noexcept {
    for (uint32_t log = 0; log < kLogsMax; ++log) {
        for (uint32_t ttl_class = 0; ttl_class < kTtlClassesMax; ++ttl_class) {
            seal({log, ttl_class});
        }
    }
}

void Segments::seal(Place place) noexcept {
    const uint32_t segment = active_[place.log][place.ttl_class];
    if (segment == kNoSegment) return;
    active_[place.log][place.ttl_class] = kNoSegment;
    SegmentInfo& info = table_[segment];
    info.state = SegmentState::kSealed;
    info.sealed_order = ++seal_order_;
    if (info.live_items == 0) release(segment);
}

void Segments::begin_reclaim(uint32_t segment) noexcept {
    CACHEE_ASSERT(table_[segment].state == SegmentState::kSealed);
    table_[segment].state = SegmentState::kReclaiming;
}

void Segments::end_reclaim(uint32_t segment) noexcept {
    CACHEE_ASSERT(table_[segment].state == SegmentState::kReclaiming);
    CACHEE_ASSERT(table_[segment].live_items == 0);
    release(segment);
}

void Segments::clear() noexcept {
    for (auto& log : active_) std::fill(std::begin(log), std::end(log), kNoSegment);
    std::fill(std::begin(logs_), std::end(logs_), MemoryView::Log{});
    full_logs_ = 0;
    free_head_ = 0;
    free_count_ = 0;
    aside_head_ = 0;
    items_ = 0;
    next_due_ms_ = UINT64_MAX;
    to_empty_ = in_use_ - target_;
    for (uint32_t segment = in_use_; segment > 0; --segment) {
        table_[segment - 1].state = SegmentState::kFree;
        release(segment - 1);
    }
}

// --- size ---------------------------------------------------------------------------------------

void Segments::retire(uint32_t segment) noexcept {
    table_[segment] = SegmentInfo{};
    table_[segment].state = SegmentState::kRetired;
}

// Takes what lies beyond target_ out of a list of free segments; how many that were.
uint32_t Segments::retire_listed(uint32_t& head) noexcept {
    uint32_t retired = 0;
    uint32_t* link = &head;
    while (*link != 0) {
        const uint32_t segment = *link - 1;
        if (segment < target_) {
            link = &table_[segment].next_free;
            continue;
        }
        *link = table_[segment].next_free;
        retire(segment);
        ++retired;
    }
    return retired;
}

void Segments::resize(uint32_t count) noexcept {
    CACHEE_ASSERT(count >= count_min_);
    CACHEE_ASSERT(count <= count_max_);
    const uint32_t before = target_;
    target_ = count;
    in_use_ = std::max(in_use_, count);
    pinned_max_.store(count / kSegmentsPerPinned, std::memory_order_relaxed);
    for (uint32_t segment = count; segment > before; --segment) {
        if (table_[segment - 1].state == SegmentState::kRetired) release(segment - 1);
    }
    free_count_ -= retire_listed(free_head_);
    retire_listed(aside_head_);
    to_empty_ = 0;
    for (uint32_t segment = target_; segment < in_use_; ++segment) {
        if (table_[segment].state != SegmentState::kRetired) ++to_empty_;
    }
    for (uint32_t log = 0; log < kLogsMax; ++log) {
        for (uint32_t ttl_class = 0; ttl_class < kTtlClassesMax; ++ttl_class) {
            const uint32_t active = active_[log][ttl_class];
            if (active != kNoSegment && active >= target_) seal({log, ttl_class});
        }
    }
    finish_resize();
}

bool Segments::finish_resize() noexcept {
    while (in_use_ > target_ && table_[in_use_ - 1].state == SegmentState::kRetired &&
           !is_pinned(in_use_ - 1)) {
        --in_use_;
    }
    return in_use_ == target_;
}

// --- pins ---------------------------------------------------------------------------------------

// The other side of pin(): whoever pins adds one and then looks whether the item is still there;
// whoever fills a segment anew has unlinked its items and then looks here. Both do so with a
// sequentially consistent read-modify-write between, so that at least one of them sees the other.
bool Segments::is_pinned(uint32_t segment) noexcept {
    return pins_[segment].fetch_add(0, std::memory_order_seq_cst) != 0;
}

bool Segments::pin(uint64_t offset) noexcept {
    if (pins_[segment_of(offset)].fetch_add(1, std::memory_order_seq_cst) != 0) return true;
    if (pinned_.fetch_add(1, std::memory_order_relaxed) <
        pinned_max_.load(std::memory_order_relaxed)) {
        return true;
    }
    unpin(offset);
    return false;
}

void Segments::unpin(uint64_t offset) noexcept {
    // Release: what was read of the bytes came before; pairs with the read in is_pinned().
    const uint32_t before = pins_[segment_of(offset)].fetch_sub(1, std::memory_order_release);
    CACHEE_DASSERT(before > 0);
    if (before == 1) pinned_.fetch_sub(1, std::memory_order_relaxed);
}

// The head of the free list is not pinned afterwards, or the list is empty.
void Segments::set_pinned_aside() noexcept {
    while (free_head_ != 0 && is_pinned(free_head_ - 1)) {
        SegmentInfo& info = table_[free_head_ - 1];
        const uint32_t next = info.next_free;
        info.next_free = aside_head_;
        aside_head_ = free_head_;
        free_head_ = next;
        --free_count_;
    }
}

void Segments::take_back_unpinned() noexcept {
    uint32_t left = aside_head_;
    aside_head_ = 0;
    while (left != 0) {
        const uint32_t segment = left - 1;
        SegmentInfo& info = table_[segment];
        left = info.next_free;
        uint32_t& head = is_pinned(segment) ? aside_head_ : free_head_;
        if (&head == &free_head_) ++free_count_;
        info.next_free = head;
        head = segment + 1;
    }
}

uint32_t Segments::next_item(uint32_t segment, uint32_t cursor) const noexcept {
    const uint32_t used = table_[segment].used_bytes;
    auto start = static_cast<uint32_t>(base::align_up(cursor, kItemAlignment));
    if (start >= used) return used;
    if (racy_load<uint16_t>(memory(segment) + start) == kPadding) {
        start = static_cast<uint32_t>(base::align_up(start, base::kCacheLine));
    }
    return start;
}

}  // namespace cachee::l1
