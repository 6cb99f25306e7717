// SPDX-License-Identifier: Apache-2.0
// Copies the control segment and judges the planes; see snapshot.h.
#include "tools/cachee/snapshot.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "tools/cachee/text.h"

namespace cachee::cli {

namespace {

// Relaxed everywhere: the values are reported, nothing is decided on their order.
template <typename T>
T read(const std::atomic<T>& value) {
    return value.load(std::memory_order_relaxed);
}

// Text fields are fixed arrays written by another process: the end is found here, not trusted.
template <size_t kSize>
std::string bounded_text(const char (&field)[kSize]) {
    return std::string(field, ::strnlen(field, kSize));
}

// False for a zombie too: its parent has not asked for its exit code yet, but it runs no more.
bool process_exists(uint32_t pid) {
    // 0 and values past pid_t would address process groups.
    if (pid == 0 || pid > INT32_MAX) return false;
    if (::kill(static_cast<pid_t>(pid), 0) != 0) return errno == EPERM;
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string stat;
    std::getline(file, stat);
    // The state follows the name, which is in parentheses and may hold any character.
    const size_t name_end = stat.rfind(')');
    if (name_end == std::string::npos || name_end + 2 >= stat.size()) return true;
    return stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

uint64_t queued(const shm::RingHeader& ring) {
    const uint64_t tail = read(ring.tail);
    const uint64_t head = read(ring.head);
    return head >= tail ? std::min<uint64_t>(head - tail, ring.entry_capacity) : 0;
}

WorkerSnapshot take_worker(const shm::WorkerBlock& block) {
    WorkerSnapshot worker;
    worker.heartbeat_ns = read(block.heartbeat_ns);
    worker.epoch_ack = read(block.epoch_ack);
    worker.lease_until_ns = read(block.lease_until_ns);
    worker.generation = read(block.generation);
    worker.core = block.core;
    worker.sessions = read(block.sessions);
    worker.parked = read(block.parked);
    worker.events_queued = queued(block.events);
    worker.commands_queued = queued(block.commands);
    worker.ring_entries = block.events.entry_capacity;
    for (size_t i = 0; i < worker.counters.size(); ++i) {
        worker.counters[i] = block.counters.get(static_cast<stats::Counter>(i));
    }
    return worker;
}

bool is_stale(uint64_t heartbeat_ns, uint64_t now_ns) {
    return now_ns > heartbeat_ns && now_ns - heartbeat_ns > kHeartbeatStaleNs;
}

}  // namespace

std::string_view health_name(Health health) {
    switch (health) {
        case Health::kAbsent:
            return "absent";
        case Health::kStarting:
            return "starting";
        case Health::kRunning:
            return "running";
        case Health::kStopped:
            return "stopped";
        case Health::kDead:
            return "dead";
        case Health::kStuck:
            return "stuck";
    }
    return "unknown";
}

uint64_t Snapshot::sum(stats::Counter id) const {
    uint64_t total = 0;
    for (const WorkerSnapshot& worker : workers) total += worker.get(id);
    return total;
}

uint64_t Snapshot::sessions() const {
    uint64_t total = 0;
    for (const WorkerSnapshot& worker : workers) total += worker.sessions;
    return total;
}

uint64_t Snapshot::parked() const {
    uint64_t total = 0;
    for (const WorkerSnapshot& worker : workers) total += worker.parked;
    return total;
}

uint64_t Snapshot::oldest_heartbeat_ns() const {
    uint64_t oldest = UINT64_MAX;
    for (const WorkerSnapshot& worker : workers) oldest = std::min(oldest, worker.heartbeat_ns);
    return workers.empty() ? 0 : oldest;
}

int64_t Snapshot::lease_left_ns() const {
    CACHEE_ASSERT(!workers.empty());
    uint64_t earliest = UINT64_MAX;
    for (const WorkerSnapshot& worker : workers) {
        earliest = std::min(earliest, worker.lease_until_ns);
    }
    return static_cast<int64_t>(earliest - taken_ns);
}

Snapshot take_snapshot(const shm::Segment& segment, uint64_t now_ns) {
    const shm::ControlHeader& header = *segment.header();
    Snapshot snapshot;
    snapshot.taken_ns = now_ns;
    snapshot.is_current = segment.is_current();
    snapshot.segment_bytes = header.segment_bytes;
    snapshot.l1_bytes = header.l1_bytes;
    snapshot.item_bytes_max = header.item_bytes_max;
    snapshot.tsc_hz = header.tsc_hz;
    snapshot.standalone = header.standalone != 0;
    snapshot.l1_path = bounded_text(header.l1_path);
    snapshot.driver = bounded_text(header.driver);
    snapshot.listen = bounded_text(header.listen);
    snapshot.l2_backend = bounded_text(header.l2_backend);
    snapshot.dataplane_state = static_cast<shm::PlaneState>(read(header.dataplane_state));
    snapshot.dataplane_pid = header.dataplane_pid;
    snapshot.dataplane_process_exists = process_exists(header.dataplane_pid);
    snapshot.dataplane_started_ns = header.dataplane_started_ns;
    snapshot.dataplane_started_wall_ms = header.dataplane_started_wall_ms;
    snapshot.controlplane_state = static_cast<shm::PlaneState>(read(header.controlplane_state));
    snapshot.controlplane_pid = read(header.controlplane_pid);
    snapshot.controlplane_process_exists = process_exists(snapshot.controlplane_pid);
    snapshot.controlplane_epoch = read(header.controlplane_epoch);
    snapshot.controlplane_heartbeat_ns = read(header.controlplane_heartbeat_ns);
    snapshot.controlplane_sleeping = read(header.controlplane_sleeping) != 0;
    snapshot.generation = read(header.generation);
    for (size_t i = 0; i < snapshot.control.size(); ++i) {
        snapshot.control[i] = header.control_counters.get(static_cast<stats::ControlCounter>(i));
    }
    for (uint32_t i = 0; i < header.worker_count; ++i) {
        snapshot.workers.push_back(take_worker(*segment.worker(i)));
    }
    return snapshot;
}

Health dataplane_health(const Snapshot& snapshot) {
    switch (snapshot.dataplane_state) {
        case shm::PlaneState::kStopped:
            return Health::kStopped;
        case shm::PlaneState::kStarting:
            return snapshot.dataplane_process_exists ? Health::kStarting : Health::kDead;
        case shm::PlaneState::kRunning:
            break;
        default:
            return Health::kAbsent;
    }
    if (!snapshot.dataplane_process_exists) return Health::kDead;
    return is_stale(snapshot.oldest_heartbeat_ns(), snapshot.taken_ns) ? Health::kStuck
                                                                       : Health::kRunning;
}

Health controlplane_health(const Snapshot& snapshot) {
    switch (snapshot.controlplane_state) {
        case shm::PlaneState::kStopped:
            return Health::kStopped;
        case shm::PlaneState::kStarting:
        case shm::PlaneState::kRunning:
            break;
        default:
            return Health::kAbsent;
    }
    if (!snapshot.controlplane_process_exists) return Health::kDead;
    if (snapshot.controlplane_state == shm::PlaneState::kStarting) return Health::kStarting;
    return is_stale(snapshot.controlplane_heartbeat_ns, snapshot.taken_ns) ? Health::kStuck
                                                                           : Health::kRunning;
}

std::string dataplane_fault(const Snapshot& snapshot, std::string_view instance) {
    const std::string which = fmt::format("the data plane of instance \"{}\"", instance);
    const std::string start = "start it with: cachee-dataplane --config FILE";
    switch (dataplane_health(snapshot)) {
        case Health::kRunning:
        case Health::kStarting:
            return {};
        case Health::kAbsent:
            return fmt::format("{} never started; {}", which, start);
        case Health::kStopped:
            return fmt::format("{} was stopped; {}", which, start);
        case Health::kDead:
            return fmt::format("{} is dead: process {} is gone and left its segment behind; {}",
                               which, snapshot.dataplane_pid, start);
        case Health::kStuck:
            return fmt::format("{} does not poll: process {} exists, its last heartbeat is {} old",
                               which, snapshot.dataplane_pid,
                               human_ns(snapshot.taken_ns - snapshot.oldest_heartbeat_ns()));
    }
    return {};
}

}  // namespace cachee::cli
