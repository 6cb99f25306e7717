// SPDX-License-Identifier: Apache-2.0
// Memory beside keys and values, of a store that is really filled: index, headers (checksum,
// deadline, generation, lengths), noted hits, segment table, alignment.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "base/hash.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kSeed = 42;
constexpr uint32_t kKeyBytes = 16;
constexpr uint32_t kValueBytes = 64;

TEST(Overhead, Store_FilledToNineTenths_AtMost32BytesAnItem) {
    auto created = Store::create({.instance = "overhead-" + std::to_string(::getpid()),
                                  .hugepages = Hugepages::kOff,
                                  .bytes = 512 << 20,
                                  .item_bytes_expected = kKeyBytes + kValueBytes,
                                  .hash_seed = kSeed});
    ASSERT_TRUE(created) << created.error().message;
    const std::unique_ptr<Store> store = std::move(created).value();
    store->unlink();
    Partition& partition = store->partition(0);
    stats::WorkerCounters counters{};
    partition.set_counters(&counters);
    const uint64_t segments = partition.segments().count();
    const std::string value(kValueBytes, 'v');
    uint64_t items = 0;
    while (partition.segments().free_count() * 10 >= segments) {
        char key[kKeyBytes + 1];
        std::snprintf(key, sizeof key, "user:%011llu", static_cast<unsigned long long>(items++));
        const std::string_view text(key, kKeyBytes);
        ASSERT_EQ(partition.put(base::hash_key(text, kSeed), text, value, 1'000'000, 1, 1),
                  PutStatus::kStored);
    }
    // Everything that was put is there, and nothing else was needed than its share of the file.
    ASSERT_EQ(counters.get(stats::Counter::l1_evicted), 0U);
    ASSERT_EQ(partition.items(), items);
    // The last segment was opened by the last put: it is as good as empty.
    const auto filled = static_cast<double>(segments - partition.segments().free_count() - 1) /
                        static_cast<double>(segments);
    const double bytes = static_cast<double>(store->bytes()) * filled;
    const double overhead = bytes / static_cast<double>(items) - kKeyBytes - kValueBytes;
    EXPECT_LE(overhead, 32.0);
    EXPECT_GE(overhead, kItemHeaderBytes) << "what is measured cannot be right";
    RecordProperty("overhead_bytes", std::to_string(overhead));
    std::printf("%.2f bytes an item, %.1f %% of the store filled\n", overhead, filled * 100);
}

}  // namespace
}  // namespace cachee::l1
