// SPDX-License-Identifier: Apache-2.0
#include "l1/ghost.h"

#include <algorithm>
#include <bit>

namespace cachee::l1 {

Ghost::Ghost(uint64_t entries) {
    // Half as many again: the sets are not equally full.
    const uint64_t sets = entries * 3 / 2 / kWays + 1;
    set_count_ = static_cast<uint32_t>(std::min<uint64_t>(sets, UINT32_MAX));
    sets_ = std::make_unique<Set[]>(set_count_);
    step_log2_ = static_cast<uint32_t>(
        std::countr_zero(std::bit_ceil(std::max<uint64_t>(capacity() / kSteps, 1))));
}

void Ghost::insert(uint64_t hash) noexcept {
    ++inserted_;
    const uint32_t entry = (fingerprint_of(hash) << 16) | now();
    Set& set = set_of(hash);
    uint32_t* oldest = &set.entries[0];
    uint16_t oldest_age = 0;
    for (uint32_t& e : set.entries) {
        if (e == 0 || (e >> 16) == fingerprint_of(hash)) {
            e = entry;
            return;
        }
        const auto age = static_cast<uint16_t>(now() - static_cast<uint16_t>(e));
        if (age < oldest_age) continue;
        oldest_age = age;
        oldest = &e;
    }
    *oldest = entry;
}

bool Ghost::take(uint64_t hash, uint64_t age_max) noexcept {
    for (uint32_t& e : set_of(hash).entries) {
        if (e == 0 || (e >> 16) != fingerprint_of(hash)) continue;
        const auto age = static_cast<uint16_t>(now() - static_cast<uint16_t>(e));
        e = 0;
        return uint64_t{age} << step_log2_ <= age_max;
    }
    return false;
}

void Ghost::clear() noexcept {
    for (uint32_t i = 0; i < set_count_; ++i) sets_[i] = Set{};
}

}  // namespace cachee::l1
