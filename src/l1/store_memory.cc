// SPDX-License-Identifier: Apache-2.0
#include "l1/store_memory.h"

#include <algorithm>

#include "base/units.h"
#include "l1/layout.h"

namespace cachee::l1 {

StoreMemory::StoreMemory(base::HugepageFile* file, const StoreShape& shape)
    : file_(file), shape_(shape) {
    for (uint32_t i = 0; i < shape.partitions; ++i) ends_.push_back(start_of(i));
}

// The pad of a partition of the greatest size is the start of the next one; behind the last one
// there is room for it.
uint64_t StoreMemory::end_of(uint32_t partition, uint32_t segments) const {
    const uint64_t end = base::align_up(
        shape_.segments_offset + segments * shape_.segment_bytes + kTailPadBytes, shape_.alignment);
    const bool last = partition + 1 == shape_.partitions;
    return start_of(partition) + (last ? end : std::min(end, shape_.partition_bytes));
}

base::Status StoreMemory::commit_first(uint32_t segments) {
    if (base::Status status = file_->commit(0, shape_.first_partition); !status) return status;
    return grow(segments);
}

base::Status StoreMemory::grow(uint32_t segments) {
    for (uint32_t i = 0; i < shape_.partitions; ++i) {
        const uint64_t end = end_of(i, segments);
        if (end <= ends_[i]) continue;
        if (base::Status status = file_->commit(ends_[i], end - ends_[i]); !status) {
            for (uint32_t done = 0; done < i; ++done) {
                const uint64_t taken = end_of(done, segments);
                if (taken > ends_[done]) file_->release(ends_[done], taken - ends_[done]);
            }
            return status;
        }
    }
    for (uint32_t i = 0; i < shape_.partitions; ++i) {
        ends_[i] = std::max(ends_[i], end_of(i, segments));
    }
    return {};
}

void StoreMemory::shrink(uint32_t partition, uint32_t segments) {
    const uint64_t end = end_of(partition, segments);
    if (end >= ends_[partition]) return;
    file_->release(end, ends_[partition] - end);
    ends_[partition] = end;
}

uint32_t StoreMemory::segments_for(uint64_t bytes) const {
    const uint64_t share = bytes / shape_.partitions;
    if (share <= shape_.segments_offset) return 0;
    const uint64_t segments = (share - shape_.segments_offset) / shape_.segment_bytes;
    return static_cast<uint32_t>(std::min<uint64_t>(segments, shape_.segment_count));
}

uint64_t StoreMemory::bytes_of(uint32_t segments) const {
    return (shape_.segments_offset + segments * shape_.segment_bytes) * shape_.partitions;
}

}  // namespace cachee::l1
