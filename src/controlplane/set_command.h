// SPDX-License-Identifier: Apache-2.0
// Which SETs store exactly the value they carry, so that it can be installed in L1 at their
// acknowledgement, and how long it lives. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace cachee::controlplane {

struct StoredValue {
    std::string_view key;
    std::string_view value;
    uint64_t ttl_ms = 0;  // 0: lives for ever
};

// SET without options or with EX or PX, SETEX, PSETEX. Nothing for the others: NX, XX and IFEQ may
// not store, KEEPTTL has an unknown deadline, and EXAT and PXAT are of L2's wall clock, which may
// differ.
std::optional<StoredValue> stored_value(std::span<const std::string_view> arguments);

}  // namespace cachee::controlplane
