// SPDX-License-Identifier: Apache-2.0
// What a run of the load generator came to, as text for people and as JSON. Main thread, after the
// threads have ended (the progress line: while they run).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tools/loadgen/options.h"
#include "tools/loadgen/thread_stats.h"

namespace cachee::loadgen {

struct Report {
    HistogramView read_ns;
    HistogramView write_ns;
    std::array<uint64_t, static_cast<size_t>(Tally::kCount)> tallies{};
    std::map<std::string, uint64_t, std::less<>> error_kinds;
    std::string first_error;
    std::string first_wrong;
    std::string failure;  // why the run ended early; empty: it did not
    double seconds = 0;   // from the first measured request on to the last reply
    std::string network;
    bool poll_mode = false;  // of the network: its threads never sleep

    uint64_t get(Tally tally) const { return tallies[static_cast<size_t>(tally)]; }
    // Everything was answered, and right.
    bool good() const;
};

using StatsList = std::vector<std::unique_ptr<ThreadStats>>;

Report make_report(const StatsList& stats, uint64_t measured_from_ns);
std::string report_text(const Report& report, const Options& options);
std::string report_json(const Report& report, const Options& options);

// The line per second: what came since the last one.
class Progress {
  public:
    std::string line(const StatsList& stats, double seconds, double interval_seconds);

  private:
    HistogramView before_;
    uint64_t answered_before_ = 0;
};

}  // namespace cachee::loadgen
