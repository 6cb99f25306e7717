// SPDX-License-Identifier: Apache-2.0
// Composition root: from the driver's name in the configuration to one Transport per worker. The
// only place that knows all drivers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/schema.h"
#include "io/transport.h"
#include "stats/counters.h"

namespace cachee::bin {

class Transports {
  public:
    virtual ~Transports() = default;  // stops the driver; the workers' threads have ended

    // Borrowed; one per worker, used by its thread only.
    virtual io::Transport& transport(uint32_t worker) = 0;
    // On the worker's thread, before its first poll.
    virtual void thread_started(uint32_t) {}
    // On the worker's thread, after its last poll.
    virtual void thread_ended(uint32_t) {}
    // Capabilities (bits 1 << CAP_*) that stopping the driver needs.
    virtual uint32_t capabilities() const { return 0; }
    // Where clients connect: "address:port".
    virtual std::string listen() const = 0;
};

// Memory that frames may be sent from: L1's mapping.
struct LentMapping {
    uint8_t* memory = nullptr;
    uint64_t bytes = 0;
    uint64_t page_bytes = 0;
};

// Main thread, with the privileges the process was started with. `counters` holds one block per
// worker.
base::Result<std::unique_ptr<Transports>> make_transports(
    const config::Config& config, uint32_t workers,
    const std::vector<stats::WorkerCounters*>& counters, const LentMapping& lent);

}  // namespace cachee::bin
