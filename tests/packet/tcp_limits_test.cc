// SPDX-License-Identifier: Apache-2.0
// What strangers may make the stack hold and send: SYN cookies, half-open entries, challenge ACKs,
// RSTs, TIME_WAIT. One script per rule; the rule's source is in its comment.
#include <set>

#include "net/syn_cookies.h"
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

using stats::Counter;

TcpOptions cookie_options(SynCookiesUse use, uint32_t half_open_max = 4) {
    TcpOptions options;
    options.local_ip = kServer;
    options.listen_port = kServerPort;
    options.sessions_max = 8;
    options.half_open_max = half_open_max;
    options.receive_window_bytes = 200'000;  // a window scale of 2
    options.buffers_bytes_max = 1 << 20;
    options.rto_initial_ms = 200;
    options.delayed_ack_ms = 20;
    options.syn_cookies = use;
    options.secret_seed = 7;
    return options;
}

class Cookies : public Script {
  protected:
    explicit Cookies(SynCookiesUse use = SynCookiesUse::kAlways) : Script(cookie_options(use)) {}
    const TcpTransport::Usage usage() { return server_.transport().usage(); }
};

class CookiesAuto : public Cookies {
  protected:
    CookiesAuto() : Cookies(SynCookiesUse::kAuto) {}
};

class CookiesOff : public Cookies {
  protected:
    CookiesOff() : Cookies(SynCookiesUse::kOff) {}
};

// RFC 4987, 3.6: nothing is kept between SYN and ACK, and the ACK opens the connection.
TEST_F(Cookies, Handshake_NothingIsHeld_AckOpens) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    EXPECT_EQ(usage().half_open, 0u);
    step_ms(5000);
    expect_nothing();  // nobody remembers to repeat it
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "ping"});
    turn();
    ASSERT_EQ(server_.session_count(), 1u);
    EXPECT_EQ(server_.session(0).received, "ping");
    EXPECT_EQ(server_.counter(Counter::tcp_cookies_sent), 1u);
    EXPECT_EQ(server_.counter(Counter::tcp_cookies_accepted), 1u);
    server_.send(0, std::string(1200, 'm'));
    turn();
    expect({.flags = kAck, .seq = 1, .ack = 5});  // the window opens beyond a SYN's 65,535
    // 1,000 was offered, the table's next lower value is 536.
    expect({.flags = kAck, .seq = 1, .ack = 5, .data = std::string(536, 'm')});
}

// Options survive in the timestamp: window scale, SACK-permitted; the MSS in the cookie.
TEST_F(Cookies, Handshake_WithTimestamps_OptionsAreKept) {
    step_ms(500);
    inject({.flags = kSyn, .mss = 1460, .scale = 5, .sack = true, .ts = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    ASSERT_TRUE(last_.ts);
    EXPECT_EQ(last_.scale, 2);
    EXPECT_EQ(*last_.ts & 0x1f, 0x15u) << "window scale 5 and SACK-permitted";
    inject({.flags = kAck, .seq = 1, .ack = 1, .window = 100, .ts = 1001, .ts_echo = *last_.ts});
    ASSERT_EQ(server_.session_count(), 1u);
    expect({.flags = kAck, .seq = 1, .ack = 1});
    // Ours is scaled too: the window opens beyond a SYN's 65,535.
    EXPECT_EQ(last_.window, 200'000 >> 2);
    server_.send(0, std::string(5000, 'w'));
    turn();
    // The window is 100 << 5 = 3,200 bytes: two full segments, and no third one.
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = std::string(1448, 'w')});
    expect({.flags = kAck, .seq = 1449, .ack = 1, .data = std::string(1448, 'w')});
    expect_nothing();
}

// Without timestamps there is nowhere to keep a window scale, so none is agreed on.
TEST_F(Cookies, Handshake_WithoutTimestamps_NoWindowScale) {
    inject({.flags = kSyn, .mss = 1460, .scale = 5});
    expect({.flags = kSyn | kAck, .ack = 1});
    EXPECT_EQ(last_.scale, kNoWindowScale);
    inject({.flags = kAck, .seq = 1, .ack = 1, .window = 100});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    server_.send(0, std::string(300, 'w'));
    turn();
    // 100 bytes, not scaled: less than half of any window seen would wait, this is all of it.
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = std::string(100, 'w')});
}

TEST_F(Cookies, Ack_OfAnyOtherNumber_IsResetAndCounted) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    for (const uint32_t off : {1u, 2u, 1u << 28, 1u << 31}) {
        inject({.flags = kAck, .seq = 1, .ack = 1 + off});
        expect({.flags = kRst, .seq = 1 + off});
    }
    inject({.flags = kAck, .seq = 2, .ack = 1});  // another ISN of the peer
    expect({.flags = kRst, .seq = 1});
    inject({.flags = kAck, .seq = 1, .ack = 1, .from_port = kPeerPort + 1});
    expect({.flags = kRst, .seq = 1});
    EXPECT_EQ(server_.counter(Counter::tcp_cookies_bad), 6u);
    EXPECT_EQ(usage().sessions, 0u);
}

TEST_F(Cookies, Ack_OfAnOldCookie_IsRefused) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    step_ms(63'000);
    inject({.flags = kSyn, .mss = 1000});
    const auto same_peer = next_frame();
    ASSERT_TRUE(same_peer);
    now_ns_ += 2 * SynCookies::kPeriodNs;
    inject({.flags = kSyn, .mss = 1000, .from_port = 1});  // so that cookies are out
    ASSERT_TRUE(next_frame());
    inject({.flags = kAck, .seq = 1, .ack = 1});
    expect({.flags = kRst, .seq = 1});
    EXPECT_EQ(usage().sessions, 0u);
    EXPECT_EQ(server_.counter(Counter::tcp_cookies_bad), 1u);
}

// A cookie is good in its period and the next, whatever the key is by then.
TEST_F(Cookies, Ack_InTheNextPeriod_IsAccepted) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    now_ns_ += SynCookies::kPeriodNs;
    inject({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_EQ(usage().sessions, 1u);
}

// Ordinary handshakes up to the threshold, cookies beyond: entries that are there stay.
TEST_F(CookiesAuto, Flood_ThresholdThenCookies_OlderHandshakesSurvive) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    for (uint16_t port = 1; port <= 100; ++port) {
        inject({.flags = kSyn, .mss = 1000, .from_port = port});
        next_frame();
    }
    EXPECT_EQ(usage().half_open, 3u) << "75 percent of four";
    EXPECT_EQ(server_.counter(Counter::tcp_cookies_sent), 98u);
    EXPECT_EQ(server_.counter(Counter::tcp_half_open_recycled), 0u);
    inject({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_EQ(usage().sessions, 1u);
}

// The same SYN twice, answered by a cookie and then by an entry: the peer acknowledges the first.
TEST_F(CookiesAuto, Syn_CookieThenEntry_FirstAnswerStillOpens) {
    for (uint16_t port = 1; port <= 3; ++port) {
        inject({.flags = kSyn, .mss = 1000, .from_port = port});
        next_frame();
    }
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    const uint32_t cookie = iss_;
    inject({.flags = kRst, .seq = 1, .from_port = 1});  // there is room again
    step_ms(10);
    inject({.flags = kSyn, .mss = 1000});
    const auto second = next_frame();
    ASSERT_TRUE(second);
    ASSERT_NE(second->seq, cookie);
    EXPECT_EQ(usage().half_open, 3u);
    inject({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_EQ(usage().sessions, 1u);
    EXPECT_EQ(usage().half_open, 2u);
}

// With no cookie ever sent an ACK cannot be the answer to one.
TEST_F(CookiesAuto, Ack_NoCookieOut_IsNotTried) {
    for (uint32_t i = 0; i < 50; ++i) {
        inject({.flags = kAck, .seq = 1, .ack = i * 77});
        EXPECT_TRUE(next_frame());
    }
    EXPECT_EQ(server_.counter(Counter::tcp_cookies_bad), 0u);
}

// Without cookies the oldest entry makes room, so a peer that answers in time gets in.
TEST_F(CookiesOff, Flood_OldestIsRecycled_NewPeerGetsIn) {
    for (uint16_t port = 1; port <= 100; ++port) {
        inject({.flags = kSyn, .mss = 1000, .from_port = port});
        next_frame();
    }
    EXPECT_EQ(usage().half_open, 4u);
    EXPECT_EQ(server_.counter(Counter::tcp_half_open_recycled), 96u);
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_EQ(usage().sessions, 1u);
    EXPECT_EQ(server_.counter(Counter::tcp_half_open_recycled), 97u);
    // The oldest went: 97 of the flood; 98 is there and can still be reset.
    inject({.flags = kRst, .seq = 1, .from_port = 97});
    EXPECT_EQ(usage().half_open, 3u);
    inject({.flags = kRst, .seq = 1, .from_port = 98});
    EXPECT_EQ(usage().half_open, 2u);
}

TEST_F(CookiesOff, HalfOpen_NoAnswer_IsCountedWhenGivenUp) {
    inject({.flags = kSyn, .mss = 1000});
    step_ms(20'000);
    EXPECT_EQ(usage().half_open, 0u);
    EXPECT_EQ(server_.counter(Counter::tcp_half_open_expired), 1u);
}

class Limits : public Script {
  protected:
    static TcpOptions tight() {
        TcpOptions options = default_options();
        options.syn_ack_repeats_per_s = 10;
        options.challenge_acks_per_s = 10;
        options.resets_per_s = 10;
        options.challenge_gap_ms = 0;
        options.time_wait_max = 2;
        options.time_wait_ms = 2000;
        return options;
    }
    Limits() : Script(tight()) {}

    // How many frames came since the last call.
    uint32_t answers() {
        uint32_t n = 0;
        while (next_frame()) ++n;
        return n;
    }
    // Opens from `port` and closes first, so that the server ends in TIME_WAIT.
    void into_time_wait(uint16_t port) {
        inject({.flags = kSyn, .mss = 1000, .from_port = port});
        expect({.flags = kSyn | kAck, .ack = 1});
        inject({.flags = kAck, .seq = 1, .ack = 1, .from_port = port});
        server_.close(static_cast<int64_t>(server_.session_count()) - 1);
        turn();
        expect({.flags = kAck | kFin, .seq = 1, .ack = 1});
        inject({.flags = kAck | kFin, .seq = 1, .ack = 2, .from_port = port});
        expect({.flags = kAck, .seq = 2, .ack = 2});
        expect_nothing();
    }
};

// RFC 5961, 7, with the limit redrawn each second (CVE-2016-5696): an attacker that provokes
// challenge ACKs of its own until they stop cannot tell whether another connection sent one.
TEST_F(Limits, Challenge_Flood_IsLimited_AndTheLimitVaries) {
    establish();
    std::set<uint32_t> seen;
    uint64_t sent = 0;
    for (int second = 0; second < 20; ++second) {
        uint32_t n = 0;
        for (int i = 0; i < 100; ++i) {
            inject({.flags = kSyn, .seq = 100});
            n += answers();
        }
        EXPECT_GE(n, 5u);
        EXPECT_LE(n, 15u);
        seen.insert(n);
        sent += n;
        step_ms(1010);
    }
    EXPECT_GT(seen.size(), 3u);
    EXPECT_EQ(server_.counter(Counter::tcp_challenge_acks), sent);
    EXPECT_EQ(server_.counter(Counter::tcp_challenges_suppressed), 2000 - sent);
    inject({.flags = kAck, .seq = 1, .ack = 1, .data = "alive"});
    turn();
    EXPECT_EQ(server_.session(0).received, "alive");
}

// One connection cannot use up what all share: a gap between its own challenge ACKs.
TEST_F(Script, Challenge_SameConnection_KeepsTheGap) {
    establish();
    for (int i = 0; i < 10; ++i) inject({.flags = kRst, .seq = 500});
    expect({.flags = kAck, .seq = 1, .ack = 1});
    expect_nothing();
    EXPECT_EQ(server_.counter(Counter::tcp_challenges_suppressed), 9u);
    step_ms(60);
    inject({.flags = kRst, .seq = 500});
    expect({.flags = kAck, .seq = 1, .ack = 1});
}

TEST_F(Limits, Resets_StrayFlood_AreLimited) {
    for (uint32_t i = 0; i < 200; ++i) inject({.flags = kAck, .seq = 77, .ack = i});
    const uint32_t n = answers();
    EXPECT_GE(n, 5u);
    EXPECT_LE(n, 15u);
    EXPECT_EQ(server_.counter(Counter::tcp_resets_suppressed), 200 - n);
    EXPECT_EQ(server_.counter(Counter::drop_no_listener), 200u);
    step_ms(1010);
    inject({.flags = kAck, .seq = 77, .ack = 1});
    EXPECT_EQ(answers(), 1u);
}

TEST_F(Limits, SynAck_SameSynFlood_RepeatsAreLimited) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    for (int i = 0; i < 100; ++i) inject({.flags = kSyn, .mss = 1000});
    const uint32_t n = answers();
    EXPECT_GE(n, 5u);
    EXPECT_LE(n, 15u);
    EXPECT_EQ(server_.counter(Counter::tcp_syn_acks_suppressed), 100 - n);
    step_ms(1010);
    answers();
    inject({.flags = kAck, .seq = 1, .ack = 1});
    EXPECT_EQ(server_.session_count(), 1u);
}

// A RST of no connection, a segment without ACK: dropped, and counted.
TEST_F(Script, Unexpected_Flags_AreCounted) {
    inject({.flags = kRst, .seq = 5});
    EXPECT_EQ(server_.counter(Counter::drop_unexpected), 1u);
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    inject({.flags = kFin, .seq = 1});
    EXPECT_EQ(server_.counter(Counter::drop_unexpected), 2u);
    inject({.flags = kAck, .seq = 1, .ack = 1});
    inject({.flags = 0, .seq = 1, .data = "no ACK"});
    EXPECT_EQ(server_.counter(Counter::drop_unexpected), 3u);
    expect_nothing();
    EXPECT_EQ(server_.session(0).received, "");
}

// A wrong ACK of the handshake is answered with RST, and counted.
TEST_F(Script, HalfOpen_WrongAck_IsCounted) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    inject({.flags = kAck, .seq = 1, .ack = 77});
    expect({.flags = kRst, .seq = 77});
    EXPECT_EQ(server_.counter(Counter::drop_unexpected), 1u);
}

// What is beyond the window is cut off, and counted; so is data for a session closed here.
TEST_F(Script, Data_BeyondTheWindowOrAfterClose_IsCounted) {
    establish();
    server_.pause(0);
    for (uint32_t at = 0; at < 9900; at += 900) {
        inject({.flags = kAck, .seq = 1 + at, .ack = 1, .data = std::string(900, 'a')});
    }
    EXPECT_EQ(server_.counter(Counter::drop_out_of_window), 0u);
    inject({.flags = kAck, .seq = 9901, .ack = 1, .data = std::string(900, 'b')});
    EXPECT_EQ(server_.counter(Counter::drop_out_of_window), 1u);
    while (next_frame()) {
    }
    server_.resume(0);
    step_ms(30);
    const uint64_t taken = server_.session(0).received.size();
    EXPECT_EQ(taken, 10'000u);
    server_.close(0);
    step_ms(1);
    while (next_frame()) {
    }
    EXPECT_EQ(server_.counter(Counter::drop_unexpected), 0u);
    inject({.flags = kAck,
            .seq = 1 + static_cast<uint32_t>(taken),
            .ack = 1,
            .data = "nobody reads this"});
    EXPECT_EQ(server_.counter(Counter::drop_unexpected), 1u);
    EXPECT_EQ(server_.session(0).received.size(), taken);
}

// The table is bounded; the connection that ended first is forgotten first.
TEST_F(Limits, TimeWait_TableFull_OldestIsForgotten) {
    into_time_wait(1);
    into_time_wait(2);
    step_ms(5);
    // The peer's FIN again makes the first one the youngest (RFC 9293, 3.10.7.4).
    inject({.flags = kAck | kFin, .seq = 1, .ack = 2, .from_port = 1});
    answers();
    into_time_wait(3);
    EXPECT_EQ(server_.transport().usage().time_wait, 2u);
    EXPECT_EQ(server_.counter(Counter::tcp_time_wait_recycled), 1u);
    inject({.flags = kAck, .seq = 1, .ack = 9, .from_port = 2});
    const auto reset = next_frame();
    ASSERT_TRUE(reset);
    EXPECT_EQ(int{reset->flags}, kRst) << "forgotten";
    step_ms(1800);
    EXPECT_EQ(server_.transport().usage().time_wait, 2u);
    step_ms(300);
    EXPECT_EQ(server_.transport().usage().time_wait, 0u);
}

class TimeWaitReuse : public Script {
  protected:
    static TcpOptions options() {
        TcpOptions options = default_options();
        options.time_wait_ms = 60'000;
        return options;
    }
    explicit TimeWaitReuse() : Script(options()) {}

    void into_time_wait(std::optional<uint32_t> ts) {
        inject({.flags = kSyn, .mss = 1000, .ts = ts});
        expect({.flags = kSyn | kAck, .ack = 1});
        inject({.flags = kAck, .seq = 1, .ack = 1, .ts = ts});
        server_.close(0);
        turn();
        expect({.flags = kAck | kFin, .seq = 1, .ack = 1});
        inject({.flags = kAck | kFin, .seq = 1, .ack = 2, .ts = ts});
        expect({.flags = kAck, .seq = 2, .ack = 2});
        ASSERT_EQ(server_.transport().usage().time_wait, 1u);
    }
    bool let_in() { return server_.transport().usage().half_open == 1; }
};

// RFC 6191, 2: a later timestamp, or the same one with a later number.
TEST_F(TimeWaitReuse, Syn_TimestampsDecide) {
    into_time_wait(100);
    inject({.flags = kSyn, .seq = 5000, .mss = 1000, .ts = 99});
    expect({.flags = kAck, .seq = 2, .ack = 2});
    EXPECT_FALSE(let_in()) << "older, whatever its number";
    inject({.flags = kSyn, .seq = 1, .mss = 1000, .ts = 100});
    EXPECT_FALSE(let_in());
    inject({.flags = kSyn, .seq = 3, .mss = 1000, .ts = 100});
    EXPECT_TRUE(let_in());
}

TEST_F(TimeWaitReuse, Syn_LaterTimestamp_LowerNumber_IsLetIn) {
    into_time_wait(100);
    inject({.flags = kSyn, .seq = 0u - 90'000, .mss = 1000, .ts = 101});
    EXPECT_TRUE(let_in());
}

TEST_F(TimeWaitReuse, Syn_TimestampsOnlyNow_IsLetIn) {
    into_time_wait({});
    inject({.flags = kSyn, .seq = 0u - 90'000, .mss = 1000, .ts = 1});
    EXPECT_TRUE(let_in());
}

TEST_F(TimeWaitReuse, Syn_TimestampsNoMore_NumberDecides) {
    into_time_wait(100);
    inject({.flags = kSyn, .seq = 2, .mss = 1000});
    EXPECT_FALSE(let_in());
    inject({.flags = kSyn, .seq = 3, .mss = 1000});
    EXPECT_TRUE(let_in());
}

// RFC 9293, 3.6.1: our number goes beyond all that the connection before it sent, even when it sent
// faster than the clock of RFC 6528 runs.
TEST_F(TimeWaitReuse, Syn_LetIn_OurNumberIsBeyondTheOldOnes) {
    inject({.flags = kSyn, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 1});
    const uint32_t old_iss = iss_;
    inject({.flags = kAck, .seq = 1, .ack = 1});
    uint32_t total = 0;
    for (int i = 0; i < 40; ++i) {  // 40,000 bytes within no time: the clock grew by less
        server_.send(0, std::string(1000, 'f'));
        turn();
        total += 1000;
        while (next_frame()) {
        }
        inject({.flags = kAck, .seq = 1, .ack = 1 + total});
    }
    server_.close(0);
    turn();
    expect({.flags = kAck | kFin, .seq = 1 + total, .ack = 1});
    inject({.flags = kAck | kFin, .seq = 1, .ack = 2 + total});
    expect({.flags = kAck, .seq = 2 + total, .ack = 2});
    inject({.flags = kSyn, .seq = 3, .mss = 1000});
    expect({.flags = kSyn | kAck, .ack = 4});
    EXPECT_GT(static_cast<int32_t>(iss_ - (old_iss + total)), 0);
}

// RFC 6528: the same addresses get numbers that grow with the clock; other ports, unrelated ones;
// another secret, others altogether.
TEST_F(Script, InitialNumber_GrowsPerConnection_AndDiffersBetweenThem) {
    auto number = [&](uint16_t port) {
        inject({.flags = kSyn, .mss = 1000, .from_port = port});
        const auto answer = next_frame();
        inject({.flags = kRst, .seq = 1, .from_port = port});
        EXPECT_TRUE(answer);
        return answer ? answer->seq : 0;
    };
    const uint32_t first = number(1);
    std::set<uint32_t> tops;
    for (uint16_t port = 2; port < 34; ++port) tops.insert((number(port) - first) >> 24);
    EXPECT_GT(tops.size(), 16u) << "no pattern over ports";
    step_ms(1000);
    const uint32_t later = number(1);
    EXPECT_NEAR(static_cast<double>(later - first), 1e9 / 4096, 1e6 / 4096 * 2);
}

}  // namespace
}  // namespace cachee::packet
