// SPDX-License-Identifier: Apache-2.0
// Taking over the file of an earlier process: what is kept, what is dropped and under which name,
// and when the store starts empty instead.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>

#include "base/hash.h"
#include "l1/item.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kSeed = 42;
constexpr uint32_t kGeneration = 7;

class AttachTest : public ::testing::Test {
  protected:
    void SetUp() override {
        options_.instance = "attach-" + std::to_string(::getpid());
        options_.hugepages = Hugepages::kOff;
        options_.bytes = 4 << 20;
        options_.hash_seed = kSeed;
        start();
    }
    void TearDown() override {
        if (store_) store_->unlink();
    }

    // As a process that starts; the one before it is gone.
    void start(uint64_t now_ms = 1) {
        store_.reset();
        auto started = Store::attach_or_create(options_, now_ms, &report_);
        ASSERT_TRUE(started) << started.error().message;
        store_ = std::move(started).value();
    }
    // Starts after `change` was made to the file that the process before left.
    void start_after(const std::function<void()>& change, uint64_t now_ms = 1) {
        change();
        start(now_ms);
    }
    void expect_cold(const std::string& word) {
        EXPECT_FALSE(report_.warm);
        EXPECT_NE(report_.cold_reason.find(word), std::string::npos) << report_.cold_reason;
        EXPECT_NE(report_.text().find(word), std::string::npos) << report_.text();
        EXPECT_EQ(get("key"), "(none)");
        put("key", "value");
        EXPECT_EQ(get("key"), "value");
    }

    uint64_t hash_of(std::string_view key) { return base::hash_key(key, store_->hash_seed()); }
    Partition& owner(std::string_view key) {
        return store_->partition(base::owner_of(hash_of(key), store_->partitions()));
    }
    void put(std::string_view key, std::string_view value, uint64_t deadline_ms = 0,
             uint32_t generation = kGeneration) {
        ASSERT_EQ(owner(key).put(hash_of(key), key, value, deadline_ms, generation, 1),
                  PutStatus::kStored);
    }
    bool erase(std::string_view key) { return owner(key).erase(hash_of(key), key); }
    Lookup find(std::string_view key, uint64_t now_ms = 1) {
        return owner(key).find(hash_of(key), key, now_ms, kGeneration);
    }
    std::string get(std::string_view key, uint64_t now_ms = 1) {
        const Lookup lookup = find(key, now_ms);
        if (lookup.status != FindStatus::kHit) return "(none)";
        return {reinterpret_cast<const char*>(lookup.value), lookup.value_bytes};
    }
    FileHeader& header() { return *reinterpret_cast<FileHeader*>(store_->base()); }
    PartitionHeader& partition_header(uint32_t index = 0) {
        return reinterpret_cast<PartitionHeader*>(store_->base() + sizeof(FileHeader))[index];
    }
    Bucket& bucket_of(std::string_view key) {
        auto* buckets =
            reinterpret_cast<Bucket*>(store_->base() + partition_header().buckets_offset);
        return buckets[(uint64_t{static_cast<uint32_t>(hash_of(key))} *
                        partition_header().bucket_count) >>
                       32];
    }
    uint8_t* item_of(std::string_view key) {
        return const_cast<uint8_t*>(find(key).value) - key.size() - kItemHeaderBytes;
    }
    // The books agree with one another.
    void expect_sound_books() {
        for (uint32_t p = 0; p < store_->partitions(); ++p) {
            const Segments& segments = store_->partition(p).segments();
            uint64_t live = 0;
            uint32_t free = 0;
            for (uint32_t i = 0; i < segments.count(); ++i) {
                live += segments.info(i).live_items;
                free += segments.info(i).state == SegmentState::kFree ? 1 : 0;
            }
            EXPECT_EQ(live, store_->partition(p).items());
            EXPECT_EQ(free, segments.free_count());
        }
    }

    StoreOptions options_;
    AttachReport report_;
    std::unique_ptr<Store> store_;
};

TEST_F(AttachTest, FirstStart_NothingThere_IsColdWithoutAReason) {
    EXPECT_FALSE(report_.warm);
    EXPECT_EQ(report_.cold_reason, "");
    EXPECT_NE(store_->id(), 0U);
}

TEST_F(AttachTest, SecondStart_KeepsEverythingInTheSameFile) {
    options_.partitions = 2;
    start();
    for (int i = 0; i < 5000; ++i) {
        put("key" + std::to_string(i), "value" + std::to_string(i), i % 3 == 0 ? 100 + i : 0);
    }
    for (int i = 0; i < 5000; i += 7) erase("key" + std::to_string(i));
    owner("key1").publish_trust(1'000'000, kGeneration);
    const uint64_t id = store_->id();
    struct stat before {};
    ASSERT_EQ(::stat(store_->path().c_str(), &before), 0);
    options_.hash_seed = 1;  // a process draws its own: the file's is kept
    start();
    EXPECT_TRUE(report_.warm);
    EXPECT_EQ(report_.rebuilt.items, 5000U - 715U);
    EXPECT_EQ(report_.rebuilt.dropped(), 0U) << report_.text();
    EXPECT_EQ(store_->hash_seed(), kSeed);
    EXPECT_EQ(store_->id(), id);
    EXPECT_EQ(store_->newest_generation(), kGeneration);
    struct stat after {};
    ASSERT_EQ(::stat(store_->path().c_str(), &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    for (int i = 0; i < 5000; ++i) {
        const std::string key = "key" + std::to_string(i);
        ASSERT_EQ(get(key), i % 7 == 0 ? "(none)" : "value" + std::to_string(i));
        if (i % 7 != 0) {
            ASSERT_EQ(find(key).deadline_ms, i % 3 == 0 ? 100U + i : 0U);
        }
    }
    for (uint32_t p = 0; p < 2; ++p) {
        EXPECT_EQ(partition_header(p).trusted_until_ns.load(), 0U) << "nobody vouches for it yet";
    }
    expect_sound_books();
}

TEST_F(AttachTest, Start_ExpiredAndOfAnOldGeneration_AreDroppedByName) {
    put("old", "x", 0, kGeneration - 1);
    put("short", "x", 500);
    put("long", "x", 2000);
    put("ever", "x");
    start(1000);
    EXPECT_EQ(report_.rebuilt.items, 2U);
    EXPECT_EQ(report_.rebuilt.expired, 1U);
    EXPECT_EQ(report_.rebuilt.old_generation, 1U);
    EXPECT_EQ(report_.rebuilt.dropped(), 2U) << report_.text();
    EXPECT_EQ(get("short", 1000), "(none)");
    EXPECT_EQ(get("long", 1000), "x");
    EXPECT_EQ(get("ever", 1000), "x");
    expect_sound_books();
}

TEST_F(AttachTest, Start_NewerGenerationWasTrusted_OlderItemsAreDropped) {
    put("key", "x");
    owner("key").publish_trust(1, kGeneration + 3);
    start();
    EXPECT_EQ(store_->newest_generation(), kGeneration + 3);
    EXPECT_EQ(report_.rebuilt.old_generation, 1U);
}

TEST_F(AttachTest, Start_AfterRestarts_GoesOnFillingTheSameSegment) {
    for (int i = 0; i < 40; ++i) {
        put("key" + std::to_string(i), std::string(100, 'v'));
        start();
        ASSERT_TRUE(report_.warm);
        const Segments& segments = store_->partition(0).segments();
        ASSERT_EQ(segments.count() - segments.free_count(), 1U) << "restart " << i;
    }
    for (int i = 0; i < 40; ++i) EXPECT_NE(get("key" + std::to_string(i)), "(none)");
}

TEST_F(AttachTest, Start_ThenManyPuts_EvictsAndLosesNoBooks) {
    for (int i = 0; i < 20'000; ++i) put("key" + std::to_string(i), std::string(100, 'v'), 50'000);
    start();
    EXPECT_GT(report_.rebuilt.items, 1000U);
    for (int i = 0; i < 60'000; ++i) {
        const std::string key = "new" + std::to_string(i);
        put(key, key + std::string(100, 'n'));
        ASSERT_EQ(get(key).substr(0, key.size()), key);
        store_->partition(0).maintain(1);
    }
    expect_sound_books();
    for (int i = 0; i < 60'000; ++i) erase("new" + std::to_string(i));
    for (int i = 0; i < 20'000; ++i) erase("key" + std::to_string(i));
    EXPECT_EQ(store_->partition(0).items(), 0U);
    expect_sound_books();
}

TEST_F(AttachTest, Start_ChainsAndOverflow_AreKept) {
    options_.item_bytes_expected = 4000;  // few buckets
    start();
    std::vector<std::string> kept;
    for (int i = 0; i < 3000; ++i) put("key" + std::to_string(i), "v");
    for (int i = 0; i < 3000; ++i) {
        if (get("key" + std::to_string(i)) == "v") kept.push_back("key" + std::to_string(i));
    }
    ASSERT_GT(kept.size(), partition_header().bucket_count * 7);
    start();
    EXPECT_EQ(report_.rebuilt.items, kept.size()) << report_.text();
    EXPECT_EQ(report_.rebuilt.dropped(), 0U) << report_.text();
    for (const std::string& key : kept) EXPECT_EQ(get(key), "v") << key;
    // The overflow buckets that were free are free again, and no other.
    for (int i = 0; i < 3000; ++i) put("more" + std::to_string(i), "v");
    expect_sound_books();
}

// --- damage -------------------------------------------------------------------------------------

TEST_F(AttachTest, Damage_OneByteOfAnItem_OnlyThatItemIsDropped) {
    put("a", "value of a");
    put("b", "value of b");
    put("c", "value of c");
    start_after([&] { item_of("b")[kItemHeaderBytes + 4] ^= 1; });
    EXPECT_EQ(report_.rebuilt.bad_checksum, 1U);
    EXPECT_EQ(report_.rebuilt.dropped(), 1U) << report_.text();
    EXPECT_EQ(get("a"), "value of a");
    EXPECT_EQ(get("b"), "(none)");
    EXPECT_EQ(get("c"), "value of c");
    expect_sound_books();
}

TEST_F(AttachTest, Damage_LengthOfAnItem_WhatIsBehindItIsDropped) {
    put("a", "value of a");
    put("b", "value of b");
    put("c", "value of c");
    start_after([&] { item_of("b")[0] = 200; });
    EXPECT_EQ(report_.rebuilt.malformed, 2U) << report_.text();
    EXPECT_EQ(get("a"), "value of a");
    EXPECT_EQ(get("b"), "(none)");
    EXPECT_EQ(get("c"), "(none)");
    expect_sound_books();
}

TEST_F(AttachTest, Damage_Slots_AreDropped) {
    put("key", "value");
    const uint64_t hash = hash_of("key");
    Bucket& bucket = bucket_of("key");
    const uint64_t good = bucket.slots[0].load();
    const uint64_t end = uint64_t{store_->partition(0).segments().count()} *
                         store_->partition(0).segments().segment_bytes();
    start_after([&] {
        bucket.slots[1] = make_slot(hash, 0, end - 2);       // its header would lie behind the end
        bucket.slots[2] = make_slot(hash, 255, 0xffffffff);  // far behind it
        bucket.slots[3] = good + 1;                          // odd
        bucket.slots[4] = good & ~(uint64_t{1} << 63);       // not in use
        bucket.slots[5] = make_slot(hash + (uint64_t{1} << 40), 0, offset_of(good));  // another tag
    });
    EXPECT_EQ(report_.rebuilt.items, 1U);
    EXPECT_EQ(report_.rebuilt.dropped(), 5U) << report_.text();
    EXPECT_EQ(get("key"), "value");
    expect_sound_books();
}

TEST_F(AttachTest, Damage_SlotInTheWrongChain_IsDropped) {
    put("key", "value");
    Bucket& right = bucket_of("key");
    Bucket& wrong = &right == &bucket_of("other") ? bucket_of("third") : bucket_of("other");
    ASSERT_NE(&right, &wrong);
    start_after([&] { wrong.slots[0].store(right.slots[0].exchange(0)); });
    EXPECT_EQ(report_.rebuilt.items, 0U);
    EXPECT_EQ(report_.rebuilt.malformed, 1U);
}

TEST_F(AttachTest, Damage_TwoItemsOfOneKey_NeitherIsKept) {
    put("key", "first");
    const uint64_t first = bucket_of("key").slots[0].load();
    put("key", "second");
    put("key", "third");
    const uint64_t third = bucket_of("key").slots[0].load();
    start_after([&] {
        bucket_of("key").slots[1] = first;
        bucket_of("key").slots[2] = third;  // and the same item twice
    });
    EXPECT_EQ(report_.rebuilt.items, 0U);
    EXPECT_EQ(report_.rebuilt.duplicates, 2U);
    EXPECT_EQ(report_.rebuilt.dropped(), 3U) << report_.text();
    EXPECT_EQ(get("key"), "(none)");
    expect_sound_books();
}

TEST_F(AttachTest, Damage_ChainWithACycle_IsCut) {
    put("key", "value");
    start_after([&] {
        auto* overflow =
            reinterpret_cast<Bucket*>(store_->base() + partition_header().overflow_offset);
        bucket_of("key").overflow = 5;
        overflow[4].overflow = 9;
        overflow[8].overflow = 5;
    });
    EXPECT_EQ(get("key"), "value");
    EXPECT_EQ(bucket_of("key").overflow.load(), 0U);
    start_after([&] { bucket_of("key").overflow = 0x7fffffff; });
    EXPECT_EQ(get("key"), "value");
}

TEST_F(AttachTest, Damage_BooksOfSegments_AreMadeAnew) {
    for (int i = 0; i < 3000; ++i) put("key" + std::to_string(i), std::string(200, 'v'));
    const uint64_t items = store_->partition(0).items();
    start_after([&] {
        auto* table = reinterpret_cast<SegmentInfo*>(store_->base() +
                                                     partition_header().segment_table_offset);
        for (uint32_t i = 0; i < partition_header().segment_count; ++i) {
            const uint32_t used = table[i].used_bytes;
            std::memset(static_cast<void*>(&table[i]), static_cast<int>(0x11 * i), sizeof table[i]);
            table[i].used_bytes = i % 2 == 0 ? used : UINT32_MAX;
        }
    });
    EXPECT_EQ(store_->partition(0).items(), items) << report_.text();
    expect_sound_books();
    for (int i = 0; i < 20'000; ++i) put("new" + std::to_string(i), std::string(200, 'n'));
    expect_sound_books();
}

// --- a writer that died -------------------------------------------------------------------------

TEST_F(AttachTest, Writer_DiedInAChange_VersionIsEvenAndGrew) {
    put("key", "value");
    const uint32_t before = bucket_of("key").version.load();
    start_after([&] { bucket_of("key").version = before + 1; });
    EXPECT_EQ(report_.rebuilt.odd_chains, 1U);
    EXPECT_EQ(bucket_of("key").version.load(), before + 2);
    EXPECT_EQ(get("key"), "value");
}

TEST_F(AttachTest, Writer_DiedWhileItMovedASlot_ItemIsKeptOnce) {
    put("key", "value");
    start_after([&] {
        bucket_of("key").version = bucket_of("key").version + 1;
        bucket_of("key").slots[1] = bucket_of("key").slots[0].load();
    });
    EXPECT_EQ(report_.rebuilt.half_done, 1U);
    EXPECT_EQ(report_.rebuilt.items, 1U);
    EXPECT_EQ(get("key"), "value");
    EXPECT_TRUE(erase("key"));
    EXPECT_EQ(get("key"), "(none)");
    expect_sound_books();
}

TEST_F(AttachTest, Writer_DiedWhileItSetADeadline_TheOldOneIsThere) {
    put("key", "value", 5000);
    const uint64_t offset = offset_of(bucket_of("key").slots[0]);
    uint8_t* item = item_of("key");
    start_after([&] {
        bucket_of("key").version = bucket_of("key").version + 1;
        partition_header().deadline_before = make_deadline_word(5000, 5);
        partition_header().deadline_item = offset + 1;
        write_deadline(item, 9000, 5);  // and not the checksum
    });
    EXPECT_EQ(report_.rebuilt.dropped(), 0U) << report_.text();
    EXPECT_EQ(get("key"), "value");
    EXPECT_EQ(find("key").deadline_ms, 5000U);
    EXPECT_EQ(partition_header().deadline_item.load(), 0U);
    // A note that is nonsense changes nothing.
    start_after([&] {
        partition_header().deadline_before = ~uint64_t{0};
        partition_header().deadline_item = offset + 1;
    });
    EXPECT_EQ(find("key").deadline_ms, 5000U);
    start_after([&] { partition_header().deadline_item = ~uint64_t{0}; });
    EXPECT_EQ(get("key"), "value");
}

TEST_F(AttachTest, Writer_DiedWhileItAppended_TheRestIsThere) {
    put("a", "value of a");
    auto* table =
        reinterpret_cast<SegmentInfo*>(store_->base() + partition_header().segment_table_offset);
    start_after([&] { table[0].used_bytes += 300; });  // of which nothing is written
    EXPECT_EQ(report_.rebuilt.items, 1U);
    EXPECT_EQ(report_.rebuilt.dropped(), 0U);
    put("b", "value of b");
    start();
    EXPECT_EQ(get("a"), "value of a");
    EXPECT_EQ(get("b"), "value of b");
}

// --- files that cannot be taken over ------------------------------------------------------------

TEST_F(AttachTest, Cold_OtherOptions_SaysWhich) {
    put("key", "x");
    options_.partitions = 2;
    start();
    expect_cold("1 workers, 2 are configured");
    options_.bytes = 8 << 20;
    start();
    expect_cold("has 4 MiB where 8 are configured");
    options_.item_bytes_max = 5000;
    start();
    expect_cold("5000 are configured");
    options_.item_bytes_expected = 1000;
    start();
    expect_cold("laid out for other sizes");
    options_.authoritative = true;
    start();
    expect_cold("in front of L2");
    options_.authoritative = false;
    start();
    expect_cold("without L2");
}

TEST_F(AttachTest, Cold_HeaderOfAnother_SaysWhat) {
    const auto damaged = [&](const std::string& word, const std::function<void()>& change) {
        put("key", "x");
        start_after(change);
        expect_cold(word);
    };
    damaged("torn", [&] { header().magic = 0; });
    damaged("layout version 3", [&] { header().layout_version = 3; });
    damaged("started anew", [&] { header().boot_id[3] ^= 1; });
    damaged("damaged", [&] { header().id = 0; });
    damaged("damaged", [&] { header().file_bytes += 4096; });
    damaged("damaged", [&] { header().partitions_offset += 64; });
    damaged("damaged", [&] { partition_header().segments_offset += 4096; });
    damaged("damaged", [&] { partition_header().bucket_count *= 2; });
    damaged("1 MiB", [&] { ASSERT_EQ(::truncate(store_->path().c_str(), 1 << 20), 0); });
}

TEST_F(AttachTest, Cold_FileThatOthersMayWrite_IsNotBelieved) {
    put("key", "x");
    start_after([&] { ASSERT_EQ(::chmod(store_->path().c_str(), 0660), 0); });
    expect_cold("written by others");
    const std::string path = store_->path();
    start_after([&] {
        ASSERT_EQ(::rename(path.c_str(), (path + "-moved").c_str()), 0);
        ASSERT_EQ(::symlink((path + "-moved").c_str(), path.c_str()), 0);
    });
    expect_cold("cannot open");
    ::unlink((path + "-moved").c_str());
}

TEST_F(AttachTest, Error_FileInUse_IsLeftAlone) {
    put("key", "x");
    AttachReport report;
    auto second = Store::attach_or_create(options_, 1, &report);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("in use"), std::string::npos) << second.error().message;
    EXPECT_EQ(get("key"), "x");
    EXPECT_EQ(::access(store_->path().c_str(), F_OK), 0);
}

TEST_F(AttachTest, Holes_AreFilledBeforeTheyAreMapped) {
    put("key", "x");
    const uint64_t last = store_->bytes() - (1 << 20);
    ASSERT_EQ(::truncate(store_->path().c_str(), static_cast<off_t>(last)), 0);
    ASSERT_EQ(::truncate(store_->path().c_str(), static_cast<off_t>(store_->bytes())), 0);
    start();
    EXPECT_TRUE(report_.warm);
    EXPECT_EQ(get("key"), "x");
    struct stat status {};
    ASSERT_EQ(::stat(store_->path().c_str(), &status), 0);
    EXPECT_EQ(static_cast<uint64_t>(status.st_blocks) * 512, store_->bytes());
}

}  // namespace
}  // namespace cachee::l1
