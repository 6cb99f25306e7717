// SPDX-License-Identifier: Apache-2.0
// What the path says of a connection: ICMP errors with the checks of RFC 5927, path MTU (RFC 1191,
// RFC 8201), segments that vanish because they are too large and nobody says so (RFC 4821), and the
// way back to full size. Worker thread only.
//
// A connection's segments shrink (Hot::mss) and what is in flight is sent again in the new size;
// the congestion window stays, as nothing was lost to congestion. What full size was lies in
// paths_. Known imperfection: after tcp.path_mtu_age_s full size is tried with real segments, not
// with a probe of its own; where nobody says that they are too large, that costs three timeouts.
#include <algorithm>

#include "net/send_queue.h"
#include "net/tcp_core.h"

namespace cachee::net {

using io::CloseReason;
using stats::Counter;

namespace {

// Timeouts in a row after which the size of a full segment is suspected. With fewer a path that
// loses one packet in ten would be taken for one that loses large ones.
constexpr uint8_t kBlackHoleTimeouts = 3;

}  // namespace

uint32_t TcpCore::header_bytes(const Hot& hot) const noexcept {
    const uint32_t ip_bytes = (hot.flags & kIpv6) != 0 ? kIpv6Bytes : kIpv4Bytes;
    return ip_bytes + kTcpBytes + ((hot.flags & kHasTimestamps) != 0 ? 12 : 0);
}

uint64_t TcpCore::path_of(const Hot& hot) const noexcept {
    if ((hot.flags & kIpv6) == 0) return remote_ip_of(hot.key);
    const Ipv6Address& remote = pairs_[index_of(hot)].remote;
    return siphash_128(address_key_, remote.word(0), remote.word(1)) | 1ULL << 63;
}

// Packets of this connection may be `packet_bytes` long until then. False: they are no longer
// already.
bool TcpCore::shrink_segments(Hot& hot, uint32_t packet_bytes, uint32_t until_tick) noexcept {
    const uint32_t headers = header_bytes(hot);
    const uint32_t least = (hot.flags & kIpv6) != 0 ? kIpv6PacketMin : kIpv4PacketMin;
    const uint32_t payload = std::max(packet_bytes, least) - headers;
    if (payload >= hot.mss) return false;
    PathState& path = paths_[index_of(hot)];
    if (path.full_mss == 0) path.full_mss = hot.mss;
    hot.mss = static_cast<uint16_t>(payload);
    path.raise_tick = until_tick;
    count(Counter::tcp_segments_shrunk);
    return true;
}

// The same from now on, for other connections to that host too.
bool TcpCore::learn_path(Hot& hot, uint32_t packet_bytes) noexcept {
    const uint32_t until = deadline_in(ticks_of_ms(uint64_t{options_.path_mtu_age_s} * 1000));
    if (!shrink_segments(hot, packet_bytes, until)) return false;
    known_paths_.set(path_of(hot), hot.mss + header_bytes(hot), now_tick_, until);
    return true;
}

// A new connection to a host of which something is known.
void TcpCore::take_known_path(Hot& hot) noexcept {
    const PathMtuCache::Known known = known_paths_.find(path_of(hot), now_tick_);
    if (known.bytes != 0) shrink_segments(hot, known.bytes, known.until_tick);
}

// Time for another try of full size.
void TcpCore::age_path(Hot& hot) noexcept {
    PathState& path = paths_[index_of(hot)];
    if (path.full_mss == 0 || seq_lt(now_tick_, path.raise_tick)) return;
    hot.mss = path.full_mss;
    path = {};
}

// After a retransmission timeout, before the segment goes out again.
void TcpCore::suspect_black_hole(Hot& hot) noexcept {
    if (cold_of(hot).retries < kBlackHoleTimeouts || hot.snd_wnd < hot.mss) return;
    const uint32_t head = std::min(hot.sq_bytes, hot.snd_max - hot.snd_una);
    if (head < hot.mss) return;  // it was not full: its size is not to blame
    const uint32_t packet_bytes = hot.mss + header_bytes(hot);
    const bool ipv6 = (hot.flags & kIpv6) != 0;
    if (learn_path(hot, smaller_packet(packet_bytes, ipv6))) count(Counter::tcp_black_holes);
}

// --- ICMP

void TcpCore::on_icmp_error(const IcmpError& error) noexcept {
    const uint32_t ip = error.ipv6 ? address_hash(error.pair) : error.remote_ip;
    const ConnectionKey key = connection_key(ip, error.remote_port, error.local_port);
    const uint32_t id =
        error.ipv6 ? find_ipv6(table_ipv6_.prefetch(key), key, error.pair) : table_.find(key);
    // Half-open: the peer has to answer anyway. TIME_WAIT: there is nothing to learn.
    if (id >= half_base_) {
        count(Counter::drop_icmp_refused);
        return;
    }
    Hot& hot = hot_[id];
    // RFC 5927, 4.1: only what is on the way can have met a router.
    const bool in_flight = seq_ge(error.seq, hot.snd_una) && seq_lt(error.seq, hot.snd_max);
    if (!in_flight || hot.state >= State::kDone) {
        count(Counter::drop_icmp_refused);
        return;
    }
    if (error.kind == IcmpError::Kind::kTooBig) {
        take_too_big(hot, error);
        return;
    }
    count(Counter::icmp_unreachable);
    // RFC 5927, 5.2: only a connection that was never open ends by it.
    if (error.kind == IcmpError::Kind::kHard && hot.state == State::kSynSent) {
        finish(hot, CloseReason::kReset, true);
    }
}

void TcpCore::take_too_big(Hot& hot, const IcmpError& error) noexcept {
    const uint32_t told =
        error.mtu != 0 || error.ipv6 ? error.mtu : smaller_packet(error.quoted_bytes, false);
    // A packet that was no longer than that would have fitted.
    const bool absurd = told >= error.quoted_bytes || (error.ipv6 && told < kIpv6PacketMin);
    if (absurd) {
        count(Counter::drop_icmp_refused);
        return;
    }
    count(Counter::icmp_too_big);
    if (syn_in_flight(hot) || !learn_path(hot, told)) return;
    // All that is in flight may have met the same router and is sent again in the new size, as
    // after a timeout but with the window as it is. Karn: no round trip is timed by it.
    Cold& cold = cold_of(hot);
    keep_records(hot, cold);
    scoreboard::mark_all_lost(cold.board, sent_pool_);
    Recovery& r = cold.recovery;
    r.phase = Phase::kLoss;
    r.frto = Frto::kOff;
    r.can_undo = false;
    hot.flags |= kRecovery;
    hot.flags &= ~(kRttTiming | kTailProbe);
    hot.dup_acks = 0;
    cold.recover = hot.snd_nxt;
    arm_retransmission(hot, cold, true);
    mark_dirty(hot);
}

}  // namespace cachee::net
