// SPDX-License-Identifier: Apache-2.0
// Another size while the store is in use: what grows, what shrinking keeps, moves and evicts, who
// delays it, and what memory the file really has. Run under ThreadSanitizer too.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "base/units.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

using base::kMiB;

constexpr uint64_t kSeed = 17;
constexpr uint32_t kGeneration = 3;

std::string key_of(uint64_t number) { return "key:" + std::to_string(number); }
std::string value_of(uint64_t number, size_t bytes) {
    std::string value = std::to_string(number) + ":";
    value.resize(bytes, static_cast<char>('a' + number % 26));
    return value;
}

class ResizeTest : public ::testing::Test {
  protected:
    void TearDown() override {
        if (store_) store_->unlink();
    }

    base::Status create(uint64_t bytes, uint64_t bytes_max, uint32_t partitions = 1) {
        StoreOptions options;
        options.instance = "resize-" + std::to_string(::getpid());
        options.hugepages = Hugepages::kOff;
        options.bytes = bytes;
        options.bytes_max = bytes_max;
        options.partitions = partitions;
        options.item_bytes_max = 16 << 10;
        options.item_bytes_expected = 1000;
        options.hash_seed = kSeed;
        auto created = Store::create(options);
        if (!created) return created.error();
        store_ = std::move(created).value();
        for (uint32_t i = 0; i < partitions; ++i) {
            counters_.push_back(std::make_unique<stats::WorkerCounters>());
            store_->partition(i).set_counters(counters_.back().get());
        }
        return {};
    }
    Partition& of(uint64_t hash) {
        return store_->partition(base::owner_of(hash, store_->partitions()));
    }
    void put(uint64_t number, uint64_t deadline_ms = 0) {
        const std::string key = key_of(number);
        const uint64_t hash = base::hash_key(key, kSeed);
        ASSERT_EQ(of(hash).put(hash, key, value_of(number, kValueBytes), deadline_ms, kGeneration,
                               now_ms_),
                  PutStatus::kStored);
    }
    Lookup find(uint64_t number) {
        const std::string key = key_of(number);
        const uint64_t hash = base::hash_key(key, kSeed);
        return of(hash).find(hash, key, now_ms_, kGeneration);
    }
    // 1 when the key is there with its own value; a wrong value fails the test.
    uint64_t has(uint64_t number) {
        const Lookup found = find(number);
        if (found.status != FindStatus::kHit) return 0;
        const std::string_view value(reinterpret_cast<const char*>(found.value), found.value_bytes);
        EXPECT_TRUE(value == value_of(number, kValueBytes)) << number;
        return 1;
    }
    uint64_t count_of(uint64_t numbers) {
        uint64_t there = 0;
        for (uint64_t n = 0; n < numbers; ++n) there += has(n);
        return there;
    }
    // Upkeep and the main thread's turn, until the store has its size.
    bool settle(int rounds = 10'000) {
        for (int i = 0; i < rounds; ++i) {
            for (uint32_t p = 0; p < store_->partitions(); ++p) {
                store_->partition(p).maintain(now_ms_);
            }
            if (store_->resize_step()) return true;
        }
        return false;
    }
    uint64_t memory() {
        struct stat status {};
        EXPECT_EQ(::stat(store_->path().c_str(), &status), 0);
        return static_cast<uint64_t>(status.st_blocks) * 512;
    }
    uint64_t counter(stats::Counter id) {
        uint64_t sum = 0;
        for (auto& counters : counters_) sum += counters->get(id);
        return sum;
    }

    static constexpr size_t kValueBytes = 1000;
    uint64_t now_ms_ = 1;
    std::vector<std::unique_ptr<stats::WorkerCounters>> counters_;
    std::unique_ptr<Store> store_;
};

TEST_F(ResizeTest, Grow_TakesMemoryAndHoldsMore) {
    ASSERT_TRUE(create(48 * kMiB, 128 * kMiB));
    EXPECT_LT(memory(), 54 * kMiB);
    for (uint64_t n = 0; n < 80'000; ++n) put(n);
    for (int i = 0; i < 1000; ++i)
        store_->partition(0).maintain(now_ms_);  // a merge under way ends
    const uint64_t before = count_of(80'000);
    EXPECT_LT(before, 48'000U);
    ASSERT_TRUE(store_->resize(120 * kMiB));
    ASSERT_TRUE(settle());
    EXPECT_EQ(count_of(80'000), before);
    EXPECT_GT(memory(), 110 * kMiB);
    for (uint64_t n = 0; n < 80'000; ++n) put(n);
    EXPECT_EQ(count_of(80'000), 80'000U);
}

TEST_F(ResizeTest, Shrink_WithRoom_LosesNothingAndGivesMemoryBack) {
    ASSERT_TRUE(create(128 * kMiB, 128 * kMiB));
    for (uint64_t n = 0; n < 30'000; ++n) put(n);
    for (uint64_t n = 30'000; n < 90'000; ++n) put(n, 1000);  // expire; they push the log far out
    now_ms_ = 2000;
    ASSERT_TRUE(store_->resize(48 * kMiB));
    EXPECT_TRUE(settle());
    EXPECT_EQ(count_of(30'000), 30'000U);
    EXPECT_LT(memory(), 54 * kMiB);
    EXPECT_EQ(counter(stats::Counter::l1_evicted), 0U);
}

TEST_F(ResizeTest, Shrink_Full_EvictsToTheNewSizeAndServesOn) {
    ASSERT_TRUE(create(128 * kMiB, 128 * kMiB, 2));
    for (uint64_t n = 0; n < 100'000; ++n) put(n);
    ASSERT_TRUE(store_->resize(64 * kMiB));
    bool done = false;
    for (uint64_t n = 100'000; n < 400'000 && !done; ++n) {
        put(n);  // the owners go on
        if (n % 64 == 0) done = settle(1);
    }
    EXPECT_TRUE(done);
    EXPECT_LT(memory(), 72 * kMiB);
    const uint64_t there = count_of(400'000);
    EXPECT_GT(there, 20'000U);
    EXPECT_LT(there, 64'000U);
}

TEST_F(ResizeTest, ShrinkAndGrowInTurns_AccountStaysRight) {
    ASSERT_TRUE(create(64 * kMiB, 128 * kMiB));
    base::Rng rng(5);
    uint64_t next = 0;
    for (int turn = 0; turn < 40; ++turn) {
        const uint64_t bytes = (48 + rng.below(80)) * kMiB;
        ASSERT_TRUE(store_->resize(bytes));
        const int puts = static_cast<int>(rng.below(6000));
        for (int i = 0; i < puts; ++i) put(next++);
        if (rng.below(2) == 0) {
            EXPECT_TRUE(settle());
        }
    }
    EXPECT_TRUE(settle());
    const uint64_t there = count_of(next);
    EXPECT_EQ(there, store_->partition(0).items());
    EXPECT_NEAR(static_cast<double>(memory()), static_cast<double>(store_->bytes_wanted()),
                6.0 * kMiB);
}

TEST_F(ResizeTest, Shrink_PinnedSegment_WaitsForItsPin) {
    ASSERT_TRUE(create(128 * kMiB, 128 * kMiB));
    for (uint64_t n = 0; n < 100'000; ++n) put(n);
    const Lookup last = find(99'999);  // lies in one of the last segments
    ASSERT_EQ(last.status, FindStatus::kHit);
    ASSERT_TRUE(store_->pin(last));
    ASSERT_TRUE(store_->resize(48 * kMiB));
    EXPECT_FALSE(settle(5000));
    const std::string_view value(reinterpret_cast<const char*>(last.value), last.value_bytes);
    EXPECT_TRUE(value == value_of(99'999, kValueBytes));
    store_->unpin(last.value);
    EXPECT_TRUE(settle());
    EXPECT_LT(memory(), 54 * kMiB);
}

TEST_F(ResizeTest, Clear_WhileShrinking_EmptiesAndSettles) {
    ASSERT_TRUE(create(128 * kMiB, 128 * kMiB));
    for (uint64_t n = 0; n < 100'000; ++n) put(n);
    ASSERT_TRUE(store_->resize(48 * kMiB));
    store_->partition(0).maintain(now_ms_);
    store_->partition(0).clear();
    EXPECT_TRUE(settle());
    EXPECT_EQ(count_of(100'000), 0U);
    for (uint64_t n = 0; n < 20'000; ++n) put(n);
    EXPECT_EQ(count_of(20'000), 20'000U);
}

TEST_F(ResizeTest, OutOfRange_IsAnErrorThatNamesTheRange) {
    ASSERT_TRUE(create(64 * kMiB, 128 * kMiB));
    const uint64_t before = store_->bytes_wanted();
    for (const uint64_t bytes : {uint64_t{0}, kMiB, 129 * kMiB, uint64_t{1} << 50}) {
        const base::Status status = store_->resize(bytes);
        ASSERT_FALSE(status);
        EXPECT_NE(status.error().message.find(std::to_string(store_->bytes_max())),
                  std::string::npos)
            << status.error().message;
    }
    EXPECT_EQ(store_->bytes_wanted(), before);
    EXPECT_FALSE(create(128 * kMiB, 64 * kMiB));
}

TEST_F(ResizeTest, SizeForGood_RefusesToChange) {
    ASSERT_TRUE(create(64 * kMiB, 0));
    EXPECT_FALSE(store_->resize(48 * kMiB));
    EXPECT_TRUE(store_->resize_step());
    EXPECT_EQ(store_->bytes_min(), store_->bytes_max());
}

// A reader of another thread while the owner empties segments and the memory goes.
TEST_F(ResizeTest, ReadersWhileItChanges_SeeWholeValuesOrNone) {
    ASSERT_TRUE(create(128 * kMiB, 128 * kMiB));
    for (uint64_t n = 0; n < 60'000; ++n) put(n);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> wrong{0};
    std::atomic<uint64_t> hits{0};
    std::thread reader([&] {
        base::Rng rng(9);
        std::string copy(kValueBytes, '\0');
        while (!stop.load(std::memory_order_relaxed)) {
            const uint64_t number = rng.below(60'000);
            const Lookup found = find(number);
            if (found.status != FindStatus::kHit || found.value_bytes != kValueBytes) continue;
            copy_value(copy.data(), found.value, kValueBytes);
            if (!Partition::still_valid(found)) continue;
            hits.fetch_add(1, std::memory_order_relaxed);
            if (copy != value_of(number, kValueBytes)) wrong.fetch_add(1);
        }
    });
    for (int turn = 0; turn < 6; ++turn) {
        ASSERT_TRUE(store_->resize((turn % 2 == 0 ? 48 : 128) * kMiB));
        ASSERT_TRUE(settle());
        for (uint64_t n = 0; n < 60'000; n += 7) put(n);
    }
    stop.store(true);
    reader.join();
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_GT(hits.load(), 0U);
}

}  // namespace
}  // namespace cachee::l1
