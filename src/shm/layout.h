// SPDX-License-Identifier: Apache-2.0
// The border between the planes: everything that cachee-dataplane and cachee-controlplane say to each
// other goes through the control segment laid out here. Position-independent (offsets, no pointers, no
// std types but lock-free atomics), versioned; every size and offset asserted.
//
//   ControlHeader                                   4 KiB
//   WorkerBlock[worker_count]                       each 4 KiB: status, lease, counters, two rings
//   entries and data of every ring                  at the offsets in RingHeader
//
// Who creates what: the data plane creates a fresh file at every start (and renames it into place), L1 may
// be the one of the run before (l1_id); the
// control plane attaches, and attaches anew when the file at the path is another one. A new control
// plane adds one to controlplane_epoch; each worker then empties both of its rings, forgets its lease,
// settles its parked requests, and answers with epoch_ack. Nobody touches a ring between the two.
//
// Words. Event: worker -> control plane. Command: control plane -> worker. Both are RingEntry.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "stats/counters.h"

namespace cachee::shm {

inline constexpr uint64_t kMagic = 0x31656568'63616321ULL;
inline constexpr uint32_t kLayoutVersion = 4;
inline constexpr uint32_t kWorkersMax = 64;

static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(std::atomic<uint32_t>::is_always_lock_free);

// --- ring entries -------------------------------------------------------------------------------

enum class EventKind : uint16_t {
    kFetch = 1,          // a GET missed: payload key; answer kReply to request_id, kFill if installable
    kCommand = 2,        // payload: the command as a canonical RESP array; lane says how it goes to L2
    kSessionClosed = 3,  // session_id is gone: drop its pinned connection; replies to it are discarded
    kSessionEnding = 4,  // pinned session_id sends no more: when L2 has answered everything, kCloseSession
};

enum class CommandKind : uint16_t {
    kReply = 1,         // to request_id: payload is RESP in the session's protocol
    kStream = 2,        // to session_id (pinned): raw bytes to append to its reply stream
    kFill = 3,          // payload key then value; arg0 deadline in ms (monotonic, 0: none); arg1 generation
    kInvalidate = 4,    // payload key
    kLease = 5,         // arg0: L1 may answer until this ns (monotonic, 0: not at all); arg1 generation:
                        // items of any other generation are untrusted
    kCloseSession = 6,  // session_id: flush and close
};

// How a command travels to L2, and what has to hold before its reply is released.
enum class Lane : uint8_t {
    kTracked = 1,  // on the tracking connection: fetches, and commands whose reply has the same shape
                   // in RESP2 and RESP3 and whose keys are all declared
    kPass = 2,     // on the shared connection of the session's protocol; keys declared (or none touched)
    kFenced = 3,   // as kPass, but keys unknown: the reply waits until invalidations have caught up
    kPinned = 4,   // on the session's own connection; replies come as kStream
};

enum EntryFlags : uint8_t {
    kMore = 1 << 0,     // the payload goes on in the next entry of the same request or session
    kResp3 = 1 << 1,    // the session speaks RESP3
    kOrdered = 1 << 2,  // do not coalesce with a fetch sent before this event: the session has earlier
                        // commands in flight on this key
    kWrite = 1 << 3,    // the command may write
};

// One cache line. session_id and request_id are opaque to the control plane: it only gives them back.
struct RingEntry {
    uint16_t kind = 0;
    Lane lane = Lane{};
    uint8_t flags = 0;
    uint32_t data_bytes = 0;
    uint64_t request_id = 0;
    uint64_t session_id = 0;
    uint64_t key_hash = 0;
    uint64_t data_position = 0;  // absolute; modulo the data capacity it is the offset; set by the ring
    uint64_t arg0 = 0;
    uint32_t arg1 = 0;
    uint32_t key_bytes = 0;
    uint64_t reserved = 0;
};
static_assert(sizeof(RingEntry) == 64);
static_assert(offsetof(RingEntry, request_id) == 8);
static_assert(offsetof(RingEntry, data_position) == 32);
static_assert(offsetof(RingEntry, arg0) == 40);
static_assert(offsetof(RingEntry, key_bytes) == 52);

// One direction between one worker and the control plane: SPSC. Positions only grow.
struct RingHeader {
    alignas(64) std::atomic<uint64_t> head;       // producer: entries published
    std::atomic<uint64_t> data_head;              // producer: data position after the last entry
    alignas(64) std::atomic<uint64_t> tail;       // consumer: entries consumed, their effect visible
    std::atomic<uint64_t> data_tail;              // consumer: data position it no longer needs
    alignas(64) uint64_t entries_offset;          // from the start of the segment; fixed at creation
    uint64_t data_offset;
    uint64_t data_capacity;                       // power of two
    uint32_t entry_capacity;                      // power of two
    uint32_t reserved;
};
static_assert(sizeof(RingHeader) == 192);
static_assert(offsetof(RingHeader, tail) == 64);
static_assert(offsetof(RingHeader, entries_offset) == 128);

// --- blocks -------------------------------------------------------------------------------------

struct WorkerBlock {
    alignas(64) std::atomic<uint64_t> heartbeat_ns;  // worker: now_ns of its last poll (every 1024th, or idle)
    std::atomic<uint64_t> epoch_ack;                 // worker: the controlplane_epoch it follows
    std::atomic<uint64_t> lease_until_ns;            // worker: its lease, for readers in other processes
    std::atomic<uint32_t> generation;                // worker: the generation it trusts
    uint32_t core;                                   // pinned core, or UINT32_MAX
    std::atomic<uint64_t> sessions;                  // open now (gauge)
    std::atomic<uint64_t> parked;                    // requests waiting for the control plane (gauge)
    uint64_t reserved[2];
    alignas(64) RingHeader events;                   // worker -> control plane
    RingHeader commands;                             // control plane -> worker
    alignas(64) stats::WorkerCounters counters;
    alignas(64) uint8_t padding[4096 - 64 - 2 * 192 - sizeof(stats::WorkerCounters)];
};
static_assert(sizeof(WorkerBlock) == 4096);
static_assert(offsetof(WorkerBlock, events) == 64);
static_assert(offsetof(WorkerBlock, commands) == 256);
static_assert(offsetof(WorkerBlock, counters) == 448);

enum class PlaneState : uint32_t { kAbsent = 0, kStarting = 1, kRunning = 2, kStopped = 3 };

struct ControlHeader {
    uint64_t magic;
    uint32_t layout_version;
    uint32_t worker_count;
    uint64_t segment_bytes;
    uint64_t hash_seed;            // base::hash_key's seed, the same for both planes and all readers
    std::atomic<uint64_t> l1_bytes;
    uint64_t item_bytes_max;       // key + value that L1 can take; fills above it are not sent
    uint64_t tsc_hz;               // of the cycle counters
    uint32_t standalone;           // 1: no L2 configured; the workers answer everything
    uint32_t reserved0;
    char l1_path[256];             // NUL-terminated
    char driver[32];
    char listen[64];               // "address:port" that clients connect to
    uint64_t l1_id;                // of L1's contents: the same after a restart that kept them

    alignas(64) std::atomic<uint32_t> dataplane_state;
    uint32_t dataplane_pid;
    uint64_t dataplane_started_ns;
    uint64_t dataplane_started_wall_ms;

    alignas(64) std::atomic<uint64_t> controlplane_epoch;
    std::atomic<uint32_t> controlplane_state;
    std::atomic<uint32_t> controlplane_pid;
    std::atomic<uint64_t> controlplane_heartbeat_ns;
    // Nonzero while the control plane sleeps in its event loop; a worker that publishes an event and
    // sees it writes one byte to the wake-up FIFO (shm/wake.h).
    std::atomic<uint32_t> controlplane_sleeping;
    std::atomic<uint32_t> generation;       // of L1; only ever grows while L1 lives: a data plane that
                                            // takes L1 over begins with the newest that it knows
    char l2_backend[128];                   // for the CLI: host:port, never the password

    alignas(64) stats::ControlCounters control_counters;
    alignas(64) uint8_t padding[4096 - 448 - 64 - 192 - sizeof(stats::ControlCounters)];
};
static_assert(offsetof(ControlHeader, dataplane_state) == 448);
static_assert(offsetof(ControlHeader, controlplane_epoch) == 512);
static_assert(sizeof(ControlHeader) == 4096);

}  // namespace cachee::shm
