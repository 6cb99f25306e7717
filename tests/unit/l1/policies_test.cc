// SPDX-License-Identifier: Apache-2.0
// Eviction policies over the real mechanism, on small stores: what stays, what goes, what bounds
// it.
#include "l1/policies.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "base/hash.h"
#include "l1/ghost.h"
#include "l1/partition.h"
#include "l1/store.h"
#include "l1/touch.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kSeed = 42;
constexpr uint32_t kGeneration = 7;

uint64_t hash_of(std::string_view key) { return base::hash_key(key, kSeed); }

class PoliciesTest : public ::testing::TestWithParam<Eviction> {
  protected:
    void SetUp() override {
        auto created = Store::create({.instance = "policies-" + std::to_string(::getpid()),
                                      .hugepages = Hugepages::kOff,
                                      .bytes = 4 << 20,
                                      .hash_seed = kSeed});
        ASSERT_TRUE(created) << created.error().message;
        store_ = std::move(created).value();
        store_->unlink();
        partition_ = &store_->partition(0);
        partition_->set_counters(&counters_);
        partition_->choose_policy(GetParam());
    }
    void put(const std::string& key, size_t value_bytes = 1000) {
        ASSERT_EQ(
            partition_->put(hash_of(key), key, std::string(value_bytes, 'v'), 0, kGeneration, 1),
            PutStatus::kStored);
    }
    // As a worker reads: true is a hit, and noted when the sampler says so.
    bool get(const std::string& key) {
        const Candidate candidate = partition_->look<By::kOwner>(hash_of(key));
        const Lookup found =
            partition_->take<By::kOwner>(candidate, hash_of(key), key, 1, kGeneration);
        if (found.status != FindStatus::kHit) return false;
        if (sampler_.wanted(candidate.frequency)) partition_->touch(hash_of(key));
        return true;
    }
    uint32_t log_of(const std::string& key) {
        const Lookup found = partition_->find(hash_of(key), key, 1, kGeneration);
        const auto offset = static_cast<uint64_t>(found.value - partition_->segments().item(0));
        return partition_->segments()
            .info(static_cast<uint32_t>(offset / partition_->segments().segment_bytes()))
            .log;
    }
    uint64_t evicted() const { return counters_.get(stats::Counter::l1_evicted); }

    stats::WorkerCounters counters_{};
    std::unique_ptr<Store> store_;
    Partition* partition_ = nullptr;
    TouchSampler sampler_;
};

TEST_P(PoliciesTest, Put_ManyTimesTheMemory_NeverFailsAndBooksBalance) {
    for (int i = 0; i < 30'000; ++i) put("key" + std::to_string(i), 200 + i % 1500);
    EXPECT_TRUE(get("key29999"));
    EXPECT_EQ(evicted() + partition_->items(), 30'000U);
    uint32_t segments = 0;
    for (uint32_t log = 0; log < kLogsMax; ++log) {
        segments += partition_->segments().view().logs[log].segments;
    }
    EXPECT_EQ(segments + partition_->segments().free_count(), partition_->segments().count());
}

TEST_P(PoliciesTest, Put_EverythingIsHit_StillFindsRoom) {
    for (int i = 0; i < 20'000; ++i) {
        const std::string key = "key" + std::to_string(i);
        put(key, 3000);
        for (int hit = 0; hit < 3; ++hit) EXPECT_TRUE(get(key));
    }
    // What was written again for it is bounded: at most three times what was put.
    EXPECT_LT(partition_->reclaimer().moved_bytes(), 3U * 20'000 * 3100);
}

TEST_P(PoliciesTest, Scan_LongerThanMemory_KeepsWhatIsReadAllTheTime) {
    for (int i = 0; i < 100; ++i) put("hot" + std::to_string(i));
    for (int i = 0; i < 20'000; ++i) {
        put("scan" + std::to_string(i));
        get("hot" + std::to_string(i % 100));
    }
    int kept = 0;
    for (int i = 0; i < 100; ++i) kept += get("hot" + std::to_string(i)) ? 1 : 0;
    EXPECT_GE(kept, 95);
}

TEST_P(PoliciesTest, ChooseAnother_WithItemsThere_KeepsThem) {
    for (int i = 0; i < 1000; ++i) put("key" + std::to_string(i));
    partition_->choose_policy(GetParam() == Eviction::kS3Fifo ? Eviction::kFifoMerge
                                                              : Eviction::kS3Fifo);
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(get("key" + std::to_string(i))) << i;
    for (int i = 0; i < 20'000; ++i) put("new" + std::to_string(i));
    EXPECT_FALSE(get("key0"));
}

INSTANTIATE_TEST_SUITE_P(All, PoliciesTest,
                         ::testing::Values(Eviction::kFifoMerge, Eviction::kS3Fifo),
                         [](const auto& tested) {
                             return tested.param == Eviction::kS3Fifo ? "S3Fifo" : "FifoMerge";
                         });

class S3FifoTest : public PoliciesTest {};
INSTANTIATE_TEST_SUITE_P(One, S3FifoTest, ::testing::Values(Eviction::kS3Fifo));

// Memory is full, and nothing of what is in it is asked for again.
TEST_P(S3FifoTest, Put_NewKey_GoesToProbationAndReadOnesOnToMain) {
    for (int i = 0; i < 10'000; ++i) put("old" + std::to_string(i));
    put("once");
    put("twice");
    EXPECT_EQ(log_of("once"), 0U);
    EXPECT_EQ(log_of("twice"), 0U);
    get("once");
    get("twice");
    get("twice");
    for (int i = 0; i < 2'000; ++i) put("new" + std::to_string(i));
    EXPECT_FALSE(get("once"));
    ASSERT_TRUE(get("twice"));
    EXPECT_EQ(log_of("twice"), 1U);
}

TEST_P(S3FifoTest, Put_KeyThatWasEvictedLately_GoesToMain) {
    for (int i = 0; i < 10'000; ++i) put("old" + std::to_string(i));
    put("back");
    for (int i = 0; i < 1'000; ++i) put("new" + std::to_string(i));
    ASSERT_FALSE(get("back"));
    put("back");
    EXPECT_EQ(log_of("back"), 1U);
    put("never");
    EXPECT_EQ(log_of("never"), 0U);
}

TEST(Ghost, Take_AfterInsert_IsTrueOnce) {
    Ghost ghost(1000);
    ghost.insert(hash_of("a"));
    EXPECT_FALSE(ghost.take(hash_of("b"), 1000));
    EXPECT_TRUE(ghost.take(hash_of("a"), 1000));
    EXPECT_FALSE(ghost.take(hash_of("a"), 1000));
}

TEST(Ghost, Take_OlderThanAsked_IsFalse) {
    Ghost ghost(1000);
    ghost.insert(hash_of("a"));
    for (int i = 0; i < 100; ++i) ghost.insert(hash_of("x" + std::to_string(i)));
    EXPECT_FALSE(ghost.take(hash_of("a"), 50));
}

TEST(Ghost, Take_WithinCapacity_RemembersNearlyAllAndInventsFew) {
    constexpr int kEntries = 100'000;
    Ghost ghost(kEntries);
    for (int i = 0; i < 3 * kEntries; ++i) ghost.insert(hash_of("key" + std::to_string(i)));
    int remembered = 0;
    for (int i = 2 * kEntries; i < 3 * kEntries; ++i) {
        remembered +=
            ghost.take(hash_of("key" + std::to_string(i)), kEntries + kEntries / 8) ? 1 : 0;
    }
    int invented = 0;
    for (int i = 0; i < kEntries; ++i) {
        invented += ghost.take(hash_of("other" + std::to_string(i)), kEntries) ? 1 : 0;
    }
    EXPECT_GT(remembered, kEntries * 95 / 100);
    EXPECT_LT(invented, kEntries / 500);
    EXPECT_LE(4 * ghost.capacity(), 8U * kEntries);  // at most 8 bytes an item
}

TEST(TouchSampler, Wanted_FirstHits_AlwaysThenASample) {
    TouchSampler sampler;
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(sampler.wanted(0));
        EXPECT_TRUE(sampler.wanted(TouchSampler::kAlways - 1));
    }
    int noted = 0;
    for (int i = 0; i < 800; ++i) noted += sampler.wanted(TouchSampler::kAlways) ? 1 : 0;
    EXPECT_EQ(noted, 100);
}

TEST(Policies, EvictionOf_Names_AreThoseOfTheConfiguration) {
    EXPECT_EQ(eviction_of("fifo_merge"), Eviction::kFifoMerge);
    EXPECT_EQ(eviction_of("s3_fifo"), Eviction::kS3Fifo);
    EXPECT_FALSE(eviction_of("lru").has_value());
}

}  // namespace
}  // namespace cachee::l1
