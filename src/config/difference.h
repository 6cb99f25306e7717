// SPDX-License-Identifier: Apache-2.0
// What differs between two configurations, key by key, as a person reads it. Cold code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"

namespace cachee::config {

struct Difference {
    std::string_view key;  // "l1.bytes"; lives for good
    std::string from;      // as it would be written in the file; "(secret)" for passwords and URLs
    std::string to;
    std::string text() const;  // "l1.bytes: 256MiB -> 1GiB"
};

// In the order of the keys.
std::vector<Difference> differences(const Config& from, const Config& to);

}  // namespace cachee::config
