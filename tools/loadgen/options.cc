// SPDX-License-Identifier: Apache-2.0
// The command line of `cachee bench`. See options.h.
#include "tools/loadgen/options.h"

#include <fstream>
#include <map>

namespace cachee::loadgen {

namespace {

constexpr uint32_t kThreadsMax = 64;
constexpr uint32_t kConnectionsMax = 65536;

constexpr const char* kFooter = R"(Examples:
  cachee bench 127.0.0.1:6379
      50 connections in a closed loop for 10 s, 90 % GET, 64-byte values
  cachee bench 127.0.0.1:6379 --rate 20000 --distribution zipf:0.99 --verify
      20,000 requests per second at random times, whatever the target does; every reply is checked
  cachee bench 10.9.0.1:6379 --memif /run/cachee/memif.sock --local-ip 10.9.0.2 -c 1
      over shared memory to a data plane with dpdk.device net_memif0,role=server,socket=...

A closed loop (no --rate) waits for replies before it sends more, so a target that stalls is asked
less: its percentiles flatter it. With --rate the latency of a request counts from the moment at
which it was due, sent or not.

Exit code: 0 all was answered and right, 1 it was not (or no connection), 2 wrong usage.)";

// Without a description of its own: the help says what the bounds are where they matter.
template <typename T>
CLI::Validator within(T low, T high) {
    return CLI::Range(low, high).description("");
}
CLI::Validator one_of(std::vector<std::string> names) {
    return CLI::IsMember(std::move(names)).description("");
}

uint64_t free_hugepages_mib() {
    std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    uint64_t pages = 0;
    file >> pages;
    return 2 * pages;
}

void add_load_options(CLI::App& app, Options& options) {
    const char* group = "Load";
    app.add_option("-c,--connections", options.connections, "of all threads together (1..65536)")
        ->type_name("N")
        ->check(within(1u, kConnectionsMax))
        ->capture_default_str()
        ->group(group);
    app.add_option("-P,--pipeline", options.pipeline, "requests in flight per connection (1..4096)")
        ->type_name("N")
        ->check(within(1, 4096))
        ->capture_default_str()
        ->group(group);
    app.add_option("-t,--threads", options.threads, "each with a share of the connections (1..64)")
        ->type_name("N")
        ->check(within(1u, kThreadsMax))
        ->capture_default_str()
        ->group(group);
    app.add_option("--rate", options.rate, "open loop: requests per second (all threads)")
        ->type_name("R")
        ->check(within(0.1, 1e9))
        ->group(group);
    app.add_option("--arrivals", options.arrivals, "open loop: poisson or fixed gaps")
        ->type_name("HOW")
        ->check(one_of({"poisson", "fixed"}))
        ->capture_default_str()
        ->group(group);
    app.add_option("-d,--seconds", options.seconds, "measured time, after the warm-up")
        ->type_name("S")
        ->check(within(0.01, 86400.0))
        ->capture_default_str()
        ->group(group);
    app.add_option("-n,--requests", options.requests,
                   "end after this many measured requests (or after --seconds)")
        ->type_name("N")
        ->group(group);
    app.add_option("--warmup", options.warmup_seconds, "seconds of load before the measured time")
        ->type_name("S")
        ->check(within(0.0, 3600.0))
        ->capture_default_str()
        ->group(group);
    app.add_option("--timeout", options.timeout_seconds, "seconds for a connect or a reply")
        ->type_name("S")
        ->check(within(0.01, 600.0))
        ->capture_default_str()
        ->group(group);
}

void add_workload_options(CLI::App& app, Options& options) {
    const char* group = "Keys and values";
    WorkloadOptions& workload = options.workload;
    app.add_option("-k,--keys", workload.keys, "size of the key space")
        ->type_name("N")
        ->capture_default_str()
        ->group(group);
    app.add_option("--distribution", workload.distribution,
                   "of the keys: uniform, zipf:S, sequential, hotspot:KEYS%:REQUESTS%")
        ->type_name("D")
        ->capture_default_str()
        ->group(group);
    app.add_option("--key-prefix", workload.key_prefix, "12 digits follow it")
        ->type_name("TEXT")
        ->capture_default_str()
        ->group(group);
    app.add_option("--value-bytes", workload.value_bytes,
                   "N, uniform:MIN:MAX, lognormal:MEDIAN:SIGMA[:MAX], percentiles:50=64,100=4096")
        ->type_name("D")
        ->capture_default_str()
        ->group(group);
    app.add_option("--reads", workload.reads_percent, "percent of the requests; the rest is SET")
        ->type_name("%")
        ->capture_default_str()
        ->group(group);
    app.add_option("--mget", workload.mget_keys, "read with MGET of this many keys, not GET")
        ->type_name("N")
        ->group(group);
    app.add_option("--ttl-ms", workload.ttl_ms, "of every SET: MS or MIN:MAX; without: none")
        ->type_name("MS")
        ->group(group);
    app.add_option("--protocol", workload.protocol, "redis, or memcached's text protocol")
        ->transform(CLI::CheckedTransformer(
                        std::map<std::string, Protocol>{{"redis", Protocol::kResp},
                                                        {"memcached", Protocol::kMemcached}})
                        .description(""))
        ->type_name("NAME")
        ->default_str("redis")
        ->group(group);
    app.add_flag("--no-populate", options.no_populate, "do not set all keys before the load")
        ->group(group);
    app.add_flag("--verify", options.verify, "check every value read")->group(group);
    app.add_option("--seed", workload.seed, "of all that is drawn, and of the values")
        ->type_name("N")
        ->capture_default_str()
        ->group(group);
}

void add_network_options(CLI::App& app, Options& options) {
    const char* group = "Network";
    NetworkOptions& network = options.network;
    app.add_option("--user", options.workload.user, "for AUTH, with --password")
        ->type_name("NAME")
        ->group(group);
    app.add_option("--password", options.workload.password, "for AUTH")
        ->type_name("TEXT")
        ->group(group);
    app.add_option("--driver", network.driver, "socket (the kernel's TCP) or dpdk (our own)")
        ->type_name("NAME")
        ->check(one_of({"socket", "dpdk"}))
        ->capture_default_str()
        ->group(group);
    app.add_option("--memif", options.memif,
                   "dpdk over shared memory: the socket of the data plane's net_memif")
        ->type_name("PATH")
        ->group(group);
    app.add_option("--device", network.dpdk.device,
                   "dpdk: PCI address, or net_af_xdp0,iface=..., net_tap0,...")
        ->type_name("DEV")
        ->group(group);
    app.add_option("--local-ip", network.local_ip, "dpdk: our IPv4 address")
        ->type_name("IP")
        ->group(group);
    app.add_option("--prefix-bits", network.dpdk.prefix_bits, "dpdk: of its subnet")
        ->type_name("N")
        ->check(within(0, 32))
        ->capture_default_str()
        ->group(group);
    app.add_option("--gateway", network.dpdk.gateway, "dpdk: for targets outside of the subnet")
        ->type_name("IP")
        ->group(group);
    app.add_option("--mtu", network.dpdk.mtu, "dpdk")
        ->type_name("N")
        ->capture_default_str()
        ->group(group);
    app.add_flag("--no-hugepages", options.no_hugepages, "dpdk: ordinary memory")->group(group);
    app.add_flag("--no-verify-checksums", options.no_verify_checksums,
                 "dpdk: believe what arrives (memory links, veth)")
        ->group(group);
    app.add_option(
           "--priority", options.priority,
           "run with this real-time priority (needs root; polling threads then own their cores)")
        ->check(within(1, 90))
        ->type_name("N")
        ->group(group);
    app.add_option("--cores", options.cores, "pin the threads: a core each, as in 1,3")
        ->type_name("LIST")
        ->delimiter(',')
        ->group(group);
}

base::Status complete_dpdk(Options& options) {
    NetworkOptions& network = options.network;
    if (!options.memif.empty()) {
        if (!network.dpdk.device.empty())
            return base::Error{"--memif and --device exclude each other"};
        network.driver = "dpdk";
        network.dpdk.device = "net_memif0,role=client,socket-abstract=no,socket=" + options.memif;
    }
    if (network.driver != "dpdk") {
        if (network.dpdk.device.empty() && network.local_ip.empty()) return {};
        return base::Error{"--device and --local-ip need --driver dpdk"};
    }
    if (network.dpdk.device.empty()) return base::Error{"--driver dpdk needs --device or --memif"};
    if (network.local_ip.empty()) {
        return base::Error{"--driver dpdk needs --local-ip, an address of the target's subnet"};
    }
    // Without RSS under our control only memif leads the replies of a queue back to that queue.
    if (options.threads > 1 && network.dpdk.device.rfind("net_memif", 0) != 0) {
        return base::Error{
            "--driver dpdk: several threads need net_memif, whose queues are paired"};
    }
    network.dpdk.mbufs = 8192;
    network.dpdk.memory_mib = 64 + 32 * options.threads;
    network.dpdk.hugepages =
        !options.no_hugepages && free_hugepages_mib() >= network.dpdk.memory_mib;
    network.verify_checksums = !options.no_verify_checksums;
    return {};
}

}  // namespace

void add_options(CLI::App& app, Options& options) {
    app.set_version_flag("--version", std::string("cachee ") + CACHEE_VERSION);
    app.get_formatter()->column_width(28);
    app.footer(kFooter);
    app.add_option("TARGET", options.network.target, "a Redis-compatible server")
        ->type_name("HOST:PORT")
        ->required();
    add_load_options(app, options);
    add_workload_options(app, options);
    add_network_options(app, options);
    app.add_flag("--json", options.json, "one JSON object instead of the table")->group("Output");
    app.add_flag("-q,--quiet", options.quiet, "no line per second")->group("Output");
}

base::Status complete(Options& options) {
    if (options.threads > options.connections) {
        return base::Error{"--threads " + std::to_string(options.threads) +
                           " is more than --connections " + std::to_string(options.connections)};
    }
    if (!options.cores.empty() && options.cores.size() != options.threads) {
        return base::Error{"--cores names " + std::to_string(options.cores.size()) + " cores for " +
                           std::to_string(options.threads) + " threads"};
    }
    if (options.workload.protocol == Protocol::kMemcached && options.workload.mget_keys != 0 &&
        options.verify) {
        return base::Error{"--protocol memcached: no --verify with --mget"};
    }
    options.network.threads = options.threads;
    options.network.connections = (options.connections + options.threads - 1) / options.threads;
    return complete_dpdk(options);
}

}  // namespace cachee::loadgen
