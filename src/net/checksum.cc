// SPDX-License-Identifier: Apache-2.0
// The Internet checksum over 32-bit words in two 64-bit accumulators. Data plane, any thread.
#include "net/checksum.h"

namespace cachee::net {

uint64_t checksum_add(const uint8_t* data, size_t size, uint64_t sum) noexcept {
    uint64_t other = 0;
    while (size >= 32) {
        uint64_t words[4];
        std::memcpy(words, data, sizeof words);
        sum +=
            (words[0] & 0xffffffff) + (words[0] >> 32) + (words[1] & 0xffffffff) + (words[1] >> 32);
        other +=
            (words[2] & 0xffffffff) + (words[2] >> 32) + (words[3] & 0xffffffff) + (words[3] >> 32);
        data += 32;
        size -= 32;
    }
    sum += other;
    while (size >= 4) {
        uint32_t word;
        std::memcpy(&word, data, sizeof word);
        sum += word;
        data += 4;
        size -= 4;
    }
    if (size >= 2) {
        uint16_t word;
        std::memcpy(&word, data, sizeof word);
        sum += word;
        data += 2;
        size -= 2;
    }
    if (size != 0) sum += *data;
    return sum;
}

}  // namespace cachee::net
