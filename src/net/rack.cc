// SPDX-License-Identifier: Apache-2.0
// RACK; see rack.h. Worker thread only.
#include "net/rack.h"

#include <algorithm>

#include "net/bytes.h"

namespace cachee::net::rack {
namespace {

constexpr uint32_t kMinRttPeriodUs = 10'000'000;
constexpr uint8_t kPersistRecoveries = 16;  // RFC 8985, 6.2, step 4
constexpr uint8_t kMultiplierMax = 100;

bool sent_after(uint32_t a_us, uint32_t a_end, uint32_t b_us, uint32_t b_end) noexcept {
    return a_us == b_us ? seq_gt(a_end, b_end) : seq_gt(a_us, b_us);
}

void take(Rack& rack, const Delivered::Newest& newest, uint32_t now_us) noexcept {
    if (rack.valid && !sent_after(newest.sent_us, newest.end, rack.sent_us, rack.end)) return;
    rack.sent_us = newest.sent_us;
    rack.end = newest.end;
    rack.rtt_us = now_us - newest.sent_us;
    rack.valid = true;
}

}  // namespace

uint32_t min_rtt_us(const Rack& rack) noexcept {
    return std::min(rack.min_rtt_us[0], rack.min_rtt_us[1]);
}

void on_rtt(Rack& rack, uint32_t rtt_us, uint32_t now_us) noexcept {
    if (now_us - rack.min_rtt_since_us > kMinRttPeriodUs) {
        rack.min_rtt_us[1] = rack.min_rtt_us[0];
        rack.min_rtt_us[0] = rtt_us;
        rack.min_rtt_since_us = now_us;
    }
    rack.min_rtt_us[0] = std::min(rack.min_rtt_us[0], rtt_us);
}

void on_delivered(Rack& rack, const Delivered& delivered, uint32_t now_us) noexcept {
    if (delivered.original.any) take(rack, delivered.original, now_us);
    // What was sent again may be acknowledged for its first transmission: too quick to be true.
    if (delivered.repeated.any && now_us - delivered.repeated.sent_us >= min_rtt_us(rack)) {
        take(rack, delivered.repeated, now_us);
    }
    rack.fack = delivered.fack;
    if (delivered.reordered) rack.reordering_seen = true;
}

void on_duplicate(Rack& rack, uint32_t una, uint32_t nxt) noexcept {
    if (rack.in_round && seq_lt(una, rack.round_end)) return;
    rack.in_round = true;
    rack.round_end = nxt;
    rack.multiplier = std::min<uint8_t>(kMultiplierMax, static_cast<uint8_t>(rack.multiplier + 1));
    rack.persist = kPersistRecoveries;
}

void on_recovery_end(Rack& rack) noexcept {
    if (rack.persist > 0 && --rack.persist == 0) rack.multiplier = 1;
}

uint32_t reordering_window_us(const Rack& rack, uint32_t srtt_us, bool recovering,
                              uint32_t sacked_segments) noexcept {
    if (!rack.reordering_seen && (recovering || sacked_segments >= kDuplicatesForLoss)) return 0;
    const uint32_t least = min_rtt_us(rack);
    if (least == 0xffffffff) return srtt_us;
    return static_cast<uint32_t>(
        std::min<uint64_t>(uint64_t{rack.multiplier} * least / 4, srtt_us));
}

uint32_t detect_losses(const Rack& rack, Scoreboard& board, SentPool& pool, uint32_t now_us,
                       uint32_t window_us) noexcept {
    if (!rack.valid) return 0;
    uint32_t wait_us = 0;
    for (uint32_t i = board.head; i != kNoRecord; i = pool.at(i).next) {
        SentSegment& segment = pool.at(i);
        if ((segment.flags & (SentSegment::kSacked | SentSegment::kLost)) != 0) continue;
        if (!sent_after(rack.sent_us, rack.end, segment.sent_us, segment.end)) {
            // Sent once, and so before all that follow: none of them is older.
            if (!segment.is(SentSegment::kRetransmitted)) break;
            continue;
        }
        const auto left = static_cast<int32_t>(segment.sent_us + rack.rtt_us + window_us - now_us);
        if (left <= 0) {
            scoreboard::mark_lost(board, segment);
        } else {
            wait_us = std::max(wait_us, static_cast<uint32_t>(left));
        }
    }
    return wait_us;
}

void mark_losses_on_timeout(const Rack& rack, Scoreboard& board, SentPool& pool, uint32_t now_us,
                            uint32_t window_us) noexcept {
    for (uint32_t i = board.head; i != kNoRecord; i = pool.at(i).next) {
        SentSegment& segment = pool.at(i);
        if ((segment.flags & (SentSegment::kSacked | SentSegment::kLost)) != 0) continue;
        const auto left = static_cast<int32_t>(segment.sent_us + rack.rtt_us + window_us - now_us);
        if (i == board.head || left <= 0) scoreboard::mark_lost(board, segment);
    }
}

}  // namespace cachee::net::rack
