// SPDX-License-Identifier: Apache-2.0
// SYN cookies (RFC 4987, 3.6): the initial sequence number of a SYN and ACK says enough about the
// SYN that nothing has to be remembered until the peer answers, so that a flood of SYNs from
// addresses that never answer takes no memory.
//
//   cookie:  | parity of the period 1 | index into kMss 3 | SipHash of addresses, ISN, index 28 |
//
// The key changes every kPeriodNs; a cookie is good in its own period and the next. MSS is rounded
// down to the table. Window scale, SACK-permitted and ECN, which do not fit, go where Linux puts
// them: into the low bits of the timestamp that the SYN and ACK carries and the ACK echoes. A peer
// without timestamps gets none of them.
//
//   timestamp:  | clock 26 | ECN 1 | SACK-permitted 1 | window scale 4, 15: none |
//
// Known imperfections: the number does not grow with time as RFC 6528's does, and an ACK that
// arrives a second time within two periods opens a connection again, if the first is gone without
// TIME_WAIT. Worker thread only.
#pragma once

#include <cstdint>

#include "net/siphash.h"

namespace cachee::net {

struct SynOptions {
    uint8_t window_scale = 0xff;  // kNoWindowScale: not offered
    bool sack_permitted = false;
    bool ecn = false;  // RFC 3168: the SYN asked for it
};

class SynCookies {
  public:
    static constexpr uint64_t kPeriodNs = 64'000'000'000;
    static constexpr uint16_t kMss[8] = {64, 536, 1200, 1300, 1400, 1440, 1460, 8940};

    explicit SynCookies(SipKey master) : master_(master) {}

    // `addresses` names the connection's addresses and ports; `irs` is the SYN's sequence number.
    uint32_t make(uint64_t now_ns, uint64_t addresses, uint32_t irs, uint16_t mss) noexcept;
    // False: not one of ours, or too old.
    bool check(uint64_t now_ns, uint64_t addresses, uint32_t irs, uint32_t cookie,
               uint16_t& mss) noexcept;
    // Whether a cookie sent can still be good. Before the first and long after the last one no ACK
    // can be an answer, and none is worth a try of guessing it.
    bool outstanding(uint64_t now_ns) const noexcept {
        return sent_ && now_ns / kPeriodNs - sent_period_ <= 1;
    }

    // The timestamp to send: never later than `clock`, at most 64 ticks earlier.
    static uint32_t pack(uint32_t clock, const SynOptions& options) noexcept;
    static SynOptions unpack(uint32_t timestamp) noexcept;

  private:
    SipKey key_of(uint64_t period) noexcept;
    uint32_t value(uint64_t period, uint64_t addresses, uint32_t irs, uint32_t index) noexcept;

    const SipKey master_;
    // The keys of the latest even and odd period that were asked for.
    struct Slot {
        uint64_t period = ~uint64_t{0};
        SipKey key;
    };
    Slot slots_[2];
    uint64_t sent_period_ = 0;
    bool sent_ = false;
};

}  // namespace cachee::net
