// SPDX-License-Identifier: Apache-2.0
#include "controlplane/worker_link.h"

#include <algorithm>

namespace cachee::controlplane {

using shm::CommandKind;

namespace {

// In RingEntry::reserved of the last entry of a message in several: it is not to be rewritten
// alone.
constexpr uint64_t kContinued = 1;

bool is_partial(const shm::RingEntry& entry) {
    return (entry.flags & shm::kMore) != 0 || entry.reserved == kContinued;
}

bool is_kind(const shm::RingEntry& entry, CommandKind kind) {
    return entry.kind == static_cast<uint16_t>(kind);
}

}  // namespace

WorkerLink::WorkerLink(uint32_t index, shm::WorkerBlock* worker, uint8_t* base,
                       stats::ControlCounters* counters)
    : index_(index),
      worker_(worker),
      base_(base),
      counters_(counters),
      events_(&worker->events, base),
      commands_(&worker->commands, base) {}

void WorkerLink::resync() {
    events_.resync();
    commands_.resync();
    sent_ = commands_.published();
    last_invalidation_ = sent_;
}

uint64_t WorkerLink::send(shm::RingEntry entry, std::string_view first, std::string_view second) {
    const size_t chunk_max = commands_.payload_bytes_max();
    while (first.size() + second.size() > chunk_max) {
        shm::RingEntry part = entry;
        part.flags = static_cast<uint8_t>(part.flags | shm::kMore);
        const std::string_view head = first.substr(0, chunk_max);
        const std::string_view tail = second.substr(0, chunk_max - head.size());
        send_entry(part, head, tail);
        entry.reserved = kContinued;
        first.remove_prefix(head.size());
        second.remove_prefix(tail.size());
    }
    send_entry(entry, first, second);
    if (is_kind(entry, CommandKind::kInvalidate) || is_kind(entry, CommandKind::kLease)) {
        last_invalidation_ = sent_;
    }
    return sent_;
}

void WorkerLink::send_entry(const shm::RingEntry& entry, std::string_view first,
                            std::string_view second) {
    ++sent_;
    if (backlog_.empty() && commands_.push(entry, first, second)) return;
    if (backlog_.empty()) counters_->add(stats::ControlCounter::ring_full);
    Waiting waiting{entry, std::string(first)};
    waiting.payload.append(second);
    backlog_bytes_ += waiting.payload.size() + sizeof(Waiting);
    backlog_.push_back(std::move(waiting));
}

bool WorkerLink::pump() {
    bool moved = false;
    while (!backlog_.empty() && commands_.push(backlog_.front().entry, backlog_.front().payload)) {
        backlog_bytes_ -= backlog_.front().payload.size() + sizeof(Waiting);
        backlog_.pop_front();
        moved = true;
    }
    return moved;
}

bool WorkerLink::each_unapplied(const std::function<void(std::string_view)>& visit) const {
    const auto see = [&visit](const shm::RingEntry& entry, std::string_view payload) {
        if (!is_kind(entry, CommandKind::kFill) && !is_kind(entry, CommandKind::kInvalidate))
            return;
        // A message in several entries begins with its key, if that is one that L1 can have; what
        // is behind it is harmless as a key.
        visit(payload.substr(0, entry.key_bytes));
    };
    const uint64_t consumed = commands_.consumed();
    shm::RingConsumer unapplied(&worker_->commands, base_);
    shm::RingEntry entry;
    std::string_view payload;
    uint64_t seen = 0;
    while (unapplied.next(entry, payload)) {
        see(entry, payload);
        ++seen;
    }
    for (const Waiting& waiting : backlog_) see(waiting.entry, waiting.payload);
    return unapplied.malformed() == 0 && seen == commands_.published() - consumed;
}

void WorkerLink::drop_waiting_fills() {
    for (Waiting& waiting : backlog_) {
        if (!is_kind(waiting.entry, CommandKind::kFill) || is_partial(waiting.entry)) continue;
        const size_t before = waiting.payload.size();
        waiting.payload.resize(std::min<size_t>(before, waiting.entry.key_bytes));
        waiting.payload.shrink_to_fit();
        waiting.entry.kind = static_cast<uint16_t>(CommandKind::kInvalidate);
        backlog_bytes_ -= before - waiting.payload.size();
        counters_->add(stats::ControlCounter::fills_dropped_stale);
    }
}

size_t WorkerLink::replace_waiting_invalidations(uint32_t generation, size_t at_least) {
    drop_waiting_fills();
    const auto replaceable = [](const Waiting& waiting) {
        return is_kind(waiting.entry, CommandKind::kInvalidate) && !is_partial(waiting.entry);
    };
    const auto count =
        static_cast<size_t>(std::count_if(backlog_.begin(), backlog_.end(), replaceable));
    if (count == 0 || count < at_least) return 0;
    for (Waiting& waiting : backlog_) {
        // A lease of an older generation behind the new one would restore what is stale.
        if (!replaceable(waiting) && !is_kind(waiting.entry, CommandKind::kLease)) continue;
        backlog_bytes_ -= waiting.payload.size();
        waiting.payload = {};
        waiting.entry = {};
        waiting.entry.kind = static_cast<uint16_t>(CommandKind::kLease);
        waiting.entry.arg1 = generation;
    }
    return count;
}

}  // namespace cachee::controlplane
