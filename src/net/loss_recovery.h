// SPDX-License-Identifier: Apache-2.0
// Which segment is taken for lost: three duplicate ACKs and NewReno's partial ACKs (RFC 6582),
// limited transmit (RFC 3042). It marks the head for retransmission and never sends itself. Worker
// thread only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "net/bytes.h"
#include "net/congestion.h"
#include "net/tcp_state.h"

namespace cachee::net::loss_recovery {

inline constexpr uint8_t kDuplicatesForLoss = 3;

// True when this duplicate ACK starts a fast retransmission.
inline bool on_duplicate_ack(Hot& hot, Cold& cold) noexcept {
    if (hot.dup_acks < 255) ++hot.dup_acks;
    if ((hot.flags & kRecovery) != 0) {
        hot.cwnd = std::min(hot.cwnd + hot.mss, congestion::kWindowMax);
        return false;
    }
    if (hot.dup_acks != kDuplicatesForLoss || !seq_gt(hot.snd_una, cold.recover)) return false;
    const uint32_t flight = hot.snd_max - hot.snd_una;
    hot.ssthresh = congestion::threshold_after_loss(hot, flight);
    hot.cwnd = hot.ssthresh + 3u * hot.mss;
    cold.recover = hot.snd_max;
    cold.partial_acked = false;
    hot.flags |= kRecovery | kRetransmitHead;
    hot.flags &= ~kRttTiming;
    return true;
}

// After snd_una moved by `acked` during recovery. True: the retransmission timer restarts.
inline bool on_recovery_ack(Hot& hot, Cold& cold, uint32_t acked) noexcept {
    if (seq_ge(hot.snd_una, cold.recover)) {
        const uint32_t flight = hot.snd_max - hot.snd_una;
        hot.cwnd = std::min(hot.ssthresh, std::max(flight, uint32_t{hot.mss}) + hot.mss);
        hot.flags &= ~kRecovery;
        return true;
    }
    hot.flags |= kRetransmitHead;
    hot.cwnd -= std::min(acked, hot.cwnd - std::min(hot.cwnd, uint32_t{hot.mss}));
    if (acked >= hot.mss) hot.cwnd += hot.mss;
    const bool first = !cold.partial_acked;
    cold.partial_acked = true;
    return first;  // RFC 6582's "impatient" variant: many losses end in a timeout, not in many RTTs
}

// Bytes beyond cwnd that the first two duplicate ACKs allow.
inline uint32_t limited_transmit(const Hot& hot) noexcept {
    if ((hot.flags & kRecovery) != 0 || hot.dup_acks >= kDuplicatesForLoss) return 0;
    return uint32_t{hot.dup_acks} * hot.mss;
}

}  // namespace cachee::net::loss_recovery
