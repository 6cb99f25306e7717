// SPDX-License-Identifier: Apache-2.0
// One direction of a bad wire; see impairment.h.
#include "drivers/sim/impairment.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/units.h"

namespace cachee::sim {

ImpairmentOptions impairment_options_of(const config::Impairment& section, uint32_t direction) {
    ImpairmentOptions options;
    options.seed = section.seed * 256 + direction;
    options.loss = section.loss;
    options.duplication = section.duplication;
    options.reordering = section.reordering;
    options.corruption = section.corruption;
    options.delay_ns = uint64_t{section.delay_us} * base::kNsPerUs;
    options.jitter_ns = uint64_t{section.jitter_us} * base::kNsPerUs;
    options.rate_bits_per_s = uint64_t{section.rate_mbit} * 1'000'000;
    options.frames_max = section.frames_max;
    return options;
}

Impairment::Impairment(const ImpairmentOptions& options) : options_(options), rng_(options.seed) {
    CACHEE_ASSERT(options.frames_max > 0);
    if (options_.reorder_hold_ns == 0) {
        options_.reorder_hold_ns = options_.delay_ns + base::kNsPerMs;
    }
    const uint32_t slots = options.frames_max + options.frames_held_max;
    bytes_.resize(size_t{slots} * options.frame_bytes_max);
    slots_.resize(slots);
    free_.reserve(slots);
    for (uint32_t slot = slots; slot-- > 0;) free_.push_back(slot);
    queue_.reserve(options.frames_max + options.frames_held_max);
}

bool Impairment::acquire(Frame& frame) {
    if (held_ >= options_.frames_held_max || free_.empty()) return false;
    ++held_;
    const uint32_t slot = free_.back();
    free_.pop_back();
    frame = Frame{.data = bytes_of(slot), .slot = slot};
    return true;
}

void Impairment::release(const Frame& frame) {
    CACHEE_ASSERT(held_ > 0);
    --held_;
    free_.push_back(frame.slot);
}

void Impairment::submit(const Frame& frame, uint64_t now_ns) {
    CACHEE_ASSERT(frame.size <= options_.frame_bytes_max);
    CACHEE_ASSERT(held_ > 0);
    --held_;
    ++counts_.submitted;
    slots_[frame.slot] = Slot{.size = frame.size, .note = frame.note};
    // Every frame draws the same numbers, so that one fate does not shift those of all after it.
    const bool lost = rng_.chance(options_.loss);
    const bool duplicated = rng_.chance(options_.duplication);
    const bool reordered = rng_.chance(options_.reordering);
    const bool corrupted = rng_.chance(options_.corruption);
    const bool full = queue_.size() >= options_.frames_max;
    if (lost || full) {
        ++(lost ? counts_.lost : counts_.overflowed);
        free_.push_back(frame.slot);
        return;
    }
    uint32_t copy = 0;
    const bool has_copy = duplicated && queue_.size() + 1 < options_.frames_max && !free_.empty();
    if (has_copy) {
        copy = free_.back();
        free_.pop_back();
        slots_[copy] = slots_[frame.slot];
        std::memcpy(bytes_of(copy), frame.data, frame.size);
        ++counts_.duplicated;
    }
    if (corrupted) corrupt(frame.slot);
    if (reordered) ++counts_.reordered;
    enqueue(frame.slot, now_ns, reordered);
    if (has_copy) enqueue(copy, now_ns, false);
}

void Impairment::enqueue(uint32_t slot, uint64_t now_ns, bool held_back) {
    uint64_t left_ns = now_ns;
    if (options_.rate_bits_per_s > 0) {
        const uint64_t bits = uint64_t{slots_[slot].size} * 8;
        wire_free_ns_ =
            std::max(wire_free_ns_, now_ns) + bits * base::kNsPerS / options_.rate_bits_per_s;
        left_ns = wire_free_ns_;
    }
    const uint64_t jitter = options_.jitter_ns > 0 ? rng_.below(options_.jitter_ns) : 0;
    uint64_t due = left_ns + options_.delay_ns + jitter;
    if (held_back) {
        due += options_.reorder_hold_ns;
    } else {
        due = std::max(due, last_due_ns_);
        last_due_ns_ = due;
    }
    queue_.push_back({due, order_++, slot});
    std::push_heap(queue_.begin(), queue_.end(), later);
}

bool Impairment::take(Frame& frame, uint64_t now_ns) {
    if (queue_.empty() || queue_.front().due_ns > now_ns) return false;
    const uint32_t slot = queue_.front().slot;
    std::pop_heap(queue_.begin(), queue_.end(), later);
    queue_.pop_back();
    ++held_;
    ++counts_.taken;
    frame = Frame{.data = bytes_of(slot),
                  .size = slots_[slot].size,
                  .note = slots_[slot].note,
                  .corrupted = slots_[slot].corrupted,
                  .slot = slot};
    return true;
}

void Impairment::give_back(const Frame& frame) {
    CACHEE_ASSERT(held_ > 0);
    --held_;
    --counts_.taken;
    queue_.push_back({0, 0, frame.slot});
    std::push_heap(queue_.begin(), queue_.end(), later);
}

// Only what a checksum covers: the Ethernet header has its own on a real wire, and ARP none at all.
// The IP packet's length is believed as far as the frame goes: padding may be hit, harmlessly.
void Impairment::corrupt(uint32_t slot) {
    constexpr uint32_t kEthernet = 14;
    const uint32_t size = slots_[slot].size;
    uint8_t* bytes = bytes_of(slot);
    if (size <= kEthernet) return;
    const uint32_t type = static_cast<uint32_t>(bytes[12]) << 8 | bytes[13];
    if (type != 0x0800 && type != 0x86dd) return;
    // IPv6 has no header checksum; its addresses are in TCP's, the rest of the header is not.
    const uint32_t first = type == 0x86dd ? kEthernet + 8 : kEthernet;
    if (size <= first) return;
    const uint64_t bit = rng_.below(uint64_t{size - first} * 8);
    bytes[first + bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    slots_[slot].corrupted = true;
    ++counts_.corrupted;
}

}  // namespace cachee::sim
