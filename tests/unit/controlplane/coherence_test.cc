// SPDX-License-Identifier: Apache-2.0
// The rules of docs/decisions/0001 against a real L2: guard, release, fence, lease, generation.
#include <algorithm>

#include "base/rng.h"
#include "fixture.h"

namespace cachee::test {
namespace {

class CoherenceTest : public PlaneTest {
  protected:
    bool logged(uint32_t worker, const std::string& line) {
        const auto& log = data_->worker(worker).log;
        return std::find(log.begin(), log.end(), line) != log.end();
    }
    // Position in the log, or its size.
    size_t at(uint32_t worker, const std::string& line) {
        const auto& log = data_->worker(worker).log;
        return static_cast<size_t>(std::find(log.begin(), log.end(), line) - log.begin());
    }
};

TEST_F(CoherenceTest, Guard_FetchThenSetInFlight_FetchIsNotInstalled) {
    start();
    client_->run("SET k old");
    settle();
    server_->pause();
    const uint64_t fetch = data_->fetch(0, "k");
    data_->run_for(20);
    const uint64_t write = data_->command(0, Lane::kTracked, kWrite, {"SET", "k", "new"});
    data_->run_for(20);
    server_->resume();
    EXPECT_EQ(data_->reply(0, fetch), "$3\r\nold\r\n");
    EXPECT_EQ(data_->reply(0, write), "+OK\r\n");
    EXPECT_FALSE(logged(0, "fill k=old"));
    ASSERT_NE(data_->hit("k"), nullptr);
    EXPECT_EQ(*data_->hit("k"), "new");
}

TEST_F(CoherenceTest, Guard_MissAfterAWriteOnAnotherLaneWasAcked_DoesNotJoinTheOlderFetch) {
    start();
    client_->run("SET k old");
    settle();
    server_->pause();
    const uint64_t early = data_->fetch(0, "k");
    data_->run_for(20);
    const uint64_t write = data_->command(0, Lane::kPass, kWrite, {"APPEND", "k", "er"});
    data_->run_for(20);
    const uint64_t late = data_->fetch(0, "k");
    data_->run_for(20);
    server_->resume();
    EXPECT_EQ(data_->reply(0, write), ":5\r\n");
    data_->reply(0, early);
    data_->reply(0, late);
    EXPECT_EQ(client_->calls("get"), 2u) << "a fetch with a write behind it must not be joined";
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$5\r\nolder\r\n");
    data_->run_for(30);
    if (const std::string* hit = data_->hit("k")) {
        EXPECT_EQ(*hit, "older");
    }
}

TEST_F(CoherenceTest, Guard_TwoSetsInFlight_NeitherOldValueStays) {
    start();
    server_->pause();
    const uint64_t one = data_->command(0, Lane::kTracked, kWrite, {"SET", "k", "one"});
    const uint64_t two = data_->command(0, Lane::kTracked, kWrite, {"SET", "k", "two"});
    data_->run_for(30);
    server_->resume();
    EXPECT_EQ(data_->reply(0, one), "+OK\r\n");
    EXPECT_EQ(data_->reply(0, two), "+OK\r\n");
    EXPECT_FALSE(logged(0, "fill k=one"));
    if (const std::string* hit = data_->hit("k")) {
        EXPECT_EQ(*hit, "two");
    }
}

TEST_F(CoherenceTest, Guard_RandomWritersAround_L1EqualsL2Afterwards) {
    start(2);
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    base::Rng rng(seed);
    uint64_t last = 0;
    for (int i = 0; i < 3000; ++i) {
        const std::string key = "k" + std::to_string(rng.below(8));
        const std::string value = "v" + std::to_string(i);
        const auto worker = static_cast<uint32_t>(rng.below(2));
        switch (rng.below(6)) {
            case 0:
                client_->run("SET %s outside-%s", key.c_str(), value.c_str());
                break;
            case 1:
                last = data_->command(worker, Lane::kTracked, kWrite, {"SET", key, value});
                break;
            case 2:
                last = data_->command(worker, Lane::kPass, kWrite, {"SET", key, value, "GET"});
                break;
            default:
                last = data_->fetch(worker, key);
        }
        if (rng.chance(0.3)) data_->poll();
    }
    ASSERT_TRUE(data_->until([&] { return data_->answered(0, last) || data_->answered(1, last); }));
    data_->run_for(60);
    int hits = 0;
    for (int i = 0; i < 8; ++i) {
        const std::string key = "k" + std::to_string(i);
        data_->reply(0, data_->fetch(0, key));
        const std::string* hit = data_->hit(key);
        if (hit == nullptr) continue;
        ++hits;
        EXPECT_EQ(*hit, client_->text("GET %s", key.c_str())) << key;
    }
    EXPECT_GT(hits, 0);
}

TEST_F(CoherenceTest, Release_OwnerIsAnotherWorker_ReplyWaitsUntilItHasApplied) {
    start(2);
    const std::string key = data_->key_of(1, "key");
    data_->worker(1).stalled = true;
    const uint64_t request = data_->command(0, Lane::kTracked, kWrite, {"DEL", key});
    EXPECT_FALSE(data_->until([&] { return data_->answered(0, request); }, 100));
    data_->worker(1).stalled = false;
    EXPECT_EQ(data_->reply(0, request), ":0\r\n");
    EXPECT_TRUE(logged(1, "invalidate " + key));
}

TEST_F(CoherenceTest, Release_ReadOfAWriteInFlight_WaitsUntilTheOwnerHasDroppedTheOldValue) {
    start(2);
    for (const bool pinned : {false, true}) {
        SCOPED_TRACE(pinned ? "pinned" : "pass lane");
        const std::string key = data_->key_of(1, pinned ? "pinned" : "pass");
        client_->run("SET %s old", key.c_str());
        settle();
        EXPECT_EQ(data_->reply(0, data_->fetch(0, key)), "$3\r\nold\r\n");
        data_->run_for(20);
        ASSERT_NE(data_->hit(key), nullptr);

        data_->worker(1).stalled = true;
        const uint64_t write = data_->command(0, Lane::kTracked, kWrite, {"SET", key, "newer"});
        ASSERT_TRUE(data_->until([&] { return client_->text("GET %s", key.c_str()) == "newer"; }));
        ASSERT_TRUE(data_->worker(1).l1.contains(key)) << "the owner has not followed yet";
        uint64_t read = 0;
        const auto read_shown = [&] {
            return pinned ? !data_->worker(0).streams[7].empty() : data_->answered(0, read);
        };
        read = data_->command(0, pinned ? Lane::kPinned : Lane::kPass, 0, {"STRLEN", key}, 7);
        EXPECT_FALSE(data_->until(read_shown, 100)) << "L1 still shows the value before";
        EXPECT_FALSE(data_->answered(0, write));
        data_->worker(1).stalled = false;
        EXPECT_TRUE(data_->until(read_shown));
        EXPECT_EQ(data_->reply(0, write), "+OK\r\n");
    }
}

TEST_F(CoherenceTest, Write_BeforeL2Executes_NoOwnerHasTheOldValueAnyMore) {
    start(2);
    for (const uint32_t owner : {0u, 1u}) {
        const std::string key = data_->key_of(owner, "key");
        client_->run("SET %s old", key.c_str());
        settle();
        data_->reply(0, data_->fetch(0, key));
        data_->run_for(20);
        ASSERT_NE(data_->hit(key), nullptr);
        server_->pause();
        const uint64_t write = data_->command(0, Lane::kPass, kWrite, {"APPEND", key, "er"});
        EXPECT_TRUE(data_->until([&] { return !data_->worker(owner).l1.contains(key); }, 500));
        EXPECT_FALSE(data_->answered(0, write));
        server_->resume();
        EXPECT_EQ(data_->reply(0, write), ":5\r\n");
    }
}

TEST_F(CoherenceTest, Release_OwnerIsTheReceiver_DoesNotWaitForOthers) {
    start(2);
    const std::string key = data_->key_of(0, "key");
    data_->worker(1).stalled = true;
    EXPECT_EQ(data_->run(0, Lane::kTracked, kWrite, {"DEL", key}), ":0\r\n");
}

TEST_F(CoherenceTest, Release_OwnerNeverFollows_ClientGetsAnErrorInTime) {
    config_.l2.request_timeout_ms = 200;
    start(2);
    const std::string key = data_->key_of(1, "key");
    data_->worker(1).stalled = true;
    const std::string reply = data_->run(0, Lane::kTracked, kWrite, {"DEL", key});
    EXPECT_TRUE(reply.starts_with("-ERR cachee: a worker does not follow")) << reply;
}

TEST_F(CoherenceTest, Fence_Eval_InvalidationOfUndeclaredKeyIsAppliedBeforeTheReply) {
    start(2);
    const std::string key = data_->key_of(1, "hidden");
    set(key, "old");
    ASSERT_NE(data_->hit(key), nullptr);
    const std::string script = "return redis.call('set','" + key + "','new')";
    for (int i = 0; i < 20; ++i) {
        set(key, "old");
        ASSERT_NE(data_->hit(key), nullptr);
        const uint64_t request = data_->command(0, Lane::kFenced, kWrite, {"EVAL", script, "0"});
        // The first poll that shows the reply must show the key gone.
        while (!data_->answered(0, request)) {
            data_->poll();
            std::this_thread::yield();
        }
        EXPECT_EQ(data_->hit(key), nullptr);
        EXPECT_EQ(data_->reply(0, request), "+OK\r\n");
    }
    EXPECT_GE(data_->counter(ControlCounter::fences), 20u);
}

TEST_F(CoherenceTest, Flushall_ThroughUs_NothingIsTrustedAfterTheReply) {
    start(2);
    set("a", "1");
    set("b", "2", 1);
    ASSERT_NE(data_->hit("a"), nullptr);
    EXPECT_EQ(data_->run(0, Lane::kFenced, kWrite, {"FLUSHALL"}), "+OK\r\n");
    EXPECT_EQ(data_->hit("a"), nullptr);
    EXPECT_EQ(data_->hit("b"), nullptr);
    EXPECT_TRUE(data_->lease_live(0)) << "a flush is no reason to stop answering";
}

TEST_F(CoherenceTest, Swapdb_ThroughUs_NothingIsTrustedAfterTheReply) {
    start();
    set("a", "1");
    ASSERT_NE(data_->hit("a"), nullptr);
    EXPECT_EQ(data_->run(0, Lane::kFenced, kWrite, {"SWAPDB", "0", "1"}), "+OK\r\n");
    EXPECT_EQ(data_->hit("a"), nullptr);
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "a")), "$-1\r\n");
}

TEST_F(CoherenceTest, Flushall_Outside_BumpsTheGeneration) {
    start();
    set("a", "1");
    ASSERT_NE(data_->hit("a"), nullptr);
    client_->run("FLUSHALL");
    EXPECT_TRUE(data_->until([&] { return data_->hit("a") == nullptr; }, 200));
    EXPECT_TRUE(data_->lease_live(0));
    EXPECT_EQ(data_->header().generation.load(), data_->worker(0).generation);
}

TEST_F(CoherenceTest, Swapdb_Outside_IsNoticedWithinSeconds) {
    start();
    set("a", "1");
    data_->run_for(300);  // the first count has been taken
    ASSERT_NE(data_->hit("a"), nullptr);
    client_->run("SWAPDB 0 1");
    EXPECT_TRUE(data_->until([&] { return data_->hit("a") == nullptr; }, 2000));
    EXPECT_TRUE(data_->lease_live(0));
}

TEST_F(CoherenceTest, Lease_IsRenewedAndNeverLongerThanConfigured) {
    config_.l2.lease_ms = 400;  // with room for a busy machine
    start();
    const uint64_t end = base::monotonic_ns() + 1000 * base::kNsPerMs;
    while (base::monotonic_ns() < end) {
        data_->poll();
        const uint64_t now = base::monotonic_ns();
        ASSERT_TRUE(data_->lease_live(0));
        ASSERT_LE(data_->worker(0).lease_until_ns, now + 400 * base::kNsPerMs);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

TEST_F(CoherenceTest, Lease_L2DoesNotAnswer_Lapses) {
    start();
    server_->pause();
    EXPECT_TRUE(data_->until([&] { return !data_->lease_live(0); }, 400));
    server_->resume();
    EXPECT_TRUE(data_->all_leased());
}

TEST_F(CoherenceTest, TrackingConnectionKilled_NewGenerationAndLeaseComeBack) {
    start();
    set("k", "old");
    ASSERT_NE(data_->hit("k"), nullptr);
    const uint32_t generation = data_->worker(0).generation;
    const std::string list = client_->text("CLIENT LIST");
    const size_t name = list.find("-tracked");
    ASSERT_NE(name, std::string::npos);
    const size_t id = list.rfind("id=", name);
    const std::string number = list.substr(id + 3, list.find(' ', id) - id - 3);
    EXPECT_EQ(client_->text("CLIENT KILL ID %s", number.c_str()), ":1");
    client_->run("SET k new");
    EXPECT_TRUE(data_->until([&] { return data_->worker(0).generation > generation; }, 1000));
    EXPECT_EQ(data_->hit("k"), nullptr) << "written while nobody listened";
    EXPECT_TRUE(data_->all_leased());
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$3\r\nnew\r\n");
    EXPECT_NE(data_->hit("k"), nullptr);
}

TEST_F(CoherenceTest, Worker_LagsBehindManyInvalidations_GetsAGenerationInstead) {
    start(2);
    const std::string key = data_->key_of(1, "cached");
    set(key, "v");
    data_->worker(1).stalled = true;
    const uint32_t generation = data_->worker(1).generation;
    std::string script = "for i=1,200000 do redis.call('set','x'..i,'1') end return 1";
    client_->run("EVAL %s 0", script.c_str());
    ASSERT_TRUE(data_->until([&] { return data_->header().generation.load() > generation; }, 5000));
    data_->worker(1).stalled = false;
    EXPECT_TRUE(data_->until([&] { return data_->worker(1).generation > generation; }));
    EXPECT_EQ(data_->hit(key), nullptr);
    EXPECT_TRUE(data_->all_leased());
}

}  // namespace
}  // namespace cachee::test
