// SPDX-License-Identifier: Apache-2.0
// The send queue; see send_queue.h. Worker thread only.
#include "net/send_queue.h"

#include <algorithm>
#include <cstring>

namespace cachee::net::send_queue {

namespace {

LentBytes lent_of(const Block& block) noexcept {
    LentBytes lent;
    std::memcpy(&lent, block.data, sizeof lent);
    return lent;
}

void give_back(const Block& block) noexcept {
    const LentBytes lent = lent_of(block);
    lent.lender->give_back(lent.data);
}

// A block that more can be written to.
bool has_room(const Block& block) noexcept {
    return block.lent == 0 && block.end < kBlockDataBytes;
}

}  // namespace

uint8_t* extend_more(Hot& hot, BlockPool& pool, uint32_t size) noexcept {
    uint8_t* const out = reserve(hot, pool, size);
    if (out != nullptr) commit(hot, pool, size);
    return out;
}

uint32_t append(Hot& hot, BlockPool& pool, const uint8_t* data, uint32_t size) noexcept {
    uint32_t taken = 0;
    while (taken < size) {
        const bool room = hot.sq_tail != kNoBlock && has_room(pool.at(hot.sq_tail));
        if (!room && !grow(hot, pool)) break;
        Block& tail = pool.at(hot.sq_tail);
        const uint32_t n = std::min(size - taken, kBlockDataBytes - tail.end);
        std::memcpy(tail.data + tail.end, data + taken, n);
        commit(hot, pool, n);
        taken += n;
    }
    return taken;
}

bool append_lent(Hot& hot, BlockPool& pool, const uint8_t* data, uint32_t size,
                 io::Lender& lender) noexcept {
    const uint32_t blocks = (size + kLentBlockBytesMax - 1) / kLentBlockBytesMax;
    if (size == 0 || pool.available() < blocks) return false;
    for (uint32_t done = 0; done < size;) {
        const bool grown = grow(hot, pool);
        CACHEE_DASSERT(grown);
        const LentBytes lent{data + done, &lender};
        if (done > 0) lender.hold(lent.data);  // one for each block; the first is the caller's
        const uint32_t n = std::min(size - done, kLentBlockBytesMax);
        Block& block = pool.at(hot.sq_tail);
        std::memcpy(block.data, &lent, sizeof lent);
        block.lent = 1;
        block.end = static_cast<uint16_t>(n);
        done += n;
    }
    hot.sq_bytes += size;
    hot.flags |= kLent;
    return true;
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
        if (head.lent != 0) give_back(head);
        pool.free(hot.sq_head);
        hot.sq_head = next;
        if (last) {
            hot.sq_tail = kNoBlock;
            hot.flags &= ~kLent;
        }
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
        const uint8_t* from = block.lent != 0 ? lent_of(block).data : block.data;
        std::memcpy(out, from + cursor.offset, n);
        out += n;
        size -= n;
        cursor.offset += n;
        if (size > 0) {
            cursor.block = block.next;
            cursor.offset = 0;  // only the head starts elsewhere, and it is nobody's next
        }
    }
}

void skip(const BlockPool& pool, Cursor& cursor, uint32_t size) noexcept {
    while (size > 0) {
        const Block& block = pool.at(cursor.block);
        const uint32_t n = std::min<uint32_t>(size, block.end - cursor.offset);
        size -= n;
        cursor.offset += n;
        if (size > 0) {
            cursor.block = block.next;
            cursor.offset = 0;
        }
    }
}

Gather gather(const BlockPool& pool, Cursor cursor, uint32_t size) noexcept {
    Gather out;
    while (size > 0 && cursor.block != kNoBlock) {
        const Block& block = pool.at(cursor.block);
        const uint32_t n = std::min<uint32_t>(size, block.end - cursor.offset);
        if (block.lent == 0) {
            if (out.lent_bytes > 0) break;
            out.copied_bytes += n;
        } else {
            LentBytes lent = lent_of(block);
            lent.data += cursor.offset;
            const bool goes_on =
                lent.lender == out.lent.lender && lent.data == out.lent.data + out.lent_bytes;
            if (out.lent_bytes > 0 && !goes_on) break;
            if (out.lent_bytes == 0) out.lent = lent;
            out.lent_bytes += n;
        }
        size -= n;
        cursor.block = block.next;
        cursor.offset = 0;
    }
    return out;
}

void clear(Hot& hot, BlockPool& pool) noexcept {
    if ((hot.flags & kLent) != 0) {
        for (uint32_t index = hot.sq_head; index != kNoBlock; index = pool.at(index).next) {
            if (pool.at(index).lent != 0) give_back(pool.at(index));
        }
        hot.flags &= ~kLent;
    }
    pool.free_chain(hot.sq_head);
    hot.sq_head = hot.sq_tail = hot.sq_next = kNoBlock;
    hot.sq_next_offset = 0;
    hot.sq_bytes = 0;
}

}  // namespace cachee::net::send_queue
