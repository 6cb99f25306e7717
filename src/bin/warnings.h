// SPDX-License-Identifier: Apache-2.0
// What the data plane's main thread says about what its workers counted: one line when something
// that an operator should know of begins, and no more of that kind until it has been quiet for a
// while. Workers never log. Main thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "stats/counters.h"

namespace cachee::bin {

class Warnings {
  public:
    // The counters are borrowed.
    explicit Warnings(std::vector<const stats::WorkerCounters*> workers);

    // The lines to log now. Called about once a second.
    std::vector<std::string> check(std::chrono::steady_clock::time_point now);

  private:
    static constexpr std::chrono::minutes kQuiet{10};

    struct Watch {
        stats::Counter counter;
        const char* text;
        uint64_t seen = 0;
        std::chrono::steady_clock::time_point grew{};
        bool told = false;
    };

    uint64_t total(stats::Counter counter) const;

    std::vector<const stats::WorkerCounters*> workers_;
    std::vector<Watch> watches_;
};

}  // namespace cachee::bin
