// SPDX-License-Identifier: Apache-2.0
// The segment of nearly every request, reply and ACK, read where it lies in its frame: Ethernet II,
// IPv4 without options, TCP with no option but timestamps where every stack puts them. Which frames
// are of that shape is Interface::is_usual()'s to say; all others are parsed into a TcpSegment.
// Worker thread only.
#pragma once

#include <cstdint>

#include "net/bytes.h"
#include "net/connection_table.h"
#include "net/headers.h"

namespace cachee::net {

class UsualSegment {
  public:
    static constexpr uint32_t kIpAt = kEthernetBytes;
    static constexpr uint32_t kTcpAt = kIpAt + kIpv4Bytes;
    static constexpr uint32_t kOptionsAt = kTcpAt + kTcpBytes;
    static constexpr uint32_t kTimestampBytes = 12;
    static constexpr uint32_t kTimestampOption = 0x0101080a;  // two NOPs, kind 8, length 10

    // REQUIRES: Interface::is_usual() of the frame at `frame`; borrowed.
    explicit UsualSegment(const uint8_t* frame) noexcept : p_(frame) {}

    ConnectionKey key() const noexcept {  // connection_key(): address, then both ports
        return uint64_t{load_be32(p_ + kIpAt + 12)} << 32 | load_be32(p_ + kTcpAt);
    }
    uint32_t seq() const noexcept { return load_be32(p_ + kTcpAt + 4); }
    uint32_t ack() const noexcept { return load_be32(p_ + kTcpAt + 8); }
    uint32_t header_bytes() const noexcept { return uint32_t{p_[kTcpAt + 12]} >> 4 << 2; }
    bool has_timestamps() const noexcept { return header_bytes() != kTcpBytes; }
    uint16_t flags() const noexcept { return p_[kTcpAt + 13]; }
    uint32_t window() const noexcept { return load_be16(p_ + kTcpAt + 14); }
    // REQUIRES: has_timestamps().
    uint32_t ts_value() const noexcept { return load_be32(p_ + kOptionsAt + 4); }
    uint32_t ts_echo() const noexcept { return load_be32(p_ + kOptionsAt + 8); }
    const uint8_t* data() const noexcept { return data(has_timestamps()); }
    uint32_t size() const noexcept { return size(has_timestamps()); }
    // For who knows already whether it has timestamps.
    const uint8_t* data(bool timestamps) const noexcept {
        return p_ + (timestamps ? kOptionsAt + kTimestampBytes : kOptionsAt);
    }
    uint32_t size(bool timestamps) const noexcept {
        return load_be16(p_ + kIpAt + 2) - kIpv4Bytes - kTcpBytes -
               (timestamps ? kTimestampBytes : 0);
    }

    TcpSegment whole() const noexcept {
        TcpSegment out;
        out.src_ip = load_be32(p_ + kIpAt + 12);
        out.src_port = load_be16(p_ + kTcpAt);
        out.dst_port = load_be16(p_ + kTcpAt + 2);
        out.seq = seq();
        out.ack = ack();
        out.flags = flags();
        out.window = window();
        out.size = size();
        out.data = data();
        out.src_mac = p_ + 6;
        out.has_timestamps = has_timestamps();
        if (out.has_timestamps) {
            out.ts_value = ts_value();
            out.ts_echo = ts_echo();
        }
        return out;
    }

  private:
    const uint8_t* p_;
};

// A parsed segment under the same names, for what treats both kinds alike.
class ParsedSegment {
  public:
    explicit ParsedSegment(const TcpSegment& segment) noexcept : segment_(segment) {}  // borrowed
    uint32_t seq() const noexcept { return segment_.seq; }
    uint32_t ack() const noexcept { return segment_.ack; }
    bool has_timestamps() const noexcept { return segment_.has_timestamps; }
    uint16_t flags() const noexcept { return segment_.flags; }
    uint32_t window() const noexcept { return segment_.window; }
    uint32_t ts_value() const noexcept { return segment_.ts_value; }
    const uint8_t* data(bool) const noexcept { return segment_.data; }
    uint32_t size(bool) const noexcept { return segment_.size; }
    const TcpSegment& whole() const noexcept { return segment_; }

  private:
    const TcpSegment& segment_;
};

}  // namespace cachee::net
