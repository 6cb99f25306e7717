// SPDX-License-Identifier: Apache-2.0
// The life of a worker's thread: poll; when there has been nothing to do for a while, sleep a
// little; at the end, close the sessions and give them a moment to hear it.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "dataplane/worker.h"
#include "io/transport.h"

namespace cachee::dataplane {

struct IdleOptions {
    uint32_t spins = 20000;                // empty polls before the first sleep
    uint32_t sleep_us = 50;                // length of one sleep; 0: never
    uint64_t farewell_ns = 1'000'000'000;  // at the end: how long sessions may take to close
};

// Returns after `stop` was set and the sessions are closed. Worker thread.
inline void run_worker(Worker& worker, io::Transport& transport, const IdleOptions& idle,
                       const std::atomic<bool>& stop) {
    uint32_t empty_polls = 0;
    while (!stop.load(std::memory_order_relaxed)) {
        if (worker.poll_once(base::monotonic_ns())) {
            empty_polls = 0;
            continue;
        }
        if (++empty_polls < idle.spins || idle.sleep_us == 0) {
            __builtin_ia32_pause();
            continue;
        }
        worker.counters().add(stats::Counter::sleeps);
        transport.wait(uint64_t{idle.sleep_us} * base::kNsPerUs);
    }
    worker.close_all_sessions_cold();
    const uint64_t patience = base::monotonic_ns() + idle.farewell_ns;
    while (worker.sessions() != 0 && base::monotonic_ns() < patience) {
        worker.poll_once(base::monotonic_ns());
    }
    // The last FINs and RSTs.
    worker.poll_once(base::monotonic_ns());
}

}  // namespace cachee::dataplane
