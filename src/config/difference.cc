// SPDX-License-Identifier: Apache-2.0
#include "config/difference.h"

#include "config/keys.h"

namespace cachee::config {

std::string Difference::text() const { return std::string(key) + ": " + from + " -> " + to; }

std::vector<Difference> differences(const Config& from, const Config& to) {
    std::vector<Difference> found;
    for (const KeyInfo& key : keys()) {
        std::string before = value_text(key, from);
        std::string after = value_text(key, to);
        if (before == after) continue;
        if (key.rule == KeyRule::kSecret || key.rule == KeyRule::kBackend) {
            before = before.size() <= 2 ? before : "(secret)";  // "" says that there is none
            after = after.size() <= 2 ? after : "(secret)";
        }
        found.push_back({key.name, std::move(before), std::move(after)});
    }
    return found;
}

}  // namespace cachee::config
