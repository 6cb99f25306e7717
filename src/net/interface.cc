// SPDX-License-Identifier: Apache-2.0
// Frames in and out, IPv4, and the headers of outgoing segments; see interface.h. ARP and ICMP are
// in interface_control.cc. Worker thread only.
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
      mac_first_(mac_word(info_.mac) << 16),
      ethernet_low_(mac_word(info_.mac) << 48),
      ethernet_high_(mac_word(info_.mac) >> 16 | uint64_t{0x00450008} << 32),
      local_ip_be_(__builtin_bswap32(options.local_ip)) {}

Interface::~Interface() {
    if (staged_count_ > 0) port_.tx_free(staged_.data(), staged_count_);
    if (spare_count_ > 0) port_.tx_free(spare_.data(), spare_count_);
}

size_t Interface::receive(RxFrame* frames, size_t max) noexcept {
    const size_t n = port_.rx_burst(frames, max);
    if (n == 0) return 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; ++i) bytes += frames[i].size;
    count(Counter::frames_in, n);
    count(Counter::frame_bytes_in, bytes);
    return n;
}

bool Interface::handle_any(const RxFrame& frame, uint32_t tick, TcpSegment& out) noexcept {
    if (frame.size < kEthernetBytes) {
        count(Counter::drop_malformed);
        return false;
    }
    const uint8_t* data = frame.data;
    const uint16_t type = load_be16(data + 12);
    if (type == kEtherTypeArp) {
        handle_arp(data + kEthernetBytes, frame.size - kEthernetBytes, tick);
        return false;
    }
    if (type != kEtherTypeIpv4 || std::memcmp(data, port_.info().mac.data(), 6) != 0) {
        count(Counter::drop_not_for_us);
        return false;
    }
    Ipv4Packet packet;
    if (!parse_ipv4(data + kEthernetBytes, frame.size - kEthernetBytes, packet)) {
        count(Counter::drop_malformed);
        return false;
    }
    if (!ipv4_checksum_good(frame, packet)) {
        count(Counter::drop_checksum);
        return false;
    }
    // A source that no host can have: multicast, broadcast, unset, or this very address.
    const bool source_bad =
        packet.src_ip == 0 || packet.src_ip >= 0xe0000000 || packet.src_ip == options_.local_ip;
    if (packet.dst_ip != options_.local_ip || source_bad) {
        count(Counter::drop_not_for_us);
        return false;
    }
    if (packet.fragment) {
        count(Counter::drop_fragment);
        return false;
    }
    if (packet.protocol != kProtocolTcp) {
        handle_icmp(frame, packet);
        return false;
    }
    if (!parse_tcp(packet.payload, packet.payload_bytes, out)) {
        count(Counter::drop_malformed);
        return false;
    }
    if (!tcp_checksum_good(frame, packet)) {
        count(Counter::drop_checksum);
        return false;
    }
    out.src_ip = packet.src_ip;
    out.src_mac = data + 6;
    return true;
}

bool Interface::ipv4_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept {
    if (frame.ip_checksum != Checksum::kUnknown) return frame.ip_checksum == Checksum::kGood;
    return !options_.verify_checksums ||
           checksum_fold(checksum_add(packet.header, packet.header_bytes, 0)) == 0xffff;
}

bool Interface::tcp_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept {
    if (frame.tcp_checksum != Checksum::kUnknown) return frame.tcp_checksum == Checksum::kGood;
    if (!options_.verify_checksums) return true;
    const uint64_t pseudo =
        pseudo_header_sum(packet.src_ip, packet.dst_ip, kProtocolTcp, packet.payload_bytes);
    return checksum_fold(checksum_add(packet.payload, packet.payload_bytes, pseudo)) == 0xffff;
}

// For tx_frame(): a place among the staged and a spare frame; false when the port has none.
bool Interface::make_room() noexcept {
    if (staged_count_ == kStagedMax) push();
    if (staged_count_ == kStagedMax) return false;
    if (spare_count_ != 0) return true;
    spare_count_ = port_.tx_alloc(spare_.data(), kSpareMax);
    if (spare_count_ == 0) {
        push();
        spare_count_ = port_.tx_alloc(spare_.data(), kSpareMax);
    }
    return spare_count_ != 0;
}

void Interface::push() noexcept {
    if (staged_count_ == 0) return;
    count(Counter::frames_out, uncounted_frames_);
    count(Counter::frame_bytes_out, uncounted_bytes_);
    uncounted_frames_ = 0;
    uncounted_bytes_ = 0;
    const size_t sent = port_.tx_burst(staged_.data(), staged_count_);
    if (sent < staged_count_ && sent > 0) {
        std::copy(staged_.begin() + static_cast<ptrdiff_t>(sent),
                  staged_.begin() + static_cast<ptrdiff_t>(staged_count_), staged_.begin());
    }
    staged_count_ -= sent;
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
    uint8_t* ip = frame.data + kEthernetBytes;
    uint8_t* tcp = ip + kIpv4Bytes;
    write_ethernet(frame.data, fields.dst_mac, kEtherTypeIpv4);
    write_ipv4(ip, fields.remote_ip, kProtocolTcp, kIpv4Bytes + tcp_bytes);
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
    frame.l3_bytes = kIpv4Bytes;
    frame.l4_bytes = static_cast<uint8_t>(header_bytes);
    const bool tso = fields.tso_mss != 0;
    if (tso) {
        frame.flags |= kTxTso;
        frame.tso_mss = fields.tso_mss;
    }
    frame.flags |= finish_checksums(ip, tcp, fields.remote_ip, tcp_bytes, tso);
    stage(frame, kEthernetBytes + kIpv4Bytes + tcp_bytes);
}

uint32_t Interface::tso_payload_max(uint32_t option_bytes) const noexcept {
    const PortInfo& info = port_.info();
    const uint32_t headers = kEthernetBytes + kIpv4Bytes + kTcpBytes + option_bytes;
    if (!info.tso || info.tso_bytes_max <= headers) return 0;
    return std::min(info.tso_bytes_max, 65535u) - headers;
}

}  // namespace cachee::net
