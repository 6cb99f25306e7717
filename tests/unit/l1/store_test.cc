// SPDX-License-Identifier: Apache-2.0
// What a caller of the store sees: one thread, small stores on /dev/shm.
#include "l1/store.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "base/hash.h"
#include "l1/item.h"
#include "l1/partition.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kSeed = 42;
constexpr uint32_t kGeneration = 7;

uint64_t hash_of(std::string_view key) { return base::hash_key(key, kSeed); }

class StoreTest : public ::testing::Test {
  protected:
    void SetUp() override { create({}); }
    void TearDown() override {
        if (store_) store_->unlink();
    }

    void create(StoreOptions options) {
        if (store_) store_->unlink();
        store_.reset();
        options.instance = "test-" + std::to_string(::getpid());
        options.hugepages = Hugepages::kOff;
        if (options.bytes == StoreOptions{}.bytes) options.bytes = 4 << 20;
        options.hash_seed = kSeed;
        auto created = Store::create(options);
        ASSERT_TRUE(created) << created.error().message;
        store_ = std::move(created).value();
        partition_ = &store_->partition(0);
        counters_ = std::make_unique<stats::WorkerCounters>();
        partition_->set_counters(counters_.get());
    }
    PutStatus put(std::string_view key, std::string_view value, uint64_t deadline_ms = 0,
                  uint64_t now_ms = 1) {
        return partition_->put(hash_of(key), key, value, deadline_ms, kGeneration, now_ms);
    }
    Lookup find(std::string_view key, uint64_t now_ms = 1, uint32_t generation = kGeneration) {
        return partition_->find(hash_of(key), key, now_ms, generation);
    }
    // The value, or "(none)".
    std::string get(std::string_view key, uint64_t now_ms = 1, uint32_t generation = kGeneration) {
        const Lookup lookup = find(key, now_ms, generation);
        if (lookup.status != FindStatus::kHit) return "(none)";
        std::string value(reinterpret_cast<const char*>(lookup.value), lookup.value_bytes);
        return Partition::still_valid(lookup) ? value : "(torn)";
    }
    bool erase(std::string_view key) { return partition_->erase(hash_of(key), key); }
    uint64_t counter(stats::Counter id) { return counters_->get(id); }

    std::unique_ptr<Store> store_;
    std::unique_ptr<stats::WorkerCounters> counters_;
    Partition* partition_ = nullptr;
};

TEST_F(StoreTest, Put_ThenFind_ReturnsTheValue) {
    EXPECT_EQ(get("key"), "(none)");
    EXPECT_EQ(put("key", "value"), PutStatus::kStored);
    EXPECT_EQ(get("key"), "value");
    EXPECT_EQ(find("key").deadline_ms, 0U);
    EXPECT_EQ(partition_->items(), 1U);
}

TEST_F(StoreTest, Put_SameKey_ReplacesAndInvalidatesEarlierLookup) {
    put("key", "old");
    const Lookup before = find("key");
    ASSERT_TRUE(Partition::still_valid(before));
    put("key", "new and longer");
    EXPECT_FALSE(Partition::still_valid(before));
    EXPECT_EQ(get("key"), "new and longer");
    EXPECT_EQ(partition_->items(), 1U);
}

TEST_F(StoreTest, Put_EmptyKeyAndEmptyValue_AreOrdinary) {
    EXPECT_EQ(put("", "value of the empty key"), PutStatus::kStored);
    EXPECT_EQ(put("empty", ""), PutStatus::kStored);
    EXPECT_EQ(get(""), "value of the empty key");
    EXPECT_EQ(get("empty"), "");
}

TEST_F(StoreTest, Put_KeysOfEveryLength_AreToldApartByEveryByte) {
    for (size_t length = 1; length <= 100; ++length) {
        std::string key(length, 'k');
        ASSERT_EQ(put(key, std::to_string(length)), PutStatus::kStored);
    }
    for (size_t length = 1; length <= 100; ++length) {
        std::string key(length, 'k');
        EXPECT_EQ(get(key), std::to_string(length));
        for (size_t i = 0; i < length; ++i) {
            std::string other = key;
            other[i] ^= 1;
            // Straight at the comparison: the hash would hardly ever let it get that far.
            EXPECT_FALSE(bytes_equal(reinterpret_cast<const uint8_t*>(key.data()),
                                     reinterpret_cast<const uint8_t*>(other.data()), length));
            EXPECT_EQ(get(other), "(none)");
        }
    }
}

TEST_F(StoreTest, Put_LargestItem_IsStoredAndOneMoreByteIsNot) {
    const uint64_t most = store_->item_bytes_max();
    EXPECT_EQ(put("k", std::string(most - 1, 'v')), PutStatus::kStored);
    EXPECT_EQ(get("k").size(), most - 1);
    EXPECT_EQ(put("k", std::string(most, 'v')), PutStatus::kTooLarge);
    EXPECT_EQ(get("k"), "(none)") << "the old value must not outlive a refused write";
    EXPECT_EQ(counter(stats::Counter::l1_put_failures), 1U);
}

TEST_F(StoreTest, Put_KeyTooLong_IsTooLarge) {
    const std::string key(kKeyBytesMax + 1, 'k');
    EXPECT_EQ(put(key, "v"), PutStatus::kTooLarge);
    const std::string longest(kKeyBytesMax, 'k');
    EXPECT_EQ(put(longest, "v"), PutStatus::kStored);
    EXPECT_EQ(get(longest), "v");
}

TEST_F(StoreTest, Find_AtDeadline_IsAMiss) {
    put("key", "value", 1000);
    EXPECT_EQ(get("key", 999), "value");
    EXPECT_EQ(find("key", 999).deadline_ms, 1000U);
    EXPECT_EQ(get("key", 1000), "(none)");
    EXPECT_EQ(get("key", 1001), "(none)");
}

TEST_F(StoreTest, Find_DeadlineBeyondTheHorizon_EndsThere) {
    put("key", "value", UINT64_MAX);
    EXPECT_EQ(get("key", kNoDeadline - 2), "value");
    EXPECT_EQ(find("key").deadline_ms, kNoDeadline - 1);
    EXPECT_EQ(get("key", kNoDeadline - 1), "(none)");
}

TEST_F(StoreTest, Find_OtherGeneration_IsAMiss) {
    put("key", "value");
    EXPECT_EQ(get("key", 1, kGeneration + 1), "(none)");
    EXPECT_EQ(get("key", 1, kGeneration), "value");
}

TEST_F(StoreTest, SetDeadline_InPlace_KeepsValueAndCrc) {
    put("key", "value");
    const Lookup before = find("key");
    EXPECT_TRUE(partition_->set_deadline(hash_of("key"), "key", 500));
    EXPECT_FALSE(Partition::still_valid(before));
    EXPECT_EQ(get("key", 499), "value");
    EXPECT_EQ(get("key", 500), "(none)");
    const uint8_t* item = find("key", 499).value - 3 - kItemHeaderBytes;
    const ItemHeader header = read_header(item);
    EXPECT_EQ(header.crc, crc_of(item, header.bytes()));
    EXPECT_TRUE(partition_->set_deadline(hash_of("key"), "key", 0));
    EXPECT_EQ(get("key", 500), "value");
    EXPECT_FALSE(partition_->set_deadline(hash_of("other"), "other", 0));
}

TEST_F(StoreTest, Erase_KnownKey_IsGoneAndCountedOut) {
    put("key", "value");
    EXPECT_TRUE(erase("key"));
    EXPECT_FALSE(erase("key"));
    EXPECT_EQ(get("key"), "(none)");
    EXPECT_EQ(partition_->items(), 0U);
}

TEST_F(StoreTest, Clear_FullStore_IsEmptyAndUsable) {
    for (int i = 0; i < 20000; ++i) put("key" + std::to_string(i), "value");
    const Lookup before = find("key19999");
    ASSERT_EQ(before.status, FindStatus::kHit);
    partition_->clear();
    EXPECT_FALSE(Partition::still_valid(before));
    EXPECT_EQ(partition_->items(), 0U);
    for (int i = 0; i < 20000; ++i) ASSERT_EQ(get("key" + std::to_string(i)), "(none)");
    for (int i = 0; i < 20000; ++i)
        ASSERT_EQ(put("key" + std::to_string(i), "v"), PutStatus::kStored);
    EXPECT_EQ(get("key19999"), "v");
}

TEST_F(StoreTest, Maintain_AfterDeadlines_FreesEverySegment) {
    for (int i = 0; i < 5000; ++i) put("key" + std::to_string(i), "value", 1000 + i % 10);
    EXPECT_EQ(partition_->items(), 5000U);
    for (int i = 0; i < 1000; ++i) partition_->maintain(999);
    EXPECT_EQ(partition_->items(), 5000U);
    for (int i = 0; i < 1000; ++i) partition_->maintain(1009);
    EXPECT_EQ(partition_->items(), 0U);
    EXPECT_EQ(counter(stats::Counter::l1_expired), 5000U);
    EXPECT_EQ(counter(stats::Counter::l1_items), 0U);
    EXPECT_EQ(counter(stats::Counter::l1_bytes_used), 0U);
}

TEST_F(StoreTest, Put_MoreThanFits_EvictsAndNeverFails) {
    const std::string value(1000, 'v');
    for (int i = 0; i < 50000; ++i) {
        ASSERT_EQ(put("key" + std::to_string(i), value + std::to_string(i)), PutStatus::kStored)
            << i;
    }
    EXPECT_EQ(get("key49999"), value + "49999");
    EXPECT_EQ(get("key0"), "(none)");
    EXPECT_GT(counter(stats::Counter::l1_evicted), 40000U);
    EXPECT_EQ(counter(stats::Counter::l1_evicted) + partition_->items(), 50000U);
}

TEST_F(StoreTest, Put_MoreThanFits_KeepsTouchedItems) {
    const std::string value(1000, 'v');
    for (int i = 0; i < 100; ++i) put("hot" + std::to_string(i), value);
    for (int i = 0; i < 20000; ++i) {
        put("cold" + std::to_string(i), value);
        for (int j = 0; j < 2; ++j)
            partition_->touch(hash_of("hot" + std::to_string((i * 2 + j) % 100)));
    }
    int kept = 0;
    for (int i = 0; i < 100; ++i) kept += get("hot" + std::to_string(i)) == value ? 1 : 0;
    EXPECT_GE(kept, 95);
}

TEST_F(StoreTest, Put_OldGeneration_IsDroppedByAMergeFirst) {
    const std::string value(1000, 'v');
    put("old", value);
    for (int i = 0; i < 100; ++i) partition_->touch(hash_of("old"));
    partition_->put(hash_of("new"), "new", value, 0, kGeneration + 1, 1);
    for (int i = 0; i < 20000; ++i) {
        const std::string key = "key" + std::to_string(i);
        partition_->put(hash_of(key), key, value, 0, kGeneration + 1, 1);
    }
    EXPECT_EQ(get("old"), "(none)");
}

TEST_F(StoreTest, Put_LargeItems_NeverFails) {
    const std::string value(store_->item_bytes_max() - 20, 'v');
    for (int i = 0; i < 500; ++i) {
        ASSERT_EQ(put("key" + std::to_string(i), value, i % 3 == 0 ? 100000 * (i % 7 + 1) : 0),
                  PutStatus::kStored);
        partition_->touch(hash_of("key" + std::to_string(i)));
        ASSERT_EQ(get("key" + std::to_string(i)), value);
    }
}

TEST_F(StoreTest, Touch_MissingKey_ChangesNothing) {
    put("key", "value");
    const Lookup before = find("key");
    partition_->touch(hash_of("other"));
    for (int i = 0; i < 1000; ++i) partition_->touch(hash_of("key"));
    EXPECT_TRUE(Partition::still_valid(before));
    EXPECT_EQ(get("key"), "value");
}

TEST_F(StoreTest, Find_ReadOnlyMemory_WritesNoLine) {
    for (int i = 0; i < 1000; ++i) put("key" + std::to_string(i), "value");
    ASSERT_EQ(::mprotect(store_->base(), store_->bytes(), PROT_READ), 0);
    for (int i = 0; i < 2000; ++i) {
        const std::string key = "key" + std::to_string(i);
        partition_->prefetch_bucket(hash_of(key));
        const Candidate candidate = partition_->look<By::kOwner>(hash_of(key));
        EXPECT_EQ(partition_->take<By::kOwner>(candidate, hash_of(key), key, 1, kGeneration).status,
                  find(key).status);
        EXPECT_EQ(get(key), i < 1000 ? "value" : "(none)");
    }
    ASSERT_EQ(::mprotect(store_->base(), store_->bytes(), PROT_READ | PROT_WRITE), 0);
}

TEST_F(StoreTest, Find_SmallItems_LieWithinOneLine) {
    for (int i = 0; i < 3000; ++i) {
        const std::string key = "key" + std::to_string(i);
        const std::string value(static_cast<size_t>(i % 40), 'v');
        if (key.size() + value.size() > 46) continue;
        put(key, value);
        const Lookup lookup = find(key);
        const auto begin =
            reinterpret_cast<uintptr_t>(lookup.value) - key.size() - kItemHeaderBytes;
        const auto last = reinterpret_cast<uintptr_t>(lookup.value) + lookup.value_bytes - 1;
        EXPECT_EQ(begin / 64, last / 64);
    }
}

TEST_F(StoreTest, Create_Partitions_ShareNothing) {
    create({.bytes = 8 << 20, .partitions = 3});
    ASSERT_EQ(store_->partitions(), 3U);
    for (uint32_t i = 0; i < 3; ++i) {
        store_->partition(i).put(hash_of("key"), "key", std::to_string(i), 0, 1, 1);
    }
    store_->partition(1).clear();
    for (uint32_t i = 0; i < 3; ++i) {
        const Lookup lookup = store_->partition(i).find(hash_of("key"), "key", 1, 1);
        EXPECT_EQ(lookup.status, i == 1 ? FindStatus::kMiss : FindStatus::kHit);
    }
}

TEST_F(StoreTest, Create_BadOptions_AreErrorsThatSayWhy) {
    EXPECT_FALSE(Store::create({.instance = "a/b"}));
    EXPECT_FALSE(Store::create({.instance = "x", .partitions = 0}));
    EXPECT_FALSE(Store::create({.instance = "x", .bytes = 1 << 20, .partitions = 4}));
    auto tiny = Store::create({.instance = "x", .bytes = 100});
    ASSERT_FALSE(tiny);
    EXPECT_NE(tiny.error().message.find("too small"), std::string::npos);
}

// kPadding is also what the place of no item says: a key of that length must not be compared with
// it.
TEST_F(StoreTest, Find_KeyAsLongAsPaddingSays_IsAMiss) {
    const std::string key(kPadding, 'k');
    EXPECT_EQ(find(key).status, FindStatus::kMiss);
    EXPECT_EQ(partition_->find<By::kOwner>(hash_of(key), key, 1, kGeneration).status,
              FindStatus::kMiss);
    EXPECT_FALSE(key_matches(kNoItem, key));
}

}  // namespace
}  // namespace cachee::l1
