// SPDX-License-Identifier: Apache-2.0
// From the options to one ClientLink per thread: kernel sockets, or our own TCP over a DPDK port.
// The only place of the load generator that knows drivers. Main thread; each link is then used by
// its own thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/schema.h"
#include "tools/loadgen/client_link.h"

namespace cachee::loadgen {

struct NetworkOptions {
    std::string target;             // HOST:PORT
    std::string driver = "socket";  // socket, dpdk
    config::Dpdk dpdk;
    std::string local_ip;  // dpdk: ours; every thread uses it with a queue of its own
    bool verify_checksums = true;
    uint32_t threads = 1;
    uint32_t connections = 1;  // per thread
};

class Links {
  public:
    virtual ~Links() = default;  // closes and stops; the threads have ended

    virtual ClientLink& link(uint32_t thread) = 0;
    // On the thread, before its first step and after its last one.
    virtual void thread_started() {}
    virtual void thread_ended() {}
    // The threads are to poll without ever sleeping.
    virtual bool poll_mode() const = 0;
    virtual std::string text() const = 0;  // "kernel sockets", "net_memif0"
    // Things an operator should know that are no errors.
    virtual std::vector<std::string> notes() const { return {}; }
};

base::Result<std::unique_ptr<Links>> make_links(const NetworkOptions& options);

}  // namespace cachee::loadgen
