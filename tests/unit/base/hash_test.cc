// SPDX-License-Identifier: Apache-2.0
// The key hash, CRC32C and the generator: fixed values, because files and other processes rely on
// them.
#include "base/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "base/rng.h"

namespace cachee::base {
namespace {

TEST(HashKey, EveryBit_OfKeysOfEveryLength_Counts) {
    for (size_t length = 0; length <= 100; ++length) {
        std::string key(length, 'x');
        std::set<uint64_t> seen{hash_key(key, 1)};
        for (size_t bit = 0; bit < length * 8; ++bit) {
            key[bit / 8] ^= static_cast<char>(1 << (bit % 8));
            EXPECT_TRUE(seen.insert(hash_key(key, 1)).second) << length << " bit " << bit;
            key[bit / 8] ^= static_cast<char>(1 << (bit % 8));
        }
        EXPECT_TRUE(seen.insert(hash_key(key, 2)).second) << "the seed counts";
        EXPECT_TRUE(seen.insert(hash_key(key + 'x', 1)).second) << "the length counts";
    }
}

// The definition once more, step by step, as a reader in another language would write it.
uint64_t plain_hash(const std::string& key, uint64_t seed) {
    const auto fold = [](uint64_t a, uint64_t b) {
        const auto product = static_cast<unsigned __int128>(a) * b;
        return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    };
    const auto little_endian = [&](size_t at, size_t bytes) {
        uint64_t value = 0;
        for (size_t i = bytes; i > 0; --i) {
            value = value << 8 | static_cast<uint8_t>(key[at + i - 1]);
        }
        return value;
    };
    const uint64_t length = key.size();
    const uint64_t secret = seed ^ 0xa0761d6478bd642fULL;
    uint64_t state = 0x8ebc6af09c88c6e3ULL + length * secret;
    for (size_t at = 0; length - at > 16; at += 16) {
        state = fold(little_endian(at, 8) ^ secret, little_endian(at + 8, 8) ^ state);
    }
    uint64_t a = 0;
    uint64_t b = 0;
    if (length >= 8) {
        a = little_endian(length > 16 ? length - 16 : 0, 8);
        b = little_endian(length - 8, 8);
    } else if (length >= 4) {
        a = little_endian(0, 4);
        b = little_endian(length - 4, 4);
    } else if (length > 0) {
        a = little_endian(0, 1) << 16 | little_endian(length / 2, 1) << 8 |
            little_endian(length - 1, 1);
    }
    return fold(fold(a ^ secret, b ^ state), 0x8ebc6af09c88c6e3ULL);
}

// What L1 takes from a hash: the bucket from the low half, the tag from 15 bits above it. Keys that
// differ in a few digits only must spread over both as random numbers would.
TEST(HashKey, NumberedKeys_SpreadOverBucketsAndTags) {
    constexpr uint32_t kBuckets = 1024;
    constexpr int kKeys = 64 * kBuckets;
    for (const char* format : {"%d", "k%d", "user:%08d", "key:%012d", "%015d:session", "a-%030d"}) {
        std::vector<uint32_t> buckets(kBuckets);
        std::vector<uint32_t> tags(kBuckets);
        for (int i = 0; i < kKeys; ++i) {
            char key[64];
            const int size = std::snprintf(key, sizeof key, format, i);
            const uint64_t hash = hash_key({key, static_cast<size_t>(size)}, 0x5eed);
            ++buckets[(uint64_t{static_cast<uint32_t>(hash)} * kBuckets) >> 32];
            ++tags[hash >> 32 & (kBuckets - 1)];
        }
        for (const auto& counts : {buckets, tags}) {
            double chi_squared = 0;
            for (const uint32_t count : counts) chi_squared += (count - 64.0) * (count - 64.0) / 64;
            // 1,023 degrees of freedom: mean 1,023, standard deviation 45.
            EXPECT_LT(chi_squared, 1023 + 6 * 45) << format;
        }
    }
}

// Keys made so that a factor with a public constant only would be zero: all of them would collide.
TEST(HashKey, KeysThatHoldThePublicConstants_DoNotCollide) {
    const auto bytes_of = [](uint64_t word) {
        return std::string(reinterpret_cast<const char*>(&word), sizeof word);
    };
    const uint64_t constants[] = {0xa0761d6478bd642fULL, 0xe7037ed1a0b428dbULL,
                                  0x8ebc6af09c88c6e3ULL};
    for (const uint64_t first : constants) {
        for (const size_t words : {2U, 4U}) {
            std::set<uint64_t> seen;
            for (uint64_t i = 0; i < 1000; ++i) {
                std::string key = bytes_of(first) + bytes_of(i);
                if (words == 4) key += bytes_of(first) + bytes_of(i * 7919);
                seen.insert(hash_key(key, 0x1234567890abcdefULL));
            }
            EXPECT_EQ(seen.size(), 1000U) << first << " " << words;
        }
    }
}

TEST(HashKey, AllLengths_AgreeWithTheDefinition) {
    Rng rng(7);
    for (size_t length = 0; length <= 200; ++length) {
        std::string key;
        while (key.size() < length) key += static_cast<char>(rng.below(256));
        const uint64_t seed = rng.next();
        EXPECT_EQ(hash_key(key, seed), plain_hash(key, seed)) << length;
    }
}

TEST(OwnerOf, ManyKeys_AreSharedOutEvenly) {
    for (uint32_t workers : {1U, 2U, 3U, 7U, 64U}) {
        std::vector<uint32_t> shares(workers);
        for (int i = 0; i < 64000; ++i) {
            const uint32_t owner = owner_of(hash_key("key" + std::to_string(i), 3), workers);
            ASSERT_LT(owner, workers);
            ++shares[owner];
        }
        for (const uint32_t share : shares) {
            EXPECT_NEAR(share, 64000.0 / workers, 64000.0 / workers * 0.2);
        }
    }
}

TEST(Crc32c, Rfc3720Vectors_Match) {
    EXPECT_EQ(crc32c("123456789", 9), 0xe3069283U);
    const std::string zeros(32, '\0');
    EXPECT_EQ(crc32c(zeros.data(), zeros.size()), 0x8a9136aaU);
    const std::string ones(32, '\xff');
    EXPECT_EQ(crc32c(ones.data(), ones.size()), 0x62a8ab43U);
}

TEST(Crc32c, InPieces_IsThatOfTheWhole) {
    const std::string text = "The quick brown fox jumps over the lazy dog, and then some.";
    const uint32_t whole = crc32c(text.data(), text.size());
    for (size_t cut = 0; cut <= text.size(); ++cut) {
        const uint32_t head = crc32c(text.data(), cut);
        EXPECT_EQ(crc32c(text.data() + cut, text.size() - cut, head), whole) << cut;
    }
}

TEST(Rng, Seed0_IsSplitMix64) {
    Rng rng(0);
    EXPECT_EQ(rng.next(), 0xe220a8397b1dcdafULL);
    EXPECT_EQ(rng.next(), 0x6e789e6aa1b965f4ULL);
}

TEST(Rng, Below_StaysBelowAndReachesAll) {
    Rng rng(1);
    std::set<uint64_t> seen;
    for (int i = 0; i < 1000; ++i) seen.insert(rng.below(10));
    EXPECT_EQ(seen.size(), 10U);
    EXPECT_EQ(*seen.rbegin(), 9U);
    for (int i = 0; i < 1000; ++i) ASSERT_LT(rng.uniform(), 1.0);
}

}  // namespace
}  // namespace cachee::base
