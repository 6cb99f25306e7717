// SPDX-License-Identifier: Apache-2.0
// What a session may and must send now: retransmissions, new data within both windows, FIN, ACKs.
// Runs from flush() for the sessions that something happened to. No Nagle: what is queued goes out.
// Worker thread only.
#include <algorithm>
#include <cstring>

#include "net/congestion.h"
#include "net/tcp_core.h"

namespace cachee::net {

using stats::Counter;

bool TcpCore::output(Hot& hot) noexcept {
    if (hot.state == State::kFree || hot.state >= State::kDone) {
        hot.acks_owed = 0;
        return true;
    }
    if (hot.state == State::kSynSent || syn_in_flight(hot)) return output_syn(hot);
    if ((hot.flags & kRecords) != 0 && !retransmit_lost(hot)) return false;
    while (hot.acks_owed > 0) {
        if (!send_ack(hot, hot.snd_max)) return false;
        --hot.acks_owed;
    }
    bool sent = false;
    if ((hot.flags & kProbeDue) != 0) {
        if (!send_probe(hot)) return false;
        hot.flags &= ~kProbeDue;
        sent = true;
    }
    if (!output_data(hot, sent)) return false;
    if (!sent) {
        const uint32_t unacked = hot.rcv_nxt - hot.rcv_acked;
        const bool delayed = (hot.flags & kAckDelayed) != 0;
        const bool now =
            delayed && (unacked >= 2u * cold_of(hot).our_mss || options_.delayed_ack_ms == 0);
        if (now || window_update_due(hot)) {
            if (!send_ack(hot, hot.snd_max)) return false;
        } else if (delayed && hot.ack_deadline == 0) {
            hot.ack_deadline = deadline_in(ticks_of_ms(options_.delayed_ack_ms));
        }
    }
    set_retransmission_timer(hot, sent);
    return true;
}

// SYN of an active open, or SYN and ACK of a simultaneous one.
bool TcpCore::output_syn(Hot& hot) noexcept {
    Cold& cold = cold_of(hot);
    if (hot.snd_nxt != cold.iss && hot.acks_owed == 0) return true;  // waiting for the answer
    if ((hot.flags & kMacKnown) == 0) {
        if (!resolve_peer(hot, hot.mac)) {
            if ((hot.flags & kUnresolved) == 0) {
                hot.flags |= kUnresolved;
                unresolved_.push(index_of(hot));
            }
            if (hot.rtx_deadline == 0) hot.rtx_deadline = deadline_in(ArpCache::kAskAgainTicks);
            return true;
        }
        hot.flags |= kMacKnown;
    }
    TxFrame* frame = interface_.tx_frame();
    if (frame == nullptr) return false;
    const bool answer = hot.state != State::kSynSent;
    SegmentFields fields;
    fill_fields(hot, fields, cold.iss, answer ? kSyn | kAck : kSyn);
    fields.option_bytes = 0;
    fields.window = static_cast<uint16_t>(std::min(options_.receive_window_bytes, 65535u));
    const SynOffer offer{!answer || hot.rcv_scale != 0,
                         !answer || (hot.flags & kHasTimestamps) != 0,
                         answer ? (hot.flags & kSack) != 0 : options_.sack};
    put_syn_options(fields, cold.our_mss, offer, hot.ts_recent);
    // Not in a repeated SYN: a box in between may have dropped it for that (RFC 3168, 6.1.1.1).
    if (!answer && options_.ecn == Ecn::kAsk && cold.retries == 0) fields.flags |= kEce | kCwr;
    interface_.send_segment(*frame, fields, 0);
    if (hot.snd_max != cold.iss) count(Counter::tcp_retransmits);
    hot.acks_owed = 0;
    hot.snd_nxt = hot.snd_max = cold.iss + 1;
    hot.rcv_acked = hot.rcv_nxt;
    hot.rtx_deadline = deadline_in(rto_ticks(hot));
    return true;
}

void TcpCore::put_syn_options(SegmentFields& fields, uint16_t mss, SynOffer offer,
                              uint32_t echo) const noexcept {
    uint8_t* p = fields.options;
    p[0] = 2;
    p[1] = 4;
    store_be16(p + 2, mss);
    p += 4;
    if (offer.sack) {
        store_be32(p, 0x01010402);
        p += 4;
    }
    if (offer.scale) {
        p[0] = 1;
        p[1] = 3;
        p[2] = 3;
        p[3] = our_scale();
        p += 4;
    }
    fields.option_bytes = static_cast<uint8_t>(p - fields.options);
    if (offer.timestamps) put_timestamps(fields, echo);
}

// New data may be marked; what is sent again, probes and ACKs may not (RFC 3168, 6.1.4 to 6.1.6).
void TcpCore::put_ecn(Hot& hot, SegmentFields& fields, uint32_t seq, uint32_t size) noexcept {
    EcnState& ecn = cold_of(hot).ecn;
    if (ecn.echo) fields.flags |= kEce;
    if (size == 0 || seq != hot.snd_max || hot.snd_wnd == 0) return;
    fields.ecn = ecn::kCapable;
    if (ecn.cwr_due) fields.flags |= kCwr;
    ecn.cwr_due = false;
}

// On ACKs without data: see sack_blocks.h.
void TcpCore::put_sack(Hot& hot, SegmentFields& fields) noexcept {
    Cold& cold = cold_of(hot);
    if ((hot.flags & kStored) == 0 && !cold.sack.has_duplicate) return;
    SackBlock blocks[kSackBlocksMax];
    const uint32_t max = fields.option_bytes == 0 ? kSackBlocksMax : kSackBlocksMax - 1;
    const uint32_t n = sack_blocks::collect(cold, pool_, hot.rcv_nxt, max, blocks);
    if (n == 0) return;
    uint8_t* const out = fields.options + fields.option_bytes;
    fields.option_bytes =
        static_cast<uint8_t>(fields.option_bytes + sack_blocks::write_option(out, blocks, n));
}

void TcpCore::put_timestamps(SegmentFields& fields, uint32_t echo) const noexcept {
    uint8_t* p = fields.options + fields.option_bytes;
    store_be32(p, 0x0101080a);
    store_be32(p + 4, timestamp_now());
    store_be32(p + 8, echo);
    fields.option_bytes = static_cast<uint8_t>(fields.option_bytes + 12);
}

void TcpCore::fill_fields(Hot& hot, SegmentFields& fields, uint32_t seq, uint8_t flags) noexcept {
    address_fields(fields, hot.key, hot.mac, pair_if(index_of(hot), (hot.flags & kIpv6) != 0));
    fields.seq = seq;
    fields.flags = flags;
    if ((flags & kAck) != 0) fields.ack = hot.rcv_nxt;
    if ((flags & kSyn) != 0) return;
    fields.window = (flags & kRst) != 0 ? uint16_t{0} : advertise(hot);
    if ((hot.flags & kHasTimestamps) != 0) put_timestamps(fields, hot.ts_recent);
}

bool TcpCore::window_update_due(const Hot& hot) const noexcept {
    const uint32_t unread = hot.rcv_nxt - hot.rcv_read;
    const uint32_t full = options_.receive_window_bytes;
    if (unread >= full || (hot.flags & kFinReceived) != 0) return false;
    const uint32_t edge = hot.rcv_nxt + (((full - unread) >> hot.rcv_scale) << hot.rcv_scale);
    const uint32_t promised = seq_gt(hot.rcv_edge, hot.rcv_nxt) ? hot.rcv_edge - hot.rcv_nxt : 0;
    const uint32_t mss = cold_[index_of(hot)].our_mss;
    // Worth a segment of its own: half the window, or the peer has (nearly) nothing left to send
    // into.
    const uint32_t gain = edge - hot.rcv_nxt - std::min(promised, edge - hot.rcv_nxt);
    return gain >= full / 2 || (promised < 2 * mss && gain >= std::min(full / 2, 2 * mss));
}

// `seq` is snd_max, not snd_nxt: after a timeout snd_nxt has gone back, and an ACK with an old
// sequence number would be dropped as a duplicate.
bool TcpCore::send_ack(Hot& hot, uint32_t seq) noexcept {
    TxFrame* frame = interface_.tx_frame();
    if (frame == nullptr) return false;
    SegmentFields fields;
    fill_fields(hot, fields, seq, kAck);
    if ((hot.flags & kSack) != 0) put_sack(hot, fields);
    if ((hot.flags & kEcn) != 0) put_ecn(hot, fields, seq, 0);
    interface_.send_segment(*frame, fields, 0);
    note_ack_sent(hot);
    return true;
}

void TcpCore::send_reset(Hot& hot) noexcept {
    TxFrame* frame = interface_.tx_frame();
    if (frame == nullptr) {
        count(Counter::drop_no_buffer);
        return;
    }
    SegmentFields fields;
    fill_fields(hot, fields, hot.snd_max, kRst | kAck);
    interface_.send_segment(*frame, fields, 0);
    count(Counter::tcp_resets_out);
}

uint32_t TcpCore::usable_window(const Hot& hot) const noexcept {
    const uint32_t flight = hot.snd_nxt - hot.snd_una;
    const uint32_t out = cold_[index_of(hot)].board.in_network(flight);
    const uint32_t congestion = hot.cwnd > out ? hot.cwnd - out : 0;
    const uint32_t offered = hot.snd_wnd > flight ? hot.snd_wnd - flight : 0;
    return std::min(congestion, offered);
}

// How much of the unsent data goes into the next frame; 0: better to wait (RFC 9293, 3.8.6.2.1).
uint32_t TcpCore::next_size(Hot& hot, uint32_t unsent, uint32_t window) noexcept {
    const uint32_t size = std::min(unsent, window);
    if (size < hot.mss) {
        if (size == unsent) return size;
        return size > 0 && size >= cold_of(hot).snd_wnd_max / 2 ? size : 0;
    }
    const uint32_t option_bytes = (hot.flags & kHasTimestamps) != 0 ? 12 : 0;
    const uint32_t tso = interface_.tso_payload_max(option_bytes, (hot.flags & kIpv6) != 0);
    if (tso < 2u * hot.mss || size == hot.mss) return hot.mss;
    const uint32_t most = without_lent_tail(hot, std::min(size, tso));
    return most == unsent ? most : most - most % hot.mss;
}

bool TcpCore::output_data(Hot& hot, bool& sent) noexcept {
    if (hot.state == State::kFinWait2) return true;
    Cold& cold = cold_of(hot);
    if (hot.snd_una == hot.snd_max && hot.sq_bytes > 0 && cold.sent_tick != 0 &&
        now_tick_ - cold.sent_tick > rto_ticks(hot)) {
        congestion::on_idle(hot, cold);
        age_path(hot);
    }
    for (;;) {
        const uint32_t end = hot.snd_una + hot.sq_bytes;
        if (seq_gt(hot.snd_nxt, end)) return true;  // the FIN has gone too
        const uint32_t unsent = end - hot.snd_nxt;
        const bool fin_queued = (hot.flags & kFinQueued) != 0;
        if (unsent == 0 && !fin_queued) return true;
        const uint32_t window = usable_window(hot);
        if (window == 0) return true;
        const uint32_t size = unsent == 0 ? 0 : next_size(hot, unsent, window);
        if (size == 0 && unsent > 0) return true;
        const bool fin = fin_queued && size == unsent && window > size;
        if (size == 0 && !fin) return true;
        if (hot.snd_nxt != hot.snd_una && !record_room(hot, cold)) return true;
        if (!send_next(hot, size, fin)) return false;
        sent = true;
    }
}

// Sends from snd_nxt on and moves it. REQUIRES: record_room(), if anything is in flight.
bool TcpCore::send_next(Hot& hot, uint32_t size, bool fin) noexcept {
    const bool fresh = hot.snd_nxt == hot.snd_max;
    const uint32_t start = hot.snd_nxt;
    const send_queue::Cursor at{hot.sq_next, hot.sq_next_offset};
    send_queue::Cursor cursor = at;
    if (!send_data(hot, hot.snd_nxt, size, fin, cursor)) return false;
    if (!fresh) count(Counter::tcp_retransmits);
    if (size > 0) {
        hot.sq_next = cursor.block;
        hot.sq_next_offset = static_cast<uint16_t>(cursor.offset);
    }
    hot.snd_nxt += size + (fin ? 1 : 0);
    if (fin) hot.flags |= kFinSent;
    if (seq_gt(hot.snd_nxt, hot.snd_max)) hot.snd_max = hot.snd_nxt;
    Cold& cold = cold_of(hot);
    if (fresh) cold.sent_tick = deadline_in(0);
    note_sent(hot, cold, start, at);
    if (cold.recovery.phase == Phase::kRecovery) cold.recovery.prr_out += hot.snd_nxt - start;
    return true;
}

bool TcpCore::send_data(Hot& hot, uint32_t seq, uint32_t size, bool fin,
                        send_queue::Cursor& cursor) noexcept {
    TxFrame* frame = interface_.tx_frame();
    if (frame == nullptr) return false;
    uint8_t flags = kAck;
    if (size > 0 && seq + size == hot.snd_una + hot.sq_bytes) flags |= kPsh;
    if (fin) flags |= kFin;
    SegmentFields fields;
    fill_fields(hot, fields, seq, flags);
    if (size > hot.mss) fields.tso_mss = hot.mss;
    if ((hot.flags & kEcn) != 0) put_ecn(hot, fields, seq, size);
    if (size > 0) {
        put_payload(hot, *frame,
                    Interface::payload_of(*frame, fields.option_bytes, fields.ipv6 != nullptr),
                    size, cursor);
    }
    interface_.send_segment(*frame, fields, size);
    note_ack_sent(hot);
    return true;
}

// Large values are not copied where the port can do without.
void TcpCore::put_payload(Hot& hot, TxFrame& frame, uint8_t* out, uint32_t size,
                          send_queue::Cursor& cursor) noexcept {
    if ((hot.flags & kLent) != 0 && interface_.can_attach()) {
        const send_queue::Gather found = send_queue::gather(pool_, cursor, size);
        const bool all = found.copied_bytes + found.lent_bytes == size;
        if (all && found.lent_bytes >= kAttachBytesMin) {
            found.lent.lender->hold(found.lent.data);
            if (interface_.attach(frame, found.lent.data, found.lent_bytes, *found.lent.lender)) {
                send_queue::copy_out(pool_, cursor, out, found.copied_bytes);
                send_queue::skip(pool_, cursor, found.lent_bytes);
                return;
            }
            found.lent.lender->give_back(found.lent.data);
        }
    }
    send_queue::copy_out(pool_, cursor, out, size);
}

// A frame of several segments ends with whole ones before what follows a lent value, so that the
// value need not be copied for the sake of its last two bytes.
uint32_t TcpCore::without_lent_tail(const Hot& hot, uint32_t size) const noexcept {
    if ((hot.flags & kLent) == 0 || !interface_.can_attach()) return size;
    const send_queue::Gather found =
        send_queue::gather(pool_, {hot.sq_next, hot.sq_next_offset}, size);
    const uint32_t run = found.copied_bytes + found.lent_bytes;
    if (run == size || found.lent_bytes == 0 || run < hot.mss) return size;
    return run - run % hot.mss;
}

// One byte (or what the small window lets through) past a closed window: the answer tells whether
// it has opened (RFC 9293, 3.8.6.1).
bool TcpCore::send_probe(Hot& hot) noexcept {
    const uint32_t end = hot.snd_una + hot.sq_bytes;
    if (seq_gt(hot.snd_nxt, end)) return true;
    const uint32_t unsent = end - hot.snd_nxt;
    if (unsent == 0 && (hot.flags & kFinQueued) == 0) return true;
    const uint32_t size = std::min({unsent, std::max(hot.snd_wnd, 1u), uint32_t{hot.mss}});
    if (!send_next(hot, size, unsent == 0)) return false;
    hot.flags &= ~kRttTiming;  // what a probe measures is the reader
    count(Counter::tcp_probes);
    return true;
}

void TcpCore::set_retransmission_timer(Hot& hot, bool sent) noexcept {
    if (hot.snd_una != hot.snd_max) {
        Cold& cold = cold_of(hot);
        if (hot.rtx_deadline == 0 || (hot.flags & kPersist) != 0) {
            arm_retransmission(hot, cold, true);
        } else if (sent && cold.recovery.timer != Timer::kReordering) {
            if ((hot.flags & kRecords) != 0) arm_retransmission(hot, cold, false);
        }
        hot.flags &= ~kPersist;
        return;
    }
    const bool blocked = hot.sq_bytes > 0 || ((hot.flags & (kFinQueued | kFinSent)) == kFinQueued);
    if (!blocked) {
        hot.rtx_deadline = 0;
        hot.flags &= ~kPersist;
    } else if ((hot.flags & kPersist) == 0 || hot.rtx_deadline == 0) {
        hot.flags |= kPersist;
        hot.rtx_deadline = deadline_in(probe_ticks(hot));
    }
}

}  // namespace cachee::net
