// SPDX-License-Identifier: Apache-2.0
// Readers on other threads while the owner writes as fast as it can: a copy that still_valid()
// vouches for is whole, and belongs to the key that was asked for. Run under ThreadSanitizer too.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
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

constexpr uint64_t kHashSeed = 5;
constexpr uint64_t kKeys = 3000;
constexpr size_t kValueWordsMax = 40;

std::string key_of(uint64_t id) { return "key-number-" + std::to_string(id); }

// A value says whose it is in every word: [stamp, length, then stamp ^ id ^ position ...].
size_t make_value(uint64_t id, uint64_t stamp, uint64_t* words) {
    const size_t count = 2 + stamp % (kValueWordsMax - 2);
    words[0] = stamp;
    words[1] = count;
    for (size_t i = 2; i < count; ++i) words[i] = stamp ^ (id << 32) ^ i;
    return count * sizeof(uint64_t);
}

bool is_whole(uint64_t id, const uint64_t* words, size_t bytes) {
    if (bytes < 16 || words[1] * sizeof(uint64_t) != bytes) return false;
    for (size_t i = 2; i < words[1]; ++i) {
        if (words[i] != (words[0] ^ (id << 32) ^ i)) return false;
    }
    return true;
}

struct ReaderTally {
    uint64_t hits = 0;
    uint64_t overtaken = 0;
    uint64_t busy = 0;
    uint64_t wrong = 0;
    uint64_t went_back = 0;
};

ReaderTally read_until(const std::atomic<bool>& stop, const Partition& partition, uint64_t seed) {
    ReaderTally tally;
    base::Rng rng(seed);
    std::vector<std::string> keys;
    for (uint64_t id = 0; id < kKeys; ++id) keys.push_back(key_of(id));
    std::vector<uint64_t> last_stamp(kKeys);
    uint64_t words[kValueWordsMax];
    while (!stop.load(std::memory_order_relaxed)) {
        const uint64_t id = rng.below(kKeys);
        const uint64_t hash = base::hash_key(keys[id], kHashSeed);
        const Candidate candidate = partition.look<By::kAnyone>(hash);
        const Lookup lookup = partition.take<By::kAnyone>(candidate, hash, keys[id], 1, 1);
        if (lookup.status == FindStatus::kBusy) ++tally.busy;
        if (lookup.status != FindStatus::kHit) continue;
        if (lookup.value_bytes > sizeof words) {
            ++tally.wrong;  // find() promises lengths that were consistent once
            continue;
        }
        copy_value(words, lookup.value, lookup.value_bytes);
        if (!Partition::still_valid(lookup)) {
            ++tally.overtaken;
            continue;
        }
        ++tally.hits;
        if (!is_whole(id, words, lookup.value_bytes)) ++tally.wrong;
        if (words[0] < last_stamp[id]) ++tally.went_back;
        last_stamp[id] = words[0];
    }
    return tally;
}

// Small enough that segments are merged and reused under the readers all the time.
std::unique_ptr<Store> make_store(uint64_t item_bytes_expected) {
    auto store = Store::create({.instance = "readers-" + std::to_string(::getpid()),
                                .hugepages = Hugepages::kOff,
                                .bytes = 512 << 10,
                                .item_bytes_expected = item_bytes_expected,
                                .hash_seed = kHashSeed});
    CACHEE_ASSERT(store.has_value());
    store.value()->unlink();
    return std::move(store).value();
}

void write_for(uint64_t ns, Partition& partition, base::Rng& rng, uint64_t* stamp) {
    uint64_t words[kValueWordsMax];
    const uint64_t end_ns = base::monotonic_ns() + ns;
    while (base::monotonic_ns() < end_ns) {
        for (int i = 0; i < 64; ++i) {
            const uint64_t id = rng.below(kKeys);
            const std::string key = key_of(id);
            const uint64_t hash = base::hash_key(key, kHashSeed);
            const uint64_t dice = rng.below(100);
            if (dice < 80) {
                const size_t bytes = make_value(id, ++*stamp, words);
                partition.put(hash, key, {reinterpret_cast<const char*>(words), bytes},
                              dice < 10 ? 100'000 : 0, 1, 1);
            } else if (dice < 90) {
                partition.erase(hash, key);
            } else if (dice < 95) {
                partition.set_deadline(hash, key, 50'000 + dice);
            } else {
                partition.touch(hash);
            }
        }
        partition.maintain(1);
        if (rng.below(1000) == 0) partition.clear();
    }
}

void race(uint64_t item_bytes_expected) {
    auto store = make_store(item_bytes_expected);
    Partition& partition = store->partition(0);
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::atomic<bool> stop{false};
    ReaderTally tallies[2];
    std::vector<std::thread> readers;
    for (uint64_t i = 0; i < 2; ++i) {
        readers.emplace_back([&, i] { tallies[i] = read_until(stop, partition, seed + i + 1); });
    }
    base::Rng rng(seed);
    uint64_t stamp = 0;
    write_for(1'200 * base::kNsPerMs, partition, rng, &stamp);
    stop.store(true, std::memory_order_relaxed);
    for (std::thread& reader : readers) reader.join();
    for (const ReaderTally& tally : tallies) {
        EXPECT_EQ(tally.wrong, 0U);
        EXPECT_EQ(tally.went_back, 0U);
        EXPECT_GT(tally.hits, 100U);
    }
    EXPECT_GT(stamp, 10'000U);
}

TEST(L1Readers, ConcurrentWriter_SegmentsReused_CopiesAreWholeAndNeverGoBack) { race(160); }

TEST(L1Readers, ConcurrentWriter_LongChains_CopiesAreWholeAndNeverGoBack) { race(4000); }

TEST(L1Readers, TouchFromOtherThreads_WhileKeysAreErased_BringsNothingBack) {
    auto store = make_store(160);
    Partition& partition = store->partition(0);
    std::atomic<bool> stop{false};
    std::thread toucher([&] {
        base::Rng rng(1);
        while (!stop.load(std::memory_order_relaxed)) {
            partition.touch(base::hash_key(key_of(rng.below(100)), kHashSeed));
        }
    });
    for (int round = 0; round < 2000; ++round) {
        for (uint64_t id = 0; id < 100; ++id) {
            const std::string key = key_of(id);
            partition.put(base::hash_key(key, kHashSeed), key, "value", 0, 1, 1);
        }
        for (uint64_t id = 0; id < 100; ++id) {
            const std::string key = key_of(id);
            const uint64_t hash = base::hash_key(key, kHashSeed);
            ASSERT_TRUE(partition.erase(hash, key));
            ASSERT_EQ(partition.find(hash, key, 1, 1).status, FindStatus::kMiss);
        }
        ASSERT_EQ(partition.items(), 0U);
    }
    stop.store(true, std::memory_order_relaxed);
    toucher.join();
}

}  // namespace
}  // namespace cachee::l1
