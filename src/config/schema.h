// SPDX-License-Identifier: Apache-2.0
// The configuration as plain structs: what cachee.yaml means once it was read and validated. Units are
// the last word of a name. Defaults here are the defaults of the file; conf/cachee.yaml documents every
// key, config/loader.h reads them. Immutable after start; shared read-only by all threads of a process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/units.h"

namespace cachee::config {

using base::kGiB;
using base::kKiB;
using base::kMiB;

enum class DriverKind : uint8_t { kSocket, kDpdk, kSim };
enum class HugepageMode : uint8_t { kAuto, kRequire, kOff };
enum class EvictionKind : uint8_t { kFifoMerge, kS3Fifo };
enum class SynCookies : uint8_t { kOff, kAuto, kAlways };
enum class CongestionControlKind : uint8_t { kCubic, kNewReno };
enum class EcnKind : uint8_t { kOff, kAccept, kAsk };
enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

struct Instance {
    std::string name = "main";              // names the shared-memory files; [a-z0-9-]{1,32}
    std::string runtime_dir = "/run/cachee";
    std::string user;                        // drop privileges to this user after start; empty: stay
    LogLevel log_level = LogLevel::kInfo;
};

struct Workers {
    std::vector<uint32_t> cores = {};        // one worker per core listed; empty: `count` unpinned
    uint32_t count = 1;                      // used when cores is empty; 1..64
    uint32_t burst_max = 32;                 // events per poll; 1..256
    uint32_t idle_spins = 20000;             // empty polls before the first sleep
    uint32_t idle_sleep_us = 50;             // length of one sleep; 0: never sleep; 0..10000
};

struct Listen {
    std::string address = "127.0.0.1";       // IPv4; with the dpdk and sim drivers the appliance's own
    uint16_t port = 6379;
    uint32_t sessions_max = 16384;           // per worker; 1..1048576
    uint32_t send_buffer_bytes_max = 1 * kMiB;    // unsent bytes held per session before it is paused
    uint32_t receive_window_bytes = 256 * kKiB;   // per session
    uint64_t buffers_bytes_max = 256 * kMiB;      // per worker: all send and receive buffers together
    uint64_t lend_bytes_min = 8 * kKiB;      // values from here on are sent from L1 uncopied; 0: none
    std::string password;                    // for AUTH and HELLO; empty: none
};

struct Tcp {                                 // src/net only
    uint32_t rto_initial_ms = 1000;          // RFC 6298: 1 s
    uint32_t rto_min_ms = 20;                // RFC 6298 says 1 s; data centres do not
    uint32_t rto_max_ms = 60000;
    uint32_t retransmissions_max = 12;
    uint32_t syn_retransmissions_max = 5;
    uint32_t time_wait_ms = 1000;            // RFC 9293 says 2 MSL; a server rarely closes first
    uint32_t keepalive_idle_s = 300;         // 0: off
    uint32_t keepalive_interval_s = 30;
    uint32_t keepalive_probes_max = 8;
    uint32_t delayed_ack_ms = 20;            // RFC 1122: below 500; 0: at once
    uint32_t half_open_max = 4096;
    SynCookies syn_cookies = SynCookies::kAuto;
    uint32_t syn_cookies_percent = 75;       // auto: of half_open_max in use
    uint32_t syn_ack_repeats_per_s = 1000;   // per worker, as the two below
    uint32_t challenge_acks_per_s = 1000;    // RFC 5961, 7
    uint32_t resets_per_s = 1000;            // to segments of no connection
    uint32_t challenge_gap_ms = 50;          // per connection
    uint32_t time_wait_max = 16384;          // per worker; the oldest makes room
    uint32_t out_of_order_bytes_max = 256 * kKiB;  // per connection
    CongestionControlKind congestion_control = CongestionControlKind::kCubic;
    uint32_t segment_records_max = 65536;    // per worker: segments in flight, besides one per session
    EcnKind ecn = EcnKind::kAccept;          // RFC 3168
    bool sack = true;                        // RFC 2018: offer and accept selective acknowledgements
    uint64_t out_of_order_total_bytes_max = 64 * kMiB;  // per worker
    uint32_t linger_ms = 10000;              // a closed session whose peer takes no data
    uint32_t fin_wait_2_ms = 10000;          // a closed session whose peer does not close
    uint32_t persist_max_ms = 60000;         // greatest time between probes of a closed window
    uint32_t send_share_percent = 2;         // of the buffers free, per session
    uint32_t slow_reader_timeout_s = 120;    // replies queued and none taken; 0: for ever
    uint32_t slow_reader_grace_ms = 200;     // the same when buffers run short
    uint32_t buffers_low_percent = 10;       // of listen.buffers_bytes_max free: they run short
    bool verify_checksums = true;            // false: veth peers that leave them unfinished
};

struct Ip {                                  // src/net only, beside listen.address
    uint16_t vlan_id = 0;                    // 0: untagged
    bool ipv6 = false;
    std::vector<std::string> ipv6_addresses = {};  // "fd00::1/64", at most 4; link-local is always there
    std::string ipv6_gateway;                // empty: from router advertisements
    bool router_advertisements = true;       // false: only ipv6_gateway
    uint32_t neighbours_max = 256;           // per worker, and as many for IPv4 (ARP)
    uint32_t icmp_replies_per_s = 1000;      // per worker; as many of ARP and ND
    uint32_t paths_max = 1024;               // per worker: destinations with a known, smaller MTU
    uint32_t path_mtu_age_s = 600;           // RFC 1191, 6.3: two minutes at least, ten advised
};

struct Dpdk {
    std::string device;                      // PCI address "0000:3b:00.0" or vdev "net_tap0,iface=x"
    std::vector<std::string> eal_args = {};  // appended to what cachee passes itself
    uint32_t mbufs = 16384;                  // per worker
    uint32_t memory_mib = 256;               // -m
    uint16_t rx_descriptors = 1024;
    uint16_t tx_descriptors = 1024;
    uint32_t mtu = 1500;
    bool hugepages = true;                   // false: --no-huge
    bool gather = true;                      // frames may end in bytes of L1, where the device can
    uint32_t prefix_bits = 24;               // length of the subnet prefix of listen.address, 0..32
    std::string gateway;                     // IPv4, empty: none
};

struct Sim {                                 // real clock, seeded link; the gateway listens on loopback
    uint64_t seed = 1;
    double loss = 0;                         // probability per frame, 0..0.5
    double duplication = 0;
    double reordering = 0;
    uint32_t delay_us = 0;                   // one way
    uint32_t jitter_us = 0;
    uint16_t gateway_port = 6379;            // 127.0.0.1, bridged to listen.address over the link
};

struct Impairment {                          // tests only: a bad wire before the dpdk driver's port
    bool enabled = false;
    uint64_t seed = 1;
    double loss = 0;                         // probability per frame and direction, 0..0.5
    double duplication = 0;
    double reordering = 0;
    double corruption = 0;
    uint32_t delay_us = 0;                   // one way
    uint32_t jitter_us = 0;
    uint32_t rate_mbit = 0;                  // per direction; 0: no limit
    uint32_t frames_max = 4096;              // on their way, per worker and direction
};

struct L1 {
    uint64_t bytes = 256 * kMiB;             // all partitions together, index included; SIGHUP applies it
    uint64_t bytes_max = 0;                  // what `bytes` may be raised to without a restart; 0: not at all
    HugepageMode hugepages = HugepageMode::kAuto;
    std::string hugepage_dir = "/dev/hugepages";
    uint64_t item_bytes_max = 1 * kMiB;      // key + value; larger values are not cached
    EvictionKind eviction = EvictionKind::kFifoMerge;
    std::vector<std::string> quotas = {};    // "64MiB sess:", see parse_quota() of keys.h; at most 8
    uint64_t ttl_max_ms = 0;                 // cap on how long anything is kept without L2; 0: none
    std::string readers_group;               // unix group that may read L1 with libcachee; empty: only
                                             // the data plane's own
    bool warm_restart = true;                // L1 outlives the data plane, and a new one takes it over
};

struct L2 {
    std::string backend;                     // "redis://[user:password@]host:port[/db 0]"; empty: standalone
    uint32_t connect_timeout_ms = 2000;
    uint32_t reconnect_min_ms = 50;          // back-off doubles from here
    uint32_t reconnect_max_ms = 1000;
    uint32_t request_timeout_ms = 5000;      // then the client gets an error
    uint32_t lease_ms = 250;                 // L1 answers at most this long without word from L2
    uint32_t heartbeat_ms = 50;              // PING on the invalidation path
    uint32_t pinned_connections_max = 1000;  // sessions with state in L2
    uint64_t journal_bytes_max = 64 * kMiB;  // keys that changed while no data plane ran
    uint32_t in_flight_max = 65536;          // commands sent to L2 and not answered
    uint32_t spin_us = 30;                   // control plane: polling after work, where cores are to spare
};

struct Limits {
    uint64_t bulk_bytes_max = 512 * kMiB;    // Redis's proto-max-bulk-len
    uint32_t arguments_max = 1048576;        // per command
    uint32_t inline_bytes_max = 64 * kKiB;
    uint64_t query_buffer_bytes_max = 1 * kGiB;  // unparsed bytes of all sessions of a worker
    uint32_t parked_requests_max = 65536;    // per worker
};

struct Shm {
    uint32_t ring_entries = 8192;            // per worker and direction; power of two
    uint64_t ring_data_bytes = 8 * kMiB;     // per worker and direction; power of two
};

struct Config {
    Instance instance;
    DriverKind driver = DriverKind::kSocket;
    Workers workers;
    Listen listen;
    Tcp tcp;
    Ip ip;
    Dpdk dpdk;
    Sim sim;
    Impairment impairment;
    L1 l1;
    L2 l2;
    Limits limits;
    Shm shm;
};

}  // namespace cachee::config
