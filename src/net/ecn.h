// SPDX-License-Identifier: Apache-2.0
// Explicit congestion notification (RFC 3168) of one connection: what the receiver echoes, and the
// sender's one reduction per window. Packets are marked, and fields set, by tcp_output.cc. Pure
// functions over a small struct. Worker thread only.
//
//   router marks a data packet CE -> receiver sets ECE on all it sends -> sender reduces once and
//   sets CWR on the next new data -> receiver stops
#pragma once

#include <cstdint>

#include "net/bytes.h"
#include "net/headers.h"

namespace cachee::net {

// One connection's; part of Cold.
struct EcnState {
    uint32_t reduced_until = 0;  // the window that was reduced for; with `reduced`
    bool echo = false;           // the receiver's half: ECE goes out until CWR comes in
    bool reduced = false;
    bool cwr_due = false;  // the next new data says that the window was reduced
};

namespace ecn {

inline constexpr uint8_t kCapable = 2;  // ECT(0) in the IP header

// A SYN that asks for it, and the SYN and ACK that agrees (section 6.1.1).
inline bool asked(uint16_t syn_flags) noexcept {
    return (syn_flags & (kEce | kCwr)) == (kEce | kCwr);
}
inline bool agreed(uint16_t syn_ack_flags) noexcept {
    return (syn_ack_flags & (kEce | kCwr)) == kEce;
}

// Section 6.1.3. True: the segment came with a new congestion mark.
inline bool on_segment(EcnState& ecn, uint16_t flags) noexcept {
    if ((flags & kCwr) != 0) ecn.echo = false;
    const bool marked = (flags & kCe) != 0;
    if (marked) ecn.echo = true;
    return marked;
}

// An ACK with ECE, section 6.1.2. True: the window is to be reduced now.
inline bool on_echo(EcnState& ecn, uint32_t una, uint32_t nxt) noexcept {
    if (ecn.reduced && seq_lt(una, ecn.reduced_until)) return false;
    ecn.reduced = true;
    ecn.reduced_until = nxt;
    ecn.cwr_due = true;
    return true;
}

// The window was reduced for a loss: that covers marks of the same window.
inline void on_loss(EcnState& ecn, uint32_t nxt) noexcept {
    ecn.reduced = true;
    ecn.reduced_until = nxt;
    ecn.cwr_due = true;
}

}  // namespace ecn
}  // namespace cachee::net
