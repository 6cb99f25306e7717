// SPDX-License-Identifier: Apache-2.0
// A connection's unacknowledged and unsent bytes: a chain of blocks, built in place by reserve()
// and commit(), read by first transmissions and retransmissions alike, given back as ACKs arrive.
// The fields live in Hot (sq_*). Worker thread only.
//
//   sq_head [start..end] -> ... -> sq_next (at sq_next_offset: snd_nxt) -> ... -> sq_tail
//   [start..end]
#pragma once

#include <cstdint>

#include "net/tcp_state.h"

namespace cachee::net::send_queue {

struct Cursor {
    uint32_t block = kNoBlock;
    uint32_t offset = 0;
};

// `size` contiguous bytes at the end, or nullptr when the pool has no block. The room that is left
// in the last block is given up when it is too small. REQUIRES: size <= kBlockDataBytes.
uint8_t* reserve(Hot& hot, BlockPool& pool, uint32_t size) noexcept;
// Makes `size` bytes of the last reserve() part of the stream.
void commit(Hot& hot, BlockPool& pool, uint32_t size) noexcept;
// Copies up to `size` bytes in; returns how many the pool had room for.
uint32_t append(Hot& hot, BlockPool& pool, const uint8_t* data, uint32_t size) noexcept;
// Gives back the first `size` bytes. REQUIRES: size <= sq_bytes.
void acknowledge(Hot& hot, BlockPool& pool, uint32_t size) noexcept;
// Sends from the first unacknowledged byte again.
void rewind(Hot& hot, const BlockPool& pool) noexcept;
// Copies `size` bytes from the cursor on and moves it. REQUIRES: that many are there.
void copy_out(const BlockPool& pool, Cursor& cursor, uint8_t* out, uint32_t size) noexcept;
void clear(Hot& hot, BlockPool& pool) noexcept;

}  // namespace cachee::net::send_queue
