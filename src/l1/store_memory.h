// SPDX-License-Identifier: Apache-2.0
// Which parts of the file of a store that may grow have memory: the headers, and of each partition
// the index and the segments in use, with kTailPadBytes behind them. Knows nothing of what lies
// there. One thread that is not a worker's.
//
//   | headers | partition 0: index, segments in use, pad, (hole) | partition 1: ... | pad |
#pragma once

#include <cstdint>
#include <vector>

#include "base/hugepage_file.h"
#include "base/result.h"

namespace cachee::l1 {

// In bytes; all but the segments' size are multiples of `alignment`, which is a whole page.
struct StoreShape {
    uint64_t alignment = 0;
    uint64_t first_partition = 0;
    uint64_t partition_bytes = 0;
    uint64_t segments_offset = 0;  // from the start of a partition
    uint64_t segment_bytes = 0;
    uint32_t segment_count = 0;  // at the greatest size
    uint32_t partitions = 0;
};

class StoreMemory {
  public:
    // The file is borrowed and has no memory yet.
    StoreMemory(base::HugepageFile* file, const StoreShape& shape);

    // Headers, and so many segments for each partition. Afterwards only grow() and shrink().
    base::Status commit_first(uint32_t segments);
    // Memory for so many segments in each partition. All of it, or an error and nothing changed.
    base::Status grow(uint32_t segments);
    // Gives back what this partition has beyond so many segments. Nobody uses it any more.
    void shrink(uint32_t partition, uint32_t segments);

    // Segments in each partition of a store of `bytes`, index included; at most segment_count.
    uint32_t segments_for(uint64_t bytes) const;
    uint64_t bytes_of(uint32_t segments) const;
    const StoreShape& shape() const { return shape_; }

  private:
    uint64_t start_of(uint32_t partition) const {
        return shape_.first_partition + partition * shape_.partition_bytes;
    }
    uint64_t end_of(uint32_t partition, uint32_t segments) const;

    base::HugepageFile* file_;
    StoreShape shape_;
    std::vector<uint64_t> ends_;  // from the start of the file; of each partition
};

}  // namespace cachee::l1
