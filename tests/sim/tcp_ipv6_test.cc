// SPDX-License-Identifier: Apache-2.0
// Two stacks over IPv6, over a VLAN and over both, in virtual time: neighbour discovery, the byte
// streams, IPv4 beside it on the same port.
#include <gtest/gtest.h>

#include <tuple>

#include "net/headers.h"
#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

using net::Ipv6Address;
using stats::Counter;

Ipv6Address address(const char* text) { return *net::parse_ipv6_address(text); }

const Ipv6Address kServer6 = address("fd00:ca::1");
const Ipv6Address kClient6 = address("fd00:ca::2");

net::TcpOptions dual_options(uint32_t ip, const Ipv6Address& ipv6) {
    net::TcpOptions options = small_options(ip);
    options.ipv6.enabled = true;
    options.ipv6.addresses = {{ipv6, 64}};
    return options;
}

struct World6 : World {
    explicit World6(const SimLinkOptions& link_options = {},
                    net::TcpOptions server_options = dual_options(kServerIp, kServer6),
                    net::TcpOptions client_options = dual_options(kClientIp, kClient6))
        : World(link_options, server_options, client_options) {}

    int64_t open6(const Ipv6Address& to) {
        const int64_t id = client->connect(to, kPort);
        if (id >= 0) run_until([&] { return client->session(id).opened; }, 20'000);
        return id;
    }
    // Sends `bytes` to the server, which returns them.
    void expect_echo(int64_t id, const std::string& bytes, uint64_t ms_max) {
        server->on_data = [this](int64_t serial) {
            server->send(serial, server->take_received(serial));
        };
        client->send(id, bytes);
        EXPECT_TRUE(
            run_until([&] { return client->session(id).received.size() >= bytes.size(); }, ms_max));
        EXPECT_TRUE(client->take_received(id) == bytes) << "the streams differ";
    }
};

TEST(TcpIpv6, Echo_ConfiguredAndLinkLocalAddress_StreamsAreEqual) {
    World6 world;
    base::Rng rng(11);
    for (const Ipv6Address& to : {kServer6, net::link_local_of(world.link.end(0).info().mac)}) {
        const int64_t id = world.open6(to);
        ASSERT_GE(id, 0);
        ASSERT_TRUE(world.client->session(id).opened) << net::format_ipv6_address(to);
        world.expect_echo(id, random_bytes(rng, 300'000), 5'000);
    }
    EXPECT_EQ(world.link.counts().oversized, 0u);
    EXPECT_EQ(world.server->counter(Counter::drop_malformed), 0u);
    EXPECT_EQ(world.server->counter(Counter::drop_nd_refused), 0u);
}

TEST(TcpIpv6, Peer_Ipv6_IsPrintedAsRedisDoes) {
    World6 world;
    const int64_t id = world.client->connect(kServer6, kPort, 40000);
    world.run_until([&] { return world.client->session(id).opened; }, 5'000);
    EXPECT_EQ(world.server->transport().peer_cold(0), "[fd00:ca::2]:40000");
    EXPECT_EQ(world.client->transport().peer_cold(0), "[fd00:ca::1]:6379");
}

TEST(TcpIpv6, Ipv4_OnTheSamePort_IsNotDisturbed) {
    World6 world;
    const int64_t six = world.client->connect(kServer6, kPort, 41000);
    const int64_t four = world.client->connect(kServerIp, kPort, 41000);
    ASSERT_TRUE(world.run_until(
        [&] { return world.client->session(six).opened && world.client->session(four).opened; },
        5'000));
    world.expect_echo(six, "six", 1'000);
    world.expect_echo(four, "four", 1'000);
    EXPECT_EQ(world.server_usage().sessions, 2u);
}

TEST(TcpIpv6, Connections_OpenedAndClosed_NothingIsLeft) {
    World6 world;
    for (int round = 0; round < 3; ++round) {
        std::vector<int64_t> ids;
        for (int i = 0; i < 40; ++i) ids.push_back(world.client->connect(kServer6, kPort));
        ASSERT_TRUE(world.run_until(
            [&] {
                for (const int64_t id : ids) {
                    if (!world.client->session(id).opened) return false;
                }
                return true;
            },
            10'000));
        EXPECT_EQ(world.server_usage().sessions, 40u);
        for (const int64_t id : ids) world.client->close(id);
        world.server->on_eof = [&](int64_t serial) { world.server->close(serial); };
        world.run_for_ms(3'000);
        EXPECT_EQ(world.server_usage().sessions, 0u);
        EXPECT_EQ(world.client_usage().sessions, 0u);
        EXPECT_EQ(world.client_usage().time_wait, 0u);
    }
}

TEST(TcpIpv6, Echo_LossyLinkWithOffloads_StreamsAreEqual) {
    for (const uint64_t seed : {1, 2, 3}) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        SimLinkOptions options;
        options.seed = seed;
        options.loss = 0.01;
        options.reordering = 0.01;
        options.duplication = 0.01;
        options.corruption = 0.01;
        options.delay_ns = 100'000;
        options.rx_checksums = seed == 2;
        options.tx_checksums = seed != 1;
        options.tso_bytes_max = seed == 3 ? 16'000 : 0;
        World6 world(options);
        base::Rng rng(seed);
        const int64_t id = world.open6(kServer6);
        ASSERT_TRUE(world.client->session(id).opened);
        world.expect_echo(id, random_bytes(rng, 200'000), 60'000);
        EXPECT_EQ(world.link.counts().oversized, 0u);
    }
}

TEST(TcpIpv6, Active_NoIpv6OrNoRoute_IsRefusedOrTimesOut) {
    World world;
    EXPECT_EQ(world.client->connect(kServer6, kPort), -1) << "IPv6 is off";
    World6 routeless;
    const int64_t id = routeless.client->connect(address("2001:db8::1"), kPort);
    ASSERT_GE(id, 0);
    routeless.run_for_ms(60'000);
    EXPECT_TRUE(routeless.client->session(id).closed);
    EXPECT_EQ(routeless.client->session(id).reason, io::CloseReason::kTimeout);
}

// RFC 4821 over a link in the middle that drops large packets and says nothing, both versions.
TEST(TcpPath, BlackHole_BothVersions_BytesArriveAndTheNextConnectionKnows) {
    for (const bool ipv6 : {false, true}) {
        World6 world;
        world.link.set_filter([](int, const uint8_t*, uint32_t size) { return size <= 14 + 1300; });
        base::Rng rng(8);
        auto open = [&] {
            const int64_t id = ipv6 ? world.client->connect(kServer6, kPort)
                                    : world.client->connect(kServerIp, kPort);
            world.run_until([&] { return world.client->session(id).opened; }, 5'000);
            return id;
        };
        world.expect_echo(open(), random_bytes(rng, 100'000), 20'000);
        EXPECT_GT(world.client->counter(Counter::tcp_black_holes), 0u);
        EXPECT_GT(world.server->counter(Counter::tcp_black_holes), 0u);
        const uint64_t timeouts = world.client->counter(Counter::tcp_rto);
        world.expect_echo(open(), random_bytes(rng, 100'000), 20'000);
        EXPECT_EQ(world.client->counter(Counter::tcp_rto), timeouts);
    }
}

TEST(TcpVlan, Echo_SameTag_StreamsAreEqualOverBothVersions) {
    for (const bool offloads : {false, true}) {
        SimLinkOptions link;
        link.tx_checksums = offloads;
        link.tso_bytes_max = offloads ? 16'000 : 0;
        net::TcpOptions server = dual_options(kServerIp, kServer6);
        net::TcpOptions client = dual_options(kClientIp, kClient6);
        server.vlan_id = client.vlan_id = 100;
        World6 world(link, server, client);
        uint64_t untagged = 0;
        world.link.set_filter([&](int, const uint8_t* data, uint32_t size) {
            const bool tagged =
                size > 18 && data[12] == 0x81 && data[13] == 0 && data[14] == 0 && data[15] == 100;
            if (!tagged) ++untagged;
            return true;
        });
        base::Rng rng(5);
        const int64_t six = world.open6(kServer6);
        ASSERT_TRUE(world.client->session(six).opened);
        world.expect_echo(six, random_bytes(rng, 100'000), 5'000);
        int64_t four = 0, serial = 0;
        std::tie(four, serial) = world.open();
        ASSERT_TRUE(world.client->session(four).opened);
        world.expect_echo(four, random_bytes(rng, 100'000), 5'000);
        EXPECT_EQ(untagged, 0u);
        EXPECT_EQ(world.link.counts().oversized, 0u);
        EXPECT_EQ(world.server->counter(Counter::drop_vlan), 0u);
    }
}

TEST(TcpVlan, Segments_OfAnotherVlan_AreDroppedAndCounted) {
    net::TcpOptions server = small_options(kServerIp);
    server.vlan_id = 7;
    World world({}, server, small_options(kClientIp));
    const int64_t id = world.client->connect(kServerIp, kPort);
    world.run_for_ms(500);
    EXPECT_FALSE(world.client->session(id).opened);
    EXPECT_GT(world.server->counter(Counter::drop_vlan), 0u);
    EXPECT_GT(world.client->counter(Counter::drop_vlan), 0u) << "the announcement had a tag";
}

}  // namespace
}  // namespace cachee::sim
