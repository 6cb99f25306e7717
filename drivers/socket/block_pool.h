// SPDX-License-Identifier: Apache-2.0
// The memory of one worker's socket transport: one mapping, reserved whole at start, whose pages
// the kernel provides at first use (blocks are reused last-in first-out, so a quiet worker stays
// small).
//
//   | receive area (one burst) | block 0 | block 1 | ... | block n-1 |
//
// Blocks carry unsent reply bytes [begin, end) and chain into one queue per session. Their headers
// live beside the mapping, 16 bytes each. Worker thread only.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "drivers/socket/index_list.h"

namespace cachee::socket {

inline constexpr uint32_t kBlockBytes = 4096;

class BlockPool {
  public:
    struct Header {
        uint32_t next;
        uint32_t begin;
        uint32_t end;
        uint32_t unused;
    };
    static_assert(sizeof(Header) == 16);

    BlockPool() = default;
    BlockPool(const BlockPool&) = delete;
    BlockPool& operator=(const BlockPool&) = delete;
    ~BlockPool() {
        if (base_ != nullptr) ::munmap(base_, bytes_);
    }

    // False when the address space is refused. REQUIRES: both sizes are multiples of kBlockBytes.
    bool init(size_t receive_bytes, size_t pool_bytes) {
        CACHEE_ASSERT(receive_bytes % kBlockBytes == 0);
        CACHEE_ASSERT(pool_bytes % kBlockBytes == 0);
        void* base = ::mmap(nullptr, receive_bytes + pool_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) return false;
        base_ = static_cast<uint8_t*>(base);
        bytes_ = receive_bytes + pool_bytes;
        receive_bytes_ = receive_bytes;
        headers_.resize(pool_bytes / kBlockBytes);
        free_ = static_cast<uint32_t>(headers_.size());
        return true;
    }

    uint8_t* receive_area() const noexcept { return base_; }
    size_t receive_bytes() const noexcept { return receive_bytes_; }
    uint32_t capacity() const noexcept { return static_cast<uint32_t>(headers_.size()); }
    uint32_t free_blocks() const noexcept { return free_; }

    // An empty block, or kNoIndex.
    uint32_t take() noexcept {
        if (free_ == 0) return kNoIndex;
        --free_;
        uint32_t index = recycled_;
        if (index != kNoIndex) {
            recycled_ = headers_[index].next;
        } else {
            index = untouched_++;
        }
        headers_[index] = Header{kNoIndex, 0, 0, 0};
        return index;
    }
    void give_back(uint32_t index) noexcept {
        headers_[index].next = recycled_;
        recycled_ = index;
        ++free_;
    }

    Header& header(uint32_t index) noexcept { return headers_[index]; }
    uint8_t* data(uint32_t index) const noexcept {
        return base_ + receive_bytes_ + static_cast<size_t>(index) * kBlockBytes;
    }

  private:
    uint8_t* base_ = nullptr;
    size_t bytes_ = 0;
    size_t receive_bytes_ = 0;
    std::vector<Header> headers_;
    uint32_t recycled_ = kNoIndex;  // blocks used before
    uint32_t untouched_ = 0;        // blocks from here on were never used
    uint32_t free_ = 0;
};

}  // namespace cachee::socket
