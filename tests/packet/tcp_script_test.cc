// SPDX-License-Identifier: Apache-2.0
// One script per rule; the rule's source is in its comment.
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

using stats::Counter;

// RFC 9293, 3.5 and 3.8.1: the SYN and ACK is repeated with back-off, then forgotten.
TEST_F(Script, Syn_NoAnswer_SynAckIsRepeated) {
    inject({.flags = kSyn, .mss = 1460});
    expect({.flags = kSyn | kAck, .ack = 1});
    EXPECT_EQ(last_.mss, 1460);
    EXPECT_FALSE(last_.ts) << "not offered, not answered";
    step_ms(150);
    expect_nothing();
    step_ms(100);
    expect({.flags = kSyn | kAck, .ack = 1});
    step_ms(300);
    expect_nothing();
    step_ms(150);
    expect({.flags = kSyn | kAck, .ack = 1});
    step_ms(20'000);
    EXPECT_EQ(server_.transport().usage().half_open, 0u);
}

// RFC 1122, 4.2.3.2: one small segment is acknowledged after the delay, two full ones at once.
TEST_F(Script, Data_SmallThenFull_AckDelayedThenAtOnce) {
    establish();
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "abc"});
    expect_nothing();
    step_ms(15);
    expect_nothing();
    step_ms(10);
    expect({.flags = kAck, .seq = 1, .ack = 4});
    inject({.flags = kAck, .seq = 4, .ack = 1, .data = std::string(1460, 'x')});
    expect_nothing();
    inject({.flags = kAck, .seq = 1464, .ack = 1, .data = std::string(1460, 'y')});
    expect({.flags = kAck, .seq = 1, .ack = 2924});
}

// RFC 5681, 4.2: data ahead of a gap is answered at once, and so is what fills it.
TEST_F(Script, Data_AheadOfGap_DuplicateAckThenJump) {
    establish();
    inject({.flags = kAck, .seq = 4, .ack = 1, .data = "def"});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "abc"});
    expect({.flags = kAck, .seq = 1, .ack = 7});
    turn();
    EXPECT_EQ(server_.session(0).received, "abcdef");
}

// What comes in order is taken even when the room for what is out of order is used up and nobody
// reads: it was promised, and nothing else could fill the gap.
class ShortOfRoom : public Script {
  protected:
    ShortOfRoom() : Script(options()) {}
    static TcpOptions options() {
        TcpOptions options = default_options();
        options.out_of_order_bytes_max = 0;  // two blocks are always granted
        return options;
    }
};
TEST_F(ShortOfRoom, Data_InOrderWhilePaused_IsTaken) {
    establish();
    server_.pause(0);
    for (uint32_t seq : {11u, 21u, 31u}) {
        inject({.flags = kAck, .seq = seq, .ack = 1, .data = "later"});
        expect({.flags = kAck, .seq = 1, .ack = 1});
    }
    EXPECT_EQ(server_.counter(Counter::drop_out_of_order_full), 1u);
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "0123456789"});
    expect({.flags = kAck, .seq = 1, .ack = 16});
    server_.resume(0);
    turn();
    EXPECT_EQ(server_.session(0).received, "0123456789later");
}

// RFC 9293, 3.10.7.4: overlapping data counts once, and FIN waits for what is before it.
TEST_F(Script, Fin_AheadOfData_IsTakenWhenTheDataIsThere) {
    establish();
    inject({.flags = kAck | kFin, .seq = 4, .ack = 1, .data = "def"});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_FALSE(server_.session(0).eof);
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "abcde"});
    turn();
    EXPECT_EQ(server_.session(0).received, "abcdef");
    EXPECT_TRUE(server_.session(0).eof);
}

// RFC 5961, 3.2: RST only with the exact sequence number; in the window it is challenged.
TEST_F(Script, Rst_InWindowThenExact_ChallengedThenObeyed) {
    establish();
    inject({.flags = kRst, .seq = 500});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    inject({.flags = kRst, .seq = 50'000});
    expect_nothing();
    EXPECT_FALSE(server_.session(0).closed);
    inject({.flags = kRst, .seq = 1});
    turn();
    expect_nothing();
    EXPECT_TRUE(server_.session(0).closed);
    EXPECT_EQ(server_.session(0).reason, io::CloseReason::kReset);
}

// RFC 5961, 4.2 and 5.2: a SYN, or an ACK of what was never sent, gets a challenge ACK.
TEST_F(Script, SynOrWildAck_Established_IsChallenged) {
    establish();
    inject({.flags = kSyn, .seq = 100});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    step_ms(100);
    inject({.flags = kAck, .seq = 1, .ack = 5000, .data = "evil"});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_EQ(server_.session(0).received, "");
    EXPECT_EQ(server_.counter(Counter::tcp_challenge_acks), 2u);
}

// RFC 9293, 3.5.2: no connection, RST that the sender will believe.
TEST_F(Script, NoConnection_AckOrData_GetsReset) {
    inject({.flags = kAck, .seq = 77, .ack = 1234});
    expect({.flags = kRst, .seq = 1234});
    inject({.flags = kFin, .seq = 10});
    const auto reset = next_frame();
    ASSERT_TRUE(reset);
    EXPECT_EQ(int{reset->flags}, kRst | kAck);
    EXPECT_EQ(reset->ack - kPeerIss, 11u);
    inject({.flags = kRst, .seq = 5});
    expect_nothing();
}

// RFC 6298, 5: the timer doubles; the same bytes go out again.
TEST_F(Script, Data_Unacknowledged_IsSentAgainWithBackOff) {
    establish();
    server_.send(0, "hello");
    turn();
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = "hello"});
    step_ms(190);
    expect_nothing();
    step_ms(20);
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = "hello"});
    step_ms(390);
    expect_nothing();
    step_ms(20);
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = "hello"});
    inject({.flags = kAck, .seq = 1, .ack = 6});
    step_ms(3000);
    expect_nothing();
}

// RFC 5681, 3.2: the third duplicate ACK sends the lost segment again, without waiting.
TEST_F(Script, DuplicateAcks_Three_FastRetransmit) {
    establish();
    server_.send(0, std::string(5000, 'q'));
    turn();
    for (uint32_t i = 0; i < 5; ++i) {
        expect({.flags = kAck, .seq = 1 + 1000 * i, .ack = 1, .data = std::string(1000, 'q')});
    }
    inject({.flags = kAck, .seq = 1, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 1});
    expect_nothing();
    inject({.flags = kAck, .seq = 1, .ack = 1});
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = std::string(1000, 'q')});
    inject({.flags = kAck, .seq = 1, .ack = 5001});
    step_ms(500);
    expect_nothing();
    EXPECT_EQ(server_.counter(Counter::tcp_rto), 0u);
}

// RFC 9293, 3.8.6.1: a closed window is probed; the opening is used at once.
TEST_F(Script, WindowZero_IsProbed_AndUsedWhenOpen) {
    establish();
    inject({.flags = kAck, .seq = 1, .ack = 1, .window = 0});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "x", .window = 0});
    server_.send(0, "reply");
    turn();
    expect_nothing();
    step_ms(30);
    expect({.flags = kAck, .seq = 1, .ack = 2});  // the delayed ACK of "x"
    step_ms(250);
    expect({.flags = kAck, .seq = 1, .ack = 2, .data = "r"});
    inject({.flags = kAck, .seq = 2, .ack = 1, .window = 0});
    inject({.flags = kAck, .seq = 2, .ack = 1, .window = 1000});
    expect({.flags = kAck, .seq = 1, .ack = 2, .data = "reply"});
}

// RFC 9293, 3.6: both sides close at once; TIME_WAIT answers a repeated FIN, then ends.
TEST_F(Script, Close_Simultaneous_EndsInTimeWait) {
    establish();
    server_.close(0);
    turn();
    expect({.flags = kAck | kFin, .seq = 1, .ack = 1});
    inject({.flags = kAck | kFin, .seq = 1, .ack = 1});
    expect({.flags = kAck, .seq = 2, .ack = 2});
    inject({.flags = kAck, .seq = 2, .ack = 2});
    turn();
    EXPECT_TRUE(server_.session(0).closed);
    EXPECT_EQ(server_.session(0).reason, io::CloseReason::kLocal);
    EXPECT_EQ(server_.transport().usage().time_wait, 1u);
    inject({.flags = kRst, .seq = 2});  // RFC 1337
    EXPECT_EQ(server_.transport().usage().time_wait, 1u);
    inject({.flags = kAck | kFin, .seq = 1, .ack = 2});
    expect({.flags = kAck, .seq = 2, .ack = 2});
    inject({.flags = kSyn, .seq = 1000, .mss = 1000});  // RFC 6191: certainly newer
    EXPECT_EQ(server_.transport().usage().time_wait, 0u);
    EXPECT_EQ(server_.transport().usage().half_open, 1u);
}

// RFC 7323, 5: a segment with an old timestamp is acknowledged and dropped.
TEST_F(Script, Timestamps_OldValue_IsDropped) {
    inject({.flags = kSyn, .mss = 1000, .ts = 100});
    expect({.flags = kSyn | kAck, .ack = 1});
    ASSERT_TRUE(last_.ts);
    EXPECT_EQ(last_.ts_echo, 100u);
    inject({.flags = kAck, .seq = 1, .ack = 1, .ts = 101, .ts_echo = *last_.ts});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "old", .ts = 50});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_EQ(server_.session(0).received, "");
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "new", .ts = 102});
    EXPECT_EQ(server_.session(0).received, "new");
}

// RFC 6928: ten segments before the first acknowledgement.
TEST_F(Script, InitialWindow_IsTenSegments) {
    establish();
    server_.send(0, std::string(20'000, 'i'));
    turn();
    for (uint32_t i = 0; i < 10; ++i) {
        expect({.flags = kAck, .seq = 1 + i * 1000, .ack = 1, .data = std::string(1000, 'i')});
    }
    expect_nothing();
}

// RFC 1122, 4.2.3.4: a small window is not filled with a small segment as long as a better one may
// come; what is waiting then goes in full.
TEST_F(Script, SillyWindow_SenderWaitsForAFullSegment) {
    establish();
    inject({.flags = kAck, .seq = 1, .ack = 1, .window = 150});
    server_.send(0, std::string(1000, 's'));
    turn();
    expect_nothing();
    inject({.flags = kAck, .seq = 1, .ack = 1, .window = 5000});
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = std::string(1000, 's')});
}

// RFC 9293, 3.5, figure 7: both open at once; the peer's SYN is answered with SYN and ACK.
TEST_F(Script, Open_Simultaneous_OneConnection) {
    const int64_t id = server_.connect(kPeer, kPeerPort, kServerPort);
    ASSERT_GE(id, 0);
    turn();
    next_frame();  // answers the ARP request
    wire_.push();
    turn();
    turn();
    expect({.flags = kSyn});
    inject({.flags = kSyn, .seq = 0, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    inject({.flags = kSyn | kAck, .seq = 0, .ack = 1, .mss = 1000});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "both"});
    turn();
    EXPECT_TRUE(server_.session(id).opened);
    EXPECT_EQ(server_.session(id).received, "both");
    EXPECT_EQ(server_.session_count(), 1u);
}

}  // namespace
}  // namespace cachee::packet
