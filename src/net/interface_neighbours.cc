// SPDX-License-Identifier: Apache-2.0
// ICMPv6 of an Interface (RFC 4443): echo, neighbour discovery (RFC 4861), duplicate address
// detection (RFC 4862, optimistic after RFC 4429: an address is used while it is being tested),
// routers, and reports of the groups that were joined (RFC 3810), without which a switch that
// listens to them would keep solicitations away. Redirects are not followed, and addresses are
// configured, never made up from advertised prefixes. Worker thread only.
#include <algorithm>
#include <cstring>

#include "net/bytes.h"
#include "net/checksum.h"
#include "net/interface.h"

namespace cachee::net {

using stats::Counter;

namespace {

constexpr uint8_t kUnreachable = 1;
constexpr uint8_t kPacketTooBig = 2;
constexpr uint8_t kTimeExceeded = 3;
constexpr uint8_t kParameterProblem = 4;
constexpr uint8_t kEchoRequest = 128;
constexpr uint8_t kEchoReply = 129;
constexpr uint8_t kListenerQuery = 130;
constexpr uint8_t kRouterSolicitation = 133;
constexpr uint8_t kRouterAdvertisement = 134;
constexpr uint8_t kNeighbourSolicitation = 135;
constexpr uint8_t kNeighbourAdvertisement = 136;
constexpr uint8_t kListenerReport = 143;

constexpr uint8_t kSourceLinkAddress = 1;  // options
constexpr uint8_t kTargetLinkAddress = 2;
constexpr uint8_t kNonce = 14;

constexpr uint8_t kDiscoveryHops = 255;  // a router would have taken one: the sender is on the link
constexpr uint32_t kSolicitationBytes = 24;
constexpr uint32_t kLinkOptionBytes = 8;
constexpr uint32_t kRouterAdvertisementBytes = 16;
constexpr uint32_t kRouterSolicitationsMax = 3;  // RFC 4861, 10
constexpr uint32_t kRouterSolicitationTicks = 4 * 953;
constexpr uint32_t kDuplicateTestTicks = 953;  // RetransTimer, one probe
constexpr uint32_t kTicksPerSecond = 954;

constexpr Ipv6Address kAllListeners = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16}};

// RFC 4861, 4.6: every option has a length; the link address in one of `kind`, or nullptr.
// False: malformed.
bool find_link_option(const uint8_t* p, uint32_t bytes, uint8_t kind,
                      const uint8_t*& link) noexcept {
    link = nullptr;
    while (bytes >= 2) {
        const uint32_t length = p[1] * 8u;
        if (length == 0 || length > bytes) return false;
        const bool fits = length == kLinkOptionBytes && (kind == kNonce || (p[2] & 1) == 0);
        if (p[0] == kind && fits) link = p + 2;
        p += length;
        bytes -= length;
    }
    return bytes == 0;
}

}  // namespace

// --- sending

uint8_t* Interface::start_icmpv6(TxFrame& frame, const MacAddress& dst_mac, const Ipv6Address& src,
                                 const Ipv6Address& dst, uint32_t bytes, uint8_t hops) noexcept {
    write_ethernet(frame.data, dst_mac, kEtherTypeIpv6);
    uint8_t* const ip = frame.data + kEthernetBytes;
    write_ipv6(ip, src, dst, 0, kProtocolIcmpv6, bytes);
    ip[7] = hops;
    return ip + kIpv6Bytes;
}

void Interface::finish_icmpv6(TxFrame& frame, uint8_t* icmp, uint32_t bytes) noexcept {
    const uint8_t* const ip = frame.data + kEthernetBytes;
    store_be16(icmp + 2, 0);
    const uint64_t pseudo = ipv6_pseudo_sum(ip + 8, kProtocolIcmpv6, bytes);
    checksum_store(icmp + 2, checksum_finish(checksum_add(icmp, bytes, pseudo)));
    stage(frame, static_cast<uint32_t>(icmp - frame.data) + bytes);
}

TxFrame* Interface::control_frame() noexcept {
    TxFrame* const frame = tx_frame();
    if (frame == nullptr) count(Counter::drop_no_buffer);
    return frame;
}

// `mac` nullptr: to the group of all who could have the address. `src` unspecified: a test for
// duplicates, with a nonce instead of our link address, by which one that comes back is known for
// our own (RFC 7527).
void Interface::send_solicitation(const Ipv6Address& target, const uint8_t* mac,
                                  const Ipv6Address& src) noexcept {
    TxFrame* const frame = control_frame();
    if (frame == nullptr) return;
    const Ipv6Address dst = mac == nullptr ? solicited_node_of(target) : target;
    MacAddress dst_mac = multicast_mac_of(dst);
    if (mac != nullptr) std::memcpy(dst_mac.data(), mac, 6);
    const uint32_t bytes = kSolicitationBytes + kLinkOptionBytes;
    uint8_t* const icmp = start_icmpv6(*frame, dst_mac, src, dst, bytes, kDiscoveryHops);
    store_be32(icmp, uint32_t{kNeighbourSolicitation} << 24);
    store_be32(icmp + 4, 0);
    target.store(icmp + 8);
    icmp[24] = src.unspecified() ? kNonce : kSourceLinkAddress;
    icmp[25] = 1;
    std::memcpy(icmp + 26, src.unspecified() ? nonce() : info_.mac.data(), 6);
    finish_icmpv6(*frame, icmp, bytes);
}

// `to` unspecified: to everyone on the link, unsolicited.
void Interface::send_advertisement(const LocalAddress& local, const Ipv6Address& to,
                                   const uint8_t* mac) noexcept {
    TxFrame* const frame = control_frame();
    if (frame == nullptr) return;
    const bool solicited = !to.unspecified();
    const Ipv6Address& dst = solicited ? to : kAllNodes;
    MacAddress dst_mac = multicast_mac_of(kAllNodes);
    if (solicited) std::memcpy(dst_mac.data(), mac, 6);
    constexpr uint32_t kBytes = kSolicitationBytes + kLinkOptionBytes;
    uint8_t* const icmp = start_icmpv6(*frame, dst_mac, local.address, dst, kBytes, kDiscoveryHops);
    store_be32(icmp, uint32_t{kNeighbourAdvertisement} << 24);
    // RFC 4429, 3.3: what is still being tested must not override what others have cached.
    const uint32_t override = testing_addresses_ ? 0 : 1u << 29;
    store_be32(icmp + 4, (solicited ? 1u << 30 : 0) | override);
    local.address.store(icmp + 8);
    icmp[24] = kTargetLinkAddress;
    icmp[25] = 1;
    std::memcpy(icmp + 26, info_.mac.data(), 6);
    finish_icmpv6(*frame, icmp, kBytes);
}

void Interface::send_router_solicitation() noexcept {
    TxFrame* const frame = control_frame();
    if (frame == nullptr) return;
    constexpr uint32_t kBytes = 8 + kLinkOptionBytes;
    uint8_t* const icmp = start_icmpv6(*frame, multicast_mac_of(kAllRouters), local_[0].address,
                                       kAllRouters, kBytes, kDiscoveryHops);
    store_be32(icmp, uint32_t{kRouterSolicitation} << 24);
    store_be32(icmp + 4, 0);
    icmp[8] = kSourceLinkAddress;
    icmp[9] = 1;
    std::memcpy(icmp + 10, info_.mac.data(), 6);
    finish_icmpv6(*frame, icmp, kBytes);
}

// RFC 3810, 5.2: one record per solicited-node group, behind a router alert.
void Interface::send_listener_report(bool change) noexcept {
    TxFrame* const frame = control_frame();
    if (frame == nullptr) return;
    constexpr uint32_t kAlertBytes = 8;
    constexpr uint32_t kRecordBytes = 20;
    const uint32_t bytes = 8 + local_count_ * kRecordBytes;
    // RFC 3590: from nowhere as long as, or because, there is no link-local address.
    const Ipv6Address src = local_[0].duplicate ? Ipv6Address{} : local_[0].address;
    uint8_t* const alert =
        start_icmpv6(*frame, multicast_mac_of(kAllListeners), src, kAllListeners, bytes, 1);
    uint8_t* const ip = frame->data + kEthernetBytes;
    store_be16(ip + 4, static_cast<uint16_t>(kAlertBytes + bytes));
    ip[6] = 0;  // hop-by-hop options
    constexpr uint8_t kAlert[kAlertBytes] = {kProtocolIcmpv6, 0, 5, 2, 0, 0, 1, 0};
    std::memcpy(alert, kAlert, kAlertBytes);
    uint8_t* const icmp = alert + kAlertBytes;
    store_be32(icmp, uint32_t{kListenerReport} << 24);
    store_be32(icmp + 4, local_count_);
    for (uint32_t i = 0; i < local_count_; ++i) {
        uint8_t* const record = icmp + 8 + i * kRecordBytes;
        // "Change to" or "is": excluding nobody.
        store_be32(record, (change ? 4u : 2u) << 24);
        local_[i].group.store(record + 4);
    }
    finish_icmpv6(*frame, icmp, bytes);
}

// --- receiving

void Interface::handle_icmpv6(const RxFrame& frame, const Ipv6Packet& packet,
                              uint32_t tick) noexcept {
    const uint8_t* const icmp = packet.payload;
    const uint32_t bytes = packet.payload_bytes;
    if (bytes < 8) {
        count(Counter::drop_malformed);
        return;
    }
    const uint64_t pseudo = ipv6_pseudo_sum(packet.header + 8, kProtocolIcmpv6, bytes);
    if (checksum_fold(checksum_add(icmp, bytes, pseudo)) != 0xffff) {
        count(Counter::drop_checksum);
        return;
    }
    switch (icmp[0]) {
        case kUnreachable:
        case kPacketTooBig:
        case kTimeExceeded:
        case kParameterProblem:
            take_icmpv6_error(packet);
            return;
        case kEchoRequest:
            answer_echo_ipv6(frame, packet, tick);
            return;
        case kNeighbourSolicitation:
        case kNeighbourAdvertisement:
        case kRouterAdvertisement:
            count(Counter::nd_in);
            if (packet.hop_limit != kDiscoveryHops || icmp[1] != 0 ||
                !take_discovery(frame, packet, tick)) {
                count(Counter::drop_nd_refused);
            }
            return;
        case kListenerQuery:
            if (packet.hop_limit == 1 && packet.src().link_local() && control_limit_.allow(tick)) {
                send_listener_report(false);
            } else {
                count(Counter::drop_nd_refused);
            }
            return;
        default:
            count(Counter::drop_not_for_us);  // redirects among them
    }
}

void Interface::take_icmpv6_error(const Ipv6Packet& packet) noexcept {
    constexpr uint8_t kPortUnreachable = 4;
    constexpr uint8_t kUnknownNextHeader = 1;
    const uint8_t* const icmp = packet.payload;
    IcmpError error;
    if (icmp[0] == kPacketTooBig) {
        error.kind = IcmpError::Kind::kTooBig;
        error.mtu = load_be32(icmp + 4);
    } else if ((icmp[0] == kUnreachable && icmp[1] == kPortUnreachable) ||
               (icmp[0] == kParameterProblem && icmp[1] == kUnknownNextHeader)) {
        error.kind = IcmpError::Kind::kHard;
    }
    take_icmp_error(icmp, packet.payload_bytes, true, error);
}

// RFC 4443, 2.4: about a packet to us from one host, never about an error (REQUIRES: it is none),
// as much of it as fits the least MTU, and not too often. `word` follows the checksum.
void Interface::send_icmpv6_error(const RxFrame& frame, const uint8_t* packet, uint8_t type,
                                  uint8_t code, uint32_t word, uint32_t tick) noexcept {
    const Ipv6Address src = Ipv6Address::load(packet + 8);
    const Ipv6Address dst = Ipv6Address::load(packet + 24);
    const Ipv6Address* const from = dst.multicast() ? source_for(src) : &dst;
    if (src.unspecified() || from == nullptr) return;
    if (!reply_limit_.allow(tick)) {
        count(Counter::drop_rate_limited);
        return;
    }
    TxFrame* const reply = control_frame();
    if (reply == nullptr) return;
    constexpr uint32_t kQuotedMax = kIpv6MtuMin - kIpv6Bytes - kIcmpBytes;
    const uint32_t quoted = std::min(kQuotedMax, kIpv6Bytes + load_be16(packet + 4));
    MacAddress peer;
    std::memcpy(peer.data(), frame.data + 6, 6);
    uint8_t* const icmp = start_icmpv6(*reply, peer, *from, src, kIcmpBytes + quoted, 64);
    store_be32(icmp, uint32_t{type} << 24 | uint32_t{code} << 16);
    store_be32(icmp + 4, word);
    std::memcpy(icmp + kIcmpBytes, packet, quoted);
    finish_icmpv6(*reply, icmp, kIcmpBytes + quoted);
    count(Counter::icmp_errors_out);
}

void Interface::answer_echo_ipv6(const RxFrame& frame, const Ipv6Packet& packet,
                                 uint32_t tick) noexcept {
    const Ipv6Address src = packet.src();
    const Ipv6Address dst = packet.dst();
    const Ipv6Address* const from = dst.multicast() ? source_for(src) : &dst;
    if (src.unspecified() || from == nullptr ||
        kIpv6Bytes + packet.payload_bytes > port_.info().mtu) {
        count(Counter::drop_not_for_us);
        return;
    }
    if (!reply_limit_.allow(tick)) {
        count(Counter::drop_rate_limited);
        return;
    }
    TxFrame* const reply = control_frame();
    if (reply == nullptr) return;
    MacAddress peer;
    std::memcpy(peer.data(), frame.data + 6, 6);
    uint8_t* const icmp = start_icmpv6(*reply, peer, *from, src, packet.payload_bytes, 64);
    std::memcpy(icmp, packet.payload, packet.payload_bytes);
    icmp[0] = kEchoReply;
    icmp[1] = 0;
    finish_icmpv6(*reply, icmp, packet.payload_bytes);
    count(Counter::icmp_echo);
}

// False: refused by the checks of RFC 4861, 6.1.2, 7.1.1 and 7.1.2.
bool Interface::take_discovery(const RxFrame& frame, const Ipv6Packet& packet,
                               uint32_t tick) noexcept {
    const uint8_t* const icmp = packet.payload;
    const uint32_t bytes = packet.payload_bytes;
    const bool router = icmp[0] == kRouterAdvertisement;
    const uint32_t fixed = router ? kRouterAdvertisementBytes : kSolicitationBytes;
    if (bytes < fixed) return false;
    const uint8_t* link = nullptr;
    const bool target_link = icmp[0] == kNeighbourAdvertisement;
    if (!find_link_option(icmp + fixed, bytes - fixed,
                          target_link ? kTargetLinkAddress : kSourceLinkAddress, link)) {
        return false;
    }
    if (router) return take_router_advertisement(packet, link, tick);
    if (Ipv6Address::load(icmp + 8).multicast()) return false;
    return target_link ? take_advertisement(packet, link, tick)
                       : take_solicitation(frame, packet, link, tick);
}

bool Interface::take_solicitation(const RxFrame& frame, const Ipv6Packet& packet,
                                  const uint8_t* link, uint32_t tick) noexcept {
    const Ipv6Address src = packet.src();
    const Ipv6Address target = Ipv6Address::load(packet.payload + 8);
    LocalAddress* const local = find_local(target);
    if (src.unspecified()) {
        const bool to_group = packet.dst() == solicited_node_of(target);
        if (!to_group || link != nullptr) return false;
        const uint8_t* echoed = nullptr;
        find_link_option(packet.payload + kSolicitationBytes,
                         packet.payload_bytes - kSolicitationBytes, kNonce, echoed);
        if (echoed != nullptr && std::memcmp(echoed, nonce(), 6) == 0) return true;
        if (local == nullptr) return true;
        if (testing_addresses_) {
            // Somebody tests the same address at the same time: neither may have it.
            give_up_address(*local);
        } else {
            answer_solicitation(*local, Ipv6Address{}, nullptr, tick);
        }
        return true;
    }
    if (link != nullptr && neighbours_.learn_source(src, link, tick)) ++resolutions_;
    if (local == nullptr) return true;
    answer_solicitation(*local, src, link != nullptr ? link : frame.data + 6, tick);
    return true;
}

void Interface::answer_solicitation(const LocalAddress& local, const Ipv6Address& to,
                                    const uint8_t* mac, uint32_t tick) noexcept {
    if (control_limit_.allow(tick)) {
        send_advertisement(local, to, mac);
    } else {
        count(Counter::drop_rate_limited);
    }
}

bool Interface::take_advertisement(const Ipv6Packet& packet, const uint8_t* link,
                                   uint32_t tick) noexcept {
    const uint32_t flags = load_be32(packet.payload + 4);
    const bool solicited = (flags & 1u << 30) != 0;
    if (solicited && packet.dst().multicast()) return false;
    const Ipv6Address target = Ipv6Address::load(packet.payload + 8);
    if (LocalAddress* const local = find_local(target); local != nullptr) {
        // During the test: somebody has it. Later: a conflict that RFC 4862 leaves to the operator.
        if (testing_addresses_) {
            give_up_address(*local);
        } else {
            count(Counter::nd_conflicts);
        }
        return true;
    }
    const NeighbourCache::Advertisement said{link, solicited, (flags & 1u << 29) != 0};
    if (neighbours_.learn_advertisement(target, said, tick)) ++resolutions_;
    return true;
}

bool Interface::take_router_advertisement(const Ipv6Packet& packet, const uint8_t* link,
                                          uint32_t tick) noexcept {
    const Ipv6Address src = packet.src();
    if (!src.link_local()) return false;
    if (link != nullptr && neighbours_.learn_source(src, link, tick)) ++resolutions_;
    if (!options_.ipv6.accept_router_advertisements) return true;
    router_solicitations_ = kRouterSolicitationsMax;  // somebody has answered
    const uint32_t lifetime_s = load_be16(packet.payload + 6);
    Router* place = nullptr;
    for (Router& router : routers_) {
        const bool dead = !router_alive(router, tick);
        if (!dead && router.address == src) {
            place = &router;
            break;
        }
        if (dead && place == nullptr) place = &router;
    }
    if (place == nullptr) return true;  // as many as there is room for; the others are ignored
    if (lifetime_s == 0) {
        if (place->address == src) *place = Router{};
        return true;
    }
    place->address = src;
    place->until_tick = tick + lifetime_s * kTicksPerSecond;
    return true;
}

bool Interface::router_alive(const Router& router, uint32_t tick) const noexcept {
    return !router.address.unspecified() && seq_lt(tick, router.until_tick);
}

// --- addresses and next hops

// The others stay in use, even when it is the link-local one that is lost: both ends of a tap
// device have one hardware address between them, and so one link-local address (RFC 4862, 5.4.5
// would have all of IPv6 stopped).
void Interface::give_up_address(LocalAddress& local) noexcept {
    local.duplicate = true;
    count(Counter::nd_duplicates);
}

bool Interface::next_hop(const Ipv6Address& ip, uint32_t tick, Ipv6Address& hop) const noexcept {
    hop = ip;
    if (ip.link_local()) return true;
    for (uint32_t i = 1; i < local_count_; ++i) {
        if (ip.within(local_[i].address, local_[i].prefix_bits)) return true;
    }
    hop = options_.ipv6.gateway;
    if (!hop.unspecified()) return true;
    for (const Router& router : routers_) {
        if (!router_alive(router, tick)) continue;
        hop = router.address;
        return true;
    }
    return false;
}

bool Interface::resolve(const Ipv6Address& ip, uint32_t tick, MacAddress& mac) noexcept {
    Ipv6Address hop;
    if (!next_hop(ip, tick, hop)) return false;
    const NeighbourCache::Answer answer = neighbours_.resolve(hop, tick);
    if (answer.ask) solicit(hop, nullptr);
    if (answer.known) mac = answer.mac;
    return answer.known;
}

void Interface::solicit(const Ipv6Address& target, const uint8_t* mac) noexcept {
    const Ipv6Address* const src = source_for(target);
    if (src != nullptr) send_solicitation(target, mac, *src);
}

// --- what time brings

void Interface::announce_ipv6(uint32_t tick) noexcept {
    testing_addresses_ = true;
    tested_tick_ = tick + kDuplicateTestTicks;
    solicited_router_tick_ = tick;
    send_listener_report(true);
    for (uint32_t i = 0; i < local_count_; ++i) {
        send_solicitation(local_[i].address, nullptr, Ipv6Address{});
    }
}

void Interface::on_timer(uint32_t tick) noexcept {
    if (!has_ipv6()) return;
    neighbours_.on_timer(tick,
                         [this](const Ipv6Address& ip, const uint8_t* mac) { solicit(ip, mac); });
    if (testing_addresses_) {
        if (seq_lt(tick, tested_tick_)) return;
        testing_addresses_ = false;
        send_listener_report(true);  // once more, should the first have been lost
        for (uint32_t i = 0; i < local_count_; ++i) {
            if (!local_[i].duplicate) send_advertisement(local_[i], Ipv6Address{}, nullptr);
        }
    }
    const bool ask = options_.ipv6.accept_router_advertisements &&
                     options_.ipv6.gateway.unspecified() && !local_[0].duplicate;
    if (ask && router_solicitations_ < kRouterSolicitationsMax &&
        seq_ge(tick, solicited_router_tick_)) {
        ++router_solicitations_;
        solicited_router_tick_ = tick + kRouterSolicitationTicks;
        send_router_solicitation();
    }
}

}  // namespace cachee::net
