// SPDX-License-Identifier: Apache-2.0
// What L1 looks like in its file. Position-independent: offsets, never pointers, so that any
// process may map it anywhere. Layout only; who does what with it is in index.h, segments.h and
// partition.h. Data plane writes; any process may read.
//
//   file    | FileHeader 4 KiB | PartitionHeader[n] | partition 0 | ... | partition n-1 | tail pad
//   |
//
//   partition  | Bucket[bucket_count]   | Bucket[overflow_count] | SegmentInfo[segment_count] |
//              | segment 0 | segment 1 | ...                        (each power-of-two bytes)
//
// A store that may grow has room for its greatest size in the file; the memory of segments that are
// not in use is not there (a hole), but for kTailPadBytes behind the last one in use.
//
//   Bucket, 64 bytes = one cache line
//              | version 4 | overflow 4 | slot 8 | ... 7 slots in all |
//     version  odd while the owner changes the bucket or its chain, even otherwise; only grows
//     overflow number of the next bucket of the chain plus one; 0: none
//
//   slot       | 63: used | 62..48: tag | 47..40: sampled hits | 39..0: offset of the item |
//              offset in bytes from the partition's first segment: 1 TiB a partition
//
//   item, 18 bytes and then the key and the value, unpadded, on an even address
//              | key_bytes 2 | crc32c 4 | generation 4 | value_bytes 3 | deadline 5 | key | value |
//     kPadding where key_bytes would be: nothing until the next cache line.
//     crc32c   over generation, deadline, lengths, key, value (crc_of())
//     deadline monotonic milliseconds, kNoDeadline: none
//
// Memory beside key and value, for an index as full as it is planned (6 of 7 slots, one overflow
// bucket to four buckets): 18 header + 0.5 alignment + 64 * 1.25 / 6 = 13.3 index = 31.8 bytes an
// item. Beyond that an item of at most 64 bytes never crosses a cache line, so that a hit touches
// two lines; the end of a line too short for the next item stays empty (0 for 46 bytes of key and
// value; 24 bytes each for 22).
//
// Known limit: the version has 32 bits. A reader that sleeps through exactly 2^31 changes of one
// chain between its two looks would believe a torn copy.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"

namespace cachee::l1 {

inline constexpr uint64_t kMagic = 0x314c6565'68636163ULL;
inline constexpr uint32_t kLayoutVersion = 4;

inline constexpr uint32_t kSlotsPerBucket = 7;
// Longest chain, the first bucket included: what bounds every walk.
inline constexpr uint32_t kChainBucketsMax = 4;
inline constexpr uint32_t kSlotsPlanned = 6;
inline constexpr uint32_t kBucketsPerOverflow = 4;

struct alignas(64) Bucket {
    std::atomic<uint32_t> version;
    std::atomic<uint32_t> overflow;
    std::atomic<uint64_t> slots[kSlotsPerBucket];
};
static_assert(sizeof(Bucket) == 64);
static_assert(offsetof(Bucket, overflow) == 4);
static_assert(offsetof(Bucket, slots) == 8);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// --- slot ---------------------------------------------------------------------------------------

inline constexpr uint64_t kOffsetBits = 40;
inline constexpr uint64_t kOffsetMask = (uint64_t{1} << kOffsetBits) - 1;
inline constexpr uint64_t kFrequencyOne = uint64_t{1} << kOffsetBits;
inline constexpr uint64_t kFrequencyMax = 255;
inline constexpr uint16_t kUsedBit = 0x8000;

// The upper 16 bits of the slot of a key with this hash. Bits 32..46: the bucket is chosen by those
// below, the owner by those above (base::owner_of).
constexpr uint16_t tag_of(uint64_t hash) { return static_cast<uint16_t>((hash >> 32) | kUsedBit); }
constexpr uint64_t make_slot(uint64_t hash, uint64_t frequency, uint64_t offset) {
    return (uint64_t{tag_of(hash)} << 48) | (frequency << kOffsetBits) | offset;
}
constexpr uint64_t offset_of(uint64_t slot) { return slot & kOffsetMask; }
constexpr uint32_t frequency_of(uint64_t slot) {
    return static_cast<uint32_t>((slot >> kOffsetBits) & kFrequencyMax);
}
constexpr uint16_t tag_of_slot(uint64_t slot) { return static_cast<uint16_t>(slot >> 48); }

// --- item ---------------------------------------------------------------------------------------

inline constexpr uint32_t kItemHeaderBytes = 18;
inline constexpr uint32_t kKeyBytesOffset = 0;
inline constexpr uint32_t kCrcOffset = 2;
inline constexpr uint32_t kGenerationOffset = 6;
inline constexpr uint32_t kDeadlineOffset = 10;  // 64-bit word: value_bytes below, deadline above
inline constexpr uint32_t kItemAlignment = 2;
inline constexpr uint32_t kKeyBytesMax = 65534;
inline constexpr uint16_t kPadding = 0xffff;  // in place of key_bytes
inline constexpr uint32_t kValueBytesMax = (1U << 24) - 1;
inline constexpr uint64_t kNoDeadline = kOffsetMask;  // 40 bits, all ones: 34 years after boot
static_assert(kDeadlineOffset + sizeof(uint64_t) == kItemHeaderBytes);

constexpr uint64_t make_deadline_word(uint64_t deadline40, uint64_t value_bytes) {
    return (deadline40 << 24) | value_bytes;
}
constexpr uint64_t deadline40_of(uint64_t deadline_word) { return deadline_word >> 24; }
constexpr uint32_t value_bytes_of(uint64_t deadline_word) { return deadline_word & kValueBytesMax; }
// deadline40 > now_ms, with a right side that a loop computes once.
constexpr bool is_before_deadline(uint64_t now_ms, uint64_t deadline_word) {
    return deadline_word >= (now_ms + 1) << 24;
}
// 0, and what is past the horizon, to the stored form. A later deadline than 2^40-2 ms ends there.
constexpr uint64_t to_deadline40(uint64_t deadline_ms) {
    if (deadline_ms == 0) return kNoDeadline;
    return deadline_ms < kNoDeadline ? deadline_ms : kNoDeadline - 1;
}

// --- segments and headers -----------------------------------------------------------------------

enum class SegmentState : uint32_t {
    kFree = 0,
    kActive = 1,      // takes new items of its class
    kSealed = 2,      // full: may be chosen as a victim
    kReclaiming = 3,  // in the hands of the reclaimer
    kRetired = 4,     // beyond the segments in use: its memory may be gone
};

inline constexpr uint64_t kSegmentNever = UINT64_MAX;

// Owner only; in the file so that a later process can pick up where this one ended. To that process
// it is a hint: what is live is what the index and the items' checksums prove (rebuild.h).
struct SegmentInfo {
    SegmentState state;
    uint32_t ttl_class;
    uint64_t sealed_order;
    uint32_t used_bytes;  // up to here items follow each other
    uint32_t live_bytes;
    uint32_t live_items;
    uint32_t next_free;    // segment number plus one
    uint64_t deadline_ms;  // the latest in it; kSegmentNever when something never expires; 0: empty
    uint32_t log;          // of the eviction policy, or of a prefix with a quota
    uint32_t reserved0;
    uint64_t reserved[2];
};
static_assert(sizeof(SegmentInfo) == 64);

inline constexpr uint32_t kSegmentBytesMin = 4096;
inline constexpr uint32_t kSegmentBytesDefault = 1 << 20;
inline constexpr uint32_t kSegmentBytesMax = 2 << 20;

struct PartitionHeader {
    uint64_t buckets_offset;  // all offsets from the start of the file
    uint64_t overflow_offset;
    uint64_t segment_table_offset;
    uint64_t segments_offset;
    uint32_t bucket_count;
    uint32_t overflow_count;
    uint32_t segment_count;  // at the store's greatest size
    uint32_t segment_bytes_log2;
    uint32_t segments_min;  // at the store's least size
    uint32_t quotas_crc;    // of the prefixes whose logs these are; see Partition::set_quotas()
    alignas(64) std::atomic<uint32_t> generation;  // newest generation that was put
    uint32_t reserved;
    // The item in which Partition::set_deadline() is at work, its offset plus one (0: none), and
    // the deadline word that it had: the one change in place that a crash could leave half done.
    std::atomic<uint64_t> deadline_item;
    uint64_t deadline_before;
    // What the owner trusts, for readers in other processes; see Partition::publish_trust().
    alignas(64) std::atomic<uint64_t> trusted_until_ns;  // CLOCK_MONOTONIC; 0: not at all
    std::atomic<uint32_t> trusted_generation;
    std::atomic<uint32_t> segments_in_use;  // no item lies beyond them
};
static_assert(sizeof(PartitionHeader) == 192);
static_assert(offsetof(PartitionHeader, generation) == 64);
static_assert(offsetof(PartitionHeader, deadline_item) == 72);
static_assert(offsetof(PartitionHeader, trusted_until_ns) == 128);

inline constexpr uint32_t kPartitionsMax = 64;

struct FileHeader {
    std::atomic<uint64_t> magic;  // written last, with release: a reader that sees it sees the rest
    uint32_t layout_version;
    uint32_t partition_count;
    uint64_t file_bytes;
    uint64_t hash_seed;       // of base::hash_key
    uint64_t item_bytes_max;  // key + value
    uint64_t partitions_offset;
    uint64_t created_wall_ms;
    uint32_t creator_pid;
    uint32_t authoritative;  // 1: what is here is nowhere else (no L2)
    uint64_t id;             // random, never 0: of this store, for whoever vouches for its contents
    char boot_id[40];        // of the kernel whose monotonic clock the deadlines are of
    uint8_t padding[4096 - 112];
};
static_assert(sizeof(FileHeader) == 4096);
static_assert(offsetof(FileHeader, id) == 64);

// A reader that lost a race may compare a key with whatever lies where the item was: never more
// than a key, so this much after the last segment in use keeps it inside memory.
inline constexpr uint64_t kTailPadBytes = 68 * base::kKiB;
static_assert(kTailPadBytes > kItemHeaderBytes + kKeyBytesMax + 64);

}  // namespace cachee::l1
