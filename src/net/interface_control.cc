// SPDX-License-Identifier: Apache-2.0
// ARP (RFC 826) and ICMP (RFC 792) of an Interface. Errors about segments of ours are handed up
// (icmp_error.h) and judged there. Worker thread only.
#include <algorithm>
#include <cstring>

#include "net/bytes.h"
#include "net/checksum.h"
#include "net/interface.h"

namespace cachee::net {

using stats::Counter;

namespace {

constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr uint8_t kIcmpEchoReply = 0;
constexpr uint8_t kIcmpUnreachable = 3;
constexpr uint8_t kIcmpEcho = 8;
constexpr uint8_t kIcmpTimeExceeded = 11;
constexpr uint8_t kIcmpParameterProblem = 12;
constexpr uint8_t kProtocol = 2;  // codes of unreachable
constexpr uint8_t kPort = 3;
constexpr uint8_t kFragmentationNeeded = 4;

}  // namespace

void Interface::handle_arp(const uint8_t* data, uint32_t size, uint32_t tick) noexcept {
    count(Counter::arp_in);
    ArpPacket packet;
    if (!parse_arp(data, size, packet)) {
        count(Counter::drop_malformed);
        return;
    }
    const bool group = (packet.sender_mac[0] & 1) != 0 || packet.sender_ip >= 0xe0000000 ||
                       packet.sender_ip >> 24 == 127;
    if (group) {
        count(Counter::drop_source);
        return;
    }
    if (packet.sender_ip == options_.local_ip) {
        defend_address(tick);
        return;
    }
    if (packet.sender_ip != 0 && arp_.learn(packet.sender_ip, packet.sender_mac, tick)) {
        ++resolutions_;
    }
    if (packet.operation == 1 && packet.target_ip == options_.local_ip) {
        if (control_limit_.allow(tick)) {
            send_arp(2, packet.sender_mac, packet.sender_mac, packet.sender_ip);
        } else {
            count(Counter::drop_rate_limited);
        }
    }
}

// Another host claims our address. RFC 5227, 2.4 (b): say once whose it is, and then no more for a
// while, or two hosts would do nothing else.
void Interface::defend_address(uint32_t tick) noexcept {
    constexpr uint32_t kDefendTicks = 10 * 954;
    count(Counter::arp_conflicts);
    if (defended_ && seq_lt(tick, defended_tick_ + kDefendTicks)) return;
    defended_ = true;
    defended_tick_ = tick;
    send_arp(1, kBroadcast, MacAddress{}, options_.local_ip);
}

void Interface::send_arp(uint16_t operation, const MacAddress& dst, const MacAddress& target_mac,
                         uint32_t target_ip) noexcept {
    TxFrame* frame = tx_frame();
    if (frame == nullptr) {
        count(Counter::drop_no_buffer);
        return;
    }
    write_ethernet(frame->data, dst, kEtherTypeArp);
    uint8_t* p = frame->data + kEthernetBytes;
    store_be16(p, 1);
    store_be16(p + 2, kEtherTypeIpv4);
    p[4] = 6;
    p[5] = 4;
    store_be16(p + 6, operation);
    std::memcpy(p + 8, port_.info().mac.data(), 6);
    store_be32(p + 14, options_.local_ip);
    std::memcpy(p + 18, target_mac.data(), 6);
    store_be32(p + 24, target_ip);
    constexpr uint32_t kEthernetMin = 60;
    std::memset(p + kArpBytes, 0, kEthernetMin - kEthernetBytes - kArpBytes);
    stage(*frame, kEthernetMin);
}

void Interface::announce(uint32_t tick) noexcept {
    send_arp(1, kBroadcast, MacAddress{}, options_.local_ip);
    if (has_ipv6()) announce_ipv6(tick);
}

uint32_t Interface::next_hop(uint32_t ip) const noexcept {
    const uint32_t mask =
        options_.prefix_length == 0 ? 0 : ~0u << (32 - (options_.prefix_length & 63));
    if (((ip ^ options_.local_ip) & mask) == 0 || options_.gateway_ip == 0) return ip;
    return options_.gateway_ip;
}

bool Interface::resolve(uint32_t ip, uint32_t tick, MacAddress& mac) noexcept {
    const uint32_t hop = next_hop(ip);
    const ArpCache::Answer answer = arp_.resolve(hop, tick);
    if (answer.ask) send_arp(1, kBroadcast, MacAddress{}, hop);
    if (answer.lookup == ArpCache::Lookup::kUnknown) return false;
    mac = answer.mac;
    return true;
}

void Interface::handle_icmp(const RxFrame& frame, const Ipv4Packet& packet,
                            uint32_t tick) noexcept {
    if (packet.protocol != kProtocolIcmp) {
        count(Counter::drop_not_for_us);
        constexpr uint8_t kUdp = 17;
        send_icmp_error(frame, packet, packet.protocol == kUdp ? kPort : kProtocol, tick);
        return;
    }
    if (packet.payload_bytes < kIcmpBytes) {
        count(Counter::drop_malformed);
        return;
    }
    const uint8_t* const icmp = packet.payload;
    if (checksum_fold(checksum_add(icmp, packet.payload_bytes, 0)) != 0xffff) {
        count(Counter::drop_checksum);
        return;
    }
    const uint8_t type = icmp[0];
    const uint8_t code = icmp[1];
    if (type == kIcmpUnreachable || type == kIcmpTimeExceeded || type == kIcmpParameterProblem) {
        IcmpError error;
        if (type == kIcmpUnreachable && code == kFragmentationNeeded) {
            error.kind = IcmpError::Kind::kTooBig;
            error.mtu = load_be16(icmp + 6);
        } else if (type == kIcmpUnreachable && (code == kProtocol || code == kPort)) {
            error.kind = IcmpError::Kind::kHard;
        }
        take_icmp_error(icmp, packet.payload_bytes, false, error);
        return;
    }
    if (type == kIcmpEcho) {
        answer_echo(frame, packet, tick);
        return;
    }
    count(Counter::drop_not_for_us);  // source quench and redirects among them (RFC 6633)
}

void Interface::take_icmp_error(const uint8_t* icmp, uint32_t bytes, bool ipv6,
                                IcmpError& error) noexcept {
    if (error_sink_ != nullptr &&
        parse_icmp_quote(icmp + kIcmpBytes, bytes - kIcmpBytes, ipv6, options_.local_ip, error)) {
        error_sink_->on_icmp_error(error);
    } else {
        count(Counter::drop_icmp_refused);
    }
}

// RFC 1122, 3.2.2.1. The packet was to us alone and came in a frame to us alone.
void Interface::send_icmp_error(const RxFrame& frame, const Ipv4Packet& packet, uint8_t code,
                                uint32_t tick) noexcept {
    if (!reply_limit_.allow(tick)) {
        count(Counter::drop_rate_limited);
        return;
    }
    TxFrame* const reply = control_frame();
    if (reply == nullptr) return;
    const uint32_t quoted = packet.header_bytes + std::min(packet.payload_bytes, 8u);
    const uint32_t bytes = kIcmpBytes + quoted;
    MacAddress peer;
    std::memcpy(peer.data(), frame.data + 6, 6);
    write_ethernet(reply->data, peer, kEtherTypeIpv4);
    uint8_t* const ip = reply->data + kEthernetBytes;
    write_ipv4(ip, packet.src_ip, kProtocolIcmp, kIpv4Bytes + bytes);
    checksum_store(ip + 10, checksum_finish(checksum_add(ip, kIpv4Bytes, 0)));
    uint8_t* const icmp = ip + kIpv4Bytes;
    store_be32(icmp, uint32_t{kIcmpUnreachable} << 24 | uint32_t{code} << 16);
    store_be32(icmp + 4, 0);
    std::memcpy(icmp + kIcmpBytes, packet.header, quoted);
    checksum_store(icmp + 2, checksum_finish(checksum_add(icmp, bytes, 0)));
    stage(*reply, kEthernetBytes + kIpv4Bytes + bytes);
    count(Counter::icmp_errors_out);
}

void Interface::answer_echo(const RxFrame& frame, const Ipv4Packet& packet,
                            uint32_t tick) noexcept {
    const uint32_t total = kIpv4Bytes + packet.payload_bytes;
    if (total > port_.info().mtu) {
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
    write_ethernet(reply->data, peer, kEtherTypeIpv4);
    uint8_t* ip = reply->data + kEthernetBytes;
    write_ipv4(ip, packet.src_ip, kProtocolIcmp, total);
    checksum_store(ip + 10, checksum_finish(checksum_add(ip, kIpv4Bytes, 0)));
    uint8_t* icmp = ip + kIpv4Bytes;
    std::memcpy(icmp, packet.payload, packet.payload_bytes);
    icmp[0] = kIcmpEchoReply;
    store_be16(icmp + 2, 0);
    checksum_store(icmp + 2, checksum_finish(checksum_add(icmp, packet.payload_bytes, 0)));
    stage(*reply, kEthernetBytes + total);
    count(Counter::icmp_echo);
}

}  // namespace cachee::net
