// SPDX-License-Identifier: Apache-2.0
#include "dataplane/control_link.h"

#include <algorithm>

namespace cachee::dataplane {

bool ControlLink::begin_large_cold(const shm::RingEntry& entry, std::string_view payload) noexcept {
    if (!pool_.append(large_, payload)) {
        pool_.release(large_);
        return false;
    }
    large_entry_ = entry;
    large_sent_ = 0;
    continue_large_cold();
    return true;
}

void ControlLink::continue_large_cold() noexcept {
    while (large_sent_ < large_.size) {
        const uint64_t left = large_.size - large_sent_;
        const uint64_t piece = std::min(left, events_.payload_bytes_max());
        shm::RingEntry entry = large_entry_;
        if (piece < left) entry.flags |= shm::kMore;
        if (!events_.push(entry, large_.view().substr(large_sent_, piece))) return;
        sent_ = true;
        large_sent_ += piece;
    }
    pool_.release(large_);
}

void ControlLink::reset_cold() noexcept {
    shm::reset_ring(&block_->events);
    shm::reset_ring(&block_->commands);
    events_.resync();
    commands_.resync();
    pool_.release(large_);
    sent_ = false;
}

}  // namespace cachee::dataplane
