// SPDX-License-Identifier: Apache-2.0
// The text of INFO, out of the control segment: sections and keys as Valkey names them, so that
// redis_exporter, redis-cli --stat and dashboards work, and a section of our own, "# Cachee". Reads
// shared memory, writes nothing. Data plane, cold; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "config/schema.h"
#include "shm/layout.h"

namespace cachee::dataplane {

struct InfoSource {
    const shm::ControlHeader* header = nullptr;  // REQUIRES: set
    const shm::WorkerBlock* workers = nullptr;   // header->worker_count of them
    const config::Config* config = nullptr;      // REQUIRES: set
    uint64_t now_ns = 0;                         // monotonic
    uint64_t wall_ms = 0;
};

// Appends the sections named in `sections` (any case), each once, in INFO's own order; none named,
// "default", "all" and "everything" mean all of them. Unknown names give nothing, as in Valkey.
// Lines end in CRLF.
void append_info(std::span<const std::string_view> sections, const InfoSource& source,
                 std::string& out);

}  // namespace cachee::dataplane
