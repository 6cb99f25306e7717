// SPDX-License-Identifier: Apache-2.0
// SYN cookies; see syn_cookies.h. Worker thread only.
#include "net/syn_cookies.h"

#include <algorithm>
#include <iterator>

#include "net/bytes.h"
#include "net/headers.h"

namespace cachee::net {

namespace {

constexpr uint32_t kMacMask = (1u << 28) - 1;
constexpr uint32_t kOptionBits = 6;
constexpr uint32_t kOptionMask = (1u << kOptionBits) - 1;
constexpr uint32_t kScaleMask = 0x0f;
constexpr uint32_t kNoScale = 15;
constexpr uint32_t kSack = 0x10;
constexpr uint32_t kEcn = 0x20;

uint32_t index_of(uint16_t mss) noexcept {
    uint32_t index = static_cast<uint32_t>(std::size(SynCookies::kMss)) - 1;
    while (index > 0 && SynCookies::kMss[index] > mss) --index;
    return index;
}

}  // namespace

SipKey SynCookies::key_of(uint64_t period) noexcept {
    Slot& slot = slots_[period & 1];
    if (slot.period != period) {
        slot.period = period;
        slot.key = {siphash_128(master_, period, 1), siphash_128(master_, period, 2)};
    }
    return slot.key;
}

uint32_t SynCookies::value(uint64_t period, uint64_t addresses, uint32_t irs,
                           uint32_t index) noexcept {
    const uint64_t mac =
        siphash_128(key_of(period), addresses, static_cast<uint64_t>(irs) << 32 | index);
    return static_cast<uint32_t>(period & 1) << 31 | index << 28 |
           (static_cast<uint32_t>(mac) & kMacMask);
}

uint32_t SynCookies::make(uint64_t now_ns, uint64_t addresses, uint32_t irs,
                          uint16_t mss) noexcept {
    const uint64_t period = now_ns / kPeriodNs;
    sent_ = true;
    sent_period_ = period;
    return value(period, addresses, irs, index_of(mss));
}

bool SynCookies::check(uint64_t now_ns, uint64_t addresses, uint32_t irs, uint32_t cookie,
                       uint16_t& mss) noexcept {
    uint64_t period = now_ns / kPeriodNs;
    if ((period & 1) != cookie >> 31) {
        if (period == 0) return false;
        --period;
    }
    const uint32_t index = cookie >> 28 & 7;
    if (value(period, addresses, irs, index) != cookie) return false;
    mss = kMss[index];
    return true;
}

uint32_t SynCookies::pack(uint32_t clock, const SynOptions& options) noexcept {
    const uint32_t scale =
        options.window_scale == kNoWindowScale ? kNoScale : options.window_scale & kScaleMask;
    const uint32_t bits = scale | (options.sack_permitted ? kSack : 0) | (options.ecn ? kEcn : 0);
    const uint32_t timestamp = (clock & ~kOptionMask) | bits;
    return seq_gt(timestamp, clock) ? timestamp - (1u << kOptionBits) : timestamp;
}

SynOptions SynCookies::unpack(uint32_t timestamp) noexcept {
    SynOptions options;
    const uint32_t scale = timestamp & kScaleMask;
    if (scale != kNoScale) options.window_scale = static_cast<uint8_t>(scale);
    options.sack_permitted = (timestamp & kSack) != 0;
    options.ecn = (timestamp & kEcn) != 0;
    return options;
}

}  // namespace cachee::net
