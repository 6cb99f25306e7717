// SPDX-License-Identifier: Apache-2.0
// Byte buffers of one worker: for commands that straddle receive bursts, for parked keys and
// commands, and for replies that must wait. Power-of-two classes from 64 bytes to 64 KiB are carved
// from an arena allocated at start; larger ones, and all when the arena is used up, come from the
// heap, which only cold requests reach. Everything is accounted; callers enforce limits with
// bytes_in_use(). Owner worker only.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>

#include "base/assert.h"
#include "base/units.h"

namespace cachee::dataplane {

class BufferPool;

// Owned bytes: moved, never copied; must be given back to its pool with release().
struct Buffer {
    uint8_t* data = nullptr;
    uint32_t size = 0;
    uint32_t capacity = 0;

    std::string_view view() const { return {reinterpret_cast<const char*>(data), size}; }
    bool empty() const { return size == 0; }
};

class BufferPool {
  public:
    explicit BufferPool(uint64_t arena_bytes)
        : arena_bytes_(arena_bytes), arena_(new uint8_t[arena_bytes]) {
        std::memset(arena_.get(), 0, arena_bytes);  // faulted in now, not under load
    }
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    // Makes room for `capacity` bytes in all, keeping the content. False when the heap is exhausted
    // or the size is beyond 4 GiB: nothing changed.
    bool grow(Buffer& buffer, uint64_t capacity) noexcept {
        if (capacity <= buffer.capacity) return true;
        if (capacity > kLargestBytes) return false;
        const uint64_t rounded =
            std::bit_ceil(capacity < kSmallestBytes ? kSmallestBytes : capacity);
        uint8_t* data = take(rounded);
        if (data == nullptr) return false;
        if (buffer.size != 0) std::memcpy(data, buffer.data, buffer.size);
        give(buffer.data, buffer.capacity);
        buffer.data = data;
        buffer.capacity = static_cast<uint32_t>(rounded);
        return true;
    }

    bool append(Buffer& buffer, std::string_view bytes) noexcept {
        if (bytes.empty()) return true;
        if (!grow(buffer, uint64_t{buffer.size} + bytes.size())) return false;
        std::memcpy(buffer.data + buffer.size, bytes.data(), bytes.size());
        buffer.size += static_cast<uint32_t>(bytes.size());
        return true;
    }

    void release(Buffer& buffer) noexcept {
        give(buffer.data, buffer.capacity);
        buffer = Buffer{};
    }

    // Drops the first `count` bytes. Cost: moves the rest.
    static void drop_front(Buffer& buffer, size_t count) noexcept {
        CACHEE_DASSERT(count <= buffer.size);
        buffer.size -= static_cast<uint32_t>(count);
        if (buffer.size != 0) std::memmove(buffer.data, buffer.data + count, buffer.size);
    }

    uint64_t bytes_in_use() const { return bytes_in_use_; }
    uint64_t heap_allocations() const { return heap_allocations_; }

  private:
    static constexpr uint64_t kSmallestBytes = 64;
    static constexpr uint64_t kPooledBytesMax = 64 * base::kKiB;
    static constexpr uint64_t kLargestBytes = 2 * base::kGiB;
    static constexpr size_t kClasses = 11;  // 64 B .. 64 KiB

    struct Free {
        Free* next;
    };

    static size_t class_of(uint64_t rounded) {
        return static_cast<size_t>(std::countr_zero(rounded) - std::countr_zero(kSmallestBytes));
    }

    bool in_arena(const uint8_t* data) const {
        return data >= arena_.get() && data < arena_.get() + arena_bytes_;
    }

    uint8_t* take(uint64_t rounded) noexcept {
        bytes_in_use_ += rounded;
        if (rounded <= kPooledBytesMax) {
            Free*& head = free_[class_of(rounded)];
            if (head != nullptr) {
                auto* data = reinterpret_cast<uint8_t*>(head);
                head = head->next;
                return data;
            }
            if (arena_used_ + rounded <= arena_bytes_) {
                uint8_t* data = arena_.get() + arena_used_;
                arena_used_ += rounded;
                return data;
            }
        }
        ++heap_allocations_;
        auto* data = static_cast<uint8_t*>(std::malloc(rounded));
        if (data == nullptr) bytes_in_use_ -= rounded;
        return data;
    }

    void give(uint8_t* data, uint64_t capacity) noexcept {
        if (data == nullptr) return;
        bytes_in_use_ -= capacity;
        if (!in_arena(data)) {
            std::free(data);
            return;
        }
        Free*& head = free_[class_of(capacity)];
        head = new (data) Free{head};
    }

    uint64_t arena_bytes_;
    std::unique_ptr<uint8_t[]> arena_;
    uint64_t arena_used_ = 0;
    uint64_t bytes_in_use_ = 0;
    uint64_t heap_allocations_ = 0;
    std::array<Free*, kClasses> free_{};
};

}  // namespace cachee::dataplane
