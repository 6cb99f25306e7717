// SPDX-License-Identifier: Apache-2.0
// SipHash-2-4 (Aumasson and Bernstein, 2012) of whole words: the keyed function behind initial
// sequence numbers (RFC 6528) and the keys of IPv6 connections. Written from the paper. Data plane,
// any thread; about 20 ns.
#pragma once

#include <bit>
#include <cstdint>

namespace cachee::net {

struct SipKey {
    uint64_t k0 = 0;
    uint64_t k1 = 0;
};

// The message is `count` words in little-endian order.
inline uint64_t siphash_words(SipKey key, const uint64_t* words, uint32_t count) noexcept {
    uint64_t v0 = key.k0 ^ 0x736f6d6570736575ULL;
    uint64_t v1 = key.k1 ^ 0x646f72616e646f6dULL;
    uint64_t v2 = key.k0 ^ 0x6c7967656e657261ULL;
    uint64_t v3 = key.k1 ^ 0x7465646279746573ULL;
    auto round = [&] {
        v0 += v1;
        v1 = std::rotl(v1, 13) ^ v0;
        v0 = std::rotl(v0, 32);
        v2 += v3;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = std::rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = std::rotl(v1, 17) ^ v2;
        v2 = std::rotl(v2, 32);
    };
    for (uint32_t i = 0; i <= count; ++i) {
        const uint64_t word = i < count ? words[i] : uint64_t{count} * 8 << 56;
        v3 ^= word;
        round();
        round();
        v0 ^= word;
    }
    v2 ^= 0xff;
    for (int i = 0; i < 4; ++i) round();
    return v0 ^ v1 ^ v2 ^ v3;
}

inline uint64_t siphash_128(SipKey key, uint64_t m0, uint64_t m1) noexcept {
    const uint64_t words[2] = {m0, m1};
    return siphash_words(key, words, 2);
}

}  // namespace cachee::net
