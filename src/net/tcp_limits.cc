// SPDX-License-Identifier: Apache-2.0
// What strangers can make the stack hold and send, and the bounds on it: SYN cookies when many
// handshakes are under way, the half-open and TIME_WAIT tables with their oldest entries recycled,
// challenge ACKs, peers that take no data, memory for data out of order. docs/TCP.md, "Limits and
// defences". Worker thread only.
#include <algorithm>
#include <cstring>

#include "net/receive_queue.h"
#include "net/slow_reader_policy.h"
#include "net/tcp_core.h"

namespace cachee::net {

using stats::Counter;

// --- half-open entries and SYN cookies

bool TcpCore::cookie_wanted() const noexcept {
    switch (options_.syn_cookies) {
        case SynCookiesUse::kAlways:
            return true;
        case SynCookiesUse::kOff:
            return false;
        case SynCookiesUse::kAuto:
            break;
    }
    return uint64_t{free_half_open_.in_use()} * 100 >=
           uint64_t{options_.half_open_max} * options_.syn_cookies_percent;
}

// A free slot, now the newest; the oldest entry makes room when there is none. Its peer has had the
// longest time to answer, and in a flood most entries are the flood's.
uint32_t TcpCore::take_half_open() noexcept {
    if (free_half_open_.size() == 0) {
        count(Counter::tcp_half_open_recycled);
        drop_half_open(half_base_ + half_open_ages_.oldest());
    }
    const uint32_t slot = free_half_open_.take();
    half_open_ages_.push(slot);
    return slot;
}

void TcpCore::send_cookie(HalfOpen& half, const Ipv6Pair* pair) noexcept {
    const uint16_t mss = effective_mss(half.mss, false, half.ipv6);
    half.iss = cookies_.make(now_ns_, half.key, half.irs, mss);
    // Without timestamps nothing remembers it.
    if (!half.has_timestamps) half.window_scale = kNoWindowScale;
    half.sack_permitted = half.sack_permitted && half.has_timestamps;
    half.ecn = half.ecn && half.has_timestamps;
    count(Counter::tcp_cookies_sent);
    send_syn_ack(half, pair, true);
}

bool TcpCore::cookie_of(const TcpSegment& segment, ConnectionKey key, HalfOpen& half) noexcept {
    if (!cookies_.outstanding(now_ns_)) return false;
    half = HalfOpen{};
    half.iss = segment.ack - 1;
    half.irs = segment.seq - 1;
    if (!cookies_.check(now_ns_, key, half.irs, half.iss, half.mss)) {
        count(Counter::tcp_cookies_bad);
        return false;
    }
    half.key = key;
    half.ipv6 = segment.ipv6;
    std::memcpy(half.mac.data(), segment.src_mac, 6);
    half.ts_recent = segment.ts_value;
    half.has_timestamps = segment.has_timestamps;
    half.window_scale = kNoWindowScale;
    if (segment.has_timestamps) {
        const SynOptions options = SynCookies::unpack(segment.ts_echo);
        half.window_scale = options.window_scale;
        half.sack_permitted = options.sack_permitted;
        half.ecn = options.ecn && options_.ecn != Ecn::kOff;
    }
    return true;
}

// An ACK of no connection. False: it does not answer a cookie of ours.
bool TcpCore::input_cookie(const TcpSegment& segment, ConnectionKey key) noexcept {
    HalfOpen half;
    if (!cookie_of(segment, key, half)) return false;
    count(Counter::tcp_cookies_accepted);
    establish(half, segment);
    return true;
}

// --- challenge ACKs (RFC 5961, 7)

bool TcpCore::challenge_allowed() noexcept { return challenge_limit_.allow(now_tick_); }

// --- TIME_WAIT

void TcpCore::enter_time_wait(const TimeWait& wait, const Ipv6Pair* pair) noexcept {
    if (options_.time_wait_ms == 0) return;
    if (free_time_wait_.size() == 0) {
        count(Counter::tcp_time_wait_recycled);
        drop_time_wait(wait_base_ + time_wait_ages_.oldest());
    }
    const uint32_t slot = free_time_wait_.take();
    time_wait_ages_.push(slot);
    time_wait_[slot] = wait;
    enter_id(wait_base_ + slot, wait.key, pair);
    wheel_.arm(wait_base_ + slot, now_tick_ + ticks_of_ms(options_.time_wait_ms));
}

void TcpCore::drop_time_wait(uint32_t id) noexcept {
    const uint32_t slot = id - wait_base_;
    forget_id(id, time_wait_[slot].key, time_wait_[slot].ipv6);
    wheel_.cancel(id);
    time_wait_ages_.remove(slot);
    free_time_wait_.give(slot);
}

namespace {

// RFC 6191, 2: whether a SYN is certainly of a later connection than the one remembered.
bool later_than(const TcpSegment& syn, const TimeWait& wait) noexcept {
    const bool later_number = seq_gt(syn.seq, wait.rcv_nxt);
    if (!wait.has_timestamps) return syn.has_timestamps || later_number;
    if (!syn.has_timestamps) return later_number;
    if (syn.ts_value == wait.ts_recent) return later_number;
    return seq_gt(syn.ts_value, wait.ts_recent);
}

}  // namespace

void TcpCore::input_time_wait(uint32_t id, const TcpSegment& segment) noexcept {
    const TimeWait wait = time_wait_[id - wait_base_];
    if ((segment.flags & kRst) != 0) {
        count(Counter::drop_unexpected);  // RFC 1337: it would end TIME_WAIT too early
        return;
    }
    if ((segment.flags & (kSyn | kAck | kFin)) == kSyn && later_than(segment, wait)) {
        const bool listening =
            options_.listen_port != 0 && segment.dst_port == options_.listen_port;
        if (listening && free_sessions_.size() != 0) {
            drop_time_wait(id);
            input_syn(segment, wait.key, &wait);
            return;
        }
    }
    if (segment.length() == 0 && segment.seq == wait.rcv_nxt) return;  // an ACK: nothing to answer
    if (segment.size > 0 || (segment.flags & kSyn) != 0) count(Counter::drop_unexpected);
    answer_time_wait(wait, pair_if(id, wait.ipv6));
    if ((segment.flags & kFin) != 0 && segment.seq + segment.length() == wait.rcv_nxt) {
        time_wait_ages_.remove(id - wait_base_);
        time_wait_ages_.push(id - wait_base_);
        wheel_.arm(id, now_tick_ + ticks_of_ms(options_.time_wait_ms));
    }
}

void TcpCore::answer_time_wait(const TimeWait& wait, const Ipv6Pair* pair) noexcept {
    if (!challenge_allowed()) {
        count(Counter::tcp_challenges_suppressed);
        return;
    }
    TxFrame* frame = interface_.tx_frame();
    if (frame == nullptr) {
        count(Counter::drop_no_buffer);
        return;
    }
    SegmentFields fields;
    address_fields(fields, wait.key, wait.mac, pair);
    fields.seq = wait.snd_nxt;
    fields.ack = wait.rcv_nxt;
    fields.window = wait.window;
    fields.flags = kAck;
    if (wait.has_timestamps) put_timestamps(fields, wait.ts_recent);
    interface_.send_segment(*frame, fields, 0);
}

// --- peers that take nothing

// A timer found data that the peer could have taken and has not. One full segment more, or all
// there is, ends the stall: a byte now and then does not.
void TcpCore::note_stall(Hot& hot) noexcept {
    if ((hot.flags & kStalled) != 0) return;
    Cold& cold = cold_of(hot);
    hot.flags |= kStalled;
    cold.stall_tick = now_tick_;
    cold.stall_target = hot.snd_una + std::clamp(hot.sq_bytes, 1u, uint32_t{hot.mss});
    if ((hot.flags & kSuspect) != 0) return;
    hot.flags |= kSuspect;
    suspects_.push(index_of(hot));
}

void TcpCore::close_slow_reader(Hot& hot, Counter why) noexcept {
    count(why);
    send_reset(hot);
    finish(hot, io::CloseReason::kSlowReader, true);
}

// The worst of the next suspects in the FIFO, kNoSession when none of them may be closed. Those
// that have recovered or ended leave the FIFO.
uint32_t TcpCore::worst_suspect() noexcept {
    constexpr uint32_t kLooks = 64;
    const uint32_t grace = ticks_of_ms(options_.slow_reader_grace_ms);
    uint32_t worst = kNoSession;
    uint64_t worst_offence = 0;
    for (uint32_t left = std::min(suspects_.size(), kLooks); left > 0; --left) {
        const uint32_t index = suspects_.pop();
        Hot& hot = hot_[index];
        const bool live = hot.state != State::kFree && hot.state < State::kDone;
        if (!live || (hot.flags & kStalled) == 0) {
            hot.flags &= ~kSuspect;
            continue;
        }
        suspects_.push(index);
        const Cold& cold = cold_[index];
        const slow_reader_policy::Candidate candidate{
            hot.sq_bytes + cold.rq_blocks * kBlockDataBytes, now_tick_ - cold.stall_tick};
        if (!slow_reader_policy::may_be_closed(candidate, grace)) continue;
        const uint64_t offence = slow_reader_policy::offence(candidate);
        if (worst != kNoSession && offence <= worst_offence) continue;
        worst = index;
        worst_offence = offence;
    }
    return worst;
}

// A share of what is free, so that a few sessions with much to send never leave nothing for the
// others: the more is taken, the less the next one gets (Choudhury and Hahne, 1998, on switches).
// An empty session always gets two blocks' worth.
void TcpCore::update_send_limit() noexcept {
    const uint64_t free_bytes = uint64_t{pool_.available()} * kBlockDataBytes;
    const uint64_t share =
        std::max<uint64_t>(free_bytes * options_.send_share_percent / 100, 2 * kBlockDataBytes);
    send_limit_ = static_cast<uint32_t>(std::min<uint64_t>(share, options_.send_buffer_bytes_max));
}

// Buffers run short: at most once a tick, and a few at a time.
void TcpCore::relieve_memory_cold() noexcept {
    if (relieved_tick_ == now_tick_) return;
    relieved_tick_ = now_tick_;
    constexpr uint32_t kClosesMax = 8;
    for (uint32_t closed = 0; closed < kClosesMax && buffers_low(); ++closed) {
        const uint32_t index = worst_suspect();
        if (index == kNoSession) return;
        close_slow_reader(hot_[index], Counter::tcp_slow_readers_memory);
    }
}

// --- memory for data that cannot be delivered yet

// What is out of order is bounded per connection and for all together (out_of_order_room()), so
// that it cannot take the memory that replies need.
bool TcpCore::insert_received(Cold& cold, const TcpSegment& segment, uint32_t blocks_max) noexcept {
    const uint32_t before = cold.rq_blocks;
    const bool stored =
        receive_queue::insert(cold, pool_, segment.seq, segment.data, segment.size, blocks_max);
    receive_blocks_ += cold.rq_blocks - before;
    if (!stored) {
        count(pool_.available() == 0 ? Counter::drop_no_buffer : Counter::drop_out_of_order_full);
    }
    return stored;
}

}  // namespace cachee::net
