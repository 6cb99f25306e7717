// SPDX-License-Identifier: Apache-2.0
// Addresses in configuration values: IPv4 texts and what a bind address exposes. Cold code; any
// thread, no state. Not a resolver: host names are resolved by who connects.
#pragma once

#include <cstdint>
#include <string>

namespace cachee::config {

// Dotted quad to a number in host order. False: not an IPv4 address.
bool parse_ipv4(const std::string& text, uint32_t& address);

// True for addresses that only hosts of the same site can reach: loopback (127/8), RFC 1918,
// link-local (RFC 3927) and the benchmarking range (RFC 2544, 198.18/15). 0.0.0.0 is not.
bool is_private_ipv4(uint32_t address);

}  // namespace cachee::config
