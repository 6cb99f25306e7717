// SPDX-License-Identifier: Apache-2.0
// The command line of `cachee bench`: options, their checks, and what follows from them. Main
// thread, before anything is opened.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/loadgen/links.h"
#include "tools/loadgen/workload.h"

namespace cachee::loadgen {

struct Options {
    WorkloadOptions workload;
    NetworkOptions network;

    uint32_t threads = 1;
    uint32_t connections = 50;  // of all threads
    uint32_t pipeline = 1;
    double rate = 0;  // of all threads; 0: closed loop
    std::string arrivals = "poisson";
    double seconds = 10;
    uint64_t requests = 0;  // of all threads; 0: by time
    double warmup_seconds = 1;
    double timeout_seconds = 5;
    std::vector<uint32_t> cores;
    uint32_t priority = 0;  // real-time, of the load's threads; 0: ordinary
    bool no_populate = false;
    bool verify = false;

    std::string memif;
    bool no_hugepages = false;
    bool no_verify_checksums = false;

    bool json = false;
    bool quiet = false;  // no progress
};

void add_options(CLI::App& app, Options& options);

// What the options mean together: fills in what follows from others. The error is for the operator.
base::Status complete(Options& options);

}  // namespace cachee::loadgen
