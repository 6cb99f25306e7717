// SPDX-License-Identifier: Apache-2.0
// One IPv4 address and some IPv6 addresses on one frame port: everything below TCP. Receives
// frames, answers ARP, neighbour discovery and echo requests itself, hands TCP segments up; builds
// Ethernet, IP and TCP headers with the port's offloads and stages frames for one burst. Not the
// protocol: it keeps no connection. Worker thread only.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "net/arp_cache.h"
#include "net/bytes.h"
#include "net/checksum.h"
#include "net/frame_port.h"
#include "net/headers.h"
#include "net/icmp_error.h"
#include "net/ipv6.h"
#include "net/neighbour_cache.h"
#include "net/rate_limit.h"
#include "net/usual_segment.h"
#include "stats/counters.h"

namespace cachee::net {

struct InterfaceOptions {
    uint32_t local_ip = 0;
    uint32_t prefix_length = 24;
    uint32_t gateway_ip = 0;  // 0: none
    bool verify_checksums = true;
    uint16_t vlan_id = 0;  // 0: untagged; 1..4094: all that goes out, all that comes in
    Ipv6Options ipv6 = {};
    uint32_t neighbours_max = 256;       // next hops remembered
    uint32_t icmp_replies_per_s = 1000;  // echo replies and errors; as many ARP and ND replies
    uint64_t secret_seed = 0;            // makes the limits' exact numbers unknown outside
};

// What handle() made of a frame: a TCP segment over one of the two, or nothing to do any more.
// kUsual: is_usual(), and not handled yet.
enum class Received : uint8_t { kNone, kIpv4, kIpv6, kUsual };

// What the headers of an outgoing segment say. Addresses and numbers in host order.
struct SegmentFields {
    MacAddress dst_mac{};
    uint16_t window = 0;
    uint32_t remote_ip = 0;          // IPv6: the flow label, in its lower 20 bits
    const Ipv6Pair* ipv6 = nullptr;  // the addresses; nullptr: IPv4
    uint16_t remote_port = 0;
    uint16_t local_port = 0;
    uint32_t seq = 0;
    uint32_t ack = 0;
    uint8_t flags = 0;
    uint8_t option_bytes = 0;  // multiple of 4
    uint8_t ecn = 0;           // of the IP header
    uint16_t tso_mss = 0;      // 0: one segment
    uint8_t options[40] = {};
};

// The segment of every request and reply: IPv4, no option but timestamps, no TSO. What is borrowed
// here is read just before it is written to the frame, and so never waits for it in memory.
struct PlainFields {
    const ConnectionKey& key;  // the peer's address, and both ports
    const MacAddress& dst_mac;
    const uint32_t& seq;
    const uint32_t& ack;
    const uint32_t& ts_echo;
    uint32_t ts_value;
    uint16_t window;
    uint8_t flags;
};

class Interface {
  public:
    Interface(FramePort& port, const InterfaceOptions& options, stats::WorkerCounters* counters);
    ~Interface();
    Interface(const Interface&) = delete;
    Interface& operator=(const Interface&) = delete;

    const PortInfo& port_info() const noexcept { return port_.info(); }
    uint32_t local_ip() const noexcept { return options_.local_ip; }

    // Who is told of ICMP errors about segments; nullptr: nobody. Borrowed.
    void set_error_sink(IcmpErrorSink* sink) noexcept { error_sink_ = sink; }

    // The caller counts them.
    size_t receive(RxFrame* frames, size_t max) noexcept { return port_.rx_burst(frames, max); }
    void release(const RxFrame* frames, size_t count) noexcept { port_.rx_release(frames, count); }
    // True: a frame to our address that UsualSegment can read, with good checksums. Not judged are
    // what tells a connection from none, its source address and ports. False says nothing.
    bool is_usual(const RxFrame& frame) const noexcept;
    // Not kNone: a TCP segment for us, in `out`, which points into the frame. Everything else is
    // dealt with.
    Received handle(const RxFrame& frame, uint32_t tick, TcpSegment& out) noexcept;

    // The link address for a destination; false when it is not known yet (a request was sent if
    // due).
    bool resolve(uint32_t ip, uint32_t tick, MacAddress& mac) noexcept;
    bool resolve(const Ipv6Address& ip, uint32_t tick, MacAddress& mac) noexcept;
    uint32_t next_hop(uint32_t ip) const noexcept;
    // Grows each time an address became known.
    uint32_t resolutions() const noexcept { return resolutions_; }
    // Gratuitous ARP; with IPv6 the tests of our addresses begin.
    void announce(uint32_t tick) noexcept;
    // Questions that have to be repeated, and what ends; every kTimerTicks or so.
    static constexpr uint32_t kTimerTicks = 100;
    void on_timer(uint32_t tick) noexcept;

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
        if (staged_end_ == spare_end_ && !make_room()) [[unlikely]]
            return nullptr;
        return &frames_[staged_end_];
    }
    static uint8_t* payload_of(TxFrame& frame, uint32_t option_bytes, bool ipv6 = false) noexcept {
        const uint32_t ip_bytes = ipv6 ? kIpv6Bytes : kIpv4Bytes;
        return frame.data + kEthernetBytes + ip_bytes + kTcpBytes + option_bytes;
    }
    // The end of the payload stays where it lies; see FramePort::tx_attach().
    bool can_attach() const noexcept { return info_.tx_attach && info_.tx_tcp_checksum; }
    bool attach(TxFrame& frame, const uint8_t* data, uint32_t size, io::Lender& lender) noexcept {
        return port_.tx_attach(frame, data, size, lender);
    }
    // Writes the headers in front of payload_bytes already in place and stages the frame.
    void send_segment(TxFrame& frame, const SegmentFields& fields, uint32_t payload_bytes) noexcept;
    template <bool kTimestamps>
    void send_plain(TxFrame& frame, const PlainFields& fields, uint32_t payload_bytes) noexcept;
    // Hands the staged frames to the port; what it does not take stays for the next call.
    void push() noexcept {
        if (staged_end_ == staged_begin_) return;
        if (options_.vlan_id != 0) tag_staged();
        const size_t sent = port_.tx_burst(&frames_[staged_begin_], staged_end_ - staged_begin_);
        staged_begin_ += static_cast<uint32_t>(sent);
        count(stats::Counter::frames_out, sent);
        count(stats::Counter::frame_bytes_out, uncounted_bytes_);
        uncounted_bytes_ = 0;
    }
    void wait(uint64_t max_ns) noexcept { port_.wait(max_ns); }

    // Largest payload of one frame with kTxTso; 0 when the port has none.
    uint32_t tso_payload_max(uint32_t option_bytes, bool ipv6) const noexcept;

    bool has_ipv6() const noexcept { return options_.ipv6.enabled; }
    bool hears_groups() const noexcept { return hears_groups_; }
    // Our address to talk to that one from; nullptr: there is none.
    const Ipv6Address* source_for(const Ipv6Address& remote) const noexcept;

  private:
    static constexpr uint32_t kFramesMax = 64;
    static constexpr uint32_t kSpareMax = 32;  // asked of the port at a time

    void count(stats::Counter id, uint64_t n = 1) noexcept { counters_->add(id, n); }
    bool usual_checksums_good(const RxFrame& frame) const noexcept;
    // What the link header announces: where the packet begins, how long it can be, its type.
    struct Packet {
        const uint8_t* data;
        uint32_t size;
        uint16_t type;
        bool to_group;  // the frame's destination is a group address, else it is ours
    };
    bool take_link_header(const RxFrame& frame, Packet& out) noexcept;
    Received handle_ipv4(const RxFrame& frame, const Packet& link, uint32_t tick,
                         TcpSegment& out) noexcept;
    Received handle_ipv6(const RxFrame& frame, const Packet& link, uint32_t tick,
                         TcpSegment& out) noexcept;
    bool make_room() noexcept;
    [[gnu::cold, gnu::noinline]] bool close_gap_cold() noexcept;
    uint16_t finish_checksums(uint8_t* ip, uint8_t* tcp, uint32_t remote_ip, uint32_t tcp_bytes,
                              bool tso) noexcept;
    void stage(TxFrame& frame, uint32_t size) noexcept {
        frame.size = size;
        ++staged_end_;
        uncounted_bytes_ += size;
    }
    static void set_offloads(TxFrame& frame, uint16_t flags, uint8_t tcp_header_bytes) noexcept {
        frame.flags = flags;
        frame.l2_bytes = kEthernetBytes;
        frame.l4_bytes = tcp_header_bytes;
        frame.l3_bytes = kIpv4Bytes;
        frame.tso_mss = 0;
    }
    void write_ethernet(uint8_t* p, const MacAddress& dst, uint16_t type) noexcept;
    bool ipv4_checksum_good(const RxFrame& frame, const Ipv4Packet& packet) noexcept;
    bool tcp_checksum_good(const RxFrame& frame, const uint8_t* segment, uint32_t bytes,
                           uint64_t pseudo) noexcept;
    void refuse_protocol_ipv6(const RxFrame& frame, const Ipv6Packet& packet,
                              uint32_t tick) noexcept;
    uint16_t finish_checksum_ipv6(const uint8_t* ip, uint8_t* tcp, uint32_t tcp_bytes,
                                  bool tso) noexcept;
    void tag_staged() noexcept;
    void handle_arp(const uint8_t* data, uint32_t size, uint32_t tick) noexcept;
    void handle_icmp(const RxFrame& frame, const Ipv4Packet& packet, uint32_t tick) noexcept;
    void answer_echo(const RxFrame& frame, const Ipv4Packet& packet, uint32_t tick) noexcept;
    void take_icmp_error(const uint8_t* icmp, uint32_t bytes, bool ipv6, IcmpError& error) noexcept;
    // Tells the sender why its packet is of no use here; bounded by the rate of replies.
    void send_icmp_error(const RxFrame& frame, const Ipv4Packet& packet, uint8_t code,
                         uint32_t tick) noexcept;
    void defend_address(uint32_t tick) noexcept;
    void send_arp(uint16_t operation, const MacAddress& dst, const MacAddress& target_mac,
                  uint32_t target_ip) noexcept;
    void write_ipv4(uint8_t* p, uint32_t dst_ip, uint8_t protocol, uint32_t total) noexcept;
    static void write_ipv6(uint8_t* p, const Ipv6Address& src, const Ipv6Address& dst,
                           uint32_t flow_label, uint8_t protocol, uint32_t payload_bytes) noexcept;

    // --- interface_ipv6.cc
    struct LocalAddress {
        Ipv6Address address;
        Ipv6Address group;  // its solicited-node group
        uint32_t prefix_bits = 64;
        bool duplicate = false;  // another host has it: not used any more
    };
    void assign_ipv6_addresses();
    LocalAddress* find_local(const Ipv6Address& address) noexcept;
    bool joined(const Ipv6Address& group) const noexcept;
    bool ipv6_addresses_good(const Ipv6Packet& packet, const Packet& link) noexcept;

    // --- interface_neighbours.cc
    struct Router {
        Ipv6Address address;  // link-local; unspecified: none
        uint32_t until_tick = 0;
    };
    uint8_t* start_icmpv6(TxFrame& frame, const MacAddress& dst_mac, const Ipv6Address& src,
                          const Ipv6Address& dst, uint32_t bytes, uint8_t hops) noexcept;
    void finish_icmpv6(TxFrame& frame, uint8_t* icmp, uint32_t bytes) noexcept;
    TxFrame* control_frame() noexcept;
    const uint8_t* nonce() const noexcept { return reinterpret_cast<const uint8_t*>(&test_nonce_); }
    void send_solicitation(const Ipv6Address& target, const uint8_t* mac,
                           const Ipv6Address& src) noexcept;
    void send_advertisement(const LocalAddress& local, const Ipv6Address& to,
                            const uint8_t* mac) noexcept;
    void send_router_solicitation() noexcept;
    void send_listener_report(bool change) noexcept;
    void handle_icmpv6(const RxFrame& frame, const Ipv6Packet& packet, uint32_t tick) noexcept;
    void take_icmpv6_error(const Ipv6Packet& packet) noexcept;
    void send_icmpv6_error(const RxFrame& frame, const uint8_t* packet, uint8_t type, uint8_t code,
                           uint32_t word, uint32_t tick) noexcept;
    void answer_echo_ipv6(const RxFrame& frame, const Ipv6Packet& packet, uint32_t tick) noexcept;
    bool take_discovery(const RxFrame& frame, const Ipv6Packet& packet, uint32_t tick) noexcept;
    bool take_solicitation(const RxFrame& frame, const Ipv6Packet& packet, const uint8_t* link,
                           uint32_t tick) noexcept;
    void answer_solicitation(const LocalAddress& local, const Ipv6Address& to, const uint8_t* mac,
                             uint32_t tick) noexcept;
    bool take_advertisement(const Ipv6Packet& packet, const uint8_t* link, uint32_t tick) noexcept;
    bool take_router_advertisement(const Ipv6Packet& packet, const uint8_t* link,
                                   uint32_t tick) noexcept;
    bool router_alive(const Router& router, uint32_t tick) const noexcept;
    void give_up_address(LocalAddress& local) noexcept;
    bool next_hop(const Ipv6Address& ip, uint32_t tick, Ipv6Address& hop) const noexcept;
    void solicit(const Ipv6Address& target, const uint8_t* mac) noexcept;
    void announce_ipv6(uint32_t tick) noexcept;

    FramePort& port_;
    const PortInfo& info_;  // the port's
    const InterfaceOptions options_;
    stats::WorkerCounters* const counters_;
    // Our address as the first bytes of a frame in, and the constant bytes of a frame out.
    // With a VLAN no frame matches it, so that all take the general way.
    const uint64_t mac_first_;
    const uint64_t ethernet_source_;  // bytes 6..13 of a frame: our address, and the type IPv4
    const uint32_t local_ip_be_;
    const bool port_sums_;       // both checksums of what goes out
    const uint32_t pseudo_sum_;  // of the pseudo-header: our address and the protocol, folded
    IcmpErrorSink* error_sink_ = nullptr;
    uint16_t ip_id_ = 0;
    uint32_t resolutions_ = 0;
    uint64_t uncounted_bytes_ = 0;  // staged since the last push()
    // Transmit frames, each in one place from the port and back to it:
    //   | gone | staged: filled, to be sent | spare | none yet |
    //        staged_begin_            staged_end_   spare_end_
    std::array<TxFrame, kFramesMax> frames_;
    uint32_t staged_begin_ = 0;
    uint32_t staged_end_ = 0;
    uint32_t spare_end_ = 0;
    uint32_t tagged_end_ = 0;  // with a VLAN: up to here the port has seen them, and did not take
    ArpCache arp_;
    uint32_t defended_tick_ = 0;
    bool defended_ = false;
    std::array<LocalAddress, Ipv6Options::kAddressesMax + 1> local_;  // the link-local one first
    uint32_t local_count_ = 0;
    NeighbourCache neighbours_;
    std::array<Router, 4> routers_{};  // from advertisements, the first that lives is used
    RateLimit reply_limit_;            // echo replies and errors
    RateLimit control_limit_;          // answers of ARP and neighbour discovery
    bool hears_groups_ = true;
    bool testing_addresses_ = false;
    uint64_t test_nonce_ = 0;  // of our tests: 48 bits
    uint32_t tested_tick_ = 0;
    uint32_t solicited_router_tick_ = 0;
    uint32_t router_solicitations_ = 0;
};

// --- the hot path -------------------------------------------------------------------------------

// The same checks as handle(), several fields at once.
[[gnu::always_inline]] inline bool Interface::is_usual(const RxFrame& frame) const noexcept {
    using Usual = UsualSegment;
    const uint8_t* const p = frame.data;
    if (frame.size < Usual::kOptionsAt) return false;
    if (load_word<uint64_t>(p) << 16 != mac_first_) return false;
    // Type IPv4; version 4 with a header of 20 bytes; not "congestion experienced", whose low bit
    // only the unused ECT(1) shares. Then: no fragment; protocol TCP.
    if ((load_word<uint32_t>(p + 12) & 0x01ffffff) != 0x00450008) return false;
    if ((load_word<uint32_t>(p + Usual::kIpAt + 6) & 0xff00ff3f) != 0x06000000) return false;
    if (load_word<uint32_t>(p + Usual::kIpAt + 16) != local_ip_be_) return false;
    const uint32_t total = load_be16(p + Usual::kIpAt + 2);
    if (total > frame.size - Usual::kIpAt) return false;
    const uint32_t words = p[Usual::kTcpAt + 12] >> 4;
    if (words == (kTcpBytes + Usual::kTimestampBytes) / 4) [[likely]] {
        if (total < kIpv4Bytes + kTcpBytes + Usual::kTimestampBytes) return false;
        if (load_be32(p + Usual::kOptionsAt) != Usual::kTimestampOption) return false;
    } else if (words != kTcpBytes / 4 || total < kIpv4Bytes + kTcpBytes) {
        return false;
    }
    if (frame.ip_checksum == Checksum::kGood && frame.tcp_checksum == Checksum::kGood) [[likely]]
        return true;
    return usual_checksums_good(frame);
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
    std::memcpy(p, fields.dst_mac.data(), 6);
    store_word<uint64_t>(p + 6, ethernet_source_);
    store_word<uint16_t>(p + 14, 0x0045);
    store_be16(ip + 2, static_cast<uint16_t>(kIpv4Bytes + tcp_bytes));
    store_be16(ip + 4, ip_id_++);
    store_word<uint32_t>(ip + 6, 0x06400040);  // do not fragment, 64 hops, TCP
    store_word<uint16_t>(ip + 10, 0);
    store_word<uint32_t>(ip + 12, local_ip_be_);
    const uint32_t remote = __builtin_bswap32(static_cast<uint32_t>(fields.key >> 32));
    store_word<uint32_t>(ip + 16, remote);
    const auto ports = static_cast<uint32_t>(fields.key);
    store_be32(tcp, ports << 16 | ports >> 16);
    store_be32(tcp + 4, fields.seq);
    store_be32(tcp + 8, fields.ack);
    store_be32(tcp + 12, kHeaderBytes << 26 | uint32_t{fields.flags} << 16 | fields.window);
    if (kTimestamps) {
        store_be32(tcp + kTcpBytes, UsualSegment::kTimestampOption);
        store_be32(tcp + kTcpBytes + 4, fields.ts_value);
        store_be32(tcp + kTcpBytes + 8, fields.ts_echo);
    }
    if (port_sums_) [[likely]] {
        // Our part, the length, and the remote address in halves: at most 18 bits.
        const uint32_t sum = pseudo_sum_ + __builtin_bswap16(static_cast<uint16_t>(tcp_bytes)) +
                             (remote & 0xffff) + (remote >> 16);
        store_word<uint32_t>(tcp + 16, checksum_fold_word(sum));
        set_offloads(frame, kTxIpChecksum | kTxTcpChecksum, kHeaderBytes);
    } else {
        store_word<uint32_t>(tcp + 16, 0);
        const auto remote_ip = static_cast<uint32_t>(fields.key >> 32);
        set_offloads(frame, finish_checksums(ip, tcp, remote_ip, tcp_bytes, false), kHeaderBytes);
    }
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
