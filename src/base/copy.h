// SPDX-License-Identifier: Apache-2.0
// Copies of the sizes that keys, values and replies have: inline, in words that overlap, without
// the call and the dispatch of memcpy. Not faster for anything above 256 bytes. Any thread.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cachee::base {

namespace copy_internal {

inline void copy16(uint8_t* to, const uint8_t* from) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline void copy32(uint8_t* to, const uint8_t* from) noexcept {
#ifdef __AVX__
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
    copy16(to, from);
    copy16(to + 16, from + 16);
#endif
}

}  // namespace copy_internal

// Touches nothing outside the two ranges, which must not overlap.
[[gnu::always_inline]] inline void copy_short(void* to, const void* from, size_t size) noexcept {
    using namespace copy_internal;
    auto* const t = static_cast<uint8_t*>(to);
    const auto* const f = static_cast<const uint8_t*>(from);
    if (size - 16 <= 16) [[likely]] {
        copy16(t, f);
        copy16(t + size - 16, f + size - 16);
    } else if (size - 32 <= 32) [[likely]] {
        copy32(t, f);
        copy32(t + size - 32, f + size - 32);
    } else if (size - 64 <= 64) [[likely]] {
        copy32(t, f);
        copy32(t + 32, f + 32);
        copy32(t + size - 64, f + size - 64);
        copy32(t + size - 32, f + size - 32);
    } else if (size - 128 <= 128) {
        for (size_t at = 32; at < size; at += 32) copy32(t + at - 32, f + at - 32);
        copy32(t + size - 32, f + size - 32);
    } else {
        std::memcpy(to, from, size);
    }
}

}  // namespace cachee::base
