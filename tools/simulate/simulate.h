// SPDX-License-Identifier: Apache-2.0
// `cachee simulate`: one trace, several policies and sizes, miss ratios. These are the parts;
// simulate_command.cc puts them together. The first pass counts, from an empty cache.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/simulate/l1_cache.h"
#include "tools/simulate/reference.h"
#include "tools/simulate/trace_table.h"

namespace cachee::simulate {

struct SimulateOptions {
    std::vector<std::string> traces;
    std::vector<std::string> policies;
    std::vector<std::string> sizes;
    std::string format = "auto";  // auto, csv, oracle
    uint64_t limit = 0;           // requests; 0: all
    uint64_t memory_bytes_max = uint64_t{4} << 30;
    uint32_t partitions = 1;
    uint32_t unit_item_bytes = 128;
    uint32_t segments = 128;
    uint32_t threads = 0;     // 0: as many as cores
    bool use_ttl = false;     // else nothing expires
    bool operations = false;  // sets and deletes are what they are; else every request is a look-up
    bool matrix = false;      // a line for each trace and size, a column for each policy
    bool json = false;
};
int run_simulate(const SimulateOptions& options);

// --- sizes ---------------------------------------------------------------------------------------

struct Size {
    enum class Kind : uint8_t { kBytes, kPercent, kObjects };
    Kind kind = Kind::kBytes;
    double value = 0;
    std::string text;  // as it was given
};
// "64MiB", "1000000" (bytes of L1), "1%" (of the trace's footprint), "5000objects".
base::Result<Size> parse_size(std::string_view text);

// What a size means for a trace: capacity in payload bytes (objects without sizes), and the bytes
// of L1 when that is what was given (else 0).
struct Capacity {
    uint64_t capacity = 0;
    uint64_t l1_bytes = 0;
};
Capacity capacity_of(const Size& size, const TraceTable& trace, uint32_t unit_item_bytes);

// --- one cache over one trace --------------------------------------------------------------------

// "fifo_merge" ... (of the configuration) and "ref-lru" ... (reference.h).
std::vector<std::string> known_policies();

struct Job {
    std::string policy;
    Size size;
    Capacity capacity;
};

struct Outcome {
    Job job;
    uint64_t requests = 0;  // look-ups
    uint64_t misses = 0;
    uint64_t bytes = 0;  // asked for
    uint64_t bytes_missed = 0;
    uint64_t items_last = 0;  // of L1, in the end
    double seconds = 0;
    bool is_reference = false;
    L1Stats l1;

    double object_miss_ratio() const {
        return requests == 0 ? 0 : static_cast<double>(misses) / static_cast<double>(requests);
    }
    double byte_miss_ratio() const {
        return bytes == 0 ? 0 : static_cast<double>(bytes_missed) / static_cast<double>(bytes);
    }
};

// What all jobs over a trace share, read only.
struct Shared {
    const TraceTable* trace;
    const L1Keys* keys;                 // when a policy of L1 is among them
    const std::vector<uint32_t>* next;  // when belady is
    std::atomic<uint64_t>* done;        // requests, of all jobs; for the progress
};
base::Result<Outcome> run_job(const Job& job, const Shared& shared, const SimulateOptions& options);

// --- the report ----------------------------------------------------------------------------------

std::string simulate_text(const std::string& path, const TraceTable& trace,
                          const std::vector<Outcome>& outcomes);
// Object miss ratios; byte miss ratios too where there are sizes. REQUIRES: outcomes of the same
// policies for each size, in order.
std::string simulate_matrix_head(const std::vector<std::string>& policies);
std::string simulate_matrix(const std::string& path, const TraceTable& trace,
                            const std::vector<std::string>& policies,
                            const std::vector<Outcome>& outcomes);
std::string simulate_json(const std::string& path, const TraceTable& trace,
                          const std::vector<Outcome>& outcomes);

}  // namespace cachee::simulate
