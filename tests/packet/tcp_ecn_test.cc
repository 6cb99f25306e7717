// SPDX-License-Identifier: Apache-2.0
// Explicit congestion notification (RFC 3168) as sender and receiver, one script per rule.
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

using stats::Counter;

constexpr uint8_t kNotCapable = 0;
constexpr uint8_t kCapable = 2;
constexpr uint8_t kMarked = 3;

class EcnScript : public Script {
  protected:
    explicit EcnScript(TcpOptions options = default_options()) : Script(options) {}
    void establish_with_ecn() {
        inject({.flags = kSyn | kEce | kCwr, .mss = 1000, .sack = true});
        expect({.flags = kSyn | kAck | kEce, .ack = 1});
        EXPECT_EQ(last_.ecn, kNotCapable);
        inject({.flags = kAck, .seq = 1, .ack = 1});
        expect_nothing();
        ASSERT_TRUE(server_.session(0).opened);
    }
    static std::string text(size_t segments) { return std::string(1000 * segments, 'q'); }
};

// 6.1.1: agreed to when asked for, in the SYN and ACK with ECE alone.
TEST_F(EcnScript, Syn_Asks_IsAgreedTo) { establish_with_ecn(); }

TEST_F(EcnScript, Syn_DoesNotAsk_NothingIsMarkedCapable) {
    establish();
    server_.send(0, "reply");
    turn();
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = "reply"});
    EXPECT_EQ(last_.ecn, kNotCapable);
    inject({.flags = kAck, .seq = 1, .ack = 6, .data = "x", .ecn = kMarked});
    step_ms(30);
    expect({.flags = kAck, .seq = 6, .ack = 2});  // no ECE
}

class EcnOff : public EcnScript {
  protected:
    EcnOff() : EcnScript(options()) {}
    static TcpOptions options() {
        TcpOptions options = default_options();
        options.ecn = Ecn::kOff;
        return options;
    }
};
TEST_F(EcnOff, Syn_Asks_IsNotAgreedTo) {
    inject({.flags = kSyn | kEce | kCwr, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
}

class EcnCookies : public EcnScript {
  protected:
    EcnCookies() : EcnScript(options()) {}
    static TcpOptions options() {
        TcpOptions options = default_options();
        options.syn_cookies = SynCookiesUse::kAlways;
        return options;
    }
};

// Nothing is remembered of the SYN: the wish comes back in the echoed timestamp.
TEST_F(EcnCookies, Syn_AsksWithTimestamps_IsRemembered) {
    inject({.flags = kSyn | kEce | kCwr, .mss = 1000, .ts = 1000});
    expect({.flags = kSyn | kAck | kEce, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 1, .ts = 1001, .ts_echo = *last_.ts});
    while (next_frame()) {  // the window opens beyond a SYN's
    }
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "x", .ecn = kMarked, .ts = 1002});
    step_ms(30);
    expect({.flags = kAck | kEce, .seq = 1, .ack = 2});
}

TEST_F(EcnCookies, Syn_AsksWithoutTimestamps_IsNotAgreedTo) {
    inject({.flags = kSyn | kEce | kCwr, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
}

TEST_F(EcnCookies, Syn_DoesNotAsk_NothingIsEchoed) {
    inject({.flags = kSyn, .mss = 1000, .ts = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 1, .ts = 1001, .ts_echo = *last_.ts});
    while (next_frame()) {
    }
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "x", .ecn = kMarked, .ts = 1002});
    step_ms(30);
    expect({.flags = kAck, .seq = 1, .ack = 2});
}

// 6.1.2, 6.1.4, 6.1.5: new data is capable; ACKs and what is sent again are not.
TEST_F(EcnScript, Marking_NewDataOnly) {
    establish_with_ecn();
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "x"});
    step_ms(30);
    expect({.flags = kAck, .seq = 1, .ack = 2});
    EXPECT_EQ(last_.ecn, kNotCapable);
    server_.send(0, "reply");
    turn();
    expect({.flags = kAck, .seq = 1, .ack = 2, .data = "reply"});
    EXPECT_EQ(last_.ecn, kCapable);
    step_ms(220);
    expect({.flags = kAck, .seq = 1, .ack = 2, .data = "reply"});
    EXPECT_EQ(last_.ecn, kNotCapable);
}

// 6.1.3: a mark is echoed on everything until the sender says CWR.
TEST_F(EcnScript, Receiver_MarkedSegment_EchoesUntilCwr) {
    establish_with_ecn();
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "a", .ecn = kMarked});
    step_ms(30);
    expect({.flags = kAck | kEce, .seq = 1, .ack = 2});
    inject({.flags = kAck, .seq = 2, .ack = 1, .data = "b", .ecn = kCapable});
    server_.send(0, "reply");
    turn();
    expect({.flags = kAck | kEce, .seq = 1, .ack = 3, .data = "reply"});
    inject({.flags = kAck | kCwr, .seq = 3, .ack = 6, .data = "c", .ecn = kCapable});
    step_ms(30);
    expect({.flags = kAck, .seq = 6, .ack = 4});
    EXPECT_EQ(server_.counter(Counter::tcp_ecn_marks), 1u);
}

// The same segment may end one episode and begin the next.
TEST_F(EcnScript, Receiver_CwrOnAMarkedSegment_GoesOnEchoing) {
    establish_with_ecn();
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "a", .ecn = kMarked});
    step_ms(30);
    expect({.flags = kAck | kEce, .seq = 1, .ack = 2});
    inject({.flags = kAck | kCwr, .seq = 2, .ack = 1, .data = "b", .ecn = kMarked});
    step_ms(30);
    expect({.flags = kAck | kEce, .seq = 1, .ack = 3});
}

// 6.1.2: one reduction per window, then CWR on the next new data; nothing is sent again.
TEST_F(EcnScript, Sender_EchoOnTwoAcks_ReducesOnceAndSaysCwr) {
    establish_with_ecn();
    server_.send(0, text(10));
    turn();
    for (uint32_t i = 0; i < 10; ++i) {
        expect({.flags = kAck, .seq = 1 + 1000 * i, .ack = 1, .data = text(1)});
    }
    step_ms(5);
    inject({.flags = kAck | kEce, .seq = 1, .ack = 2001});
    inject({.flags = kAck | kEce, .seq = 1, .ack = 4001});
    EXPECT_EQ(server_.counter(Counter::tcp_ecn_reductions), 1u);
    server_.send(0, text(9));
    turn();
    // 6 are in flight, and the window has come down from 10 and a little.
    expect({.flags = kAck | kCwr, .seq = 10001, .ack = 1, .data = text(1)});
    inject({.flags = kAck, .seq = 1, .ack = 8001});
    uint32_t more = 0;
    while (const auto got = next_frame()) {
        EXPECT_EQ(got->flags & kCwr, 0) << "once";
        ++more;
    }
    EXPECT_LT(more, 8u);
    EXPECT_EQ(server_.counter(Counter::tcp_retransmits), 0u);
    EXPECT_EQ(server_.counter(Counter::tcp_recoveries), 0u);
}

}  // namespace
}  // namespace cachee::packet
