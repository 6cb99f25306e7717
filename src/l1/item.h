// SPDX-License-Identifier: Apache-2.0
// Reading and writing one item (layout.h draws it): the racy view that a lookup takes, and the
// owner's. Knows nothing of buckets or segments.
#pragma once

#include <smmintrin.h>

#include <cstring>
#include <string_view>

#include "base/crc32c.h"
#include "l1/layout.h"
#include "l1/racy.h"

namespace cachee::l1 {

// --- any thread: guesses until the bucket's version was found unchanged
// -----------------------------

template <typename T>
CACHEE_RACY bool ends_equal(const uint8_t* a, const uint8_t* b, size_t size) noexcept {
    return ((racy_load<T>(a) ^ racy_load<T>(b)) |
            (racy_load<T>(a + size - sizeof(T)) ^ racy_load<T>(b + size - sizeof(T)))) == 0;
}

CACHEE_RACY __m128i differ16(const uint8_t* a, const uint8_t* b) noexcept {
    return _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a)),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)));
}

// For the lengths that are rare in keys. Item bytes may change meanwhile (racy.h).
bool bytes_equal_rare(const uint8_t* a, const uint8_t* b, size_t size) noexcept;

// Equality of two ranges of `size` bytes, in few instructions for the lengths that keys have.
CACHEE_RACY bool bytes_equal(const uint8_t* a, const uint8_t* b, size_t size) noexcept {
    if (size - 16 <= 16) [[likely]] {
        const __m128i differ = _mm_or_si128(differ16(a, b), differ16(a + size - 16, b + size - 16));
        return _mm_testz_si128(differ, differ) != 0;
    }
    if (size - 8 < 8) return ends_equal<uint64_t>(a, b, size);
    return bytes_equal_rare(a, b, size);
}

CACHEE_RACY bool key_matches(const uint8_t* item, std::string_view key) noexcept {
    uint16_t stored;
    std::memcpy(&stored, item + kKeyBytesOffset, sizeof stored);
    // The length first: it bounds what the comparison may touch (kTailPadBytes).
    if (stored != key.size()) return false;
    return bytes_equal(item + kItemHeaderBytes, reinterpret_cast<const uint8_t*>(key.data()),
                       key.size());
}

// --- owner thread, or on a private copy of a whole item
// ---------------------------------------------

struct ItemHeader {
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint32_t generation;
    uint32_t crc;
    uint64_t deadline40;

    uint32_t bytes() const { return kItemHeaderBytes + key_bytes + value_bytes; }
};

inline ItemHeader read_header(const uint8_t* item) noexcept {
    const auto word = racy_load<uint64_t>(item + kDeadlineOffset);
    return {.key_bytes = racy_load<uint16_t>(item + kKeyBytesOffset),
            .value_bytes = value_bytes_of(word),
            .generation = racy_load<uint32_t>(item + kGenerationOffset),
            .crc = racy_load<uint32_t>(item + kCrcOffset),
            .deadline40 = deadline40_of(word)};
}

inline std::string_view key_of(const uint8_t* item, const ItemHeader& header) noexcept {
    return {reinterpret_cast<const char*>(item) + kItemHeaderBytes, header.key_bytes};
}

// Over everything but itself. REQUIRES: `bytes` is the item's size.
inline uint32_t crc_of(const uint8_t* item, uint32_t bytes) noexcept {
    const uint32_t crc = base::crc32c(item + kKeyBytesOffset, sizeof(uint16_t));
    return base::crc32c(item + kGenerationOffset, bytes - kGenerationOffset, crc);
}

inline void write_deadline(uint8_t* item, uint64_t deadline40, uint32_t value_bytes) noexcept {
    const uint64_t word = make_deadline_word(deadline40, value_bytes);
    std::memcpy(item + kDeadlineOffset, &word, sizeof word);
}

inline void seal_crc(uint8_t* item, uint32_t bytes) noexcept {
    const uint32_t crc = crc_of(item, bytes);
    std::memcpy(item + kCrcOffset, &crc, sizeof crc);
}

// REQUIRES: the lengths are within kKeyBytesMax and kValueBytesMax.
inline void write_item(uint8_t* item, std::string_view key, std::string_view value,
                       uint64_t deadline40, uint32_t generation) noexcept {
    const auto key_bytes = static_cast<uint16_t>(key.size());
    std::memcpy(item + kKeyBytesOffset, &key_bytes, sizeof key_bytes);
    std::memcpy(item + kGenerationOffset, &generation, sizeof generation);
    write_deadline(item, deadline40, static_cast<uint32_t>(value.size()));
    uint8_t* data = item + kItemHeaderBytes;
    if (!key.empty()) std::memcpy(data, key.data(), key.size());
    if (!value.empty()) std::memcpy(data + key.size(), value.data(), value.size());
    seal_crc(item, static_cast<uint32_t>(kItemHeaderBytes + key.size() + value.size()));
}

}  // namespace cachee::l1
