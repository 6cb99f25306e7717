// SPDX-License-Identifier: Apache-2.0
// The usual segment, in and out, in one translation unit so that the compiler sees all of it: a
// burst parsed and looked up, header prediction for what comes in order, and a reply that fits one
// segment. Nothing is decided here that the general path would decide otherwise: each function
// first checks that nothing unusual is due, and leaves all else to tcp_input.cc and tcp_output.cc.
// Worker thread only.
#include <algorithm>

#include "base/copy.h"
#include "net/congestion.h"
#include "net/send_queue.h"
#include "net/tcp_core.h"

namespace cachee::net {

using io::EventKind;
using stats::Counter;

// Two passes, so that the table's lines arrive while later headers are still being parsed.
[[gnu::always_inline]] inline void TcpCore::receive_burst(size_t room) noexcept {
    const size_t count_in = interface_.receive(held_.data(), std::min(room, kBurst));
    held_count_ = count_in;
    if (count_in == 0) return;
    uint64_t bytes = 0;
    for (size_t i = 0; i < count_in; ++i) {
        bytes += held_[i].size;
        if (interface_.is_usual(held_[i])) [[likely]] {
            received_[i] = Received::kUsual;
            keys_[i] = UsualSegment(held_[i].data).key();
            homes_[i] = table_.prefetch(keys_[i]);
        } else {
            look_up_other(i);
        }
    }
    uint64_t predicted = 0;
    for (size_t i = 0; i < count_in; ++i) {
        if (received_[i] == Received::kUsual) [[likely]] {
            predicted += input_usual(i) ? 1 : 0;
        } else {
            input_other(i);
        }
    }
    stats::WorkerCounters& counters = *counters_;
    counters.add(Counter::frames_in, count_in);
    counters.add(Counter::frame_bytes_in, bytes);
    counters.add(Counter::tcp_fast_path, predicted);
}

// First pass, frames of any other shape.
void TcpCore::look_up_other(size_t i) noexcept {
    TcpSegment& segment = segments_[i];
    received_[i] = interface_.handle(held_[i], now_tick_, segment);
    if (received_[i] == Received::kNone) return;
    const bool ipv6 = received_[i] == Received::kIpv6;
    if (ipv6) hash_addresses(segment);
    keys_[i] = connection_key(segment.src_ip, segment.src_port, segment.dst_port);
    homes_[i] = (ipv6 ? table_ipv6_ : table_).prefetch(keys_[i]);
}

void TcpCore::input_other(size_t i) noexcept {
    if (received_[i] == Received::kIpv4) {
        input(segments_[i], keys_[i], table_.find_from(homes_[i], keys_[i]));
    } else if (received_[i] == Received::kIpv6) {
        input(segments_[i], keys_[i], find_ipv6(homes_[i], keys_[i], pair_of(segments_[i])));
    }
}

// True: it took the fast path.
[[gnu::always_inline]] inline bool TcpCore::input_usual(size_t i) noexcept {
    const uint32_t id = table_.find_from(homes_[i], keys_[i]);
    const UsualSegment usual(held_[i].data);
    if (id < half_base_ && input_fast(id, usual)) [[likely]]
        return true;
    input_usual_slowly(i, id);
    return false;
}

void TcpCore::input_usual_slowly(size_t i, uint32_t id) noexcept {
    if (id < half_base_) {
        input_session(hot_[id], UsualSegment(held_[i].data).whole());
        return;
    }
    TcpSegment segment;
    if (interface_.handle(held_[i], now_tick_, segment) == Received::kIpv4)
        input(segment, keys_[i], id);
}

// Segments of any other shape, IPv6 and tagged ones among them.
void TcpCore::input(const TcpSegment& segment, ConnectionKey key, uint32_t id) noexcept {
    if (id < half_base_) {
        if (input_fast(id, ParsedSegment(segment))) {
            count(Counter::tcp_fast_path);
        } else {
            input_session(hot_[id], segment);
        }
    } else if (id == ConnectionTable::kNone) {
        input_no_connection(segment, key);
    } else if (id < wait_base_) {
        input_half_open(id, segment);
    } else {
        input_time_wait(id, segment);
    }
}

// Header prediction (RFC 1122 era, Van Jacobson): the next bytes in order, or an ACK of what is in
// flight, with nothing unusual anywhere. False: nothing was done.
template <typename Segment>
inline bool TcpCore::input_fast(uint32_t index, Segment segment) noexcept {
    Hot& hot = hot_[index];
    constexpr uint32_t kSlowFlags = kStored | kPaused | kReady | kRecovery | kFinQueued |
                                    kFinReceived | kFinSeen | kLingering | kPersist | kRecords |
                                    kTailProbe | kStalled;
    const uint32_t flags = hot.flags;
    if (hot.state != State::kEstablished || (flags & kSlowFlags) != 0) return false;
    const uint32_t seq = segment.seq();
    if ((segment.flags() & ~kPsh) != kAck || seq != hot.rcv_nxt) return false;
    const bool timestamps = (flags & kHasTimestamps) != 0;
    if (timestamps != segment.has_timestamps()) return false;
    if (timestamps) [[likely]]
        return input_in_order<true>(hot, index, segment);
    return input_in_order_plain(hot, index, segment);
}

// As above, from where it is known whether there are timestamps.
template <bool kTimestamps, typename Segment>
inline bool TcpCore::input_in_order(Hot& hot, uint32_t index, Segment segment) noexcept {
    const uint32_t seq = hot.rcv_nxt;
    if (kTimestamps && seq_lt(segment.ts_value(), hot.ts_recent)) return false;
    const uint32_t size = segment.size(kTimestamps);
    if (size > hot.rcv_edge - seq) return false;
    const uint32_t ack = segment.ack();
    const uint32_t newly_acked = ack - hot.snd_una;
    if (newly_acked > hot.snd_nxt - hot.snd_una) return false;  // old, or never sent
    // A pure ACK that moves nothing may be a duplicate or a window update.
    if ((size | newly_acked) == 0) return false;
    CACHEE_DASSERT(event_room());  // each frame of the burst has one event
    if (kTimestamps && hot.rcv_acked == seq) hot.ts_recent = segment.ts_value();
    // One round trip a tick is timed: more of them would say the same to RFC 6298.
    const bool timed = hot.heard_tick != now_tick_;
    hot.heard_tick = now_tick_;
    hot.snd_wnd = segment.window() << hot.snd_scale;
    hot.snd_wl1 = seq;
    hot.snd_wl2 = ack;
    if (newly_acked != 0 && !acked_fast(hot, index, ack, timed)) [[unlikely]]
        acked_by(hot, ack, segment);
    if (size > 0) {
        hot.rcv_nxt = seq + size;
        hot.rcv_read = seq + size;
        emit(index, EventKind::kData, segment.data(kTimestamps), size);
        hot.flags |= kAckDelayed;
        mark_dirty(hot, index);
    }
    return true;
}

template <typename Segment>
bool TcpCore::input_in_order_plain(Hot& hot, uint32_t index, Segment segment) noexcept {
    return input_in_order<false>(hot, index, segment);
}

// All of a short send queue is acknowledged: what acked() comes down to then. False: it is more
// than that, and nothing was done. (What Cold has of retransmissions is 0 where `backoff` is.)
[[gnu::always_inline]] inline bool TcpCore::acked_fast(Hot& hot, uint32_t index, uint32_t ack,
                                                       bool timed) noexcept {
    constexpr uint32_t kSlowFlags = kRecovery | kFinQueued | kWantWritable | kReserved | kLent;
    const uint32_t bytes = ack - hot.snd_una;
    if ((hot.flags & kSlowFlags) != 0 || hot.sq_head != hot.sq_tail) return false;
    if (ack != hot.snd_max || bytes != hot.sq_bytes) return false;
    if (hot.backoff != 0 || hot.srtt_us == 0) return false;
    if ((hot.flags & kRttTiming) != 0) {
        hot.flags &= ~kRttTiming;
        if (timed) rto::sample(hot, now_us() - hot.rtt_start_us);
    }
    pool_.free(hot.sq_head);
    hot.sq_head = hot.sq_tail = hot.sq_next = kNoBlock;
    hot.sq_next_offset = 0;
    hot.sq_bytes = 0;
    hot.snd_una = ack;  // and so is snd_nxt, which lies between it and snd_max
    hot.dup_acks = 0;
    hot.rtx_deadline = 0;
    if (2ULL * bytes >= hot.cwnd) [[unlikely]]
        grow_window(hot, index, bytes);
    return true;
}

void TcpCore::grow_window(Hot& hot, uint32_t index, uint32_t bytes) noexcept {
    congestion::on_ack(hot, cold_[index], options_.congestion_control, bytes, bytes, now_us());
}

template <typename Segment>
void TcpCore::acked_by(Hot& hot, uint32_t ack, Segment segment) noexcept {
    acked(hot, ack, segment.whole());
    if ((hot.flags & kWritableDue) != 0) mark_ready(hot);
}

size_t TcpCore::poll(uint64_t now_ns, io::Event* events, size_t max) noexcept {
    CACHEE_ASSERT(held_count_ == 0);
    set_time(now_ns);
    event_next_ = events;
    event_end_ = events + max;
    size_t room = max;
    if (!ready_.empty()) [[unlikely]] {
        drain_ready();
        room = static_cast<size_t>(event_end_ - event_next_);
    }
    receive_burst(room);
    run_timers();
    if (interface_.resolutions() != resolutions_seen_) wake_resolved();
    if (!suspects_.empty() && buffers_low()) relieve_memory_cold();
    if (!starved_.empty()) wake_starved();
    drain_ready();
    return static_cast<size_t>(event_next_ - events);
}

void TcpCore::flush(uint64_t now_ns) noexcept {
    if (now_ns != now_ns_) set_time(now_ns);
    for (uint32_t left = dirty_.size(); left > 0; --left) {
        const uint32_t index = dirty_.front();
        Hot& hot = hot_[index];
        if (!output_fast(hot, cold_[index])) {
            if (!output(hot)) break;
            rearm(hot);
        }
        dirty_.pop();
        hot.flags &= ~kDirty;
    }
    interface_.push();
}

// For a segment behind others in flight.
bool TcpCore::record_room(Hot& hot, Cold& cold) noexcept {
    keep_records(hot, cold);
    return scoreboard::room(cold.board, sent_pool_, index_of(hot));
}

void TcpCore::note_another(Hot& hot, Cold& cold, uint32_t start, send_queue::Cursor at) noexcept {
    note_sent(hot, cold, start, at);
    set_retransmission_timer(hot, true);
}

// New data that fits one segment, one block and both windows, and an ACK with it. False: nothing
// was done.
[[gnu::always_inline]] inline bool TcpCore::output_fast(Hot& hot, Cold& cold) noexcept {
    constexpr uint32_t kSlowFlags =
        kEcn | kProbeDue | kFinQueued | kPersist | kRecovery | kIpv6 | kLent;
    const uint32_t flags = hot.flags;
    if (hot.state != State::kEstablished || (flags & kSlowFlags) != 0) return false;
    if (hot.acks_owed != 0 || hot.dup_acks != 0 || hot.snd_nxt != hot.snd_max) return false;
    const uint32_t flight = hot.snd_nxt - hot.snd_una;
    const uint32_t size = hot.sq_bytes - flight;
    if (size == 0 || size > hot.mss) return false;
    if (hot.sq_bytes > hot.cwnd || hot.sq_bytes > hot.snd_wnd) return false;
    // Idle for longer than the shortest timeout: the congestion window may have to be reset.
    if (flight == 0 && now_tick_ - cold.sent_tick > rto_min_ticks_) return false;
    const uint32_t from = hot.sq_next_offset;
    if (hot.sq_next != hot.sq_tail) return false;
    const Block& block = pool_.at(hot.sq_next);
    if (from + size != block.end) return false;
    if (flight != 0 && (cold.board.lost_bytes != 0 || !record_room(hot, cold))) return false;
    TxFrame* const frame = interface_.next_frame();
    if (frame == nullptr) return false;

    // Usually all was read and the window has not shrunk enough to be worth moving its edge.
    const uint32_t left = hot.rcv_edge - hot.rcv_nxt;
    const bool edge_stays =
        hot.rcv_read == hot.rcv_nxt && options_.receive_window_bytes - left < edge_slack_;
    const uint16_t window = edge_stays
                                ? static_cast<uint16_t>(std::min(left >> hot.rcv_scale, 65535u))
                                : advertise_cold(hot, cold);
    const bool timestamps = (flags & kHasTimestamps) != 0;
    base::copy_short(Interface::payload_of(*frame, timestamps ? 12 : 0), block.data + from, size);
    const PlainFields fields{.key = hot.key,
                             .dst_mac = hot.mac,
                             .seq = hot.snd_nxt,
                             .ack = hot.rcv_nxt,
                             .ts_echo = hot.ts_recent,
                             .ts_value = timestamp_now(),
                             .window = window,
                             .flags = kAck | kPsh};
    if (timestamps) [[likely]] {
        interface_.send_plain<true>(*frame, fields, size);
    } else {
        interface_.send_plain<false>(*frame, fields, size);
    }
    note_ack_sent(hot);

    hot.sq_next_offset = static_cast<uint16_t>(from + size);
    hot.snd_nxt += size;
    hot.snd_max = hot.snd_nxt;
    cold.sent_tick = deadline_in(0);
    if (flight == 0) [[likely]] {
        hot.flags |= kRttTiming;
        hot.rtt_seq = hot.snd_nxt;
        hot.rtt_start_us = now_us();
    } else {
        note_another(hot, cold, hot.snd_nxt - size, {hot.sq_next, from});
    }
    if (hot.rtx_deadline == 0) hot.rtx_deadline = deadline_in(rto_ticks(hot));
    // The wheel's node is no later than any other deadline already: they only moved later.
    if (hot.armed_tick == 0 || seq_gt(hot.armed_tick, hot.rtx_deadline)) [[unlikely]]
        rearm(hot);
    return true;
}

uint16_t TcpCore::advertise_cold(Hot& hot, const Cold& cold) noexcept {
    return advertise(hot, cold);
}

}  // namespace cachee::net
