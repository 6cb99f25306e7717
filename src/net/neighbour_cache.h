// SPDX-License-Identifier: Apache-2.0
// IPv6 next hops on the link and whether they still answer (RFC 4861, 7.2 and 7.3). As with ARP,
// only addresses that this host asked for are entered (RFC 6583: a flood of solicitations cannot
// fill the cache); an answer to a solicitation needs no entry. It decides what is to be asked and
// sends nothing itself. Worker thread only; sized at construction.
//
//   INCOMPLETE --advertisement--> REACHABLE --30 s--> STALE --used--> DELAY --5 s--> PROBE
//       |  3 questions unanswered     ^                                                |
//       v                             +------------ solicited advertisement -----------+
//     gone                                          3 questions unanswered: gone
#pragma once

#include <cstdint>
#include <vector>

#include "net/bytes.h"
#include "net/ipv6.h"

namespace cachee::net {

class NeighbourCache {
  public:
    static constexpr uint32_t kAskAgainTicks = 953;        // RETRANS_TIMER, one second
    static constexpr uint32_t kReachableTicks = 30 * 953;  // REACHABLE_TIME
    static constexpr uint32_t kDelayTicks = 5 * 953;       // DELAY_FIRST_PROBE_TIME
    static constexpr uint32_t kAsksMax = 3;                // MAX_MULTICAST_ and MAX_UNICAST_SOLICIT

    enum class State : uint8_t { kFree, kIncomplete, kReachable, kStale, kDelay, kProbe };

    struct Answer {
        bool known = false;
        bool ask = false;  // a solicitation to the solicited-node group is due
        MacAddress mac{};
    };
    // What an advertisement says (RFC 4861, 4.4).
    struct Advertisement {
        const uint8_t* mac = nullptr;  // target link-layer address; nullptr: not given
        bool solicited = false;
        bool override = false;
    };

    explicit NeighbourCache(uint32_t entries_max) : entries_(entries_max) {}

    // For a packet about to be sent there.
    Answer resolve(const Ipv6Address& ip, uint32_t tick) noexcept {
        Entry* entry = find(ip);
        if (entry == nullptr) {
            entry = victim();
            if (entry == nullptr) return {};
            leave(*entry);
            *entry = Entry{};
            entry->ip = ip;
            enter(*entry, State::kIncomplete, tick + kAskAgainTicks);
            entry->asks = 1;
            entry->used_tick = tick;
            return {.ask = true};
        }
        entry->used_tick = tick;
        if (entry->state == State::kIncomplete) return {};  // the timer asks again
        if (entry->state == State::kReachable && seq_ge(tick, entry->due_tick)) {
            entry->state = State::kStale;
        }
        if (entry->state == State::kStale) enter(*entry, State::kDelay, tick + kDelayTicks);
        return {.known = true, .mac = entry->mac};
    }

    // RFC 4861, 7.2.3: the source of a solicitation or of a router's message names its link
    // address. True when an entry became known or changed.
    bool learn_source(const Ipv6Address& ip, const uint8_t* mac, uint32_t tick) noexcept {
        Entry* const entry = find(ip);
        if (entry == nullptr) return false;
        const bool first = entry->state == State::kIncomplete;
        if (!first && std::memcmp(entry->mac.data(), mac, 6) == 0) return false;
        std::memcpy(entry->mac.data(), mac, 6);
        leave(*entry);
        enter(*entry, State::kStale, tick);
        return true;
    }

    // RFC 4861, 7.2.5. True when an entry became known or changed.
    bool learn_advertisement(const Ipv6Address& ip, const Advertisement& said,
                             uint32_t tick) noexcept {
        Entry* const entry = find(ip);
        if (entry == nullptr) return false;
        if (entry->state == State::kIncomplete) {
            if (said.mac == nullptr) return false;
            std::memcpy(entry->mac.data(), said.mac, 6);
            settle(*entry, said.solicited, tick);
            return true;
        }
        const bool other = said.mac != nullptr && std::memcmp(entry->mac.data(), said.mac, 6) != 0;
        if (other && !said.override) {
            // Somebody else claims the address: not believed, but ours is worth a question.
            if (entry->state == State::kReachable) entry->state = State::kStale;
            return false;
        }
        if (other) std::memcpy(entry->mac.data(), said.mac, 6);
        if (said.solicited || other) settle(*entry, said.solicited, tick);
        return other;
    }

    // ask(ip, mac): a solicitation is due; mac nullptr: to the group, else straight to it.
    template <typename Ask>
    void on_timer(uint32_t tick, Ask&& ask) {
        if (waiting_ == 0) return;
        for (Entry& entry : entries_) {
            if (!waits(entry.state) || !seq_ge(tick, entry.due_tick)) continue;
            if (entry.state == State::kDelay) {
                entry.state = State::kProbe;
                entry.asks = 0;
            }
            if (entry.asks >= kAsksMax) {
                leave(entry);
                entry.state = State::kFree;
                continue;
            }
            ++entry.asks;
            entry.due_tick = tick + kAskAgainTicks;
            ask(entry.ip, entry.state == State::kProbe ? entry.mac.data() : nullptr);
        }
    }

    State state_of(const Ipv6Address& ip) const noexcept {
        for (const Entry& entry : entries_) {
            if (entry.state != State::kFree && entry.ip == ip) return entry.state;
        }
        return State::kFree;
    }

  private:
    struct Entry {
        Ipv6Address ip;
        uint32_t used_tick = 0;
        uint32_t due_tick = 0;  // of the state: when it ends, or when to ask again
        MacAddress mac{};
        uint8_t asks = 0;
        State state = State::kFree;
    };

    static bool waits(State state) noexcept {
        return state == State::kIncomplete || state == State::kDelay || state == State::kProbe;
    }
    void enter(Entry& entry, State state, uint32_t due_tick) noexcept {
        if (waits(state)) ++waiting_;
        entry.state = state;
        entry.due_tick = due_tick;
        entry.asks = 0;
    }
    void leave(Entry& entry) noexcept {
        if (waits(entry.state)) --waiting_;
    }
    void settle(Entry& entry, bool solicited, uint32_t tick) noexcept {
        leave(entry);
        enter(entry, solicited ? State::kReachable : State::kStale, tick + kReachableTicks);
    }
    Entry* find(const Ipv6Address& ip) noexcept {
        for (Entry& entry : entries_) {
            if (entry.state != State::kFree && entry.ip == ip) return &entry;
        }
        return nullptr;
    }
    // A free entry, else the one that was not used for longest; unanswered questions go first.
    Entry* victim() noexcept {
        Entry* best = nullptr;
        for (Entry& entry : entries_) {
            if (entry.state == State::kFree) return &entry;
            if (best == nullptr) {
                best = &entry;
                continue;
            }
            const bool vague = entry.state == State::kIncomplete;
            const bool best_vague = best->state == State::kIncomplete;
            if (vague != best_vague ? vague : seq_lt(entry.used_tick, best->used_tick)) {
                best = &entry;
            }
        }
        return best;
    }

    std::vector<Entry> entries_;
    uint32_t waiting_ = 0;  // entries that the timer has to look at
};

}  // namespace cachee::net
