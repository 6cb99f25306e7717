// SPDX-License-Identifier: Apache-2.0
// Fuzz target of the TCP engine: what a peer does after the handshake, step by step, with valid
// headers and tracked sequence numbers, so that the input reaches deep states. Two bytes of choices
// (options of both ends), then one byte per step with its arguments: data in order, ahead, again or
// overlapping, ACKs true, partial, old or of what was never sent, any window, SACK blocks, old
// timestamps, FIN, RST, SYN, "too big" of a router, time, a port without transmit buffers, and what
// the application does; over IPv4 or IPv6, with extension headers or without. In the end a
// well-behaved peer takes over. What is on the wire is in session_wire.h.
//
// Promises: each side gets the other's bytes, all of them, in order, once; nothing is acknowledged
// that was not sent, nothing sent beyond what a window ever allowed (but one byte of a probe);
// memory keeps its bound; a connection that the peer has not spoilt ends in order; afterwards no
// session, entry or block is left.
#include <algorithm>

#include "base/assert.h"
#include "net/bytes.h"
#include "net/headers.h"
#include "net/tcp_transport.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/session_wire.h"

namespace cachee::fuzz {
namespace {

using namespace net;  // NOLINT: the target speaks its vocabulary

constexpr uint32_t kStreamMax = 200'000;  // bytes in one direction
constexpr uint32_t kNoFin = 0xffffffff;

class Session {
  public:
    explicit Session(Input& input) : input_(input), choices_(input.byte()), peer_(input.byte()) {
        auto made = TcpTransport::create(port_, options_for(choices_), counters_.get());
        CACHEE_ASSERT(made.has_value());
        tcp_ = std::move(made).value();
        events_max_ = 1 + (choices_ >> 5) * 2;
        turn(1);
    }

    void run() {
        open();
        for (int steps = 0; steps < 400 && input_.more() && !closed_; ++steps) {
            step(input_.byte());
            turn(1);
        }
        if (!closed_ && opened_) well_behaved_end();
        end();
    }

  private:
    // --- the peer's segments

    struct Segment {
        uint8_t flags = kAck;
        uint32_t offset = 0;  // in the peer's stream; the SYN comes before 0
        uint32_t size = 0;
        uint32_t ack = 0;  // absolute
        bool old_timestamp = false;
        uint8_t sack_blocks = 0;
        bool fin = false;
    };

    bool timestamps() const { return (peer_ & 1) != 0; }
    bool scaled() const { return (peer_ & 2) != 0; }
    bool ipv6() const { return (peer_ & 16) != 0; }
    // In front of TCP; see push_segment().
    uint8_t extension_headers() const { return peer_ >> 5 & 3; }
    uint32_t seq_of(uint32_t offset) const { return peer_iss_ + 1 + offset; }
    uint32_t now_ms() const { return static_cast<uint32_t>(now_ns_ / 1'000'000); }

    uint8_t* put_options(uint8_t* p, const Segment& segment) {
        if ((segment.flags & kSyn) != 0) {
            const uint16_t mss = static_cast<uint16_t>((peer_ & 4) != 0 ? 1460 : 100);
            store_be32(p, 0x02040000u | mss);
            p += 4;
            if (scaled()) {
                store_be32(p, 0x01030304);
                p += 4;
            }
            if ((peer_ & 8) != 0) {
                store_be32(p, 0x01010402);
                p += 4;
            }
        }
        if (timestamps()) {
            store_be32(p, 0x0101080a);
            store_be32(p + 4, now_ms() - (segment.old_timestamp ? 100'000 : 0));
            store_be32(p + 8, server_timestamp_);
            p += 12;
        }
        if (segment.sack_blocks > 0) {
            store_be16(p, 0x0101);
            p[2] = 5;
            p[3] = static_cast<uint8_t>(2 + 8 * segment.sack_blocks);
            p += 4;
            for (int i = 0; i < segment.sack_blocks; ++i, p += 8) {
                const uint32_t from = server_una_ + input_.word() - 500;
                store_be32(p, from);
                store_be32(p + 4, from + input_.word() % 4000);
            }
        }
        return p;
    }

    void send(const Segment& segment) {
        uint8_t options[40];
        const bool syn = (segment.flags & kSyn) != 0;
        WireSegment wire;
        wire.flags = static_cast<uint8_t>(segment.flags | (segment.fin ? kFin : 0));
        wire.seq = seq_of(segment.offset) - (syn ? 1 : 0);
        wire.ack = segment.ack;
        wire.window = window_;
        wire.options = options;
        wire.option_bytes = static_cast<uint32_t>(put_options(options, segment) - options);
        wire.stream_offset = segment.offset;
        wire.payload_bytes = segment.size;
        push_segment(port_, wire, ipv6(), extension_headers());
        const uint32_t end = segment.offset + segment.size + (segment.fin ? 1 : 0);
        if (end <= kStreamMax + 1) peer_max_ = std::max(peer_max_, end);
        if ((segment.flags & kAck) != 0) {
            const uint32_t edge =
                segment.ack + (static_cast<uint32_t>(window_) << (syn || !scaled() ? 0 : 4));
            edge_ = edge_known_ ? seq_max(edge_, edge) : edge;
            edge_known_ = true;
        }
    }
    void send_ack() { send({.offset = peer_next(), .ack = contiguous_}); }
    // Where the peer would send next: behind all it ever sent.
    uint32_t peer_next() const { return peer_max_; }

    // --- the server's segments

    void take(const std::vector<uint8_t>& frame) {
        TcpSegment s;
        if (!parse_segment(frame, ipv6(), s)) return;
        if (s.has_timestamps) server_timestamp_ = s.ts_value;
        if ((s.flags & kSyn) != 0) {
            if (opened_) return;  // of a later connection
            server_iss_ = s.seq;
            contiguous_ = server_una_ = s.seq + 1;
            return;
        }
        if ((s.flags & kRst) != 0 || closed_ || !opened_) return;
        if ((s.flags & kAck) != 0) {
            CACHEE_ASSERT(s.ack - seq_of(0) <= peer_max_);
            server_ack_ = seq_max(server_ack_, s.ack);
        }
        const uint32_t from = s.seq - (server_iss_ + 1);
        CACHEE_ASSERT(s.size == 0 || (from < kStreamMax && from + s.size <= app_sent_));
        for (uint32_t i = 0; i < s.size; ++i) CACHEE_ASSERT(s.data[i] == server_byte(from + i));
        CACHEE_ASSERT(s.size == 0 || seq_le(s.seq + s.size, edge_ + 1));
        if ((s.flags & kFin) != 0) {
            CACHEE_ASSERT(app_closed_ && from + s.size == app_sent_);
            fin_seen_ = true;
        }
        const uint32_t end = s.seq + s.length();
        if (seq_le(s.seq, contiguous_) && seq_gt(end, contiguous_)) contiguous_ = end;
        server_max_ = std::max(server_max_, from + s.length());
    }

    // --- time, the application

    void turn(uint64_t ms) {
        now_ns_ += ms * 1'000'000;
        do {
            io::Event events[32];
            const size_t n = tcp_->poll(now_ns_, events, events_max_);
            CACHEE_ASSERT(n <= events_max_);
            for (size_t i = 0; i < n; ++i) take(events[i]);
            tcp_->release();
            tcp_->flush(now_ns_);
            for (; !port_.sent().empty(); port_.sent().pop_front()) take(port_.sent().front());
            CACHEE_ASSERT(tcp_->usage().blocks <= kPoolBlocks);
        } while (!port_.idle());
    }

    void take(const io::Event& event) {
        if (event.kind == io::EventKind::kOpened) {
            if (opened_) {  // an old SYN or cookie again: not the connection under test
                alien_ = true;
                tcp_->close(event.session, io::CloseHow::kAbort);
                return;
            }
            opened_ = true;
            index_ = event.session;
            server_ack_ = seq_of(0);
            return;
        }
        CACHEE_ASSERT(opened_);
        if (alien_) return;
        CACHEE_ASSERT(event.session == index_ && !closed_);
        switch (event.kind) {
            case io::EventKind::kData:
                CACHEE_ASSERT(event.size > 0 && !eof_ && !app_gone_ && !was_paused_);
                for (uint32_t i = 0; i < event.size; ++i) {
                    CACHEE_ASSERT(event.data[i] == peer_byte(received_ + i));
                }
                received_ += event.size;
                CACHEE_ASSERT(received_ <= peer_max_);
                break;
            case io::EventKind::kEof:
                CACHEE_ASSERT(!eof_ && fin_offset_ == received_);
                eof_ = true;
                break;
            case io::EventKind::kClosed:
                closed_ = true;
                reason_ = event.reason;
                break;
            default:
                break;
        }
    }

    void application(uint8_t what) {
        if (!opened_ || closed_ || app_gone_) return;
        const uint32_t size = std::min(input_.word() % 9000, kStreamMax - app_sent_);
        switch (what % 8) {
            case 0:
            case 1:
            case 2: {
                if (app_closed_) return;
                std::vector<uint8_t> bytes(size);
                for (uint32_t i = 0; i < size; ++i) bytes[i] = server_byte(app_sent_ + i);
                app_sent_ += static_cast<uint32_t>(tcp_->append(index_, bytes.data(), size));
                return;
            }
            case 3: {
                if (app_closed_) return;
                const uint32_t room = 1 + size % io::kReserveBytesMax;
                uint8_t* const out = tcp_->reserve(index_, room);
                if (out == nullptr) return;
                const uint32_t used = std::min(input_.byte() % room + 1, kStreamMax - app_sent_);
                for (uint32_t i = 0; i < used; ++i) out[i] = server_byte(app_sent_ + i);
                tcp_->commit(index_, used);
                app_sent_ += used;
                return;
            }
            case 4:
                tcp_->pause(index_);
                was_paused_ = true;
                return;
            case 5:
                tcp_->resume(index_);
                was_paused_ = false;
                return;
            case 6:
                tcp_->shutdown_send(index_);
                app_closed_ = true;
                return;
            default:
                if (size % 4 != 0) return;
                app_closed_ = app_gone_ = true;
                aborted_ = size % 8 == 0;
                tcp_->close(index_, aborted_ ? io::CloseHow::kAbort : io::CloseHow::kFlush);
        }
    }

    // --- the story

    void open() {
        window_ = 65535;
        for (int tries = 0; tries < 3 && contiguous_ == 0; ++tries) {
            send({.flags = kSyn, .ack = 0});
            turn(1);
        }
        CACHEE_ASSERT(contiguous_ != 0);
        send_ack();
        turn(1);
        CACHEE_ASSERT(opened_);
    }

    uint32_t ack_for(uint8_t choice) {
        const uint32_t known = server_iss_ + 1 + server_max_;
        switch (choice % 8) {
            case 4:
                return server_una_ + input_.byte() % (contiguous_ - server_una_ + 1);
            case 5:
                return server_una_ - input_.word();
            case 6:
                return known + 1 + input_.word();  // never sent
            default:
                return contiguous_;
        }
    }
    void note_ack(uint32_t ack) {
        const bool moves = seq_gt(ack, server_una_) && seq_le(ack, server_iss_ + 1 + server_max_);
        if (moves) server_una_ = ack;
    }

    void step(uint8_t what) {
        static constexpr uint32_t kTimesMs[8] = {1, 5, 20, 60, 250, 1000, 5000, 25'000};
        const uint32_t limit = fin_offset_ == kNoFin ? kStreamMax : fin_offset_;
        switch (what % 16) {
            case 0:
            case 1: {  // the next data
                const uint32_t from = std::min(peer_next(), limit);
                const uint32_t size = std::min(1 + input_.word() % 2000, limit - from);
                data(from, size, contiguous_);
                return;
            }
            case 2:
            case 3: {  // around what the server has
                const uint32_t at = server_ack_ - seq_of(0) + input_.word() % 12'000;
                const uint32_t from = std::min(at < 3000 ? 0 : at - 3000, limit);
                data(from, std::min(input_.word() % 2900, limit - from), ack_for(what >> 4));
                return;
            }
            case 4:
            case 5: {  // an ACK
                const uint32_t ack = ack_for(what >> 4);
                note_ack(ack);
                send({.offset = std::min(peer_next(), limit),
                      .ack = ack,
                      .sack_blocks = static_cast<uint8_t>((what & 0x80) != 0 ? what >> 4 & 1 : 0)});
                return;
            }
            case 6: {
                static constexpr uint16_t kWindows[8] = {0, 1, 50, 600, 3000, 20'000, 65535, 0};
                window_ = kWindows[what >> 4 & 7];
                send_ack();
                return;
            }
            case 7:
            case 8:
                turn(kTimesMs[what >> 4 & 7]);
                return;
            case 9:
            case 10:
                application(what >> 4);
                return;
            case 11:  // FIN behind all that was sent
                if (fin_offset_ == kNoFin) fin_offset_ = peer_next();
                send({.offset = fin_offset_, .ack = contiguous_, .fin = true});
                return;
            case 12:
                unusual(what >> 4);
                return;
            case 13:
                port_.set_tx_room((what & 0x80) != 0 ? 0 : what >> 4);
                return;
            case 14:  // data far outside
                send({.offset = 0x40000000u + input_.word(), .size = 1, .ack = contiguous_});
                return;
            default:  // an old duplicate
                send({.offset = std::min(peer_next() / 2, limit),
                      .ack = contiguous_,
                      .old_timestamp = true});
        }
    }
    void data(uint32_t from, uint32_t size, uint32_t ack) {
        note_ack(ack);
        const bool fin = fin_offset_ != kNoFin && from + size == fin_offset_ && (size & 1) != 0;
        send({.offset = from, .size = size, .ack = ack, .fin = fin});
    }
    void unusual(uint8_t what) {
        const uint32_t rcv_nxt = server_ack_ - seq_of(0);
        const uint32_t at = std::min(rcv_nxt + input_.byte(), peer_next());
        switch (what % 8) {
            case 0:
                send({.flags = kRst, .offset = at});
                return;
            case 1:
                send({.flags = kSyn, .offset = at});
                return;
            case 2:
                send({.flags = 0, .offset = at});
                return;
            case 3:
                send({.flags = kAck | kUrg | kPsh, .offset = at, .ack = contiguous_});
                return;
            case 4:
                send({.flags = kSyn | kAck, .offset = at, .ack = contiguous_});
                return;
            case 5:  // a router on the way, which may lie
                push_too_big(port_, server_una_ + input_.word() % 3000, input_.word() % 2000,
                             ipv6());
                return;
            default:
                for (int i = 0; i < 4; ++i) send_ack();  // duplicate ACKs
        }
    }

    // The peer answers everything, sends again what the server lacks, and closes; so does the
    // application.
    void well_behaved_end() {
        port_.set_tx_room(512);
        window_ = 65535;
        if (!app_gone_) {
            tcp_->resume(index_);
            was_paused_ = false;
        }
        if (fin_offset_ == kNoFin) fin_offset_ = peer_max_;
        const bool all_due = !app_gone_;
        for (int round = 0; round < 400 && !closed_; ++round) {
            const uint32_t have = server_ack_ - seq_of(0);
            for (uint32_t at = have, n = 0; at < fin_offset_ && n < 8; ++n) {
                const uint32_t size = std::min(1400u, fin_offset_ - at);
                send({.offset = at, .size = size, .ack = contiguous_});
                at += size;
            }
            if (have >= fin_offset_ || fin_offset_ - have < 8 * 1400) {
                send({.offset = fin_offset_, .ack = contiguous_, .fin = true});
            }
            turn(round < 100 ? 30 : 1000);
            server_una_ = seq_max(server_una_, contiguous_);
            if (eof_ && !app_gone_ && !closed_) {
                tcp_->close(index_, io::CloseHow::kFlush);
                app_closed_ = app_gone_ = true;
            }
        }
        CACHEE_ASSERT(closed_);
        if (all_due && (reason_ == io::CloseReason::kLocal || reason_ == io::CloseReason::kPeer)) {
            CACHEE_ASSERT(received_ == fin_offset_);
            CACHEE_ASSERT(eof_);
            CACHEE_ASSERT(fin_seen_ && contiguous_ == server_iss_ + 1 + app_sent_ + 1);
        }
        // Nothing the peer did before justifies a timeout while it answers.
        CACHEE_ASSERT(reason_ != io::CloseReason::kTimeout || app_gone_);
        CACHEE_ASSERT(reason_ != io::CloseReason::kNoMemory);
    }

    void end() {
        port_.set_tx_room(512);
        if (opened_ && !closed_) tcp_->close(index_, io::CloseHow::kAbort);
        for (int i = 0; i < 40; ++i) turn(500);
        const TcpTransport::Usage usage = tcp_->usage();
        CACHEE_ASSERT(usage.sessions == 0 && usage.half_open == 0 && usage.time_wait == 0);
        CACHEE_ASSERT(usage.blocks == 0);
    }

    Input& input_;
    const uint8_t choices_;
    const uint8_t peer_;
    MemoryPort port_;
    std::unique_ptr<stats::WorkerCounters> counters_ = std::make_unique<stats::WorkerCounters>();
    std::unique_ptr<TcpTransport> tcp_;
    uint64_t now_ns_ = 1'000'000'000'000;
    size_t events_max_ = 1;
    const uint32_t peer_iss_ = 0xfffff000;

    // What the peer knows.
    uint16_t window_ = 65535;
    uint32_t peer_max_ = 0;  // bytes of its stream ever sent, FIN included
    uint32_t fin_offset_ = kNoFin;
    uint32_t server_iss_ = 0;
    uint32_t server_ack_ = 0;
    uint32_t server_una_ = 0;  // what the peer has acknowledged
    uint32_t server_max_ = 0;  // offset behind the last byte seen
    uint32_t contiguous_ = 0;  // absolute: what the peer would acknowledge; 0: no SYN and ACK yet
    uint32_t server_timestamp_ = 0;
    uint32_t edge_ = 0;
    bool edge_known_ = false;
    bool fin_seen_ = false;

    // What the application knows.
    io::SessionIndex index_ = 0;
    uint32_t received_ = 0;
    uint32_t app_sent_ = 0;
    bool opened_ = false;
    bool eof_ = false;
    bool closed_ = false;
    bool was_paused_ = false;
    bool app_closed_ = false;  // sends no more
    bool app_gone_ = false;    // close() was called
    bool aborted_ = false;
    bool alien_ = false;
    io::CloseReason reason_ = io::CloseReason::kLocal;
};

}  // namespace

void session_target(const uint8_t* data, size_t size) {
    if (size < 3) return;
    Input input(data, size);
    Session(input).run();
}

}  // namespace cachee::fuzz

CACHEE_FUZZ_MAIN(session_target)
