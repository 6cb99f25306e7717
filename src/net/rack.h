// SPDX-License-Identifier: Apache-2.0
// RACK (RFC 8985): a segment is lost when one sent later was delivered and a reordering window has
// passed since; the window adapts to the reordering that is seen. Judges, sends nothing, arms
// nothing. Pure functions over small structs; times are microseconds that wrap. Worker thread only.
#pragma once

#include <cstdint>

#include "net/sack_scoreboard.h"

namespace cachee::net {

// One connection's; part of Cold.
struct Rack {
    uint32_t sent_us = 0;  // RACK.xmit_ts: of the delivered segment that was sent last
    uint32_t end = 0;      // RACK.end_seq
    uint32_t rtt_us = 0;
    uint32_t fack = 0;                                  // highest sequence number delivered
    uint32_t min_rtt_us[2] = {0xffffffff, 0xffffffff};  // of this and the last period
    uint32_t min_rtt_since_us = 0;
    uint32_t round_end = 0;  // one widening of the window per round trip
    uint8_t multiplier = 1;  // of the window, in quarters of the least round-trip time
    uint8_t persist = 0;     // recoveries until it is narrow again
    bool valid = false;      // something was delivered
    bool reordering_seen = false;
    bool in_round = false;  // round_end holds
};

namespace rack {

inline constexpr uint8_t kDuplicatesForLoss = 3;

uint32_t min_rtt_us(const Rack& rack) noexcept;
// A round trip was measured.
void on_rtt(Rack& rack, uint32_t rtt_us, uint32_t now_us) noexcept;
// Steps 2 and 3 of section 6.2. REQUIRES: `delivered.fack` was rack.fack before the ACK.
void on_delivered(Rack& rack, const Delivered& delivered, uint32_t now_us) noexcept;
// Step 4: a duplicate was reported (D-SACK).
void on_duplicate(Rack& rack, uint32_t una, uint32_t nxt) noexcept;
void on_recovery_end(Rack& rack) noexcept;
uint32_t reordering_window_us(const Rack& rack, uint32_t srtt_us, bool recovering,
                              uint32_t sacked_segments) noexcept;
// Step 5: marks what is lost by now. Returns the microseconds until more may be, 0: nothing will.
uint32_t detect_losses(const Rack& rack, Scoreboard& board, SentPool& pool, uint32_t now_us,
                       uint32_t window_us) noexcept;
// Section 6.3, after a retransmission timeout: the first segment, and what is old enough.
void mark_losses_on_timeout(const Rack& rack, Scoreboard& board, SentPool& pool, uint32_t now_us,
                            uint32_t window_us) noexcept;

}  // namespace rack
}  // namespace cachee::net
