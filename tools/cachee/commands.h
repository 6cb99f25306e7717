// SPDX-License-Identifier: Apache-2.0
// The subcommands of the CLI, each with its options as main.cc read them. Each returns the exit
// code of the process: 0 fine, 1 something is wrong (said on stderr), 2 wrong usage. One thread
// each, but replay.
#pragma once

#include <cstdint>
#include <string>

namespace cachee::cli {

struct StatOptions {
    std::string instance;  // empty: default_instance()
    double interval_s = 1;
    uint64_t count = 0;  // 0: until interrupted
    bool json = false;
};
int run_stat(const StatOptions& options);

struct InfoOptions {
    std::string instance;  // empty: default_instance()
    bool json = false;
};
int run_info(const InfoOptions& options);

int run_check_config(const std::string& path);

// Executes the load generator with what follows "bench" on the command line.
int run_bench(int argc, char** argv);

// The only instance that has a segment on this host, else "main".
std::string default_instance();

// "error: ..." on stderr.
void print_error(const std::string& message);

}  // namespace cachee::cli
