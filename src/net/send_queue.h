// SPDX-License-Identifier: Apache-2.0
// A connection's unacknowledged and unsent bytes: a chain of blocks, built in place by reserve()
// and commit(), read by first transmissions and retransmissions alike, given back as ACKs arrive.
// Large values are not copied: a lent block says where they lie, and holds them there until they
// are acknowledged. The fields live in Hot (sq_*). Worker thread only.
//
//   sq_head [start..end] -> ... -> sq_next (at sq_next_offset: snd_nxt) -> ... -> sq_tail
//   [start..end]
#pragma once

#include <cstdint>

#include "net/send_queue_cursor.h"
#include "net/tcp_state.h"

namespace cachee::net::send_queue {

// What the data of a lent block says; start and end count from `data`.
struct LentBytes {
    const uint8_t* data;
    io::Lender* lender;
};
inline constexpr uint32_t kLentBlockBytesMax = 32 * 1024;

// The next bytes of the stream as one frame carries them: some of our own, then lent ones.
struct Gather {
    uint32_t copied_bytes = 0;
    uint32_t lent_bytes = 0;
    LentBytes lent{};
};

// `size` contiguous bytes at the end, or nullptr when the pool has no block. The room that is left
// in the last block is given up when it is too small. REQUIRES: size <= kBlockDataBytes.
inline uint8_t* reserve(Hot& hot, BlockPool& pool, uint32_t size) noexcept;
// Makes `size` bytes of the last reserve() part of the stream.
inline void commit(Hot& hot, BlockPool& pool, uint32_t size) noexcept;
// Both in one; the caller writes the bytes afterwards.
inline uint8_t* extend(Hot& hot, BlockPool& pool, uint32_t size) noexcept;
uint8_t* extend_more(Hot& hot, BlockPool& pool, uint32_t size) noexcept;  // REQUIRES: not empty
// Copies up to `size` bytes in; returns how many the pool had room for.
uint32_t append(Hot& hot, BlockPool& pool, const uint8_t* data, uint32_t size) noexcept;
// All or nothing, without a copy; takes over one hold of the lender on the bytes.
bool append_lent(Hot& hot, BlockPool& pool, const uint8_t* data, uint32_t size,
                 io::Lender& lender) noexcept;
// Gives back the first `size` bytes. REQUIRES: size <= sq_bytes.
void acknowledge(Hot& hot, BlockPool& pool, uint32_t size) noexcept;
// Sends from the first unacknowledged byte again.
void rewind(Hot& hot, const BlockPool& pool) noexcept;
// Copies `size` bytes from the cursor on and moves it. REQUIRES: that many are there.
void copy_out(const BlockPool& pool, Cursor& cursor, uint8_t* out, uint32_t size) noexcept;
// How far, up to `size` bytes, the bytes from the cursor on are of that shape; more may follow.
Gather gather(const BlockPool& pool, Cursor cursor, uint32_t size) noexcept;
// Moves the cursor without copying. REQUIRES: that many are there.
void skip(const BlockPool& pool, Cursor& cursor, uint32_t size) noexcept;
void clear(Hot& hot, BlockPool& pool) noexcept;
// An empty block at the end; false when the pool has none.
inline bool grow(Hot& hot, BlockPool& pool) noexcept;

inline bool grow(Hot& hot, BlockPool& pool) noexcept {
    const uint32_t index = pool.allocate();
    if (index == kNoBlock) return false;
    if (hot.sq_tail == kNoBlock) {
        hot.sq_head = index;
    } else {
        pool.at(hot.sq_tail).next = index;
    }
    hot.sq_tail = index;
    if (hot.sq_next == kNoBlock) {
        hot.sq_next = index;
        hot.sq_next_offset = 0;
    }
    return true;
}

[[gnu::always_inline]] inline uint8_t* reserve(Hot& hot, BlockPool& pool, uint32_t size) noexcept {
    CACHEE_DASSERT(size <= kBlockDataBytes);
    if (hot.sq_tail == kNoBlock) [[likely]] {  // empty: nothing to be linked
        const uint32_t index = pool.allocate();
        if (index == kNoBlock) return nullptr;
        hot.sq_head = hot.sq_tail = hot.sq_next = index;
        hot.sq_next_offset = 0;
        return pool.at(index).data;
    }
    // A lent block's end is not a place in its data.
    const bool room = ((hot.flags & kLent) == 0 || pool.at(hot.sq_tail).lent == 0) &&
                      kBlockDataBytes - pool.at(hot.sq_tail).end >= size;
    if (!room && !grow(hot, pool)) return nullptr;
    Block& tail = pool.at(hot.sq_tail);
    return tail.data + tail.end;
}

inline void commit(Hot& hot, BlockPool& pool, uint32_t size) noexcept {
    Block& tail = pool.at(hot.sq_tail);
    CACHEE_DASSERT(tail.end + size <= kBlockDataBytes);
    tail.end = static_cast<uint16_t>(tail.end + size);
    hot.sq_bytes += size;
}

inline uint8_t* extend(Hot& hot, BlockPool& pool, uint32_t size) noexcept {
    if (hot.sq_tail != kNoBlock) return extend_more(hot, pool, size);
    const uint32_t index = pool.allocate();
    if (index == kNoBlock) return nullptr;
    Block& block = pool.at(index);
    block.end = static_cast<uint16_t>(size);
    hot.sq_head = hot.sq_tail = hot.sq_next = index;
    hot.sq_next_offset = 0;
    hot.sq_bytes = size;
    return block.data;
}

}  // namespace cachee::net::send_queue
