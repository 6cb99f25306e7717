// SPDX-License-Identifier: Apache-2.0
#include "controlplane/journal.h"

#include <spdlog/spdlog.h>

#include <iterator>

namespace cachee::controlplane {

namespace {

// Beside the key: its entry in the set and its place on the heap.
constexpr uint64_t kEntryBytes = 64;
// L1 has no longer ones (l1/layout.h).
constexpr size_t kKeyBytesMax = 65534;

}  // namespace

void Journal::open(uint64_t l1_id) {
    keys_.clear();
    bytes_ = 0;
    open_ = true;
    lost_ = false;
    cause_.clear();
    l1_id_ = l1_id;
    if (bytes_max_ == 0) lose("l2.journal_bytes_max is 0");
}

void Journal::note(std::string_view key) {
    if (!open_ || lost_ || key.size() > kKeyBytesMax) return;
    if (!keys_.emplace(key).second) return;
    bytes_ += key.size() + kEntryBytes;
    if (bytes_ > bytes_max_) {
        lose("more than " + std::to_string(bytes_max_) + " bytes of keys changed (" +
             std::to_string(keys_.size()) + " keys; l2.journal_bytes_max)");
    }
}

void Journal::lose(std::string_view cause) {
    if (!open_ || lost_) return;
    lost_ = true;
    cause_ = cause;
    keys_ = {};
    bytes_ = 0;
    spdlog::info("no data plane is attached, and L1 will not be trusted when one is: {}", cause);
}

std::vector<std::string> Journal::take() {
    std::vector<std::string> keys;
    keys.reserve(keys_.size());
    while (!keys_.empty()) {
        keys.push_back(std::move(keys_.extract(keys_.begin()).value()));
    }
    open_ = false;
    bytes_ = 0;
    return keys;
}

}  // namespace cachee::controlplane
