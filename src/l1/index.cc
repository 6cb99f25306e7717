// SPDX-License-Identifier: Apache-2.0
// Owner-side changes of the index.
#include "l1/index.h"

#include "base/assert.h"

namespace cachee::l1 {

namespace {

void store(Index::Position at, uint64_t slot) noexcept {
    at.bucket->slots[at.slot].store(slot, std::memory_order_relaxed);
}

}  // namespace

void Index::reset_overflow_list() noexcept {
    overflow_free_ = 0;
    for (uint32_t i = overflow_count_; i > 0; --i) {
        overflow_[i - 1].overflow.store(overflow_free_, std::memory_order_relaxed);
        overflow_free_ = i;
    }
}

Index::Position Index::find_key(uint64_t hash, std::string_view key) noexcept {
    const uint16_t tag = tag_of(hash);
    for (Bucket* bucket = &first_of(hash); bucket != nullptr; bucket = next_of(*bucket)) {
        for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
            const uint64_t slot = load({bucket, i});
            if (tag_of_slot(slot) == tag && key_matches(item_at(slot), key)) return {bucket, i};
        }
    }
    return {};
}

Index::Position Index::find_offset(uint64_t hash, uint64_t offset) noexcept {
    const uint16_t tag = tag_of(hash);
    for (Bucket* bucket = &first_of(hash); bucket != nullptr; bucket = next_of(*bucket)) {
        for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
            const uint64_t slot = load({bucket, i});
            if (tag_of_slot(slot) == tag && offset_of(slot) == offset) return {bucket, i};
        }
    }
    return {};
}

Index::Position Index::place_for(uint64_t hash) noexcept {
    Bucket& first = first_of(hash);
    Bucket* last = &first;
    uint32_t length = 1;
    for (Bucket* next = next_of(*last); next != nullptr; next = next_of(*next)) {
        last = next;
        ++length;
    }
    CACHEE_DASSERT(length <= kChainBucketsMax);
    for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
        if (load({last, i}) == 0) return {last, i};
    }
    if (length < kChainBucketsMax && overflow_free_ != 0) {
        const uint32_t number = overflow_free_;
        Bucket* added = &overflow_[number - 1];
        overflow_free_ = added->overflow.load(std::memory_order_relaxed);
        Change change(first);
        added->overflow.store(0, std::memory_order_relaxed);
        last->overflow.store(number, std::memory_order_relaxed);
        return {added, 0};
    }
    Position coldest{&first, 0};
    for (Bucket* bucket = &first; bucket != nullptr; bucket = next_of(*bucket)) {
        for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
            if (frequency_of(load({bucket, i})) < frequency_of(load(coldest)))
                coldest = {bucket, i};
        }
    }
    return coldest;
}

void Index::replace(uint64_t hash, Position at, uint64_t slot) noexcept {
    Change change(first_of(hash));
    store(at, slot);
}

void Index::unlink(uint64_t hash, Position at) noexcept {
    Bucket& first = first_of(hash);
    Bucket* before_last = nullptr;
    Bucket* last = &first;
    for (Bucket* next = next_of(*last); next != nullptr; next = next_of(*next)) {
        before_last = last;
        last = next;
    }
    uint32_t filler = kSlotsPerBucket;
    while (filler > 0 && load({last, filler - 1}) == 0) --filler;
    CACHEE_DASSERT(filler > 0);
    Change change(first);
    store(at, load({last, filler - 1}));
    store({last, filler - 1}, 0);
    if (filler == 1 && before_last != nullptr) {
        const uint32_t number = before_last->overflow.load(std::memory_order_relaxed);
        before_last->overflow.store(0, std::memory_order_relaxed);
        last->overflow.store(overflow_free_, std::memory_order_relaxed);
        overflow_free_ = number;
    }
}

void Index::clear() noexcept {
    for (uint32_t b = 0; b < bucket_count_; ++b) {
        Bucket& first = buckets_[b];
        if (load({&first, 0}) == 0) continue;
        Change change(first);
        for (auto& slot : first.slots) slot.store(0, std::memory_order_relaxed);
        first.overflow.store(0, std::memory_order_relaxed);
    }
    for (uint32_t b = 0; b < overflow_count_; ++b) {
        for (auto& slot : overflow_[b].slots) slot.store(0, std::memory_order_relaxed);
    }
    reset_overflow_list();
}

}  // namespace cachee::l1
