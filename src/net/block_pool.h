// SPDX-License-Identifier: Apache-2.0
// The worker's buffer memory: blocks of 2 KiB, handed out by number, chained by their owners. Send
// queues and receive queues take from the same pool, so one bound covers both. Worker thread only;
// the address space is reserved at construction, pages are touched as blocks are first used.
//
//   block: | next 32 | seq 32 | start 16 | end 16 | lent 32 | 2032 bytes of data |
//
// A lent block holds no bytes of the stream but says where they lie (send_queue.h).
#pragma once

#include <cstdint>
#include <memory>

#include "base/assert.h"

namespace cachee::net {

inline constexpr uint32_t kNoBlock = 0xffffffff;
inline constexpr uint32_t kBlockBytes = 2048;
inline constexpr uint32_t kBlockDataBytes = kBlockBytes - 16;

struct Block {
    uint32_t next;
    uint32_t seq;    // receive queue: sequence number of data[start]
    uint16_t start;  // first byte in use
    uint16_t end;    // one past the last
    uint32_t lent;   // send queue: 1 when data says where the bytes are
    uint8_t data[kBlockDataBytes];
};
static_assert(sizeof(Block) == kBlockBytes);

class BlockPool {
  public:
    explicit BlockPool(uint64_t bytes_max)
        : blocks_max_(static_cast<uint32_t>(bytes_max / kBlockBytes)),
          blocks_(std::make_unique_for_overwrite<Block[]>(blocks_max_)) {}

    // kNoBlock when all are in use. The block is empty: next kNoBlock, start and end 0.
    uint32_t allocate() noexcept {
        uint32_t index = free_;
        if (index != kNoBlock) {
            free_ = blocks_[index].next;
        } else if (touched_ < blocks_max_) {
            index = touched_++;
        } else {
            return kNoBlock;
        }
        ++in_use_;
        Block& block = blocks_[index];
        block.next = kNoBlock;
        block.start = 0;
        block.end = 0;
        block.lent = 0;
        return index;
    }

    void free(uint32_t index) noexcept {
        CACHEE_DASSERT(index < touched_);
        blocks_[index].next = free_;
        free_ = index;
        --in_use_;
    }

    void free_chain(uint32_t index) noexcept {
        while (index != kNoBlock) {
            const uint32_t next = blocks_[index].next;
            free(index);
            index = next;
        }
    }

    Block& at(uint32_t index) noexcept { return blocks_[index]; }
    const Block& at(uint32_t index) const noexcept { return blocks_[index]; }

    uint32_t in_use() const noexcept { return in_use_; }
    uint32_t available() const noexcept { return blocks_max_ - in_use_; }
    uint32_t blocks_max() const noexcept { return blocks_max_; }

  private:
    uint32_t blocks_max_;
    std::unique_ptr<Block[]> blocks_;
    uint32_t free_ = kNoBlock;
    uint32_t touched_ = 0;
    uint32_t in_use_ = 0;
};

}  // namespace cachee::net
