// SPDX-License-Identifier: Apache-2.0
// Header parsing; see headers.h. Data plane, worker thread.
#include "net/headers.h"

#include <algorithm>

#include "net/bytes.h"

namespace cachee::net {
namespace {

constexpr uint8_t kOptionEnd = 0;
constexpr uint8_t kOptionNop = 1;
constexpr uint8_t kOptionMss = 2;
constexpr uint8_t kOptionWindowScale = 3;
constexpr uint8_t kOptionSackPermitted = 4;
constexpr uint8_t kOptionSack = 5;
constexpr uint8_t kOptionTimestamps = 8;
constexpr uint8_t kWindowScaleMax = 14;  // RFC 7323, 2.3

[[gnu::noinline]] void parse_options(const uint8_t* p, uint32_t left, TcpSegment& out) noexcept {
    while (left > 0) {
        const uint8_t kind = p[0];
        if (kind == kOptionEnd) return;
        if (kind == kOptionNop) {
            ++p;
            --left;
            continue;
        }
        if (left < 2 || p[1] < 2 || p[1] > left) return;
        const uint8_t length = p[1];
        if (kind == kOptionMss && length == 4) {
            out.mss = load_be16(p + 2);
        } else if (kind == kOptionWindowScale && length == 3) {
            out.window_scale = std::min(p[2], kWindowScaleMax);
        } else if (kind == kOptionSackPermitted && length == 2) {
            out.sack_permitted = true;
        } else if (kind == kOptionTimestamps && length == 10) {
            out.has_timestamps = true;
            out.ts_value = load_be32(p + 2);
            out.ts_echo = load_be32(p + 6);
        } else if (kind == kOptionSack && length >= 10 && (length - 2) % 8 == 0) {
            out.flags |= kHasSack;
            out.sack = p + 2;
            out.sack_blocks = static_cast<uint8_t>((length - 2) / 8);
        }
        p += length;
        left -= length;
    }
}

}  // namespace

bool parse_arp(const uint8_t* data, uint32_t size, ArpPacket& out) noexcept {
    if (size < kArpBytes) return false;
    if (load_be16(data) != 1 || load_be16(data + 2) != kEtherTypeIpv4) return false;
    if (data[4] != 6 || data[5] != 4) return false;
    out.operation = load_be16(data + 6);
    std::copy_n(data + 8, 6, out.sender_mac.begin());
    out.sender_ip = load_be32(data + 14);
    out.target_ip = load_be32(data + 24);
    return out.operation == 1 || out.operation == 2;
}

bool parse_ipv4(const uint8_t* data, uint32_t size, Ipv4Packet& out) noexcept {
    if (size < kIpv4Bytes || (data[0] >> 4) != 4) return false;
    const uint32_t header_bytes = static_cast<uint32_t>(data[0] & 0x0f) * 4;
    const uint32_t total = load_be16(data + 2);
    if (header_bytes < kIpv4Bytes || total < header_bytes || total > size) return false;
    out.header = data;
    out.header_bytes = header_bytes;
    out.payload = data + header_bytes;
    out.payload_bytes = total - header_bytes;
    out.fragment = (load_be16(data + 6) & 0x3fff) != 0;
    out.protocol = data[9];
    out.src_ip = load_be32(data + 12);
    out.dst_ip = load_be32(data + 16);
    return true;
}

bool parse_tcp(const uint8_t* data, uint32_t size, TcpSegment& out) noexcept {
    if (size < kTcpBytes) return false;
    const uint32_t header_bytes = static_cast<uint32_t>(data[12] >> 4) * 4;
    if (header_bytes < kTcpBytes || header_bytes > size) return false;
    out.src_port = load_be16(data);
    out.dst_port = load_be16(data + 2);
    out.seq = load_be32(data + 4);
    out.ack = load_be32(data + 8);
    out.flags = data[13];
    out.window = load_be16(data + 14);
    out.data = data + header_bytes;
    out.size = size - header_bytes;
    out.mss = 0;
    out.window_scale = kNoWindowScale;
    out.has_timestamps = false;
    out.sack_permitted = false;
    out.ipv6 = false;
    if (out.src_port == 0 || out.dst_port == 0) return false;
    const uint8_t* options = data + kTcpBytes;
    // The layout every common stack sends on data: NOP, NOP, timestamps.
    if (header_bytes == kTcpBytes + 12 && load_be32(options) == 0x0101080a) {
        out.has_timestamps = true;
        out.ts_value = load_be32(options + 4);
        out.ts_echo = load_be32(options + 8);
    } else if (header_bytes > kTcpBytes) {
        parse_options(options, header_bytes - kTcpBytes, out);
    }
    return true;
}

std::optional<uint32_t> parse_ipv4_address(std::string_view text) {
    uint32_t address = 0;
    for (int part = 0; part < 4; ++part) {
        if (part > 0) {
            if (text.empty() || text.front() != '.') return std::nullopt;
            text.remove_prefix(1);
        }
        uint32_t value = 0;
        size_t digits = 0;
        while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9' && digits < 4) {
            value = value * 10 + static_cast<uint32_t>(text[digits] - '0');
            ++digits;
        }
        if (digits == 0 || digits > 3 || value > 255) return std::nullopt;
        text.remove_prefix(digits);
        address = (address << 8) | value;
    }
    if (!text.empty()) return std::nullopt;
    return address;
}

std::string format_ipv4_address(uint32_t address) {
    return std::to_string(address >> 24) + "." + std::to_string((address >> 16) & 0xff) + "." +
           std::to_string((address >> 8) & 0xff) + "." + std::to_string(address & 0xff);
}

}  // namespace cachee::net
