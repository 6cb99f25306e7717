// SPDX-License-Identifier: Apache-2.0
// A hierarchical timer wheel (Varghese and Lauck, 1987) over dense ids: arm and cancel in O(1),
// bounded work per advance(). One tick is 2^20 ns (1.05 ms). Worker thread only; allocates at
// construction.
//
//   level 0: 256 slots of 1 tick      level 1: 256 slots of 256      level 2: 256 slots of 65,536
//   each slot heads a doubly linked list through nodes_[id]; a slot of a higher level is spread
//   over the lower ones when its time comes
//
// Known imperfection: later than 2^24 ticks (4.9 hours) fires early; owners re-check their
// deadline.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace cachee::net {

inline constexpr uint32_t kTickShift = 20;

inline uint32_t ticks_of_ns(uint64_t ns) noexcept {
    return static_cast<uint32_t>(ns >> kTickShift);
}
// Ticks that last at least that long, rounded up.
inline uint32_t ticks_of_us(uint64_t us) noexcept {
    return static_cast<uint32_t>((us * 1000 + (1u << kTickShift) - 1) >> kTickShift);
}
inline uint32_t ticks_of_ms(uint64_t ms) noexcept { return ticks_of_us(ms * 1000); }

class TimerWheel {
  public:
    static constexpr uint32_t kNone = 0xffffffff;

    explicit TimerWheel(uint32_t ids);

    // The first tick; before it nothing fires. REQUIRES: nothing armed.
    void start(uint32_t tick) noexcept { current_ = tick; }
    uint32_t current() const noexcept { return current_; }

    // Fires at `tick` (at the next one if that has passed); replaces an earlier arm().
    void arm(uint32_t id, uint32_t tick) noexcept;
    void cancel(uint32_t id) noexcept;
    bool armed(uint32_t id) const noexcept { return nodes_[id].slot != kNone; }
    // False: advance() to that tick has nothing to do, because it was there already.
    bool due(uint32_t tick) const noexcept { return static_cast<int32_t>(tick - current_) >= 0; }

    // Calls fire(id) for each timer due at or before `tick`, in order of ticks, at most `budget`
    // times (moves between levels count too); what is left comes with the next call. fire may arm
    // and cancel.
    template <typename Fire>
    uint32_t advance(uint32_t tick, uint32_t budget, Fire&& fire) {
        uint32_t fired = 0;
        uint32_t ticks = 0;
        while (static_cast<int32_t>(tick - current_) >= 0 && ticks < kTicksPerCall) {
            if ((current_ & kMask) == 0 && !cascade(budget)) return fired;
            uint32_t& head = slots_[current_ & kMask];
            while (head != kNone) {
                if (budget == 0) return fired;
                --budget;
                const uint32_t id = head;
                cancel(id);
                ++fired;
                fire(id);
            }
            ++current_;
            ++ticks;
        }
        return fired;
    }

  private:
    static constexpr uint32_t kSlots = 256;
    static constexpr uint32_t kMask = kSlots - 1;
    static constexpr uint32_t kLevels = 3;
    static constexpr uint32_t kTicksPerCall = 1u << 16;

    struct Node {
        uint32_t next = kNone;
        uint32_t previous = kNone;  // kNone: first of its slot
        uint32_t slot = kNone;      // kNone: not armed
        uint32_t tick = 0;
    };

    // Spreads the higher slots whose time begins at current_; false when the budget ran out.
    bool cascade(uint32_t& budget) noexcept;
    void insert(uint32_t id, uint32_t tick) noexcept;

    std::array<uint32_t, kSlots * kLevels> slots_;
    std::vector<Node> nodes_;
    uint32_t current_ = 0;  // the next tick to be processed
};

}  // namespace cachee::net
