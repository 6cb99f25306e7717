// SPDX-License-Identifier: Apache-2.0
// One line of `cachee stat`: rates and shares between two snapshots of one data plane, and how they
// are printed. Pure functions. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/cachee/snapshot.h"

namespace cachee::cli {

// Rates are per second. A negative percentage or latency: not known (nothing happened, or no L2).
struct StatLine {
    double seconds = 0;
    double requests = 0;
    double hit_percent = -1;
    double l1_fill_percent = -1;
    uint64_t l1_pinned_segments = 0;
    std::vector<double> busy_percent;  // per worker
    double l2_p50_us = -1;
    double l2_p99_us = -1;
    double invalidations = 0;
    uint64_t sessions = 0;
    uint64_t parked = 0;
    Health dataplane = Health::kAbsent;
    Health controlplane = Health::kAbsent;
    bool standalone = false;
};

// A counter that went back (which only a new segment can do) counts as a rate of 0.
StatLine compute_stat(const Snapshot& before, const Snapshot& after);

std::string stat_header();
std::string stat_text(const StatLine& line, bool colours);
std::string stat_json(const StatLine& line, uint64_t wall_ms);

}  // namespace cachee::cli
