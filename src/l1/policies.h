// SPDX-License-Identifier: Apache-2.0
// The eviction policies by name. Cold code.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "l1/eviction_policy.h"

namespace cachee::l1 {

// In the order of config::EvictionKind.
enum class Eviction : uint8_t { kFifoMerge, kS3Fifo };
inline constexpr std::string_view kEvictionNames[] = {"fifo_merge", "s3_fifo"};

// As the configuration writes it; none: unknown.
std::optional<Eviction> eviction_of(std::string_view name);

// For one partition that holds about `items` items: what the policy remembers is sized for them.
std::unique_ptr<EvictionPolicy> make_policy(Eviction kind, uint64_t items);

}  // namespace cachee::l1
