// SPDX-License-Identifier: Apache-2.0
// One IPv4 address on one frame port: everything below TCP. Receives frames, answers ARP and ICMP
// itself, hands TCP segments up; builds Ethernet, IPv4 and TCP headers with the port's offloads and
// stages frames for one burst. Not the protocol: it keeps no connection. Worker thread only.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "net/arp_cache.h"
#include "net/bytes.h"
#include "net/checksum.h"
#include "net/frame_port.h"
#include "net/headers.h"
#include "stats/counters.h"

namespace cachee::net {

struct InterfaceOptions {
    uint32_t local_ip = 0;
    uint32_t prefix_length = 24;
    uint32_t gateway_ip = 0;  // 0: none
    bool verify_checksums = true;
};

// What the headers of an outgoing segment say. Addresses and numbers in host order.
struct SegmentFields {
    MacAddress dst_mac{};
    uint16_t window = 0;
    uint32_t remote_ip = 0;
    uint16_t remote_port = 0;
    uint16_t local_port = 0;
    uint32_t seq = 0;
    uint32_t ack = 0;
    uint8_t flags = 0;
    uint8_t option_bytes = 0;  // multiple of 4
    uint16_t tso_mss = 0;      // 0: one segment
    uint8_t options[40] = {};
};

// The segment of every request and reply: no option but timestamps, no TSO.
struct PlainFields {
    const uint8_t* dst_mac;
    uint16_t window;
    uint32_t remote_ip;
    uint16_t remote_port;
    uint16_t local_port;
    uint32_t seq;
    uint32_t ack;
    uint8_t flags;
    uint32_t ts_value;
    uint32_t ts_echo;
};

class Interface {
  public:
    Interface(FramePort& port, const InterfaceOptions& options, stats::WorkerCounters* counters);
    ~Interface();
    Interface(const Interface&) = delete;
    Interface& operator=(const Interface&) = delete;

    const PortInfo& port_info() const noexcept { return port_.info(); }
    uint32_t local_ip() const noexcept { return options_.local_ip; }

    size_t receive(RxFrame* frames, size_t max) noexcept;
    void release(const RxFrame* frames, size_t count) noexcept { port_.rx_release(frames, count); }
    // True: a TCP segment for us, in `out`, which points into the frame. Everything else is dealt
    // with.
    [[gnu::always_inline]] bool handle(const RxFrame& frame, uint32_t tick,
                                       TcpSegment& out) noexcept {
        return take_usual(frame, out) || handle_any(frame, tick, out);
    }

    // The link address for a destination; false when it is not known yet (a request was sent if
    // due).
    bool resolve(uint32_t ip, uint32_t tick, MacAddress& mac) noexcept;
    uint32_t next_hop(uint32_t ip) const noexcept;
    // Grows each time an address became known.
    uint32_t resolutions() const noexcept { return resolutions_; }
    void announce() noexcept;  // gratuitous ARP

    // A frame to fill, or nullptr when the port has none. Must be followed by send_*() of that
    // frame.
    TxFrame* tx_frame() noexcept {
        TxFrame* const frame = next_frame();
        if (frame == nullptr) return nullptr;
        frame->flags = 0;
        frame->l2_bytes = 0;
        frame->l3_bytes = 0;
        frame->l4_bytes = 0;
        frame->tso_mss = 0;
        return frame;
    }
    // The same for send_plain(), which sets all of the frame's fields.
    TxFrame* next_frame() noexcept {
        if ((staged_count_ == kStagedMax || spare_count_ == 0) && !make_room()) return nullptr;
        TxFrame& frame = staged_[staged_count_];
        frame = spare_[--spare_count_];
        return &frame;
    }
    static uint8_t* payload_of(TxFrame& frame, uint32_t option_bytes) noexcept {
        return frame.data + kEthernetBytes + kIpv4Bytes + kTcpBytes + option_bytes;
    }
    // Writes the headers in front of payload_bytes already in place and stages the frame.
    void send_segment(TxFrame& frame, const SegmentFields& fields, uint32_t payload_bytes) noexcept;
    template <bool kTimestamps>
    void send_plain(TxFrame& frame, const PlainFields& fields, uint32_t payload_bytes) noexcept;
    // Hands the staged frames to the port; what it does not take stays for the next call.
    void push() noexcept;
    void wait(uint64_t max_ns) noexcept { port_.wait(max_ns); }

    // Largest payload of one frame with kTxTso; 0 when the port has none.
    uint32_t tso_payload_max(uint32_t option_bytes) const noexcept;

  private:
    static constexpr size_t kStagedMax = 256;
    static constexpr size_t kSpareMax = 32;

    void count(stats::Counter id, uint64_t n = 1) noexcept { counters_->add(id, n); }
    // The usual segment of a session, parsed in one go; false says nothing, handle_any() judges.
    bool take_usual(const RxFrame& frame, TcpSegment& out) const noexcept;
    bool handle_any(const RxFrame& frame, uint32_t tick, TcpSegment& out) noexcept;
    bool make_room() noexcept;
    uint16_t finish_checksums(uint8_t* ip, uint8_t* tcp, uint32_t remote_ip, uint32_t tcp_bytes,
                              bool tso) noexcept;
    void stage(TxFrame& frame, uint32_t size) noexcept {
        frame.size = size;
        ++staged_count_;
        ++uncounted_frames_;
        uncounted_bytes_ += size;
    }
    void write_ethernet(uint8_t* p, const MacAddress& dst, uint16_t type) noexcept;
    bool ipv4_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept;
    bool tcp_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept;
    void handle_arp(const uint8_t* data, uint32_t size, uint32_t tick) noexcept;
    void handle_icmp(const RxFrame& frame, const Ipv4Packet& packet) noexcept;
    void send_arp(uint16_t operation, const MacAddress& dst, const MacAddress& target_mac,
                  uint32_t target_ip) noexcept;
    void write_ipv4(uint8_t* p, uint32_t dst_ip, uint8_t protocol, uint32_t total) noexcept;

    FramePort& port_;
    const PortInfo& info_;  // the port's
    const InterfaceOptions options_;
    stats::WorkerCounters* const counters_;
    // Our address as the first bytes of a frame in, and the constant bytes of a frame out.
    const uint64_t mac_first_;
    const uint64_t ethernet_low_;   // bytes 6..7 of a frame, at the top
    const uint64_t ethernet_high_;  // bytes 8..15: the rest of the address, type, IPv4's first two
    const uint32_t local_ip_be_;
    uint16_t ip_id_ = 0;
    uint32_t resolutions_ = 0;
    uint32_t uncounted_frames_ = 0;  // staged since the last push()
    uint64_t uncounted_bytes_ = 0;
    size_t staged_count_ = 0;
    size_t spare_count_ = 0;
    std::array<TxFrame, kStagedMax> staged_;
    std::array<TxFrame, kSpareMax> spare_;
    ArpCache arp_;
};

// --- the hot path -------------------------------------------------------------------------------

// To our address, IPv4 without options, no fragment, TCP with no option but timestamps where every
// stack puts them, checksums judged by the port. The same checks as handle_any(), several at once.
[[gnu::always_inline]] inline bool Interface::take_usual(const RxFrame& frame,
                                                         TcpSegment& out) const noexcept {
    constexpr uint32_t kIpAt = kEthernetBytes;
    constexpr uint32_t kTcpAt = kIpAt + kIpv4Bytes;
    constexpr uint32_t kOptionsAt = kTcpAt + kTcpBytes;
    const uint8_t* const p = frame.data;
    if (frame.size < kOptionsAt) return false;
    if (frame.ip_checksum != Checksum::kGood || frame.tcp_checksum != Checksum::kGood) return false;
    if (load_word<uint64_t>(p) << 16 != mac_first_) return false;
    // Type IPv4; version 4 with a header of 20 bytes. Then: no fragment; protocol TCP.
    if ((load_word<uint32_t>(p + 12) & 0x00ffffff) != 0x00450008) return false;
    if ((load_word<uint32_t>(p + kIpAt + 6) & 0xff00ff3f) != 0x06000000) return false;
    const uint32_t total = load_be16(p + kIpAt + 2);
    const uint32_t src_ip = load_be32(p + kIpAt + 12);
    if (total > frame.size - kIpAt) return false;
    // As in handle_any(): neither unset nor multicast and above, nor this very address.
    if (src_ip - 1 >= 0xdfffffff || src_ip == options_.local_ip) return false;
    if (load_word<uint32_t>(p + kIpAt + 16) != local_ip_be_) return false;
    const uint32_t header_bytes = static_cast<uint32_t>(p[kTcpAt + 12] >> 4) * 4;
    if (total < kIpv4Bytes + header_bytes) return false;
    out.has_timestamps = header_bytes == kTcpBytes + 12;
    if (out.has_timestamps) {
        if (load_be32(p + kOptionsAt) != 0x0101080a) return false;
        out.ts_value = load_be32(p + kOptionsAt + 4);
        out.ts_echo = load_be32(p + kOptionsAt + 8);
    } else if (header_bytes != kTcpBytes) {
        return false;
    }
    out.src_ip = src_ip;
    out.src_port = load_be16(p + kTcpAt);
    out.dst_port = load_be16(p + kTcpAt + 2);
    if (out.src_port == 0 || out.dst_port == 0) return false;
    out.seq = load_be32(p + kTcpAt + 4);
    out.ack = load_be32(p + kTcpAt + 8);
    out.flags = p[kTcpAt + 13] & 0x3f;
    out.window = load_be16(p + kTcpAt + 14);
    out.size = total - kIpv4Bytes - header_bytes;
    out.data = p + kTcpAt + header_bytes;
    out.src_mac = p + 6;
    out.mss = 0;
    out.window_scale = kNoWindowScale;
    out.sack_permitted = false;
    return true;
}

// What send_segment() writes, in words.
template <bool kTimestamps>
[[gnu::always_inline]] inline void Interface::send_plain(TxFrame& frame, const PlainFields& fields,
                                                         uint32_t payload_bytes) noexcept {
    uint8_t* const p = frame.data;
    uint8_t* const ip = p + kEthernetBytes;
    uint8_t* const tcp = ip + kIpv4Bytes;
    constexpr uint32_t kHeaderBytes = kTcpBytes + (kTimestamps ? 12 : 0);
    const uint32_t tcp_bytes = kHeaderBytes + payload_bytes;
    const uint64_t mac_low = load_word<uint32_t>(fields.dst_mac);
    const uint64_t mac_high = load_word<uint16_t>(fields.dst_mac + 4);
    store_word<uint64_t>(p, ethernet_low_ | mac_high << 32 | mac_low);
    store_word<uint64_t>(p + 8, ethernet_high_);
    store_be16(ip + 2, static_cast<uint16_t>(kIpv4Bytes + tcp_bytes));
    store_be16(ip + 4, ip_id_++);
    store_word<uint32_t>(ip + 6, 0x06400040);  // do not fragment, 64 hops, TCP
    store_word<uint16_t>(ip + 10, 0);
    store_word<uint32_t>(ip + 12, local_ip_be_);
    store_be32(ip + 16, fields.remote_ip);
    store_be32(tcp, uint32_t{fields.local_port} << 16 | fields.remote_port);
    store_be32(tcp + 4, fields.seq);
    store_be32(tcp + 8, fields.ack);
    store_be32(tcp + 12, kHeaderBytes << 26 | uint32_t{fields.flags} << 16 | fields.window);
    store_word<uint32_t>(tcp + 16, 0);
    if (kTimestamps) {
        store_be32(tcp + kTcpBytes, 0x0101080a);
        store_be32(tcp + kTcpBytes + 4, fields.ts_value);
        store_be32(tcp + kTcpBytes + 8, fields.ts_echo);
    }
    frame.flags = finish_checksums(ip, tcp, fields.remote_ip, tcp_bytes, false);
    frame.l2_bytes = kEthernetBytes;
    frame.l4_bytes = kHeaderBytes;
    frame.l3_bytes = kIpv4Bytes;
    frame.tso_mss = 0;
    stage(frame, kEthernetBytes + kIpv4Bytes + tcp_bytes);
}

// Both checksum fields, done here or left to the port: then its flags are returned.
inline uint16_t Interface::finish_checksums(uint8_t* ip, uint8_t* tcp, uint32_t remote_ip,
                                            uint32_t tcp_bytes, bool tso) noexcept {
    uint16_t flags = 0;
    if (tso || info_.tx_ip_checksum) {
        flags |= kTxIpChecksum;
    } else {
        checksum_store(ip + 10, checksum_finish(checksum_add(ip, kIpv4Bytes, 0)));
    }
    const uint64_t pseudo =
        pseudo_header_sum(options_.local_ip, remote_ip, kProtocolTcp, tso ? 0 : tcp_bytes);
    if (tso || info_.tx_tcp_checksum) {
        flags |= kTxTcpChecksum;
        checksum_store(tcp + 16, checksum_fold(pseudo));
    } else {
        checksum_store(tcp + 16, checksum_finish(checksum_add(tcp, tcp_bytes, pseudo)));
    }
    return flags;
}

}  // namespace cachee::net
