// SPDX-License-Identifier: Apache-2.0
#include "l1/index_repair.h"

#include <algorithm>

#include "l1/rebuild.h"

namespace cachee::l1 {

namespace {

constexpr uint32_t kSlotsMax = kChainBucketsMax * kSlotsPerBucket;

bool is_odd(const Bucket& first) {
    return (first.version.load(std::memory_order_relaxed) & 1) != 0;
}

}  // namespace

IndexRepair::IndexRepair(Index& index, uint64_t bytes, RebuildReport& report)
    : index_(index), bytes_(bytes), report_(report), in_chain_(index.overflow_count_) {}

// As Index::Change begins one; settle_chain() ends it.
void IndexRepair::begin_change(Bucket& first) noexcept {
    if (is_odd(first)) return;
    first.version.store(first.version.load(std::memory_order_relaxed) + 1,
                        std::memory_order_relaxed);
    fence_release();  // pairs with a reader's fence_acquire (racy.h)
}

bool IndexRepair::can_be(uint64_t slot) const noexcept {
    const uint64_t offset = offset_of(slot);
    return (tag_of_slot(slot) & kUsedBit) != 0 && offset % kItemAlignment == 0 && offset < bytes_ &&
           bytes_ - offset >= kItemHeaderBytes;
}

// REQUIRES: untangle_chain() has seen it.
IndexRepair::Chain IndexRepair::chain_of(Bucket& first) noexcept {
    Chain chain;
    for (Bucket* bucket = &first; bucket != nullptr; bucket = index_.next_of(*bucket)) {
        chain.buckets[chain.length++] = bucket;
    }
    return chain;
}

void IndexRepair::untangle() {
    for (uint32_t b = 0; b < index_.bucket_count_; ++b) untangle_chain(index_.buckets_[b]);
}

void IndexRepair::untangle_chain(Bucket& first) noexcept {
    if (is_odd(first)) ++report_.odd_chains;
    Bucket* bucket = &first;
    for (uint32_t length = 1;; ++length) {
        for (auto& each : bucket->slots) {
            const uint64_t slot = each.load(std::memory_order_relaxed);
            if (slot == 0) continue;
            if (!can_be(slot)) {
                begin_change(first);
                each.store(0, std::memory_order_relaxed);
                ++report_.malformed;
            } else if (frequency_of(slot) > kFrequencyKept) {
                const uint64_t rest = slot & ~(kFrequencyMax << kOffsetBits);
                each.store(rest | (kFrequencyKept << kOffsetBits), std::memory_order_relaxed);
            }
        }
        const uint32_t next = bucket->overflow.load(std::memory_order_relaxed);
        if (next == 0) return;
        // Out of the table, too long, or in another chain already (or in this: a cycle).
        if (next > index_.overflow_count_ || length == kChainBucketsMax || in_chain_[next - 1]) {
            begin_change(first);
            bucket->overflow.store(0, std::memory_order_relaxed);
            ++report_.malformed;
            return;
        }
        in_chain_[next - 1] = true;
        bucket = &index_.overflow_[next - 1];
    }
}

IndexRepair::Found IndexRepair::find(uint64_t hash, uint64_t offset) noexcept {
    Found found;
    for (Bucket* bucket = &index_.first_of(hash); bucket != nullptr;
         bucket = index_.next_of(*bucket)) {
        uint32_t mask = Index::matches(*bucket, tag_of(hash));
        for (; mask != 0; mask &= mask - 1) {
            const uint64_t slot = Index::slot_word(*bucket, mask);
            if (found.slot == nullptr && offset_of(slot) == offset) {
                found.slot = &bucket->slots[__builtin_ctz(mask) - 1];
            } else if ((slot & kMarked) != 0) {
                found.rivals = true;
            }
        }
    }
    return found;
}

// The usual one: a single bucket whose slots are all marked, in place. False: not that.
bool IndexRepair::settle_sound(Bucket& first) noexcept {
    if (first.overflow.load(std::memory_order_relaxed) != 0 || is_odd(first)) return false;
    uint64_t wrong = 0;
    uint64_t later = 0;  // not 0: a slot behind this one is in use
    for (uint32_t i = kSlotsPerBucket; i-- > 0;) {
        const uint64_t slot = first.slots[i].load(std::memory_order_relaxed);
        const bool kept = (slot & (kMarked | kDoubted)) == kMarked;
        wrong |= static_cast<uint64_t>(!kept) & static_cast<uint64_t>((slot | later) != 0);
        later |= slot;
    }
    if (wrong != 0) return false;
    for (auto& each : first.slots) {
        const uint64_t slot = each.load(std::memory_order_relaxed);
        if (slot == 0) break;
        each.store(slot & ~kMarked, std::memory_order_relaxed);
    }
    return true;
}

// `others`: of its chain.
void IndexRepair::count_dropped(uint64_t slot, std::span<const uint64_t> others) noexcept {
    if ((slot & kDoubted) != 0) {
        ++report_.duplicates;
        return;
    }
    const bool again = std::any_of(others.begin(), others.end(), [slot](uint64_t other) {
        return offset_of(other) == offset_of(slot);
    });
    // What was counted when it was judged is taken off in Rebuild::run().
    ++(again ? report_.half_done : report_.malformed);
}

void IndexRepair::settle_chain(Bucket& first) noexcept {
    const Chain chain = chain_of(first);
    uint64_t kept[kSlotsMax];
    uint64_t dropped[kSlotsMax];
    uint32_t kept_count = 0;
    uint32_t dropped_count = 0;
    bool moved = false;
    for (uint32_t i = 0; i < chain.length * kSlotsPerBucket; ++i) {
        auto& each = chain.buckets[i / kSlotsPerBucket]->slots[i % kSlotsPerBucket];
        const uint64_t slot = each.load(std::memory_order_relaxed);
        if (slot == 0) continue;
        if ((slot & (kMarked | kDoubted)) == kMarked) {
            moved |= i != kept_count;
            kept[kept_count++] = slot & ~kMarked;
        } else {
            dropped[dropped_count++] = slot;
        }
    }
    for (uint32_t i = 0; i < dropped_count; ++i) {
        std::copy_n(dropped + i + 1, dropped_count - i - 1, kept + kept_count);
        count_dropped(dropped[i], {kept, kept_count + dropped_count - i - 1});
    }
    const uint32_t length =
        std::max((kept_count + kSlotsPerBucket - 1) / kSlotsPerBucket, uint32_t{1});
    const bool changes = moved || dropped_count > 0 || length < chain.length || is_odd(first);
    if (changes) begin_change(first);
    // Kept ones move towards the front and what is behind them goes last: killed in between, this
    // leaves an item linked twice, never not at all.
    for (uint32_t i = 0; i < chain.length * kSlotsPerBucket; ++i) {
        auto& each = chain.buckets[i / kSlotsPerBucket]->slots[i % kSlotsPerBucket];
        if (i >= kept_count && !changes) break;
        each.store(i < kept_count ? kept[i] : 0, std::memory_order_relaxed);
    }
    if (!changes) return;
    for (uint32_t b = chain.length; b > length; --b) {
        const uint32_t number = chain.buckets[b - 2]->overflow.load(std::memory_order_relaxed);
        chain.buckets[b - 2]->overflow.store(0, std::memory_order_relaxed);
        in_chain_[number - 1] = false;
    }
    // Release: pairs with the acquire of a lookup's first look.
    first.version.store(first.version.load(std::memory_order_relaxed) + 1,
                        std::memory_order_release);
    fence_release();  // before any byte of what was dropped is written over
}

void IndexRepair::settle() {
    for (uint32_t b = 0; b < index_.bucket_count_; ++b) {
        if (!settle_sound(index_.buckets_[b])) settle_chain(index_.buckets_[b]);
    }
    index_.overflow_free_ = 0;
    for (uint32_t i = index_.overflow_count_; i > 0; --i) {
        if (in_chain_[i - 1]) continue;
        Bucket& bucket = index_.overflow_[i - 1];
        for (auto& each : bucket.slots) {
            if (each.load(std::memory_order_relaxed) != 0) each.store(0, std::memory_order_relaxed);
        }
        bucket.overflow.store(index_.overflow_free_, std::memory_order_relaxed);
        index_.overflow_free_ = i;
    }
}

}  // namespace cachee::l1
