// SPDX-License-Identifier: Apache-2.0
// Limits and unkind peers: closed windows, slow readers, floods, full tables, silence, vanished
// peers.
#include <gtest/gtest.h>

#include <tuple>

#include "net/bytes.h"
#include "net/interface.h"
#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

using stats::Counter;

TEST(TcpLimits, PausedReader_ClosesTheWindow_AndResumes) {
    World world;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.server->pause(s);
    base::Rng rng(1);
    const std::string sent = random_bytes(rng, 200'000);
    world.client->send(c, sent);
    world.run_for_ms(20'000);
    EXPECT_EQ(world.server->session(s).received.size(), 0u);
    EXPECT_LE(world.server_usage().blocks, 64 * 1024 / 2032 + 4)
        << "the window bounds what is held";
    EXPECT_GT(world.client->counter(Counter::tcp_probes), 2u);
    EXPECT_FALSE(world.client->session(c).closed) << "a peer that answers probes is alive";
    world.server->resume(s);
    ASSERT_TRUE(world.run_until(
        [&, s = s] { return world.server->session(s).received.size() == sent.size(); }, 5000));
    EXPECT_TRUE(world.server->session(s).received == sent);
    EXPECT_GT(world.client->session(c).writable_events, 0u);
}

TEST(TcpLimits, PausedReader_LostWindowUpdate_ProbeFindsTheOpening) {
    World world;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.server->pause(s);
    const std::string sent(150'000, 'x');
    world.client->send(c, sent);
    world.run_for_ms(3000);
    world.server->resume(s);
    world.link.set_loss(1.0);
    world.run_for_ms(20);
    world.link.set_loss(0);
    EXPECT_TRUE(world.run_until(
        [&, s = s] { return world.server->session(s).received.size() == sent.size(); }, 60'000));
}

TEST(TcpLimits, Sender_NeverExceedsTheAdvertisedWindow) {
    auto server_options = small_options(kServerIp);
    server_options.receive_window_bytes = 10'000;
    World world({}, server_options);
    uint32_t edge = 0;
    bool seen = false;
    uint64_t beyond = 0;
    world.link.set_filter([&](int from, const uint8_t* d, uint32_t size) {
        if (d[12] != 8 || d[13] != 0) return true;
        const uint32_t header = 34 + (d[46] >> 4) * 4u;
        const uint32_t end = net::load_be32(d + 38) + size - header;
        if (from == 0) {  // the server's ACKs; 10,000 needs no window scale
            const uint32_t promised = net::load_be32(d + 42) + net::load_be16(d + 48);
            edge = seen ? net::seq_max(edge, promised) : promised;
            seen = true;
        } else if (seen && size > header && net::seq_gt(end, edge + 1)) {
            ++beyond;  // one byte is a window probe's
        }
        return true;
    });
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.client->send(c, std::string(300'000, 'w'));
    EXPECT_TRUE(world.run_until(
        [&, s = s] { return world.server->session(s).received.size() == 300'000; }, 20'000));
    EXPECT_EQ(beyond, 0u);
}

TEST(TcpLimits, SynFlood_HalfOpenIsBounded_AndReaped) {
    World world;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    net::FramePort& raw = world.link.end(1);
    // SYNs from addresses that never answer.
    for (uint32_t i = 0; i < 1000; ++i) {
        net::TxFrame frame;
        ASSERT_EQ(raw.tx_alloc(&frame, 1), 1u);
        stats::WorkerCounters counters{};
        net::SegmentFields fields;
        net::Interface attacker(raw, {0x0a000100 + i, 8, 0, true}, &counters);
        net::TxFrame* own = attacker.tx_frame();
        ASSERT_NE(own, nullptr);
        fields.dst_mac = world.link.end(0).info().mac;
        fields.remote_ip = kServerIp;
        fields.remote_port = kPort;
        fields.local_port = 1234;
        fields.flags = net::kSyn;
        attacker.send_segment(*own, fields, 0);
        attacker.push();
        raw.tx_free(&frame, 1);
        if (i % 20 == 0) world.step();
    }
    EXPECT_EQ(world.server_usage().half_open, 48u) << "75 percent of 64, then cookies";
    EXPECT_GT(world.server->counter(Counter::tcp_cookies_sent), 900u);
    const int64_t late = world.client->connect(kServerIp, kPort);
    EXPECT_TRUE(world.run_until([&] { return world.client->session(late).opened; }, 100))
        << "new clients get in";
    EXPECT_EQ(world.server->counter(Counter::tcp_cookies_accepted), 1u);
    world.client->send(c, "alive");
    EXPECT_TRUE(
        world.run_until([&, s = s] { return world.server->session(s).received == "alive"; }, 1000));
    world.run_for_ms(15'000);
    EXPECT_EQ(world.server_usage().half_open, 0u);
    EXPECT_EQ(world.server_usage().sessions, 2u);
}

TEST(TcpLimits, SessionsFull_NextIsRefused_AndAdmittedAfterAClose) {
    auto server_options = small_options(kServerIp);
    server_options.sessions_max = 2;
    World world({}, server_options);
    auto first = world.open();
    world.open();
    const int64_t third = world.client->connect(kServerIp, kPort);
    world.run_for_ms(50);
    EXPECT_FALSE(world.client->session(third).opened);
    EXPECT_GT(world.server->counter(Counter::sessions_refused), 0u);
    world.server->abort(first.second);
    EXPECT_TRUE(world.run_until([&] { return world.client->session(third).opened; }, 2000));
}

TEST(TcpLimits, ManyConnections_Churn_LeaveNothingBehind) {
    SimLinkOptions link;
    link.loss = 0.01;
    World world(link);
    world.server->on_data = [&](int64_t id) {
        world.server->send(id, world.server->take_received(id));
    };
    world.server->on_eof = [&](int64_t id) { world.server->close(id); };
    for (int round = 0; round < 10; ++round) {
        std::vector<int64_t> ids;
        for (int i = 0; i < 50; ++i) ids.push_back(world.client->connect(kServerIp, kPort));
        for (int64_t id : ids) {
            ASSERT_GE(id, 0);
            world.client->send(id, "hello " + std::to_string(id));
            world.client->half_close(id);
        }
        ASSERT_TRUE(world.run_until(
            [&] {
                for (int64_t id : ids) {
                    if (!world.client->session(id).closed) return false;
                }
                return true;
            },
            60'000));
        for (int64_t id : ids) {
            EXPECT_EQ(world.client->session(id).received, "hello " + std::to_string(id));
        }
    }
    world.run_for_ms(20'000);
    EXPECT_EQ(world.server_usage().sessions + world.client_usage().sessions, 0u);
    EXPECT_EQ(world.server_usage().blocks + world.client_usage().blocks, 0u);
    EXPECT_EQ(world.server_usage().half_open, 0u);
}

TEST(TcpLimits, VanishedPeer_WithDataInFlight_TimesOut) {
    auto server_options = small_options(kServerIp);
    server_options.retransmissions_max = 5;
    World world({}, server_options);
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.link.set_loss(1.0);
    world.server->send(s, "anyone?");
    ASSERT_TRUE(world.run_until([&, s = s] { return world.server->session(s).closed; }, 60'000));
    EXPECT_EQ(world.server->session(s).reason, io::CloseReason::kTimeout);
    EXPECT_EQ(world.server_usage().blocks, 0u);
    EXPECT_EQ(world.server->counter(Counter::tcp_timeouts), 1u);
}

TEST(TcpLimits, VanishedPeer_Idle_KeepaliveNotices) {
    auto server_options = small_options(kServerIp);
    server_options.keepalive_idle_s = 2;
    server_options.keepalive_interval_s = 1;
    World world({}, server_options);
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.step_ns = 5'000'000;
    world.run_for_ms(20'000);
    EXPECT_FALSE(world.server->session(s).closed) << "a silent peer that answers is alive";
    EXPECT_GT(world.server->counter(Counter::tcp_probes), 3u);
    world.link.set_loss(1.0);
    EXPECT_TRUE(world.run_until([&, s = s] { return world.server->session(s).closed; }, 20'000));
    EXPECT_EQ(world.server->session(s).reason, io::CloseReason::kTimeout);
}

TEST(TcpLimits, Close_PeerNeverReads_LingerIsBounded) {
    auto server_options = small_options(kServerIp);
    server_options.linger_ms = 2000;
    auto client_options = small_options(kClientIp);
    client_options.receive_window_bytes = 4096;
    World world({}, server_options, client_options);
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.client->pause(c);
    world.server->send(s, std::string(60'000, 'z'));
    world.server->close(s);
    ASSERT_TRUE(world.run_until([&, s = s] { return world.server->session(s).closed; }, 10'000));
    EXPECT_EQ(world.server->session(s).reason, io::CloseReason::kSlowReader);
    EXPECT_EQ(world.server_usage().blocks, 0u);
}

TEST(TcpLimits, Connect_NobodyThere_FailsWithTimeout) {
    World world;
    const int64_t id = world.client->connect(kServerIp + 40, kPort);
    ASSERT_TRUE(world.run_until([&] { return world.client->session(id).closed; }, 60'000));
    EXPECT_EQ(world.client->session(id).reason, io::CloseReason::kTimeout);
    EXPECT_FALSE(world.client->session(id).opened);
}

TEST(TcpLimits, Connect_NoListener_FailsWithReset) {
    World world;
    const int64_t id = world.client->connect(kServerIp, kPort + 1);
    ASSERT_TRUE(world.run_until([&] { return world.client->session(id).closed; }, 1000));
    EXPECT_EQ(world.client->session(id).reason, io::CloseReason::kReset);
    EXPECT_EQ(world.server->counter(Counter::drop_no_listener), 1u);
}

TEST(TcpLimits, PoolEmpty_WritableFollows_StreamIsWhole) {
    auto server_options = small_options(kServerIp);
    server_options.buffers_bytes_max = 32 * 1024;
    World world({}, server_options);
    auto a = world.open();
    auto b = world.open();
    world.server->send(a.second, std::string(100'000, 'a'));
    world.server->send(b.second, std::string(100'000, 'b'));
    EXPECT_TRUE(world.run_until(
        [&] {
            return world.client->session(a.first).received.size() == 100'000 &&
                   world.client->session(b.first).received.size() == 100'000;
        },
        20'000));
    EXPECT_EQ(world.server_usage().blocks, 0u);
}

}  // namespace
}  // namespace cachee::sim
