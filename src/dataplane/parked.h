// SPDX-License-Identifier: Apache-2.0
// Requests whose reply is not out yet: those that wait for L2 or for another worker, and those that
// are ready but stand behind one that waits. A fixed table; each owns the bytes that are needed to
// send it again when the control plane is restarted. Two intrusive lists go through it: per session
// in reply order (owned by the session), and all waiting ones in order of their deadline. Owner
// worker only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "dataplane/buffer_pool.h"
#include "dataplane/session.h"

namespace cachee::dataplane {

enum class ParkedState : uint8_t { kFree, kWaiting, kReady };

// How the replies of several single-key calls make one (standalone, keys of several workers).
enum class Combine : uint8_t { kReplace, kSum, kOk };

struct Parked {
    ParkedState state = ParkedState::kFree;
    shm::Lane lane = shm::Lane::kTracked;
    bool fetch = false;      // kFetch: `command` is the bare key
    bool may_write = false;  // not to be sent twice
    uint8_t entry_flags = 0;
    Combine combine = Combine::kReplace;
    uint32_t sequence = 0;  // of this use of the slot
    io::SessionIndex session = 0;
    uint32_t next_in_session = kNoSlot;
    uint32_t older = kNoSlot;  // waiting list
    uint32_t newer = kNoSlot;
    uint32_t remote_left = 0;  // answers of other workers still missing
    int64_t sum = 0;
    uint64_t deadline_ns = 0;
    uint64_t sent_ns = 0;
    uint64_t key_hash = 0;
    Buffer command;
    Buffer reply;
};

class ParkedTable {
  public:
    explicit ParkedTable(uint32_t capacity) : slots_(capacity) {
        for (uint32_t i = capacity; i-- > 0;) {
            slots_[i].next_in_session = free_;
            free_ = i;
        }
    }

    // kNoSlot when the table is full.
    uint32_t take() noexcept {
        if (free_ == kNoSlot) return kNoSlot;
        const uint32_t index = free_;
        Parked& slot = slots_[index];
        free_ = slot.next_in_session;
        const uint32_t sequence = slot.sequence + 1;
        slot = Parked{};
        slot.sequence = sequence;
        slot.state = ParkedState::kReady;
        ++used_;
        return index;
    }

    // REQUIRES: the slot is in no list and its buffers were released.
    void give(uint32_t index) noexcept {
        Parked& slot = slots_[index];
        CACHEE_DASSERT(slot.state == ParkedState::kReady);
        slot.state = ParkedState::kFree;
        slot.next_in_session = free_;
        free_ = index;
        --used_;
    }

    void start_waiting(uint32_t index) noexcept {
        Parked& slot = slots_[index];
        slot.state = ParkedState::kWaiting;
        slot.older = newest_;
        slot.newer = kNoSlot;
        if (newest_ != kNoSlot) slots_[newest_].newer = index;
        newest_ = index;
        if (oldest_ == kNoSlot) oldest_ = index;
    }

    void stop_waiting(uint32_t index) noexcept {
        Parked& slot = slots_[index];
        CACHEE_DASSERT(slot.state == ParkedState::kWaiting);
        if (slot.older != kNoSlot) slots_[slot.older].newer = slot.newer;
        if (slot.newer != kNoSlot) slots_[slot.newer].older = slot.older;
        if (oldest_ == index) oldest_ = slot.newer;
        if (newest_ == index) newest_ = slot.older;
        slot.older = slot.newer = kNoSlot;
        slot.state = ParkedState::kReady;
    }

    Parked& operator[](uint32_t index) noexcept { return slots_[index]; }
    uint32_t oldest() const noexcept { return oldest_; }
    uint32_t used() const noexcept { return used_; }
    bool full() const noexcept { return free_ == kNoSlot; }

    uint64_t request_id(uint32_t index) const noexcept {
        return (uint64_t{slots_[index].sequence} << 32) | index;
    }
    // kNoSlot when the id is not that of a waiting request (answered, timed out, session gone).
    uint32_t find(uint64_t request_id) const noexcept {
        const auto index = static_cast<uint32_t>(request_id);
        if (index >= slots_.size()) return kNoSlot;
        const Parked& slot = slots_[index];
        if (slot.state != ParkedState::kWaiting) return kNoSlot;
        if (slot.sequence != static_cast<uint32_t>(request_id >> 32)) return kNoSlot;
        return index;
    }

  private:
    std::vector<Parked> slots_;
    uint32_t free_ = kNoSlot;
    uint32_t oldest_ = kNoSlot;
    uint32_t newest_ = kNoSlot;
    uint32_t used_ = 0;
};

}  // namespace cachee::dataplane
