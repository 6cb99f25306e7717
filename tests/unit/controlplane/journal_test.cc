// SPDX-License-Identifier: Apache-2.0
// A data plane that comes back with the L1 of the one before: what it is told before it gets a
// lease, and when its L1 is not trusted, against a real L2.
#include "controlplane/journal.h"

#include <algorithm>

#include "base/rng.h"
#include "fixture.h"

namespace cachee::test {
namespace {

using controlplane::Journal;

TEST(JournalTest, Note_WhileClosed_IsNothing) {
    Journal journal(1000);
    journal.note("early");
    journal.lose("nobody cares");
    EXPECT_FALSE(journal.covers(7));
    journal.open(7);
    EXPECT_TRUE(journal.covers(7));
    EXPECT_FALSE(journal.covers(8)) << "another L1";
    EXPECT_TRUE(journal.take().empty());
    EXPECT_FALSE(journal.covers(7)) << "closed again";
}

TEST(JournalTest, Note_KeysOnceEach_InAnyNumberUpToTheBound) {
    Journal journal(10 * (64 + 4));
    journal.open(7);
    for (int round = 0; round < 5; ++round) {
        for (int i = 0; i < 10; ++i) journal.note("key" + std::to_string(i));
    }
    journal.note(std::string(65535, 'k'));  // no L1 has such a key
    ASSERT_TRUE(journal.covers(7));
    journal.note("more");
    EXPECT_FALSE(journal.covers(7));
    EXPECT_NE(journal.cause().find("journal_bytes_max"), std::string::npos) << journal.cause();
    journal.open(7);
    journal.note("again");
    EXPECT_EQ(journal.take(), std::vector<std::string>{"again"});
}

TEST(JournalTest, Open_WithoutAnId_CoversNothing) {
    Journal journal(1000);
    journal.open(0);
    EXPECT_FALSE(journal.covers(0));
}

class ResumeTest : public PlaneTest {
  protected:
    // The data plane dies where it is; another finds its L1.
    void restart(bool same_l1 = true) {
        const auto workers = data_->workers();
        auto old = std::move(data_);
        data_ = std::make_unique<FakeDataPlane>(config_.instance.name, directory_, workers);
        data_->take_over(*old);
        if (!same_l1) data_->header().l1_id = 78;
    }
    // Until the control plane has let go of the one that died.
    void unattended() { std::this_thread::sleep_for(std::chrono::milliseconds(200)); }
    void expect_leased() { ASSERT_TRUE(data_->all_leased()) << "no lease"; }
    // A write around us that was announced to whom it concerns.
    void outside(const std::string& command) {
        client_->run(command.c_str());
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
    }
    bool resumed() { return data_->counter(ControlCounter::dataplane_resumes) == 1; }
    uint32_t generation() { return data_->worker(0).generation; }
    size_t at(uint32_t worker, const std::string& line) {
        const auto& log = data_->worker(worker).log;
        return static_cast<size_t>(std::find(log.begin(), log.end(), line) - log.begin());
    }
};

TEST_F(ResumeTest, KeyChangedMeanwhile_IsDroppedAndOthersAreHit) {
    start(2);
    for (const char* key : {"a", "b", "c", "d"}) set(key, "old");
    const uint32_t before = generation();
    restart();
    outside("SET b new");
    outside("DEL c");
    expect_leased();
    EXPECT_TRUE(resumed());
    EXPECT_EQ(generation(), before);
    EXPECT_NE(data_->hit("a"), nullptr);
    EXPECT_NE(data_->hit("d"), nullptr);
    EXPECT_EQ(data_->hit("b"), nullptr);
    EXPECT_EQ(data_->hit("c"), nullptr);
    EXPECT_EQ(data_->counter(ControlCounter::journal_keys), 2U);
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "b")), "$3\r\nnew\r\n");
    data_->run_for(20);
    EXPECT_NE(data_->hit("b"), nullptr) << "fills go on";
}

TEST_F(ResumeTest, CommandsThatWereNotApplied_AreSentAgain) {
    start(2);
    const std::string key = data_->key_of(1, "key");
    set(key, "old");
    data_->run_for(20);
    ASSERT_NE(data_->hit(key), nullptr);
    data_->worker(1).stalled = true;
    outside("SET " + key + " new");
    data_->run_for(50);
    ASSERT_TRUE(data_->worker(1).l1.contains(key)) << "in the ring, not applied";
    restart();
    ASSERT_TRUE(data_->worker(1).l1.contains(key));
    expect_leased();
    EXPECT_TRUE(resumed());
    EXPECT_EQ(data_->hit(key), nullptr);
}

TEST_F(ResumeTest, FillThatWasNotApplied_OlderValueIsDropped) {
    start(2);
    const std::string key = data_->key_of(1, "key");
    set(key, "old");
    data_->run_for(20);
    ASSERT_NE(data_->hit(key), nullptr);
    data_->worker(1).stalled = true;
    data_->command(0, Lane::kTracked, kWrite, {"SET", key, "new"});
    ASSERT_TRUE(data_->until([&] { return client_->text("GET %s", key.c_str()) == "new"; }));
    data_->run_for(20);
    restart();
    expect_leased();
    EXPECT_TRUE(resumed());
    EXPECT_EQ(data_->hit(key), nullptr);
}

TEST_F(ResumeTest, WriteInFlight_AnsweredWhileNobodyIsThere_IsDropped) {
    start();
    set("k", "old");
    set("other", "v");
    ASSERT_NE(data_->hit("k"), nullptr);
    server_->pause();
    data_->command(0, Lane::kTracked, kWrite, {"SET", "k", "new"});
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // sent, its word not applied
    restart();
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    server_->resume();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    expect_leased();
    EXPECT_TRUE(resumed());
    EXPECT_EQ(data_->hit("k"), nullptr);
    EXPECT_NE(data_->hit("other"), nullptr);
}

TEST_F(ResumeTest, WriteInFlight_AnsweredAfterwards_NoOldValueIsShown) {
    start();
    set("k", "old");
    ASSERT_NE(data_->hit("k"), nullptr);
    server_->pause();
    data_->command(0, Lane::kTracked, kWrite, {"SET", "k", "new"});
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    restart();
    data_->run_for(200);
    server_->resume();
    expect_leased();
    const std::string* hit = data_->hit("k");
    EXPECT_TRUE(hit == nullptr || *hit == "new");
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$3\r\nnew\r\n");
}

TEST_F(ResumeTest, FlushMeanwhile_NothingIsTrusted) {
    start();
    set("k", "old");
    restart();
    unattended();
    outside("FLUSHALL");
    expect_leased();
    EXPECT_FALSE(resumed());
    EXPECT_EQ(data_->counter(ControlCounter::journal_losses), 1U);
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, SwapdbOfOursInFlight_NothingIsTrusted) {
    start();
    set("k", "old");
    server_->pause();
    data_->command(0, Lane::kFenced, kWrite, {"SWAPDB", "0", "1"});
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    restart();
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    server_->resume();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    expect_leased();
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, SwapdbMeanwhile_IsNoticed) {
    start();
    set("k", "old");
    data_->run_for(300);  // the first count has been taken
    restart();
    outside("SWAPDB 0 1");
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    expect_leased();
    EXPECT_FALSE(resumed());
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, TrackingLostMeanwhile_NothingIsTrusted) {
    start();
    set("k", "old");
    restart();
    unattended();
    const std::string list = client_->text("CLIENT LIST");
    const size_t id = list.rfind("id=", list.find("-tracked"));
    const std::string number = list.substr(id + 3, list.find(' ', id) - id - 3);
    ASSERT_EQ(client_->text("CLIENT KILL ID %s", number.c_str()), ":1");
    unattended();
    expect_leased();
    EXPECT_FALSE(resumed());
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, MoreKeysThanTheJournalTakes_NothingIsTrusted) {
    config_.l2.journal_bytes_max = 2000;
    start();
    set("k", "old");
    restart();
    client_->run("EVAL %s 0", "for i=1,200 do redis.call('set','x'..i,'1') end return 1");
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    expect_leased();
    EXPECT_FALSE(resumed());
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, JournalOff_NothingIsTrusted) {
    config_.l2.journal_bytes_max = 0;
    start();
    set("k", "old");
    restart();
    expect_leased();
    EXPECT_FALSE(resumed());
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, AnotherL1_NothingIsTrusted) {
    start();
    set("k", "old");
    restart(false);
    expect_leased();
    EXPECT_FALSE(resumed());
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, L1ThatKnowsANewerGeneration_NothingIsTrusted) {
    start();
    set("k", "old");
    const uint32_t before = generation();
    restart();
    data_->header().generation = before + 5;
    expect_leased();
    EXPECT_FALSE(resumed());
    EXPECT_EQ(generation(), before + 6);
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, AnotherControlPlane_BeginsAboveTheNewestGeneration) {
    start();
    set("k", "old");
    const uint32_t before = generation();
    stop_plane();
    restart();
    start_plane();
    expect_leased();
    EXPECT_EQ(generation(), before + 1);
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(ResumeTest, DeadForLong_ManyKeysInItsRing_GoToTheJournal) {
    start();
    set("kept", "v");
    set("x150000", "old");
    data_->run_for(20);
    ASSERT_NE(data_->hit("kept"), nullptr);
    const uint32_t before = generation();
    data_->beat(base::monotonic_ns() - 60'000'000'000);  // its last
    client_->run("EVAL %s 0", "for i=1,200000 do redis.call('set','x'..i,'1') end return 1");
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    restart();
    expect_leased();
    EXPECT_TRUE(resumed());
    EXPECT_EQ(generation(), before);
    EXPECT_NE(data_->hit("kept"), nullptr);
    EXPECT_EQ(data_->hit("x150000"), nullptr);
    EXPECT_EQ(data_->counter(ControlCounter::journal_keys), 200'000U);
}

TEST_F(ResumeTest, RandomWritesAndRestarts_L1IsNeverBehindL2) {
    start(2);
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    base::Rng rng(seed);
    uint64_t hits = 0;
    uint64_t resumes = 0;
    for (int round = 0; round < 12; ++round) {
        for (int i = 0; i < 150; ++i) {
            const std::string key = "k" + std::to_string(rng.below(40));
            const std::string value = std::to_string(round) + "-" + std::to_string(i);
            const auto worker = static_cast<uint32_t>(rng.below(2));
            switch (rng.below(4)) {
                case 0:
                    client_->run("SET %s outside-%s", key.c_str(), value.c_str());
                    break;
                case 1:
                    data_->command(worker, Lane::kTracked, kWrite, {"SET", key, value});
                    break;
                default:
                    data_->fetch(worker, key);
            }
            if (rng.chance(0.3)) data_->poll();
        }
        if (round % 2 == 0) data_->run_for(20);
        restart();
        for (int i = 0; i < 5; ++i) {
            client_->run("SET k%d between", static_cast<int>(rng.below(40)));
        }
        expect_leased();
        // What was in flight at the end of the old one has been executed and announced.
        data_->run_for(40);
        resumes += data_->counter(ControlCounter::dataplane_resumes);
        for (int i = 0; i < 40; ++i) {
            const std::string key = "k" + std::to_string(i);
            const std::string* hit = data_->hit(key);
            if (hit == nullptr) continue;
            ++hits;
            EXPECT_EQ(*hit, client_->text("GET %s", key.c_str())) << key << " round " << round;
        }
    }
    EXPECT_GT(hits, 10U);
    EXPECT_EQ(resumes, 12U);
}

}  // namespace
}  // namespace cachee::test
