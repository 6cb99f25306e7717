// SPDX-License-Identifier: Apache-2.0
// Addresses in configuration values: IPv4 and IPv6 texts and what a bind address exposes. Cold
// code; any thread, no state. Not a resolver: host names are resolved by who connects.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace cachee::config {

// Dotted quad to a number in host order. False: not an IPv4 address.
bool parse_ipv4(const std::string& text, uint32_t& address);

// True for addresses that only hosts of the same site can reach: loopback (127/8), RFC 1918,
// link-local (RFC 3927) and the benchmarking range (RFC 2544, 198.18/15). 0.0.0.0 is not.
bool is_private_ipv4(uint32_t address);

// Of an IPv6 address in the order of the wire.
struct Ipv6Prefix {
    std::array<uint8_t, 16> address{};
    uint32_t bits = 0;
};

// "fe80::1": without a zone, and no IPv4 address in IPv6's clothes. False: it is none.
bool parse_ipv6(const std::string& text, std::array<uint8_t, 16>& address);
// "2001:db8::10/64", an address of a host and how much of it names the link. False: it is none.
bool parse_ipv6_prefix(const std::string& text, Ipv6Prefix& prefix);

// True for ::1, link-local (fe80::/10) and unique local (fc00::/7) addresses.
bool is_private_ipv6(const std::array<uint8_t, 16>& address);

}  // namespace cachee::config
