// SPDX-License-Identifier: Apache-2.0
// The keys with a fetch or a write in flight, and whether what is fetched may still be installed.
// One record per such key and none for any other. Not the place where anything is sent.
// Control plane thread only. Rule 2 of docs/decisions/0001-one-tracked-connection.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace cachee::controlplane {

class KeyGuard {
  public:
    struct Record {
        std::string key;
        uint64_t hash = 0;
        uint32_t users = 0;    // fetches and writes in flight or waiting
        uint32_t writes = 0;   // writes of ours in flight, on any lane
        uint64_t version = 0;  // grows with everything that makes a value fetched earlier doubtful
        void* open_fetch = nullptr;  // owned by the router: the fetch that later misses may join
    };

    // What held when a value was asked for.
    struct Ticket {
        Record* record = nullptr;
        uint64_t version = 0;
        uint64_t flushes = 0;
        uint32_t writes = 0;
    };

    KeyGuard() = default;
    KeyGuard(const KeyGuard&) = delete;
    KeyGuard& operator=(const KeyGuard&) = delete;
    ~KeyGuard();

    Record* find(std::string_view key);
    // Adds a user; every acquire has its release, after which the record may be gone.
    Record* acquire(std::string_view key, uint64_t hash);
    void release(Record* record);

    void write_started(Record* record) {
        ++record->writes;
        ++record->version;
    }
    void write_finished(Record* record) {
        --record->writes;
        ++record->version;
    }
    void invalidated(std::string_view key) {
        if (Record* record = find(key)) ++record->version;
    }
    // Everything may have changed: no ticket taken before is good any more.
    void all_invalidated() { ++flushes_; }

    Ticket ticket(Record* record) const {
        return {record, record->version, flushes_, record->writes};
    }
    // True when nothing but `own_writes` writes was in flight from the ticket until now, and
    // nothing was invalidated: own_writes is 0 for a fetch, 1 for the SET that asks for itself.
    bool undisturbed(const Ticket& ticket, uint32_t own_writes) const {
        return ticket.flushes == flushes_ && ticket.version == ticket.record->version &&
               ticket.writes == own_writes && ticket.record->writes == own_writes;
    }

    // Records outlive a data plane; the hashes of the next one have another seed.
    void rehash(uint64_t seed);

    size_t size() const { return records_.size(); }

  private:
    // Keyed by views into the records, which are stable.
    std::unordered_map<std::string_view, Record*> records_;
    uint64_t flushes_ = 0;
};

}  // namespace cachee::controlplane
