// SPDX-License-Identifier: Apache-2.0
// Loss detection and recovery as the sender does them, one script per rule. The server sends
// segments of 1000 bytes, numbered from 0; the round trip takes 10 ms.
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

using stats::Counter;

class Sender : public Script {
  protected:
    explicit Sender(TcpOptions options = default_options()) : Script(options) {}

    static constexpr uint32_t kFirst = 2;  // after the byte of warm_up()
    static uint32_t number(uint32_t segment) { return kFirst + 1000 * segment; }
    static SackBlock block(uint32_t from, uint32_t to) { return {number(from), number(to)}; }
    static std::string text(uint32_t segment) {
        return std::string(1000, static_cast<char>('A' + segment % 26));
    }

    // One byte there and back: from now on the round-trip time is known.
    void warm_up() {
        server_.send(0, "x");
        turn();
        expect({.flags = kAck, .seq = 1, .ack = 1, .data = "x"});
        step_ms(10);
        ack_bytes(kFirst);
    }
    void start_with_sack() {
        establish_with_sack();
        warm_up();
    }
    void start_without_sack() {
        establish();
        warm_up();
    }
    // Queues segments; the first `at_once` of them are expected on the wire.
    void send(uint32_t segments, uint32_t at_once) {
        std::string bytes;
        for (uint32_t i = 0; i < segments; ++i) bytes += text(queued_ + i);
        server_.send(0, bytes);
        turn();
        for (uint32_t i = 0; i < at_once; ++i) expect_segment(queued_ + i);
        queued_ += segments;
    }
    void expect_segment(uint32_t i) {
        SCOPED_TRACE("segment " + std::to_string(i));
        expect({.flags = kAck, .seq = number(i), .ack = 1, .data = text(i)});
    }
    void ack_bytes(uint32_t ack, const std::vector<SackBlock>& blocks = {}) {
        inject({.flags = kAck, .seq = 1, .ack = ack, .blocks = blocks});
    }
    // Everything before `segment` has arrived, and `blocks`.
    void ack(uint32_t segment, const std::vector<SackBlock>& blocks = {}) {
        ack_bytes(number(segment), blocks);
    }
    void all_is_acknowledged() {
        ack(queued_);
        step_ms(2000);
        expect_nothing();
        EXPECT_EQ(server_.transport().usage().segment_records, 0u);
        EXPECT_EQ(server_.transport().usage().blocks, 0u);
    }

    uint32_t queued_ = 0;
};

// --- RACK (RFC 8985)

// 6.2, step 4: without reordering so far, three segments beyond the hole are proof enough.
TEST_F(Sender, Rack_ThreeSegmentsBeyondHole_OnlyTheHoleIsSentAgain) {
    start_with_sack();
    send(6, 6);
    step_ms(10);
    ack(0, {block(1, 2)});
    ack(0, {block(1, 3)});
    expect_nothing();
    ack(0, {block(1, 4)});
    expect_segment(0);
    ack(0, {block(1, 6)});
    expect_nothing();
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_recoveries), 1u);
    EXPECT_EQ(server_.counter(Counter::tcp_retransmits), 1u);
    EXPECT_EQ(server_.counter(Counter::tcp_rto), 0u);
}

// 6.2, step 5: with fewer, a quarter of the round trip decides.
TEST_F(Sender, Rack_OneSegmentBeyondHole_LostAfterTheReorderingWindow) {
    start_with_sack();
    send(2, 2);
    step_ms(10);
    ack(0, {block(1, 2)});
    expect_nothing();
    step_ms(2);
    expect_nothing();
    step_ms(3);
    expect_segment(0);
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_rto) + server_.counter(Counter::tcp_tail_probes), 0u);
}

// Holes are repaired in one round trip, however many (RFC 6675 against RFC 6582).
TEST_F(Sender, Rack_ThreeHoles_AllSentAgainAtOnce) {
    start_with_sack();
    send(10, 10);
    step_ms(10);
    ack(0, {block(1, 2)});
    ack(0, {block(3, 4), block(1, 2)});
    ack(0, {block(5, 10), block(3, 4), block(1, 2)});
    expect_segment(0);
    expect_segment(2);
    expect_segment(4);
    expect_nothing();
    all_is_acknowledged();
}

// A retransmission that is lost too is noticed by time, without a timeout.
TEST_F(Sender, Rack_RetransmissionLost_IsSentAgain) {
    start_with_sack();
    send(6, 6);
    step_ms(10);
    ack(0, {block(1, 5)});
    expect_segment(0);
    step_ms(1);
    send(1, 1);  // new data, sent after the retransmission
    step_ms(10);
    ack(0, {block(1, 7)});
    step_ms(4);
    expect_segment(0);
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_rto), 0u);
}

// 6.2, step 3: once reordering was seen, three segments beyond a hole prove nothing any more.
TEST_F(Sender, Rack_ReorderingSeen_WaitsForTheWindow) {
    start_with_sack();
    send(4, 4);
    step_ms(10);
    ack(0, {block(1, 2)});
    ack(4);  // segment 0 was only late
    send(6, 6);
    step_ms(10);
    ack(4, {block(5, 9)});
    expect_nothing();
    step_ms(4);
    expect_segment(4);
    all_is_acknowledged();
}

// 6.2, step 4: a duplicate widens the window by a quarter of the round trip.
TEST_F(Sender, Rack_DuplicateReported_WindowIsWider) {
    start_with_sack();
    send(4, 4);
    step_ms(10);
    ack(0, {block(1, 2)});
    step_ms(4);
    expect_segment(0);      // too early:
    ack(4);                 // ... it had only been late
    ack(4, {block(0, 1)});  // D-SACK
    send(4, 4);
    step_ms(10);
    ack(4, {block(5, 6)});
    step_ms(4);
    expect_nothing();  // 2.5 ms last time, 5 ms now
    step_ms(3);
    expect_segment(4);
    all_is_acknowledged();
}

// --- tail loss probes (RFC 8985, 7)

// Nobody answers the last segments: the last one again, and its SACK shows the rest.
TEST_F(Sender, TailProbe_LastSegmentsLost_ProbeThenRecovery) {
    start_with_sack();
    send(3, 3);
    step_ms(20);
    expect_nothing();
    step_ms(4);
    expect_segment(2);
    EXPECT_EQ(server_.counter(Counter::tcp_tail_probes), 1u);
    step_ms(10);
    ack(0, {block(2, 3)});
    expect_segment(0);
    step_ms(10);
    ack(1, {block(2, 3)});
    expect_segment(1);
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_rto), 0u);
}

// New data is the better probe.
TEST_F(Sender, TailProbe_DataBeyondTheWindow_IsSentAsProbe) {
    start_with_sack();
    send(11, 10);
    step_ms(24);
    expect_segment(10);
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_retransmits), 0u);
}

// 7.4.2: the probe repaired the only loss; that is a congestion signal, though nothing else shows
// it. The window of 10 becomes one of 7.
TEST_F(Sender, TailProbe_RepairedALoss_WindowIsReduced) {
    start_with_sack();
    send(10, 10);
    step_ms(10);
    ack(9);
    step_ms(40);
    expect_segment(9);
    ack(10);
    send(1, 1);
    step_ms(10);
    ack(11);  // beyond the probe, and no duplicate was reported
    server_.send(0, std::string(30'000, 'q'));
    turn();
    uint32_t at_once = 0;
    while (next_frame()) ++at_once;
    EXPECT_GE(at_once, 2u);
    EXPECT_LT(at_once, 10u);
}

// --- retransmission timeout (RFC 6298), F-RTO (RFC 5682)

TEST_F(Sender, Timeout_AllLost_HeadFirstThenSlowStart) {
    start_with_sack();
    send(4, 4);
    step_ms(24);
    expect_segment(3);  // the probe
    step_ms(40);
    expect_segment(0);
    expect_nothing();
    step_ms(10);
    ack(1);
    expect_segment(1);
    expect_segment(2);
    step_ms(10);
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_rto), 1u);
    EXPECT_EQ(server_.counter(Counter::tcp_spurious_recoveries), 0u);
}

// RFC 5682, 3: what arrives after the timeout was never sent again, so nothing was lost.
TEST_F(Sender, Timeout_OriginalsWereLate_IsUndone) {
    start_with_sack();
    send(6, 6);
    step_ms(24);
    expect_segment(5);  // the probe
    step_ms(40);
    expect_segment(0);
    ack(3);  // 1 and 2 were sent once
    expect_nothing();
    EXPECT_EQ(server_.counter(Counter::tcp_spurious_recoveries), 1u);
    send(7, 7);  // the window of 10 is whole again: 3 are in flight
    all_is_acknowledged();
}

// The same without SACK: the first ACK may be for the retransmission, so new data is sent first and
// the second ACK decides.
TEST_F(Sender, TimeoutWithoutSack_SecondAckOfOriginals_IsUndone) {
    start_without_sack();
    send(10, 10);
    queued_ = 10;
    server_.send(0, text(10) + text(11) + text(12));
    queued_ = 13;
    step_ms(40);
    expect_segment(0);
    ack(1);
    expect_segment(10);
    expect_segment(11);
    expect_nothing();
    ack(2);
    EXPECT_EQ(server_.counter(Counter::tcp_spurious_recoveries), 1u);
    expect_nothing();  // the window is whole, and full
    ack(3);
    expect_segment(12);
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_retransmits), 1u);
}

// ... and a duplicate ACK says that it was a loss.
TEST_F(Sender, TimeoutWithoutSack_DuplicateAck_IsALoss) {
    start_without_sack();
    send(10, 10);
    server_.send(0, text(10) + text(11));
    queued_ = 12;
    step_ms(40);
    expect_segment(0);
    ack(1);
    expect_segment(10);
    expect_segment(11);
    ack(1);
    expect_segment(1);
    EXPECT_EQ(server_.counter(Counter::tcp_spurious_recoveries), 0u);
    all_is_acknowledged();
}

// --- undo

// RFC 3708, RFC 2883: everything that was sent again is reported as duplicate.
TEST_F(Sender, Undo_AllRetransmissionsDuplicates_WindowIsRestored) {
    start_with_sack();
    send(10, 10);
    step_ms(10);
    ack(0, {block(1, 4)});
    expect_segment(0);
    ack(10);
    ack(10, {block(0, 1)});
    EXPECT_EQ(server_.counter(Counter::tcp_spurious_recoveries), 1u);
    send(10, 10);  // it had come down to 7
}

// RFC 3522: the ACK echoes the first transmission's timestamp.
TEST_F(Sender, Undo_EchoOfTheFirstTransmission_WindowIsRestored) {
    establish_with_sack(100);
    server_.send(0, "x");
    turn();
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = "x"});
    step_ms(10);
    inject({.flags = kAck, .seq = 1, .ack = 2, .ts = 101, .ts_echo = *last_.ts});
    server_.send(0, std::string(6 * 988, 'q'));
    turn();
    for (uint32_t i = 0; i < 6; ++i) {
        expect({.flags = kAck, .seq = 2 + 988 * i, .ack = 1, .data = std::string(988, 'q')});
    }
    const uint32_t first = *last_.ts;
    step_ms(10);
    inject({.flags = kAck,
            .seq = 1,
            .ack = 2,
            .ts = 102,
            .ts_echo = first,
            .blocks = {{2 + 988, 2 + 4 * 988}}});
    expect({.flags = kAck, .seq = 2, .ack = 1, .data = std::string(988, 'q')});
    step_ms(2);
    inject({.flags = kAck, .seq = 1, .ack = 2 + 4 * 988, .ts = 103, .ts_echo = first});
    EXPECT_EQ(server_.counter(Counter::tcp_spurious_recoveries), 1u);
}

// --- peers without SACK (RFC 6582, 3042)

TEST_F(Sender, NewReno_LimitedTransmit_TwoNewSegmentsThenTheHole) {
    start_without_sack();
    send(14, 10);
    step_ms(10);
    ack(0);
    expect_segment(10);
    ack(0);
    expect_segment(11);
    ack(0);
    expect_segment(0);
    ack(12);
    expect_segment(12);
    expect_segment(13);
    all_is_acknowledged();
}

TEST_F(Sender, NewReno_PartialAck_NextHoleIsSentAgain) {
    start_without_sack();
    send(6, 6);
    step_ms(10);
    for (int i = 0; i < 3; ++i) ack(0);
    expect_segment(0);
    expect_nothing();
    step_ms(10);
    ack(2);
    expect_segment(2);
    expect_nothing();
    all_is_acknowledged();
    EXPECT_EQ(server_.counter(Counter::tcp_rto), 0u);
}

// RFC 6582, 3.2: duplicates of what a timeout sent again start no second recovery.
TEST_F(Sender, NewReno_DuplicatesAfterTimeout_NoFastRetransmit) {
    start_without_sack();
    send(5, 5);
    step_ms(40);
    expect_segment(0);
    for (int i = 0; i < 4; ++i) ack(0);
    EXPECT_EQ(server_.counter(Counter::tcp_recoveries), 0u);
    all_is_acknowledged();
}

// --- reports that are not to be trusted

TEST_F(Sender, Sack_OfWhatWasNeverSent_IsIgnoredAndCounted) {
    start_with_sack();
    send(3, 3);
    step_ms(10);
    ack(0, {block(1, 9)});
    ack(0, {{number(2), number(1)}});
    ack(0, {{number(0) - 3'000'000, number(0) - 2'000'000}});
    expect_nothing();
    EXPECT_EQ(server_.counter(Counter::tcp_sack_blocks_bad), 3u);
    EXPECT_EQ(server_.counter(Counter::tcp_recoveries), 0u);
    all_is_acknowledged();
}

// RFC 2018, 8: the peer reports what it then does not acknowledge; soon nothing of it is believed.
TEST_F(Sender, Sack_Reneging_EverythingIsSentAgain) {
    start_with_sack();
    send(3, 3);
    step_ms(10);
    ack(0, {block(0, 3)});
    step_ms(15);
    expect_segment(0);
    EXPECT_EQ(server_.counter(Counter::tcp_reneged), 1u);
    step_ms(10);
    ack(1);
    expect_segment(1);
    expect_segment(2);
    all_is_acknowledged();
}

// Half of a segment is reported: the other half alone is sent again.
TEST_F(Sender, Sack_HalfASegment_OtherHalfIsSentAgain) {
    start_with_sack();
    send(6, 6);
    step_ms(10);
    ack(0, {{number(0) + 400, number(5)}});
    expect({.flags = kAck, .seq = number(0), .ack = 1, .data = text(0).substr(0, 400)});
    expect_nothing();
    all_is_acknowledged();
}

// Whatever a peer reports, the sender keeps its books, and what it sends is what was queued.
TEST_F(Sender, Sack_RandomReports_NeverBreakTheSender) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        base::Rng rng(seed);
        const auto port = static_cast<uint16_t>(50000 + seed);
        inject({.flags = kSyn, .mss = 1000, .sack = seed % 2 == 0, .from_port = port});
        expect({.flags = kSyn | kAck, .ack = 1});
        inject({.flags = kAck, .seq = 1, .ack = 1, .from_port = port});
        const auto id = static_cast<int64_t>(seed) - 1;
        ASSERT_TRUE(server_.session(id).opened);
        uint32_t queued = 1;
        uint32_t sent = 1;  // highest sequence number seen
        uint32_t acked = 1;
        auto look = [&] {
            while (const auto got = next_frame()) {
                const uint32_t at = got->seq - iss_;
                for (size_t k = 0; k < got->data.size(); ++k) {
                    ASSERT_EQ(got->data[k], static_cast<char>('a' + (at + k) % 23));
                }
                sent = std::max(sent, at + static_cast<uint32_t>(got->data.size()));
            }
        };
        for (int step = 0; step < 400 && !server_.session(id).closed; ++step) {
            if (rng.chance(0.3)) {
                std::string bytes(1 + rng.below(5000), ' ');
                for (char& c : bytes) c = static_cast<char>('a' + queued++ % 23);
                server_.send(id, bytes);
            }
            if (rng.chance(0.7)) {
                if (rng.chance(0.4)) acked += static_cast<uint32_t>(rng.below(sent - acked + 1));
                Segment segment{.flags = kAck, .seq = 1, .ack = acked, .from_port = port};
                if (rng.chance(0.1)) segment.window = 0;
                for (uint64_t k = rng.below(4); k > 0; --k) {
                    const auto from = static_cast<uint32_t>(acked + rng.below(9000) - 1000);
                    segment.blocks.push_back({from, from + static_cast<uint32_t>(rng.below(4000))});
                }
                inject(segment);
            }
            step_ms(rng.below(rng.chance(0.1) ? 100 : 5));
            look();
        }
        for (int round = 0; round < 300 && acked != queued; ++round) {
            inject({.flags = kAck, .seq = 1, .ack = acked = sent, .from_port = port});
            step_ms(200);
            look();
        }
        EXPECT_EQ(acked, queued);
        inject({.flags = kRst, .seq = 1, .from_port = port});
        turn();
        EXPECT_EQ(server_.transport().usage().segment_records, 0u);
        EXPECT_EQ(server_.transport().usage().blocks, 0u);
    }
}

// --- a pool of records that is too small

class FewRecords : public Sender {
  protected:
    FewRecords() : Sender(options()) {}
    static TcpOptions options() {
        TcpOptions options = default_options();
        options.segment_records_max = 2;
        return options;
    }
};
TEST_F(FewRecords, Loss_SeveralSegmentsInOneRecord_AllIsDelivered) {
    start_with_sack();
    send(8, 8);
    EXPECT_EQ(server_.transport().usage().segment_records, 3u);
    step_ms(10);
    ack(0, {block(1, 8)});
    step_ms(5);
    expect_segment(0);
    all_is_acknowledged();
}

}  // namespace
}  // namespace cachee::packet
