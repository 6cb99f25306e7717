// SPDX-License-Identifier: Apache-2.0
// One partition of L1: index and segments of the keys that one worker owns. find() and the
// prefetches are inline here: they are the hot path. Layout: layout.h; the rules of racing readers:
// racy.h.
//
// Every `hash` is base::hash_key(key, hash_seed of the store). Times are monotonic milliseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "l1/eviction_policy.h"
#include "l1/index.h"
#include "l1/layout.h"
#include "l1/racy.h"
#include "l1/reclaim.h"
#include "l1/segments.h"
#include "l1/store.h"

namespace cachee::l1 {

class Partition {
  public:
    // `file` is the mapping's start, zeroed but for the headers. Store makes these.
    Partition(uint8_t* file, PartitionHeader* header, uint64_t item_bytes_max, uint64_t hash_seed);
    Partition(const Partition&) = delete;
    Partition& operator=(const Partition&) = delete;

    // --- any thread ---
    void prefetch_bucket(uint64_t hash) const noexcept {
        __builtin_prefetch(&index_.bucket_of(hash));
    }
    // Loads the bucket and prefetches the items whose tag fits; without one, the chain's next
    // bucket.
    void prefetch_item(uint64_t hash) const noexcept;
    // A hit is live at now_ms and of `generation`. Bounded: kBusy after kFindAttemptsMax looks.
    // Touches two cache lines for an item of at most 64 bytes in a chain's first bucket; writes
    // none.
    [[gnu::always_inline]] Lookup find(uint64_t hash, std::string_view key, uint64_t now_ms,
                                       uint32_t generation) const noexcept {
        return find_with<NoProbe>(hash, key, now_ms, generation);
    }
    template <typename Probe>
    [[gnu::always_inline]] Lookup find_with(uint64_t hash, std::string_view key, uint64_t now_ms,
                                            uint32_t generation) const noexcept;
    // After the value was copied (copy_value() of racy.h): true when the copy is what find() saw.
    static bool still_valid(const Lookup& lookup) noexcept {
        fence_acquire();  // the copy before this look; pairs with fence_release in Index::Change
        const auto* version = static_cast<const std::atomic<uint32_t>*>(lookup.version_word);
        return version->load(std::memory_order_relaxed) == lookup.version;
    }
    // Counts a hit of the key for the eviction policy. Writes the bucket's line: call it for a
    // sample of the hits (1 in 8 is plenty). Lossy; a tag shared with another key counts for
    // either.
    void touch(uint64_t hash) noexcept;

    // --- owner thread only ---
    // Replaces or adds. key and value must not lie in L1. Unless kStored, the key is absent
    // afterwards. Cost: the copy, its CRC, and at most a slice of reclaim; a whole round when
    // memory is exhausted.
    PutStatus put(uint64_t hash, std::string_view key, std::string_view value, uint64_t deadline_ms,
                  uint32_t generation, uint64_t now_ms) noexcept;
    bool erase(uint64_t hash, std::string_view key) noexcept;
    // In place; costs the CRC of the item. 0: never expires. False: no such key. REQUIRES: the
    // caller has found it live; an expired one that is not reclaimed yet would come back.
    bool set_deadline(uint64_t hash, std::string_view key, uint64_t deadline_ms) noexcept;
    // Writes the whole index (some 10 ms per GiB of store); the O(1) flush is a new generation.
    void clear() noexcept;
    // Bounded upkeep (expiry, reclaim ahead of need): call once per poll; cheap when nothing is
    // due.
    void maintain(uint64_t now_ms) noexcept;

    void set_counters(stats::WorkerCounters* counters) noexcept;  // borrowed; nullptr: none
    void set_policy(const EvictionPolicy* policy) noexcept;       // borrowed; nullptr: the default
    // Items in the index, expired ones not yet reclaimed included.
    uint64_t items() const noexcept { return segments_.items(); }
    uint64_t item_bytes_max() const noexcept { return item_bytes_max_; }
    const Segments& segments() const noexcept { return segments_; }

  private:
    static constexpr uint32_t kFindAttemptsMax = 32;
    enum class Look : uint8_t { kDone, kAgain };

    template <typename Probe>
    Look look_cold(const Bucket& first, uint64_t hash, std::string_view key, uint64_t now_ms,
                   uint32_t generation, Lookup* lookup) const noexcept;
    template <typename Probe>
    [[gnu::cold, gnu::noinline]] Lookup find_cold(uint64_t hash, std::string_view key,
                                                  uint64_t now_ms,
                                                  uint32_t generation) const noexcept;
    static bool is_live(uint64_t deadline_word, uint32_t item_generation, uint64_t now_ms,
                        uint32_t generation) noexcept {
        return is_before_deadline(now_ms, deadline_word) && item_generation == generation;
    }
    static uint64_t deadline_of(uint64_t deadline_word) noexcept {
        const uint64_t deadline40 = deadline40_of(deadline_word);
        return deadline40 == kNoDeadline ? 0 : deadline40;
    }

    void note_generation(uint32_t generation) noexcept;
    void remove_item(uint64_t offset) noexcept;
    void publish_gauges() noexcept;
    void count(stats::Counter counter) noexcept {
        if (counters_ != nullptr) counters_->add(counter);
    }

    Index index_;
    Segments segments_;
    Reclaimer reclaimer_;
    PartitionHeader* header_;
    stats::WorkerCounters* counters_ = nullptr;
    uint64_t item_bytes_max_;
    uint64_t hash_seed_;
    bool generation_known_ = false;
    // Any reader adds (rarely); maintain() publishes it.
    alignas(64) mutable std::atomic<uint64_t> read_retries_{0};
};

// --- the hot path -------------------------------------------------------------------------------

inline void Partition::prefetch_item(uint64_t hash) const noexcept {
    const Bucket& bucket = index_.bucket_of(hash);
    uint32_t mask = Index::matches(bucket, tag_of(hash));
    if (mask == 0) [[unlikely]] {
        const Bucket* next = index_.next_of(bucket);
        if (next != nullptr) __builtin_prefetch(next);
        return;
    }
    do {
        __builtin_prefetch(index_.item_at(Index::slot_word(bucket, mask)));
        mask &= mask - 1;
    } while (mask != 0);
}

template <typename Probe>
inline Lookup Partition::find_with(uint64_t hash, std::string_view key, uint64_t now_ms,
                                   uint32_t generation) const noexcept {
    const Bucket& bucket = index_.bucket_of(hash);
    Probe::touch(&bucket, sizeof bucket);
    // Acquire: pairs with the release of the even version in Index::Change. An odd one is rounded
    // down, and so never found again below.
    const uint32_t version = bucket.version.load(std::memory_order_acquire) & ~1U;
    uint32_t mask = Index::matches(bucket, tag_of(hash));
    while (mask != 0) [[likely]] {
            const uint8_t* item = index_.item_at(Index::slot_word(bucket, mask));
            if (!key_matches(item, key)) [[unlikely]] {
                Probe::touch(item, kItemHeaderBytes);
                mask &= mask - 1;
                continue;
            }
            const auto word = racy_load<uint64_t>(item + kDeadlineOffset);
            const auto item_generation = racy_load<uint32_t>(item + kGenerationOffset);
            fence_acquire();  // pairs with fence_release in Index::Change
            if (bucket.version.load(std::memory_order_relaxed) != version) [[unlikely]]
                break;
            Probe::touch(item, kItemHeaderBytes + key.size() + value_bytes_of(word));
            if (!is_live(word, item_generation, now_ms, generation)) [[unlikely]]
                return {};
            return {.status = FindStatus::kHit,
                    .value = item + kItemHeaderBytes + key.size(),
                    .value_bytes = value_bytes_of(word),
                    .deadline_ms = deadline_of(word),
                    .version_word = &bucket.version,
                    .version = version};
        }
    // Member by member, so that the caller's Lookup need not live in memory.
    const Lookup cold = find_cold<Probe>(hash, key, now_ms, generation);
    return {.status = cold.status,
            .value = cold.value,
            .value_bytes = cold.value_bytes,
            .deadline_ms = cold.deadline_ms,
            .version_word = cold.version_word,
            .version = cold.version};
}

template <typename Probe>
Partition::Look Partition::look_cold(const Bucket& first, uint64_t hash, std::string_view key,
                                     uint64_t now_ms, uint32_t generation,
                                     Lookup* lookup) const noexcept {
    // Acquire: pairs with the release of the even version in Index::Change.
    const uint32_t version = first.version.load(std::memory_order_acquire);
    if ((version & 1) != 0) return Look::kAgain;
    const Bucket* bucket = &first;
    *lookup = Lookup{};
    bool found = false;
    for (uint32_t length = 0; length < kChainBucketsMax && bucket != nullptr && !found; ++length) {
        Probe::touch(bucket, sizeof *bucket);
        uint32_t mask = Index::matches(*bucket, tag_of(hash));
        for (; mask != 0 && !found; mask &= mask - 1) {
            const uint8_t* item = index_.item_at(Index::slot_word(*bucket, mask));
            found = key_matches(item, key);
            if (!found) continue;
            const auto word = racy_load<uint64_t>(item + kDeadlineOffset);
            if (!is_live(word, racy_load<uint32_t>(item + kGenerationOffset), now_ms, generation)) {
                break;
            }
            *lookup = {.status = FindStatus::kHit,
                       .value = item + kItemHeaderBytes + key.size(),
                       .value_bytes = value_bytes_of(word),
                       .deadline_ms = deadline_of(word),
                       .version_word = &first.version,
                       .version = version};
            Probe::touch(item, kItemHeaderBytes + key.size());
        }
        bucket = index_.next_of(*bucket);
    }
    fence_acquire();  // pairs with fence_release in Index::Change
    return first.version.load(std::memory_order_relaxed) == version ? Look::kDone : Look::kAgain;
}

// Misses, chains, and lookups that met a writer.
template <typename Probe>
Lookup Partition::find_cold(uint64_t hash, std::string_view key, uint64_t now_ms,
                            uint32_t generation) const noexcept {
    const Bucket& first = index_.bucket_of(hash);
    Lookup lookup;
    for (uint32_t attempt = 0; attempt < kFindAttemptsMax; ++attempt) {
        if (look_cold<Probe>(first, hash, key, now_ms, generation, &lookup) == Look::kDone) {
            return lookup;
        }
        read_retries_.fetch_add(1, std::memory_order_relaxed);
        __builtin_ia32_pause();
    }
    lookup = Lookup{};
    lookup.status = FindStatus::kBusy;
    return lookup;
}

}  // namespace cachee::l1
