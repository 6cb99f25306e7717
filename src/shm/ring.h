// SPDX-License-Identifier: Apache-2.0
// The two ends of one RingHeader: single producer, single consumer, in different processes.
//
//   entries:  | 64 B | 64 B | ...            head = published, tail = consumed (absolute counts)
//   data:     | payload | payload | ...      contiguous per entry; one that would wrap starts at 0
//
// A payload is written first, then its entry, then head is released; the consumer acquires head.
// The consumer frees entry and payload together by releasing tail; the producer acquires tail.
// Neither end blocks, allocates or makes a system call. Both ends keep copies of the other's
// position, so that a burst touches the shared lines once.
//
// The peer is another process that may have died anywhere or be of bad will: the consumer bounds
// every offset and size by the ring's own capacity, and drop_malformed() counts what it refuses.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/assert.h"
#include "shm/layout.h"

namespace cachee::shm {

// One payload is at most this part of the data ring; longer messages travel as several entries
// (kMore).
inline constexpr uint64_t kPayloadDivisor = 8;

class RingProducer {
  public:
    RingProducer() = default;
    // `base` is the start of the mapped segment; both outlive the producer.
    RingProducer(RingHeader* ring, uint8_t* base)
        : ring_(ring),
          entries_(reinterpret_cast<RingEntry*>(base + ring->entries_offset)),
          data_(base + ring->data_offset) {
        resync();
    }

    // Takes the positions from shared memory: after attaching, and after a reset.
    void resync() {
        head_ = ring_->head.load(std::memory_order_relaxed);
        data_head_ = ring_->data_head.load(std::memory_order_relaxed);
        see_tail();
    }

    uint64_t payload_bytes_max() const { return ring_->data_capacity / kPayloadDivisor; }

    // Space for one entry with `bytes` of contiguous payload, or nullptr when the ring is full.
    // Nothing is visible before publish(). REQUIRES: bytes <= payload_bytes_max().
    uint8_t* prepare(uint32_t bytes) noexcept {
        CACHEE_DASSERT(bytes <= payload_bytes_max());
        uint64_t position = data_head_;
        const uint64_t offset = position & (ring_->data_capacity - 1);
        if (offset + bytes > ring_->data_capacity) {
            position += ring_->data_capacity - offset;
        }
        if (!fits(position + bytes)) {
            see_tail();
            if (!fits(position + bytes)) return nullptr;
        }
        prepared_position_ = position;
        return data_ + (position & (ring_->data_capacity - 1));
    }

    // Publishes the entry whose payload was written to the space prepare() gave.
    // Returns its absolute position: it has been consumed when consumed() is greater.
    uint64_t publish(RingEntry entry, uint32_t bytes) noexcept {
        entry.data_bytes = bytes;
        entry.data_position = prepared_position_;
        entries_[head_ & (ring_->entry_capacity - 1)] = entry;
        data_head_ = prepared_position_ + bytes;
        ring_->data_head.store(data_head_, std::memory_order_relaxed);
        // release: entry and payload are visible before head; pairs with RingConsumer::peek.
        ring_->head.store(head_ + 1, std::memory_order_release);
        return head_++;
    }

    // prepare + copy + publish. False when the ring is full: nothing happened.
    bool push(const RingEntry& entry, std::string_view first = {},
              std::string_view second = {}) noexcept {
        const auto bytes = static_cast<uint32_t>(first.size() + second.size());
        uint8_t* data = prepare(bytes);
        if (data == nullptr) return false;
        if (!first.empty()) std::memcpy(data, first.data(), first.size());
        if (!second.empty()) std::memcpy(data + first.size(), second.data(), second.size());
        publish(entry, bytes);
        return true;
    }

    // Absolute count of entries the consumer has finished with.
    // acquire: the consumer's effects of those entries are visible (pairs with
    // RingConsumer::release).
    uint64_t consumed() const noexcept { return ring_->tail.load(std::memory_order_acquire); }
    uint64_t published() const noexcept { return head_; }

  private:
    // acquire, twice: each pairs with its store in RingConsumer::release; what was freed may now be
    // overwritten. Either may be newer than the other, so that neither can stand for both.
    void see_tail() noexcept {
        tail_seen_ = ring_->tail.load(std::memory_order_acquire);
        data_tail_seen_ = ring_->data_tail.load(std::memory_order_acquire);
    }

    bool fits(uint64_t data_end) const noexcept {
        return head_ - tail_seen_ < ring_->entry_capacity &&
               data_end - data_tail_seen_ <= ring_->data_capacity;
    }

    RingHeader* ring_ = nullptr;
    RingEntry* entries_ = nullptr;
    uint8_t* data_ = nullptr;
    uint64_t head_ = 0;
    uint64_t data_head_ = 0;
    uint64_t tail_seen_ = 0;
    uint64_t data_tail_seen_ = 0;
    uint64_t prepared_position_ = 0;
};

class RingConsumer {
  public:
    RingConsumer() = default;
    RingConsumer(RingHeader* ring, uint8_t* base)
        : ring_(ring),
          entries_(reinterpret_cast<const RingEntry*>(base + ring->entries_offset)),
          data_(base + ring->data_offset) {
        resync();
    }

    void resync() {
        tail_ = ring_->tail.load(std::memory_order_relaxed);
        data_tail_ = ring_->data_tail.load(std::memory_order_relaxed);
        head_seen_ = tail_;
    }

    // The next entry, copied out, with its payload (borrowed until release()); false when there is
    // none. Entries taken by next() are given back together by release().
    bool next(RingEntry& entry, std::string_view& payload) noexcept {
        while (true) {
            if (tail_ == head_seen_) {
                // acquire: pairs with RingProducer::publish.
                head_seen_ = ring_->head.load(std::memory_order_acquire);
                if (head_seen_ - tail_ > ring_->entry_capacity) head_seen_ = tail_;  // not credible
                if (tail_ == head_seen_) return false;
            }
            entry = entries_[tail_ & (ring_->entry_capacity - 1)];
            ++tail_;
            const uint64_t offset = entry.data_position & (ring_->data_capacity - 1);
            if (entry.data_bytes > ring_->data_capacity - offset ||
                entry.data_position < data_tail_ ||
                entry.data_position - data_tail_ > ring_->data_capacity) {
                ++malformed_;
                continue;
            }
            data_tail_ = entry.data_position + entry.data_bytes;
            payload = {reinterpret_cast<const char*>(data_ + offset), entry.data_bytes};
            return true;
        }
    }

    // Gives back everything taken so far; call when its effects are complete.
    void release() noexcept {
        // release, twice: our reads of entries and payloads, and our effects, come before; pairs
        // with RingProducer::see_tail and ::consumed.
        ring_->data_tail.store(data_tail_, std::memory_order_release);
        ring_->tail.store(tail_, std::memory_order_release);
    }

    bool empty() const noexcept { return ring_->head.load(std::memory_order_relaxed) == tail_; }
    uint64_t malformed() const noexcept { return malformed_; }

  private:
    RingHeader* ring_ = nullptr;
    const RingEntry* entries_ = nullptr;
    const uint8_t* data_ = nullptr;
    uint64_t tail_ = 0;
    uint64_t data_tail_ = 0;
    uint64_t head_seen_ = 0;
    uint64_t malformed_ = 0;
};

// Empties a ring. Only the worker that owns it, between a new controlplane_epoch and its epoch_ack,
// when the other end touches nothing. Both ends resync() afterwards.
inline void reset_ring(RingHeader* ring) noexcept {
    ring->head.store(0, std::memory_order_relaxed);
    ring->data_head.store(0, std::memory_order_relaxed);
    ring->tail.store(0, std::memory_order_relaxed);
    ring->data_tail.store(0, std::memory_order_relaxed);
}

}  // namespace cachee::shm
