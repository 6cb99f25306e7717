// SPDX-License-Identifier: Apache-2.0
// A place in a connection's send queue; see send_queue.h. Worker thread only.
#pragma once

#include <cstdint>

#include "net/block_pool.h"

namespace cachee::net::send_queue {

struct Cursor {
    uint32_t block = kNoBlock;
    uint32_t offset = 0;
};

// The cursor's block has a byte at it, if any later block has one.
inline Cursor settle(const BlockPool& pool, Cursor cursor) noexcept {
    while (cursor.block != kNoBlock && cursor.offset == pool.at(cursor.block).end) {
        const uint32_t next = pool.at(cursor.block).next;
        if (next == kNoBlock) break;
        cursor.block = next;
        cursor.offset = pool.at(next).start;
    }
    return cursor;
}

// `bytes` further on. REQUIRES: that many are there.
inline Cursor advance(const BlockPool& pool, Cursor cursor, uint32_t bytes) noexcept {
    cursor = settle(pool, cursor);
    while (bytes > 0 && cursor.block != kNoBlock) {
        const uint32_t left = pool.at(cursor.block).end - cursor.offset;
        const uint32_t step = left < bytes ? left : bytes;
        cursor.offset += step;
        bytes -= step;
        if (bytes == 0 || pool.at(cursor.block).next == kNoBlock) break;
        cursor = settle(pool, cursor);
    }
    return settle(pool, cursor);
}

}  // namespace cachee::net::send_queue
