// SPDX-License-Identifier: Apache-2.0
// An L1 whose size changes while a handle reads it: what is there is read at every size, and memory
// that was given back stays given back.
#include <sys/stat.h>

#include <vector>

#include "test_l1.h"

namespace cachee::client {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kKeys = 60'000;

std::string key_of(uint64_t id) { return "key:" + std::to_string(id); }
std::string value_of(uint64_t id) {
    return std::string(900 + id % 200, static_cast<char>('a' + id % 26)) + key_of(id);
}

class LibcacheeResize : public ::testing::Test {
  protected:
    LibcacheeResize() {
        auto made = l1::Store::create({.instance = "sizes-" + std::to_string(::getpid()),
                                       .hugepages = l1::Hugepages::kOff,
                                       .bytes = 40 * kMiB,
                                       .bytes_max = 96 * kMiB,
                                       .item_bytes_max = 16 << 10,
                                       .item_bytes_expected = 1000,
                                       .hash_seed = kTestSeed});
        CACHEE_ASSERT(made.has_value());
        store_ = std::move(made).value();
        store_->partition(0).publish_trust(base::monotonic_ns() + 600 * base::kNsPerS,
                                           kTestGeneration);
    }
    ~LibcacheeResize() override { store_->unlink(); }

    void put_all() {
        for (uint64_t id = 0; id < kKeys; ++id) {
            const std::string key = key_of(id);
            ASSERT_EQ(store_->partition(0).put(base::hash_key(key, kTestSeed), key, value_of(id), 0,
                                               kTestGeneration, 1),
                      l1::PutStatus::kStored);
        }
    }
    void settle(uint64_t bytes) {
        ASSERT_TRUE(store_->resize(bytes).has_value());
        for (int i = 0; i < 100'000; ++i) {
            store_->partition(0).maintain(1);
            if (store_->resize_step()) return;
        }
        FAIL() << "it does not get its size";
    }
    uint64_t memory() const {
        struct stat status {};
        EXPECT_EQ(::stat(store_->path().c_str(), &status), 0);
        return static_cast<uint64_t>(status.st_blocks) * 512;
    }
    // Reads what the owner has, and nothing else.
    void compare(Handle& handle, uint64_t least) {
        uint64_t there = 0;
        for (uint64_t id = 0; id < kKeys; ++id) {
            const std::string key = key_of(id);
            const uint64_t hash = base::hash_key(key, kTestSeed);
            const bool wanted = store_->partition(0).find(hash, key, 1, kTestGeneration).status ==
                                l1::FindStatus::kHit;
            std::string text;
            ASSERT_EQ(handle.get(key, &text), wanted ? CACHEE_OK : CACHEE_MISS) << id;
            if (!wanted) continue;
            ASSERT_EQ(text, value_of(id));
            ++there;
        }
        EXPECT_GT(there, least);
    }

    std::unique_ptr<l1::Store> store_;
};

TEST_F(LibcacheeResize, GrowsAndShrinks_IsReadAtEverySize) {
    cachee_options options = CACHEE_OPTIONS_INIT;
    options.flags = CACHEE_NO_FALLBACK;
    options.l1_path = store_->path().c_str();
    put_all();
    Handle handle("by-path", options);
    ASSERT_EQ(handle.status(), CACHEE_OK) << cachee_last_error();
    EXPECT_LT(memory(), 50 * kMiB) << "attaching must not fill the holes";
    compare(handle, 20'000);
    settle(96 * kMiB);
    put_all();
    compare(handle, 50'000);
    settle(40 * kMiB);
    compare(handle, 15'000);
    Handle late("by-path", options);
    compare(late, 15'000);
    EXPECT_LT(memory(), 50 * kMiB) << "reading must not fill them either";
    EXPECT_EQ(handle.statistics().l1_damaged, 0U);
    EXPECT_EQ(handle.statistics().attachments, 1U);
}

}  // namespace
}  // namespace cachee::client
