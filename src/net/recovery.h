// SPDX-License-Identifier: Apache-2.0
// What a connection remembers of a loss recovery under way, and its arithmetic: proportional rate
// reduction (RFC 9937, 6937), whether the retransmissions were spurious (D-SACK, Eifel, F-RTO) and
// what to restore then. Decides nothing about segments (rack.h, tcp_recovery.cc). Worker thread
// only.
//
//   kOpen --loss found--> kRecovery --all of it acknowledged--> kOpen
//     \                      |
//      +------timeout--------+--> kLoss --all of it acknowledged, or spurious--> kOpen
#pragma once

#include <algorithm>
#include <cstdint>

namespace cachee::net {

enum class Phase : uint8_t { kOpen, kRecovery, kLoss };

// F-RTO (RFC 5682): after a timeout, whether what arrives now is of the first transmissions.
enum class Frto : uint8_t {
    kOff,
    kWaiting,  // the first segment was sent again, nothing was heard yet
    kProbing,  // an ACK moved on: new data is sent before anything is sent again
};

// What rtx_deadline stands for, besides window probes (kPersist).
enum class Timer : uint8_t { kRetransmission, kReordering, kTailProbe };

// One connection's; part of Cold.
struct Recovery {
    uint32_t prr_delivered = 0;
    uint32_t prr_out = 0;
    uint32_t prr_flight = 0;  // RecoverFS
    // For undo; valid while can_undo.
    uint32_t undo_from = 0;   // snd_una when it began
    uint32_t undo_bytes = 0;  // sent again and not reported as duplicates
    uint32_t undo_until = 0;  // after the recovery: until this is acknowledged
    uint32_t prior_cwnd = 0;
    uint32_t prior_ssthresh = 0;
    uint32_t retransmit_timestamp = 0;  // our timestamp clock at the first retransmission
    uint32_t probe_end = 0;             // TLP.end_seq, with kTailProbe
    uint32_t timeout_deadline = 0;      // ticks; what rtx_deadline is without probe or reordering
    Phase phase = Phase::kOpen;
    Frto frto = Frto::kOff;
    Timer timer = Timer::kRetransmission;
    bool can_undo = false;
    bool sent_again = false;          // anything, since undo_from
    bool probe_repeated = false;      // the tail loss probe was a retransmission
    bool reno_partial_acked = false;  // RFC 6582: the first partial ACK of this recovery was seen
    bool head_reneged = false;        // the peer does not acknowledge what it reported
};

namespace recovery {

// `flight`: unacknowledged bytes before the ACK that started it; `sacked`: of them reported before.
inline void prr_start(Recovery& r, uint32_t flight, uint32_t sacked) noexcept {
    r.prr_delivered = 0;
    r.prr_out = 0;
    r.prr_flight = std::max(1u, flight - std::min(sacked, flight));
}

// The window after an ACK that delivered `bytes`; `safe`: it moved on and showed no new loss.
inline uint32_t prr_window(Recovery& r, uint32_t ssthresh, uint32_t mss, uint32_t in_network,
                           uint32_t bytes, bool safe) noexcept {
    r.prr_delivered += bytes;
    uint32_t send = 0;
    if (in_network > ssthresh) {
        const uint64_t share =
            (uint64_t{r.prr_delivered} * ssthresh + r.prr_flight - 1) / r.prr_flight;
        if (share > r.prr_out) send = static_cast<uint32_t>(share - r.prr_out);
    } else {
        send = std::max(r.prr_delivered - std::min(r.prr_out, r.prr_delivered), bytes);
        if (safe) send += mss;
        send = std::min(ssthresh - in_network, send);
    }
    if (r.prr_out == 0) send = std::max(send, mss);  // the first retransmission goes at once
    return in_network + send;
}

inline void remember_for_undo(Recovery& r, uint32_t una, uint32_t cwnd,
                              uint32_t ssthresh) noexcept {
    r.can_undo = true;
    r.sent_again = false;
    r.undo_from = una;
    r.undo_bytes = 0;
    r.prior_cwnd = cwnd;
    r.prior_ssthresh = ssthresh;
}

inline void note_sent_again(Recovery& r, uint32_t bytes, uint32_t timestamp) noexcept {
    if (!r.sent_again) r.retransmit_timestamp = timestamp;
    r.sent_again = true;
    r.undo_bytes += bytes;
    r.prr_out += bytes;
}

// All that was sent again had arrived before (RFC 3708).
inline bool all_duplicates(const Recovery& r) noexcept {
    return r.can_undo && r.sent_again && r.undo_bytes == 0;
}

}  // namespace recovery
}  // namespace cachee::net
