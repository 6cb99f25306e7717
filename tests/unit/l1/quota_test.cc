// SPDX-License-Identifier: Apache-2.0
// Shares of L1 by key prefix: which prefix counts, that nobody exceeds its share, and that the
// others are left alone.
#include "l1/quota.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/hash.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kSeed = 42;
constexpr uint32_t kGeneration = 7;

uint64_t hash_of(std::string_view key) { return base::hash_key(key, kSeed); }

TEST(QuotaTable, LogOf_LongestPrefixThatFits_Counts) {
    QuotaTable table;
    const Quota quotas[] = {{"s", 1}, {"sess:", 1}, {"user:", 1}, {"sess:admin:", 1}};
    table.set(quotas);
    EXPECT_EQ(table.log_of("s"), kPolicyLogsMax);
    EXPECT_EQ(table.log_of("sess"), kPolicyLogsMax);
    EXPECT_EQ(table.log_of("sess:1"), kPolicyLogsMax + 1);
    EXPECT_EQ(table.log_of("sess:admin:1"), kPolicyLogsMax + 3);
    EXPECT_EQ(table.log_of("user:"), kPolicyLogsMax + 2);
    EXPECT_EQ(table.log_of("use"), QuotaTable::kNoQuota);
    EXPECT_EQ(table.log_of("x"), QuotaTable::kNoQuota);
    EXPECT_EQ(table.log_of(""), QuotaTable::kNoQuota);
}

class QuotaTest : public ::testing::TestWithParam<Eviction> {
  protected:
    void SetUp() override {
        auto created = Store::create({.instance = "quota-" + std::to_string(::getpid()),
                                      .hugepages = Hugepages::kOff,
                                      .bytes = 8 << 20,
                                      .hash_seed = kSeed});
        ASSERT_TRUE(created) << created.error().message;
        store_ = std::move(created).value();
        store_->unlink();
        partition_ = &store_->partition(0);
        partition_->set_counters(&counters_);
        partition_->choose_policy(GetParam());
        segment_bytes_ = partition_->segments().segment_bytes();
        const Quota quotas[] = {{"sess:", 5 * segment_bytes_ + 17}};
        ASSERT_TRUE(partition_->set_quotas(quotas));
    }
    PutStatus put(const std::string& key, size_t value_bytes = 500) {
        return partition_->put(hash_of(key), key, std::string(value_bytes, 'v'), 0, kGeneration, 1);
    }
    bool has(const std::string& key) {
        return partition_->find(hash_of(key), key, 1, kGeneration).status == FindStatus::kHit;
    }
    uint64_t counter(stats::Counter id) const { return counters_.get(id); }

    stats::WorkerCounters counters_{};
    std::unique_ptr<Store> store_;
    Partition* partition_ = nullptr;
    uint64_t segment_bytes_ = 0;
};

TEST_P(QuotaTest, Put_MoreThanTheQuota_StaysWithinAndEvictsItsOwn) {
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(put("other" + std::to_string(i)), PutStatus::kStored);
    for (int i = 0; i < 50'000; ++i) {
        const std::string key = "sess:" + std::to_string(i);
        ASSERT_EQ(put(key), PutStatus::kStored) << i;
        for (int hit = 0; hit < i % 3; ++hit) partition_->touch(hash_of(key));
        ASSERT_LE(partition_->quota_bytes(), 5 * segment_bytes_) << i;
    }
    EXPECT_TRUE(has("sess:49999"));
    EXPECT_FALSE(has("sess:0"));
    // Most of the quota is in use, and it took nothing from the others.
    EXPECT_GE(partition_->quota_bytes(), 3 * segment_bytes_);
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(has("other" + std::to_string(i))) << i;
    EXPECT_GT(counter(stats::Counter::l1_quota_evicted), 30'000U);
    EXPECT_EQ(counter(stats::Counter::l1_quota_evicted), counter(stats::Counter::l1_evicted));
    EXPECT_EQ(counter(stats::Counter::l1_quota_refused), 0U);
}

TEST_P(QuotaTest, Put_OthersFillMemory_QuotaIsNoGuarantee) {
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(put("sess:" + std::to_string(i)), PutStatus::kStored);
    for (int i = 0; i < 50'000; ++i) {
        const std::string key = "other" + std::to_string(i);
        ASSERT_EQ(put(key), PutStatus::kStored);
        // Worth more than those that are never asked for.
        for (int hit = 0; hit < 2; ++hit) partition_->touch(hash_of(key));
    }
    EXPECT_FALSE(has("sess:0"));
    EXPECT_EQ(counter(stats::Counter::l1_quota_evicted), 0U);
}

TEST_P(QuotaTest, Put_BothAtTheirLimits_NeverFails) {
    for (int i = 0; i < 100'000; ++i) {
        const std::string key = (i % 3 != 0 ? "sess:" : "other") + std::to_string(i % 60'000);
        ASSERT_EQ(put(key, 100 + i % 2000), PutStatus::kStored) << i;
        if (i % 4 == 0) partition_->touch(hash_of(key));
        ASSERT_LE(partition_->quota_bytes(), 5 * segment_bytes_) << i;
    }
    partition_->clear();
    EXPECT_EQ(partition_->quota_bytes(), 0U);
    EXPECT_EQ(put("sess:1"), PutStatus::kStored);
}

TEST_P(QuotaTest, SetQuotas_TooSmallForTheStore_IsAnErrorThatSaysWhatItNeeds) {
    const Quota quotas[] = {{"a:", 3 * segment_bytes_}};
    const base::Status status = partition_->set_quotas(quotas);
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().message.find("at least 4 segments"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(All, QuotaTest, ::testing::Values(Eviction::kFifoMerge, Eviction::kS3Fifo),
                         [](const auto& tested) {
                             return tested.param == Eviction::kS3Fifo ? "S3Fifo" : "FifoMerge";
                         });

}  // namespace
}  // namespace cachee::l1
