// SPDX-License-Identifier: Apache-2.0
// Hashes of keys that were evicted not long ago. Fixed size, 4 bytes an entry, set-associative: a
// look touches one cache line. Approximate in both directions: an entry may be pushed out early by
// its set, and one key in some 8,000 is taken for another. Owner thread only; no allocation after
// construction. It is not in L1's file: a restart forgets it.
//
//   set, 64 bytes | 16 entries: fingerprint 16 | time 16 |     entry 0: empty
//   time          counts insertions in steps of 1/8192 of the capacity: an entry is as old as many
//                 insertions as came after it
#pragma once

#include <cstdint>
#include <memory>

namespace cachee::l1 {

class Ghost {
  public:
    // Room for about `entries` hashes. Cost: 6 bytes each.
    explicit Ghost(uint64_t entries);

    void insert(uint64_t hash) noexcept;
    // True when one of the last `age_max` insertions was of this hash; it is forgotten then.
    bool take(uint64_t hash, uint64_t age_max) noexcept;
    void clear() noexcept;
    uint64_t capacity() const noexcept { return uint64_t{set_count_} * kWays; }

  private:
    static constexpr uint32_t kWays = 16;
    static constexpr uint32_t kSteps = 8192;  // a quarter of what 16 bits tell apart is in use
    struct alignas(64) Set {
        uint32_t entries[kWays];
    };
    static_assert(sizeof(Set) == 64);

    Set& set_of(uint64_t hash) noexcept {
        return sets_[(uint64_t{static_cast<uint32_t>(hash >> 16)} * set_count_) >> 32];
    }
    // Never 0.
    static uint32_t fingerprint_of(uint64_t hash) noexcept {
        return (static_cast<uint32_t>(hash) & 0xffff) | 1;
    }
    uint16_t now() const noexcept { return static_cast<uint16_t>(inserted_ >> step_log2_); }

    std::unique_ptr<Set[]> sets_;
    uint32_t set_count_;
    uint32_t step_log2_;
    uint64_t inserted_ = 0;
};

}  // namespace cachee::l1
