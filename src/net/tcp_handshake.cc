// SPDX-License-Identifier: Apache-2.0
// How connections begin (half-open entries for passive opens, sessions for active ones), and the
// answer to segments that belong to none. SYN cookies are in tcp_limits.cc. Worker thread only.
#include <algorithm>
#include <cstring>

#include "net/congestion.h"
#include "net/tcp_core.h"

namespace cachee::net {

using io::CloseReason;
using stats::Counter;

namespace {

constexpr uint16_t kMssDefault = 536;  // RFC 9293, 3.7.1
constexpr uint16_t kMssDefaultIpv6 = 1220;
constexpr uint16_t kMssMin = 64;  // below it, headers would be all we send

}  // namespace

// RFC 6528: a clock of 4 us per step plus a keyed function of the addresses.
uint32_t TcpCore::initial_sequence(ConnectionKey key) const noexcept {
    return static_cast<uint32_t>(now_ns_ >> 12) +
           static_cast<uint32_t>(siphash_128(isn_key_, key, options_.local_ip));
}

uint16_t TcpCore::our_mss(bool ipv6) const noexcept {
    return static_cast<uint16_t>(std::min<uint32_t>(interface_.port_info().mtu, 65535) -
                                 (ipv6 ? kIpv6Bytes : kIpv4Bytes) - kTcpBytes);
}

uint16_t TcpCore::effective_mss(uint16_t peer_mss, bool timestamps, bool ipv6) const noexcept {
    const uint16_t unannounced = ipv6 ? kMssDefaultIpv6 : kMssDefault;
    const uint16_t offered = peer_mss == 0 ? unannounced : std::max(peer_mss, kMssMin);
    return static_cast<uint16_t>(std::min(offered, our_mss(ipv6)) - (timestamps ? 12 : 0));
}

uint8_t TcpCore::our_scale() const noexcept {
    uint8_t scale = 0;
    while ((options_.receive_window_bytes >> scale) > 65535) ++scale;
    return scale;
}

void TcpCore::input_no_connection(const TcpSegment& segment, ConnectionKey key) noexcept {
    if ((segment.flags & kRst) != 0) {
        count(Counter::drop_unexpected);
        return;
    }
    const bool listening = options_.listen_port != 0 && segment.dst_port == options_.listen_port;
    if (listening && (segment.flags & (kSyn | kAck | kFin)) == kSyn) {
        input_syn(segment, key);
        return;
    }
    if (listening && (segment.flags & (kSyn | kAck)) == kAck && input_cookie(segment, key)) return;
    count(Counter::drop_no_listener);
    send_rst_to(segment);
}

// RFC 9293, 3.5.2: so that whatever sent this segment believes it.
void TcpCore::send_rst_to(const TcpSegment& segment) noexcept {
    if ((segment.flags & kRst) != 0) return;
    if (!reset_limit_.allow(now_tick_)) {
        count(Counter::tcp_resets_suppressed);
        return;
    }
    TxFrame* frame = interface_.tx_frame();
    if (frame == nullptr) {
        count(Counter::drop_no_buffer);
        return;
    }
    SegmentFields fields;
    std::memcpy(fields.dst_mac.data(), segment.src_mac, 6);
    fields.remote_ip = segment.src_ip;
    fields.remote_port = segment.src_port;
    fields.local_port = segment.dst_port;
    Ipv6Pair pair;
    fields.ipv6 = pair_in(segment, pair);
    if ((segment.flags & kAck) != 0) {
        fields.seq = segment.ack;
        fields.flags = kRst;
    } else {
        fields.ack = segment.seq + segment.length();
        fields.flags = kRst | kAck;
    }
    interface_.send_segment(*frame, fields, 0);
    count(Counter::tcp_resets_out);
}

// --- passive open

void TcpCore::input_syn(const TcpSegment& segment, ConnectionKey key,
                        const TimeWait* before) noexcept {
    if (free_sessions_.size() == 0) {
        count(Counter::drop_table_full);
        count(Counter::sessions_refused);
        return;
    }
    HalfOpen half;
    half.key = key;
    std::memcpy(half.mac.data(), segment.src_mac, 6);
    half.mss = segment.mss;
    half.iss = initial_sequence(key);
    half.irs = segment.seq;
    half.ts_recent = segment.ts_value;
    half.window = segment.window;
    half.window_scale = segment.window_scale;
    half.has_timestamps = segment.has_timestamps;
    half.sack_permitted = segment.sack_permitted && options_.sack;
    half.ecn = options_.ecn != Ecn::kOff && ecn::asked(segment.flags);
    half.ipv6 = segment.ipv6;
    Ipv6Pair storage;
    const Ipv6Pair* const pair = pair_in(segment, storage);
    if (before == nullptr && cookie_wanted()) {
        send_cookie(half, pair);
        return;
    }
    // RFC 9293, 3.6.1: beyond all that the connection before it sent.
    if (before != nullptr && !seq_gt(half.iss, before->snd_nxt)) {
        half.iss = before->snd_nxt + 65537;
    }
    const uint32_t slot = take_half_open();
    half_open_[slot] = half;
    const uint32_t id = half_base_ + slot;
    enter_id(id, key, pair);
    send_syn_ack(half, pair, false);
    wheel_.arm(id, now_tick_ + ticks_of_ms(options_.rto_initial_ms));
}

void TcpCore::send_syn_ack(const HalfOpen& half, const Ipv6Pair* pair, bool cookie) noexcept {
    TxFrame* frame = interface_.tx_frame();
    if (frame == nullptr) {
        count(Counter::drop_no_buffer);  // the timer, or the peer's, has it sent again
        return;
    }
    SegmentFields fields;
    address_fields(fields, half.key, half.mac, pair);
    fields.seq = half.iss;
    fields.ack = half.irs + 1;
    fields.flags = half.ecn ? kSyn | kAck | kEce : kSyn | kAck;
    fields.window = static_cast<uint16_t>(std::min(options_.receive_window_bytes, 65535u));
    put_syn_options(fields, our_mss(half.ipv6),
                    {half.window_scale != kNoWindowScale, half.has_timestamps, half.sack_permitted},
                    half.ts_recent);
    if (cookie && half.has_timestamps) {
        const uint32_t packed =
            SynCookies::pack(timestamp_now(), {half.window_scale, half.sack_permitted, half.ecn});
        store_be32(fields.options + fields.option_bytes - 8, packed);
    }
    interface_.send_segment(*frame, fields, 0);
}

// To `mac`: of whom the last SYN came from, which need not be where the first one did.
void TcpCore::repeat_syn_ack(uint32_t id, const uint8_t* mac) noexcept {
    if (!syn_ack_limit_.allow(now_tick_)) {
        count(Counter::tcp_syn_acks_suppressed);
        return;
    }
    count(Counter::tcp_retransmits);
    HalfOpen half = half_open_[id - half_base_];
    std::memcpy(half.mac.data(), mac, 6);
    send_syn_ack(half, pair_if(id, half.ipv6), false);
}

void TcpCore::half_open_timer(uint32_t id) noexcept {
    HalfOpen& half = half_open_[id - half_base_];
    if (half.retries >= options_.syn_retransmissions_max) {
        count(Counter::tcp_half_open_expired);
        drop_half_open(id);
        return;
    }
    ++half.retries;
    repeat_syn_ack(id, half.mac.data());
    const uint64_t wait_ms = std::min<uint64_t>(
        uint64_t{options_.rto_initial_ms} << std::min<uint32_t>(half.retries, 16),
        options_.rto_max_ms);
    wheel_.arm(id, now_tick_ + ticks_of_ms(wait_ms));
}

void TcpCore::drop_half_open(uint32_t id) noexcept {
    const HalfOpen& half = half_open_[id - half_base_];
    forget_id(id, half.key, half.ipv6);
    wheel_.cancel(id);
    half_open_ages_.remove(id - half_base_);
    free_half_open_.give(id - half_base_);
}

void TcpCore::input_half_open(uint32_t id, const TcpSegment& segment) noexcept {
    const HalfOpen& half = half_open_[id - half_base_];
    if ((segment.flags & kRst) != 0) {
        if (segment.seq == half.irs + 1) {
            count(Counter::tcp_resets_in);
            drop_half_open(id);
        } else {
            count(Counter::drop_out_of_window);
        }
        return;
    }
    if ((segment.flags & kSyn) != 0) {
        // The same SYN again, or one that does not fit: the SYN and ACK answers both, and is the
        // challenge (RFC 5961, 4) that makes a restarted peer reset this entry. It goes to where
        // this SYN came from: behind a forged first one, another answer would never reach the peer.
        repeat_syn_ack(id, segment.src_mac);
        return;
    }
    if ((segment.flags & kAck) == 0) {
        count(Counter::drop_unexpected);
        return;
    }
    if (segment.ack != half.iss + 1) {
        // Or the SYN came twice, and it is the cookie sent for the first that is acknowledged.
        HalfOpen first;
        if (cookie_of(segment, half.key, first)) {
            drop_half_open(id);
            count(Counter::tcp_cookies_accepted);
            establish(first, segment);
            return;
        }
        count(Counter::drop_unexpected);
        send_rst_to(segment);
        return;
    }
    const bool too_old =
        half.has_timestamps && segment.has_timestamps && seq_lt(segment.ts_value, half.ts_recent);
    const uint32_t offset = segment.seq - (half.irs + 1);
    if (too_old || offset >= std::min(options_.receive_window_bytes, 65535u)) {
        count(Counter::drop_out_of_window);
        repeat_syn_ack(id, segment.src_mac);
        return;
    }
    const HalfOpen done = half;
    drop_half_open(id);
    establish(done, segment);
}

void TcpCore::establish(const HalfOpen& half, const TcpSegment& segment) noexcept {
    const uint32_t index = free_sessions_.take();
    if (index == FreeIds::kNone) {
        count(Counter::drop_table_full);
        count(Counter::sessions_refused);
        send_rst_to(segment);
        return;
    }
    Ipv6Pair pair;
    Hot& hot = open_session(index, half.key, pair_in(segment, pair));
    Cold& cold = cold_[index];
    hot.state = State::kEstablished;
    hot.mac = half.mac;
    hot.flags |= kMacKnown | kOpenedDue;
    if (half.has_timestamps) hot.flags |= kHasTimestamps;
    if (half.sack_permitted && options_.sack) hot.flags |= kSack;
    if (half.ecn) hot.flags |= kEcn;
    hot.ts_recent = half.ts_recent;
    hot.mss = effective_mss(half.mss, half.has_timestamps, half.ipv6);
    take_known_path(hot);
    if (half.window_scale != kNoWindowScale) {
        hot.snd_scale = half.window_scale;
        hot.rcv_scale = our_scale();
    }
    cold.iss = half.iss;
    cold.irs = half.irs;
    cold.recover = half.iss;
    hot.snd_una = hot.snd_nxt = hot.snd_max = half.iss + 1;
    hot.snd_wnd = segment.window << hot.snd_scale;
    hot.snd_wl1 = segment.seq;
    hot.snd_wl2 = segment.ack;
    cold.snd_wnd_max = hot.snd_wnd;
    hot.rcv_nxt = hot.rcv_read = hot.rcv_acked = half.irs + 1;
    hot.rcv_edge = hot.rcv_nxt + std::min(options_.receive_window_bytes, 65535u);
    congestion::start(hot);
    if (half.retries > 0) hot.cwnd = hot.mss;  // RFC 5681, 3.1: the SYN was lost
    count(Counter::tcp_opened);
    if (!deliver(hot)) mark_ready(hot);
    mark_dirty(hot);
    input_session(hot, segment);
}

// --- active open

void TcpCore::take_syn_options(Hot& hot, const TcpSegment& segment) noexcept {
    if (segment.has_timestamps) {
        hot.flags |= kHasTimestamps;
        hot.ts_recent = segment.ts_value;
    }
    if (segment.sack_permitted && options_.sack) hot.flags |= kSack;
    hot.mss = effective_mss(segment.mss, segment.has_timestamps, segment.ipv6);
    take_known_path(hot);
    if (segment.window_scale != kNoWindowScale) {
        hot.snd_scale = segment.window_scale;
        hot.rcv_scale = our_scale();
    }
    Cold& cold = cold_of(hot);
    cold.irs = segment.seq;
    hot.rcv_nxt = hot.rcv_read = segment.seq + 1;
    hot.rcv_acked = hot.rcv_nxt;
    hot.rcv_edge = hot.rcv_nxt + std::min(options_.receive_window_bytes, 65535u);
    hot.snd_wnd = segment.window;  // never scaled in a SYN
    hot.snd_wl1 = segment.seq;
    hot.snd_wl2 = segment.ack;
    cold.snd_wnd_max = hot.snd_wnd;
    congestion::start(hot);
    if (cold.retries > 0) hot.cwnd = hot.mss;
}

// RFC 9293, 3.10.7.3.
void TcpCore::input_syn_sent(Hot& hot, const TcpSegment& segment) noexcept {
    Cold& cold = cold_of(hot);
    const bool has_ack = (segment.flags & kAck) != 0;
    const bool ack_good = has_ack && segment.ack == cold.iss + 1 && hot.snd_max != cold.iss;
    if (has_ack && !ack_good) {
        count(Counter::drop_unexpected);
        send_rst_to(segment);
        return;
    }
    if ((segment.flags & kRst) != 0) {
        if (!has_ack) {
            count(Counter::drop_unexpected);
            return;
        }
        count(Counter::tcp_resets_in);
        finish(hot, CloseReason::kReset, true);
        return;
    }
    if ((segment.flags & kSyn) == 0) {
        count(Counter::drop_unexpected);
        return;
    }
    hot.heard_tick = now_tick_;
    take_syn_options(hot, segment);
    hot.rtx_deadline = 0;
    hot.backoff = 0;
    if (!has_ack) {  // simultaneous open
        std::memcpy(hot.mac.data(), segment.src_mac, 6);
        hot.flags |= kMacKnown;
        hot.state = State::kSynReceived;
        hot.snd_nxt = cold.iss;
        cold.retries = 0;
        mark_dirty(hot);
        return;
    }
    if (options_.ecn == Ecn::kAsk && ecn::agreed(segment.flags)) hot.flags |= kEcn;
    hot.state = State::kEstablished;
    hot.snd_una = hot.snd_nxt = segment.ack;
    cold.retries = 0;
    hot.flags |= kOpenedDue;
    count(Counter::tcp_opened);
    owe_ack_now(hot);
    mark_ready(hot);
    TcpSegment rest = segment;  // data or FIN may come with the SYN
    rest.flags &= static_cast<uint8_t>(~kSyn);
    ++rest.seq;
    if (rest.length() > 0) process_data(hot, rest);
}

}  // namespace cachee::net
