// SPDX-License-Identifier: Apache-2.0
// One IPv4 address on one frame port: everything below TCP. Receives frames, answers ARP and ICMP
// itself, hands TCP segments up; builds Ethernet, IPv4 and TCP headers with the port's offloads and
// stages frames for one burst. Not the protocol: it keeps no connection. Worker thread only.
#pragma once

#include <array>
#include <cstdint>

#include "net/arp_cache.h"
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
    uint8_t options[20] = {};
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
    bool handle(const RxFrame& frame, uint32_t tick, TcpSegment& out) noexcept;

    // The link address for a destination; false when it is not known yet (a request was sent if
    // due).
    bool resolve(uint32_t ip, uint32_t tick, MacAddress& mac) noexcept;
    uint32_t next_hop(uint32_t ip) const noexcept;
    // Grows each time an address became known.
    uint32_t resolutions() const noexcept { return resolutions_; }
    void announce() noexcept;  // gratuitous ARP

    // A frame to fill, or nullptr when the port has none. Must be followed by send_*() of that
    // frame.
    TxFrame* tx_frame() noexcept;
    static uint8_t* payload_of(TxFrame& frame, uint32_t option_bytes) noexcept {
        return frame.data + kEthernetBytes + kIpv4Bytes + kTcpBytes + option_bytes;
    }
    // Writes the headers in front of payload_bytes already in place and stages the frame.
    void send_segment(TxFrame& frame, const SegmentFields& fields, uint32_t payload_bytes) noexcept;
    // Hands the staged frames to the port; what it does not take stays for the next call.
    void push() noexcept;
    void wait(uint64_t max_ns) noexcept { port_.wait(max_ns); }

    // Largest payload of one frame with kTxTso; 0 when the port has none.
    uint32_t tso_payload_max(uint32_t option_bytes) const noexcept;

  private:
    static constexpr size_t kStagedMax = 256;
    static constexpr size_t kSpareMax = 32;

    void count(stats::Counter id, uint64_t n = 1) noexcept { counters_->add(id, n); }
    void stage(TxFrame& frame, uint32_t size) noexcept;
    void write_ethernet(uint8_t* p, const MacAddress& dst, uint16_t type) noexcept;
    bool ipv4_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept;
    bool tcp_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept;
    void handle_arp(const uint8_t* data, uint32_t size, uint32_t tick) noexcept;
    void handle_icmp(const RxFrame& frame, const Ipv4Packet& packet) noexcept;
    void send_arp(uint16_t operation, const MacAddress& dst, const MacAddress& target_mac,
                  uint32_t target_ip) noexcept;
    void write_ipv4(uint8_t* p, uint32_t dst_ip, uint8_t protocol, uint32_t total) noexcept;

    FramePort& port_;
    const InterfaceOptions options_;
    stats::WorkerCounters* const counters_;
    uint16_t ip_id_ = 0;
    uint32_t resolutions_ = 0;
    size_t staged_count_ = 0;
    size_t spare_count_ = 0;
    std::array<TxFrame, kStagedMax> staged_;
    std::array<TxFrame, kSpareMax> spare_;
    ArpCache arp_;
};

}  // namespace cachee::net
