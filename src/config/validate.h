// SPDX-License-Identifier: Apache-2.0
// Checks across keys of a configuration whose single values are already good. Cold code; any
// thread.
#pragma once

#include <string>
#include <vector>

#include "config/schema.h"

namespace cachee::config {

struct Conflict {
    std::string key;      // the key to change
    std::string message;  // what is wrong and what to do
};

std::vector<Conflict> find_conflicts(const Config& config);

}  // namespace cachee::config
