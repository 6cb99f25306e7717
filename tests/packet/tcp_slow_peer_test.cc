// SPDX-License-Identifier: Apache-2.0
// Peers that are slow, silent or keep their window closed: how long each is kept, and what it may
// hold. One script per rule.
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

using stats::Counter;

TcpOptions impatient() {
    TcpOptions options;
    options.local_ip = kServer;
    options.listen_port = kServerPort;
    options.sessions_max = 8;
    options.half_open_max = 8;
    options.receive_window_bytes = 10'000;
    options.buffers_bytes_max = 64 * 2048;
    options.rto_initial_ms = 200;
    options.delayed_ack_ms = 20;
    options.persist_max_ms = 500;
    options.slow_reader_timeout_s = 3;
    options.send_share_percent = 50;
    options.slow_reader_grace_ms = 400;
    options.buffers_low_percent = 50;
    options.out_of_order_total_bytes_max = 8 * 2048;
    options.keepalive_idle_s = 0;
    options.linger_ms = 1000;
    options.fin_wait_2_ms = 700;
    options.secret_seed = 7;
    return options;
}

class SlowPeer : public Script {
  protected:
    explicit SlowPeer(const TcpOptions& options = impatient()) : Script(options) {}

    const io::CloseReason& reason(int64_t session) { return server_.session(session).reason; }

    // Opens from `port`; the session's number. The peer's window is `window`.
    int64_t open(uint16_t port, uint16_t window = 65535) {
        inject({.flags = kSyn, .mss = 1000, .from_port = port});
        expect({.flags = kSyn | kAck, .ack = 1});
        inject({.flags = kAck, .seq = 1, .ack = 1, .window = window, .from_port = port});
        return static_cast<int64_t>(server_.session_count()) - 1;
    }
    // Answers each segment that comes within `ms` by an ACK of `taken` more bytes of it, with this
    // window. Stops at a RST; true when there was one.
    bool answer_for_ms(uint64_t ms, uint32_t& acked, uint32_t taken, uint16_t window) {
        for (uint64_t i = 0; i < ms; ++i) {
            step_ms(1);
            while (const auto got = next_frame()) {
                if ((got->flags & kRst) != 0) return true;
                ++answered_;
                acked = std::min(acked + taken, static_cast<uint32_t>(got->seq - iss_) +
                                                    static_cast<uint32_t>(got->data.size()));
                inject({.flags = kAck, .seq = 1, .ack = acked, .window = window});
            }
        }
        return false;
    }
    uint32_t answered_ = 0;
};

// RFC 9293, 3.8.6.1 keeps a peer that answers probes; RFC 6429 says why a server must not for ever.
TEST_F(SlowPeer, WindowClosed_ProbesAnswered_ClosedAfterTheTimeout) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, std::string(5000, 'r'));
    uint32_t acked = 1;
    EXPECT_FALSE(answer_for_ms(2900, acked, 0, 0));
    EXPECT_FALSE(server_.session(session).closed);
    EXPECT_TRUE(answer_for_ms(1000, acked, 0, 0));
    turn();
    ASSERT_TRUE(server_.session(session).closed);
    EXPECT_EQ(reason(session), io::CloseReason::kSlowReader);
    EXPECT_EQ(server_.counter(Counter::tcp_slow_readers), 1u);
    EXPECT_EQ(server_.transport().usage().blocks, 0u);
}

// One that closes its window and falls silent is not kept longer than one that answers.
TEST_F(SlowPeer, WindowClosed_ProbesNotAnswered_ClosedAfterTheTimeout) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, std::string(5000, 'r'));
    step_ms(2900);
    EXPECT_FALSE(server_.session(session).closed);
    step_ms(1000);
    EXPECT_TRUE(server_.session(session).closed);
    EXPECT_EQ(reason(session), io::CloseReason::kSlowReader);
}

// What a session may have queued is a share of what is free: 64 blocks here, and never less than
// two of them.
TEST_F(SlowPeer, BuffersTaken_NextSession_GetsAShareOfTheRest) {
    const int64_t first = open(1, 0);
    server_.send(first, std::string(200'000, 'f'));
    step_ms(1);
    const uint32_t taken = server_.transport().usage().blocks;
    EXPECT_GE(taken, 30u);
    EXPECT_LE(taken, 33u) << "half of what was free";
    const int64_t second = open(2, 0);
    server_.send(second, std::string(200'000, 's'));
    step_ms(1);
    EXPECT_LE(server_.transport().usage().blocks, taken + 17);
    EXPECT_GE(server_.transport().usage().blocks, taken + 14);
}

// A byte taken now and then is no progress: a segment is.
TEST_F(SlowPeer, WindowClosed_OneByteTakenPerProbe_ClosedAllTheSame) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, std::string(5000, 'r'));
    uint32_t acked = 1;
    EXPECT_TRUE(answer_for_ms(5000, acked, 1, 0));
    turn();
    EXPECT_GT(acked, 5u);
    EXPECT_LT(acked, 100u);
    EXPECT_EQ(reason(session), io::CloseReason::kSlowReader);
}

// The same with an open window: each byte is acknowledged at the last moment.
TEST_F(SlowPeer, WindowOpen_OneByteAcknowledgedPerTimeout_ClosedAllTheSame) {
    const int64_t session = open(kPeerPort);
    server_.send(session, std::string(5000, 'r'));
    uint32_t acked = 1;
    bool reset = false;
    for (int i = 0; i < 100 && !reset; ++i) {
        step_ms(300);
        while (const auto got = next_frame()) reset = reset || (got->flags & kRst) != 0;
        if (!reset) inject({.flags = kAck, .seq = 1, .ack = ++acked});
    }
    EXPECT_TRUE(reset);
    EXPECT_LT(acked, 20u);
    EXPECT_EQ(reason(session), io::CloseReason::kSlowReader);
}

// One that takes a segment every two seconds is slow, not stalled.
TEST_F(SlowPeer, WindowOpensNowAndThen_SegmentTaken_IsKept) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, std::string(20'000, 'r'));
    uint32_t acked = 1;
    for (int i = 0; i < 10; ++i) {
        ASSERT_FALSE(answer_for_ms(2000, acked, 0, 0)) << i;
        inject({.flags = kAck, .seq = 1, .ack = acked, .window = 1000});
        while (const auto got = next_frame()) {
            acked = std::max(acked, static_cast<uint32_t>(got->seq - iss_ + got->data.size()));
        }
        inject({.flags = kAck, .seq = 1, .ack = acked, .window = 0});
    }
    EXPECT_EQ(acked, 10'001u);
    EXPECT_FALSE(server_.session(session).closed);
}

// The probes' back-off is bounded, so that a lost window update costs no more than that.
TEST_F(SlowPeer, WindowClosed_ProbesComeAtLeastThatOften) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, "reply");
    uint32_t acked = 1;
    answer_for_ms(1500, acked, 0, 0);
    answered_ = 0;
    answer_for_ms(1400, acked, 0, 0);
    EXPECT_GE(answered_, 2u);
    EXPECT_LE(answered_, 4u);
    EXPECT_FALSE(server_.session(session).closed);
}

class PatientForEver : public SlowPeer {
  protected:
    static TcpOptions options() {
        TcpOptions options = impatient();
        options.slow_reader_timeout_s = 0;
        return options;
    }
    PatientForEver() : SlowPeer(options()) {}
};

TEST_F(PatientForEver, WindowClosed_NoTimeout_IsKept) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, "reply");
    uint32_t acked = 1;
    EXPECT_FALSE(answer_for_ms(60'000, acked, 0, 0));
    EXPECT_FALSE(server_.session(session).closed);
    inject({.flags = kAck, .seq = 1, .ack = 1, .window = 1000});
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = "reply"});
}

// 64 blocks, 32 of them to be free: with two stalled peers the one that holds more goes, not before
// the grace; the other, and one that reads, stay.
TEST_F(SlowPeer, BuffersShort_BiggestStalledPeerGoes_AfterTheGrace) {
    const int64_t big = open(1, 0);
    const int64_t small = open(2, 0);
    const int64_t good = open(3);
    server_.send(big, std::string(50'000, 'b'));
    server_.send(small, std::string(20'000, 's'));
    step_ms(500);  // the first persist timeouts are at 200 ms
    EXPECT_FALSE(server_.session(big).closed) << "within the grace";
    step_ms(300);
    EXPECT_TRUE(server_.session(big).closed);
    EXPECT_EQ(reason(big), io::CloseReason::kSlowReader);
    EXPECT_FALSE(server_.session(small).closed) << "enough is free again";
    EXPECT_EQ(server_.counter(Counter::tcp_slow_readers_memory), 1u);
    while (next_frame()) {
    }
    server_.send(good, "still served");
    turn();
    const auto got = next_frame();
    ASSERT_TRUE(got);
    EXPECT_EQ(got->data, "still served");
}

// A peer that reads is never closed for memory, however much it has been sent.
TEST_F(SlowPeer, BuffersShort_OnlyReadersThatRead_NobodyGoes) {
    const int64_t session = open(kPeerPort);
    server_.send(session, std::string(120'000, 'b'));
    uint32_t acked = 1;
    EXPECT_FALSE(answer_for_ms(3000, acked, 1000, 65535));
    EXPECT_EQ(acked, 120'001u);
    EXPECT_EQ(server_.counter(Counter::tcp_slow_readers_memory), 0u);
}

// Out of order data of all connections together: eight blocks here.
TEST_F(SlowPeer, OutOfOrder_AllConnections_AreBoundedTogether) {
    uint32_t numbers[5] = {};
    auto from = [&](uint16_t port, uint32_t seq, const std::string& data) {
        iss_ = numbers[port];
        inject({.flags = kAck, .seq = seq, .ack = 1, .data = data, .from_port = port});
        while (next_frame()) {
        }
    };
    for (uint16_t port = 1; port <= 4; ++port) {
        open(port);
        numbers[port] = iss_;
        for (uint32_t i = 0; i < 4; ++i) from(port, 101 + i * 2000, "ahead");
    }
    EXPECT_EQ(server_.transport().usage().blocks, 8u);
    EXPECT_EQ(server_.counter(Counter::drop_out_of_order_full), 8u);
    // What comes in order is taken all the same, and what waited behind it is delivered.
    from(1, 1, std::string(100, 'i'));
    turn();
    EXPECT_EQ(server_.session(0).received, std::string(100, 'i') + "ahead");
    from(4, 1, std::string(100, 'i'));
    turn();
    EXPECT_EQ(server_.session(3).received, std::string(100, 'i'));
    // The block that was freed can be used by another.
    from(4, 2101, "again");
    EXPECT_EQ(server_.counter(Counter::drop_out_of_order_full), 8u);
    for (uint16_t port = 1; port <= 4; ++port) {
        const uint32_t exact = port == 1 ? 106 : port == 4 ? 101 : 1;
        inject({.flags = kRst, .seq = exact, .from_port = port});
    }
    turn();
    EXPECT_EQ(server_.transport().usage().blocks, 0u);
}

class Keepalive : public SlowPeer {
  protected:
    static TcpOptions options() {
        TcpOptions options = impatient();
        options.keepalive_idle_s = 5;
        options.keepalive_interval_s = 2;
        options.keepalive_probes_max = 3;
        return options;
    }
    Keepalive() : SlowPeer(options()) {}
};

// RFC 1122, 4.2.3.6: the first probe after `idle`, the next ones every `interval`, then RST.
TEST_F(Keepalive, Silence_ProbesThenReset) {
    const int64_t session = open(kPeerPort);
    step_ms(4950);
    expect_nothing();
    for (int probe = 0; probe < 3; ++probe) {
        step_ms(probe == 0 ? 100 : 2000);
        expect({.flags = kAck, .seq = 0, .ack = 1});
        expect_nothing();
    }
    step_ms(1800);
    expect_nothing();
    step_ms(200);
    expect({.flags = kRst | kAck, .seq = 1, .ack = 1});
    turn();
    EXPECT_EQ(reason(session), io::CloseReason::kTimeout);
}

TEST_F(Keepalive, Answer_StartsAllOver) {
    const int64_t session = open(kPeerPort);
    for (int round = 0; round < 5; ++round) {
        step_ms(5050);
        expect({.flags = kAck, .seq = 0, .ack = 1});
        inject({.flags = kAck, .seq = 1, .ack = 1});
        expect_nothing();
    }
    EXPECT_FALSE(server_.session(session).closed);
}

// The peer acknowledged our FIN and never sends its own: not kept for ever, and counted.
TEST_F(SlowPeer, FinWait2_PeerNeverCloses_IsForgotten) {
    const int64_t session = open(kPeerPort);
    server_.close(session);
    turn();
    expect({.flags = kAck | kFin, .seq = 1, .ack = 1});
    step_ms(150);
    inject({.flags = kAck, .seq = 1, .ack = 2});
    step_ms(650);
    EXPECT_FALSE(server_.session(session).closed);
    step_ms(100);
    expect_nothing();
    EXPECT_TRUE(server_.session(session).closed);
    EXPECT_EQ(reason(session), io::CloseReason::kLocal);
    EXPECT_EQ(server_.counter(Counter::tcp_fin_wait_2_timeouts), 1u);
}

// Closing takes as long as the peer needs while it takes data, and tcp.linger_ms when it does not.
TEST_F(SlowPeer, Close_PeerTakesData_IsGivenTime) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, std::string(6000, 'c'));
    server_.close(session);
    uint32_t acked = 1;
    for (int i = 0; i < 6; ++i) {
        ASSERT_FALSE(answer_for_ms(600, acked, 0, 0)) << i;
        inject({.flags = kAck, .seq = 1, .ack = acked, .window = 1000});
        while (const auto got = next_frame()) {
            acked = std::max(acked, static_cast<uint32_t>(got->seq - iss_ + got->data.size()));
        }
        inject({.flags = kAck, .seq = 1, .ack = acked, .window = 0});
    }
    EXPECT_EQ(acked, 6001u);
    inject({.flags = kAck, .seq = 1, .ack = acked});
    expect({.flags = kAck | kFin, .seq = 6001, .ack = 1});
    EXPECT_FALSE(server_.session(session).closed);
}

TEST_F(SlowPeer, Close_PeerTakesNothing_IsResetAfterLinger) {
    const int64_t session = open(kPeerPort, 0);
    server_.send(session, std::string(6000, 'c'));
    server_.close(session);
    uint32_t acked = 1;
    EXPECT_TRUE(answer_for_ms(1500, acked, 0, 0));
    turn();
    EXPECT_EQ(reason(session), io::CloseReason::kSlowReader);
}

}  // namespace
}  // namespace cachee::packet
