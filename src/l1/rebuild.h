// SPDX-License-Identifier: Apache-2.0
// Taking over a partition that a dead process left: which of the items in it are whole and may be
// served, and the index and the segments' books made anew from just these. Whether the file as a
// whole can be believed is judged before (attach.h). Cold code; one thread per partition, and
// nobody else writes it. Any number of foreign readers may be in it meanwhile, and this process may
// be killed at any instant: the next one starts from what it left.
//
//   1. untangle   bucket by bucket: chains that end, slots that lie inside the segments
//   2. walk       segment by segment along the log, sequentially, the buckets of a batch
//   prefetched:
//                 an item that is whole, live, of the newest generation and that the index links
//                 from the right chain gets its slot marked
//   3. settle     bucket by bucket: slots without a mark go, holes are closed, versions made even
//
// Nothing is believed but what proves itself: a slot by the item behind it (it lies on the log, and
// its key's hash leads to this slot), an item by its checksum. Items cannot overlap: each begins
// where the one before it on the log has ended. SegmentInfo says how far to walk and in what order
// segments were filled: when that is wrong, items are lost but no wrong one is served.
//
// What a process killed between any two of its stores leaves is kept completely: an item is linked
// by one store after it was written and before what it replaces is unlinked, unlinking copies a
// slot before it clears it, and a deadline changed in place is restored from
// PartitionHeader::deadline_before.
//
// Known limit: behind a damaged length the rest of its segment is lost.
#pragma once

#include <cstdint>
#include <vector>

#include "l1/index.h"
#include "l1/item.h"
#include "l1/segments.h"

namespace cachee::l1 {

// Items (slots of the index) by what became of them.
struct RebuildReport {
    uint64_t items = 0;  // kept
    uint64_t bytes = 0;  // of these, headers included
    uint64_t expired = 0;
    uint64_t old_generation = 0;
    uint64_t bad_checksum = 0;
    uint64_t half_done = 0;   // a second slot of one item: its writer died while it moved it
    uint64_t duplicates = 0;  // items of one key: nothing says which is newer, none is kept
    uint64_t malformed = 0;   // slots that lead to no item, or to one that is elsewhere at home
    uint64_t odd_chains = 0;  // whose writer died while it changed them

    uint64_t dropped() const {
        return expired + old_generation + bad_checksum + half_done + duplicates + malformed;
    }
    void add(const RebuildReport& other) noexcept;
};

struct RebuildOptions {
    uint64_t now_ms = 0;
    uint32_t generation = 0;  // the newest: items of any other are dropped
    uint32_t partition = 0;
    uint32_t partitions = 1;
};

class IndexRepair;

class Rebuild {
  public:
    // REQUIRES: the geometry in `header` was checked. `index` and `segments` know it and nothing
    // else yet.
    Rebuild(Index& index, Segments& segments, PartitionHeader& header, uint64_t hash_seed,
            uint64_t item_bytes_max, const RebuildOptions& options);
    RebuildReport run();

  private:
    static constexpr uint32_t kBatch = 32;

    struct Found {
        uint64_t hash;
        uint64_t offset;
        ItemHeader header;
    };

    void restore_deadline() noexcept;
    bool is_whole(uint64_t offset) const noexcept;
    void walk(uint32_t segment) noexcept;
    uint32_t gather(uint32_t segment, uint32_t used, uint32_t* cursor, Found* batch) noexcept;
    void judge(const Found& found) noexcept;
    bool mark_unless_twins(const Found& found, std::atomic<uint64_t>* slot) noexcept;
    SegmentContents& contents_of(uint64_t offset) {
        return contents_[offset / segments_.segment_bytes()];
    }

    Index& index_;
    Segments& segments_;
    PartitionHeader& header_;
    const uint64_t hash_seed_;
    const uint64_t item_bytes_max_;
    const RebuildOptions options_;
    RebuildReport report_;
    IndexRepair* repair_ = nullptr;  // while run() runs
    std::vector<SegmentContents> contents_;
};

}  // namespace cachee::l1
