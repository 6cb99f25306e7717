// SPDX-License-Identifier: Apache-2.0
// What one thread of the load generator counts. One writer; the main thread reads at any time (the
// error texts only after the thread has ended).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "tools/loadgen/histogram.h"

namespace cachee::loadgen {

enum class Tally : uint8_t {
    // Of the measured time
    kReads,   // answered GETs and MGETs
    kWrites,  // answered SETs
    kHits,    // keys found
    kMisses,  // keys not found
    kBytesIn,
    kBytesOut,
    // Of the whole run
    kPopulated,    // keys set before the run
    kAnswered,     // requests of warm-up and measured time; for the progress line
    kErrors,       // error replies
    kWrong,        // values or replies that are not what they must be
    kLost,         // requests whose connection was lost
    kTimeouts,     // connections given up because a reply did not come
    kDisconnects,  // connections lost while the load ran
    kReconnects,   // connections opened again
    kAwayNs,       // time in gaps of more than 10 us between two turns, while the load ran
    kUnanswered,   // requests that were due and not answered when the patience at the end ran out
    kCount,
};

struct ThreadStats {
    static constexpr size_t kErrorKindsMax = 32;

    Histogram read_ns;
    Histogram write_ns;
    std::array<std::atomic<uint64_t>, static_cast<size_t>(Tally::kCount)> tallies{};
    std::atomic<uint64_t> last_reply_ns{0};  // of a measured request

    // Error replies by their first word, and the first of each kind whole. Owner; after its end,
    // anyone.
    std::map<std::string, uint64_t, std::less<>> error_kinds;
    std::string first_error;
    std::string first_wrong;

    // Owner only.
    void add(Tally tally, uint64_t n = 1) noexcept {
        auto& value = tallies[static_cast<size_t>(tally)];
        value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    void add_error(std::string_view text) {
        add(Tally::kErrors);
        if (first_error.empty()) first_error = text.substr(0, 200);
        std::string_view kind = text.substr(0, std::min<size_t>(text.find(' '), 32));
        if (error_kinds.size() >= kErrorKindsMax && !error_kinds.contains(kind)) kind = "others";
        ++error_kinds[std::string(kind)];
    }
    // Any thread.
    uint64_t get(Tally tally) const noexcept {
        return tallies[static_cast<size_t>(tally)].load(std::memory_order_relaxed);
    }
};

}  // namespace cachee::loadgen
