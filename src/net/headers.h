// SPDX-License-Identifier: Apache-2.0
// Parsing of what a frame carries: Ethernet II, ARP, IPv4 and TCP headers with their options. Pure
// functions over bytes from outside: every length is checked, nothing is asserted, nothing is kept.
// Data plane, worker thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/frame_port.h"

namespace cachee::net {

inline constexpr uint32_t kEthernetBytes = 14;
inline constexpr uint32_t kVlanBytes = 4;
inline constexpr uint32_t kIpv4Bytes = 20;
inline constexpr uint32_t kTcpBytes = 20;
inline constexpr uint32_t kArpBytes = 28;
inline constexpr uint32_t kIcmpBytes = 8;

inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeArp = 0x0806;
inline constexpr uint16_t kEtherTypeVlan = 0x8100;
inline constexpr uint8_t kProtocolIcmp = 1;
inline constexpr uint8_t kProtocolTcp = 6;

inline constexpr uint8_t kFin = 0x01;
inline constexpr uint8_t kSyn = 0x02;
inline constexpr uint8_t kRst = 0x04;
inline constexpr uint8_t kPsh = 0x08;
inline constexpr uint8_t kAck = 0x10;
inline constexpr uint8_t kUrg = 0x20;
inline constexpr uint8_t kEce = 0x40;  // RFC 3168
inline constexpr uint8_t kCwr = 0x80;
// What the parser noticed besides, in TcpSegment::flags above the header's eight bits, so that one
// comparison tells a plain segment from any other.
inline constexpr uint16_t kHasSack = 0x100;  // sack, sack_blocks
inline constexpr uint16_t kCe = 0x200;       // the IP header says: congestion experienced

inline constexpr uint8_t kNoWindowScale = 0xff;

// Addresses are in host order everywhere in src/net.
struct ArpPacket {
    uint16_t operation = 0;  // 1 request, 2 reply
    MacAddress sender_mac{};
    uint32_t sender_ip = 0;
    uint32_t target_ip = 0;
};

struct Ipv4Packet {
    uint32_t src_ip = 0;
    uint32_t dst_ip = 0;
    const uint8_t* header = nullptr;
    const uint8_t* payload = nullptr;
    uint32_t header_bytes = 0;
    uint32_t payload_bytes = 0;
    uint8_t protocol = 0;
    bool fragment = false;  // any fragment, the first included
};

struct TcpSegment {
    uint32_t src_ip = 0;  // IPv6: a keyed hash that stands for both addresses (tcp_core.h)
    uint16_t src_port = 0;
    uint16_t dst_port = 0;
    uint32_t seq = 0;
    uint32_t ack = 0;
    uint32_t window = 0;  // as on the wire, not scaled
    uint32_t size = 0;    // payload bytes
    const uint8_t* data = nullptr;
    const uint8_t* src_mac = nullptr;
    const uint8_t* sack = nullptr;  // with kHasSack: pairs of 32-bit edges as on the wire
    uint32_t ts_value = 0;
    uint32_t ts_echo = 0;
    uint16_t mss = 0;                       // 0: not announced
    uint8_t window_scale = kNoWindowScale;  // at most 14
    bool sack_permitted = false;
    bool ipv6 = false;
    bool has_timestamps = false;
    uint16_t flags = 0;                       // the header's eight bits, and kHasSack and kCe
    uint8_t sack_blocks = 0;                  // with kHasSack: 1..4
    const uint8_t* ipv6_addresses = nullptr;  // source, then destination; set where ipv6 is

    // Sequence numbers it takes: payload, SYN and FIN.
    uint32_t length() const noexcept {
        return size + ((flags & kSyn) != 0 ? 1 : 0) + ((flags & kFin) != 0 ? 1 : 0);
    }
};

// False when malformed. `data` starts after the Ethernet header.
bool parse_arp(const uint8_t* data, uint32_t size, ArpPacket& out) noexcept;
bool parse_ipv4(const uint8_t* data, uint32_t size, Ipv4Packet& out) noexcept;
// `data` is the IP payload; src_ip and src_mac stay the caller's to fill in. Options are taken up
// to the first malformed one; unknown ones are skipped (RFC 9293, 3.2).
bool parse_tcp(const uint8_t* data, uint32_t size, TcpSegment& out) noexcept;

// "10.0.0.1" to host order and back. Cold.
std::optional<uint32_t> parse_ipv4_address(std::string_view text);
std::string format_ipv4_address(uint32_t address);

}  // namespace cachee::net
