// SPDX-License-Identifier: Apache-2.0
// Two stacks and the link between them in virtual time, for the tests of this folder.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/rng.h"
#include "base/units.h"
#include "drivers/sim/sim_client.h"
#include "drivers/sim/sim_link.h"

namespace cachee::sim {

inline constexpr uint32_t kServerIp = 0x0a000001;
inline constexpr uint32_t kClientIp = 0x0a000002;
inline constexpr uint16_t kPort = 6379;

inline net::TcpOptions small_options(uint32_t local_ip) {
    net::TcpOptions options;
    options.local_ip = local_ip;
    options.sessions_max = 64;
    options.half_open_max = 64;
    options.send_buffer_bytes_max = 64 * 1024;
    options.receive_window_bytes = 64 * 1024;
    options.buffers_bytes_max = 4 * 1024 * 1024;
    options.send_share_percent = 100;  // the pool is small
    options.rto_initial_ms = 100;
    options.secret_seed = 42;
    return options;
}

struct World {
    explicit World(const SimLinkOptions& link_options = {},
                   net::TcpOptions server_options = small_options(kServerIp),
                   net::TcpOptions client_options = small_options(kClientIp))
        : link(link_options) {
        server_options.listen_port = kPort;
        server = std::make_unique<SimClient>(link.end(0), server_options);
        client = std::make_unique<SimClient>(link.end(1), client_options);
    }

    void step() {
        link.advance(now_ns);
        client->step(now_ns);
        server->step(now_ns);
        now_ns += step_ns;
    }
    void run_for_ms(uint64_t ms) {
        const uint64_t end = now_ns + ms * base::kNsPerMs;
        while (now_ns < end) step();
    }
    // False when `done` did not become true in that much virtual time.
    bool run_until(const std::function<bool()>& done, uint64_t ms_max) {
        const uint64_t end = now_ns + ms_max * base::kNsPerMs;
        while (now_ns < end) {
            if (done()) return true;
            step();
        }
        return done();
    }
    // An established connection; {client's serial, server's serial}.
    std::pair<int64_t, int64_t> open() {
        const auto before = static_cast<int64_t>(server->session_count());
        const int64_t id = client->connect(kServerIp, kPort);
        run_until(
            [&] {
                return static_cast<int64_t>(server->session_count()) > before &&
                       client->session(id).opened;
            },
            20'000);
        return {id, before};
    }
    net::TcpTransport::Usage server_usage() { return server->transport().usage(); }
    net::TcpTransport::Usage client_usage() { return client->transport().usage(); }

    SimLink link;
    std::unique_ptr<SimClient> server;
    std::unique_ptr<SimClient> client;
    uint64_t now_ns = 1'000'000'000;
    uint64_t step_ns = 200'000;
};

inline std::string random_bytes(base::Rng& rng, size_t size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(rng.next());
    return bytes;
}

}  // namespace cachee::sim
