// SPDX-License-Identifier: Apache-2.0
// Textbook eviction policies, object by object and without any overhead: what the appliance's own
// are compared with. Written from the papers, with the defaults of libCacheSim, so that published
// miss ratios can be checked against them (docs/EVICTION.md says where S3-FIFO differs). Simulation
// only; one thread each.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tools/simulate/trace_table.h"

namespace cachee::simulate {

class Reference {
  public:
    virtual ~Reference() = default;
    // A look-up, and on a miss the insertion. True: a hit. `position` is the request's.
    virtual bool access(uint32_t object, uint32_t bytes, uint32_t position) = 0;
    virtual void erase(uint32_t object) = 0;
    virtual bool contains(uint32_t object) const = 0;
    virtual uint64_t used_bytes() const = 0;
};

// "lru", "fifo", "sieve", "s3fifo", "belady"; nullptr: unknown. `capacity` in bytes (objects in a
// trace without sizes). `next` (TraceTable::next_positions()) is borrowed; only belady needs it.
std::unique_ptr<Reference> make_reference(std::string_view name, uint64_t capacity,
                                          uint32_t objects, const std::vector<uint32_t>* next);

}  // namespace cachee::simulate
