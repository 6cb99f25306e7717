// SPDX-License-Identifier: Apache-2.0
// A doubly-linked list of small integers over an array sized at start: membership, push at the tail
// and removal from anywhere in constant time, no allocation afterwards. Worker thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.h"

namespace cachee::socket {

inline constexpr uint32_t kNoIndex = UINT32_MAX;

class IndexList {
  public:
    explicit IndexList(uint32_t capacity) : links_(capacity) {}

    bool empty() const noexcept { return head_ == kNoIndex; }
    uint32_t head() const noexcept { return head_; }  // kNoIndex when empty
    // REQUIRES: contains(index).
    uint32_t next(uint32_t index) const noexcept { return links_[index].next; }
    bool contains(uint32_t index) const noexcept { return links_[index].member; }

    // No effect on a member.
    void push_back(uint32_t index) noexcept {
        Link& link = links_[index];
        if (link.member) return;
        link = Link{tail_, kNoIndex, true};
        if (tail_ == kNoIndex) {
            head_ = index;
        } else {
            links_[tail_].next = index;
        }
        tail_ = index;
    }

    // No effect on a stranger.
    void remove(uint32_t index) noexcept {
        Link& link = links_[index];
        if (!link.member) return;
        if (link.previous == kNoIndex) {
            head_ = link.next;
        } else {
            links_[link.previous].next = link.next;
        }
        if (link.next == kNoIndex) {
            tail_ = link.previous;
        } else {
            links_[link.next].previous = link.previous;
        }
        link.member = false;
    }

    // REQUIRES: !empty().
    uint32_t pop_front() noexcept {
        CACHEE_DASSERT(head_ != kNoIndex);
        const uint32_t index = head_;
        remove(index);
        return index;
    }

  private:
    struct Link {
        uint32_t previous = kNoIndex;
        uint32_t next = kNoIndex;
        bool member = false;
    };
    std::vector<Link> links_;
    uint32_t head_ = kNoIndex;
    uint32_t tail_ = kNoIndex;
};

}  // namespace cachee::socket
