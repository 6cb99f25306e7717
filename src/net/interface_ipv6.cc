// SPDX-License-Identifier: Apache-2.0
// IPv6 of an Interface (RFC 8200): its addresses and groups, what it takes and what it refuses, the
// headers of what it sends. Worker thread only.
#include <algorithm>
#include <cstring>

#include "net/bytes.h"
#include "net/checksum.h"
#include "net/interface.h"

namespace cachee::net {

using stats::Counter;

namespace {

constexpr uint8_t kUnreachable = 1;
constexpr uint8_t kParameterProblem = 4;

}  // namespace

void Interface::assign_ipv6_addresses() {
    auto assign = [this](const Ipv6Address& address, uint32_t prefix_bits) {
        local_[local_count_++] = {address, solicited_node_of(address), prefix_bits, false};
    };
    assign(link_local_of(info_.mac), 64);
    for (const auto& assigned : options_.ipv6.addresses) {
        if (local_count_ == local_.size()) break;
        assign(assigned.address, assigned.prefix_bits);
    }
    std::array<MacAddress, Ipv6Options::kAddressesMax + 2> groups;
    size_t count = 0;
    groups[count++] = multicast_mac_of(kAllNodes);
    for (uint32_t i = 0; i < local_count_; ++i) groups[count++] = multicast_mac_of(local_[i].group);
    hears_groups_ = port_.accept_multicast(groups.data(), count);
}

Interface::LocalAddress* Interface::find_local(const Ipv6Address& address) noexcept {
    for (uint32_t i = 0; i < local_count_; ++i) {
        if (local_[i].address == address && !local_[i].duplicate) return &local_[i];
    }
    return nullptr;
}

bool Interface::joined(const Ipv6Address& group) const noexcept {
    if (group == kAllNodes) return true;
    for (uint32_t i = 0; i < local_count_; ++i) {
        if (local_[i].group == group) return true;
    }
    return false;
}

// RFC 6724, as far as one interface has choices: same scope, longest common configured prefix.
const Ipv6Address* Interface::source_for(const Ipv6Address& remote) const noexcept {
    const bool link_local = remote.link_local() || (remote.multicast() && remote.bytes[1] == 2);
    const Ipv6Address* best = nullptr;
    for (uint32_t i = 0; i < local_count_; ++i) {
        const LocalAddress& local = local_[i];
        if (local.duplicate || local.address.link_local() != link_local) continue;
        if (remote.within(local.address, local.prefix_bits)) return &local.address;
        if (best == nullptr) best = &local.address;
    }
    return best;
}

bool Interface::ipv6_addresses_good(const Ipv6Packet& packet, const Packet& link) noexcept {
    const Ipv6Address src = packet.src();
    const Ipv6Address dst = packet.dst();
    // Only a neighbour solicitation of duplicate address detection has no source (RFC 4861, 7.1.1).
    const bool nobody = src.unspecified() && packet.protocol != kProtocolIcmpv6;
    if (nobody || src.multicast() || src.loopback_or_embedded() || find_local(src) != nullptr) {
        count(Counter::drop_source);
        return false;
    }
    // A packet to one host in a frame to a group is a fault or a trick.
    const bool ours = dst.multicast() ? joined(dst) : find_local(dst) != nullptr && !link.to_group;
    if (!ours) count(Counter::drop_not_for_us);
    return ours;
}

Received Interface::handle_ipv6(const RxFrame& frame, const Packet& link, uint32_t tick,
                                TcpSegment& out) noexcept {
    Ipv6Packet packet;
    Ipv6Problem problem;
    const Ipv6Verdict verdict = parse_ipv6(link.data, link.size, packet, problem);
    if (verdict == Ipv6Verdict::kMalformed) {
        count(Counter::drop_malformed);
        return Received::kNone;
    }
    if (!ipv6_addresses_good(packet, link)) return Received::kNone;
    if (verdict != Ipv6Verdict::kGood) {
        const bool fragment = verdict == Ipv6Verdict::kFragment;
        count(fragment ? Counter::drop_fragment_ipv6 : Counter::drop_ipv6_extension);
        if (problem.report && (!packet.dst().multicast() || problem.report_multicast)) {
            send_icmpv6_error(frame, packet.header, kParameterProblem, problem.code,
                              problem.pointer, tick);
        }
        return Received::kNone;
    }
    if (packet.protocol == kProtocolIcmpv6) {
        handle_icmpv6(frame, packet, tick);
        return Received::kNone;
    }
    if (packet.protocol != kProtocolTcp || packet.dst().multicast()) {
        count(Counter::drop_not_for_us);
        refuse_protocol_ipv6(frame, packet, tick);
        return Received::kNone;
    }
    if (!parse_tcp(packet.payload, packet.payload_bytes, out)) {
        count(Counter::drop_malformed);
        return Received::kNone;
    }
    const uint8_t* const addresses = packet.header + 8;
    const uint64_t pseudo = ipv6_pseudo_sum(addresses, kProtocolTcp, packet.payload_bytes);
    if (!tcp_checksum_good(frame, packet.payload, packet.payload_bytes, pseudo)) {
        count(Counter::drop_checksum);
        return Received::kNone;
    }
    if ((packet.header[1] >> 4 & 3) == 3) out.flags |= kCe;
    out.ipv6 = true;
    out.ipv6_addresses = addresses;
    out.src_mac = frame.data + 6;
    return Received::kIpv6;
}

// RFC 4443, 3.1 and 3.4: to groups no answer is given.
void Interface::refuse_protocol_ipv6(const RxFrame& frame, const Ipv6Packet& packet,
                                     uint32_t tick) noexcept {
    constexpr uint8_t kUdp = 17;
    constexpr uint8_t kPortUnreachable = 4;
    constexpr uint8_t kUnknownNextHeader = 1;
    if (packet.dst().multicast()) return;
    if (packet.protocol == kUdp) {
        send_icmpv6_error(frame, packet.header, kUnreachable, kPortUnreachable, 0, tick);
    } else {
        send_icmpv6_error(frame, packet.header, kParameterProblem, kUnknownNextHeader,
                          packet.protocol_at, tick);
    }
}

void Interface::write_ipv6(uint8_t* p, const Ipv6Address& src, const Ipv6Address& dst,
                           uint32_t flow_label, uint8_t protocol, uint32_t payload_bytes) noexcept {
    store_be32(p, 0x60000000 | (flow_label & 0xfffff));
    store_be16(p + 4, static_cast<uint16_t>(payload_bytes));
    p[6] = protocol;
    p[7] = 64;
    src.store(p + 8);
    dst.store(p + 24);
}

// The TCP checksum field, done here or left to the port: then its flags are returned.
uint16_t Interface::finish_checksum_ipv6(const uint8_t* ip, uint8_t* tcp, uint32_t tcp_bytes,
                                         bool tso) noexcept {
    const uint64_t pseudo = ipv6_pseudo_sum(ip + 8, kProtocolTcp, tso ? 0 : tcp_bytes);
    if (tso || info_.tx_tcp_checksum) {
        checksum_store(tcp + 16, checksum_fold(pseudo));
        return kTxIpv6 | kTxTcpChecksum;
    }
    checksum_store(tcp + 16, checksum_finish(checksum_add(tcp, tcp_bytes, pseudo)));
    return 0;
}

}  // namespace cachee::net
