// SPDX-License-Identifier: Apache-2.0
// A connection's received bytes that could not be delivered at once: ahead of a gap, or while the
// session is paused. One list of blocks in order of sequence number, without overlaps; what lies
// below rcv_nxt is deliverable. Bytes are copied in, so that no driver frame is held. Worker thread
// only.
//
//   rq_head [seq, seq + n) -> [..) -> (gap) -> [..) = rq_tail
//
// Known imperfection: a segment that falls in the middle walks the list, which
// out_of_order_bytes_max and the receive window bound.
#pragma once

#include <cstdint>

#include "net/tcp_state.h"

namespace cachee::net::receive_queue {

// Stores what is new of [seq, seq + size); false when a block was refused (pool empty, or more than
// blocks_max would be held), in which case a prefix may have been stored.
bool insert(Cold& cold, BlockPool& pool, uint32_t seq, const uint8_t* data, uint32_t size,
            uint32_t blocks_max) noexcept;
// How many bytes from `seq` on, at most to `end`, are held already.
uint32_t held(const Cold& cold, const BlockPool& pool, uint32_t seq, uint32_t end) noexcept;
// Where the bytes without a gap from `seq` on end.
uint32_t contiguous_end(const Cold& cold, const BlockPool& pool, uint32_t seq) noexcept;
// Unlinks the first block; the caller frees it. REQUIRES: not empty.
uint32_t pop(Cold& cold, BlockPool& pool) noexcept;
// Drops everything from `seq` on.
void truncate(Cold& cold, BlockPool& pool, uint32_t seq) noexcept;
void clear(Cold& cold, BlockPool& pool) noexcept;

}  // namespace cachee::net::receive_queue
