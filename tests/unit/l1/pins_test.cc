// SPDX-License-Identifier: Apache-2.0
// Values that are sent from where they lie: pinned bytes stay as they are, whatever happens to
// their key and however full the store gets. Run under ThreadSanitizer too.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kHashSeed = 11;
constexpr size_t kValueBytes = 3000;

std::string value_of(uint64_t number) {
    std::string value = std::to_string(number) + ":";
    value.resize(kValueBytes, static_cast<char>('a' + number % 26));
    return value;
}

class PinsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        StoreOptions options;
        options.instance = "pins-" + std::to_string(::getpid());
        options.hugepages = Hugepages::kOff;
        options.bytes = 4 << 20;
        options.item_bytes_max = 4000;
        options.item_bytes_expected = 3000;
        options.hash_seed = kHashSeed;
        auto created = Store::create(options);
        ASSERT_TRUE(created) << created.error().message;
        store_ = std::move(created).value();
        partition_ = &store_->partition(0);
    }
    void TearDown() override {
        if (store_) store_->unlink();
    }

    void put(const std::string& key, const std::string& value) {
        ASSERT_EQ(partition_->put(base::hash_key(key, kHashSeed), key, value, 0, 1, 1),
                  PutStatus::kStored);
    }
    Lookup find(const std::string& key) {
        return partition_->find(base::hash_key(key, kHashSeed), key, 1, 1);
    }
    // Enough for every segment to be filled anew several times.
    void turn_over(uint64_t from) {
        const uint64_t items = 5 * (4 << 20) / kValueBytes;
        for (uint64_t i = 0; i < items; ++i) put("filler" + std::to_string(i), value_of(from + i));
    }
    static std::string bytes_of(const Lookup& lookup) {
        return {reinterpret_cast<const char*>(lookup.value), lookup.value_bytes};
    }

    std::unique_ptr<Store> store_;
    Partition* partition_ = nullptr;
};

TEST_F(PinsTest, Pin_KeyOverwrittenErasedAndStoreTurnedOver_BytesStay) {
    put("k", value_of(1));
    const Lookup found = find("k");
    ASSERT_EQ(found.status, FindStatus::kHit);
    ASSERT_TRUE(partition_->pin(found));
    put("k", value_of(2));
    EXPECT_EQ(bytes_of(found), value_of(1));
    partition_->erase(base::hash_key("k", kHashSeed), "k");
    turn_over(100);
    EXPECT_EQ(bytes_of(found), value_of(1));
    store_->unpin(found.value);
    turn_over(200);
    EXPECT_NE(bytes_of(found), value_of(1)) << "nothing was filled anew: the test shows nothing";
}

TEST_F(PinsTest, Pin_TwiceAndPartOfTheValue_BytesStayUntilTheLastUnpin) {
    put("k", value_of(1));
    const Lookup found = find("k");
    ASSERT_TRUE(partition_->pin(found));
    store_->pin_again(found.value + 2000);
    partition_->erase(base::hash_key("k", kHashSeed), "k");
    store_->unpin(found.value);
    turn_over(100);
    EXPECT_EQ(bytes_of(found), value_of(1));
    store_->unpin(found.value + 2000);
    EXPECT_EQ(partition_->segments().pinned_count(), 0u);
}

TEST_F(PinsTest, Pin_ActiveSegmentWithNothingLiveLeft_IsNotFilledFromItsStart) {
    put("only", value_of(1));
    const Lookup found = find("only");
    ASSERT_TRUE(partition_->pin(found));
    partition_->erase(base::hash_key("only", kHashSeed), "only");
    put("next", value_of(2));
    EXPECT_EQ(bytes_of(found), value_of(1));
    store_->unpin(found.value);
}

TEST_F(PinsTest, Pin_ValueReplacedSinceItWasFound_False) {
    put("k", value_of(1));
    const Lookup found = find("k");
    put("k", value_of(2));
    EXPECT_FALSE(partition_->pin(found));
    EXPECT_EQ(partition_->segments().pinned_count(), 0u);
}

TEST_F(PinsTest, Pin_MoreSegmentsThanAllowed_RefusedAndEvictionGoesOn) {
    const uint32_t allowed = partition_->segments().count() / kSegmentsPerPinned;
    std::vector<const uint8_t*> pinned;
    bool refused = false;
    for (uint64_t i = 0; i < 2000 && !refused; ++i) {
        const std::string key = "pin" + std::to_string(i);
        put(key, value_of(i));
        const Lookup found = find(key);
        refused = !partition_->pin(found);
        if (!refused) pinned.push_back(found.value);
    }
    EXPECT_TRUE(refused);
    EXPECT_EQ(partition_->segments().pinned_count(), allowed);
    turn_over(100);  // each put is stored: memory is still found
    put("fresh", value_of(7));
    EXPECT_EQ(find("fresh").status, FindStatus::kHit);
    for (const uint8_t* value : pinned) store_->unpin(value);
    EXPECT_EQ(partition_->segments().pinned_count(), 0u);
}

TEST_F(PinsTest, Gauge_FollowsThePinsOnceTheOwnerLooks) {
    stats::WorkerCounters counters{};
    partition_->set_counters(&counters);
    put("k", value_of(1));
    const Lookup found = find("k");
    ASSERT_TRUE(partition_->pin(found));
    partition_->maintain(1000);
    EXPECT_EQ(counters.get(stats::Counter::l1_pinned_segments), 1u);
    store_->unpin(found.value);
    partition_->maintain(1000);
    EXPECT_EQ(counters.get(stats::Counter::l1_pinned_segments), 0u);
    partition_->set_counters(nullptr);
}

TEST_F(PinsTest, Pins_Released_SegmentsAreUsedAgain) {
    for (uint64_t round = 0; round < 8; ++round) {
        std::vector<const uint8_t*> pinned;
        for (uint64_t i = 0; i < 400; ++i) {
            const std::string key = "pin" + std::to_string(i);
            put(key, value_of(i));
            const Lookup found = find(key);
            if (partition_->pin(found)) pinned.push_back(found.value);
        }
        partition_->clear();
        turn_over(round);
        for (const uint8_t* value : pinned) store_->unpin(value);
    }
    turn_over(1);
    const Segments& segments = partition_->segments();
    uint32_t in_use = 0;
    for (uint32_t i = 0; i < segments.count(); ++i) {
        in_use += segments.info(i).state != SegmentState::kFree;
    }
    EXPECT_EQ(in_use + segments.free_count(), segments.count()) << "a segment was lost";
}

// What a pin vouched for does not change while it is held, whatever the owner does meanwhile.
TEST_F(PinsTest, Pin_OwnerWritesAtFullSpeed_PinnedValuesNeverChange) {
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    constexpr uint64_t kKeys = 40;
    for (uint64_t i = 0; i < kKeys; ++i) put("k" + std::to_string(i), value_of(i));
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> held{0}, wrong{0};
    std::thread reader([&] {
        base::Rng rng(seed);
        while (!stop.load(std::memory_order_relaxed)) {
            const std::string key = "k" + std::to_string(rng.below(kKeys));
            const Lookup found = find(key);
            if (found.status != FindStatus::kHit || !partition_->pin(found)) continue;
            std::string first(found.value_bytes, 0), second(found.value_bytes, 0);
            copy_value(first.data(), found.value, found.value_bytes);
            for (int i = 0; i < 50; ++i) std::this_thread::yield();
            copy_value(second.data(), found.value, found.value_bytes);
            if (first != second || first.size() != kValueBytes) ++wrong;
            store_->unpin(found.value);
            ++held;
        }
    });
    base::Rng rng(seed + 1);
    // On a busy machine the reader seldom gets its turn between two writes.
    constexpr uint64_t kHeldMin = 20;
    const uint64_t end_ns = base::monotonic_ns() + 30 * base::kNsPerS;
    for (uint64_t i = 0; i < 60'000 || (held.load() < kHeldMin && base::monotonic_ns() < end_ns);
         ++i) {
        put("k" + std::to_string(rng.below(kKeys)), value_of(i));
        if (i % 64 == 0) std::this_thread::yield();
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT_GE(held.load(), kHeldMin);
    EXPECT_EQ(partition_->segments().pinned_count(), 0u);
}

}  // namespace
}  // namespace cachee::l1
