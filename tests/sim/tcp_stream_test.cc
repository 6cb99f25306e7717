// SPDX-License-Identifier: Apache-2.0
// Two stacks over a seeded link: what one end sends is what the other receives, whatever the link
// does.
#include <gtest/gtest.h>

#include <tuple>

#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

TEST(TcpStream, Connect_CleanLink_OpensBothEnds) {
    World world;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    EXPECT_TRUE(world.client->session(c).opened);
    EXPECT_TRUE(world.server->session(s).opened);
    EXPECT_EQ(world.server_usage().half_open, 0u);
}

TEST(TcpStream, Exchange_CleanLink_DeliversBothWaysAndCloses) {
    World world;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.client->send(c, "PING\r\n");
    world.server->on_data = [&](int64_t id) { world.server->send(id, "+PONG\r\n"); };
    ASSERT_TRUE(
        world.run_until([&] { return world.client->session(c).received == "+PONG\r\n"; }, 100));
    EXPECT_EQ(world.server->session(s).received, "PING\r\n");

    world.client->half_close(c);
    ASSERT_TRUE(world.run_until([&] { return world.server->session(s).eof; }, 100));
    world.server->send(s, "still here");
    world.server->close(s);
    ASSERT_TRUE(world.run_until([&] { return world.client->session(c).closed; }, 1000));
    EXPECT_EQ(world.client->session(c).received, "+PONG\r\nstill here");
    EXPECT_TRUE(world.client->session(c).eof);
    EXPECT_EQ(world.client->session(c).reason, io::CloseReason::kPeer);
    ASSERT_TRUE(world.run_until([&] { return world.server->session(s).closed; }, 1000));
    EXPECT_EQ(world.server->session(s).reason, io::CloseReason::kLocal);
    world.run_for_ms(3000);
    EXPECT_EQ(world.server_usage().sessions, 0u);
    EXPECT_EQ(world.client_usage().sessions, 0u);
    EXPECT_EQ(world.client_usage().time_wait, 0u);
    EXPECT_EQ(world.server_usage().blocks, 0u);
    EXPECT_EQ(world.client_usage().blocks, 0u);
}

TEST(TcpStream, Abort_Established_PeerSeesReset) {
    World world;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.server->abort(s);
    ASSERT_TRUE(world.run_until([&] { return world.client->session(c).closed; }, 100));
    EXPECT_EQ(world.client->session(c).reason, io::CloseReason::kReset);
    EXPECT_TRUE(world.server->session(s).closed);
}

}  // namespace
}  // namespace cachee::sim
