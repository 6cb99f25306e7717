// SPDX-License-Identifier: Apache-2.0
// The control plane's end of one worker's two rings: events out, commands in, with a backlog for
// the time the command ring is full. Control plane thread only.
//
//   send() --> [ backlog, FIFO ] --> ring --> worker
//
// Every entry sent has a sequence number: the ring's own absolute count, also while it is in the
// backlog. So consumed() >= sequence + 1 says that the worker has applied it. An entry is never
// taken out of the backlog: a fill that is given up becomes an invalidation, an invalidation a
// lease entry.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "shm/ring.h"
#include "stats/counters.h"

namespace cachee::controlplane {

class WorkerLink {
  public:
    // `worker` and `base` outlive the link (they belong to the attachment's segment).
    WorkerLink(uint32_t index, shm::WorkerBlock* worker, uint8_t* base,
               stats::ControlCounters* counters);

    // Takes both positions from shared memory: once, when the worker has acknowledged the epoch.
    void resync();

    // --- events ---
    bool next_event(shm::RingEntry& entry, std::string_view& payload) {
        return events_.next(entry, payload);
    }
    void release_events() { events_.release(); }
    bool events_empty() const { return events_.empty(); }
    uint64_t events_malformed() const { return events_.malformed(); }

    // --- commands ---
    // Sends one message, in several entries (kMore) when it is longer than the ring takes at once.
    // Returns the sequence number that consumed() must reach for it to have been applied.
    uint64_t send(shm::RingEntry entry, std::string_view first = {}, std::string_view second = {});

    // The most that one entry takes; send() cuts what is longer into several.
    uint64_t entry_bytes_max() const { return commands_.payload_bytes_max(); }
    uint64_t consumed() const { return commands_.consumed(); }
    // Sequence of the newest entry that takes something out of L1 (invalidation, generation).
    uint64_t last_invalidation() const { return last_invalidation_; }

    // Moves backlog into the ring. True when something moved.
    bool pump();
    bool has_backlog() const { return !backlog_.empty(); }
    uint64_t backlog_bytes() const { return backlog_bytes_; }
    size_t backlog_entries() const { return backlog_.size(); }

    // Calls with the key of every fill and invalidation sent that the worker has not given back: it
    // may or may not have applied it. Changes nothing; nothing may be sent afterwards. False: the
    // ring does not hold what was sent.
    bool each_unapplied(const std::function<void(std::string_view)>& visit) const;

    // Turns the fills that wait in the backlog into invalidations of their keys.
    void drop_waiting_fills();
    // Turns the invalidations (and fills) that wait into entries that announce a new generation, if
    // there are `at_least` of them. Returns how many there were; unless that is 0 the caller bumps
    // it.
    size_t replace_waiting_invalidations(uint32_t generation, size_t at_least);

    uint32_t index() const { return index_; }
    shm::WorkerBlock* worker() const { return worker_; }

  private:
    struct Waiting {
        shm::RingEntry entry;
        std::string payload;
    };

    void send_entry(const shm::RingEntry& entry, std::string_view first, std::string_view second);

    uint32_t index_;
    shm::WorkerBlock* worker_;
    uint8_t* base_;
    stats::ControlCounters* counters_;
    shm::RingConsumer events_;
    shm::RingProducer commands_;
    std::deque<Waiting> backlog_;
    uint64_t backlog_bytes_ = 0;
    uint64_t sent_ = 0;  // entries, backlog included
    uint64_t last_invalidation_ = 0;
};

}  // namespace cachee::controlplane
