// SPDX-License-Identifier: Apache-2.0
// What an ICMP or ICMPv6 error says of a TCP segment of ours: read from the packet that it quotes
// (RFC 792, RFC 4443), whose addresses and ports are as we sent them. Anybody can send one: whether
// it is believed is decided where the connection is known (tcp_path.cc). Worker thread only.
#pragma once

#include <cstdint>

#include "net/ipv6.h"

namespace cachee::net {

struct IcmpError {
    enum class Kind : uint8_t {
        kSoft,    // may pass: no route, time exceeded ... (RFC 1122, 4.2.3.9)
        kHard,    // nobody there speaks TCP, or listens
        kTooBig,  // the packet did not fit the next link
    };
    Kind kind = Kind::kSoft;
    bool ipv6 = false;
    uint32_t mtu = 0;           // kTooBig: of that link; 0: a router from before RFC 1191
    uint32_t quoted_bytes = 0;  // length of the packet that is quoted
    uint32_t remote_ip = 0;     // IPv4
    Ipv6Pair pair;              // IPv6
    uint16_t remote_port = 0;
    uint16_t local_port = 0;
    uint32_t seq = 0;
};

// `quote` is what follows the error's eight bytes. False: not enough of it, or no TCP.
bool parse_icmp_quote(const uint8_t* quote, uint32_t size, bool ipv6, uint32_t local_ip,
                      IcmpError& out) noexcept;

class IcmpErrorSink {
  public:
    virtual ~IcmpErrorSink() = default;
    virtual void on_icmp_error(const IcmpError& error) noexcept = 0;
};

}  // namespace cachee::net
