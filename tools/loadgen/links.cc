// SPDX-License-Identifier: Apache-2.0
// The two networks of the load generator. See links.h.
#include "tools/loadgen/links.h"

#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include "base/clock.h"
#include "base/rng.h"
#include "drivers/dpdk/dpdk_driver.h"
#include "drivers/socket/socket_transport.h"
#include "net/headers.h"
#include "net/tcp_transport.h"

namespace cachee::loadgen {

namespace {

using base::Error;

struct Target {
    std::string host;
    std::string port;
};

base::Result<Target> parse_target(const std::string& text) {
    const size_t colon = text.rfind(':');
    Target target;
    if (colon != std::string::npos) {
        target = {text.substr(0, colon), text.substr(colon + 1)};
        if (target.host.size() > 2 && target.host.front() == '[' && target.host.back() == ']') {
            target.host = target.host.substr(1, target.host.size() - 2);
        }
    }
    uint16_t port = 0;
    const char* const end = target.port.data() + target.port.size();
    const auto [stop, error] = std::from_chars(target.port.data(), end, port);
    if (target.host.empty() || error != std::errc{} || stop != end || port == 0) {
        return Error{"TARGET \"" + text + "\" is not HOST:PORT"};
    }
    return target;
}

// --- kernel sockets

class SocketLink final : public ClientLink {
  public:
    SocketLink(std::unique_ptr<socket::SocketTransport> transport, const sockaddr_storage& to)
        : transport_(std::move(transport)), to_(to) {}
    io::Transport& transport() override { return *transport_; }
    io::SessionIndex connect() noexcept override { return transport_->connect(to_); }
    uint64_t now_ns() noexcept override { return base::monotonic_ns(); }

  private:
    std::unique_ptr<socket::SocketTransport> transport_;
    sockaddr_storage to_;
};

class SocketLinks final : public Links {
  public:
    static base::Result<std::unique_ptr<Links>> make(const NetworkOptions& options,
                                                     const Target& target) {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* found = nullptr;
        const int failed = ::getaddrinfo(target.host.c_str(), target.port.c_str(), &hints, &found);
        if (failed != 0) {
            return Error{"TARGET " + target.host + ": " + ::gai_strerror(failed)};
        }
        sockaddr_storage to{};
        std::memcpy(&to, found->ai_addr, found->ai_addrlen);
        ::freeaddrinfo(found);
        auto made = std::make_unique<SocketLinks>();
        for (uint32_t i = 0; i < options.threads; ++i) {
            socket::SocketOptions socket;
            socket.listen = false;
            socket.worker = i;
            socket.worker_count = options.threads;
            socket.sessions_max = options.connections;
            made->counters_.push_back(std::make_unique<stats::WorkerCounters>());
            auto transport = socket::SocketTransport::create(socket, made->counters_.back().get());
            if (!transport) return transport.error();
            made->links_.push_back(std::make_unique<SocketLink>(std::move(transport).value(), to));
        }
        return std::unique_ptr<Links>(std::move(made));
    }
    ClientLink& link(uint32_t thread) override { return *links_[thread]; }
    bool poll_mode() const override { return false; }
    std::string text() const override { return "kernel sockets"; }

  private:
    std::vector<std::unique_ptr<stats::WorkerCounters>> counters_;
    std::vector<std::unique_ptr<SocketLink>> links_;
};

// --- our TCP over a DPDK port

class TcpLink final : public ClientLink {
  public:
    TcpLink(std::unique_ptr<net::FramePort> port, std::unique_ptr<net::TcpTransport> transport,
            uint32_t ip, uint16_t tcp_port)
        : port_(std::move(port)), transport_(std::move(transport)), ip_(ip), tcp_port_(tcp_port) {}
    io::Transport& transport() override { return *transport_; }
    io::SessionIndex connect() noexcept override {
        const io::SessionIndex session = transport_->connect(ip_, tcp_port_);
        return session == net::kNoSession ? kNoSession : session;
    }
    uint64_t now_ns() noexcept override { return base::monotonic_ns(); }

  private:
    std::unique_ptr<net::FramePort> port_;
    std::unique_ptr<net::TcpTransport> transport_;  // uses the port, so it goes first
    uint32_t ip_;
    uint16_t tcp_port_;
};

class DpdkLinks final : public Links {
  public:
    static base::Result<std::unique_ptr<Links>> make(const NetworkOptions& options,
                                                     const Target& target) {
        const auto remote = net::parse_ipv4_address(target.host);
        if (!remote) return Error{"TARGET: with --driver dpdk the host is an IPv4 address"};
        const auto local = net::parse_ipv4_address(options.local_ip);
        if (!local) return Error{"--local-ip \"" + options.local_ip + "\" is not an IPv4 address"};
        net::TcpOptions tcp;
        tcp.local_ip = *local;
        tcp.prefix_length = options.dpdk.prefix_bits;
        if (!options.dpdk.gateway.empty()) {
            const auto gateway = net::parse_ipv4_address(options.dpdk.gateway);
            if (!gateway) {
                return Error{"--gateway \"" + options.dpdk.gateway + "\" is not an IPv4 address"};
            }
            tcp.gateway_ip = *gateway;
        }
        // Every connection of a thread may be closing while its successor opens.
        tcp.sessions_max = 2 * options.connections + 16;
        tcp.verify_checksums = options.verify_checksums;
        tcp.rto_initial_ms = 200;  // a frame lost before the peer was up is soon sent again
        auto made = std::make_unique<DpdkLinks>();
        const std::string instance = "bench-" + std::to_string(::getpid());
        if (auto status = made->driver_.init(options.dpdk, options.threads, instance); !status) {
            return status.error();
        }
        made->device_ = options.dpdk.device.substr(0, options.dpdk.device.find(','));
        for (uint32_t i = 0; i < options.threads; ++i) {
            made->counters_.push_back(std::make_unique<stats::WorkerCounters>());
            stats::WorkerCounters* const counters = made->counters_.back().get();
            auto port = made->driver_.port(i, counters);
            tcp.secret_seed = base::random_seed();
            auto transport = net::TcpTransport::create(*port, tcp, counters);
            if (!transport) return transport.error();
            uint16_t number = 0;
            std::from_chars(target.port.data(), target.port.data() + target.port.size(), number);
            made->links_.push_back(std::make_unique<TcpLink>(
                std::move(port), std::move(transport).value(), *remote, number));
        }
        return std::unique_ptr<Links>(std::move(made));
    }
    ~DpdkLinks() override {
        links_.clear();
        driver_.stop();
    }
    ClientLink& link(uint32_t thread) override { return *links_[thread]; }
    void thread_started() override { dpdk::DpdkDriver::enter_worker(); }
    void thread_ended() override { dpdk::DpdkDriver::leave_worker(); }
    bool poll_mode() const override { return true; }
    std::string text() const override { return device_ + " (own TCP)"; }
    std::vector<std::string> notes() const override { return driver_.notes(); }

  private:
    dpdk::DpdkDriver driver_;
    std::string device_;
    std::vector<std::unique_ptr<stats::WorkerCounters>> counters_;
    std::vector<std::unique_ptr<TcpLink>> links_;
};

}  // namespace

base::Result<std::unique_ptr<Links>> make_links(const NetworkOptions& options) {
    auto target = parse_target(options.target);
    if (!target) return target.error();
    if (options.driver == "dpdk") return DpdkLinks::make(options, *target);
    return SocketLinks::make(options, *target);
}

}  // namespace cachee::loadgen
