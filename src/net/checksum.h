// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071). Sums are kept in the host's byte order, which the
// one's-complement sum permits: what finish() returns is stored with memcpy, not byte-swapped. Data
// plane, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cachee::net {

// A partial sum; add pieces of even length in any order, and at most one odd piece, last.
uint64_t checksum_add(const uint8_t* data, size_t size, uint64_t sum) noexcept;

inline uint16_t checksum_fold_word(uint32_t word) noexcept {
    // The high half takes the low one in, with its carry.
    const uint32_t turned = word << 16 | word >> 16;
    return static_cast<uint16_t>((word + turned) >> 16);
}

inline uint16_t checksum_fold(uint64_t sum) noexcept {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    return checksum_fold_word(static_cast<uint32_t>(sum));
}

inline uint16_t checksum_finish(uint64_t sum) noexcept {
    return static_cast<uint16_t>(~checksum_fold(sum));
}

inline void checksum_store(uint8_t* field, uint16_t value) noexcept {
    std::memcpy(field, &value, sizeof value);
}

// Addresses are in host order; payload_size is the TCP length (header and payload).
inline uint64_t pseudo_header_sum(uint32_t src_ip, uint32_t dst_ip, uint8_t protocol,
                                  uint32_t payload_size) noexcept {
    return static_cast<uint64_t>(__builtin_bswap32(src_ip)) + __builtin_bswap32(dst_ip) +
           __builtin_bswap16(protocol) + __builtin_bswap32(payload_size);
}

}  // namespace cachee::net
