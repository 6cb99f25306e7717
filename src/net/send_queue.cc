// SPDX-License-Identifier: Apache-2.0
// The send queue; see send_queue.h. Worker thread only.
#include "net/send_queue.h"

#include <algorithm>
#include <cstring>

namespace cachee::net::send_queue {

uint32_t append(Hot& hot, BlockPool& pool, const uint8_t* data, uint32_t size) noexcept {
    uint32_t taken = 0;
    while (taken < size) {
        const bool full = hot.sq_tail == kNoBlock || pool.at(hot.sq_tail).end == kBlockDataBytes;
        if (full && !grow(hot, pool)) break;
        Block& tail = pool.at(hot.sq_tail);
        const uint32_t n = std::min(size - taken, kBlockDataBytes - tail.end);
        std::memcpy(tail.data + tail.end, data + taken, n);
        commit(hot, pool, n);
        taken += n;
    }
    return taken;
}

void acknowledge(Hot& hot, BlockPool& pool, uint32_t size) noexcept {
    CACHEE_DASSERT(size <= hot.sq_bytes);
    hot.sq_bytes -= size;
    while (hot.sq_head != kNoBlock) {
        Block& head = pool.at(hot.sq_head);
        const uint32_t n = std::min<uint32_t>(size, head.end - head.start);
        head.start = static_cast<uint16_t>(head.start + n);
        size -= n;
        if (head.start != head.end) return;
        const bool last = hot.sq_head == hot.sq_tail;
        if (last && (hot.flags & kReserved) != 0) return;  // being written by the caller
        const uint32_t next = head.next;
        if (hot.sq_next == hot.sq_head) {
            hot.sq_next = next;
            hot.sq_next_offset = next == kNoBlock ? 0 : pool.at(next).start;
        }
        pool.free(hot.sq_head);
        hot.sq_head = next;
        if (last) hot.sq_tail = kNoBlock;
        if (size == 0 && (next == kNoBlock || pool.at(next).end != 0)) return;
    }
}

void rewind(Hot& hot, const BlockPool& pool) noexcept {
    hot.sq_next = hot.sq_head;
    hot.sq_next_offset = hot.sq_head == kNoBlock ? 0 : pool.at(hot.sq_head).start;
}

void copy_out(const BlockPool& pool, Cursor& cursor, uint8_t* out, uint32_t size) noexcept {
    while (size > 0) {
        const Block& block = pool.at(cursor.block);
        const uint32_t n = std::min<uint32_t>(size, block.end - cursor.offset);
        std::memcpy(out, block.data + cursor.offset, n);
        out += n;
        size -= n;
        cursor.offset += n;
        if (size > 0) {
            cursor.block = block.next;
            cursor.offset = 0;  // only the head starts elsewhere, and it is nobody's next
        }
    }
}

void clear(Hot& hot, BlockPool& pool) noexcept {
    pool.free_chain(hot.sq_head);
    hot.sq_head = hot.sq_tail = hot.sq_next = kNoBlock;
    hot.sq_next_offset = 0;
    hot.sq_bytes = 0;
}

}  // namespace cachee::net::send_queue
