// SPDX-License-Identifier: Apache-2.0
// L2 gone, slow, refusing; either plane restarted.
#include "fixture.h"

namespace cachee::test {
namespace {

class OutageTest : public PlaneTest {};

TEST_F(OutageTest, L2Killed_FetchGetsAClearErrorWithinItsTimeout) {
    config_.l2.request_timeout_ms = 300;
    start();
    server_->kill();
    const std::string reply = data_->reply(0, data_->fetch(0, "k"), 1500);
    EXPECT_TRUE(reply.starts_with("-ERR cachee: ")) << reply;
    const std::string later = data_->reply(0, data_->fetch(0, "k"), 1500);
    EXPECT_EQ(later, "-ERR cachee: L2 at 127.0.0.1:" + std::to_string(server_->port()) +
                         " is unreachable\r\n");
    EXPECT_TRUE(data_->until([&] { return !data_->lease_live(0); }, 500));
}

TEST_F(OutageTest, L2KilledWithWriteInFlight_OutcomeIsUnknownAndKeyForgotten) {
    start();
    set("k", "old");
    server_->pause();
    const uint64_t write = data_->command(0, Lane::kTracked, kWrite, {"SET", "k", "new"});
    data_->run_for(30);
    server_->kill();
    EXPECT_EQ(data_->reply(0, write),
              "-ERR cachee: connection to L2 lost, the outcome of this command is unknown\r\n");
    EXPECT_FALSE(data_->worker(0).l1.contains("k"));
}

TEST_F(OutageTest, L2Restarted_ReadsInFlightAreRetriedAndServiceReturns) {
    start();
    server_->pause();
    const uint64_t fetch = data_->fetch(0, "k");
    const uint64_t pass = data_->command(0, Lane::kPass, 0, {"LLEN", "list"});
    data_->run_for(30);
    server_->kill();
    data_->run_for(30);
    server_->start();
    EXPECT_EQ(data_->reply(0, fetch), "$-1\r\n");
    EXPECT_EQ(data_->reply(0, pass), ":0\r\n");
    EXPECT_TRUE(data_->all_leased());
    EXPECT_EQ(set("k", "v"), "+OK\r\n");
    EXPECT_NE(data_->hit("k"), nullptr);
}

TEST_F(OutageTest, L2BackAfterAWhile_ServiceReturnsWithinTwoSeconds) {
    config_.l2.reconnect_min_ms = config_.l2.reconnect_max_ms;  // as after a long outage
    start();
    server_->kill();
    data_->run_for(50);
    server_->start();
    const uint64_t back_ns = base::monotonic_ns();
    EXPECT_TRUE(data_->all_leased());
    EXPECT_EQ(data_->run(0, Lane::kPass, 0, {"LLEN", "l"}), ":0\r\n");
    EXPECT_EQ(data_->run(0, Lane::kPass, kResp3, {"LLEN", "l"}), ":0\r\n");
    EXPECT_LT(base::monotonic_ns() - back_ns, 2000 * base::kNsPerMs);
}

TEST_F(OutageTest, L2Back_OneLaneUpBringsTheOthers) {
    config_.l2.reconnect_min_ms = config_.l2.reconnect_max_ms = 1500;  // spread over 750 ms
    start();
    data_->run_for(50);  // every lane is up
    const uint64_t connects = data_->counter(ControlCounter::l2_connects);
    server_->kill();
    ASSERT_TRUE(
        data_->until([&] { return data_->counter(ControlCounter::l2_failures) == 3; }, 1000));
    server_->start();
    const auto up = [&] { return data_->counter(ControlCounter::l2_connects) - connects; };
    ASSERT_TRUE(data_->until([&] { return up() >= 1; }, 2500));
    EXPECT_TRUE(data_->until([&] { return up() == 3; }, 100)) << up();
}

TEST_F(OutageTest, L2Hangs_ReplyIsAnErrorAndTheLateOneIsDropped) {
    config_.l2.request_timeout_ms = 300;
    start();
    server_->pause();
    const uint64_t write = data_->command(0, Lane::kPass, kWrite, {"LPUSH", "l", "x"});
    EXPECT_EQ(data_->reply(0, write),
              "-ERR cachee: L2 at 127.0.0.1:" + std::to_string(server_->port()) +
                  " did not answer within 300 ms, the outcome of this command is unknown\r\n");
    server_->resume();
    EXPECT_TRUE(data_->all_leased());
    EXPECT_EQ(data_->reply(0, data_->command(0, Lane::kPass, 0, {"LLEN", "l"})), ":1\r\n");
}

TEST_F(OutageTest, Password_Right_Connects) {
    password_ = "sesame";
    server_ = std::make_unique<RealServer>("valkey-server",
                                           std::vector<std::string>{"--requirepass", "sesame"});
    data_ = std::make_unique<FakeDataPlane>(config_.instance.name, directory_, 1);
    start_plane();
    EXPECT_TRUE(data_->all_leased());
}

TEST_F(OutageTest, Password_Wrong_NeverConnectsAndSaysUnreachable) {
    config_.l2.request_timeout_ms = 200;
    password_ = "wrong";
    server_ = std::make_unique<RealServer>("valkey-server",
                                           std::vector<std::string>{"--requirepass", "sesame"});
    data_ = std::make_unique<FakeDataPlane>(config_.instance.name, directory_, 1);
    start_plane();
    ASSERT_TRUE(data_->until([&] { return data_->worker(0).epoch > 0; }));
    data_->run_for(50);
    const std::string reply = data_->reply(0, data_->fetch(0, "k"));
    EXPECT_TRUE(reply.ends_with("is unreachable\r\n")) << reply;
    EXPECT_FALSE(data_->lease_live(0));
}

TEST_F(OutageTest, ControlPlaneRestarted_NewEpochAndGeneration) {
    start();
    set("k", "v");
    const uint64_t epoch = data_->worker(0).epoch;
    const uint32_t generation = data_->worker(0).generation;
    stop_plane();
    data_->poll();
    EXPECT_FALSE(data_->lease_live(0)) << "a stopped control plane withdraws its lease";
    EXPECT_EQ(data_->header().controlplane_state.load(),
              static_cast<uint32_t>(shm::PlaneState::kStopped));
    start_plane();
    ASSERT_TRUE(data_->all_leased());
    EXPECT_EQ(data_->worker(0).epoch, epoch + 1);
    EXPECT_GT(data_->worker(0).generation, generation);
    EXPECT_EQ(data_->hit("k"), nullptr);
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$1\r\nv\r\n");
}

TEST_F(OutageTest, DataPlaneRestarted_IsFoundAndOldRepliesAreDropped) {
    start();
    server_->pause();
    data_->fetch(0, "k");
    data_->command(0, Lane::kTracked, kWrite, {"SET", "k", "v"});
    data_->command(0, Lane::kPinned, kWrite, {"MULTI"}, 9);
    data_->run_for(30);
    data_ = std::make_unique<FakeDataPlane>(config_.instance.name, directory_, 2);
    data_->run_for(150);
    server_->resume();
    ASSERT_TRUE(data_->all_leased());
    data_->run_for(50);
    EXPECT_TRUE(data_->worker(0).replies.empty());
    EXPECT_EQ(data_->reply(1, data_->fetch(1, "k")), "$1\r\nv\r\n");
    EXPECT_EQ(data_->counter(ControlCounter::dataplane_attaches), 1u);
    EXPECT_EQ(data_->counter(ControlCounter::pinned_sessions), 0u);
}

TEST_F(OutageTest, SecondControlPlane_IsRefusedWithTheReason) {
    start();
    auto second = controlplane::ControlPlane::create(config_, {});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("another cachee-controlplane"), std::string::npos);
}

TEST_F(OutageTest, Standalone_KeepsItsHeartbeat) {
    data_ = std::make_unique<FakeDataPlane>(config_.instance.name, directory_, 1);
    auto plane = controlplane::ControlPlane::create(config_, {});
    ASSERT_TRUE(plane);
    plane_ = std::move(plane.value());
    thread_ = std::thread([this] { plane_->run(false); });
    ASSERT_TRUE(data_->until([&] {
        return data_->header().controlplane_state.load() ==
               static_cast<uint32_t>(shm::PlaneState::kRunning);
    }));
    const uint64_t beat = data_->header().controlplane_heartbeat_ns.load();
    EXPECT_TRUE(
        data_->until([&] { return data_->header().controlplane_heartbeat_ns.load() > beat; }));
}

TEST_F(OutageTest, WrongEvents_AreAnsweredOrIgnoredAndServiceGoesOn) {
    start();
    shm::RingEntry entry;
    entry.kind = 77;
    data_->push(0, entry, "junk");
    entry.kind = static_cast<uint16_t>(shm::EventKind::kCommand);
    entry.lane = static_cast<Lane>(9);
    EXPECT_TRUE(data_->reply(0, data_->push(0, entry, "junk")).starts_with("-ERR cachee: "));
    entry.lane = Lane::kPass;
    EXPECT_TRUE(
        data_->reply(0, data_->push(0, entry, "*1\r\n$4\r\nPI")).starts_with("-ERR cachee"));
    EXPECT_TRUE(data_->run(0, Lane::kPass, 0, {"SUBSCRIBE", "c"}).starts_with("-ERR cachee"));
    EXPECT_EQ(data_->run(0, Lane::kPass, 0, {"LLEN", "l"}), ":0\r\n");
}

}  // namespace
}  // namespace cachee::test
