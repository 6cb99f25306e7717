// SPDX-License-Identifier: Apache-2.0
// What the stack remembers of a connection, by how often it is touched: Hot (every segment, two
// cache lines), Cold (recovery, timers, close), HalfOpen (a handshake under way: no session, no
// buffers) and TimeWait (what RFC 9293 wants remembered of a connection that is over). Worker
// thread only.
//
// Ids share one space, so that one table and one timer wheel serve all three:
//   [0, sessions_max)  sessions  | then half_open_max  half-open | then time_wait_max  TIME_WAIT
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/transport.h"
#include "net/block_pool.h"
#include "net/connection_table.h"
#include "net/cubic.h"
#include "net/ecn.h"
#include "net/frame_port.h"
#include "net/rack.h"
#include "net/recovery.h"
#include "net/sack_blocks.h"
#include "net/sack_scoreboard.h"

namespace cachee::net {

enum class State : uint8_t {
    kFree,  // no session
    kSynSent,
    kSynReceived,  // simultaneous open only; a passive open is HalfOpen
    kEstablished,
    kFinWait1,
    kFinWait2,
    kClosing,
    kCloseWait,
    kLastAck,
    kDone,    // over as far as TCP goes; events are still to be delivered
    kZombie,  // kClosed was delivered; free at the next release()
};

enum Flags : uint32_t {
    kHasTimestamps = 1u << 0,
    kPaused = 1u << 1,
    kDirty = 1u << 2,      // in the FIFO of sessions that flush() visits
    kReady = 1u << 3,      // in the FIFO of sessions with undelivered events
    kOpenedDue = 1u << 4,  // events to be delivered
    kEofDue = 1u << 5,
    kWritableDue = 1u << 6,
    kClosedDue = 1u << 7,
    kWantWritable = 1u << 8,  // reserve() or append() came up short
    kStarved = 1u << 9,       // ... because the pool was empty; in that FIFO
    kReserved = 1u << 10,     // between reserve() and commit()
    kFinQueued = 1u << 11,    // FIN follows the last byte of the send queue
    kFinReceived = 1u << 12,  // rcv_nxt is past the peer's FIN
    kFinSeen = 1u << 13,      // the FIN came ahead of data; Cold::rcv_fin_seq
    kLingering = 1u << 14,    // close(kFlush) was called: nothing more is delivered
    kStored = 1u << 15,       // the receive queue is not empty
    kAckDelayed = 1u << 16,   // an ACK is owed at ack_deadline
    kRecovery = 1u << 17,     // Cold::recovery.phase is not kOpen
    kRecords = 1u << 18,      // Cold::board has what is in flight; without it that is one segment
    kPersist = 1u << 19,      // rtx_deadline is a window probe's
    kProbeDue = 1u << 20,
    kRttTiming = 1u << 21,  // the one segment in flight ends at rtt_seq and was sent once
    kMacKnown = 1u << 22,
    kFinSent = 1u << 23,     // snd_max is past our FIN
    kUnresolved = 1u << 24,  // in the FIFO of sessions that wait for a link address
    kSack = 1u << 25,        // both ends permit SACK
    kStalled = 1u << 26,     // the peer takes nothing since Cold::stall_tick
    kSuspect = 1u << 27,     // in the FIFO of sessions that stalled
    kTailProbe = 1u << 28,   // a tail loss probe is not acknowledged yet: Recovery::probe_end
    kEcn = 1u << 29,         // both ends speak ECN
    kLent = 1u << 30,        // the send queue may have lent blocks
    kIpv6 = 1u << 31,        // the addresses are in TcpCore::pairs_
};

// Layout: line 0 is what every segment in either direction needs; line 1 the rest.
struct alignas(64) Hot {
    ConnectionKey key = 0;
    MacAddress mac{};
    uint16_t mss = 536;  // payload bytes of a full segment, options taken off
    uint32_t snd_una = 0;
    uint32_t snd_nxt = 0;
    uint32_t snd_max = 0;  // highest ever sent; snd_nxt goes back to snd_una after a timeout
    uint32_t snd_wnd = 0;  // scaled
    uint32_t snd_wl1 = 0;
    uint32_t snd_wl2 = 0;
    uint32_t cwnd = 0;
    uint32_t ssthresh = 0;
    uint32_t rcv_nxt = 0;
    uint32_t rcv_edge = 0;   // right edge of the advertised window
    uint32_t rcv_read = 0;   // delivered up to here
    uint32_t rcv_acked = 0;  // acknowledged up to here
    // --- 64
    uint32_t ts_recent = 0;
    uint32_t srtt_us = 0;  // 0: no sample yet
    uint32_t rttvar_us = 0;
    uint32_t flags = 0;
    uint32_t sq_head = kNoBlock;  // holds snd_una
    uint32_t sq_tail = kNoBlock;
    uint32_t sq_next = kNoBlock;  // holds snd_nxt, at sq_next_offset
    uint32_t sq_bytes = 0;        // from snd_una to the end
    uint16_t sq_next_offset = 0;
    State state = State::kFree;
    uint8_t dup_acks = 0;
    uint8_t acks_owed = 0;  // pure ACKs to send now, one each (duplicates must not be merged)
    uint8_t snd_scale = 0;
    uint8_t rcv_scale = 0;
    uint8_t backoff = 0;
    uint32_t rtx_deadline = 0;  // ticks; 0: none
    uint32_t ack_deadline = 0;
    uint32_t armed_tick = 0;  // what the wheel holds; 0: nothing
    uint32_t heard_tick = 0;  // last segment of the peer
    uint32_t rtt_seq = 0;
    uint32_t rtt_start_us = 0;  // when it was sent
};
static_assert(sizeof(Hot) == 128);

struct alignas(64) Cold {
    uint32_t iss = 0;
    uint32_t irs = 0;
    uint32_t recover = 0;      // the recovery under way ends here; RFC 6582
    uint32_t snd_wnd_max = 0;  // largest window the peer ever offered
    uint32_t rq_head = kNoBlock;
    uint32_t rq_tail = kNoBlock;
    uint32_t rq_blocks = 0;
    uint32_t rcv_fin_seq = 0;
    uint32_t linger_deadline = 0;  // ticks; 0: none
    uint32_t challenge_tick = 0;
    uint32_t sent_tick = 0;          // last new data
    uint32_t timeout_timestamp = 0;  // our timestamp clock at the last retransmission timeout
    uint32_t stall_tick = 0;         // with kStalled: since when,
    uint32_t stall_target = 0;       // ... and the number whose ACK ends it
    uint16_t our_mss = 0;            // what we announce
    uint8_t retries = 0;             // unanswered retransmissions or probes
    uint8_t keepalives = 0;
    io::CloseReason reason = io::CloseReason::kLocal;
    // --- 64: loss and reordering only
    alignas(64) SackReport sack;
    Scoreboard board;
    Recovery recovery;
    Rack rack;
    Cubic cubic;
    EcnState ecn;
};
static_assert(offsetof(Cold, sack) == 64);

// Of a session whose segments had to shrink; see tcp_path.cc.
struct PathState {
    uint32_t raise_tick = 0;  // when full size is tried again
    uint16_t full_mss = 0;    // 0: they are full size
};

struct HalfOpen {
    ConnectionKey key = 0;
    MacAddress mac{};
    uint16_t mss = 0;
    uint32_t iss = 0;
    uint32_t irs = 0;
    uint32_t ts_recent = 0;
    uint32_t window = 0;
    uint8_t window_scale = 0;  // kNoWindowScale: not offered
    bool has_timestamps = false;
    bool sack_permitted = false;
    bool ecn = false;
    bool ipv6 = false;
    uint8_t retries = 0;
};

struct TimeWait {
    ConnectionKey key = 0;
    MacAddress mac{};
    uint32_t snd_nxt = 0;
    uint32_t rcv_nxt = 0;
    uint32_t ts_recent = 0;
    uint16_t window = 0;
    bool has_timestamps = false;
    bool ipv6 = false;
};

static_assert(sizeof(HalfOpen) <= 48);
static_assert(sizeof(TimeWait) <= 40);

// IPv6: the keyed hash of both addresses.
inline uint32_t remote_ip_of(ConnectionKey key) noexcept {
    return static_cast<uint32_t>(key >> 32);
}
inline uint16_t remote_port_of(ConnectionKey key) noexcept {
    return static_cast<uint16_t>(key >> 16);
}
inline uint16_t local_port_of(ConnectionKey key) noexcept { return static_cast<uint16_t>(key); }

}  // namespace cachee::net
