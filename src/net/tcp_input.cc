// SPDX-License-Identifier: Apache-2.0
// Segments that belong to a session and that header prediction (tcp_fast.cc) did not take: the
// order of checks of RFC 9293, 3.10.7.4, with RFC 5961's answers to what an attacker might have
// sent. Worker thread only.
#include <algorithm>
#include <cstring>

#include "net/congestion.h"
#include "net/receive_queue.h"
#include "net/send_queue.h"
#include "net/tcp_core.h"

namespace cachee::net {

using io::CloseReason;
using io::EventKind;
using stats::Counter;

void TcpCore::input_session(Hot& hot, TcpSegment segment) noexcept {
    if (hot.state == State::kSynSent) {
        input_syn_sent(hot, segment);
        return;
    }
    if ((segment.flags & kRst) == 0 && timestamp_too_old(hot, segment)) {
        count(Counter::drop_out_of_window);
        note_duplicate(hot, segment);
        owe_ack_now(hot);
        return;
    }
    if (!acceptable(hot, segment)) {
        count(Counter::drop_out_of_window);
        if ((segment.flags & kRst) == 0) {
            note_duplicate(hot, segment);
            owe_ack_now(hot);
        }
        return;
    }
    if (take_rst_or_syn(hot, segment)) return;
    if ((segment.flags & kAck) == 0) {
        count(Counter::drop_unexpected);
        return;
    }
    const bool fits = seq_le(segment.seq, hot.rcv_acked);
    if (segment.has_timestamps && fits && seq_ge(segment.ts_value, hot.ts_recent)) {
        hot.ts_recent = segment.ts_value;
    }
    if ((hot.flags & kEcn) != 0 && ecn::on_segment(cold_of(hot).ecn, segment.flags)) {
        count(Counter::tcp_ecn_marks);
    }
    hot.heard_tick = now_tick_;
    cold_of(hot).keepalives = 0;
    if (std::memcmp(hot.mac.data(), segment.src_mac, 6) != 0) {
        std::memcpy(hot.mac.data(), segment.src_mac, 6);  // the next hop moved
    }
    if (!process_ack(hot, segment)) return;
    if (hot.state == State::kDone) return;
    if (segment.length() > 0) process_data(hot, segment);
    if (anything_due(hot) && hot.state != State::kZombie) mark_ready(hot);
}

bool TcpCore::timestamp_too_old(const Hot& hot, const TcpSegment& segment) const noexcept {
    if ((hot.flags & kHasTimestamps) == 0 || !segment.has_timestamps) return false;
    if (!seq_lt(segment.ts_value, hot.ts_recent)) return false;
    constexpr uint32_t kStaleTicks = 24u * 24 * 3600 * 953;  // 24 days (RFC 7323, 5.5)
    return now_tick_ - hot.heard_tick < kStaleTicks;
}

bool TcpCore::acceptable(const Hot& hot, const TcpSegment& segment) const noexcept {
    const uint32_t window = hot.rcv_edge - hot.rcv_nxt;
    const uint32_t length = segment.length();
    const uint32_t offset = segment.seq - hot.rcv_nxt;
    if (length == 0) return offset == 0 || offset < window;
    // With a closed window the data is trimmed away, but ACK and RST are still heard.
    if (offset == 0 || offset < window) return true;
    return static_cast<int32_t>(offset) < 0 && seq_gt(segment.seq + length, hot.rcv_nxt);
}

// RFC 5961, 3 and 4. True: the segment has been dealt with.
bool TcpCore::take_rst_or_syn(Hot& hot, const TcpSegment& segment) noexcept {
    if ((segment.flags & kRst) != 0) {
        if (segment.seq != hot.rcv_nxt) {
            challenge(hot);
            return true;
        }
        count(Counter::tcp_resets_in);
        finish(hot, CloseReason::kReset, true);
        return true;
    }
    if ((segment.flags & kSyn) == 0) return false;
    if (hot.state == State::kSynReceived && segment.seq == cold_of(hot).irs) {
        owe_ack_now(hot);  // simultaneous open: the peer's SYN again
        return true;
    }
    challenge(hot);
    return true;
}

void TcpCore::challenge(Hot& hot) noexcept {
    Cold& cold = cold_of(hot);
    const uint32_t gap = ticks_of_ms(options_.challenge_gap_ms);
    const bool soon = cold.challenge_tick != 0 && now_tick_ - cold.challenge_tick < gap;
    if (soon || !challenge_allowed()) {
        count(Counter::tcp_challenges_suppressed);
        return;
    }
    cold.challenge_tick = deadline_in(0);
    count(Counter::tcp_challenge_acks);
    owe_ack_now(hot);
}

// An ACK of its own at the next flush: it must not be merged with another one.
void TcpCore::owe_ack_now(Hot& hot) noexcept {
    constexpr uint8_t kOwedMax = 32;
    if (hot.acks_owed < kOwedMax) ++hot.acks_owed;
    mark_dirty(hot);
}

// False: the segment must not be looked at further.
bool TcpCore::process_ack(Hot& hot, const TcpSegment& segment) noexcept {
    Cold& cold = cold_of(hot);
    if (hot.state == State::kSynReceived ||
        (hot.state == State::kFinWait1 && hot.snd_una == cold.iss)) {
        if (seq_le(segment.ack, hot.snd_una) || seq_gt(segment.ack, hot.snd_max)) {
            send_rst_to(segment);
            return false;
        }
        if (hot.state == State::kSynReceived) hot.state = State::kEstablished;
        hot.flags |= kOpenedDue;
        count(Counter::tcp_opened);
        hot.snd_una = cold.iss + 1;
        if (seq_lt(hot.snd_nxt, hot.snd_una)) hot.snd_nxt = hot.snd_una;
        hot.snd_wl1 = segment.seq - 1;  // take the window below
        mark_dirty(hot);
    }
    if (seq_gt(segment.ack, hot.snd_max) ||
        seq_lt(segment.ack, hot.snd_una - std::max(cold.snd_wnd_max, 65535u))) {
        challenge(hot);  // RFC 5961, 5.2
        return false;
    }
    const uint32_t window = segment.window << hot.snd_scale;
    const bool in_flight = hot.snd_una != hot.snd_max;
    const uint32_t flight = hot.snd_nxt - hot.snd_una;
    if (seq_gt(segment.ack, hot.snd_una)) {
        acked(hot, segment.ack, segment);
        if (!fin_acked(hot)) return false;
    } else {
        const bool duplicate = segment.ack == hot.snd_una && segment.length() == 0 &&
                               window == hot.snd_wnd && in_flight && window != 0;
        const bool sack = (hot.flags & kSack) != 0;
        if (sack ? (segment.flags & kHasSack) != 0 : duplicate) {
            take_ack(hot, segment, duplicate);
            after_acked(hot);
        }
    }
    if ((hot.flags & kEcn) != 0 && (segment.flags & kEce) != 0) {
        take_congestion_echo(hot, cold, flight);
    }
    if (seq_ge(segment.ack, hot.snd_una) &&
        (seq_lt(hot.snd_wl1, segment.seq) ||
         (hot.snd_wl1 == segment.seq && seq_le(hot.snd_wl2, segment.ack)))) {
        take_window(hot, window);
        hot.snd_wl1 = segment.seq;
        hot.snd_wl2 = segment.ack;
    }
    return true;
}

void TcpCore::take_window(Hot& hot, uint32_t window) noexcept {
    Cold& cold = cold_of(hot);
    if (window != hot.snd_wnd) mark_dirty(hot);
    if (window == 0) cold.retries = 0;  // the peer lives, it just has no room
    if (hot.snd_wnd == 0 && window > 0 && hot.snd_max - hot.snd_una <= 1) {
        // The byte of the last probe may or may not have been kept: send from there again, now.
        scoreboard::clear(cold.board, sent_pool_);
        hot.flags &= ~(kRecords | kRttTiming);
        if (cold.recovery.phase != Phase::kOpen) leave_recovery(hot, cold);
        hot.snd_nxt = hot.snd_una;
        send_queue::rewind(hot, pool_);
        hot.backoff = 0;
        cold.retries = 0;
        hot.rtx_deadline = 0;
    }
    hot.snd_wnd = window;
    cold.snd_wnd_max = std::max(cold.snd_wnd_max, window);
}

// snd_una moves to ack. REQUIRES: snd_una < ack <= snd_max.
void TcpCore::acked(Hot& hot, uint32_t ack, const TcpSegment& segment) noexcept {
    Cold& cold = cold_of(hot);
    const bool sack = (hot.flags & kSack) != 0 && (segment.flags & kHasSack) != 0;
    if ((hot.flags & (kRecords | kTailProbe)) != 0 || sack) {
        take_ack(hot, segment, false);
        after_acked(hot);
        return;
    }
    // One segment was in flight, and nothing is missing.
    const uint32_t bytes = ack - hot.snd_una;
    if ((hot.flags & kRttTiming) == 0) {
        sample_timestamp(hot, segment, hot.backoff > 0);
    } else if (seq_ge(ack, hot.rtt_seq)) {
        hot.flags &= ~kRttTiming;
        rto::sample(hot, now_us() - hot.rtt_start_us);
        rack::on_rtt(cold.rack, now_us() - hot.rtt_start_us, now_us());
    }
    const uint32_t flight = hot.snd_nxt - hot.snd_una;
    acknowledge_bytes(hot, cold, ack);
    hot.dup_acks = 0;
    congestion::on_ack(hot, cold, options_.congestion_control, bytes, flight, now_us());
    AckOf moved_on;
    moved_on.advanced = true;
    set_timer_after_ack(hot, cold, moved_on);
    after_acked(hot);
}

void TcpCore::after_acked(Hot& hot) noexcept {
    if ((hot.flags & kWantWritable) != 0 && hot.sq_bytes <= options_.send_buffer_bytes_max / 2 &&
        (hot.flags & kStarved) == 0) {
        hot.flags &= ~kWantWritable;
        hot.flags |= kWritableDue;
    }
    if (hot.sq_bytes > 0 || (hot.flags & kFinQueued) != 0) mark_dirty(hot);
}

// What was sent again cannot be timed (Karn), but the echoed timestamp tells which transmission is
// meant. One from before the last timeout says more about lost ACKs than about the path, and is
// left out.
void TcpCore::sample_timestamp(Hot& hot, const TcpSegment& segment, bool backed_off) noexcept {
    const bool useful = backed_off || hot.srtt_us == 0;
    if (!useful || !segment.has_timestamps || segment.ts_echo == 0) return;
    if (backed_off && seq_lt(segment.ts_echo, cold_of(hot).timeout_timestamp)) return;
    const uint32_t ticks = timestamp_now() - segment.ts_echo;
    constexpr uint32_t kTicksMax = 120'000;
    if (ticks < kTicksMax) rto::sample(hot, (ticks + 1) * kTickUs);
}

// Moves the state on when the ACK covers our FIN; false when the connection is over.
bool TcpCore::fin_acked(Hot& hot) noexcept {
    const bool all = hot.sq_bytes == 0 && hot.snd_una == hot.snd_max;
    if ((hot.flags & kFinQueued) == 0 || !all || (hot.flags & kFinSent) == 0) return true;
    const bool local = (hot.flags & kLingering) != 0;
    switch (hot.state) {
        case State::kFinWait1:
            hot.state = State::kFinWait2;
            if (local) {
                cold_of(hot).linger_deadline = deadline_in(ticks_of_ms(options_.fin_wait_2_ms));
            }
            return true;
        case State::kClosing:
            finish_into_time_wait(hot);
            return false;
        case State::kLastAck:
            finish(hot, local ? CloseReason::kLocal : CloseReason::kPeer, local);
            return false;
        default:
            return true;
    }
}

void TcpCore::process_data(Hot& hot, TcpSegment& segment) noexcept {
    const bool receiving = hot.state == State::kEstablished || hot.state == State::kFinWait1 ||
                           hot.state == State::kFinWait2;
    if (!receiving) {
        count(Counter::drop_out_of_window);  // past the peer's FIN
        owe_ack_now(hot);
        return;
    }
    if (seq_lt(segment.seq, hot.rcv_nxt)) {
        const uint32_t old = hot.rcv_nxt - segment.seq;
        const uint32_t cut = std::min(old, segment.size);
        note_duplicate(hot, segment);
        segment.data += cut;
        segment.size -= cut;
        segment.seq += old;
        owe_ack_now(hot);
    }
    const uint32_t room = hot.rcv_edge - segment.seq;
    if (segment.size > room) {
        segment.size = room;
        segment.flags &= static_cast<uint8_t>(~kFin);
        owe_ack_now(hot);
    }
    Cold& cold = cold_of(hot);
    if ((segment.flags & kFin) != 0 && (hot.flags & kFinSeen) == 0) {
        hot.flags |= kFinSeen;
        cold.rcv_fin_seq = segment.seq + segment.size;
        receive_blocks_ -= cold.rq_blocks;
        receive_queue::truncate(cold, pool_, cold.rcv_fin_seq);
        receive_blocks_ += cold.rq_blocks;
        if (cold.rq_head == kNoBlock) hot.flags &= ~kStored;
    }
    if ((hot.flags & kFinSeen) != 0 && seq_gt(segment.seq + segment.size, cold.rcv_fin_seq)) {
        const uint32_t excess = segment.seq + segment.size - cold.rcv_fin_seq;
        segment.size -= std::min(excess, segment.size);
    }
    if (segment.size > 0) store_data(hot, segment);
    if ((hot.flags & kFinSeen) != 0 && hot.rcv_nxt == cold.rcv_fin_seq) process_fin(hot);
}

// Bytes that were acknowledged already came again: the next ACK says so (RFC 2883).
void TcpCore::note_duplicate(Hot& hot, const TcpSegment& segment) noexcept {
    if ((hot.flags & kSack) == 0 || segment.size == 0) return;
    if (!seq_lt(segment.seq, hot.rcv_nxt)) return;
    const uint32_t end = seq_min(segment.seq + segment.size, hot.rcv_nxt);
    if (hot.rcv_nxt - segment.seq > kDuplicateAgeMax) return;  // says nothing useful to the peer
    sack_blocks::note_duplicate(cold_of(hot).sack, segment.seq, end);
}

// In order and not paused: an event straight from the frame. Otherwise a copy.
void TcpCore::store_data(Hot& hot, const TcpSegment& segment) noexcept {
    Cold& cold = cold_of(hot);
    const bool in_order = segment.seq == hot.rcv_nxt;
    if (in_order && (hot.flags & kLingering) != 0) {
        hot.rcv_nxt += segment.size;  // nobody will read it
        hot.rcv_read = hot.rcv_nxt;
        hot.flags |= kAckDelayed;
        mark_dirty(hot);
        return;
    }
    const bool direct = in_order && hot.rcv_read == hot.rcv_nxt && event_room() &&
                        (hot.flags & (kPaused | kReady | kOpenedDue)) == 0;
    if (direct) {
        emit(hot, EventKind::kData, segment.data, segment.size);
        hot.rcv_nxt += segment.size;
        hot.rcv_read = hot.rcv_nxt;
    } else {
        // Small pieces take a whole block each, so blocks are what is counted, not bytes. What
        // comes in order is never refused for what waits behind it: it fills the block before it,
        // so that the window bounds it, and without it nothing would move.
        const uint32_t unread = hot.rcv_nxt - hot.rcv_read;
        const uint32_t blocks_max =
            in_order ? pool_.blocks_max()
                     : std::min((unread + options_.out_of_order_bytes_max) / kBlockDataBytes + 2,
                                out_of_order_room(cold));
        const uint32_t held =
            in_order ? 0
                     : receive_queue::held(cold, pool_, segment.seq, segment.seq + segment.size);
        if (held != 0) sack_blocks::note_duplicate(cold.sack, segment.seq, segment.seq + held);
        const bool stored = insert_received(cold, segment, blocks_max);
        if (cold.rq_head != kNoBlock) hot.flags |= kStored;
        if (!in_order && stored) sack_blocks::note_arrival(cold.sack, segment.seq);
    }
    if (!in_order) {
        count(Counter::tcp_out_of_order);
        owe_ack_now(hot);
        return;
    }
    if ((hot.flags & kStored) == 0) {
        hot.flags |= kAckDelayed;
        mark_dirty(hot);
        return;
    }
    // A gap may have closed: acknowledge at once (RFC 5681, 4.2).
    hot.rcv_nxt = receive_queue::contiguous_end(cold, pool_, hot.rcv_nxt);
    owe_ack_now(hot);
    if ((hot.flags & kPaused) == 0) mark_ready(hot);
}

void TcpCore::process_fin(Hot& hot) noexcept {
    ++hot.rcv_nxt;
    hot.flags |= kFinReceived;
    if ((hot.flags & kStored) == 0) hot.rcv_read = hot.rcv_nxt;
    if ((hot.flags & kLingering) == 0) {
        hot.flags |= kEofDue;
        mark_ready(hot);
    }
    owe_ack_now(hot);
    switch (hot.state) {
        case State::kEstablished:
            hot.state = State::kCloseWait;
            break;
        case State::kFinWait1:
            hot.state = State::kClosing;
            break;
        case State::kFinWait2:
            send_ack(hot, hot.snd_max);
            finish_into_time_wait(hot);
            break;
        default:
            break;
    }
}

}  // namespace cachee::net
