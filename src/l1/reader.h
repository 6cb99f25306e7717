// SPDX-License-Identifier: Apache-2.0
// A read-only view of the L1 file of another process. It believes nothing that it finds there: the
// geometry is checked once and copied, every offset, number and length met later is checked against
// that copy, so that a damaged file ends in an error or a miss, never in a fault. It takes no lock
// and writes nothing: nobody waits for a reader, and a reader waits for nobody.
//
// What may be believed: Partition::publish_trust() says until when, and which generation. Any
// thread; immutable after attach().
//
// Known limits. Who may write the file may also truncate it, which faults whoever has it mapped.
// The data plane never does; a reader therefore has to trust the account that the data plane runs
// as. And a store that shrinks gives memory back about a second after it has said that nothing lies
// there any more: a reader that is stopped for longer, between two instructions of one lookup,
// reads a hole, which on hugetlbfs without a free page is a fault.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "l1/layout.h"

namespace cachee::l1 {

enum class ReadStatus : uint8_t {
    kHit,
    kMiss,
    kUntrusted,  // the owner vouches for nothing now: it is dead, stopped, or cut off from L2
    kBusy,       // a writer was at work too long, or died at it
    kTooSmall,   // there, but larger than the room for it
    kDamaged,    // not what its checksum says, or beyond its segments: a miss
};

struct ReadResult {
    ReadStatus status = ReadStatus::kMiss;
    uint32_t value_bytes = 0;  // kHit, kTooSmall
    uint64_t deadline_ms = 0;  // monotonic ms; 0: none
};

enum class AttachFault : uint8_t { kNone, kAbsent, kForbidden, kIncompatible, kDamaged, kSystem };

struct AttachError {
    AttachFault fault = AttachFault::kNone;
    std::string message;
};

class Reader {
  public:
    // One partition's geometry, checked, as addresses in this process.
    struct View {
        const Bucket* buckets;
        const Bucket* overflow;
        const uint8_t* items;
        const PartitionHeader* header;  // only for what the owner trusts, and how much is in use
        uint64_t items_bytes;           // at the greatest size: beyond segments in use may be holes
        uint32_t segment_count;
        uint32_t segment_bytes_log2;
        uint32_t bucket_count;
        uint32_t overflow_count;
    };
    // Where a key would be.
    struct Place {
        const View* view;
        const Bucket* bucket;  // the chain's first
        uint64_t hash;
    };

    // nullptr, and why in *error. Faults in what is in use, so that no later read has to.
    static std::unique_ptr<Reader> attach(const std::string& path, AttachError* error);
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader();

    // --- a lookup, in stages so that many can be under way at once ---
    Place place_of(std::string_view key) const noexcept {
        const uint64_t hash = base::hash_key(key, hash_seed_);
        const View& view = views_[base::owner_of(hash, partition_count_)];
        const uint64_t bucket = (uint64_t{static_cast<uint32_t>(hash)} * view.bucket_count) >> 32;
        return {&view, &view.buckets[bucket], hash};
    }
    static void prefetch_bucket(const Place& place) noexcept { __builtin_prefetch(place.bucket); }
    static void prefetch_item(const Place& place) noexcept;
    // Copies the value to `to`, of `capacity` bytes; `to` has undefined contents unless kHit.
    // `now_ns` (CLOCK_MONOTONIC) was read before. REQUIRES: key.size() <= kKeyBytesMax.
    template <bool kVerify>
    ReadResult read(const Place& place, std::string_view key, uint64_t now_ns, void* to,
                    uint64_t capacity) const noexcept;
    // Whether the key is there, and until when; never kTooSmall.
    ReadResult peek(const Place& place, std::string_view key, uint64_t now_ns) const noexcept;

    // --- cold ---
    // False: the file at the path is another one, or gone, or was laid out anew.
    bool is_current() const noexcept;
    const std::string& path() const { return path_; }
    uint64_t bytes() const { return bytes_; }
    uint32_t partitions() const { return partition_count_; }
    const View& view(uint32_t partition) const { return views_[partition]; }

  private:
    Reader() = default;
    bool check(AttachError* error);
    bool check_partition(const PartitionHeader& header, View* view);
    uint64_t bytes_in_use() const noexcept;
    void populate() const noexcept;
    static uint64_t items_in_use(const View& view) noexcept;

    struct Match {
        ReadStatus status = ReadStatus::kMiss;
        const uint8_t* item = nullptr;
        uint64_t deadline_word = 0;
        uint32_t generation = 0;
        uint32_t crc = 0;
    };
    static Match match_in(const View& view, uint64_t items_bytes, const Bucket& bucket,
                          uint64_t hash, std::string_view key, uint32_t generation,
                          uint64_t now_ms) noexcept;
    // kHit: a live item; the caller has to settle().
    static Match search(const Place& place, std::string_view key, uint32_t generation,
                        uint64_t now_ms) noexcept;

    std::string path_;
    const uint8_t* base_ = nullptr;
    uint64_t bytes_ = 0;
    uint64_t device_ = 0;
    uint64_t inode_ = 0;
    uint64_t created_wall_ms_ = 0;
    uint32_t partition_count_ = 0;
    uint64_t hash_seed_ = 0;
    View views_[kPartitionsMax] = {};
};

extern template ReadResult Reader::read<false>(const Place&, std::string_view, uint64_t, void*,
                                               uint64_t) const noexcept;
extern template ReadResult Reader::read<true>(const Place&, std::string_view, uint64_t, void*,
                                              uint64_t) const noexcept;

}  // namespace cachee::l1
