// SPDX-License-Identifier: Apache-2.0
// The pieces of loss recovery by themselves: records of segments in flight, RACK's judgement,
// proportional rate reduction, CUBIC's curve.
#include "net/recovery.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "net/bytes.h"
#include "net/congestion.h"
#include "net/cubic.h"
#include "net/rack.h"
#include "net/sack_scoreboard.h"

namespace cachee::net {
namespace {

class Board : public ::testing::Test {
  protected:
    Board() : pool_(2, 62), blocks_(64 * 1024) {
        uint32_t previous = kNoBlock;
        for (uint32_t i = 0; i < 8; ++i) {  // 800 bytes each
            const uint32_t index = blocks_.allocate();
            blocks_.at(index).end = 800;
            if (previous == kNoBlock) {
                first_ = index;
            } else {
                blocks_.at(previous).next = index;
            }
            previous = index;
        }
    }
    // Segments of 1000 bytes from `kBase` on, sent one microsecond apart.
    void send(uint32_t count) {
        for (uint32_t i = 0; i < count; ++i) {
            const uint32_t start = kBase + 1000 * sent_;
            const send_queue::Cursor at = send_queue::advance(blocks_, {first_, 0}, 1000 * sent_);
            ASSERT_TRUE(scoreboard::room(board_, pool_, 0));
            scoreboard::append(board_, pool_, 0, start, start + 1000, 100 + sent_, at);
            ++sent_;
        }
    }
    Delivered sack(uint32_t from, uint32_t to) {
        Delivered d;
        d.fack = kBase;
        d.recover = kBase;
        scoreboard::sack(board_, pool_, blocks_, 0, kBase + from, kBase + to, d);
        return d;
    }
    Delivered acknowledge(uint32_t to) {
        Delivered d;
        d.fack = kBase;
        d.recover = kBase;
        scoreboard::acknowledge(board_, pool_, kBase + to, {first_, 0}, d);
        return d;
    }

    static constexpr uint32_t kBase = 0xfffff000;  // wraps within the test
    SentPool pool_;
    BlockPool blocks_;
    Scoreboard board_;
    uint32_t first_ = kNoBlock;
    uint32_t sent_ = 0;
};

TEST_F(Board, Acknowledge_WholeAndPart_FreesAndTrims) {
    send(3);
    EXPECT_EQ(pool_.in_use(), 3u);
    const Delivered d = acknowledge(1400);
    EXPECT_EQ(d.bytes, 1400u);
    EXPECT_EQ(board_.segments, 2u);
    EXPECT_EQ(pool_.at(board_.head).start, kBase + 1400);
    EXPECT_EQ(acknowledge(3000).bytes, 1600u);
    EXPECT_TRUE(board_.empty());
    EXPECT_EQ(pool_.in_use(), 0u);
}

TEST_F(Board, Sack_SameBlockTwice_CountsOnce) {
    send(5);
    EXPECT_EQ(sack(1000, 3000).bytes, 2000u);
    EXPECT_EQ(sack(1000, 4000).bytes, 1000u);
    EXPECT_EQ(board_.sacked_bytes, 3000u);
    EXPECT_EQ(board_.sacked_segments, 3u);
    EXPECT_EQ(board_.in_network(5000), 2000u);
    const Delivered d = acknowledge(5000);
    EXPECT_EQ(d.bytes, 2000u) << "what SACK had delivered is not delivered again";
    EXPECT_EQ(board_.sacked_bytes + board_.sacked_segments, 0u);
}

TEST_F(Board, Sack_PartOfSegments_SplitsWithTheRightPlaceInTheQueue) {
    send(3);
    sack(1500, 2200);
    ASSERT_EQ(board_.segments, 5u);
    EXPECT_EQ(board_.sacked_bytes, 700u);
    uint32_t i = board_.head;
    const uint32_t starts[] = {0, 1000, 1500, 2000, 2200};
    for (uint32_t start : starts) {
        const SentSegment& segment = pool_.at(i);
        EXPECT_EQ(segment.start, kBase + start);
        EXPECT_EQ(segment.at.offset, start % 800) << start;
        i = segment.next;
    }
}

TEST_F(Board, Sack_PoolEmpty_PartIsNotBelieved) {
    SentPool tiny(1, 0);
    Scoreboard board;
    scoreboard::append(board, tiny, 0, 0, 1000, 1, {});
    EXPECT_TRUE(scoreboard::room(board, tiny, 0));
    scoreboard::append(board, tiny, 0, 1000, 2000, 2, {});
    EXPECT_EQ(board.segments, 1u) << "the tail's record was extended";
    EXPECT_EQ(tiny.at(board.tail).end, 2000u);
    Delivered d;
    scoreboard::sack(board, tiny, blocks_, 0, 500, 2000, d);
    EXPECT_EQ(board.sacked_bytes, 0u);
    scoreboard::sack(board, tiny, blocks_, 0, 0, 2000, d);
    EXPECT_EQ(board.sacked_bytes, 2000u);
    EXPECT_FALSE(scoreboard::room(board, tiny, 0)) << "what the peer has is not extended";
    scoreboard::clear(board, tiny);
    EXPECT_EQ(tiny.in_use(), 0u);
}

TEST_F(Board, RandomOperations_CountsAgreeWithARecount) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        base::Rng rng(seed);
        scoreboard::clear(board_, pool_);
        sent_ = 0;
        send(6);
        uint32_t una = 0;
        for (int step = 0; step < 30 && !board_.empty(); ++step) {
            const auto from = static_cast<uint32_t>(rng.below(6000));
            const auto to = from + 1 + static_cast<uint32_t>(rng.below(6000 - from));
            switch (rng.below(5)) {
                case 0:
                    if (to > una) acknowledge(una = to);
                    break;
                case 1:
                    if (const uint32_t i = scoreboard::first_lost(board_, pool_); i != kNoRecord) {
                        scoreboard::sent_again(board_, pool_.at(i), 1000);
                    }
                    break;
                case 2:
                    scoreboard::mark_all_lost(board_, pool_);
                    break;
                case 3:
                    if (rng.chance(0.2)) scoreboard::forget_sacked(board_, pool_);
                    break;
                default:
                    sack(std::max(from, una), std::max(to, una));
            }
            uint32_t lost = 0;
            uint32_t sacked = 0;
            uint32_t segments = 0;
            uint32_t at = kBase + una;
            for (uint32_t i = board_.head; i != kNoRecord; i = pool_.at(i).next) {
                const SentSegment& segment = pool_.at(i);
                EXPECT_EQ(segment.start, at) << "no gaps";
                at = segment.end;
                ++segments;
                if (segment.is(SentSegment::kLost)) lost += segment.size();
                if (segment.is(SentSegment::kSacked)) sacked += segment.size();
                EXPECT_FALSE(segment.is(SentSegment::kLost) && segment.is(SentSegment::kSacked));
            }
            ASSERT_EQ(board_.lost_bytes, lost);
            ASSERT_EQ(board_.sacked_bytes, sacked);
            ASSERT_EQ(board_.segments, segments);
            ASSERT_EQ(pool_.in_use(), segments);
        }
    }
}

TEST_F(Board, RackDetect_SentBeforeDelivered_IsLostAfterTheWindow) {
    send(4);
    Rack rack;
    rack.fack = kBase;
    rack::on_rtt(rack, 1000, 1100);
    const Delivered d = sack(2000, 3000);
    rack::on_delivered(rack, d, 1102);
    EXPECT_EQ(rack.rtt_us, 1000u);
    // Segments 0 and 1 were sent 2 and 1 us before segment 2; 3 after it.
    EXPECT_EQ(rack::detect_losses(rack, board_, pool_, 1102, 250), 249u);
    EXPECT_EQ(board_.lost_bytes, 0u);
    EXPECT_EQ(rack::detect_losses(rack, board_, pool_, 1102 + 248, 250), 1u);
    EXPECT_EQ(board_.lost_bytes, 1000u);
    EXPECT_EQ(rack::detect_losses(rack, board_, pool_, 1102 + 249, 250), 0u);
    EXPECT_EQ(board_.lost_bytes, 2000u);
}

TEST_F(Board, RackWindow_FollowsReorderingAndDuplicates) {
    Rack rack;
    rack::on_rtt(rack, 1000, 5);
    EXPECT_EQ(rack::reordering_window_us(rack, 4000, false, 0), 250u);
    EXPECT_EQ(rack::reordering_window_us(rack, 4000, false, 3), 0u) << "no reordering seen";
    EXPECT_EQ(rack::reordering_window_us(rack, 4000, true, 0), 0u);
    rack.reordering_seen = true;
    EXPECT_EQ(rack::reordering_window_us(rack, 4000, true, 5), 250u);
    rack::on_duplicate(rack, 100, 200);
    rack::on_duplicate(rack, 150, 250);
    EXPECT_EQ(rack::reordering_window_us(rack, 4000, true, 0), 500u) << "once in a round trip";
    for (uint32_t i = 0; i < 50; ++i) rack::on_duplicate(rack, 200 + 100 * i, 300 + 100 * i);
    EXPECT_EQ(rack::reordering_window_us(rack, 4000, true, 0), 4000u) << "at most SRTT";
    for (int i = 0; i < 16; ++i) rack::on_recovery_end(rack);
    EXPECT_EQ(rack::reordering_window_us(rack, 4000, true, 0), 250u);
}

// RFC 9937, 6.2: the window comes down to ssthresh over one round trip, not at once.
TEST(Prr, OneLossOfTwenty_SendsInProportion) {
    Recovery r;
    constexpr uint32_t kMss = 1000;
    recovery::prr_start(r, 20 * kMss, 3 * kMss);
    uint32_t in_network = 16 * kMss;  // 20, three reported, one lost
    uint32_t sent = 0;
    for (uint32_t ack = 0; ack < 16; ++ack) {
        in_network -= kMss;
        const uint32_t window = recovery::prr_window(r, 14 * kMss, kMss, in_network, kMss, false);
        while (in_network + kMss <= window) {
            in_network += kMss;
            r.prr_out += kMss;
            ++sent;
        }
    }
    EXPECT_LE(in_network, 14 * kMss);
    EXPECT_GE(in_network, 13 * kMss);
    EXPECT_GE(sent, 13u);
    EXPECT_LE(sent, 15u);
}

TEST(Prr, BelowThreshold_SafeAcksGrowByOneSegment) {
    Recovery r;
    recovery::prr_start(r, 20'000, 0);
    EXPECT_EQ(recovery::prr_window(r, 10'000, 1000, 4'000, 1000, true), 6'000u);
    r.prr_out = 2000;
    EXPECT_EQ(recovery::prr_window(r, 10'000, 1000, 5'000, 1000, false), 6'000u);
}

// RFC 9438, 4.2: back at W_max after K seconds, on the curve before and after.
TEST(CubicWindow, AfterReduction_FollowsTheCurve) {
    Cubic cubic;
    constexpr uint32_t kMss = 1000;
    uint32_t cwnd = 1000 * kMss;
    EXPECT_EQ(cubic::reduce(cubic, cwnd, kMss, cwnd), 700u * kMss);
    cwnd = 700 * kMss;
    const double k = std::cbrt(300 / 0.4);
    constexpr uint32_t kRttUs = 100'000;
    uint32_t now_us = 4'294'000'000;  // wraps
    double seconds = 0;
    for (int round = 0; seconds < 2 * k; ++round) {
        for (uint32_t acked = 0; acked < cwnd; acked += 10 * kMss) {
            cwnd += cubic::growth(cubic, cwnd, kMss, 10 * kMss, kRttUs, now_us);
        }
        now_us += kRttUs;
        seconds += 0.1;
        const double wanted = 0.4 * std::pow(seconds - k, 3) + 1000;
        if (seconds > 1) {
            EXPECT_NEAR(cwnd / double{kMss}, wanted, 0.03 * wanted) << seconds;
        }
    }
}

// 4.3: where Reno would be larger, it is Reno's window.
TEST(CubicWindow, ShortRoundTrip_GrowsAtLeastAsReno) {
    Cubic cubic;
    constexpr uint32_t kMss = 1000;
    uint32_t cwnd = 20 * kMss;
    cubic::reduce(cubic, cwnd, kMss, cwnd);
    cwnd = 14 * kMss;
    uint32_t now_us = 1000;
    for (int round = 0; round < 40; ++round, now_us += 1000) {
        for (uint32_t acked = 0; acked < 14 * kMss; acked += 2 * kMss) {
            cwnd += cubic::growth(cubic, cwnd, kMss, 2 * kMss, 1000, now_us);
        }
    }
    // 3 (1 - 0.7) / (1 + 0.7) segments in each of some 30 round trips of its growing window.
    EXPECT_GT(cwnd, 24u * kMss);
    EXPECT_LT(cwnd, 50u * kMss);
}

TEST(CubicWindow, LosingGround_ReleasesSomeOfItsShare) {
    Cubic cubic;
    cubic::reduce(cubic, 100'000, 1000, 100'000);
    EXPECT_FLOAT_EQ(cubic.window_max, 100);
    cubic::reduce(cubic, 80'000, 1000, 80'000);
    EXPECT_FLOAT_EQ(cubic.window_max, 80 * 1.7F / 2);
    cubic::undo(cubic);
    EXPECT_FLOAT_EQ(cubic.window_max, 100);
}

// RFC 3465: bytes are counted, not ACKs; after a timeout at most one segment for each.
TEST(Congestion, SlowStart_CountsBytes) {
    Hot hot;
    Cold cold;
    hot.mss = 1000;
    congestion::start(hot);
    EXPECT_EQ(hot.cwnd, 10'000u);  // RFC 6928
    congestion::on_ack(hot, cold, CongestionControl::kCubic, 500, 10'000, 0);
    EXPECT_EQ(hot.cwnd, 10'500u);
    congestion::on_ack(hot, cold, CongestionControl::kCubic, 50'000, 50'000, 0);
    EXPECT_EQ(hot.cwnd, 18'500u);
    cold.recovery.phase = Phase::kLoss;
    congestion::on_ack(hot, cold, CongestionControl::kCubic, 50'000, 50'000, 0);
    EXPECT_EQ(hot.cwnd, 19'500u);
    congestion::on_ack(hot, cold, CongestionControl::kCubic, 1000, 9'000, 0);
    EXPECT_EQ(hot.cwnd, 19'500u) << "a window that is not used does not grow";
}

TEST(Congestion, NewReno_OneSegmentPerWindow) {
    Hot hot;
    Cold cold;
    hot.mss = 1000;
    hot.cwnd = hot.ssthresh = 10'000;
    for (int i = 0; i < 10; ++i) {
        congestion::on_ack(hot, cold, CongestionControl::kNewReno, 1000, 10'000, 0);
    }
    EXPECT_NEAR(hot.cwnd, 11'000, 100);
    congestion::reduce(hot, cold, CongestionControl::kNewReno, 11'000);
    EXPECT_EQ(hot.ssthresh, 5'500u);
    hot.cwnd = 100'000;
    congestion::on_idle(hot, cold);
    EXPECT_EQ(hot.cwnd, 10'000u);
}

}  // namespace
}  // namespace cachee::net
