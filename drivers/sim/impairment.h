// SPDX-License-Identifier: Apache-2.0
// One direction of a bad wire: frames go in, and come out later, twice, damaged, overtaken or not
// at all, by a seed. For tests: behind a real port (impaired_port.h), or between two kernels
// (tests/kernel/impaired_wire.cc). Not for measuring a rate above a few Gbit/s: a heap orders
// frames.
//
//   acquire() a slot, fill it, submit() -> [loss, queue limit, bandwidth, delay, ...] -> take() at
//   its time, release()
//
// Memory is bounded and allocated at construction: `frames_max` frames on their way and
// `frames_held_max` in the caller's hands. No clock of its own: time is an argument. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "config/schema.h"

namespace cachee::sim {

struct ImpairmentOptions {
    uint64_t seed = 1;
    double loss = 0;  // probabilities per frame
    double duplication = 0;
    double reordering = 0;           // the frame is held back for reorder_hold_ns more
    double corruption = 0;           // one bit of an IP packet is flipped
    uint64_t delay_ns = 0;           // one way
    uint64_t jitter_ns = 0;          // uniform on top of it; order is kept
    uint64_t reorder_hold_ns = 0;    // 0: the delay and one millisecond
    uint64_t rate_bits_per_s = 0;    // of the frames' bytes; 0: no limit
    uint32_t frames_max = 1024;      // on their way; more are dropped at the tail
    uint32_t frames_held_max = 512;  // acquired, or taken and not released
    uint32_t frame_bytes_max = 1518;
};

// What the `impairment` section means for one direction; each has a seed of its own.
ImpairmentOptions impairment_options_of(const config::Impairment& section, uint32_t direction);

class Impairment {
  public:
    explicit Impairment(const ImpairmentOptions& options);
    Impairment(const Impairment&) = delete;
    Impairment& operator=(const Impairment&) = delete;

    struct Frame {
        uint8_t* data = nullptr;  // frame_bytes_max of room; the caller's until submit or release
        uint32_t size = 0;
        uint32_t note = 0;  // the caller's own, kept with the frame
        bool corrupted = false;
        uint32_t slot = 0;
    };

    // An empty slot; false when the caller holds too many.
    bool acquire(Frame& frame);
    // Puts the frame on its way, or drops it. REQUIRES: acquired; size <= frame_bytes_max.
    void submit(const Frame& frame, uint64_t now_ns);
    // The earliest frame whose time has come; the caller's until release(). False: none.
    bool take(Frame& frame, uint64_t now_ns);
    void release(const Frame& frame);
    // Back to the head of the queue: the next take() finds it again.
    void give_back(const Frame& frame);

    // When the earliest frame is due; UINT64_MAX when there is none.
    uint64_t next_due_ns() const { return queue_.empty() ? UINT64_MAX : queue_.front().due_ns; }
    uint32_t in_flight() const { return static_cast<uint32_t>(queue_.size()); }

    struct Counts {
        uint64_t submitted = 0;
        uint64_t taken = 0;
        uint64_t lost = 0;
        uint64_t duplicated = 0;
        uint64_t reordered = 0;
        uint64_t corrupted = 0;
        uint64_t overflowed = 0;  // dropped at the tail: frames_max were on their way
        uint64_t oversized = 0;   // larger than frame_bytes_max
    };
    const Counts& counts() const { return counts_; }
    // For frames that could not be submitted: too large for a slot, or there was none.
    void count_oversized() { ++counts_.oversized; }
    void count_overflow() { ++counts_.overflowed; }

  private:
    struct Queued {
        uint64_t due_ns;
        uint64_t order;
        uint32_t slot;
    };
    struct Slot {
        uint32_t size = 0;
        uint32_t note = 0;
        bool corrupted = false;
    };

    static bool later(const Queued& a, const Queued& b) {
        return a.due_ns != b.due_ns ? a.due_ns > b.due_ns : a.order > b.order;
    }
    uint8_t* bytes_of(uint32_t slot) {
        return bytes_.data() + size_t{slot} * options_.frame_bytes_max;
    }
    void enqueue(uint32_t slot, uint64_t now_ns, bool held_back);
    void corrupt(uint32_t slot);

    ImpairmentOptions options_;
    base::Rng rng_;
    uint64_t order_ = 1;
    uint64_t wire_free_ns_ = 0;  // when the last frame has left, at the configured rate
    uint64_t last_due_ns_ = 0;
    uint32_t held_ = 0;
    Counts counts_;
    std::vector<uint8_t> bytes_;
    std::vector<Slot> slots_;
    std::vector<uint32_t> free_;
    std::vector<Queued> queue_;  // a heap, the earliest first
};

}  // namespace cachee::sim
