// SPDX-License-Identifier: Apache-2.0
// Memory for what a call returns: grows in chunks that never move, and is used again by the next
// call. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace cachee::client {

class Arena {
  public:
    // Room that nothing else is in yet; may be empty. Take it with commit().
    uint8_t* room() const noexcept { return at_; }
    size_t room_bytes() const noexcept { return static_cast<size_t>(end_ - at_); }
    void commit(size_t bytes) noexcept { at_ += bytes; }

    // At least `bytes` of room afterwards. Throws std::bad_alloc.
    void reserve(size_t bytes) {
        if (room_bytes() >= bytes) return;
        const size_t size = bytes > kChunkBytes ? bytes : kChunkBytes;
        chunks_.push_back({std::unique_ptr<uint8_t[]>(new uint8_t[size]), size});
        use(chunks_.back());
    }
    // All of it is free again; only the largest chunk of a reasonable size stays.
    void reset() noexcept {
        if (chunks_.size() > 1 || (!chunks_.empty() && chunks_[0].bytes > kKeptBytesMax)) {
            shrink_cold();
        }
        if (!chunks_.empty()) at_ = chunks_[0].memory.get();
    }

  private:
    static constexpr size_t kChunkBytes = size_t{64} << 10;
    static constexpr size_t kKeptBytesMax = size_t{4} << 20;

    struct Chunk {
        std::unique_ptr<uint8_t[]> memory;
        size_t bytes;
    };

    void use(const Chunk& chunk) noexcept {
        at_ = chunk.memory.get();
        end_ = at_ + chunk.bytes;
    }
    [[gnu::cold, gnu::noinline]] void shrink_cold() noexcept {
        size_t best = chunks_.size();
        for (size_t i = 0; i < chunks_.size(); ++i) {
            if (chunks_[i].bytes > kKeptBytesMax) continue;
            if (best == chunks_.size() || chunks_[i].bytes > chunks_[best].bytes) best = i;
        }
        if (best == chunks_.size()) {
            chunks_.clear();
            at_ = end_ = nullptr;
            return;
        }
        std::swap(chunks_[0], chunks_[best]);
        chunks_.erase(chunks_.begin() + 1, chunks_.end());
        use(chunks_[0]);
    }

    std::vector<Chunk> chunks_;
    uint8_t* at_ = nullptr;
    uint8_t* end_ = nullptr;
};

}  // namespace cachee::client
