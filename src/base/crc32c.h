// SPDX-License-Identifier: Apache-2.0
// CRC32C (Castagnoli, RFC 3720 appendix B.4) with the SSE4.2 instruction: about 8 bytes a cycle.
#pragma once

#include <nmmintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cachee::base {

// Pass an earlier return value as `crc` to continue over several pieces.
inline uint32_t crc32c(const void* data, size_t size, uint32_t crc = 0) noexcept {
    const auto* p = static_cast<const unsigned char*>(data);
    uint64_t state = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        std::memcpy(&word, p, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    auto narrow = static_cast<uint32_t>(state);
    if ((size & 4) != 0) {
        uint32_t word;
        std::memcpy(&word, p, sizeof word);
        narrow = _mm_crc32_u32(narrow, word);
        p += 4;
    }
    if ((size & 2) != 0) {
        uint16_t word;
        std::memcpy(&word, p, sizeof word);
        narrow = _mm_crc32_u16(narrow, word);
        p += 2;
    }
    if ((size & 1) != 0) narrow = _mm_crc32_u8(narrow, *p);
    return ~narrow;
}

}  // namespace cachee::base
