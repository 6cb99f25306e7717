// SPDX-License-Identifier: Apache-2.0
// One partition of L1: index and segments of the keys that one worker owns.
#pragma once

#include <cstdint>
#include <string_view>

#include "l1/store.h"

namespace cachee::l1 {

class Partition {
  public:
    // --- any thread ---
    void prefetch_bucket(uint64_t hash) const noexcept;
    // Loads the bucket and prefetches the items whose tag fits.
    void prefetch_item(uint64_t hash) const noexcept;
    // A hit is live at now_ms and of `generation`.
    Lookup find(uint64_t hash, std::string_view key, uint64_t now_ms,
                uint32_t generation) const noexcept;
    // After the value was copied: true when the copy is what find() saw.
    static bool still_valid(const Lookup& lookup) noexcept;

    // --- owner thread only ---
    PutStatus put(uint64_t hash, std::string_view key, std::string_view value, uint64_t deadline_ms,
                  uint32_t generation, uint64_t now_ms) noexcept;
    bool erase(uint64_t hash, std::string_view key) noexcept;
    bool set_deadline(uint64_t hash, std::string_view key, uint64_t deadline_ms) noexcept;
    void clear() noexcept;
    // Bounded upkeep (expiry, reclaim ahead of need): call once per poll; cheap when nothing is due.
    void maintain(uint64_t now_ms) noexcept;
    // Samples a hit for the eviction policy (owner or not; lossy).
    void touch(uint64_t hash) noexcept;

    void set_counters(stats::WorkerCounters* counters) noexcept;
    uint64_t items() const noexcept;
};

}  // namespace cachee::l1
