// SPDX-License-Identifier: Apache-2.0
// Loads and stores of network byte order at any alignment, and comparisons of 32-bit sequence
// numbers. Data plane, any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace cachee::net {

static_assert(std::endian::native == std::endian::little, "written for little-endian hosts");

// In the host's order, at any alignment.
template <typename Word>
inline Word load_word(const uint8_t* p) noexcept {
    Word value;
    std::memcpy(&value, p, sizeof value);
    return value;
}
template <typename Word>
inline void store_word(uint8_t* p, Word value) noexcept {
    std::memcpy(p, &value, sizeof value);
}

inline uint16_t load_be16(const uint8_t* p) noexcept {
    uint16_t value;
    std::memcpy(&value, p, sizeof value);
    return __builtin_bswap16(value);
}

inline uint32_t load_be32(const uint8_t* p) noexcept {
    uint32_t value;
    std::memcpy(&value, p, sizeof value);
    return __builtin_bswap32(value);
}

inline void store_be16(uint8_t* p, uint16_t value) noexcept {
    value = __builtin_bswap16(value);
    std::memcpy(p, &value, sizeof value);
}

inline void store_be32(uint8_t* p, uint32_t value) noexcept {
    value = __builtin_bswap32(value);
    std::memcpy(p, &value, sizeof value);
}

// Modulo-2^32 order (RFC 9293, 3.4); also used for ticks of the timer wheel.
inline bool seq_lt(uint32_t a, uint32_t b) noexcept { return static_cast<int32_t>(a - b) < 0; }
inline bool seq_le(uint32_t a, uint32_t b) noexcept { return static_cast<int32_t>(a - b) <= 0; }
inline bool seq_gt(uint32_t a, uint32_t b) noexcept { return static_cast<int32_t>(a - b) > 0; }
inline bool seq_ge(uint32_t a, uint32_t b) noexcept { return static_cast<int32_t>(a - b) >= 0; }
inline uint32_t seq_min(uint32_t a, uint32_t b) noexcept { return seq_lt(a, b) ? a : b; }
inline uint32_t seq_max(uint32_t a, uint32_t b) noexcept { return seq_lt(a, b) ? b : a; }

}  // namespace cachee::net
