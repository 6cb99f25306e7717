// SPDX-License-Identifier: Apache-2.0
// Address resolution (RFC 826): a bounded cache of next hops. Only addresses that this host asked
// for are entered, so that a flood of announcements cannot fill it; entries that exist follow later
// announcements. It decides when to ask again and sends nothing itself. Worker thread only; sized
// at construction.
#pragma once

#include <cstdint>
#include <vector>

#include "net/bytes.h"
#include "net/frame_port.h"

namespace cachee::net {

class ArpCache {
  public:
    static constexpr uint32_t kAskAgainTicks = 250;     // about 0.26 s between requests
    static constexpr uint32_t kFreshTicks = 60 * 1000;  // about a minute, then it is asked again
    static constexpr uint32_t kAsksMax = 4;             // unanswered: a fresh entry turns unknown

    enum class Lookup : uint8_t { kKnown, kUnknown };
    struct Answer {
        Lookup lookup = Lookup::kUnknown;
        bool ask = false;  // the caller should send a request now
        MacAddress mac{};
    };

    explicit ArpCache(uint32_t entries_max) : entries_(entries_max) {}

    Answer resolve(uint32_t ip, uint32_t tick) noexcept {
        Entry* entry = find(ip);
        if (entry == nullptr) {
            entry = &oldest();
            *entry = Entry{};
            entry->ip = ip;
            entry->in_use = true;
            entry->asked_tick = tick - kAskAgainTicks;
        }
        entry->used_tick = tick;
        Answer answer;
        const bool stale = !entry->known || seq_gt(tick, entry->learned_tick + kFreshTicks);
        if (stale && seq_ge(tick, entry->asked_tick + kAskAgainTicks)) {
            answer.ask = true;
            entry->asked_tick = tick;
            if (entry->asks < 255) ++entry->asks;
            if (entry->asks > kAsksMax) entry->known = false;
        }
        if (entry->known) {
            answer.lookup = Lookup::kKnown;
            answer.mac = entry->mac;
        }
        return answer;
    }

    // From any ARP packet's sender fields; true when an entry became known or changed.
    bool learn(uint32_t ip, const MacAddress& mac, uint32_t tick) noexcept {
        Entry* entry = find(ip);
        if (entry == nullptr) return false;
        const bool changed = !entry->known || entry->mac != mac;
        entry->mac = mac;
        entry->known = true;
        entry->asks = 0;
        entry->learned_tick = tick;
        return changed;
    }

  private:
    struct Entry {
        uint32_t ip = 0;
        uint32_t used_tick = 0;
        uint32_t asked_tick = 0;
        uint32_t learned_tick = 0;
        MacAddress mac{};
        uint8_t asks = 0;
        bool in_use = false;
        bool known = false;
    };

    Entry* find(uint32_t ip) noexcept {
        for (Entry& entry : entries_) {
            if (entry.in_use && entry.ip == ip) return &entry;
        }
        return nullptr;
    }
    Entry& oldest() noexcept {
        Entry* best = &entries_[0];
        for (Entry& entry : entries_) {
            if (!entry.in_use) return entry;
            if (seq_lt(entry.used_tick, best->used_tick)) best = &entry;
        }
        return *best;
    }

    std::vector<Entry> entries_;
};

}  // namespace cachee::net
