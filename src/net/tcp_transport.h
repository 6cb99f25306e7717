// SPDX-License-Identifier: Apache-2.0
// cachee's own TCP/IP as an io::Transport over one FramePort: server role (one listening port) and
// client role (connect()). RFC 9293 with window scale, timestamps and PAWS (7323), SACK (2018,
// 2883), RACK-TLP (8985), CUBIC (9438), RTO (6298), challenge ACKs (5961) and keyed initial
// sequence numbers (6528).
//
// One object per worker, used by that worker's thread only. Time is what poll() and flush() are
// told. All memory is taken in create(); afterwards nothing allocates, locks or calls the system
// (what the port does is the port's).
//
// Counted here: frames_*, drop_*, tcp_*, arp_in, icmp_*, and sessions_refused. Sessions and stream
// bytes are the worker's to count.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "base/units.h"
#include "io/transport.h"
#include "net/frame_port.h"
#include "net/ipv6.h"
#include "stats/counters.h"

namespace cachee::net {

// When the answer to a SYN is a cookie instead of a half-open entry (RFC 4987).
enum class SynCookiesUse : uint8_t { kOff, kAuto, kAlways };

// kAccept: when the peer asks; kAsk: in client role it is asked for too.
enum class Ecn : uint8_t { kOff, kAccept, kAsk };
enum class CongestionControl : uint8_t { kCubic, kNewReno };

struct TcpOptions {
    uint32_t local_ip = 0;        // host order; parse_ipv4_address() in net/headers.h
    uint32_t prefix_length = 24;  // 0..32
    uint32_t gateway_ip = 0;      // 0: none
    uint16_t listen_port = 0;     // 0: client role only
    uint16_t vlan_id = 0;         // 0: untagged, or 1..4094
    Ipv6Options ipv6 = {};
    uint32_t neighbours_max = 256;       // next hops remembered, of IPv4 and of IPv6
    uint32_t icmp_replies_per_s = 1000;  // echo replies and errors; as many of ARP and ND
    uint32_t paths_max = 1024;      // destinations whose packets are known to have to be smaller
    uint32_t path_mtu_age_s = 600;  // then full size is tried again (RFC 1191, 6.3)
    uint32_t sessions_max = 16384;
    uint32_t send_buffer_bytes_max = 1 * base::kMiB;   // per session
    uint32_t send_share_percent = 2;                   // the same, of the buffers free: 1..100
    uint32_t receive_window_bytes = 256 * base::kKiB;  // per session; at most 1 GiB
    uint64_t buffers_bytes_max = 256 * base::kMiB;     // send and receive blocks of all sessions

    uint32_t rto_initial_ms = 1000;
    uint32_t rto_min_ms = 20;
    uint32_t rto_max_ms = 60000;
    uint32_t retransmissions_max = 12;
    uint32_t syn_retransmissions_max = 5;
    uint32_t time_wait_ms = 1000;
    uint32_t keepalive_idle_s = 300;  // 0: off
    uint32_t keepalive_interval_s = 30;
    uint32_t keepalive_probes_max = 8;
    uint32_t delayed_ack_ms = 20;  // 0: at once
    uint32_t half_open_max = 4096;
    SynCookiesUse syn_cookies = SynCookiesUse::kAuto;
    uint32_t syn_cookies_percent = 75;  // kAuto: of half_open_max in use, 1..100
    // What a stranger can make us send in a second, on average; see rate_limit.h. Each at least 1.
    uint32_t syn_ack_repeats_per_s = 1000;
    uint32_t challenge_acks_per_s = 1000;
    uint32_t resets_per_s = 1000;    // RSTs to segments that belong to no connection
    uint32_t challenge_gap_ms = 50;  // between two challenge ACKs of one connection
    uint32_t time_wait_max = 16384;  // more: the oldest is forgotten
    uint32_t out_of_order_bytes_max = 256 * base::kKiB;       // per connection
    uint64_t out_of_order_total_bytes_max = 64 * base::kMiB;  // of all connections
    uint32_t linger_ms = 10000;  // how long close(kFlush) may take once the peer stops taking data
    uint32_t fin_wait_2_ms = 10000;        // how long a closed session waits for the peer's FIN
    uint32_t persist_max_ms = 60000;       // longest time between two probes of a closed window
    uint32_t slow_reader_timeout_s = 120;  // data queued and the peer takes none; 0: for ever
    uint32_t slow_reader_grace_ms = 200;   // the same when buffers run short
    uint32_t buffers_low_percent = 10;     // of the buffers free: they run short, 0..100
    bool verify_checksums = true;
    Ecn ecn = Ecn::kAccept;
    bool sack = true;  // offer and accept selective acknowledgements
    CongestionControl congestion_control = CongestionControl::kCubic;
    uint32_t segment_records_max = 65536;  // segments in flight, besides one per session

    uint64_t secret_seed = 0;  // from the kernel's generator in production, fixed in tests
};

inline constexpr io::SessionIndex kNoSession = 0xffffffff;

class TcpTransport : public io::Transport {
  public:
    // The port and the counters are borrowed and must outlive the transport.
    static base::Result<std::unique_ptr<TcpTransport>> create(FramePort& port,
                                                              const TcpOptions& options,
                                                              stats::WorkerCounters* counters);

    // Active open. kOpened follows on success, kClosed on failure. local_port 0: one is chosen.
    // kNoSession when no session is free or the addresses are in use already.
    virtual io::SessionIndex connect(uint32_t ip, uint16_t port,
                                     uint16_t local_port = 0) noexcept = 0;
    virtual io::SessionIndex connect(const Ipv6Address& ip, uint16_t port,
                                     uint16_t local_port = 0) noexcept = 0;

    // Half-close: FIN after what is queued; data of the peer still arrives. kClosed follows once
    // the peer has closed too.
    virtual void shutdown_send(io::SessionIndex session) noexcept = 0;

    struct Usage {
        uint32_t sessions = 0;
        uint32_t half_open = 0;
        uint32_t time_wait = 0;
        uint32_t blocks = 0;  // 2 KiB each
        uint32_t segment_records = 0;
    };
    virtual Usage usage() const noexcept = 0;

    // False: IPv6 is on and the port would not take frames to its groups.
    virtual bool hears_groups() const noexcept = 0;
};

}  // namespace cachee::net
