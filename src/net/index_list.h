// SPDX-License-Identifier: Apache-2.0
// Three bounded containers of ids, allocated once: a stack of free ids, a FIFO of ids with work to
// do, and a list in order of age from the middle of which ids leave. Worker thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.h"

namespace cachee::net {

// Free ids [0, count), lowest first at the start and most recently freed first afterwards.
class FreeIds {
  public:
    static constexpr uint32_t kNone = 0xffffffff;

    explicit FreeIds(uint32_t count) : ids_(count), size_(count) {
        for (uint32_t i = 0; i < count; ++i) ids_[i] = count - 1 - i;
    }
    uint32_t take() noexcept { return size_ == 0 ? kNone : ids_[--size_]; }
    void give(uint32_t id) noexcept {
        CACHEE_DASSERT(size_ < ids_.size());
        ids_[size_++] = id;
    }
    uint32_t size() const noexcept { return size_; }
    uint32_t in_use() const noexcept { return static_cast<uint32_t>(ids_.size()) - size_; }

  private:
    std::vector<uint32_t> ids_;
    uint32_t size_;
};

// Each id is in it at most once (the owner keeps a flag per id), so `capacity` ids always fit.
class IdFifo {
  public:
    explicit IdFifo(uint32_t capacity) {
        uint32_t size = 1;
        while (size < capacity) size *= 2;
        ids_.resize(size);
        mask_ = size - 1;
    }
    bool empty() const noexcept { return head_ == tail_; }
    uint32_t size() const noexcept { return tail_ - head_; }
    void push(uint32_t id) noexcept {
        CACHEE_DASSERT(size() <= mask_);
        ids_[tail_++ & mask_] = id;
    }
    uint32_t front() const noexcept { return ids_[head_ & mask_]; }
    uint32_t pop() noexcept { return ids_[head_++ & mask_]; }

  private:
    std::vector<uint32_t> ids_;
    uint32_t mask_ = 0;
    uint32_t head_ = 0;
    uint32_t tail_ = 0;
};

// Ids [0, count) in the order they came in: push, remove and the oldest in O(1). Each id is in it
// at most once.
class AgeList {
  public:
    static constexpr uint32_t kNone = 0xffffffff;

    explicit AgeList(uint32_t count) : links_(count) {}
    uint32_t oldest() const noexcept { return oldest_; }
    uint32_t size() const noexcept { return size_; }
    // REQUIRES: not in the list.
    void push(uint32_t id) noexcept {
        CACHEE_DASSERT(id < links_.size());
        links_[id] = {newest_, kNone};
        (newest_ == kNone ? oldest_ : links_[newest_].newer) = id;
        newest_ = id;
        ++size_;
    }
    // REQUIRES: in the list.
    void remove(uint32_t id) noexcept {
        CACHEE_DASSERT(size_ > 0);
        const Link link = links_[id];
        (link.older == kNone ? oldest_ : links_[link.older].newer) = link.newer;
        (link.newer == kNone ? newest_ : links_[link.newer].older) = link.older;
        --size_;
    }

  private:
    struct Link {
        uint32_t older = kNone;
        uint32_t newer = kNone;
    };
    std::vector<Link> links_;
    uint32_t oldest_ = kNone;
    uint32_t newest_ = kNone;
    uint32_t size_ = 0;
};

}  // namespace cachee::net
