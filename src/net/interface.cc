// SPDX-License-Identifier: Apache-2.0
// Frames in and out, tags, IPv4, and the headers of outgoing segments; see interface.h. ARP and
// ICMP are in interface_control.cc, IPv6 in interface_ipv6.cc. Worker thread only.
#include "net/interface.h"

#include <algorithm>
#include <cstring>

#include "net/bytes.h"
#include "net/checksum.h"

namespace cachee::net {

using stats::Counter;

namespace {

uint64_t mac_word(const MacAddress& mac) {
    uint64_t word = 0;
    std::memcpy(&word, mac.data(), mac.size());
    return word;
}

}  // namespace

Interface::Interface(FramePort& port, const InterfaceOptions& options,
                     stats::WorkerCounters* counters)
    : port_(port),
      info_(port.info()),
      options_(options),
      counters_(counters),
      mac_first_(options.vlan_id == 0 ? mac_word(info_.mac) << 16 : 1),
      ethernet_source_(mac_word(info_.mac) | uint64_t{0x0008} << 48),
      local_ip_be_(__builtin_bswap32(options.local_ip)),
      port_sums_(info_.tx_ip_checksum && info_.tx_tcp_checksum),
      pseudo_sum_(checksum_fold(pseudo_header_sum(options.local_ip, 0, kProtocolTcp, 0))),
      arp_(options.neighbours_max),
      neighbours_(options.ipv6.enabled ? options.neighbours_max : 0),
      reply_limit_(options.icmp_replies_per_s, {options.secret_seed, 1}),
      control_limit_(options.icmp_replies_per_s, {options.secret_seed, 2}) {
    test_nonce_ = siphash_128({options.secret_seed, 3}, mac_word(info_.mac), 4);
    if (options_.ipv6.enabled) assign_ipv6_addresses();
}

Interface::~Interface() {
    if (spare_end_ > staged_begin_) {
        port_.tx_free(&frames_[staged_begin_], spare_end_ - staged_begin_);
    }
}

// For is_usual(), where the port has not judged them: a bad one is handle()'s to count.
bool Interface::usual_checksums_good(const RxFrame& frame) const noexcept {
    if (frame.ip_checksum == Checksum::kBad || frame.tcp_checksum == Checksum::kBad) return false;
    if (!options_.verify_checksums) return true;
    const uint8_t* const ip = frame.data + kEthernetBytes;
    if (frame.ip_checksum == Checksum::kUnknown &&
        checksum_fold(checksum_add(ip, kIpv4Bytes, 0)) != 0xffff) {
        return false;
    }
    if (frame.tcp_checksum == Checksum::kGood) return true;
    const uint32_t tcp_bytes = load_be16(ip + 2) - kIpv4Bytes;
    const uint64_t pseudo =
        pseudo_header_sum(load_be32(ip + 12), options_.local_ip, kProtocolTcp, tcp_bytes);
    return checksum_fold(checksum_add(ip + kIpv4Bytes, tcp_bytes, pseudo)) == 0xffff;
}

// 802.1Q: with a VLAN configured its tag is required, else there must be none; a tag with id 0 says
// a priority and nothing else, and is passed over.
bool Interface::take_link_header(const RxFrame& frame, Packet& out) noexcept {
    if (frame.size < kEthernetBytes) {
        count(Counter::drop_malformed);
        return false;
    }
    const uint8_t* const data = frame.data;
    out.type = load_be16(data + 12);
    uint32_t header_bytes = kEthernetBytes;
    uint16_t vlan_id = 0;
    if (out.type == kEtherTypeVlan) {
        if (frame.size < kEthernetBytes + kVlanBytes) {
            count(Counter::drop_malformed);
            return false;
        }
        vlan_id = load_be16(data + 14) & 0x0fff;
        out.type = load_be16(data + 16);
        header_bytes += kVlanBytes;
    }
    const bool tagged = header_bytes != kEthernetBytes;
    const bool wanted = vlan_id == options_.vlan_id || (tagged && vlan_id == 0);
    if (!wanted) {
        count(Counter::drop_vlan);
        return false;
    }
    out.data = data + header_bytes;
    out.size = frame.size - header_bytes;
    out.to_group = (data[0] & 1) != 0;
    if (!out.to_group && std::memcmp(data, info_.mac.data(), 6) != 0) {
        count(Counter::drop_not_for_us);
        return false;
    }
    return true;
}

Received Interface::handle(const RxFrame& frame, uint32_t tick, TcpSegment& out) noexcept {
    Packet link;
    if (!take_link_header(frame, link)) return Received::kNone;
    if (link.type == kEtherTypeArp) {
        handle_arp(link.data, link.size, tick);
        return Received::kNone;
    }
    // A unicast packet in a frame to a group is a fault or a trick (RFC 1122, 3.3.6).
    if (link.type == kEtherTypeIpv4 && !link.to_group) {
        return handle_ipv4(frame, link, tick, out);
    }
    if (link.type == kEtherTypeIpv6 && has_ipv6()) return handle_ipv6(frame, link, tick, out);
    count(Counter::drop_not_for_us);
    return Received::kNone;
}

Received Interface::handle_ipv4(const RxFrame& frame, const Packet& link, uint32_t tick,
                                TcpSegment& out) noexcept {
    Ipv4Packet packet;
    if (!parse_ipv4(link.data, link.size, packet)) {
        count(Counter::drop_malformed);
        return Received::kNone;
    }
    if (!ipv4_checksum_good(frame, packet)) {
        count(Counter::drop_checksum);
        return Received::kNone;
    }
    // A source that no host can have: multicast, broadcast, unset, or this very address.
    if (packet.src_ip == 0 || packet.src_ip >= 0xe0000000 || packet.src_ip == options_.local_ip) {
        count(Counter::drop_source);
        return Received::kNone;
    }
    if (packet.dst_ip != options_.local_ip) {
        count(Counter::drop_not_for_us);
        return Received::kNone;
    }
    if (packet.fragment) {
        count(Counter::drop_fragment);
        return Received::kNone;
    }
    if (packet.protocol != kProtocolTcp) {
        handle_icmp(frame, packet, tick);
        return Received::kNone;
    }
    if (!parse_tcp(packet.payload, packet.payload_bytes, out)) {
        count(Counter::drop_malformed);
        return Received::kNone;
    }
    const uint64_t pseudo =
        pseudo_header_sum(packet.src_ip, packet.dst_ip, kProtocolTcp, packet.payload_bytes);
    if (!tcp_checksum_good(frame, packet.payload, packet.payload_bytes, pseudo)) {
        count(Counter::drop_checksum);
        return Received::kNone;
    }
    out.src_ip = packet.src_ip;
    out.src_mac = frame.data + 6;
    if ((packet.header[1] & 3) == 3) out.flags |= kCe;
    return Received::kIpv4;
}

bool Interface::ipv4_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept {
    if (frame.ip_checksum != Checksum::kUnknown) return frame.ip_checksum == Checksum::kGood;
    return !options_.verify_checksums ||
           checksum_fold(checksum_add(packet.header, packet.header_bytes, 0)) == 0xffff;
}

bool Interface::tcp_checksum_good(const RxFrame& frame, const uint8_t* segment, uint32_t bytes,
                                  uint64_t pseudo) noexcept {
    if (frame.tcp_checksum != Checksum::kUnknown) return frame.tcp_checksum == Checksum::kGood;
    if (!options_.verify_checksums) return true;
    return checksum_fold(checksum_add(segment, bytes, pseudo)) == 0xffff;
}

// For next_frame(): spare frames, at the front again once all are gone; false when the port has
// none, or takes none. REQUIRES: no spare frame is left.
bool Interface::make_room() noexcept {
    if (spare_end_ == kFramesMax) push();
    if (staged_begin_ == staged_end_) {
        staged_begin_ = staged_end_ = spare_end_ = tagged_end_ = 0;
    } else if (spare_end_ == kFramesMax && !close_gap_cold()) {
        return false;
    }
    const uint32_t room = std::min(kFramesMax - spare_end_, kSpareMax);
    size_t count = port_.tx_alloc(&frames_[spare_end_], room);
    if (count == 0) {
        push();
        count = port_.tx_alloc(&frames_[spare_end_], room);
    }
    if (options_.vlan_id != 0) {  // headers are written behind the place of the tag
        for (size_t i = spare_end_; i < spare_end_ + count; ++i) {
            frames_[i].data += kVlanBytes;
            frames_[i].capacity -= kVlanBytes;
        }
    }
    spare_end_ += static_cast<uint32_t>(count);
    return count != 0;
}

// The port took some of the frames only: the others move to the front. False: it took none.
bool Interface::close_gap_cold() noexcept {
    const uint32_t gone = staged_begin_;
    std::copy(frames_.begin() + gone, frames_.begin() + spare_end_, frames_.begin());
    staged_begin_ = 0;
    staged_end_ -= gone;
    spare_end_ -= gone;
    tagged_end_ -= gone;
    return gone != 0;
}

// Moves the addresses of each frame forward and puts the tag behind them.
void Interface::tag_staged() noexcept {
    for (; tagged_end_ < staged_end_; ++tagged_end_) {
        TxFrame& frame = frames_[tagged_end_];
        frame.data -= kVlanBytes;
        frame.capacity += kVlanBytes;
        std::memmove(frame.data, frame.data + kVlanBytes, 12);
        store_be16(frame.data + 12, kEtherTypeVlan);
        store_be16(frame.data + 14, options_.vlan_id);
        frame.size += kVlanBytes;
        if (frame.l2_bytes != 0) frame.l2_bytes += kVlanBytes;
        uncounted_bytes_ += kVlanBytes;
    }
}

void Interface::write_ethernet(uint8_t* p, const MacAddress& dst, uint16_t type) noexcept {
    std::memcpy(p, dst.data(), 6);
    std::memcpy(p + 6, port_.info().mac.data(), 6);
    store_be16(p + 12, type);
}

void Interface::write_ipv4(uint8_t* p, uint32_t dst_ip, uint8_t protocol, uint32_t total) noexcept {
    p[0] = 0x45;
    p[1] = 0;
    store_be16(p + 2, static_cast<uint16_t>(total));
    store_be16(p + 4, ip_id_++);
    store_be16(p + 6, 0x4000);  // do not fragment
    p[8] = 64;
    p[9] = protocol;
    store_be16(p + 10, 0);
    store_be32(p + 12, options_.local_ip);
    store_be32(p + 16, dst_ip);
}

void Interface::send_segment(TxFrame& frame, const SegmentFields& fields,
                             uint32_t payload_bytes) noexcept {
    const uint32_t header_bytes = kTcpBytes + fields.option_bytes;
    const uint32_t tcp_bytes = header_bytes + payload_bytes;
    const bool ipv6 = fields.ipv6 != nullptr;
    const uint32_t ip_bytes = ipv6 ? kIpv6Bytes : kIpv4Bytes;
    uint8_t* ip = frame.data + kEthernetBytes;
    uint8_t* tcp = ip + ip_bytes;
    write_ethernet(frame.data, fields.dst_mac, ipv6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
    if (ipv6) {
        write_ipv6(ip, fields.ipv6->local, fields.ipv6->remote, fields.remote_ip, kProtocolTcp,
                   tcp_bytes);
        ip[1] |= static_cast<uint8_t>(fields.ecn << 4);
    } else {
        write_ipv4(ip, fields.remote_ip, kProtocolTcp, kIpv4Bytes + tcp_bytes);
        ip[1] |= fields.ecn;
    }
    store_be16(tcp, fields.local_port);
    store_be16(tcp + 2, fields.remote_port);
    store_be32(tcp + 4, fields.seq);
    store_be32(tcp + 8, fields.ack);
    tcp[12] = static_cast<uint8_t>((header_bytes / 4) << 4);
    tcp[13] = fields.flags;
    store_be16(tcp + 14, fields.window);
    store_be16(tcp + 16, 0);
    store_be16(tcp + 18, 0);
    std::memcpy(tcp + kTcpBytes, fields.options, fields.option_bytes);

    frame.l2_bytes = kEthernetBytes;
    frame.l3_bytes = static_cast<uint16_t>(ip_bytes);
    frame.l4_bytes = static_cast<uint8_t>(header_bytes);
    const bool tso = fields.tso_mss != 0;
    if (tso) {
        frame.flags |= kTxTso;
        frame.tso_mss = fields.tso_mss;
    }
    frame.flags |= ipv6 ? finish_checksum_ipv6(ip, tcp, tcp_bytes, tso)
                        : finish_checksums(ip, tcp, fields.remote_ip, tcp_bytes, tso);
    stage(frame, kEthernetBytes + ip_bytes + tcp_bytes);
}

uint32_t Interface::tso_payload_max(uint32_t option_bytes, bool ipv6) const noexcept {
    const PortInfo& info = port_.info();
    const uint32_t headers =
        kEthernetBytes + kVlanBytes + (ipv6 ? kIpv6Bytes : kIpv4Bytes) + kTcpBytes + option_bytes;
    if (!info.tso || info.tso_bytes_max <= headers) return 0;
    return std::min(info.tso_bytes_max, 65535u) - headers;
}

}  // namespace cachee::net
