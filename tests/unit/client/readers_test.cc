// SPDX-License-Identifier: Apache-2.0
// Handles on other threads while the owner writes as fast as it can: what they return is whole, the
// asked key's, and never goes back. Run under ThreadSanitizer too.
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "test_l1.h"

namespace cachee::client {
namespace {

constexpr uint64_t kKeys = 500;

std::string key_of(uint64_t id) { return "key:" + std::to_string(id); }

// [stamp][id][filler of stamp's bytes]: of a length that the stamp decides.
std::string value_of(uint64_t id, uint64_t stamp) {
    std::string value(16 + stamp % 300, static_cast<char>('a' + stamp % 26));
    std::memcpy(value.data(), &stamp, sizeof stamp);
    std::memcpy(value.data() + 8, &id, sizeof id);
    return value;
}

struct Tally {
    uint64_t hits = 0;
    uint64_t wrong = 0;
    uint64_t went_back = 0;
};

void check(uint64_t id, const cachee_value& value, std::vector<uint64_t>& last, Tally* tally) {
    ++tally->hits;
    uint64_t stamp = 0;
    const std::string text(static_cast<const char*>(value.data), value.size);
    if (text.size() >= 16) std::memcpy(&stamp, text.data(), sizeof stamp);
    if (text != value_of(id, stamp)) ++tally->wrong;
    if (stamp < last[id]) ++tally->went_back;
    last[id] = stamp;
}

void read_until(const std::atomic<bool>& stop, const std::string& instance, uint64_t seed,
                Tally* tally) {
    Handle handle(instance);
    base::Rng rng(seed);
    std::vector<uint64_t> last(kKeys);
    char buffer[512];
    while (!stop.load(std::memory_order_relaxed)) {
        const uint64_t id = rng.below(kKeys);
        const std::string key = key_of(id);
        if (handle.get(key) == CACHEE_OK) check(id, handle.value, last, tally);
        cachee_value value;
        if (cachee_get_into(handle, key.data(), key.size(), buffer, sizeof buffer, &value) ==
            CACHEE_OK) {
            check(id, value, last, tally);
        }
        cachee_item items[8] = {};
        uint64_t ids[8];
        std::string keys[8];
        for (size_t i = 0; i < 8; ++i) {
            ids[i] = rng.below(kKeys);
            keys[i] = key_of(ids[i]);
            items[i].key = keys[i].data();
            items[i].key_size = keys[i].size();
        }
        cachee_multi_get(handle, items, 8, sizeof(cachee_item));
        for (size_t i = 0; i < 8; ++i) {
            if (items[i].status == CACHEE_OK) check(ids[i], items[i].value, last, tally);
        }
    }
}

TEST(LibcacheeReaders, ConcurrentWriter_ValuesAreWholeAndNeverGoBack) {
    TestL1 l1("race", 1 << 20, 1);
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::atomic<bool> stop{false};
    Tally tallies[2];
    std::vector<std::thread> readers;
    for (uint64_t i = 0; i < 2; ++i) {
        readers.emplace_back(
            [&, i] { read_until(stop, l1.instance(), seed + i + 1, &tallies[i]); });
    }
    base::Rng rng(seed);
    uint64_t stamp = 0;
    const uint64_t end_ns = base::monotonic_ns() + 1200 * base::kNsPerMs;
    while (base::monotonic_ns() < end_ns) {
        for (int i = 0; i < 64; ++i) {
            const uint64_t id = rng.below(kKeys);
            const uint64_t dice = rng.below(100);
            if (dice < 85) {
                l1.put(key_of(id), value_of(id, ++stamp));
            } else if (dice < 95) {
                l1.erase(key_of(id));
            } else {
                const uint64_t hash = base::hash_key(key_of(id), kTestSeed);
                l1.owner(hash).touch(hash);
            }
        }
        l1.owner(0).maintain(TestL1::now_ms());
        l1.trust(60'000);
    }
    stop.store(true, std::memory_order_relaxed);
    for (std::thread& reader : readers) reader.join();
    for (const Tally& tally : tallies) {
        EXPECT_EQ(tally.wrong, 0U);
        EXPECT_EQ(tally.went_back, 0U);
        EXPECT_GT(tally.hits, 500U);
    }
    EXPECT_GT(stamp, 1000U);
}

}  // namespace
}  // namespace cachee::client
