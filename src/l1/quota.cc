// SPDX-License-Identifier: Apache-2.0
#include "l1/quota.h"

#include <algorithm>

#include "base/assert.h"

namespace cachee::l1 {

void QuotaTable::set(std::span<const Quota> quotas) {
    CACHEE_ASSERT(quotas.size() <= kQuotasMax);
    *this = QuotaTable{};
    for (const Quota& quota : quotas) {
        CACHEE_ASSERT(!quota.prefix.empty());
        CACHEE_ASSERT(quota.prefix.size() <= kQuotaPrefixBytesMax);
        Entry& entry = entries_[count_];
        std::memcpy(entry.prefix.data(), quota.prefix.data(), quota.prefix.size());
        entry.bytes = static_cast<uint32_t>(quota.prefix.size());
        entry.log = kPolicyLogsMax + count_++;
        const auto first = static_cast<uint8_t>(quota.prefix[0]);
        first_bytes_[first / 64] |= uint64_t{1} << (first % 64);
    }
    std::stable_sort(entries_.begin(), entries_.begin() + count_,
                     [](const Entry& a, const Entry& b) { return a.bytes > b.bytes; });
}

}  // namespace cachee::l1
