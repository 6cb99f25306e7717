// SPDX-License-Identifier: Apache-2.0
// What a handle answers from L1, through the C functions: hits, misses, trust, deadlines, buffers,
// writers that died, and L1 files that come and go.
#include <sys/stat.h>

#include <cstdlib>
#include <thread>
#include <vector>

#include "cachee/cachee.hpp"
#include "test_l1.h"

namespace cachee::client {
namespace {

constexpr const char* kMissText = "(not in L1, and the appliance was not asked)";

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(LibcacheeGet, KeysOfEveryPartition_AreReadWhole) {
    TestL1 l1("get");
    for (int i = 0; i < 200; ++i) {
        l1.put("key" + std::to_string(i), std::string(static_cast<size_t>(i * 7), 'a') + "end");
    }
    Handle handle(l1.instance());
    ASSERT_EQ(handle.status(), CACHEE_OK) << cachee_last_error();
    for (int i = 0; i < 200; ++i) {
        EXPECT_EQ(handle.text_of("key" + std::to_string(i)),
                  std::string(static_cast<size_t>(i * 7), 'a') + "end");
        EXPECT_EQ(handle.value.source, CACHEE_FROM_L1);
        EXPECT_EQ(handle.value.ttl_ms, CACHEE_NO_EXPIRY);
    }
    EXPECT_EQ(handle.get("other"), CACHEE_MISS);
    EXPECT_EQ(handle.value.source, CACHEE_FROM_NOWHERE);
    EXPECT_EQ(handle.statistics().l1_hits, 200U);
    EXPECT_EQ(handle.statistics().l1_misses, 1U);
}

TEST(LibcacheeGet, EmptyKeyEmptyValueAndLongOnes) {
    TestL1 l1("edges", 16 << 20, 1);
    const std::string long_key(60'000, 'k');
    const std::string long_value(300'000, 'v');
    l1.put("", "of the empty key");
    l1.put("empty", "");
    l1.put(long_key, long_value);
    Handle handle(l1.instance());
    EXPECT_EQ(handle.text_of(""), "of the empty key");
    EXPECT_EQ(handle.text_of("empty"), "");
    EXPECT_EQ(handle.text_of(long_key), long_value);
    EXPECT_EQ(handle.get(std::string(70'000, 'k')), CACHEE_MISS) << "longer than L1 takes";
}

TEST(LibcacheeGet, ReplacedAndErased_AreSeenAtOnce) {
    TestL1 l1("changes");
    Handle handle(l1.instance());
    for (int i = 0; i < 100; ++i) {
        l1.put("k", std::to_string(i));
        ASSERT_EQ(handle.text_of("k"), std::to_string(i));
    }
    ASSERT_TRUE(l1.erase("k"));
    EXPECT_EQ(handle.text_of("k"), kMissText);
}

TEST(LibcacheeGet, Deadline_EndsTheValue) {
    TestL1 l1("deadline");
    l1.put("k", "v", TestL1::now_ms() + 60);
    Handle handle(l1.instance());
    ASSERT_EQ(handle.text_of("k"), "v");
    EXPECT_GT(handle.value.ttl_ms, 0);
    EXPECT_LE(handle.value.ttl_ms, 60);
    int64_t ttl = 0;
    EXPECT_EQ(cachee_ttl(handle, "k", 1, &ttl, nullptr), CACHEE_OK);
    EXPECT_GT(ttl, 0);
    EXPECT_LE(ttl, 60);
    sleep_ms(65);
    EXPECT_EQ(handle.text_of("k"), kMissText);
    EXPECT_EQ(cachee_exists(handle, "k", 1, nullptr), CACHEE_MISS);
    EXPECT_EQ(cachee_ttl(handle, "k", 1, &ttl, nullptr), CACHEE_MISS);
}

TEST(LibcacheeGet, AnotherGeneration_IsAMiss) {
    TestL1 l1("generation");
    l1.put("k", "old");
    Handle handle(l1.instance());
    ASSERT_EQ(handle.text_of("k"), "old");
    l1.trust(60'000, kTestGeneration + 1);
    EXPECT_EQ(handle.text_of("k"), kMissText);
    l1.put("k", "new", 0, kTestGeneration + 1);
    EXPECT_EQ(handle.text_of("k"), "new");
}

TEST(LibcacheeGet, LapsedOrRevokedLease_IsAMiss) {
    TestL1 l1("lease");
    l1.put("k", "v");
    Handle handle(l1.instance());
    l1.trust(30);
    EXPECT_EQ(handle.text_of("k"), "v");
    sleep_ms(35);
    EXPECT_EQ(handle.text_of("k"), kMissText);
    EXPECT_EQ(cachee_exists(handle, "k", 1, nullptr), CACHEE_MISS);
    l1.trust(60'000);
    EXPECT_EQ(handle.text_of("k"), "v");
    l1.trust(0);
    EXPECT_EQ(handle.text_of("k"), kMissText);
    EXPECT_GE(handle.statistics().l1_untrusted, 3U);
}

TEST(LibcacheeGet, WriterThatDiedInTheMiddle_EndsInAMissAtOnce) {
    TestL1 l1("torn");
    l1.put("k", "v");
    Handle handle(l1.instance());
    ASSERT_EQ(handle.text_of("k"), "v");
    l1.bucket("k").version.fetch_add(1);
    const uint64_t start = base::monotonic_ns();
    EXPECT_EQ(handle.text_of("k"), kMissText);
    EXPECT_EQ(cachee_exists(handle, "k", 1, nullptr), CACHEE_MISS);
    EXPECT_LT(base::monotonic_ns() - start, 100 * base::kNsPerMs);
    EXPECT_EQ(handle.statistics().l1_busy, 2U);
    l1.bucket("k").version.fetch_add(1);
    EXPECT_EQ(handle.text_of("k"), "v");
}

TEST(LibcacheeGet, ChangedBytes_AreRefusedByTheChecksum) {
    TestL1 l1("bytes");
    l1.put("k", "value");
    Handle handle(l1.instance());
    Handle unchecked(l1.instance(), CACHEE_NO_FALLBACK | CACHEE_NO_CHECKSUM);
    const uint64_t hash = base::hash_key("k", kTestSeed);
    const l1::Lookup found = l1.owner(hash).find(hash, "k", TestL1::now_ms(), kTestGeneration);
    ASSERT_EQ(found.status, l1::FindStatus::kHit);
    const_cast<uint8_t*>(found.value)[2] ^= 1;
    EXPECT_EQ(handle.text_of("k"), kMissText);
    EXPECT_EQ(cachee_exists(handle, "k", 1, nullptr), CACHEE_MISS);
    EXPECT_EQ(handle.statistics().l1_damaged, 2U);
    EXPECT_EQ(unchecked.text_of("k"), "vamue");
}

TEST(LibcacheeGetInto, BufferTooSmall_SaysHowMuch) {
    TestL1 l1("into");
    l1.put("k", "0123456789");
    Handle handle(l1.instance());
    char buffer[16] = {};
    cachee_value value;
    EXPECT_EQ(cachee_get_into(handle, "k", 1, buffer, 9, &value), CACHEE_TOO_SMALL);
    EXPECT_EQ(value.size, 10U);
    EXPECT_EQ(value.data, nullptr);
    EXPECT_EQ(cachee_get_into(handle, "k", 1, buffer, 10, &value), CACHEE_OK);
    EXPECT_EQ(value.data, buffer);
    EXPECT_EQ(std::string(buffer, value.size), "0123456789");
    EXPECT_EQ(buffer[10], '\0');
    EXPECT_EQ(cachee_get_into(handle, "k", 1, nullptr, 0, &value), CACHEE_TOO_SMALL);
}

TEST(LibcacheeMultiGet, ManyKeysMixed_EachHasItsOwnAnswer) {
    TestL1 l1("multi", 8 << 20);
    std::vector<std::string> keys;
    for (int i = 0; i < 500; ++i) {
        keys.push_back("key" + std::to_string(i));
        if (i % 3 != 0)
            l1.put(keys.back(), std::string(static_cast<size_t>(i * 5), 'x') + keys.back());
    }
    Handle handle(l1.instance());
    std::vector<cachee_item> items(keys.size());
    char buffer[64];
    for (size_t i = 0; i < keys.size(); ++i) {
        items[i].key = keys[i].data();
        items[i].key_size = keys[i].size();
    }
    items[1].buffer = buffer;
    items[1].capacity = sizeof buffer;
    items[400].buffer = buffer + 60;
    items[400].capacity = 4;
    ASSERT_EQ(cachee_multi_get(handle, items.data(), items.size(), sizeof(cachee_item)), CACHEE_OK);
    for (size_t i = 0; i < keys.size(); ++i) {
        const cachee_status wanted = i % 3 == 0 ? CACHEE_MISS
                                     : i == 400 ? CACHEE_TOO_SMALL
                                                : CACHEE_OK;
        ASSERT_EQ(items[i].status, wanted) << i;
        if (wanted != CACHEE_OK) continue;
        ASSERT_EQ(std::string(static_cast<const char*>(items[i].value.data), items[i].value.size),
                  std::string(i * 5, 'x') + keys[i]);
    }
    EXPECT_EQ(items[1].value.data, buffer);
    EXPECT_EQ(items[400].value.size, 2000 + keys[400].size());
}

TEST(LibcacheeAttach, NoInstance_SaysSo) {
    Handle handle("nobody-" + std::to_string(::getpid()));
    EXPECT_EQ(handle.status(), CACHEE_NO_INSTANCE);
    EXPECT_NE(std::string(cachee_last_error()).find("no data plane of instance"),
              std::string::npos);
}

TEST(LibcacheeAttach, LazyWithoutInstance_FindsItLater) {
    const std::string name = "late-" + std::to_string(::getpid());
    Handle handle(name, CACHEE_NO_FALLBACK | CACHEE_LAZY);
    ASSERT_EQ(handle.status(), CACHEE_OK);
    EXPECT_EQ(handle.text_of("k"), kMissText);
    TestL1 l1("late");
    l1.put("k", "v");
    sleep_ms(5);
    EXPECT_EQ(handle.text_of("k"), "v");
}

TEST(LibcacheeAttach, EnvironmentNamesInstanceAndFile) {
    TestL1 l1("env");
    l1.put("k", "v");
    cachee_handle* handle = nullptr;
    cachee_value value;
    ::setenv("CACHEE_INSTANCE", l1.instance().c_str(), 1);
    ASSERT_EQ(cachee_attach(nullptr, nullptr, &handle), CACHEE_OK) << cachee_last_error();
    EXPECT_EQ(cachee_get(handle, "k", 1, &value), CACHEE_OK);
    cachee_detach(handle);
    ::unsetenv("CACHEE_INSTANCE");
    ::setenv("CACHEE_L1_PATH", l1.store().path().c_str(), 1);
    ASSERT_EQ(cachee_attach("of-no-meaning", nullptr, &handle), CACHEE_OK) << cachee_last_error();
    EXPECT_EQ(cachee_get(handle, "k", 1, &value), CACHEE_OK);
    cachee_detach(handle);
    ::unsetenv("CACHEE_L1_PATH");
}

TEST(LibcacheeAttach, OlderOptionsStructure_ItsUnknownFieldsAreDefaults) {
    TestL1 l1("older");
    l1.put("k", "v");
    cachee_options options = CACHEE_OPTIONS_INIT;
    options.l1_path = "/does/not/exist";
    options.struct_size = offsetof(cachee_options, l1_path);
    Handle older(l1.instance(), options);
    EXPECT_EQ(older.text_of("k"), "v");
    options.struct_size = 0;
    Handle unset(l1.instance(), options);
    EXPECT_EQ(unset.status(), CACHEE_INVALID);
}

TEST(LibcacheeAttach, AnotherLayoutVersion_IsNamed) {
    TestL1 l1("version");
    reinterpret_cast<l1::FileHeader*>(l1.store().base())->layout_version += 1;
    Handle handle(l1.instance());
    EXPECT_EQ(handle.status(), CACHEE_INCOMPATIBLE);
    EXPECT_NE(std::string(cachee_last_error()).find("layout version"), std::string::npos);
}

TEST(LibcacheeRestart, FileReplaced_TheNewOneIsReadAndTheOldOneNoMore) {
    TestL1 l1("restart");
    l1.put("k", "old");
    Handle handle(l1.instance());
    ASSERT_EQ(handle.text_of("k"), "old");
    l1.leave_file();
    EXPECT_EQ(handle.text_of("k"), "old") << "vouched for until the lease ends";
    l1.make();
    EXPECT_EQ(handle.text_of("k"), kMissText) << "a new data plane revokes what the dead one left";
    l1.put("k", "new");
    sleep_ms(5);
    EXPECT_EQ(handle.text_of("k"), "new");
    EXPECT_EQ(handle.statistics().attachments, 2U);
}

TEST(LibcacheeRestart, FileGone_IsAMissUntilThereIsOne) {
    TestL1 l1("gone");
    l1.put("k", "v");
    Handle handle(l1.instance());
    ASSERT_EQ(handle.text_of("k"), "v");
    l1.trust(0);
    l1.store().unlink();
    EXPECT_EQ(handle.text_of("k"), kMissText);
    sleep_ms(5);
    EXPECT_EQ(handle.text_of("k"), kMissText);
    l1.make();
    l1.put("k", "again");
    sleep_ms(5);
    EXPECT_EQ(handle.text_of("k"), "again");
}

TEST(LibcacheeArguments, NullPointers_AreRefused) {
    TestL1 l1("null");
    Handle handle(l1.instance());
    cachee_value value;
    EXPECT_EQ(cachee_get(nullptr, "k", 1, &value), CACHEE_INVALID);
    EXPECT_EQ(cachee_get(handle, nullptr, 1, &value), CACHEE_INVALID);
    EXPECT_EQ(cachee_get(handle, "k", 1, nullptr), CACHEE_INVALID);
    EXPECT_EQ(cachee_get(handle, "k", SIZE_MAX, &value), CACHEE_INVALID);
    EXPECT_EQ(cachee_get_into(handle, "k", 1, nullptr, 1, &value), CACHEE_INVALID);
    EXPECT_EQ(cachee_ttl(handle, "k", 1, nullptr, nullptr), CACHEE_INVALID);
    EXPECT_EQ(cachee_multi_get(handle, nullptr, 1, sizeof(cachee_item)), CACHEE_INVALID);
    cachee_item item{};
    EXPECT_EQ(cachee_multi_get(handle, &item, 1, sizeof(cachee_item) - 8), CACHEE_INVALID);
    EXPECT_EQ(cachee_attach("a/b", nullptr, nullptr), CACHEE_INVALID);
    cachee_detach(nullptr);
}

TEST(LibcacheeCpp, Client_WrapsTheCalls) {
    TestL1 l1("cpp");
    l1.put("k", "v");
    Options options;
    options.flags = CACHEE_NO_FALLBACK;
    cachee::Client client(l1.instance().c_str(), options);
    const Found found = client.get("k");
    ASSERT_TRUE(found);
    EXPECT_EQ(found.view(), "v");
    EXPECT_EQ(found.source(), Source::kL1);
    EXPECT_FALSE(client.get("x"));
    const std::string_view keys[] = {"k", "x"};
    const auto both = client.multi_get(keys);
    EXPECT_EQ(both[0].str(), "v");
    EXPECT_EQ(both[1].status(), CACHEE_MISS);
    EXPECT_EQ(client.exists("k"), CACHEE_OK);
    EXPECT_EQ(client.ttl_ms("k"), std::make_pair(CACHEE_OK, CACHEE_NO_EXPIRY));
    EXPECT_EQ(client.statistics().l1_misses, 2U);
    EXPECT_THROW(cachee::Client("nobody-at-all"), std::runtime_error);
}

}  // namespace
}  // namespace cachee::client
