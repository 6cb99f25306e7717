// SPDX-License-Identifier: Apache-2.0
// IPv6 addresses (RFC 4291) and the IPv6 header with its extension headers (RFC 8200). Pure
// functions over bytes from outside: every length is checked, nothing is asserted, nothing is kept.
// Data plane, worker thread; texts are cold. Neighbour discovery is in neighbour_cache.h and
// interface_ipv6.cc.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/frame_port.h"

namespace cachee::net {

inline constexpr uint32_t kIpv6Bytes = 40;
inline constexpr uint32_t kIpv6MtuMin = 1280;  // RFC 8200, 5
inline constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr uint8_t kProtocolIcmpv6 = 58;

// As on the wire.
struct Ipv6Address {
    std::array<uint8_t, 16> bytes{};

    static Ipv6Address load(const uint8_t* p) noexcept {
        Ipv6Address address;
        std::memcpy(address.bytes.data(), p, 16);
        return address;
    }
    void store(uint8_t* p) const noexcept { std::memcpy(p, bytes.data(), 16); }
    // The halves in the host's order of bytes as they lie in memory: for hashing and comparing.
    uint64_t word(int which) const noexcept {
        uint64_t value;
        std::memcpy(&value, bytes.data() + 8 * which, sizeof value);
        return value;
    }
    friend bool operator==(const Ipv6Address& a, const Ipv6Address& b) noexcept {
        return a.word(0) == b.word(0) && a.word(1) == b.word(1);
    }

    bool unspecified() const noexcept { return word(0) == 0 && word(1) == 0; }
    bool multicast() const noexcept { return bytes[0] == 0xff; }
    bool link_local() const noexcept { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }
    // ::1, and ::ffff:a.b.c.d and ::a.b.c.d with IPv4 inside: never on a wire.
    bool loopback_or_embedded() const noexcept;
    bool within(const Ipv6Address& prefix, uint32_t bits) const noexcept;
};

// Both ends of an IPv6 connection.
struct Ipv6Pair {
    Ipv6Address remote;
    Ipv6Address local;
    friend bool operator==(const Ipv6Pair& a, const Ipv6Pair& b) noexcept {
        return a.remote == b.remote && a.local == b.local;
    }
};

// What an interface is told of IPv6. Beside the addresses it always has its link-local one.
struct Ipv6Options {
    static constexpr size_t kAddressesMax = 4;
    struct Assigned {
        Ipv6Address address;
        uint32_t prefix_bits = 64;  // what is on the link
    };
    bool enabled = false;
    std::vector<Assigned> addresses = {};  // at most kAddressesMax
    Ipv6Address gateway = {};              // unspecified: none
    bool accept_router_advertisements = true;
};

inline constexpr Ipv6Address kAllNodes = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
inline constexpr Ipv6Address kAllRouters = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};

// fe80:: and the modified EUI-64 of the link address (RFC 4291, appendix A).
Ipv6Address link_local_of(const MacAddress& mac) noexcept;
// ff02::1:ffxx:xxxx (RFC 4291, 2.7.1).
Ipv6Address solicited_node_of(const Ipv6Address& address) noexcept;
// 33:33 and the last four bytes (RFC 2464, 7).
MacAddress multicast_mac_of(const Ipv6Address& group) noexcept;

struct Ipv6Packet {
    const uint8_t* header = nullptr;
    const uint8_t* payload = nullptr;  // behind the extension headers
    uint32_t payload_bytes = 0;
    uint32_t protocol_at = 0;  // where the header says which protocol
    uint8_t protocol = 0;
    uint8_t hop_limit = 0;

    Ipv6Address src() const noexcept { return Ipv6Address::load(header + 8); }
    Ipv6Address dst() const noexcept { return Ipv6Address::load(header + 24); }
};

enum class Ipv6Verdict : uint8_t {
    kGood,
    kMalformed,
    kFragment,   // any but an atomic one (RFC 6946)
    kExtension,  // a chain that is too long, or a header or an option that must not be passed over
};

// Why the sender is told about a packet (RFC 4443, 3.4); `report` false: it is not.
struct Ipv6Problem {
    bool report = false;
    bool report_multicast = false;  // even if the packet went to a group
    uint8_t code = 0;
    uint32_t pointer = 0;  // offset of what was not understood
};

inline constexpr uint32_t kIpv6ExtensionsMax = 8;        // headers
inline constexpr uint32_t kIpv6ExtensionBytesMax = 512;  // of all of them

// `data` starts after the link header. `problem` is set with kExtension only.
Ipv6Verdict parse_ipv6(const uint8_t* data, uint32_t size, Ipv6Packet& out,
                       Ipv6Problem& problem) noexcept;

// The sum of both addresses, the length and the protocol (RFC 8200, 8.1), host's order of bytes.
uint64_t ipv6_pseudo_sum(const uint8_t* addresses, uint8_t protocol, uint32_t bytes) noexcept;

// "2001:db8::1" and back, as RFC 5952 writes it. Cold.
std::optional<Ipv6Address> parse_ipv6_address(std::string_view text);
std::string format_ipv6_address(const Ipv6Address& address);

}  // namespace cachee::net
