// SPDX-License-Identifier: Apache-2.0
// What an ACK says of the segments in flight, and what follows: delivery, loss by RACK (RFC 8985)
// or by duplicate ACKs for peers without SACK (RFC 6582), recovery with proportional rate
// reduction, spurious recoveries undone. docs/TCP.md, "Recovery". What time brings is in
// tcp_retransmit.cc. Worker thread only.
#include <algorithm>

#include "net/bytes.h"
#include "net/congestion.h"
#include "net/tcp_core.h"

namespace cachee::net {

using stats::Counter;

// Records for what is in flight: from now on more than one segment, or something unusual.
void TcpCore::keep_records(Hot& hot, Cold& cold) noexcept {
    if ((hot.flags & kRecords) != 0 || hot.snd_nxt == hot.snd_una) return;
    hot.flags |= kRecords;
    hot.flags &= ~kRttTiming;
    Recovery& r = cold.recovery;
    r.timer = Timer::kRetransmission;
    r.timeout_deadline = hot.rtx_deadline;
    scoreboard::append(cold.board, sent_pool_, index_of(hot), hot.snd_una, hot.snd_nxt,
                       hot.rtt_start_us, queue_head(hot));
}

// [start, snd_nxt) has been sent, from `at` on. REQUIRES: keep_records() and room for it, if
// anything was in flight.
void TcpCore::note_sent(Hot& hot, Cold& cold, uint32_t start, send_queue::Cursor at) noexcept {
    if (start == hot.snd_una) {  // alone
        if (hot.snd_nxt == hot.snd_max) hot.flags |= kRttTiming;
        hot.rtt_seq = hot.snd_nxt;
        hot.rtt_start_us = now_us();
        return;
    }
    scoreboard::append(cold.board, sent_pool_, index_of(hot), start, hot.snd_nxt, now_us(),
                       send_queue::settle(pool_, at));
}

// REQUIRES: seq_gt(ack, snd_una).
void TcpCore::acknowledge_bytes(Hot& hot, Cold& cold, uint32_t ack) noexcept {
    const uint32_t bytes = ack - hot.snd_una;
    send_queue::acknowledge(hot, pool_, std::min(bytes, hot.sq_bytes));
    hot.snd_una = ack;
    hot.backoff = 0;
    cold.retries = 0;
    if (seq_ge(ack, cold.stall_target)) hot.flags &= ~kStalled;
    if (seq_le(hot.snd_nxt, ack)) {
        hot.snd_nxt = ack;
        send_queue::rewind(hot, pool_);
    }
}

// An ACK of what records cover, or one with SACK blocks, or a duplicate.
void TcpCore::take_ack(Hot& hot, const TcpSegment& segment, bool duplicate) noexcept {
    Cold& cold = cold_of(hot);
    keep_records(hot, cold);
    AckOf ack;
    ack.flight = hot.snd_nxt - hot.snd_una;
    ack.sacked_before = cold.board.sacked_bytes;
    ack.lost_before = cold.board.lost_bytes;
    ack.advanced = seq_gt(segment.ack, hot.snd_una);
    ack.duplicate = duplicate && !ack.advanced;
    ack.delivered.recover = cold.recover;
    ack.delivered.fack = cold.rack.valid ? cold.rack.fack : hot.snd_una;
    const bool backed_off = hot.backoff > 0;
    if (ack.advanced) {
        const uint32_t bytes = segment.ack - hot.snd_una;
        acknowledge_bytes(hot, cold, segment.ack);
        scoreboard::acknowledge(cold.board, sent_pool_, hot.snd_una, queue_head(hot),
                                ack.delivered);
        if ((hot.flags & kSack) == 0) take_from_guess(hot, cold, bytes, ack);
    }
    if ((hot.flags & kSack) == 0) {
        if (ack.duplicate) guess_delivered(hot, cold, ack);
    } else if ((segment.flags & kHasSack) != 0) {
        take_sack_blocks(hot, cold, segment, ack);
    }
    time_delivery(hot, cold, segment, ack, backed_off);
    if (cold.board.empty()) {
        hot.flags &= ~kRecords;
        cold.board.sacked_bytes = 0;
    }
    if ((hot.flags & kTailProbe) != 0) take_probe_answer(hot, cold, segment, ack);
    switch (cold.recovery.phase) {
        case Phase::kOpen:
            ack_in_open(hot, cold, ack);
            break;
        case Phase::kRecovery:
            ack_in_recovery(hot, cold, segment, ack);
            break;
        case Phase::kLoss:
            ack_in_loss(hot, cold, segment, ack);
            break;
    }
    set_timer_after_ack(hot, cold, ack);
}

// --- what was delivered

void TcpCore::take_sack_blocks(Hot& hot, Cold& cold, const TcpSegment& segment,
                               AckOf& ack) noexcept {
    for (uint32_t i = 0; i < segment.sack_blocks; ++i) {
        uint32_t start = load_be32(segment.sack + 8 * i);
        const uint32_t end = load_be32(segment.sack + 8 * i + 4);
        const uint32_t known = hot.snd_nxt - hot.snd_una + std::max(cold.snd_wnd_max, 65535u);
        // What was never sent, or so long ago that nobody can mean it.
        if (!seq_lt(start, end) || seq_gt(end, hot.snd_nxt) || hot.snd_nxt - start > known) {
            count(Counter::tcp_sack_blocks_bad);
            continue;
        }
        if (i == 0) {  // RFC 2883, 4: below the ACK, or inside the second block
            bool twice = seq_le(end, segment.ack);
            if (!twice && segment.sack_blocks > 1) {
                const uint32_t outer_start = load_be32(segment.sack + 8);
                const uint32_t outer_end = load_be32(segment.sack + 12);
                twice = seq_ge(start, outer_start) && seq_le(end, outer_end);
            }
            if (twice) {
                take_duplicate(hot, cold, start, end, ack);
                continue;
            }
        }
        start = seq_max(start, hot.snd_una);
        if (!seq_lt(start, end) || (hot.flags & kRecords) == 0) continue;
        scoreboard::sack(cold.board, sent_pool_, pool_, index_of(hot), start, end, ack.delivered);
    }
}

// The peer got [start, end) twice (D-SACK).
void TcpCore::take_duplicate(Hot& hot, Cold& cold, uint32_t start, uint32_t end,
                             AckOf& ack) noexcept {
    count(Counter::tcp_duplicates_reported);
    Recovery& r = cold.recovery;
    if ((hot.flags & kTailProbe) != 0 && r.probe_repeated && end == r.probe_end) {
        ack.probe_duplicate = true;
        return;
    }
    rack::on_duplicate(cold.rack, hot.snd_una, hot.snd_nxt);
    if (r.can_undo && seq_ge(start, r.undo_from)) {
        r.undo_bytes -= std::min(r.undo_bytes, end - start);
    }
}

// A peer without SACK: each duplicate ACK says that one segment more has left the network.
void TcpCore::guess_delivered(Hot& hot, Cold& cold, AckOf& ack) noexcept {
    if (cold.recovery.phase == Phase::kLoss) return;  // of what was sent again, more likely
    // Outside recovery it lets limited transmit send two segments (RFC 3042), and not more.
    const uint32_t limit = cold.recovery.phase == Phase::kOpen ? 3u * hot.mss : ack.flight;
    const uint32_t out = cold.board.sacked_bytes + cold.board.lost_bytes + hot.mss;
    if (cold.board.sacked_bytes + hot.mss > limit || out + hot.mss > ack.flight) return;
    cold.board.sacked_bytes += hot.mss;
    ack.delivered.bytes += hot.mss;
}

// Of `bytes` acknowledged at last, all but the segment that was missing were counted before.
void TcpCore::take_from_guess(const Hot& hot, Cold& cold, uint32_t bytes, AckOf& ack) noexcept {
    const uint32_t counted = bytes > hot.mss ? bytes - hot.mss : 0;
    const uint32_t taken = std::min(cold.board.sacked_bytes, counted);
    cold.board.sacked_bytes -= taken;
    ack.delivered.bytes -= std::min(ack.delivered.bytes, taken);
}

// Round-trip time, never of what was sent twice (Karn), nor of what a repaired gap held up at a
// peer without SACK.
void TcpCore::time_delivery(Hot& hot, Cold& cold, const TcpSegment& segment, const AckOf& ack,
                            bool backed_off) noexcept {
    const Delivered& d = ack.delivered;
    if (d.original.any && !(d.repeated.any && ack.advanced)) {
        rto::sample(hot, now_us() - d.oldest_us);
        rack::on_rtt(cold.rack, now_us() - d.original.sent_us, now_us());
    } else if (ack.advanced && (backed_off || hot.srtt_us == 0)) {
        sample_timestamp(hot, segment, backed_off);
    }
    if ((hot.flags & kSack) != 0) rack::on_delivered(cold.rack, d, now_us());
}

// RFC 8985, 7.4: whether the tail loss probe repaired a loss.
void TcpCore::take_probe_answer(Hot& hot, Cold& cold, const TcpSegment& segment,
                                const AckOf& ack) noexcept {
    Recovery& r = cold.recovery;
    if (seq_lt(segment.ack, r.probe_end) && !ack.probe_duplicate) return;
    if (!r.probe_repeated || ack.probe_duplicate) {
        hot.flags &= ~kTailProbe;  // both arrived: nothing was lost
    } else if (seq_gt(segment.ack, r.probe_end)) {
        hot.flags &= ~kTailProbe;
        if (r.phase != Phase::kOpen) return;
        // Little is in flight at the tail; half the window was, not long ago, or it had not grown.
        const uint32_t flight = std::max(ack.flight, hot.cwnd / 2);
        congestion::reduce(hot, cold, options_.congestion_control, flight);
        hot.cwnd = std::min(hot.cwnd, hot.ssthresh);
    }
}

// --- phases

uint32_t TcpCore::find_losses(Hot& hot, Cold& cold) noexcept {
    const uint32_t window_us = rack::reordering_window_us(
        cold.rack, hot.srtt_us, cold.recovery.phase != Phase::kOpen, cold.board.sacked_segments);
    return rack::detect_losses(cold.rack, cold.board, sent_pool_, now_us(), window_us);
}

void TcpCore::ack_in_open(Hot& hot, Cold& cold, AckOf& ack) noexcept {
    Recovery& r = cold.recovery;
    if (r.can_undo && seq_gt(hot.snd_una, r.undo_until)) r.can_undo = false;
    if (recovery::all_duplicates(r)) undo_recovery(hot, cold);
    if (ack.advanced) {
        hot.dup_acks = 0;
    } else if (ack.duplicate || ack.delivered.sacked_bytes > 0) {
        hot.dup_acks = static_cast<uint8_t>(std::min(hot.dup_acks + 1, 255));
    }
    if ((hot.flags & kRecords) == 0) {
        if (ack.advanced) {
            congestion::on_ack(hot, cold, options_.congestion_control, ack.delivered.bytes,
                               ack.flight, now_us());
        }
        return;
    }
    if ((hot.flags & kSack) != 0) {
        ack.wait_us = find_losses(hot, cold);
    } else if (hot.dup_acks >= rack::kDuplicatesForLoss && seq_gt(hot.snd_una, cold.recover)) {
        SentSegment& head = sent_pool_.at(cold.board.head);
        if (!head.is(SentSegment::kLost)) scoreboard::mark_lost(cold.board, head);
    }
    if (cold.board.lost_bytes > ack.lost_before) {
        enter_recovery(hot, cold, ack);
    } else if (ack.advanced) {
        congestion::on_ack(hot, cold, options_.congestion_control, ack.delivered.bytes, ack.flight,
                           now_us());
    }
}

void TcpCore::enter_recovery(Hot& hot, Cold& cold, const AckOf& ack) noexcept {
    Recovery& r = cold.recovery;
    count(Counter::tcp_recoveries);
    recovery::remember_for_undo(r, hot.snd_una, hot.cwnd, hot.ssthresh);
    // A mark may have reduced this very window already.
    const bool reduced = cold.ecn.reduced && seq_lt(hot.snd_una, cold.ecn.reduced_until);
    if (!reduced) congestion::reduce(hot, cold, options_.congestion_control, ack.flight);
    if ((hot.flags & kEcn) != 0) ecn::on_loss(cold.ecn, hot.snd_nxt);
    recovery::prr_start(r, ack.flight, ack.sacked_before);
    r.phase = Phase::kRecovery;
    hot.flags &= ~kTailProbe;
    r.reno_partial_acked = false;
    hot.flags |= kRecovery;
    hot.flags &= ~kRttTiming;
    cold.recover = hot.snd_nxt;
    hot.cwnd = recovery::prr_window(r, hot.ssthresh, hot.mss, in_network(hot, cold),
                                    ack.delivered.bytes, false);
    mark_dirty(hot);
}

void TcpCore::ack_in_recovery(Hot& hot, Cold& cold, const TcpSegment& segment,
                              AckOf& ack) noexcept {
    Recovery& r = cold.recovery;
    if (shown_spurious(hot, cold, segment, ack)) {
        undo_recovery(hot, cold);
        return;
    }
    if (seq_ge(hot.snd_una, cold.recover)) {
        leave_recovery(hot, cold);
        hot.cwnd = hot.ssthresh;
        return;
    }
    if ((hot.flags & kSack) != 0) {
        ack.wait_us = find_losses(hot, cold);
    } else if (ack.advanced) {
        // RFC 6582, 3.2, step 4: a partial ACK tells the next hole. The timer is started anew for
        // the first one only: many losses end in a timeout, not in as many round trips.
        ack.keep_timer = r.reno_partial_acked;
        r.reno_partial_acked = true;
        SentSegment& head = sent_pool_.at(cold.board.head);
        if ((head.flags & (SentSegment::kLost | SentSegment::kRetransmitted)) == 0) {
            scoreboard::mark_lost(cold.board, head);
        }
    }
    if (ack.delivered.bytes > 0) {
        const bool safe = ack.advanced && cold.board.lost_bytes <= ack.lost_before;
        hot.cwnd = recovery::prr_window(r, hot.ssthresh, hot.mss, in_network(hot, cold),
                                        ack.delivered.bytes, safe);
    }
    mark_dirty(hot);
}

// The retransmissions were for nothing: an ACK of the first transmission by its timestamp (Eifel,
// RFC 3522), or all of them reported as duplicates (RFC 3708).
bool TcpCore::shown_spurious(const Hot& hot, const Cold& cold, const TcpSegment& segment,
                             const AckOf& ack) const noexcept {
    const Recovery& r = cold.recovery;
    if (!r.can_undo || !r.sent_again) return false;
    if (recovery::all_duplicates(r)) return true;
    return ack.advanced && ack.delivered.repeated.any && (hot.flags & kHasTimestamps) != 0 &&
           segment.has_timestamps && seq_lt(segment.ts_echo, r.retransmit_timestamp);
}

void TcpCore::ack_in_loss(Hot& hot, Cold& cold, const TcpSegment& segment, AckOf& ack) noexcept {
    Recovery& r = cold.recovery;
    const bool probing = r.frto == Frto::kProbing;
    if (shown_spurious(hot, cold, segment, ack) || frto_shows_spurious(hot, cold, ack)) {
        undo_recovery(hot, cold);
        return;
    }
    if (seq_ge(hot.snd_una, cold.recover)) {
        leave_recovery(hot, cold);
        return;
    }
    if (r.frto == Frto::kProbing) {
        hot.cwnd = in_network(hot, cold) + 2u * hot.mss;  // new data, not what may have arrived
    } else if (probing) {
        hot.cwnd = 3u * hot.mss;  // RFC 5682, 2.1, step 3a: it was a loss
    } else {
        if ((hot.flags & kSack) != 0) ack.wait_us = find_losses(hot, cold);
        congestion::on_ack(hot, cold, options_.congestion_control, ack.delivered.bytes, ack.flight,
                           now_us());
    }
    mark_dirty(hot);
}

// RFC 5682: what arrives after a timeout and was sent once was only late. A peer without SACK says
// so only when its ACK covers nothing that was sent again.
bool TcpCore::frto_shows_spurious(const Hot& hot, Cold& cold, const AckOf& ack) const noexcept {
    Recovery& r = cold.recovery;
    if (r.frto == Frto::kOff || !r.can_undo) return false;
    const bool first_ones =
        ack.delivered.before_recover && ((hot.flags & kSack) != 0 || !ack.delivered.repeated.any);
    if (first_ones) return true;
    const bool more = seq_lt(hot.snd_nxt, hot.snd_una + hot.sq_bytes);
    if (r.frto == Frto::kWaiting && ack.advanced && more &&
        hot.snd_wnd > hot.snd_nxt - hot.snd_una) {
        r.frto = Frto::kProbing;
    } else if (ack.advanced || ack.duplicate || ack.delivered.sacked_bytes > 0) {
        r.frto = Frto::kOff;
    }
    return false;
}

// The peer got a packet that a router had marked: as a loss, but nothing is to be sent again.
void TcpCore::take_congestion_echo(Hot& hot, Cold& cold, uint32_t flight) noexcept {
    if (cold.recovery.phase != Phase::kOpen) return;
    if (!ecn::on_echo(cold.ecn, hot.snd_una, hot.snd_nxt)) return;
    count(Counter::tcp_ecn_reductions);
    congestion::reduce(hot, cold, options_.congestion_control, std::max(flight, hot.cwnd / 2));
    hot.cwnd = std::min(hot.cwnd, hot.ssthresh);
}

void TcpCore::leave_recovery(Hot& hot, Cold& cold) noexcept {
    Recovery& r = cold.recovery;
    r.phase = Phase::kOpen;
    r.frto = Frto::kOff;
    r.undo_until = hot.snd_nxt;
    hot.flags &= ~kRecovery;
    hot.dup_acks = 0;
    if ((hot.flags & kSack) == 0) cold.board.sacked_bytes = 0;
    rack::on_recovery_end(cold.rack);
    mark_dirty(hot);
}

void TcpCore::undo_recovery(Hot& hot, Cold& cold) noexcept {
    Recovery& r = cold.recovery;
    count(Counter::tcp_spurious_recoveries);
    scoreboard::clear_lost(cold.board, sent_pool_);
    hot.cwnd = std::max(hot.cwnd, r.prior_cwnd);
    hot.ssthresh = std::max(hot.ssthresh, r.prior_ssthresh);
    congestion::undo(cold);
    r.can_undo = false;
    leave_recovery(hot, cold);
}

}  // namespace cachee::net
