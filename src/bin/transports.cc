// SPDX-License-Identifier: Apache-2.0
#include "bin/transports.h"

#include <linux/capability.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "config/address.h"
#include "drivers/dpdk/dpdk_driver.h"
#include "drivers/sim/impaired_port.h"
#include "drivers/sim/sim_gateway.h"
#include "drivers/sim/sim_link.h"
#include "drivers/socket/socket_transport.h"
#include "net/headers.h"
#include "net/tcp_transport.h"

namespace cachee::bin {

namespace {

using Made = base::Result<std::unique_ptr<Transports>>;
using Counters = std::vector<stats::WorkerCounters*>;

std::string endpoint(const std::string& address, uint16_t port) {
    return address + ":" + std::to_string(port);
}

// --- kernel sockets -----------------------------------------------------------------------------

class SocketTransports final : public Transports {
  public:
    static Made make(const config::Config& config, const Counters& counters) {
        auto made = std::make_unique<SocketTransports>();
        for (uint32_t i = 0; i < counters.size(); ++i) {
            socket::SocketOptions options;
            options.address = config.listen.address;
            options.port = config.listen.port;
            options.worker = i;
            options.worker_count = static_cast<uint32_t>(counters.size());
            options.sessions_max = config.listen.sessions_max;
            options.send_buffer_bytes_max = config.listen.send_buffer_bytes_max;
            options.buffers_bytes_max = config.listen.buffers_bytes_max;
            options.keepalive_idle_s = config.tcp.keepalive_idle_s;
            options.keepalive_interval_s = config.tcp.keepalive_interval_s;
            options.keepalive_probes_max = config.tcp.keepalive_probes_max;
            auto transport = socket::SocketTransport::create(options, counters[i]);
            if (!transport) return transport.error();
            made->transports_.push_back(std::move(transport).value());
        }
        made->listen_ = endpoint(config.listen.address, made->transports_[0]->port());
        return std::unique_ptr<Transports>(std::move(made));
    }

    io::Transport& transport(uint32_t worker) override { return *transports_[worker]; }
    std::string listen() const override { return listen_; }

  private:
    std::vector<std::unique_ptr<socket::SocketTransport>> transports_;
    std::string listen_;
};

// --- our TCP over frame ports -------------------------------------------------------------------

base::Status set_ipv6(const config::Ip& section, net::Ipv6Options& options) {
    options.enabled = section.ipv6;
    options.accept_router_advertisements = section.router_advertisements;
    for (const std::string& text : section.ipv6_addresses) {
        config::Ipv6Prefix prefix;
        if (!config::parse_ipv6_prefix(text, prefix)) {
            return base::Error{"ip.ipv6_addresses: \"" + text + "\" is not an address and prefix"};
        }
        options.addresses.push_back({net::Ipv6Address{prefix.address}, prefix.bits});
    }
    if (section.ipv6_gateway.empty()) return {};
    const auto gateway = net::parse_ipv6_address(section.ipv6_gateway);
    if (!gateway) return base::Error{"ip.ipv6_gateway: it is not an IPv6 address"};
    options.gateway = *gateway;
    return {};
}

base::Result<net::TcpOptions> tcp_options(const config::Config& config) {
    const auto address = net::parse_ipv4_address(config.listen.address);
    if (!address) {
        return base::Error{"listen.address: \"" + config.listen.address +
                           "\" is not an IPv4 address"};
    }
    net::TcpOptions options;
    options.local_ip = *address;
    options.prefix_length = config.dpdk.prefix_bits;
    if (!config.dpdk.gateway.empty()) {
        const auto gateway = net::parse_ipv4_address(config.dpdk.gateway);
        if (!gateway) {
            return base::Error{"dpdk.gateway: \"" + config.dpdk.gateway +
                               "\" is not an IPv4 address"};
        }
        options.gateway_ip = *gateway;
    }
    options.listen_port = config.listen.port;
    options.sessions_max = config.listen.sessions_max;
    options.send_buffer_bytes_max = config.listen.send_buffer_bytes_max;
    options.receive_window_bytes = config.listen.receive_window_bytes;
    options.buffers_bytes_max = config.listen.buffers_bytes_max;
    options.rto_initial_ms = config.tcp.rto_initial_ms;
    options.rto_min_ms = config.tcp.rto_min_ms;
    options.rto_max_ms = config.tcp.rto_max_ms;
    options.retransmissions_max = config.tcp.retransmissions_max;
    options.syn_retransmissions_max = config.tcp.syn_retransmissions_max;
    options.time_wait_ms = config.tcp.time_wait_ms;
    options.keepalive_idle_s = config.tcp.keepalive_idle_s;
    options.keepalive_interval_s = config.tcp.keepalive_interval_s;
    options.keepalive_probes_max = config.tcp.keepalive_probes_max;
    options.delayed_ack_ms = config.tcp.delayed_ack_ms;
    options.half_open_max = config.tcp.half_open_max;
    options.syn_cookies = static_cast<net::SynCookiesUse>(config.tcp.syn_cookies);
    options.syn_cookies_percent = config.tcp.syn_cookies_percent;
    options.syn_ack_repeats_per_s = config.tcp.syn_ack_repeats_per_s;
    options.challenge_acks_per_s = config.tcp.challenge_acks_per_s;
    options.resets_per_s = config.tcp.resets_per_s;
    options.challenge_gap_ms = config.tcp.challenge_gap_ms;
    options.time_wait_max = config.tcp.time_wait_max;
    options.out_of_order_bytes_max = config.tcp.out_of_order_bytes_max;
    options.congestion_control =
        config.tcp.congestion_control == config::CongestionControlKind::kCubic
            ? net::CongestionControl::kCubic
            : net::CongestionControl::kNewReno;
    options.segment_records_max = config.tcp.segment_records_max;
    options.ecn = static_cast<net::Ecn>(config.tcp.ecn);
    options.sack = config.tcp.sack;
    options.out_of_order_total_bytes_max = config.tcp.out_of_order_total_bytes_max;
    options.linger_ms = config.tcp.linger_ms;
    options.fin_wait_2_ms = config.tcp.fin_wait_2_ms;
    options.persist_max_ms = config.tcp.persist_max_ms;
    options.send_share_percent = config.tcp.send_share_percent;
    options.slow_reader_timeout_s = config.tcp.slow_reader_timeout_s;
    options.slow_reader_grace_ms = config.tcp.slow_reader_grace_ms;
    options.buffers_low_percent = config.tcp.buffers_low_percent;
    options.verify_checksums = config.tcp.verify_checksums;
    options.vlan_id = config.ip.vlan_id;
    options.neighbours_max = config.ip.neighbours_max;
    options.icmp_replies_per_s = config.ip.icmp_replies_per_s;
    options.paths_max = config.ip.paths_max;
    options.path_mtu_age_s = config.ip.path_mtu_age_s;
    if (base::Status status = set_ipv6(config.ip, options.ipv6); !status) return status.error();
    options.secret_seed = base::random_seed();
    return options;
}

uint64_t port_clock() noexcept { return base::monotonic_ns(); }

// The port itself, or a bad wire before it.
std::unique_ptr<net::FramePort> impaired(std::unique_ptr<net::FramePort> port,
                                         const config::Impairment& section, uint32_t worker) {
    if (!section.enabled) return port;
    return std::make_unique<sim::ImpairedPort>(
        std::move(port), sim::impairment_options_of(section, 2 * worker),
        sim::impairment_options_of(section, 2 * worker + 1), port_clock);
}

class DpdkTransports final : public Transports {
  public:
    static Made make(const config::Config& config, const std::string& instance,
                     const Counters& counters, const LentMapping& lent) {
        auto options = tcp_options(config);
        if (!options) return options.error();
        auto made = std::make_unique<DpdkTransports>();
        const auto workers = static_cast<uint32_t>(counters.size());
        if (base::Status status = made->driver_.init(config.dpdk, workers, instance); !status) {
            return status.error();
        }
        for (const std::string& note : made->driver_.notes()) {
            base::log_line("cachee-dataplane", base::Severity::kWarning, note);
        }
        if (config.listen.lend_bytes_min > 0 && lent.memory != nullptr) {
            const base::Status status =
                made->driver_.lend(lent.memory, lent.bytes, lent.page_bytes);
            if (!status) {
                base::log_line("cachee-dataplane", base::Severity::kWarning,
                               status.error().message);
            }
        }
        if (config.impairment.enabled) {
            base::log_line("cachee-dataplane", base::Severity::kWarning,
                           "impairment.enabled: frames are delayed, lost or damaged on purpose");
        }
        for (uint32_t i = 0; i < workers; ++i) {
            made->ports_.push_back(
                impaired(made->driver_.port(i, counters[i]), config.impairment, i));
            auto transport =
                net::TcpTransport::create(*made->ports_[i], options.value(), counters[i]);
            if (!transport) return transport.error();
            if (i == 0 && !transport.value()->hears_groups()) {
                base::log_line("cachee-dataplane", base::Severity::kWarning,
                               "dpdk.device takes no multicast frames: IPv6 neighbours may not "
                               "find this host");
            }
            made->transports_.push_back(std::move(transport).value());
        }
        made->listen_ = endpoint(config.listen.address, config.listen.port);
        for (const std::string& text : config.ip.ipv6_addresses) {
            const std::string address = "[" + text.substr(0, text.find('/')) + "]";
            made->listen_ += ", " + endpoint(address, config.listen.port);
        }
        return std::unique_ptr<Transports>(std::move(made));
    }
    ~DpdkTransports() override {
        transports_.clear();
        ports_.clear();
        driver_.stop();
    }

    io::Transport& transport(uint32_t worker) override { return *transports_[worker]; }
    uint32_t capabilities() const override { return 1U << CAP_NET_ADMIN; }
    void thread_started(uint32_t) override { dpdk::DpdkDriver::enter_worker(); }
    void thread_ended(uint32_t) override { dpdk::DpdkDriver::leave_worker(); }
    std::string listen() const override { return listen_; }

  private:
    dpdk::DpdkDriver driver_;
    std::vector<std::unique_ptr<net::FramePort>> ports_;
    std::vector<std::unique_ptr<net::TcpTransport>> transports_;
    std::string listen_;
};

// --- the simulated link, with a gateway from kernel sockets onto it ------------------------------

class SimTransports final : public Transports {
  public:
    static Made make(const config::Config& config, const Counters& counters) {
        if (counters.size() != 1) {
            return base::Error{
                "driver: sim has one link and so one worker; set workers.count to 1"};
        }
        auto options = tcp_options(config);
        if (!options) return options.error();
        auto made = std::make_unique<SimTransports>();
        made->link_ = std::make_unique<sim::SimLink>(sim::link_options_of(config.sim));
        auto transport =
            net::TcpTransport::create(made->link_->end(0), options.value(), counters[0]);
        if (!transport) return transport.error();
        made->transport_ = std::move(transport).value();

        sim::SimGatewayOptions gateway;
        gateway.listen_port = config.sim.gateway_port;
        gateway.server_ip = options->local_ip;
        gateway.server_port = config.listen.port;
        gateway.tcp = options.value();
        gateway.tcp.local_ip = options->local_ip ^ 1;  // another host of the same subnet
        gateway.tcp.listen_port = 0;
        gateway.tcp.ipv6 = {};  // it speaks IPv4 only
        auto started = sim::SimGateway::start(made->link_->end(1), gateway);
        if (!started) return started.error();
        made->gateway_ = std::move(started).value();
        made->listen_ = endpoint("127.0.0.1", made->gateway_->listen_port());
        return std::unique_ptr<Transports>(std::move(made));
    }
    ~SimTransports() override {
        gateway_.reset();
        transport_.reset();
    }

    io::Transport& transport(uint32_t) override { return *transport_; }
    std::string listen() const override { return listen_; }

  private:
    std::unique_ptr<sim::SimLink> link_;
    std::unique_ptr<net::TcpTransport> transport_;
    std::unique_ptr<sim::SimGateway> gateway_;
    std::string listen_;
};

}  // namespace

Made make_transports(const config::Config& config, uint32_t workers, const Counters& counters,
                     const LentMapping& lent) {
    CACHEE_ASSERT(counters.size() == workers);
    switch (config.driver) {
        case config::DriverKind::kSocket:
            return SocketTransports::make(config, counters);
        case config::DriverKind::kDpdk:
            return DpdkTransports::make(config, config.instance.name, counters, lent);
        case config::DriverKind::kSim:
            return SimTransports::make(config, counters);
    }
    return base::Error{"driver: unknown"};
}

}  // namespace cachee::bin
