// SPDX-License-Identifier: Apache-2.0
// A thread that lets any Redis client reach a server behind the simulated link: it listens on a
// kernel TCP socket of 127.0.0.1 and carries each accepted connection over the link with the client
// role of our own TCP. Bytes, half-close, reset and back-pressure are carried both ways. For tests:
// one thread, epoll, system calls per read and write.
//
//   kernel socket --read--> append ··· link ··· server
//   kernel socket <--write- pending <- kData ·· server     pending over the limit: pause()
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "base/result.h"
#include "net/tcp_transport.h"
#include "stats/counters.h"

namespace cachee::sim {

struct SimGatewayOptions {
    uint16_t listen_port = 0;  // on 127.0.0.1; 0: the kernel chooses
    uint32_t server_ip = 0;    // host order; where the server's stack listens
    uint16_t server_port = 0;
    net::TcpOptions tcp;  // of the client end; local_ip must differ from server_ip
};

class SimGateway {
  public:
    // The port is borrowed and must outlive the gateway; no other thread may use that end. The link
    // must run on the real clock.
    static base::Result<std::unique_ptr<SimGateway>> start(net::FramePort& port,
                                                           const SimGatewayOptions& options);
    // Stops the thread; open connections are reset.
    ~SimGateway();
    SimGateway(const SimGateway&) = delete;
    SimGateway& operator=(const SimGateway&) = delete;

    uint16_t listen_port() const { return listen_port_; }
    const stats::WorkerCounters& counters() const { return *counters_; }

  private:
    class Bridge;
    SimGateway() = default;

    uint16_t listen_port_ = 0;
    std::unique_ptr<stats::WorkerCounters> counters_;
    std::unique_ptr<Bridge> bridge_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace cachee::sim
