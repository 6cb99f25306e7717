// SPDX-License-Identifier: Apache-2.0
#include "l1/policies.h"

#include <algorithm>

#include "base/assert.h"
#include "l1/s3_fifo.h"

namespace cachee::l1 {

std::optional<Eviction> eviction_of(std::string_view name) {
    const auto* const found = std::find(std::begin(kEvictionNames), std::end(kEvictionNames), name);
    if (found == std::end(kEvictionNames)) return std::nullopt;
    return static_cast<Eviction>(found - std::begin(kEvictionNames));
}

std::unique_ptr<EvictionPolicy> make_policy(Eviction kind, uint64_t items) {
    switch (kind) {
        case Eviction::kFifoMerge:
            return std::make_unique<FifoMergePolicy>();
        case Eviction::kS3Fifo:
            return std::make_unique<S3FifoPolicy>(items);
    }
    CACHEE_ASSERT(false);
    return nullptr;
}

}  // namespace cachee::l1
