// SPDX-License-Identifier: Apache-2.0
// Attaching to, and reading from, files that are no L1 or a damaged one: an error or a miss, never
// a fault and never a wrong byte. Seeded; CACHEE_DAMAGE_ROUNDS makes it longer.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "l1/reader.h"
#include "test_l1.h"

namespace cachee::client {
namespace {

constexpr int kKeys = 400;

std::string key_of(int i) { return "key:" + std::to_string(i); }
std::string value_of(int i) { return std::string(static_cast<size_t>(i % 97), 'v') + key_of(i); }

class Damage : public ::testing::Test {
  protected:
    Damage()
        : l1_("damage", 1 << 20, 2),
          path_("/dev/shm/cachee-damaged-" + std::to_string(::getpid())) {
        for (int i = 0; i < kKeys; ++i) l1_.put(key_of(i), value_of(i));
        l1_.trust(3'600'000);
        good_.assign(l1_.store().base(), l1_.store().base() + l1_.store().bytes());
        sizes_ = good_.size();
    }
    ~Damage() override { ::unlink(path_.c_str()); }

    // In place, so that the pages are reserved once; readers of one round are gone in the next.
    void write_file(const std::vector<uint8_t>& bytes, size_t size) {
        const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::ftruncate(fd, 0), 0);
        ASSERT_EQ(::pwrite(fd, bytes.data(), size, 0), static_cast<ssize_t>(size));
        ::close(fd);
    }
    // How many of the keys were read; every one of them rightly.
    int read_all() {
        cachee_options options = CACHEE_OPTIONS_INIT;
        options.flags = CACHEE_NO_FALLBACK;
        options.l1_path = path_.c_str();
        Handle handle("of-no-meaning", options);
        if (handle.status() != CACHEE_OK) return -1;
        int hits = 0;
        std::vector<cachee_item> items(kKeys);
        std::vector<std::string> keys;
        for (int i = 0; i < kKeys; ++i) keys.push_back(key_of(i));
        for (size_t i = 0; i < keys.size(); ++i) {
            items[i].key = keys[i].data();
            items[i].key_size = keys[i].size();
        }
        EXPECT_EQ(cachee_multi_get(handle, items.data(), items.size(), sizeof(cachee_item)),
                  CACHEE_OK);
        for (int i = 0; i < kKeys; ++i) {
            const cachee_item& item = items[static_cast<size_t>(i)];
            int64_t ttl = CACHEE_NO_EXPIRY;
            cachee_exists(handle, item.key, item.key_size, nullptr);
            EXPECT_LE(cachee_ttl(handle, item.key, item.key_size, &ttl, nullptr), CACHEE_MISS);
            EXPECT_EQ(ttl, CACHEE_NO_EXPIRY);
            if (item.status != CACHEE_OK) continue;
            ++hits;
            EXPECT_EQ(std::string(static_cast<const char*>(item.value.data), item.value.size),
                      value_of(i));
        }
        return hits;
    }

    TestL1 l1_;
    std::string path_;
    std::vector<uint8_t> good_;
    size_t sizes_ = 0;
};

TEST_F(Damage, GoodCopy_IsReadWhole) {
    write_file(good_, good_.size());
    EXPECT_EQ(read_all(), kKeys);
}

TEST_F(Damage, FilesOfOtherKinds_AreRefused) {
    l1::AttachError error;
    EXPECT_EQ(l1::Reader::attach("/dev/shm", &error), nullptr);
    EXPECT_EQ(l1::Reader::attach("/dev/zero", &error), nullptr);
    EXPECT_EQ(error.fault, l1::AttachFault::kDamaged);
    EXPECT_EQ(l1::Reader::attach("/dev/shm/cachee-not-there", &error), nullptr);
    EXPECT_EQ(error.fault, l1::AttachFault::kAbsent);
    for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{8192}}) {
        write_file(good_, size);
        EXPECT_EQ(l1::Reader::attach(path_, &error), nullptr) << size;
        EXPECT_EQ(error.fault, l1::AttachFault::kDamaged);
    }
    write_file(good_, good_.size());
    ASSERT_EQ(::truncate(path_.c_str(), static_cast<off_t>(good_.size() / 2)), 0);
    EXPECT_EQ(l1::Reader::attach(path_, &error), nullptr);
    // With a hole where bytes should be.
    ASSERT_EQ(::truncate(path_.c_str(), static_cast<off_t>(good_.size())), 0);
    EXPECT_EQ(l1::Reader::attach(path_, &error), nullptr);
    const std::string link = path_ + "-link";
    ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
    EXPECT_EQ(l1::Reader::attach(link, &error), nullptr);
    ::unlink(link.c_str());
}

// Where it hurts: headers, buckets, and anywhere.
void damage(std::vector<uint8_t>& bytes, base::Rng& rng, size_t buckets_end) {
    const uint64_t where = rng.below(3);
    const size_t limit = where == 0 ? 4096 + 2 * 192 : where == 1 ? buckets_end : bytes.size();
    const uint64_t wounds = where == 0 ? 1 + rng.below(3) : 1 + rng.below(2000);
    for (uint64_t i = 0; i < wounds; ++i) {
        const size_t at = rng.below(limit - 8);
        const uint64_t kind = rng.below(4);
        uint64_t word = rng.next();
        if (kind == 0) word = rng.below(2) == 0 ? 0 : UINT64_MAX;
        if (kind == 1) word >>= rng.below(64);
        if (kind == 2) {
            bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1U << rng.below(8)));
            continue;
        }
        std::memcpy(&bytes[at / 8 * 8], &word, sizeof word);
    }
}

TEST_F(Damage, RandomBytesChanged_NoFaultAndNoWrongValue) {
    const char* wanted = std::getenv("CACHEE_DAMAGE_ROUNDS");
    const int rounds = wanted == nullptr ? 60 : std::atoi(wanted);
    const char* given = std::getenv("CACHEE_SEED");
    const uint64_t seed =
        given == nullptr ? base::random_seed() : std::strtoull(given, nullptr, 10);
    const auto* header =
        reinterpret_cast<const l1::PartitionHeader*>(&good_[sizeof(l1::FileHeader)]);
    int attached = 0;
    int hits = 0;
    for (int round = 0; round < rounds; ++round) {
        SCOPED_TRACE("CACHEE_SEED=" + std::to_string(seed) + ", round " + std::to_string(round));
        base::Rng rng(seed + static_cast<uint64_t>(round));
        std::vector<uint8_t> bytes = good_;
        damage(bytes, rng, header->segment_table_offset);
        write_file(bytes, bytes.size());
        const int found = read_all();
        attached += found >= 0 ? 1 : 0;
        hits += std::max(found, 0);
        if (HasFailure()) return;
    }
    EXPECT_GT(attached, rounds / 4);
    EXPECT_GT(hits, rounds);
}

TEST_F(Damage, ChainThatRunsInACircle_Ends) {
    write_file(good_, good_.size());
    std::vector<uint8_t> bytes = good_;
    for (uint32_t partition = 0; partition < 2; ++partition) {
        const auto* header =
            reinterpret_cast<const l1::PartitionHeader*>(&bytes[sizeof(l1::FileHeader)]) +
            partition;
        auto* buckets = reinterpret_cast<l1::Bucket*>(&bytes[header->buckets_offset]);
        auto* overflow = reinterpret_cast<l1::Bucket*>(&bytes[header->overflow_offset]);
        for (uint32_t i = 0; i < header->bucket_count; ++i) buckets[i].overflow = 1;
        for (uint32_t i = 0; i < header->overflow_count; ++i) overflow[i].overflow = 1;
    }
    write_file(bytes, bytes.size());
    EXPECT_EQ(read_all(), kKeys);
}

}  // namespace
}  // namespace cachee::client
