// SPDX-License-Identifier: Apache-2.0
// The packet that an ICMP error quotes; see icmp_error.h. Worker thread only.
#include "net/icmp_error.h"

#include "net/bytes.h"
#include "net/headers.h"

namespace cachee::net {
namespace {

constexpr uint32_t kTcpQuoteBytes = 8;  // ports and sequence number

}  // namespace

bool parse_icmp_quote(const uint8_t* quote, uint32_t size, bool ipv6, uint32_t local_ip,
                      IcmpError& out) noexcept {
    out.ipv6 = ipv6;
    const uint8_t* tcp = quote;
    if (ipv6) {
        // Nothing that is sent from here has extension headers before TCP.
        if (size < kIpv6Bytes + kTcpQuoteBytes || quote[0] >> 4 != 6) return false;
        if (quote[6] != kProtocolTcp) return false;
        out.pair.local = Ipv6Address::load(quote + 8);
        out.pair.remote = Ipv6Address::load(quote + 24);
        out.quoted_bytes = kIpv6Bytes + load_be16(quote + 4);
        tcp += kIpv6Bytes;
    } else {
        if (size < kIpv4Bytes || quote[0] >> 4 != 4) return false;
        const uint32_t header_bytes = (quote[0] & 0x0fu) * 4;
        if (header_bytes < kIpv4Bytes || size < header_bytes + kTcpQuoteBytes) return false;
        const bool later_fragment = (load_be16(quote + 6) & 0x1fff) != 0;
        if (quote[9] != kProtocolTcp || later_fragment) return false;
        if (load_be32(quote + 12) != local_ip) return false;
        out.remote_ip = load_be32(quote + 16);
        out.quoted_bytes = load_be16(quote + 2);
        tcp += header_bytes;
    }
    out.local_port = load_be16(tcp);
    out.remote_port = load_be16(tcp + 2);
    out.seq = load_be32(tcp + 4);
    return true;
}

}  // namespace cachee::net
