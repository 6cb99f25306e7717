// SPDX-License-Identifier: Apache-2.0
// A copy of everything the control segment says, taken at one moment, and what it means for the two
// planes. Reads shared memory only; asks neither process anything, so it works while both are busy,
// hung or dead. Not atomic across counters: each value is right, two values may be a moment apart.
// One thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shm/layout.h"
#include "shm/segment.h"
#include "stats/counters.h"

namespace cachee::cli {

// A worker writes its heartbeat on every 1024th poll or sleep, the control plane in its timer.
inline constexpr uint64_t kHeartbeatStaleNs = 2'000'000'000;

enum class Health : uint8_t {
    kAbsent,    // never started
    kStarting,  // has not reached its loop yet
    kRunning,
    kStopped,  // stopped cleanly
    kDead,     // its process is gone without a clean stop
    kStuck,    // the process exists but its heartbeat is old
};
std::string_view health_name(Health health);

struct WorkerSnapshot {
    uint64_t heartbeat_ns = 0;
    uint64_t epoch_ack = 0;
    uint64_t lease_until_ns = 0;
    uint32_t generation = 0;
    uint32_t core = UINT32_MAX;
    uint64_t sessions = 0;
    uint64_t parked = 0;
    uint64_t events_queued = 0;    // in the ring to the control plane
    uint64_t commands_queued = 0;  // in the ring from it
    uint32_t ring_entries = 0;
    std::array<uint64_t, stats::kWorkerCounterCount> counters{};

    uint64_t get(stats::Counter id) const { return counters[static_cast<size_t>(id)]; }
};

struct Snapshot {
    uint64_t taken_ns = 0;   // CLOCK_MONOTONIC
    bool is_current = true;  // the mapped file is still the one at its path

    uint64_t segment_bytes = 0;
    uint64_t l1_bytes = 0;
    uint64_t item_bytes_max = 0;
    uint64_t tsc_hz = 0;
    bool standalone = false;
    std::string l1_path;
    std::string driver;
    std::string listen;
    std::string l2_backend;

    shm::PlaneState dataplane_state = shm::PlaneState::kAbsent;
    uint32_t dataplane_pid = 0;
    bool dataplane_process_exists = false;
    uint64_t dataplane_started_ns = 0;
    uint64_t dataplane_started_wall_ms = 0;

    shm::PlaneState controlplane_state = shm::PlaneState::kAbsent;
    uint32_t controlplane_pid = 0;
    bool controlplane_process_exists = false;
    uint64_t controlplane_epoch = 0;
    uint64_t controlplane_heartbeat_ns = 0;
    bool controlplane_sleeping = false;
    uint32_t generation = 0;

    std::array<uint64_t, stats::kControlCounterCount> control{};
    std::vector<WorkerSnapshot> workers;

    uint64_t get(stats::ControlCounter id) const { return control[static_cast<size_t>(id)]; }
    // Over all workers.
    uint64_t sum(stats::Counter id) const;
    uint64_t sessions() const;
    uint64_t parked() const;
    // Of the worker that was heard least recently; 0: some worker has not polled yet.
    uint64_t oldest_heartbeat_ns() const;
    // Nanoseconds until the first worker's lease ends; negative: lapsed so long ago. REQUIRES:
    // workers.
    int64_t lease_left_ns() const;
};

Snapshot take_snapshot(const shm::Segment& segment, uint64_t now_ns);

Health dataplane_health(const Snapshot& snapshot);
// kAbsent as well for a standalone instance, which needs none.
Health controlplane_health(const Snapshot& snapshot);

// One sentence on what is wrong with the data plane and what to do; empty while it runs or starts.
std::string dataplane_fault(const Snapshot& snapshot, std::string_view instance);

}  // namespace cachee::cli
