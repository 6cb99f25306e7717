// SPDX-License-Identifier: Apache-2.0
// L1 against a map: millions of seeded random operations on a small store, so that eviction,
// merges, expiry, chains and clears all happen all the time. The store may forget a key; it may
// never return a value that is wrong, old, expired or of another generation. CACHEE_TEST_SEED
// replays a run.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "l1/item.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kHashSeed = 99;

struct Expected {
    std::string value;
    uint64_t deadline_ms;
    uint32_t generation;
};

struct Shape {
    uint64_t bytes;
    uint64_t item_bytes_expected;
    uint64_t keys;
    uint64_t value_bytes_max;
    uint64_t steps;
    Eviction eviction = Eviction::kFifoMerge;
};

class Model {
  public:
    Model(uint64_t seed, const Shape& shape) : shape_(shape), rng_(seed) {
        auto store = Store::create({.instance = "model-" + std::to_string(::getpid()),
                                    .hugepages = Hugepages::kOff,
                                    .bytes = shape.bytes,
                                    .item_bytes_expected = shape.item_bytes_expected,
                                    .hash_seed = kHashSeed});
        CACHEE_ASSERT(store.has_value());
        store_ = std::move(store).value();
        store_->unlink();
        partition_ = &store_->partition(0);
        partition_->set_counters(&counters_);
        partition_->choose_policy(shape.eviction);
    }

    void run() {
        for (step_ = 0; step_ < shape_.steps && !::testing::Test::HasFailure(); ++step_) step();
        check_everything();
        EXPECT_GT(hits_, shape_.steps / 20) << "a store that forgets everything passes nothing";
    }

    uint64_t evicted() const { return counters_.get(stats::Counter::l1_evicted); }
    uint64_t expired() const { return counters_.get(stats::Counter::l1_expired); }

  private:
    std::string random_key() {
        // Half of the traffic on an eighth of the keys; lengths from 1 to 60.
        const uint64_t id =
            rng_.chance(0.5) ? rng_.below(shape_.keys / 8) : rng_.below(shape_.keys);
        std::string key = std::to_string(id);
        key.append(id % 50, 'k');
        return key;
    }
    std::string random_value(const std::string& key) {
        const uint64_t most = rng_.chance(0.9) ? 60 : shape_.value_bytes_max;
        std::string value = key + ":" + std::to_string(step_) + ":";
        value.append(rng_.below(most), static_cast<char>('a' + step_ % 26));
        return value;
    }
    uint64_t random_deadline() {
        if (rng_.chance(0.4)) return 0;
        return now_ms_ + 1 + rng_.below(rng_.chance(0.5) ? 100 : 100'000);
    }
    static uint64_t hash_of(const std::string& key) { return base::hash_key(key, kHashSeed); }

    void step() {
        if (rng_.chance(0.2)) now_ms_ += rng_.below(3);
        if (rng_.chance(0.1)) partition_->maintain(now_ms_);
        const uint64_t dice = rng_.below(1000);
        const std::string key = random_key();
        if (dice < 350) {
            put(key);
        } else if (dice < 400) {
            const bool erased = partition_->erase(hash_of(key), key);
            const bool known = model_.erase(key) != 0;
            EXPECT_TRUE(known || !erased) << where();
        } else if (dice < 450) {
            set_deadline(key);
        } else if (dice < 500) {
            partition_->touch(hash_of(key));
        } else {
            check(key);
        }
        // Rare and disruptive ones.
        if (rng_.below(300'000) == 0) {
            partition_->clear();
            model_.clear();
            EXPECT_EQ(partition_->items(), 0U);
        }
        if (rng_.below(200'000) == 0) ++generation_;
        if (rng_.below(500'000) == 0) now_ms_ += 60'000;
    }

    void put(const std::string& key) {
        const std::string value = random_value(key);
        const uint64_t deadline_ms = random_deadline();
        const PutStatus status =
            partition_->put(hash_of(key), key, value, deadline_ms, generation_, now_ms_);
        const bool too_large = key.size() + value.size() > store_->item_bytes_max();
        EXPECT_EQ(status, too_large ? PutStatus::kTooLarge : PutStatus::kStored) << where();
        if (status == PutStatus::kStored) {
            model_[key] = {value, deadline_ms, generation_};
            check(key);  // what was just put is there
            EXPECT_TRUE(last_was_hit_) << where();
        } else {
            model_.erase(key);
        }
    }

    void set_deadline(const std::string& key) {
        const uint64_t deadline_ms = random_deadline();
        const auto known = model_.find(key);
        if (partition_->set_deadline(hash_of(key), key, deadline_ms)) {
            ASSERT_NE(known, model_.end()) << where();
            known->second.deadline_ms = deadline_ms;
        } else if (known != model_.end()) {
            model_.erase(known);  // evicted, and known to be
        }
    }

    void check(const std::string& key) {
        const Lookup lookup = partition_->find(hash_of(key), key, now_ms_, generation_);
        ASSERT_NE(lookup.status, FindStatus::kBusy);
        const Lookup owners = partition_->find<By::kOwner>(hash_of(key), key, now_ms_, generation_);
        ASSERT_EQ(owners.status, lookup.status) << where();
        ASSERT_EQ(owners.value, lookup.value) << where();
        ASSERT_EQ(owners.value_bytes, lookup.value_bytes) << where();
        ASSERT_TRUE(Partition::still_valid(owners));
        last_was_hit_ = lookup.status == FindStatus::kHit;
        if (!last_was_hit_) return;
        ++hits_;
        const auto known = model_.find(key);
        ASSERT_NE(known, model_.end()) << where() << " key " << key;
        const Expected& expected = known->second;
        const std::string_view value{reinterpret_cast<const char*>(lookup.value),
                                     lookup.value_bytes};
        ASSERT_EQ(value, expected.value) << where();
        ASSERT_EQ(lookup.deadline_ms, expected.deadline_ms) << where();
        ASSERT_EQ(expected.generation, generation_) << where();
        ASSERT_TRUE(expected.deadline_ms == 0 || now_ms_ < expected.deadline_ms) << where();
        ASSERT_TRUE(Partition::still_valid(lookup));
        const uint8_t* item = lookup.value - key.size() - kItemHeaderBytes;
        ASSERT_EQ(read_header(item).crc, crc_of(item, read_header(item).bytes())) << where();
    }

    // The books agree with what can be found, and segments with what is live in them.
    void check_everything() {
        const uint64_t found_before = hits_;
        for (const auto& [key, expected] : model_) check(key);
        EXPECT_LE(hits_ - found_before, partition_->items());
        const Segments& segments = partition_->segments();
        uint64_t live_items = 0;
        uint32_t free_segments = 0;
        for (uint32_t i = 0; i < segments.count(); ++i) {
            live_items += segments.info(i).live_items;
            free_segments += segments.info(i).state == SegmentState::kFree ? 1 : 0;
        }
        EXPECT_EQ(live_items, partition_->items());
        EXPECT_EQ(free_segments, segments.free_count());
        // Everything can be got back.
        now_ms_ += 1'000'000;
        while (!model_.empty()) {
            partition_->erase(hash_of(model_.begin()->first), model_.begin()->first);
            model_.erase(model_.begin());
        }
        for (int i = 0; i < 100'000 && partition_->items() > 0; ++i) partition_->maintain(now_ms_);
        EXPECT_EQ(partition_->items(), 0U);
    }

    std::string where() const { return "step " + std::to_string(step_); }

    Shape shape_;
    base::Rng rng_;
    std::unique_ptr<Store> store_;
    Partition* partition_ = nullptr;
    stats::WorkerCounters counters_{};
    std::unordered_map<std::string, Expected> model_;
    uint64_t now_ms_ = 1000;
    uint32_t generation_ = 1;
    uint64_t step_ = 0;
    uint64_t hits_ = 0;
    bool last_was_hit_ = false;
};

uint64_t seed() {
    const char* given = std::getenv("CACHEE_TEST_SEED");
    const uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 10) : base::random_seed();
    std::printf("CACHEE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSteps = 200'000;
#else
constexpr uint64_t kSteps = 1'500'000;
#endif

TEST(L1Model, RandomOperations_SegmentsShort_EvictsAndNeverLies) {
    Model model(seed(), {2 << 20, 64, 40'000, 2000, kSteps});
    model.run();
    EXPECT_GT(model.evicted(), 1000U);
    EXPECT_GT(model.expired(), 1000U);
}

TEST(L1Model, RandomOperations_S3Fifo_EvictsAndNeverLies) {
    Model model(seed(), {2 << 20, 64, 40'000, 2000, kSteps, Eviction::kS3Fifo});
    model.run();
    EXPECT_GT(model.evicted(), 1000U);
    EXPECT_GT(model.expired(), 1000U);
}

TEST(L1Model, RandomOperations_IndexShort_EvictsFromChainsAndNeverLies) {
    Model model(seed(), {2 << 20, 4000, 40'000, 200, kSteps});
    model.run();
    EXPECT_GT(model.evicted(), 1000U);
}

TEST(L1Model, RandomOperations_LargeValues_NeverLies) {
    Model model(seed(), {4 << 20, 128, 2000, 160'000, kSteps / 10});
    model.run();
    EXPECT_GT(model.evicted(), 100U);
}

}  // namespace
}  // namespace cachee::l1
