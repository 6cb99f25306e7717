// SPDX-License-Identifier: Apache-2.0
// The appliance's own L1 as a simulated cache: l1::Partition over ordinary memory, in the virtual
// time of the trace, used as a worker uses it (a hit is a touch when the worker's sampler says so;
// a miss is a put; upkeep once a request). Nothing of L1 is imitated here. Simulation only; one
// thread each.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "l1/partition.h"
#include "l1/touch.h"
#include "tools/simulate/trace_table.h"

namespace cachee::simulate {

// The text of every key and its hash, as replay would send it: the number in decimal, padded to the
// key's length. Shared by all runs over a trace; immutable.
class L1Keys {
  public:
    explicit L1Keys(const TraceTable& trace);
    std::string_view text(uint32_t object) const {
        return {text_.data() + starts_[object], starts_[object + 1] - starts_[object]};
    }
    uint64_t hash(uint32_t object) const { return hashes_[object]; }
    static constexpr uint64_t kHashSeed = 0x5eed;

  private:
    std::string text_;
    std::vector<uint64_t> starts_;
    std::vector<uint64_t> hashes_;
};

struct L1Shape {
    std::string policy;     // as in the configuration
    uint64_t capacity = 0;  // payload bytes; objects in a trace without sizes
    uint64_t l1_bytes = 0;  // not 0: as l1.bytes of the configuration, instead of `capacity`
    uint32_t partitions = 1;
    uint32_t unit_item_bytes = 128;  // an object without a size, header included
    uint32_t segments = 128;         // wanted per partition; `capacity` only
    bool use_ttl = false;
};

struct L1Stats {
    uint64_t evicted = 0;
    uint64_t expired = 0;
    uint64_t too_large = 0;
    uint64_t moved_bytes = 0;  // written again by merges
    uint64_t put_bytes = 0;
    uint64_t touches = 0;
    uint32_t segments = 0;
    uint32_t segment_bytes = 0;
};

class L1Cache {
  public:
    // An error: a store of this size cannot be made. `trace` and `keys` are borrowed.
    static base::Result<std::unique_ptr<L1Cache>> create(const TraceTable& trace,
                                                         const L1Keys& keys, const L1Shape& shape);
    ~L1Cache();
    L1Cache(const L1Cache&) = delete;
    L1Cache& operator=(const L1Cache&) = delete;

    bool get(const Request& request) noexcept;  // true: a hit; a miss is filled
    void put(const Request& request) noexcept;
    void erase(const Request& request) noexcept;
    uint64_t items() const;
    L1Stats stats() const;

  private:
    struct Memory;
    L1Cache(const TraceTable& trace, const L1Keys& keys, const L1Shape& shape);
    base::Status make_partitions();
    l1::Partition& partition_of(uint64_t hash) noexcept;

    const TraceTable& trace_;
    const L1Keys& keys_;
    L1Shape shape_;
    std::unique_ptr<Memory> memory_;
    std::vector<l1::Partition*> partitions_;
    std::unique_ptr<stats::WorkerCounters> counters_;
    std::vector<char> value_;  // of every item; what is in it does not matter
    L1Stats stats_;
    l1::TouchSampler touches_;
};

}  // namespace cachee::simulate
