// SPDX-License-Identifier: Apache-2.0
// One partition of L1: index and segments of the keys that one worker owns. look(), take() and the
// prefetch are inline here: they are the hot path. Layout: layout.h; the rules of racing readers:
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

// Who looks something up: a reader has to reckon with the owner's writes, the owner has not.
enum class By : uint8_t { kAnyone, kOwner };

// Where no slot's tag fits: no key is as long as this one's.
alignas(64) inline constexpr uint8_t kNoItem[64] = {kPadding & 0xff, kPadding >> 8};

// What look() found for take() to judge.
struct Candidate {
    const Bucket* bucket = nullptr;  // the chain's first
    const uint8_t* item = kNoItem;   // of the first slot in it whose tag fits
    uint32_t version = 0;
};

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
    // The two stages of a lookup, so that many can be under way at once. look() loads the bucket
    // and prefetches the item whose tag fits; without one, the chain's next bucket. take() compares
    // the key. A hit is live at now_ms and of `generation`. Bounded: kBusy after kFindAttemptsMax
    // looks. Together they touch two cache lines for an item of at most 64 bytes in a chain's first
    // bucket, and write none. By::kOwner: the owner thread, which nobody's writes can disturb and
    // which has changed nothing since look(); its lookups are always still_valid().
    template <By kBy>
    Candidate look(uint64_t hash) const noexcept;
    template <By kBy, typename Probe = NoProbe>
    Lookup take(const Candidate& candidate, uint64_t hash, std::string_view key, uint64_t now_ms,
                uint32_t generation) const noexcept;
    // The part of take() that nearly every hit needs, for a caller with a slow path of its own:
    // kBusy for all that is no hit in the chain's first bucket by the first tag that fits (misses
    // and expired items too).
    template <By kBy, typename Probe = NoProbe>
    Lookup take_usual(const Candidate& candidate, std::string_view key, uint64_t now_ms,
                      uint32_t generation) const noexcept;
    // look() and these in one; nothing is prefetched.
    template <By kBy = By::kAnyone, typename Probe = NoProbe>
    [[gnu::always_inline]] Lookup find(uint64_t hash, std::string_view key, uint64_t now_ms,
                                       uint32_t generation) const noexcept {
        return take<kBy, Probe>(candidate_of<kBy>(hash), hash, key, now_ms, generation);
    }
    template <By kBy, typename Probe = NoProbe>
    [[gnu::always_inline]] Lookup find_usual(uint64_t hash, std::string_view key, uint64_t now_ms,
                                             uint32_t generation) const noexcept {
        return take_usual<kBy, Probe>(candidate_of<kBy>(hash), key, now_ms, generation);
    }
    // After the value was copied (copy_value() of racy.h): true when the copy is what find() saw.
    static bool still_valid(const Lookup& lookup) noexcept {
        if (lookup.version_word == nullptr) return true;  // the owner's
        return still_valid<By::kAnyone>(lookup);
    }
    // The same where it is known who looked. REQUIRES: a hit of that kind.
    template <By kBy>
    [[gnu::always_inline]] static bool still_valid(const Lookup& lookup) noexcept {
        if (kBy == By::kOwner) return true;
        fence_acquire();  // the copy before this look; pairs with fence_release in Index::Change
        const auto* version = static_cast<const std::atomic<uint32_t>*>(lookup.version_word);
        return is_unchanged(*version, lookup.version);
    }
    // Instead of copying: after a hit, keeps the value's bytes as they are, whatever becomes of the
    // key, until unpin(). False: the item is gone already, or too much is pinned; then copy, or
    // look again. Writes a line that all workers share: for values that are large enough.
    bool pin(const Lookup& lookup) noexcept {
        const uint64_t offset = offset_of_value(lookup.value);
        if (!segments_.pin(offset)) return false;
        if (still_valid(lookup)) return true;
        segments_.unpin(offset);
        return false;
    }
    // For a value, or a part of one, that is pinned already.
    void pin_again(const uint8_t* value) noexcept { segments_.pin(offset_of_value(value)); }
    void unpin(const uint8_t* value) noexcept { segments_.unpin(offset_of_value(value)); }
    // Asks the owner for another size, in segments; it follows when it next looks (maintain()).
    // Growing: their memory is there already. Shrinking: it may go once segments_in_use() says so
    // and nobody reads any more what was there (Store::resize). A later wish replaces an earlier.
    void want_segments(uint32_t count) noexcept {
        segments_wanted_.store(count, std::memory_order_release);
    }
    uint32_t segments_in_use() const noexcept {
        return header_->segments_in_use.load(std::memory_order_acquire);
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
    // Bounded upkeep (expiry, reclaim ahead of need), and the gauges: call it each poll while
    // upkeep_is_due(), and now and then.
    void maintain(uint64_t now_ms) noexcept;
    bool upkeep_is_due(uint64_t now_ms) const noexcept { return reclaimer_.work_is_due(now_ms); }

    // Tells readers in other processes until when (monotonic ns; 0: not at all) items of
    // `generation` may be believed. A dead owner publishes no more, and so is believed no more.
    void publish_trust(uint64_t until_ns, uint32_t generation) noexcept;

    void set_counters(stats::WorkerCounters* counters) noexcept;  // borrowed; nullptr: none
    void set_policy(const EvictionPolicy* policy) noexcept;       // borrowed; nullptr: the default
    // Items in the index, expired ones not yet reclaimed included.
    uint64_t items() const noexcept { return segments_.items(); }
    uint64_t item_bytes_max() const noexcept { return item_bytes_max_; }
    const Segments& segments() const noexcept { return segments_; }

  private:
    template <By kBy>
    Candidate candidate_of(uint64_t hash) const noexcept;

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

    uint64_t offset_of_value(const uint8_t* value) const noexcept {
        return static_cast<uint64_t>(value - segments_.item(0));
    }
    void note_generation(uint32_t generation) noexcept;
    void remove_item(uint64_t offset) noexcept;
    void publish_gauges() noexcept;
    [[gnu::cold]] void follow_resize() noexcept;
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
    std::atomic<uint32_t> segments_wanted_{0};
    // Any reader adds (rarely); maintain() publishes it.
    alignas(64) mutable std::atomic<uint64_t> read_retries_{0};
};

// --- the hot path -------------------------------------------------------------------------------

template <By kBy>
[[gnu::always_inline]] inline Candidate Partition::look(uint64_t hash) const noexcept {
    const Candidate found = candidate_of<kBy>(hash);
    const void* next = found.item;
    if (found.item == kNoItem) [[unlikely]]
        next = index_.next_of(*found.bucket);
    __builtin_prefetch(next);
    return found;
}

template <By kBy>
[[gnu::always_inline]] inline Candidate Partition::candidate_of(uint64_t hash) const noexcept {
    Candidate found;
    const Bucket& bucket = index_.bucket_of(hash);
    found.bucket = &bucket;
    if (kBy == By::kAnyone) {
        // Acquire: pairs with the release of the even version in Index::Change. An odd one is
        // rounded down, and so never found again by take().
        found.version = bucket.version.load(std::memory_order_acquire) & ~1U;
    }
    const uint32_t mask = Index::matches(bucket, tag_of(hash));
    if (mask != 0) [[likely]]
        found.item = index_.item_at(Index::slot_word(bucket, mask));
    return found;
}

template <By kBy, typename Probe>
[[gnu::always_inline]] inline Lookup Partition::take_usual(const Candidate& candidate,
                                                           std::string_view key, uint64_t now_ms,
                                                           uint32_t generation) const noexcept {
    const uint8_t* const item = candidate.item;
    const Bucket& bucket = *candidate.bucket;
    Probe::touch(&bucket, sizeof bucket);
    if (!key_matches(item, key)) [[unlikely]]
        return {.status = FindStatus::kBusy};
    const auto word = racy_load<uint64_t>(item + kDeadlineOffset);
    if (!is_live(word, racy_load<uint32_t>(item + kGenerationOffset), now_ms, generation))
        [[unlikely]]
        return {.status = FindStatus::kBusy};
    if (kBy == By::kAnyone) {
        fence_acquire();  // pairs with fence_release in Index::Change
        if (!is_unchanged(bucket.version, candidate.version)) [[unlikely]]
            return {.status = FindStatus::kBusy};
    }
    Probe::touch(item, kItemHeaderBytes + key.size() + value_bytes_of(word));
    return {.status = FindStatus::kHit,
            .value = item + kItemHeaderBytes + key.size(),
            .value_bytes = value_bytes_of(word),
            .deadline_ms = deadline_of(word),
            .version_word = kBy == By::kOwner ? nullptr : &bucket.version,
            .version = candidate.version};
}

template <By kBy, typename Probe>
[[gnu::always_inline]] inline Lookup Partition::take(const Candidate& candidate, uint64_t hash,
                                                     std::string_view key, uint64_t now_ms,
                                                     uint32_t generation) const noexcept {
    const Lookup usual = take_usual<kBy, Probe>(candidate, key, now_ms, generation);
    if (usual.status == FindStatus::kHit) [[likely]]
        return usual;
    // Member by member, so that the caller's Lookup need not live in memory.
    const Lookup cold = find_cold<Probe>(hash, key, now_ms, generation);
    return {.status = cold.status,
            .value = cold.value,
            .value_bytes = cold.value_bytes,
            .deadline_ms = cold.deadline_ms,
            .version_word = kBy == By::kOwner ? nullptr : cold.version_word,
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

// Misses, chains, two keys of one tag, and lookups that met a writer.
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
