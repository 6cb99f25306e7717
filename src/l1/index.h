// SPDX-License-Identifier: Apache-2.0
// The bucket index of one partition: from a key's hash to the offset of its item. Reading helpers
// for any thread; every change by the owner thread. It owns no item: who calls unlink() or
// replace() does the accounting of the segment.
//
// A chain is one line for the reader as far as consistency goes: the version of its first bucket
// covers all of its buckets. Slots of a chain are kept without holes (erasing moves the last slot
// up), so that keys stay in the first line as long as there is room.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <string_view>

#include "l1/item.h"
#include "l1/layout.h"
#include "l1/racy.h"

namespace cachee::l1 {

// Counts what a lookup touches (tests and benchmarks); NoProbe costs nothing.
struct NoProbe {
    static void touch(const void*, size_t) noexcept {}
};

class Index {
  public:
    struct Position {
        Bucket* bucket = nullptr;  // nullptr: not there
        uint32_t slot = 0;
    };

    Index() = default;
    Index(Bucket* buckets, uint32_t bucket_count, Bucket* overflow, uint32_t overflow_count,
          const uint8_t* items)
        : buckets_(buckets),
          items_(items),
          bucket_count_(bucket_count),
          overflow_count_(overflow_count),
          overflow_(overflow) {}

    // --- any thread ---
    const Bucket& bucket_of(uint64_t hash) const noexcept {
        return buckets_[(uint64_t{static_cast<uint32_t>(hash)} * bucket_count_) >> 32];
    }
    // nullptr at the end of the chain.
    const Bucket* next_of(const Bucket& bucket) const noexcept {
        const uint32_t next = bucket.overflow.load(std::memory_order_relaxed);
        return next == 0 ? nullptr : &overflow_[next - 1];
    }
    const uint8_t* item_at(uint64_t slot) const noexcept { return items_ + offset_of(slot); }

    // Bit w is set when 64-bit word w of the bucket (1..7 are the slots) has this tag.
    static uint32_t matches(const Bucket& bucket, uint16_t tag) noexcept;
    static uint64_t slot_word(const Bucket& bucket, uint32_t match_mask) noexcept {
        // The bucket as eight words; the first is never matched.
        const auto* words = reinterpret_cast<const std::atomic<uint64_t>*>(&bucket);
        return words[__builtin_ctz(match_mask)].load(std::memory_order_relaxed);
    }

    // --- owner thread ---
    // Puts the free overflow buckets in a list. REQUIRES: all memory is zero, or clear() ran.
    void reset_overflow_list() noexcept;

    Position find_key(uint64_t hash, std::string_view key) noexcept;
    Position find_offset(uint64_t hash, uint64_t offset) noexcept;
    // A place for one more slot in the chain, linking an overflow bucket when it must. Without
    // room: the slot with the fewest sampled hits, still occupied (the caller evicts its item).
    Position place_for(uint64_t hash) noexcept;
    void replace(uint64_t hash, Position at, uint64_t slot) noexcept;
    void unlink(uint64_t hash, Position at) noexcept;
    void clear() noexcept;

    static uint64_t load(Position at) noexcept {
        return at.bucket->slots[at.slot].load(std::memory_order_relaxed);
    }

    // Makes the version odd while it lives.
    class Change {
      public:
        explicit Change(Bucket& first) noexcept : version_(first.version) {
            version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
            fence_release();  // pairs with a reader's fence_acquire (racy.h)
        }
        Change(const Change&) = delete;
        Change& operator=(const Change&) = delete;
        ~Change() {
            // Release: pairs with the acquire of a lookup's first look.
            version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
            fence_release();  // before any byte of what was unlinked is written over
        }

      private:
        std::atomic<uint32_t>& version_;
    };
    Bucket& first_of(uint64_t hash) noexcept { return const_cast<Bucket&>(bucket_of(hash)); }

  private:
    friend class IndexRepair;
    Bucket* next_of(Bucket& bucket) noexcept {
        return const_cast<Bucket*>(static_cast<const Index*>(this)->next_of(bucket));
    }

    Bucket* buckets_ = nullptr;
    const uint8_t* items_ = nullptr;
    uint32_t bucket_count_ = 0;
    uint32_t overflow_count_ = 0;
    Bucket* overflow_ = nullptr;
    uint32_t overflow_free_ = 0;  // number plus one; the list goes through Bucket::overflow
};

inline uint32_t Index::matches(const Bucket& bucket, uint16_t tag) noexcept {
#if defined(__AVX2__) && !defined(__SANITIZE_THREAD__)
    // Each 8-byte lane is read in one piece. All 16-bit parts are compared; only the top one of a
    // lane is a tag, and its result is the lane's sign. The first word is no slot: its top bits are
    // those of a bucket number far below the used bit of a tag.
    const auto* words = reinterpret_cast<const __m256i*>(&bucket);
    const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(tag));
    const __m256i low = _mm256_cmpeq_epi16(wanted, _mm256_load_si256(words));
    const __m256i high = _mm256_cmpeq_epi16(wanted, _mm256_load_si256(words + 1));
    const auto low_mask = static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(low)));
    const auto high_mask = static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(high)));
    return (high_mask << 4) | low_mask;
#else
    uint32_t mask = 0;
    for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
        const uint64_t slot = bucket.slots[i].load(std::memory_order_relaxed);
        if (tag_of_slot(slot) == tag) mask |= 2U << i;
    }
    return mask;
#endif
}

}  // namespace cachee::l1
