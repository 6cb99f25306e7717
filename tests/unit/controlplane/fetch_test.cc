// SPDX-License-Identifier: Apache-2.0
// Misses, fills and SET against a real L2.
#include "fixture.h"

namespace cachee::test {
namespace {

class FetchTest : public PlaneTest {};

TEST_F(FetchTest, Fetch_StringWithTtl_AnswersAndFillsWithDeadline) {
    start();
    client_->run("SET k v PX 5000");
    settle();
    const uint64_t before_ms = base::monotonic_ns() / base::kNsPerMs;
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$1\r\nv\r\n");
    ASSERT_NE(data_->hit("k"), nullptr);
    EXPECT_EQ(*data_->hit("k"), "v");
    const uint64_t deadline_ms = data_->worker(0).l1["k"].deadline_ms;
    EXPECT_LE(deadline_ms, before_ms + 5001);
    EXPECT_GT(deadline_ms, before_ms + 4000);
}

TEST_F(FetchTest, Fetch_NoTtl_FillsWithoutDeadline) {
    start();
    client_->run("SET k v");
    settle();
    data_->reply(0, data_->fetch(0, "k"));
    ASSERT_NE(data_->hit("k"), nullptr);
    EXPECT_EQ(data_->worker(0).l1["k"].deadline_ms, 0u);
}

TEST_F(FetchTest, Fetch_MissingKey_IsNullInTheSessionsProtocolAndNotFilled) {
    start();
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "none")), "$-1\r\n");
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "none", kResp3)), "_\r\n");
    EXPECT_EQ(data_->counter(ControlCounter::fills_sent), 0u);
}

TEST_F(FetchTest, Fetch_WrongType_IsL2sErrorAndNotFilled) {
    start();
    client_->run("LPUSH list x");
    settle();
    const std::string reply = data_->reply(0, data_->fetch(0, "list"));
    EXPECT_TRUE(reply.starts_with("-WRONGTYPE ")) << reply;
    EXPECT_EQ(data_->counter(ControlCounter::fills_sent), 0u);
}

TEST_F(FetchTest, Fetch_ValueLongerThanAPayload_ArrivesWhole) {
    start();
    std::string value(900'000, 'x');
    value[500'000] = 'y';
    client_->run("SET big %b", value.data(), value.size());
    settle();
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "big")), "$900000\r\n" + value + "\r\n");
    EXPECT_EQ(data_->hit("big"), nullptr);  // one entry of the ring cannot hold it
}

TEST_F(FetchTest, Fetch_ValueAboveItemLimit_IsAnsweredAndNotFilled) {
    start();
    const std::string value(3 << 20, 'x');
    client_->run("SET big %b", value.data(), value.size());
    settle();
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "big")).size(), value.size() + 12);
    EXPECT_EQ(data_->counter(ControlCounter::fills_sent), 0u);
}

TEST_F(FetchTest, Fetch_ManyForOneKeyWhileL2Pauses_AskOnce) {
    start();
    client_->run("SET k v");
    settle();
    server_->pause();
    std::vector<uint64_t> requests;
    for (int i = 0; i < 50; ++i) requests.push_back(data_->fetch(0, "k", i % 2 ? kResp3 : 0));
    data_->run_for(50);
    server_->resume();
    for (const uint64_t request : requests) EXPECT_EQ(data_->reply(0, request), "$1\r\nv\r\n");
    EXPECT_EQ(client_->calls("get"), 1u);
    EXPECT_EQ(data_->counter(ControlCounter::fetches_coalesced), 49u);
}

TEST_F(FetchTest, Fetch_Ordered_DoesNotJoinAnEarlierOne) {
    start();
    client_->run("SET k v");
    settle();
    server_->pause();
    const uint64_t first = data_->fetch(0, "k");
    const uint64_t second = data_->fetch(0, "k", kOrdered);
    data_->run_for(30);
    server_->resume();
    EXPECT_EQ(data_->reply(0, first), "$1\r\nv\r\n");
    EXPECT_EQ(data_->reply(0, second), "$1\r\nv\r\n");
    EXPECT_EQ(client_->calls("get"), 2u);
}

TEST_F(FetchTest, OutsideWrite_AfterFill_Invalidates) {
    start();
    client_->run("SET k old");
    settle();
    data_->reply(0, data_->fetch(0, "k"));
    ASSERT_NE(data_->hit("k"), nullptr);
    client_->run("SET k new");
    settle();
    EXPECT_TRUE(data_->until([&] { return data_->hit("k") == nullptr; }, 200));
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$3\r\nnew\r\n");
}

TEST_F(FetchTest, Set_Plain_IsInstalledAtItsAcknowledgement) {
    start();
    EXPECT_EQ(set("k", "value"), "+OK\r\n");
    ASSERT_NE(data_->hit("k"), nullptr);
    EXPECT_EQ(*data_->hit("k"), "value");
    EXPECT_EQ(client_->text("GET k"), "value");
    // NOLOOP: our own write is not announced, so the value stays.
    data_->run_for(80);
    EXPECT_NE(data_->hit("k"), nullptr);
}

TEST_F(FetchTest, Set_WithPx_HasADeadlineNoLaterThanL2s) {
    start();
    EXPECT_EQ(data_->run(0, Lane::kTracked, kWrite, {"SET", "k", "v", "PX", "400"}), "+OK\r\n");
    ASSERT_NE(data_->hit("k"), nullptr);
    while (data_->hit("k") != nullptr) {
        EXPECT_EQ(client_->text("GET k"), "v") << "L1 outlived L2";
        data_->run_for(20);
    }
}

TEST_F(FetchTest, Set_WithNx_OnlyInvalidates) {
    start();
    EXPECT_EQ(data_->run(0, Lane::kTracked, kWrite, {"SET", "k", "v", "NX"}), "+OK\r\n");
    EXPECT_EQ(data_->hit("k"), nullptr);
    EXPECT_EQ(client_->text("GET k"), "v");
}

TEST_F(FetchTest, Write_OtherThanSet_InvalidatesBeforeItsReply) {
    start();
    set("n", "41");
    ASSERT_NE(data_->hit("n"), nullptr);
    EXPECT_EQ(data_->run(0, Lane::kTracked, kWrite, {"INCR", "n"}), ":42\r\n");
    EXPECT_EQ(data_->hit("n"), nullptr);
    const auto& log = data_->worker(0).log;
    ASSERT_GE(log.size(), 2u);
    EXPECT_EQ(log[log.size() - 2], "invalidate n");
}

TEST_F(FetchTest, Mget_OnTracked_AnswersAndFillsWithDeadlines) {
    start();
    client_->run("SET a 1");
    client_->run("SET b 2 PX 5000");
    settle();
    EXPECT_EQ(data_->run(0, Lane::kTracked, 0, {"MGET", "a", "b", "c"}),
              "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n");
    ASSERT_NE(data_->hit("a"), nullptr);
    ASSERT_NE(data_->hit("b"), nullptr);
    EXPECT_EQ(data_->worker(0).l1["a"].deadline_ms, 0u);
    EXPECT_NE(data_->worker(0).l1["b"].deadline_ms, 0u);
}

TEST_F(FetchTest, Fetch_RedisServer_AnswersAndInvalidates) {
    start(1, "redis-server");
    client_->run("SET k v");
    settle();
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$1\r\nv\r\n");
    ASSERT_NE(data_->hit("k"), nullptr);
    client_->run("DEL k");
    EXPECT_TRUE(data_->until([&] { return data_->hit("k") == nullptr; }, 200));
}

}  // namespace
}  // namespace cachee::test
