// SPDX-License-Identifier: Apache-2.0
// Sending again: what was marked lost, tail loss probes (RFC 8985, 7), retransmission timeouts (RFC
// 6298), and the one timer that stands for all of them. Worker thread only.
#include <algorithm>

#include "net/congestion.h"
#include "net/tcp_core.h"

namespace cachee::net {

using io::CloseReason;
using stats::Counter;

// --- output

// What was marked lost goes first, as far as the congestion window lets it; one segment always may
// when nothing else is in the network.
bool TcpCore::retransmit_lost(Hot& hot) noexcept {
    Cold& cold = cold_of(hot);
    if (cold.recovery.frto == Frto::kProbing) return true;
    uint32_t i = scoreboard::first_lost(cold.board, sent_pool_);
    while (i != kNoRecord && cold.board.lost_bytes > 0) {
        if (sent_pool_.at(i).is(SentSegment::kLost)) {
            const uint32_t size = std::min<uint32_t>(sent_pool_.at(i).size(), hot.mss);
            const uint32_t out = in_network(hot, cold);
            if (out > 0 && out + size > hot.cwnd) return true;
            if (!send_again(hot, cold, i)) return false;
        }
        i = sent_pool_.at(i).next;
    }
    return true;
}

// One record, or its first segment. False: no transmit frame.
bool TcpCore::send_again(Hot& hot, Cold& cold, uint32_t index) noexcept {
    const uint32_t data_end = hot.snd_una + hot.sq_bytes;
    if (sent_pool_.at(index).size() > hot.mss) {
        // Without a record to spare it goes out whole.
        scoreboard::split(cold.board, sent_pool_, pool_, index_of(hot), index,
                          sent_pool_.at(index).start + hot.mss);
    }
    SentSegment& segment = sent_pool_.at(index);
    send_queue::Cursor cursor = segment.at;
    uint32_t at = segment.start;
    const bool fin = seq_gt(segment.end, data_end);
    const uint32_t end = fin ? data_end : segment.end;
    do {
        const uint32_t size = std::min<uint32_t>(end - at, hot.mss);
        if (!send_data(hot, at, size, fin && at + size == end, cursor)) return false;
        at += size;
        count(Counter::tcp_retransmits);
    } while (at != end);
    if (cold.recovery.phase == Phase::kRecovery) count(Counter::tcp_fast_retransmits);
    recovery::note_sent_again(cold.recovery, segment.size(), timestamp_now());
    scoreboard::sent_again(cold.board, segment, now_us());
    if (index == cold.board.head) arm_retransmission(hot, cold, true);
    return true;
}

// --- the timer

// A probe is worth sending when its answer can tell something: SACK, and nothing is known to be
// missing.
bool TcpCore::tail_probe_wanted(const Hot& hot, const Cold& cold) const noexcept {
    const Recovery& r = cold.recovery;
    return (hot.flags & kSack) != 0 && r.phase == Phase::kOpen && (hot.flags & kTailProbe) == 0 &&
           cold.board.sacked_segments == 0 && hot.srtt_us != 0 && hot.backoff == 0 &&
           hot.snd_wnd > 0;
}

// The retransmission timer, or the probe timer before it. `restart`: an ACK moved on, or something
// was sent again, so the timeout counts from now.
void TcpCore::arm_retransmission(Hot& hot, Cold& cold, bool restart) noexcept {
    Recovery& r = cold.recovery;
    const uint32_t timeout = deadline_in(hot.snd_wnd == 0 ? probe_ticks(hot) : rto_ticks(hot));
    if (restart || r.timeout_deadline == 0) r.timeout_deadline = timeout;
    r.timer = Timer::kRetransmission;
    hot.rtx_deadline = r.timeout_deadline;
    if ((hot.flags & kRecords) == 0 || !tail_probe_wanted(hot, cold)) return;
    // RFC 8985, 7.2. With one segment the peer may be waiting to acknowledge two.
    const uint32_t wait_us =
        2 * hot.srtt_us + (cold.board.segments == 1 ? rto_limits_.min_us : kTickUs);
    const uint32_t probe = deadline_in(ticks_of_us(wait_us));
    r.timer = Timer::kTailProbe;
    if (seq_lt(probe, hot.rtx_deadline)) hot.rtx_deadline = probe;
}

void TcpCore::set_timer_after_ack(Hot& hot, Cold& cold, const AckOf& ack) noexcept {
    Recovery& r = cold.recovery;
    if (hot.snd_una == hot.snd_max) {
        hot.rtx_deadline = 0;
        r.timeout_deadline = 0;
        r.timer = Timer::kRetransmission;
    } else if ((hot.flags & kRecords) == 0) {
        if (ack.advanced) arm_retransmission(hot, cold, true);
    } else if (sent_pool_.at(cold.board.head).is(SentSegment::kSacked)) {
        // The peer does not acknowledge what it said it has: soon it is not believed any more.
        const uint32_t patience = ticks_of_us(std::max(hot.srtt_us / 2, kRenegingUs));
        if (!r.head_reneged) hot.rtx_deadline = deadline_in(patience);
        r.head_reneged = true;
        r.timer = Timer::kRetransmission;
        return;
    } else if (ack.wait_us > 0) {
        if (ack.advanced || r.timeout_deadline == 0) {
            r.timeout_deadline = deadline_in(rto_ticks(hot));
        }
        r.timer = Timer::kReordering;
        hot.rtx_deadline = deadline_in(ticks_of_us(ack.wait_us));
    } else if (ack.advanced && !ack.keep_timer) {
        arm_retransmission(hot, cold, true);
    } else if (r.timer == Timer::kReordering) {
        arm_retransmission(hot, cold, false);
    }
    r.head_reneged = false;
}

// --- what time brings

// Something is in flight, and rtx_deadline has passed.
void TcpCore::on_retransmission_timer(Hot& hot) noexcept {
    Cold& cold = cold_of(hot);
    if (syn_in_flight(hot)) {
        on_handshake_timeout(hot, cold);
        return;
    }
    const bool alone = (hot.flags & kRecords) == 0;
    keep_records(hot, cold);
    const Timer timer = cold.recovery.timer;
    cold.recovery.timer = Timer::kRetransmission;
    if ((hot.flags & kRecords) == 0) {  // a window probe's byte is to be sent anew
        if (hot.snd_wnd == 0) hot.flags |= kProbeDue;
        mark_dirty(hot);
        return;
    }
    if (timer == Timer::kReordering) {
        on_reordering_timer(hot, cold);
        return;
    }
    note_stall(hot);
    // One that answers, but takes nothing; one that does not answer has its own limit.
    if ((cold.retries == 0 || hot.snd_wnd == 0) && too_slow(hot)) {
        close_slow_reader(hot, Counter::tcp_slow_readers);
    } else if ((timer == Timer::kTailProbe || alone) && tail_probe_wanted(hot, cold)) {
        send_tail_probe(hot, cold);
    } else {
        on_retransmission_timeout(hot, cold);
    }
}

// The reordering window is over: what is still missing is lost.
void TcpCore::on_reordering_timer(Hot& hot, Cold& cold) noexcept {
    AckOf none;
    none.flight = hot.snd_nxt - hot.snd_una;
    none.sacked_before = cold.board.sacked_bytes;
    none.lost_before = cold.board.lost_bytes;
    const uint32_t wait_us = find_losses(hot, cold);
    const bool found = cold.board.lost_bytes > none.lost_before;
    if (found && cold.recovery.phase == Phase::kOpen) enter_recovery(hot, cold, none);
    if (found) mark_dirty(hot);
    arm_retransmission(hot, cold, false);
    if (wait_us == 0) return;
    cold.recovery.timer = Timer::kReordering;
    hot.rtx_deadline = deadline_in(ticks_of_us(wait_us));
}

// New data if there is some, else the last segment again: the answer shows what is missing, so that
// RACK repairs it and no timeout has to.
void TcpCore::send_tail_probe(Hot& hot, Cold& cold) noexcept {
    Recovery& r = cold.recovery;
    const uint32_t flight = hot.snd_nxt - hot.snd_una;
    const uint32_t unsent = hot.sq_bytes > flight ? hot.sq_bytes - flight : 0;
    const uint32_t window = hot.snd_wnd > flight ? hot.snd_wnd - flight : 0;
    const uint32_t fresh = std::min({unsent, window, uint32_t{hot.mss}});
    bool sent = false;
    bool repeated = false;
    if (fresh > 0 && scoreboard::room(cold.board, sent_pool_, index_of(hot))) {
        sent = send_next(hot, fresh, false);
    } else {
        const SentSegment& tail = sent_pool_.at(cold.board.tail);
        if (tail.size() > hot.mss) {
            scoreboard::split(cold.board, sent_pool_, pool_, index_of(hot), cold.board.tail,
                              tail.end - hot.mss);
        }
        const Recovery before = r;  // a probe is no part of a recovery
        sent = send_again(hot, cold, cold.board.tail);
        r = before;
        repeated = true;
    }
    if (sent) {
        count(Counter::tcp_tail_probes);
        hot.flags |= kTailProbe;
        r.probe_repeated = repeated;
        r.probe_end = hot.snd_nxt;
    } else {
        count(Counter::drop_no_buffer);
    }
    r.timer = Timer::kRetransmission;
    r.timeout_deadline = hot.rtx_deadline = deadline_in(rto_ticks(hot));
}

void TcpCore::on_handshake_timeout(Hot& hot, Cold& cold) noexcept {
    if (cold.retries >= options_.syn_retransmissions_max) {
        count(Counter::tcp_timeouts);
        finish(hot, CloseReason::kTimeout, true);
        return;
    }
    count(Counter::tcp_rto);
    ++cold.retries;
    if (hot.backoff < 16) ++hot.backoff;
    hot.snd_nxt = hot.snd_una;
    mark_dirty(hot);
}

void TcpCore::on_retransmission_timeout(Hot& hot, Cold& cold) noexcept {
    if (cold.retries >= options_.retransmissions_max) {
        count(Counter::tcp_timeouts);
        send_reset(hot);
        finish(hot, CloseReason::kTimeout, true);
        return;
    }
    count(Counter::tcp_rto);
    const bool first = cold.retries == 0;
    ++cold.retries;
    if (hot.backoff < 16) ++hot.backoff;
    hot.dup_acks = 0;
    mark_dirty(hot);
    // The next hop may have moved; the cache asks again when its entry is old.
    if (cold.retries >= 2) {
        MacAddress mac;
        if (resolve_peer(hot, mac)) hot.mac = mac;
    }
    suspect_black_hole(hot);
    Recovery& r = cold.recovery;
    hot.flags &= ~kTailProbe;
    r.timeout_deadline = 0;
    cold.timeout_timestamp = timestamp_now();
    mark_lost_on_timeout(hot, cold);
    if (hot.snd_wnd == 0) return;  // a window probe, or data sent before the window closed
    const uint32_t flight = hot.snd_nxt - hot.snd_una;
    if (r.phase != Phase::kLoss) {
        // RFC 5682, 3.1: not while an earlier timeout is being recovered from.
        r.frto = first ? Frto::kWaiting : Frto::kOff;
        if (r.phase == Phase::kOpen) {
            recovery::remember_for_undo(r, hot.snd_una, hot.cwnd, hot.ssthresh);
            congestion::reduce(hot, cold, options_.congestion_control, flight);
            if ((hot.flags & kEcn) != 0) ecn::on_loss(cold.ecn, hot.snd_nxt);
        }
    } else {
        r.frto = Frto::kOff;
        r.can_undo = r.can_undo && first;
    }
    r.phase = Phase::kLoss;
    hot.flags |= kRecovery;
    cold.recover = hot.snd_nxt;
    hot.cwnd = in_network(hot, cold) + hot.mss;
}

// With SACK what was sent long enough ago; without it everything. The peer's reports are thrown
// away when it seems to have thrown away the data (RFC 2018, 8).
void TcpCore::mark_lost_on_timeout(Hot& hot, Cold& cold) noexcept {
    const bool reneged = sent_pool_.at(cold.board.head).is(SentSegment::kSacked);
    if ((hot.flags & kSack) == 0) cold.board.sacked_bytes = 0;
    if (reneged || cold.retries > 1) {
        if (reneged) count(Counter::tcp_reneged);
        scoreboard::forget_sacked(cold.board, sent_pool_);
    }
    cold.recovery.head_reneged = false;
    if ((hot.flags & kSack) == 0 || reneged || cold.retries > 1) {
        scoreboard::mark_all_lost(cold.board, sent_pool_);
        return;
    }
    const uint32_t window_us =
        rack::reordering_window_us(cold.rack, hot.srtt_us, true, cold.board.sacked_segments);
    rack::mark_losses_on_timeout(cold.rack, cold.board, sent_pool_, now_us(), window_us);
}

}  // namespace cachee::net
