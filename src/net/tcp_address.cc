// SPDX-License-Identifier: Apache-2.0
// Which connection a segment belongs to and where a connection's segments go, for both versions of
// IP; and active opens, which begin with an address. An IPv4 connection is known by its key alone.
// An IPv6 connection has a key of the same form, with a keyed hash of both addresses in the place
// of the remote one; the addresses lie in pairs_, by id, and are compared on every hit, so that a
// collision costs a look at the next slot and nothing else. Worker thread only.
#include "net/tcp_core.h"

namespace cachee::net {

using io::SessionIndex;

uint32_t TcpCore::address_hash(const Ipv6Pair& pair) const noexcept {
    const uint64_t words[] = {pair.remote.word(0), pair.remote.word(1), pair.local.word(0),
                              pair.local.word(1)};
    return static_cast<uint32_t>(siphash_words(address_key_, words, 4));
}

void TcpCore::hash_addresses(TcpSegment& segment) const noexcept {
    segment.src_ip = address_hash(pair_of(segment));
}

uint32_t TcpCore::find_ipv6(uint64_t home, ConnectionKey key, const Ipv6Pair& pair) const noexcept {
    return table_ipv6_.find_if(home, key, [&](uint32_t id) { return pairs_[id] == pair; });
}

void TcpCore::enter_id(uint32_t id, ConnectionKey key, const Ipv6Pair* pair) noexcept {
    if (pair == nullptr) {
        table_.set(key, id);
        return;
    }
    pairs_[id] = *pair;
    table_ipv6_.add(key, id);
}

void TcpCore::forget_id(uint32_t id, ConnectionKey key, bool ipv6) noexcept {
    if (ipv6) {
        table_ipv6_.erase(key, id);
    } else {
        table_.erase(key);
    }
}

void TcpCore::address_fields(SegmentFields& fields, ConnectionKey key, const MacAddress& mac,
                             const Ipv6Pair* pair) const noexcept {
    fields.dst_mac = mac;
    fields.remote_ip = remote_ip_of(key);
    fields.remote_port = remote_port_of(key);
    fields.local_port = local_port_of(key);
    fields.ipv6 = pair;
}

bool TcpCore::resolve_peer(const Hot& hot, MacAddress& mac) noexcept {
    if ((hot.flags & kIpv6) == 0) {
        return interface_.resolve(remote_ip_of(hot.key), now_tick_, mac);
    }
    return interface_.resolve(pairs_[index_of(hot)].remote, now_tick_, mac);
}

SessionIndex TcpCore::connect(uint32_t ip, uint16_t port, uint16_t local_port) noexcept {
    return connect_to(ip, nullptr, port, local_port);
}

SessionIndex TcpCore::connect(const Ipv6Address& ip, uint16_t port, uint16_t local_port) noexcept {
    const Ipv6Address* const source = interface_.has_ipv6() ? interface_.source_for(ip) : nullptr;
    if (source == nullptr || ip.multicast() || ip.unspecified()) return kNoSession;
    const Ipv6Pair pair{ip, *source};
    return connect_to(address_hash(pair), &pair, port, local_port);
}

SessionIndex TcpCore::connect_to(uint32_t ip, const Ipv6Pair* pair, uint16_t port,
                                 uint16_t local_port) noexcept {
    auto taken = [&](ConnectionKey key) {
        const uint32_t id =
            pair == nullptr ? table_.find(key) : find_ipv6(table_ipv6_.prefetch(key), key, *pair);
        return id != ConnectionTable::kNone;
    };
    ConnectionKey key = connection_key(ip, port, local_port);
    if (local_port == 0) {
        constexpr uint32_t kFirst = 32768;
        constexpr uint32_t kCount = 65536 - kFirst;
        uint32_t tries = 0;
        do {
            if (tries++ == kCount) return kNoSession;
            local_port = static_cast<uint16_t>(kFirst + (ephemeral_next_++ % kCount));
            key = connection_key(ip, port, local_port);
        } while (taken(key));
    } else if (taken(key)) {
        return kNoSession;
    }
    const uint32_t index = free_sessions_.take();
    if (index == FreeIds::kNone) return kNoSession;
    Hot& hot = open_session(index, key, pair);
    Cold& cold = cold_[index];
    hot.state = State::kSynSent;
    cold.iss = initial_sequence(key);
    cold.recover = cold.iss;
    hot.snd_una = hot.snd_nxt = hot.snd_max = cold.iss;
    mark_dirty(hot);
    return index;
}

}  // namespace cachee::net
