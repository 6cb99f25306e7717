// SPDX-License-Identifier: Apache-2.0
// Policy: which connection is closed when a worker's buffers run short. Only one whose peer takes
// nothing (tcp_timers.cc finds those) can be chosen, so a fast reader never pays for a slow one.
// The mechanism is TcpCore::relieve_memory_cold(). No state; worker thread only.
#pragma once

#include <cstdint>

namespace cachee::net::slow_reader_policy {

struct Candidate {
    uint32_t bytes_held = 0;     // send and receive buffers
    uint32_t stalled_ticks = 0;  // since the peer last took anything
};

// What its peer's slowness has cost: memory times time. The biggest first, and of two of one size
// the one that has stood still for longer.
inline uint64_t offence(const Candidate& candidate) noexcept {
    return uint64_t{candidate.bytes_held} * candidate.stalled_ticks;
}

// A stall shorter than this may be a lost segment or a peer that was not scheduled.
inline bool may_be_closed(const Candidate& candidate, uint32_t grace_ticks) noexcept {
    return candidate.bytes_held > 0 && candidate.stalled_ticks >= grace_ticks;
}

}  // namespace cachee::net::slow_reader_policy
