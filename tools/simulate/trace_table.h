// SPDX-License-Identifier: Apache-2.0
// A whole trace in memory, its keys numbered from 0: what every simulated cache of a run reads.
// Bounded by the caller (24 bytes a request, 40 an object). Built once by one thread, then
// immutable.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/cachee/trace.h"

namespace cachee::simulate {

using cli::TraceFormat;
using cli::TraceOperation;

struct Request {
    uint64_t time_ms;
    uint32_t object;  // number of its key
    uint32_t bytes;   // key + value; 1 in a trace without sizes
    uint32_t ttl_s;   // 0: none
    TraceOperation operation;
};
static_assert(sizeof(Request) == 24);

struct TraceLimits {
    uint64_t requests_max = 0;  // 0: the whole trace; else it ends there
    uint64_t memory_bytes_max = uint64_t{4} << 30;
};

class TraceTable {
  public:
    // `progress` is called now and then with the share of the file that was read.
    static base::Result<TraceTable> load(const std::string& path, TraceFormat format,
                                         const TraceLimits& limits,
                                         const std::function<void(double)>& progress);
    // From records in memory, for tests.
    static TraceTable of(const std::vector<cli::TraceRecord>& records);

    const std::vector<Request>& requests() const { return requests_; }
    uint32_t objects() const { return static_cast<uint32_t>(keys_.size()); }
    // The number that the trace has for it, and the length of its key there (0: not known).
    uint64_t key(uint32_t object) const { return keys_[object]; }
    uint32_t key_bytes(uint32_t object) const { return key_bytes_[object]; }
    // No request has a size: every object counts as one.
    bool is_unit_size() const { return is_unit_size_; }
    // Of all objects, each as large as at its first request.
    uint64_t footprint_bytes() const { return footprint_bytes_; }
    uint64_t largest_bytes() const { return largest_bytes_; }
    // For each request the position of the next one of the same object; kNever: none.
    static constexpr uint32_t kNever = UINT32_MAX;
    std::vector<uint32_t> next_positions() const;

  private:
    // Open addressing: number of the object plus one, 0 is empty.
    struct Numbers {
        std::vector<uint32_t> slots;
        uint32_t number_of(uint64_t key, std::vector<uint64_t>& keys);
        void grow(const std::vector<uint64_t>& keys);
    };

    void add(const cli::TraceRecord& record, Numbers& numbers);
    void finish();
    uint64_t memory_bytes() const;

    std::vector<Request> requests_;
    std::vector<uint64_t> keys_;
    std::vector<uint32_t> key_bytes_;
    bool is_unit_size_ = true;
    uint64_t footprint_bytes_ = 0;
    uint64_t largest_bytes_ = 0;
};

}  // namespace cachee::simulate
