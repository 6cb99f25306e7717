// SPDX-License-Identifier: Apache-2.0
// What a worker knows of one client connection. Table indexed by io::SessionIndex; owner worker
// only.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/buffer_pool.h"
#include "io/transport.h"
#include "resp/encoder.h"
#include "resp/parser.h"
#include "shm/layout.h"

namespace cachee::dataplane {

inline constexpr uint32_t kNoSlot = UINT32_MAX;

// Which connection to L2 the commands in flight of a session share; only one keeps their order.
enum class LaneGroup : uint8_t { kNone, kTracked, kPass, kRemote };

struct alignas(64) Session {
    // --- touched by every command: one cache line ---
    uint64_t keys_in_flight = 0;  // one bit per key hash; all ones: unknown keys
                                  // (docs/decisions/0001). 0 while in_flight is 0.
    Buffer input;                 // bytes not yet executed; empty: `parse` is fresh
    uint32_t in_flight =
        0;  // requests in the reply queue (waiting, or ready behind one that waits)
    uint32_t sent_in_flight = 0;    // of those, waiting for L2 or for another worker
    uint32_t queue_head = kNoSlot;  // parked requests in the order of their replies
    uint32_t queue_tail = kNoSlot;
    LaneGroup lane_group = LaneGroup::kNone;
    resp::Protocol protocol = resp::Protocol::kResp2;
    bool open = false;
    // Fast path: authenticated, not pinned, not stalled (and so without output), not closing.
    bool plain = false;
    bool authenticated = false;
    bool pinned = false;        // has an L2 connection of its own; everything is forwarded
    bool stalled = false;       // the next command cannot start yet
    bool retry_listed = false;  // stalled on a worker-wide resource: in Worker::retry_
    bool paused = false;        // transport told not to deliver
    bool eof = false;           // the peer has sent all it will
    bool stream_ended = false;  // pinned: kCloseSession has come
    bool closing = false;       // no more input is taken; closes when replies are out
    uint32_t generation = 0;    // distinguishes users of one index

    // --- cold ---
    resp::ParseState parse;
    Buffer output;      // bytes the transport had no room for
    Buffer last_words;  // pinned: an error to send behind the replies of L2
    uint64_t opened_ns = 0;
    uint64_t last_command_ns = 0;
    uint64_t client_id = 0;
    std::string name;
    std::string library_name;
    std::string library_version;

    void update_plain() noexcept { plain = authenticated && !pinned && !stalled && !closing; }
};

static_assert(sizeof(Session) % 64 == 0);

inline uint64_t key_bit(uint64_t hash) noexcept { return uint64_t{1} << (hash & 63); }

// session_id in ring entries.
inline uint64_t session_id(io::SessionIndex index, uint32_t generation) noexcept {
    return (uint64_t{generation} << 32) | index;
}

}  // namespace cachee::dataplane
