// SPDX-License-Identifier: Apache-2.0
// Sizes of the frame buffers of a worker, and of the memory that they take. Cold code.
#pragma once

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstdint>

#include "base/units.h"
#include "config/schema.h"

namespace cachee::dpdk {

inline constexpr unsigned kCacheMbufs = 256;  // per thread and pool
inline constexpr uint32_t kFrameOverhead =
    RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN + RTE_ETHER_CRC_LEN;
inline constexpr uint32_t kTsoBytesMax = 16 * 1024;  // larger frames gain little and cost memory
// The transmit ring and the caches can hold buffers back; a pool no larger than that could run dry
// with nothing left to send that would make the device give them up.
inline constexpr uint32_t kTsoMbufsBeyondRing = 1024;
inline constexpr uint32_t kMbufsMax = 1048576;
inline constexpr uint32_t kMbufOverheadBytes = 320;  // rte_mbuf, mempool header, alignment

inline uint32_t data_room_bytes(uint32_t mtu) {
    return RTE_PKTMBUF_HEADROOM +
           std::max<uint32_t>(mtu + kFrameOverhead, RTE_MBUF_DEFAULT_DATAROOM);
}

// Frames that end in lent bytes: as many as the transmit ring holds, and some under way to it.
inline uint32_t lent_frames(const config::Dpdk& config) {
    return config.tx_descriptors + kTsoMbufsBeyondRing;
}

// An upper bound of what EAL must have for all workers, TSO included.
inline uint64_t memory_mib_needed(const config::Dpdk& config, uint32_t worker_count) {
    const uint64_t receive =
        static_cast<uint64_t>(config.mbufs) * (data_room_bytes(config.mtu) + kMbufOverheadBytes);
    const uint64_t send = static_cast<uint64_t>(config.tx_descriptors + kTsoMbufsBeyondRing) *
                          (RTE_PKTMBUF_HEADROOM + kTsoBytesMax + kMbufOverheadBytes);
    return 32 + worker_count * ((receive + send) / base::kMiB + 8);
}

}  // namespace cachee::dpdk
