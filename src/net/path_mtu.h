// SPDX-License-Identifier: Apache-2.0
// How large a packet may be on the way to a host, as far as it is known to be less than the link
// allows: a bounded cache per destination (RFC 1191, 6.2; RFC 8201, 5.2), so that the next
// connection need not find out again, and the sizes that are tried when nothing is said. Worker
// thread only; sized at construction.
#pragma once

#include <cstdint>
#include <vector>

#include "net/bytes.h"

namespace cachee::net {

inline constexpr uint32_t kIpv4PacketMin = 552;   // below it no claim is believed
inline constexpr uint32_t kIpv6PacketMin = 1280;  // every link carries it (RFC 8200, 5)

// The next smaller size that a common kind of link has (RFC 1191, 7, thinned out and with what
// tunnels leave); the least one when there is none.
inline uint32_t smaller_packet(uint32_t bytes, bool ipv6) noexcept {
    constexpr uint32_t kSizes[] = {32000, 17914, 9000, 4352, 2002, 1500, 1400, kIpv6PacketMin};
    constexpr uint32_t kIpv4Sizes[] = {1006, kIpv4PacketMin};
    for (const uint32_t size : kSizes) {
        if (size < bytes) return size;
    }
    if (ipv6) return kIpv6PacketMin;
    return bytes > kIpv4Sizes[0] ? kIpv4Sizes[0] : kIpv4Sizes[1];
}

class PathMtuCache {
  public:
    explicit PathMtuCache(uint32_t entries_max) : entries_(entries_max) {}

    struct Known {
        uint32_t bytes = 0;  // 0: nothing is known
        uint32_t until_tick = 0;
    };
    // Largest packet for this destination. `host`: its address or a hash of it.
    Known find(uint64_t host, uint32_t tick) const noexcept {
        if (used_ == 0) return {};
        for (const Entry& entry : entries_) {
            if (entry.bytes != 0 && entry.host == host && seq_lt(tick, entry.until_tick)) {
                return {entry.bytes, entry.until_tick};
            }
        }
        return {};
    }

    // Replaces what was known of it; else takes a free or outlived place, or the one that ends
    // first.
    void set(uint64_t host, uint32_t bytes, uint32_t tick, uint32_t until_tick) noexcept {
        Entry* place = nullptr;
        for (Entry& entry : entries_) {
            if (entry.bytes != 0 && entry.host == host) {
                entry = {host, bytes, until_tick};
                return;
            }
            const bool dead = entry.bytes == 0 || !seq_lt(tick, entry.until_tick);
            if (place == nullptr ||
                (dead ? place->bytes != 0
                      : place->bytes != 0 && seq_lt(entry.until_tick, place->until_tick))) {
                place = &entry;
            }
        }
        if (place == nullptr) return;
        if (place->bytes == 0) ++used_;
        *place = {host, bytes, until_tick};
    }

  private:
    struct Entry {
        uint64_t host = 0;
        uint32_t bytes = 0;  // 0: free
        uint32_t until_tick = 0;
    };
    std::vector<Entry> entries_;
    uint32_t used_ = 0;
};

}  // namespace cachee::net
