// SPDX-License-Identifier: Apache-2.0
// Shares of L1 by key prefix: which log a key with a quota is written to. Each prefix has a log of
// its own, so that its use is the count of the log's segments and its own oldest items make room
// when it is used up (l1/reclaim.h). Looked at by puts only. Owner thread; immutable after start.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "l1/segments.h"

namespace cachee::l1 {

inline constexpr uint32_t kQuotaPrefixBytesMax = 64;
// Fewer would leave nothing to choose from.
inline constexpr uint32_t kQuotaSegmentsMin = 4;

struct Quota {
    std::string prefix;
    uint64_t bytes = 0;  // of one partition
};

class QuotaTable {
  public:
    static constexpr uint32_t kNoQuota = 0;  // a log of the eviction policy

    // REQUIRES: at most kQuotasMax, prefixes of 1 to kQuotaPrefixBytesMax bytes.
    void set(std::span<const Quota> quotas);

    // The log of the longest prefix that fits, or kNoQuota.
    uint32_t log_of(std::string_view key) const noexcept {
        if (count_ == 0 || key.empty()) return kNoQuota;
        const auto first = static_cast<uint8_t>(key[0]);
        if ((first_bytes_[first / 64] >> (first % 64) & 1) == 0) return kNoQuota;
        for (uint32_t i = 0; i < count_; ++i) {
            const Entry& entry = entries_[i];
            if (key.size() >= entry.bytes &&
                std::memcmp(key.data(), entry.prefix.data(), entry.bytes) == 0) {
                return entry.log;
            }
        }
        return kNoQuota;
    }

  private:
    struct Entry {
        std::array<char, kQuotaPrefixBytesMax> prefix;
        uint32_t bytes;
        uint32_t log;
    };
    std::array<Entry, kQuotasMax> entries_{};  // the longest first
    std::array<uint64_t, 4> first_bytes_{};    // a bit for each first byte of a prefix
    uint32_t count_ = 0;
};

}  // namespace cachee::l1
