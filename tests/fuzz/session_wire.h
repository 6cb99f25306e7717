// SPDX-License-Identifier: Apache-2.0
// What the session fuzz target writes on the wire and reads from it: the input's bytes, the two
// streams, the options of the stack, and TCP segments over IPv4 or IPv6 to and from a MemoryPort.
// No state but the input's; what a segment means is session_fuzz.cc's. Test code, one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/assert.h"
#include "net/bytes.h"
#include "net/checksum.h"
#include "net/headers.h"
#include "net/ipv6.h"
#include "net/tcp_transport.h"
#include "tests/fuzz/memory_port.h"

namespace cachee::fuzz {

inline constexpr uint32_t kLocal = 0x0a000001;
inline constexpr uint32_t kRemote = 0x0a000002;
inline constexpr net::Ipv6Address kLocal6 = {{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
inline constexpr net::Ipv6Address kRemote6 = {{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
inline constexpr uint16_t kPeerPort = 1000;
inline constexpr uint16_t kServerPort = 6379;
inline constexpr uint32_t kPoolBlocks = 64;

// The streams: what is at an offset is a function of it.
inline uint8_t peer_byte(uint32_t offset) {
    return static_cast<uint8_t>(offset * 31 + (offset >> 7));
}
inline uint8_t server_byte(uint32_t offset) {
    return static_cast<uint8_t>(offset * 57 + (offset >> 9));
}

class Input {
  public:
    Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
    bool more() const { return size_ > 0; }
    uint8_t byte() {
        if (size_ == 0) return 0;
        --size_;
        return *data_++;
    }
    uint32_t word() { return byte() | uint32_t{byte()} << 8; }

  private:
    const uint8_t* data_;
    size_t size_;
};

// The stack under test, by the first byte of choices.
inline net::TcpOptions options_for(uint8_t choices) {
    net::TcpOptions options;
    options.local_ip = kLocal;
    options.listen_port = kServerPort;
    options.ipv6.enabled = true;
    options.ipv6.addresses = {{kLocal6, 64}};
    options.sessions_max = 2;
    options.half_open_max = 2;
    options.time_wait_max = 2;
    options.receive_window_bytes = (choices & 1) != 0 ? 150'000 : 8192;
    options.send_buffer_bytes_max = 32 * 1024;
    options.buffers_bytes_max = kPoolBlocks * 2048;
    options.out_of_order_bytes_max = (choices & 2) != 0 ? 4096 : 65536;
    options.syn_cookies =
        (choices & 4) != 0 ? net::SynCookiesUse::kAlways : net::SynCookiesUse::kAuto;
    options.delayed_ack_ms = (choices & 8) != 0 ? 0 : 20;
    options.keepalive_idle_s = (choices & 16) != 0 ? 2 : 0;
    options.keepalive_interval_s = 1;
    options.rto_initial_ms = 200;
    options.rto_max_ms = 2000;
    options.persist_max_ms = 1000;
    options.slow_reader_timeout_s = 20;
    options.secret_seed = 1;
    return options;
}

struct WireSegment {
    uint8_t flags = 0;
    uint32_t seq = 0;
    uint32_t ack = 0;
    uint16_t window = 0;
    const uint8_t* options = nullptr;
    uint32_t option_bytes = 0;   // a multiple of four
    uint32_t stream_offset = 0;  // of the payload in the peer's stream
    uint32_t payload_bytes = 0;
};

// From the peer to the port, with checksums that the port calls good. `headers`: IPv6 extension
// headers in front of TCP that mean nothing (0 or 1), or the atomic fragment header (2).
inline void push_segment(MemoryPort& port, const WireSegment& segment, bool ipv6,
                         uint8_t headers = 0) {
    uint8_t frame[14 + 40 + 8 + 60 + 3000] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    uint8_t* const ip = frame + 14;
    uint8_t* tcp = ip + 20;
    net::store_be16(frame + 12, ipv6 ? net::kEtherTypeIpv6 : net::kEtherTypeIpv4);
    if (ipv6) {
        ip[0] = 0x60;
        ip[6] = net::kProtocolTcp;
        ip[7] = 64;
        kRemote6.store(ip + 8);
        kLocal6.store(ip + 24);
        tcp = ip + net::kIpv6Bytes;
        if (headers != 0) {
            constexpr uint8_t kDestinationOptions = 60;
            constexpr uint8_t kFragment = 44;
            ip[6] = headers == 1 ? kDestinationOptions : kFragment;
            tcp[0] = net::kProtocolTcp;
            if (headers == 1) {  // PadN of six bytes
                tcp[2] = 1;
                tcp[3] = 4;
            }
            tcp += 8;
        }
    } else {
        ip[0] = 0x45;
        ip[8] = 64;
        ip[9] = net::kProtocolTcp;
        net::store_be32(ip + 12, kRemote);
        net::store_be32(ip + 16, kLocal);
    }
    net::store_be16(tcp, kPeerPort);
    net::store_be16(tcp + 2, kServerPort);
    net::store_be32(tcp + 4, segment.seq);
    net::store_be32(tcp + 8, segment.ack);
    tcp[12] = static_cast<uint8_t>((20 + segment.option_bytes) / 4 << 4);
    tcp[13] = segment.flags;
    net::store_be16(tcp + 14, segment.window);
    std::memcpy(tcp + 20, segment.options, segment.option_bytes);
    uint8_t* const data = tcp + 20 + segment.option_bytes;
    CACHEE_ASSERT(data + segment.payload_bytes <= frame + sizeof frame);
    for (uint32_t i = 0; i < segment.payload_bytes; ++i) {
        data[i] = peer_byte(segment.stream_offset + i);
    }
    const auto total = static_cast<size_t>(data + segment.payload_bytes - ip);
    if (ipv6) {
        net::store_be16(ip + 4, static_cast<uint16_t>(total - net::kIpv6Bytes));
    } else {
        net::store_be16(ip + 2, static_cast<uint16_t>(total));
    }
    port.push(frame, 14 + total, net::Checksum::kGood);
}

// ICMP "too big" about a segment of the server's that began at `seq`.
inline void push_too_big(MemoryPort& port, uint32_t seq, uint32_t mtu, bool ipv6) {
    uint8_t frame[14 + 40 + 8 + 40 + 20] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    uint8_t* const ip = frame + 14;
    const uint32_t ip_bytes = ipv6 ? net::kIpv6Bytes : 20;
    uint8_t* const icmp = ip + ip_bytes;
    uint8_t* const quoted = icmp + 8;
    uint8_t* const tcp = quoted + ip_bytes;
    const uint32_t bytes = 8 + ip_bytes + 20;
    net::store_be16(tcp, kServerPort);
    net::store_be16(tcp + 2, kPeerPort);
    net::store_be32(tcp + 4, seq);
    tcp[12] = 0x50;
    uint64_t pseudo = 0;
    if (ipv6) {
        net::store_be16(frame + 12, net::kEtherTypeIpv6);
        ip[0] = quoted[0] = 0x60;
        net::store_be16(ip + 4, static_cast<uint16_t>(bytes));
        ip[6] = net::kProtocolIcmpv6;
        ip[7] = quoted[7] = 64;
        kRemote6.store(ip + 8);
        kLocal6.store(ip + 24);
        net::store_be16(quoted + 4, 1460);
        quoted[6] = net::kProtocolTcp;
        kLocal6.store(quoted + 8);
        kRemote6.store(quoted + 24);
        icmp[0] = 2;
        net::store_be32(icmp + 4, mtu);
        pseudo = net::ipv6_pseudo_sum(ip + 8, net::kProtocolIcmpv6, bytes);
    } else {
        net::store_be16(frame + 12, net::kEtherTypeIpv4);
        ip[0] = quoted[0] = 0x45;
        net::store_be16(ip + 2, static_cast<uint16_t>(20 + bytes));
        ip[8] = quoted[8] = 64;
        ip[9] = net::kProtocolIcmp;
        net::store_be32(ip + 12, kRemote);
        net::store_be32(ip + 16, kLocal);
        net::store_be16(quoted + 2, 1500);
        quoted[9] = net::kProtocolTcp;
        net::store_be32(quoted + 12, kLocal);
        net::store_be32(quoted + 16, kRemote);
        icmp[0] = 3;
        icmp[1] = 4;
        net::store_be16(icmp + 6, static_cast<uint16_t>(mtu));
    }
    net::checksum_store(icmp + 2, net::checksum_finish(net::checksum_add(icmp, bytes, pseudo)));
    port.push(frame, 14 + ip_bytes + bytes, net::Checksum::kGood);
}

// A frame of the stack as a TCP segment; false: it is something else.
inline bool parse_segment(const std::vector<uint8_t>& frame, bool ipv6, net::TcpSegment& out) {
    const auto size = static_cast<uint32_t>(frame.size()) - 14;
    const uint16_t type = net::load_be16(&frame[12]);
    if (type != (ipv6 ? net::kEtherTypeIpv6 : net::kEtherTypeIpv4)) return false;
    if (ipv6) {
        net::Ipv6Packet packet;
        net::Ipv6Problem problem;
        CACHEE_ASSERT(net::parse_ipv6(&frame[14], size, packet, problem) ==
                      net::Ipv6Verdict::kGood);
        if (packet.protocol != net::kProtocolTcp) return false;
        CACHEE_ASSERT(packet.dst() == kRemote6);
        CACHEE_ASSERT(net::parse_tcp(packet.payload, packet.payload_bytes, out));
        return true;
    }
    net::Ipv4Packet packet;
    CACHEE_ASSERT(net::parse_ipv4(&frame[14], size, packet));
    CACHEE_ASSERT(net::parse_tcp(packet.payload, packet.payload_bytes, out));
    return true;
}

}  // namespace cachee::fuzz
