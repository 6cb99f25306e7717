// SPDX-License-Identifier: Apache-2.0
#include "shm/ring.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"

namespace cachee::shm {
namespace {

// A ring in plain memory: header, entries, data.
struct TestRing {
    TestRing(uint32_t entries, uint64_t data_bytes) : memory(entries * 64 + data_bytes) {
        header.entries_offset = 0;
        header.entry_capacity = entries;
        header.data_offset = entries * 64;
        header.data_capacity = data_bytes;
    }
    RingHeader header{};
    std::vector<uint8_t> memory;
};

RingEntry numbered(uint64_t id) {
    RingEntry entry;
    entry.kind = 1;
    entry.request_id = id;
    return entry;
}

TEST(Ring, Push_EntriesFull_RefusesUntilReleased) {
    TestRing ring(4, 1024);
    RingProducer producer(&ring.header, ring.memory.data());
    RingConsumer consumer(&ring.header, ring.memory.data());
    for (uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(producer.push(numbered(i), "x"));
    EXPECT_FALSE(producer.push(numbered(4), "x"));

    RingEntry entry;
    std::string_view payload;
    ASSERT_TRUE(consumer.next(entry, payload));
    EXPECT_EQ(entry.request_id, 0u);
    EXPECT_FALSE(producer.push(numbered(4), "x")) << "not before release()";
    consumer.release();
    EXPECT_TRUE(producer.push(numbered(4), "x"));
    EXPECT_EQ(producer.consumed(), 1u);
}

TEST(Ring, Push_DataFull_RefusesUntilReleased) {
    TestRing ring(64, 1024);
    RingProducer producer(&ring.header, ring.memory.data());
    RingConsumer consumer(&ring.header, ring.memory.data());
    const std::string payload(128, 'p');
    int pushed = 0;
    while (producer.push(numbered(0), payload)) ++pushed;
    EXPECT_EQ(pushed, 8);
    RingEntry entry;
    std::string_view seen;
    ASSERT_TRUE(consumer.next(entry, seen));
    consumer.release();
    EXPECT_TRUE(producer.push(numbered(0), payload));
    EXPECT_FALSE(producer.push(numbered(0), payload));
}

TEST(Ring, Next_PayloadThatWouldWrap_IsContiguous) {
    TestRing ring(64, 1024);
    RingProducer producer(&ring.header, ring.memory.data());
    RingConsumer consumer(&ring.header, ring.memory.data());
    base::Rng rng(7);
    for (int i = 0; i < 10'000; ++i) {
        const std::string sent(rng.below(120) + 1, static_cast<char>('a' + i % 26));
        ASSERT_TRUE(producer.push(numbered(static_cast<uint64_t>(i)), sent, "tail"));
        RingEntry entry;
        std::string_view payload;
        ASSERT_TRUE(consumer.next(entry, payload));
        ASSERT_EQ(payload, sent + "tail");
        ASSERT_EQ(entry.request_id, static_cast<uint64_t>(i));
        consumer.release();
    }
}

TEST(Ring, Next_HostileEntry_IsSkippedAndCounted) {
    TestRing ring(8, 1024);
    RingProducer producer(&ring.header, ring.memory.data());
    RingConsumer consumer(&ring.header, ring.memory.data());
    producer.push(numbered(1), "one");
    producer.push(numbered(2), "two");
    auto* entries = reinterpret_cast<RingEntry*>(ring.memory.data());
    entries[0].data_bytes = 1u << 30;
    RingEntry entry;
    std::string_view payload;
    ASSERT_TRUE(consumer.next(entry, payload));
    EXPECT_EQ(entry.request_id, 2u);
    EXPECT_EQ(consumer.malformed(), 1u);
    ring.header.head.store(1u << 20);
    EXPECT_FALSE(consumer.next(entry, payload)) << "a head beyond the capacity is not believed";
}

TEST(Ring, TwoThreads_RandomSizes_KeepOrderAndContent) {
    TestRing ring(64, 8192);
    constexpr uint64_t kCount = 200'000;
    std::thread producer_thread([&] {
        RingProducer producer(&ring.header, ring.memory.data());
        base::Rng rng(3);
        for (uint64_t i = 0; i < kCount; ++i) {
            const std::string payload(rng.below(512), static_cast<char>(i));
            while (!producer.push(numbered(i), payload)) std::this_thread::yield();
        }
    });
    RingConsumer consumer(&ring.header, ring.memory.data());
    base::Rng rng(3);
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < kCount;) {
        RingEntry entry;
        std::string_view payload;
        if (!consumer.next(entry, payload)) {
            consumer.release();
            std::this_thread::yield();
            continue;
        }
        const std::string expected(rng.below(512), static_cast<char>(i));
        if (entry.request_id != i || payload != expected) ++wrong;
        ++i;
        if (i % 7 == 0) consumer.release();
    }
    producer_thread.join();
    EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace cachee::shm
