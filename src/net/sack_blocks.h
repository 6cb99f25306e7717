// SPDX-License-Identifier: Apache-2.0
// What a receiver tells of data ahead of a gap: SACK blocks (RFC 2018), most recently received
// first, and one duplicate range in front of them when something came twice (D-SACK, RFC 2883).
// Computed from the receive queue when an ACK is built; only the order of arrival is remembered.
// The sender's side is sack_scoreboard.h. Worker thread only.
//
// Known imperfection: blocks ride on ACKs without data only. Everything that makes them change is
// answered with one at once, so that data segments keep their size.
#pragma once

#include <cstdint>

namespace cachee::net {

class BlockPool;
struct Cold;

struct SackBlock {
    uint32_t start = 0;
    uint32_t end = 0;  // one past the last byte
};

inline constexpr uint32_t kSackBlocksMax = 4;

// Part of Cold.
struct SackReport {
    static constexpr uint32_t kRecentMax = 6;
    uint32_t recent[kRecentMax] = {};  // a sequence number in each block that grew, latest first
    SackBlock duplicate;
    uint8_t recent_count = 0;
    bool has_duplicate = false;
};

namespace sack_blocks {

// A segment at `seq`, ahead of a gap, was stored.
void note_arrival(SackReport& report, uint32_t seq) noexcept;
// [start, end) came although it was there already; told once.
inline void note_duplicate(SackReport& report, uint32_t start, uint32_t end) noexcept {
    report.duplicate = {start, end};
    report.has_duplicate = true;
}
// The blocks of an ACK sent now, at most `max` of them; returns how many.
uint32_t collect(Cold& cold, const BlockPool& pool, uint32_t rcv_nxt, uint32_t max,
                 SackBlock* out) noexcept;
// Writes the option with two NOPs before it; returns its bytes, a multiple of 4. REQUIRES: count >
// 0.
uint32_t write_option(uint8_t* out, const SackBlock* blocks, uint32_t count) noexcept;

}  // namespace sack_blocks
}  // namespace cachee::net
