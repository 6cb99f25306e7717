// SPDX-License-Identifier: Apache-2.0
// Addresses and headers of IPv6; see ipv6.h. Data plane, worker thread.
#include "net/ipv6.h"

#include <arpa/inet.h>

#include "net/bytes.h"
#include "net/checksum.h"

namespace cachee::net {
namespace {

constexpr uint8_t kHopByHop = 0;
constexpr uint8_t kRouting = 43;
constexpr uint8_t kFragment = 44;
constexpr uint8_t kNoNextHeader = 59;
constexpr uint8_t kDestinationOptions = 60;

constexpr uint8_t kBadField = 0;  // codes of Parameter Problem
constexpr uint8_t kUnknownHeader = 1;
constexpr uint8_t kUnknownOption = 2;

// RFC 8200, 4.2: the two highest bits of an unknown option say what is to be done.
Ipv6Verdict walk_options(const uint8_t* packet, uint32_t at, uint32_t end,
                         Ipv6Problem& problem) noexcept {
    while (at < end) {
        const uint8_t type = packet[at];
        if (type == 0) {  // Pad1
            ++at;
            continue;
        }
        if (at + 2 > end || at + 2 + packet[at + 1] > end) return Ipv6Verdict::kMalformed;
        const bool known = type == 1 || type == 5;  // PadN, router alert
        if (!known && (type >> 6) != 0) {
            problem = {.report = (type >> 6) >= 2,
                       .report_multicast = (type >> 6) == 2,
                       .code = kUnknownOption,
                       .pointer = at};
            return Ipv6Verdict::kExtension;
        }
        at += 2u + packet[at + 1];
    }
    return Ipv6Verdict::kGood;
}

// One extension header at `at`, `bytes` long.
Ipv6Verdict take_extension(const uint8_t* packet, uint8_t kind, uint32_t at, uint32_t bytes,
                           Ipv6Problem& problem) noexcept {
    switch (kind) {
        case kHopByHop:
            if (at != kIpv6Bytes) {
                problem = {.report = true, .code = kUnknownHeader, .pointer = at};
                return Ipv6Verdict::kExtension;
            }
            return walk_options(packet, at + 2, at + bytes, problem);
        case kDestinationOptions:
            return walk_options(packet, at + 2, at + bytes, problem);
        case kRouting:
            if (packet[at + 3] == 0) return Ipv6Verdict::kGood;  // no segments left
            // No routing type is known here; type 0 must not be (RFC 5095).
            problem = {.report = true, .code = kBadField, .pointer = at + 2};
            return Ipv6Verdict::kExtension;
        default:  // fragment: offset 0 and no more to come (RFC 6946), else one of several
            return (load_be16(packet + at + 2) & 0xfff9) == 0 ? Ipv6Verdict::kGood
                                                              : Ipv6Verdict::kFragment;
    }
}

}  // namespace

bool Ipv6Address::loopback_or_embedded() const noexcept {
    if (word(0) != 0) return false;
    const uint32_t third = load_be32(bytes.data() + 8);
    const uint32_t last = load_be32(bytes.data() + 12);
    return third == 0xffff || (third == 0 && last != 0);
}

bool Ipv6Address::within(const Ipv6Address& prefix, uint32_t bits) const noexcept {
    const uint32_t whole = bits / 8;
    if (std::memcmp(bytes.data(), prefix.bytes.data(), whole) != 0) return false;
    if (bits % 8 == 0) return true;
    return (bytes[whole] ^ prefix.bytes[whole]) >> (8 - bits % 8) == 0;
}

Ipv6Address link_local_of(const MacAddress& mac) noexcept {
    Ipv6Address address;
    address.bytes = {
        0xfe,   0x80,   0,    0,    0,      0,      0,     0, static_cast<uint8_t>(mac[0] ^ 2),
        mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
    return address;
}

Ipv6Address solicited_node_of(const Ipv6Address& address) noexcept {
    Ipv6Address group;
    group.bytes = {0xff,
                   2,
                   0,
                   0,
                   0,
                   0,
                   0,
                   0,
                   0,
                   0,
                   0,
                   1,
                   0xff,
                   address.bytes[13],
                   address.bytes[14],
                   address.bytes[15]};
    return group;
}

MacAddress multicast_mac_of(const Ipv6Address& group) noexcept {
    return {0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]};
}

Ipv6Verdict parse_ipv6(const uint8_t* data, uint32_t size, Ipv6Packet& out,
                       Ipv6Problem& problem) noexcept {
    if (size < kIpv6Bytes || (data[0] >> 4) != 6) return Ipv6Verdict::kMalformed;
    const uint32_t end = kIpv6Bytes + load_be16(data + 4);
    if (end > size) return Ipv6Verdict::kMalformed;
    out.header = data;
    out.hop_limit = data[7];
    uint8_t next = data[6];
    uint32_t next_at = 6;
    uint32_t at = kIpv6Bytes;
    for (uint32_t count = 0;; ++count) {
        const bool extension = next == kHopByHop || next == kRouting || next == kFragment ||
                               next == kDestinationOptions;
        if (!extension) break;
        if (count == kIpv6ExtensionsMax) return Ipv6Verdict::kExtension;
        if (at + 8 > end) return Ipv6Verdict::kMalformed;
        const uint32_t bytes = next == kFragment ? 8 : (data[at + 1] + 1u) * 8;
        if (at + bytes > end) return Ipv6Verdict::kMalformed;
        if (at + bytes - kIpv6Bytes > kIpv6ExtensionBytesMax) return Ipv6Verdict::kExtension;
        const Ipv6Verdict verdict = take_extension(data, next, at, bytes, problem);
        if (verdict != Ipv6Verdict::kGood) {
            // A header out of place is named by the field that announced it.
            if (problem.report && problem.code == kUnknownHeader) problem.pointer = next_at;
            return verdict;
        }
        next = data[at];
        next_at = at;
        at += bytes;
    }
    if (next == kNoNextHeader) return Ipv6Verdict::kExtension;
    out.protocol = next;
    out.protocol_at = next_at;
    out.payload = data + at;
    out.payload_bytes = end - at;
    return Ipv6Verdict::kGood;
}

uint64_t ipv6_pseudo_sum(const uint8_t* addresses, uint8_t protocol, uint32_t bytes) noexcept {
    return checksum_add(addresses, 32, 0) + __builtin_bswap16(protocol) + __builtin_bswap32(bytes);
}

std::optional<Ipv6Address> parse_ipv6_address(std::string_view text) {
    Ipv6Address address;
    const std::string terminated(text);
    if (terminated.find('\0') != std::string::npos ||
        inet_pton(AF_INET6, terminated.c_str(), address.bytes.data()) != 1) {
        return std::nullopt;
    }
    return address;
}

std::string format_ipv6_address(const Ipv6Address& address) {
    char text[INET6_ADDRSTRLEN] = {};
    inet_ntop(AF_INET6, address.bytes.data(), text, sizeof text);
    return text;
}

}  // namespace cachee::net
