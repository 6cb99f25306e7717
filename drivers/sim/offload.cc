// SPDX-License-Identifier: Apache-2.0
// Software offloads; see offload.h. Any thread.
#include "drivers/sim/offload.h"

#include <algorithm>
#include <vector>

namespace cachee::sim {
namespace {

constexpr uint32_t kTcpProtocol = 6;

uint32_t get16(const uint8_t* p) { return static_cast<uint32_t>(p[0]) << 8 | p[1]; }

void put16(uint8_t* p, uint32_t value) {
    p[0] = static_cast<uint8_t>(value >> 8);
    p[1] = static_cast<uint8_t>(value);
}

uint32_t get32(const uint8_t* p) { return get16(p) << 16 | get16(p + 2); }

void put32(uint8_t* p, uint32_t value) {
    put16(p, value >> 16);
    put16(p + 2, value & 0xffff);
}

uint32_t ones_sum(const uint8_t* p, uint32_t size, uint32_t sum) {
    for (uint32_t i = 0; i + 1 < size; i += 2) {
        sum += get16(p + i);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if (size % 2 != 0) sum += static_cast<uint32_t>(p[size - 1]) << 8;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

uint32_t pseudo_sum(const uint8_t* ip, uint32_t tcp_bytes) {
    const bool ipv6 = ip[0] >> 4 == 6;
    return ipv6 ? ones_sum(ip + 8, 32, kTcpProtocol + tcp_bytes)
                : ones_sum(ip + 12, 8, kTcpProtocol + tcp_bytes);
}

net::Checksum judged(uint32_t sum) {
    return sum == 0xffff ? net::Checksum::kGood : net::Checksum::kBad;
}

// Without extension headers only; what has them stays unknown.
void judge_ipv6(net::RxFrame& frame, const uint8_t* ip, uint32_t size) {
    if (size < 40 || ip[6] != kTcpProtocol) return;
    const uint32_t bytes = get16(ip + 4);
    if (40 + bytes > size) return;
    frame.tcp_checksum = judged(ones_sum(ip + 40, bytes, pseudo_sum(ip, bytes)));
}

// REQUIRES: the fields' offsets lie inside the frame, which the stack that asked for it answers
// for.
void fill_checksums(std::vector<uint8_t>& bytes, const net::TxFrame& frame) {
    uint8_t* ip = bytes.data() + frame.l2_bytes;
    uint8_t* tcp = ip + frame.l3_bytes;
    const uint32_t tcp_bytes =
        static_cast<uint32_t>(bytes.size()) - frame.l2_bytes - frame.l3_bytes;
    const bool ipv6 = (frame.flags & net::kTxIpv6) != 0;
    if (!ipv6 && (frame.flags & net::kTxIpChecksum) != 0) {
        put16(ip + 10, 0);
        put16(ip + 10, ~ones_sum(ip, frame.l3_bytes, 0) & 0xffff);
    }
    if ((frame.flags & net::kTxTso) != 0) {
        // The pseudo-header sum was taken with a length of 0: each segment adds its own.
        put16(tcp + 16, ones_sum(nullptr, 0, get16(tcp + 16) + tcp_bytes));
    }
    if ((frame.flags & net::kTxTcpChecksum) != 0) {
        const uint32_t sum = ones_sum(tcp, tcp_bytes, 0);  // the field holds the pseudo-header sum
        put16(tcp + 16, ~sum & 0xffff);
    }
}

}  // namespace

void for_each_wire_frame(const net::TxFrame& frame,
                         const std::function<void(const uint8_t*, uint32_t)>& sink) {
    if ((frame.flags & (net::kTxIpChecksum | net::kTxTcpChecksum | net::kTxTso)) == 0) {
        sink(frame.data, frame.size);
        return;
    }
    const uint32_t headers = uint32_t{frame.l2_bytes} + frame.l3_bytes + frame.l4_bytes;
    const uint32_t payload = frame.size - headers;
    const bool tso = (frame.flags & net::kTxTso) != 0;
    const uint32_t step = tso ? frame.tso_mss : std::max(payload, 1u);
    uint32_t done = 0;
    do {
        const uint32_t n = std::min(step, payload - done);
        std::vector<uint8_t> bytes(frame.data, frame.data + headers);
        bytes.insert(bytes.end(), frame.data + headers + done, frame.data + headers + done + n);
        uint8_t* ip = bytes.data() + frame.l2_bytes;
        uint8_t* tcp = ip + frame.l3_bytes;
        if ((frame.flags & net::kTxIpv6) != 0) {
            put16(ip + 4, static_cast<uint32_t>(bytes.size()) - frame.l2_bytes - 40);
        } else {
            put16(ip + 2, static_cast<uint32_t>(bytes.size()) - frame.l2_bytes);
            put16(ip + 4, get16(ip + 4) + done / std::max(step, 1u));
        }
        put32(tcp + 4, get32(tcp + 4) + done);
        if (done + n < payload) tcp[13] &= static_cast<uint8_t>(~0x09);  // FIN, PSH: last only
        fill_checksums(bytes, frame);
        sink(bytes.data(), static_cast<uint32_t>(bytes.size()));
        done += n;
    } while (done < payload);
}

void judge_checksums(net::RxFrame& frame) noexcept {
    constexpr uint32_t kEthernet = 14;
    const uint8_t* ip = frame.data + kEthernet;
    if (frame.size < kEthernet + 20) return;
    if (get16(frame.data + 12) == 0x86dd) judge_ipv6(frame, ip, frame.size - kEthernet);
    if (get16(frame.data + 12) != 0x0800) return;
    const uint32_t ip_header = (ip[0] & 0x0f) * 4u;
    const uint32_t total = get16(ip + 2);
    if (ip_header < 20 || total < ip_header || kEthernet + total > frame.size) return;
    frame.ip_checksum = judged(ones_sum(ip, ip_header, 0));
    if (ip[9] != kTcpProtocol) return;
    const uint32_t sum =
        ones_sum(ip + ip_header, total - ip_header, pseudo_sum(ip, total - ip_header));
    frame.tcp_checksum = judged(sum);
}

}  // namespace cachee::sim
