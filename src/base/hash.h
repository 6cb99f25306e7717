// SPDX-License-Identifier: Apache-2.0
// The one key hash of the system: 64 bits, keyed by the instance's secret seed so that a client
// cannot choose keys that collide. Folded 128-bit multiplication over 16-byte steps (the family of
// wyhash and rapidhash; written here from the idea). Both planes and every reader of L1 must agree
// on it: changing it is a layout change of L1 (l1 layout version).
// Also the map from a hash to the worker that owns the key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace cachee::base {

namespace hash_internal {

inline constexpr uint64_t kMulA = 0xa0761d6478bd642fULL;
inline constexpr uint64_t kMulB = 0xe7037ed1a0b428dbULL;
inline constexpr uint64_t kMulC = 0x8ebc6af09c88c6e3ULL;

inline uint64_t fold(uint64_t a, uint64_t b) {
#ifdef __BMI2__
    // As below, without the moves of both halves that compilers make of a 128-bit number.
    uint64_t low;
    uint64_t high;
    asm("mulx %3, %0, %1" : "=r"(low), "=r"(high) : "d"(a), "rm"(b));
    return low ^ high;
#else
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
#endif
}

inline uint64_t load64(const char* p) {
    uint64_t value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

inline uint64_t load32(const char* p) {
    uint32_t value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

}  // namespace hash_internal

// Both factors of each multiplication hold a part of the key and something secret, so that no key
// can make one of them zero; so is the length's part, so that no other bytes can make up for it.
[[gnu::always_inline]] inline uint64_t hash_key(std::string_view key, uint64_t seed) noexcept {
    using namespace hash_internal;
    const char* p = key.data();
    const size_t size = key.size();
    const uint64_t secret = seed ^ kMulA;
    uint64_t state = kMulC + size * secret;
    uint64_t a = 0;
    uint64_t b = 0;
    const char* const end = p + size;
    if (size > 16) {
        // The last step, below, takes the last 16 bytes: keys of up to 32 take but one here.
        state = fold(load64(p) ^ secret, load64(p + 8) ^ state);
        if (size > 32) [[unlikely]] {
            for (p += 16; end - p > 16; p += 16) {
                state = fold(load64(p) ^ secret, load64(p + 8) ^ state);
            }
        }
        a = load64(end - 16);
        b = load64(end - 8);
    } else if (size >= 8) {
        a = load64(p);
        b = load64(end - 8);
    } else if (size >= 4) {
        a = load32(p);
        b = load32(p + size - 4);
    } else if (size > 0) {
        a = (static_cast<uint64_t>(static_cast<uint8_t>(p[0])) << 16) |
            (static_cast<uint64_t>(static_cast<uint8_t>(p[size >> 1])) << 8) |
            static_cast<uint8_t>(p[size - 1]);
    }
    // Once more, for keys that differ in few bits only.
    return fold(fold(a ^ secret, b ^ state), kMulC);
}

// The worker (and L1 partition) that owns a key: the only one that writes its entry.
// The top 16 bits choose it; L1 indexes with the bits below them.
inline uint32_t owner_of(uint64_t hash, uint32_t workers) noexcept {
    return static_cast<uint32_t>(((hash >> 48) * workers) >> 16);
}

}  // namespace cachee::base
