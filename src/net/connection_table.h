// SPDX-License-Identifier: Apache-2.0
// From a connection's addresses to its id: open addressing with linear probing, keyed by a secret
// seed so that a peer cannot choose addresses that collide. With IPv4 the local address is one, so
// the rest of the 4-tuple fits a 64-bit key and no other memory is touched to compare. With IPv6 a
// keyed hash of both addresses takes the place of the remote one; keys may then be equal though the
// connections are not, and find_if() and erase() with an id tell them apart. One table holds one
// kind. Worker thread only; sized at construction to twice the ids that can exist.
//
//   slot: | key: remote address 32, remote port 16, local port 16 | id 32 | unused 32 |   id kNone:
//   empty
#pragma once

#include <cstdint>
#include <vector>

#include "base/hash.h"

namespace cachee::net {

using ConnectionKey = uint64_t;

inline ConnectionKey connection_key(uint32_t remote_ip, uint16_t remote_port,
                                    uint16_t local_port) noexcept {
    return (static_cast<uint64_t>(remote_ip) << 32) | (static_cast<uint32_t>(remote_port) << 16) |
           local_port;
}

class ConnectionTable {
  public:
    static constexpr uint32_t kNone = 0xffffffff;

    ConnectionTable(uint32_t ids_max, uint64_t seed)
        : seed_(seed),
          factor_(base::hash_internal::fold(seed ^ base::hash_internal::kMulA,
                                            base::hash_internal::kMulB) |
                  1) {
        uint64_t capacity = 16;
        while (capacity < 2ULL * ids_max) capacity *= 2;
        mask_ = capacity - 1;
        slots_.resize(capacity);
    }

    uint64_t hash(ConnectionKey key) const noexcept {
        return base::hash_internal::fold(key ^ seed_, factor_);
    }
    // Fetches the first slot to look at, and returns its number for find_from().
    uint64_t prefetch(ConnectionKey key) const noexcept {
        const uint64_t home = hash(key) & mask_;
        __builtin_prefetch(&slots_[home]);
        return home;
    }

    // kNone when there is no such connection.
    uint32_t find(ConnectionKey key) const noexcept { return find_from(hash(key) & mask_, key); }
    uint32_t find_from(uint64_t home, ConnectionKey key) const noexcept {
        for (uint64_t i = home;; i = (i + 1) & mask_) {
            if (slots_[i].id == kNone) return kNone;
            if (slots_[i].key == key) return slots_[i].id;
        }
    }

    // The first connection with this key for which same(id) holds.
    template <typename Same>
    uint32_t find_if(uint64_t home, ConnectionKey key, Same&& same) const noexcept {
        for (uint64_t i = home;; i = (i + 1) & mask_) {
            if (slots_[i].id == kNone) return kNone;
            if (slots_[i].key == key && same(slots_[i].id)) return slots_[i].id;
        }
    }

    // Inserts, or replaces the id of a key that is there. REQUIRES: below ids_max entries.
    void set(ConnectionKey key, uint32_t id) noexcept {
        uint64_t i = hash(key) & mask_;
        while (slots_[i].id != kNone && slots_[i].key != key) i = (i + 1) & mask_;
        if (slots_[i].id == kNone) ++size_;
        slots_[i] = {key, id, 0};
    }

    // Inserts, whether or not the key is there. REQUIRES: below ids_max entries.
    void add(ConnectionKey key, uint32_t id) noexcept {
        uint64_t i = hash(key) & mask_;
        while (slots_[i].id != kNone) i = (i + 1) & mask_;
        ++size_;
        slots_[i] = {key, id, 0};
    }

    // A key that is not there is ignored.
    void erase(ConnectionKey key) noexcept {
        erase_if(key, [](uint32_t) { return true; });
    }
    void erase(ConnectionKey key, uint32_t id) noexcept {
        erase_if(key, [id](uint32_t other) { return other == id; });
    }

    uint32_t size() const noexcept { return size_; }

  private:
    // Closes the gap behind it, so that no tombstones pile up.
    template <typename Wanted>
    void erase_if(ConnectionKey key, Wanted&& wanted) noexcept {
        uint64_t i = hash(key) & mask_;
        while (slots_[i].id == kNone || slots_[i].key != key || !wanted(slots_[i].id)) {
            if (slots_[i].id == kNone) return;
            i = (i + 1) & mask_;
        }
        --size_;
        for (uint64_t j = (i + 1) & mask_; slots_[j].id != kNone; j = (j + 1) & mask_) {
            const uint64_t home = hash(slots_[j].key) & mask_;
            if (((j - home) & mask_) >= ((j - i) & mask_)) {
                slots_[i] = slots_[j];
                i = j;
            }
        }
        slots_[i].id = kNone;
    }

    struct Slot {
        ConnectionKey key = 0;
        uint32_t id = kNone;
        uint32_t unused = 0;
    };
    static_assert(sizeof(Slot) == 16);

    std::vector<Slot> slots_;
    uint64_t mask_ = 0;
    uint64_t seed_;
    uint64_t factor_;  // as secret as the seed
    uint32_t size_ = 0;
};

}  // namespace cachee::net
