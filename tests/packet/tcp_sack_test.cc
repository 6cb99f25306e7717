// SPDX-License-Identifier: Apache-2.0
// SACK and D-SACK as the receiver sends them (RFC 2018, 2883), one script per rule.
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

// RFC 2018, 2: permitted in the SYN and ACK only when the SYN permits it.
TEST_F(Script, SackPermitted_OnlyWhenOffered) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    EXPECT_FALSE(last_.sack);
    inject({.flags = kSyn, .mss = 1000, .sack = true, .from_port = 40001});
    expect({.flags = kSyn | kAck, .ack = 1});
    EXPECT_TRUE(last_.sack);
}

class SackOff : public Script {
  protected:
    SackOff() : Script(options()) {}
    static TcpOptions options() {
        TcpOptions options = default_options();
        options.sack = false;
        return options;
    }
};
TEST_F(SackOff, SackPermitted_SwitchedOff_IsNotAnswered) {
    inject({.flags = kSyn, .mss = 1000, .sack = true});
    expect({.flags = kSyn | kAck, .ack = 1});
    EXPECT_FALSE(last_.sack);
}

// RFC 2018, 4: the block of the segment that caused this ACK comes first.
TEST_F(Script, Sack_TwoGaps_LatestBlockFirst) {
    establish_with_sack();
    inject({.flags = kAck, .seq = 11, .ack = 1, .data = "aaaaa"});
    expect({.flags = kAck, .seq = 1, .ack = 1, .blocks = {{11, 16}}});
    inject({.flags = kAck, .seq = 21, .ack = 1, .data = "bbbbb"});
    expect({.flags = kAck, .seq = 1, .ack = 1, .blocks = {{21, 26}, {11, 16}}});
    inject({.flags = kAck, .seq = 16, .ack = 1, .data = "c"});
    expect({.flags = kAck, .seq = 1, .ack = 1, .blocks = {{11, 17}, {21, 26}}});
    inject({.flags = kAck, .seq = 17, .ack = 1, .data = "dddd"});
    expect({.flags = kAck, .seq = 1, .ack = 1, .blocks = {{11, 26}}});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "0123456789"});
    expect({.flags = kAck, .seq = 1, .ack = 26});
    EXPECT_EQ(server_.session(0).received, "0123456789aaaaacddddbbbbb");
}

// RFC 2018, 3: at most four blocks; three beside timestamps. The oldest reports fall out.
TEST_F(Script, Sack_FiveGaps_AtMostFourBlocks) {
    establish_with_sack();
    for (uint32_t i = 1; i <= 5; ++i) {
        inject({.flags = kAck, .seq = 1 + 10 * i, .ack = 1, .data = "x"});
        const auto got = next_frame();
        ASSERT_TRUE(got);
        EXPECT_EQ(got->blocks.size(), std::min(i, 4u));
        EXPECT_EQ(got->blocks[0].start - kPeerIss, 1 + 10 * i);
    }
}
TEST_F(Script, Sack_WithTimestamps_AtMostThreeBlocks) {
    establish_with_sack(100);
    for (uint32_t i = 1; i <= 4; ++i) {
        inject({.flags = kAck, .seq = 1 + 10 * i, .ack = 1, .data = "x", .ts = 101});
        const auto got = next_frame();
        ASSERT_TRUE(got);
        ASSERT_TRUE(got->ts);
        EXPECT_EQ(got->blocks.size(), std::min(i, 3u));
    }
}

// RFC 2883, 4.1: a segment that was acknowledged already is reported below the cumulative ACK,
// once.
TEST_F(Script, DSack_OldSegment_IsReportedOnce) {
    establish_with_sack();
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "0123456789"});
    step_ms(30);
    expect({.flags = kAck, .seq = 1, .ack = 11});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "01234"});
    expect({.flags = kAck, .seq = 1, .ack = 11, .blocks = {{1, 6}}});
    inject({.flags = kAck, .seq = 21, .ack = 1, .data = "x"});
    expect({.flags = kAck, .seq = 1, .ack = 11, .blocks = {{21, 22}}});
}

// RFC 2883, 4.1: a duplicate above the cumulative ACK, then the block that holds it.
TEST_F(Script, DSack_SegmentAheadOfGapTwice_IsReportedBeforeItsBlock) {
    establish_with_sack();
    inject({.flags = kAck, .seq = 11, .ack = 1, .data = "aaaaabbbbb"});
    expect({.flags = kAck, .seq = 1, .ack = 1, .blocks = {{11, 21}}});
    inject({.flags = kAck, .seq = 11, .ack = 1, .data = "aaaaa"});
    expect({.flags = kAck, .seq = 1, .ack = 1, .blocks = {{11, 16}, {11, 21}}});
}

// RFC 2883, 4.2: only the part that was there already is a duplicate.
TEST_F(Script, DSack_PartlyOldSegment_ReportsTheOldPart) {
    establish_with_sack();
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "01234"});
    step_ms(30);
    expect({.flags = kAck, .seq = 1, .ack = 6});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "0123456789"});
    expect({.flags = kAck, .seq = 1, .ack = 11, .blocks = {{1, 6}}});
}

// RFC 7323, 5.3 and RFC 2883: what an old timestamp drops is a duplicate too.
TEST_F(Script, DSack_OldTimestamp_IsReported) {
    establish_with_sack(100);
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "abc", .ts = 110});
    step_ms(30);
    expect({.flags = kAck, .seq = 1, .ack = 4});
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "abc", .ts = 105});
    expect({.flags = kAck, .seq = 1, .ack = 4, .blocks = {{1, 4}}});
}

// A zero-window probe or a keepalive is no duplicate: nothing is reported.
TEST_F(Script, DSack_Keepalive_ReportsNothing) {
    establish_with_sack();
    inject({.flags = kAck, .seq = 0, .ack = 1});
    expect({.flags = kAck, .seq = 1, .ack = 1});
}

}  // namespace
}  // namespace cachee::packet
