// SPDX-License-Identifier: Apache-2.0
// The timer wheel's slots; see timer_wheel.h. Worker thread only.
#include "net/timer_wheel.h"

#include "base/assert.h"

namespace cachee::net {

TimerWheel::TimerWheel(uint32_t ids) : nodes_(ids) { slots_.fill(kNone); }

void TimerWheel::arm(uint32_t id, uint32_t tick) noexcept {
    CACHEE_DASSERT(id < nodes_.size());
    if (armed(id)) cancel(id);
    // current_ may be under way already: the earliest that is certain to fire is the next one.
    if (static_cast<int32_t>(tick - current_) <= 0) tick = current_ + 1;
    insert(id, tick);
}

void TimerWheel::insert(uint32_t id, uint32_t tick) noexcept {
    uint32_t delta = tick - current_;
    constexpr uint32_t kDeltaMax = (1u << 24) - 1 - (1u << 16);
    if (delta > kDeltaMax) {
        delta = kDeltaMax;
        tick = current_ + delta;
    }
    uint32_t slot = tick & kMask;
    if (delta >= (1u << 16)) {
        slot = 2 * kSlots + ((tick >> 16) & kMask);
    } else if (delta >= kSlots) {
        slot = kSlots + ((tick >> 8) & kMask);
    }
    Node& node = nodes_[id];
    node.slot = slot;
    node.tick = tick;
    node.previous = kNone;
    node.next = slots_[slot];
    if (node.next != kNone) nodes_[node.next].previous = id;
    slots_[slot] = id;
}

void TimerWheel::cancel(uint32_t id) noexcept {
    Node& node = nodes_[id];
    if (node.slot == kNone) return;
    if (node.previous == kNone) {
        slots_[node.slot] = node.next;
    } else {
        nodes_[node.previous].next = node.next;
    }
    if (node.next != kNone) nodes_[node.next].previous = node.previous;
    node.slot = kNone;
}

bool TimerWheel::cascade(uint32_t& budget) noexcept {
    for (uint32_t level = kLevels - 1; level >= 1; --level) {
        const uint32_t shift = 8 * level;
        if ((current_ & ((1u << shift) - 1)) != 0) continue;
        uint32_t& head = slots_[level * kSlots + ((current_ >> shift) & kMask)];
        while (head != kNone) {
            if (budget == 0) return false;
            --budget;
            const uint32_t id = head;
            const uint32_t tick = nodes_[id].tick;
            cancel(id);
            insert(id, tick);
        }
    }
    return true;
}

}  // namespace cachee::net
