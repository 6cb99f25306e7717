// SPDX-License-Identifier: Apache-2.0
// The receive queue; see receive_queue.h. Worker thread only.
#include "net/receive_queue.h"

#include <algorithm>
#include <cstring>

#include "net/bytes.h"

namespace cachee::net::receive_queue {
namespace {

uint32_t end_of(const Block& block) noexcept { return block.seq + (block.end - block.start); }

// Puts an empty block after `previous` (kNoBlock: first).
uint32_t link_new(Cold& cold, BlockPool& pool, uint32_t previous, uint32_t seq) noexcept {
    const uint32_t index = pool.allocate();
    if (index == kNoBlock) return kNoBlock;
    Block& block = pool.at(index);
    block.seq = seq;
    if (previous == kNoBlock) {
        block.next = cold.rq_head;
        cold.rq_head = index;
    } else {
        block.next = pool.at(previous).next;
        pool.at(previous).next = index;
    }
    if (block.next == kNoBlock) cold.rq_tail = index;
    ++cold.rq_blocks;
    return index;
}

// Copies [seq, seq + size), which nothing in the list overlaps, behind `previous`, which moves
// along.
bool fill(Cold& cold, BlockPool& pool, uint32_t& previous, uint32_t seq, const uint8_t* data,
          uint32_t size, uint32_t blocks_max) noexcept {
    while (size > 0) {
        bool joins = false;
        if (previous != kNoBlock) {
            const Block& block = pool.at(previous);
            joins = end_of(block) == seq && block.end < kBlockDataBytes;
        }
        if (!joins) {
            if (cold.rq_blocks >= blocks_max) return false;
            const uint32_t index = link_new(cold, pool, previous, seq);
            if (index == kNoBlock) return false;
            previous = index;
        }
        Block& block = pool.at(previous);
        const uint32_t n = std::min(size, kBlockDataBytes - block.end);
        std::memcpy(block.data + block.end, data, n);
        block.end = static_cast<uint16_t>(block.end + n);
        data += n;
        seq += n;
        size -= n;
    }
    return true;
}

}  // namespace

bool insert(Cold& cold, BlockPool& pool, uint32_t seq, const uint8_t* data, uint32_t size,
            uint32_t blocks_max) noexcept {
    const uint32_t end = seq + size;
    uint32_t previous = kNoBlock;
    uint32_t current = cold.rq_head;
    if (cold.rq_tail != kNoBlock && seq_le(pool.at(cold.rq_tail).seq, seq)) {
        previous = cold.rq_tail;
        current = kNoBlock;
    }
    while (current != kNoBlock && seq_le(pool.at(current).seq, seq)) {
        previous = current;
        current = pool.at(current).next;
    }
    uint32_t at = seq;
    if (previous != kNoBlock) at = seq_max(at, end_of(pool.at(previous)));
    while (seq_lt(at, end)) {
        uint32_t limit = end;
        if (current != kNoBlock && seq_lt(pool.at(current).seq, end)) limit = pool.at(current).seq;
        if (seq_lt(at, limit)) {
            if (!fill(cold, pool, previous, at, data + (at - seq), limit - at, blocks_max)) {
                return false;
            }
        }
        if (current == kNoBlock) break;
        at = end_of(pool.at(current));
        previous = current;
        current = pool.at(current).next;
    }
    return true;
}

uint32_t held(const Cold& cold, const BlockPool& pool, uint32_t seq, uint32_t end) noexcept {
    if (cold.rq_tail == kNoBlock || seq_ge(seq, end_of(pool.at(cold.rq_tail)))) return 0;
    uint32_t at = seq;
    for (uint32_t i = cold.rq_head; i != kNoBlock && seq_lt(at, end); i = pool.at(i).next) {
        const Block& block = pool.at(i);
        if (seq_gt(block.seq, at)) break;
        at = seq_max(at, end_of(block));
    }
    return seq_min(at, end) - seq;
}

uint32_t contiguous_end(const Cold& cold, const BlockPool& pool, uint32_t seq) noexcept {
    for (uint32_t i = cold.rq_head; i != kNoBlock; i = pool.at(i).next) {
        const Block& block = pool.at(i);
        if (seq_gt(block.seq, seq)) break;
        seq = seq_max(seq, end_of(block));
    }
    return seq;
}

uint32_t pop(Cold& cold, BlockPool& pool) noexcept {
    const uint32_t index = cold.rq_head;
    cold.rq_head = pool.at(index).next;
    if (cold.rq_head == kNoBlock) cold.rq_tail = kNoBlock;
    --cold.rq_blocks;
    return index;
}

void truncate(Cold& cold, BlockPool& pool, uint32_t seq) noexcept {
    uint32_t last = kNoBlock;
    uint32_t index = cold.rq_head;
    while (index != kNoBlock && seq_lt(pool.at(index).seq, seq)) {
        Block& block = pool.at(index);
        if (seq_gt(end_of(block), seq)) {
            block.end = static_cast<uint16_t>(block.start + (seq - block.seq));
        }
        last = index;
        index = block.next;
    }
    if (last == kNoBlock) {
        cold.rq_head = kNoBlock;
    } else {
        pool.at(last).next = kNoBlock;
    }
    cold.rq_tail = last;
    while (index != kNoBlock) {
        const uint32_t next = pool.at(index).next;
        pool.free(index);
        --cold.rq_blocks;
        index = next;
    }
}

void clear(Cold& cold, BlockPool& pool) noexcept {
    pool.free_chain(cold.rq_head);
    cold.rq_head = cold.rq_tail = kNoBlock;
    cold.rq_blocks = 0;
}

}  // namespace cachee::net::receive_queue
