// SPDX-License-Identifier: Apache-2.0
// RST and FIN in every state a connection can be in (RFC 9293, 3.10.7.4): exactly one kClosed, and
// nothing left behind.
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

class States : public Script {
  protected:
    void expect_gone(io::CloseReason reason) {
        turn();
        EXPECT_TRUE(server_.session(0).closed);
        EXPECT_EQ(server_.session(0).reason, reason);
        EXPECT_EQ(server_.transport().usage().sessions, 0u);
        EXPECT_EQ(server_.transport().usage().blocks, 0u);
        step_ms(5000);
        EXPECT_EQ(server_.transport().usage().time_wait, 0u);
    }
    void fin_wait_1() {
        establish();
        server_.half_close(0);
        turn();
        expect({.flags = kAck | kFin, .seq = 1, .ack = 1});
    }
    void fin_wait_2() {
        fin_wait_1();
        inject({.flags = kAck, .seq = 1, .ack = 2});
    }
    void close_wait() {
        establish();
        inject({.flags = kAck | kFin, .seq = 1, .ack = 1});
        expect({.flags = kAck, .seq = 1, .ack = 2});
        turn();
        ASSERT_TRUE(server_.session(0).eof);
    }
};

TEST_F(States, Rst_HalfOpen_IsForgotten) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    inject({.flags = kRst, .seq = 7});
    EXPECT_EQ(server_.transport().usage().half_open, 1u) << "not the exact number";
    inject({.flags = kRst, .seq = 1});
    EXPECT_EQ(server_.transport().usage().half_open, 0u);
    EXPECT_EQ(server_.session_count(), 0u);
}

// A forged SYN came first, from another link address: the peer's own SYN is answered where the peer
// is, whose RST then clears the way.
TEST_F(States, Syn_BehindAForgedOne_AnswerReachesThePeer) {
    inject({.flags = kSyn, .seq = 5000, .mss = 1000, .from_host = 9});
    expect_nothing();  // it went to the forger
    inject({.flags = kSyn, .seq = 0, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 5001});
    inject({.flags = kRst, .seq = 5001});
    inject({.flags = kSyn, .seq = 0, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 1});
    ASSERT_EQ(server_.session_count(), 1u);
    EXPECT_TRUE(server_.session(0).opened);
}

TEST_F(States, Rst_FinWait1_Closes) {
    fin_wait_1();
    inject({.flags = kRst, .seq = 1});
    expect_gone(io::CloseReason::kReset);
}

TEST_F(States, Rst_FinWait2_Closes) {
    fin_wait_2();
    inject({.flags = kRst, .seq = 1});
    expect_gone(io::CloseReason::kReset);
}

TEST_F(States, Rst_CloseWait_Closes) {
    close_wait();
    inject({.flags = kRst, .seq = 2});
    expect_gone(io::CloseReason::kReset);
}

TEST_F(States, Rst_LastAck_Closes) {
    close_wait();
    server_.close(0);
    turn();
    expect({.flags = kAck | kFin, .seq = 1, .ack = 2});
    inject({.flags = kRst, .seq = 2});
    expect_gone(io::CloseReason::kReset);
}

TEST_F(States, Rst_Closing_Closes) {
    fin_wait_1();
    inject({.flags = kAck | kFin, .seq = 1, .ack = 1});
    expect({.flags = kAck, .seq = 2, .ack = 2});
    inject({.flags = kRst, .seq = 2});
    expect_gone(io::CloseReason::kReset);
}

TEST_F(States, FinWait2_DataThenFin_IsDeliveredThenClosed) {
    fin_wait_2();
    inject({.flags = kAck, .seq = 1, .ack = 2, .data = "late"});
    inject({.flags = kAck | kFin, .seq = 5, .ack = 2});
    turn();
    EXPECT_EQ(server_.session(0).received, "late");
    EXPECT_TRUE(server_.session(0).eof);
    expect_gone(io::CloseReason::kPeer);
}

TEST_F(States, CloseWait_RepliesStillGo_LastAckEndsIt) {
    close_wait();
    server_.send(0, "bye");
    server_.close(0);
    turn();
    expect({.flags = kAck | kFin, .seq = 1, .ack = 2, .data = "bye"});
    inject({.flags = kAck | kFin, .seq = 1, .ack = 1});  // the peer's FIN once more
    expect({.flags = kAck, .seq = 5, .ack = 2});
    inject({.flags = kAck, .seq = 2, .ack = 5});
    expect_gone(io::CloseReason::kLocal);
}

TEST_F(States, FinWait2_ClosedAndPeerSilent_EndsByLinger) {
    establish();
    server_.close(0);
    turn();
    expect({.flags = kAck | kFin, .seq = 1, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 2});
    step_ms(11'000);
    expect_nothing();
    expect_gone(io::CloseReason::kLocal);
}

TEST_F(States, RandomSegments_AnySequence_NeverBreakTheStack) {
    base::Rng rng(23);
    for (int round = 0; round < 300; ++round) {
        const auto port = static_cast<uint16_t>(1000 + round);
        inject({.flags = kSyn, .mss = 1000, .from_port = port});
        const auto answer = next_frame();
        if (answer && (answer->flags & kSyn) != 0) iss_ = answer->seq;
        inject({.flags = kAck, .seq = 1, .ack = 1, .from_port = port});
        const auto session = static_cast<int64_t>(server_.session_count()) - 1;
        for (int i = 0; i < 60; ++i) {
            Segment segment;
            segment.flags = static_cast<uint8_t>(rng.below(64) | (rng.chance(0.7) ? kAck : 0));
            if (rng.chance(0.9)) segment.flags &= static_cast<uint8_t>(~(kRst | kSyn));
            segment.seq = static_cast<uint32_t>(rng.below(12'000)) - 500;
            segment.ack = static_cast<uint32_t>(rng.below(300)) - 20;
            segment.window = static_cast<uint16_t>(rng.below(3) * rng.below(65536) / 2);
            segment.data.assign(rng.below(900), 'r');
            segment.from_port = port;
            inject(segment);
            if (session >= 0 && i == 20) server_.send(session, "some reply bytes");
            if (session >= 0 && i == 40) server_.half_close(session);
            while (next_frame()) {
            }
        }
        inject({.flags = kRst, .seq = 1, .from_port = port});
        if (session >= 0 && !server_.session(session).closed) server_.abort(session);
        step_ms(3);
        while (next_frame()) {
        }
    }
    step_ms(30'000);
    EXPECT_EQ(server_.transport().usage().sessions, 0u);
    EXPECT_EQ(server_.transport().usage().half_open, 0u);
    EXPECT_EQ(server_.transport().usage().blocks, 0u);
}

}  // namespace
}  // namespace cachee::packet
