// SPDX-License-Identifier: Apache-2.0
// `cachee check-config FILE`: the findings of the loader, or what the file means in a few lines.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "config/loader.h"
#include "tools/cachee/commands.h"
#include "tools/cachee/text.h"

namespace cachee::cli {

namespace {

const char* driver_name(config::DriverKind kind) {
    switch (kind) {
        case config::DriverKind::kSocket:
            return "socket";
        case config::DriverKind::kDpdk:
            return "dpdk";
        case config::DriverKind::kSim:
            return "sim";
    }
    return "unknown";
}

// Without the user and password that the URL may hold.
std::string backend_text(const std::string& backend) {
    if (backend.empty()) return "none: standalone cache";
    auto address = config::parse_backend(backend);
    if (!address) return "not readable";
    return fmt::format("{}:{}", address->host, address->port);
}

std::string workers_text(const config::Workers& workers) {
    if (workers.cores.empty()) return fmt::format("{}, not pinned", workers.count);
    std::string cores;
    for (const uint32_t core : workers.cores) {
        cores += (cores.empty() ? "" : ", ") + std::to_string(core);
    }
    return fmt::format("{}, on cores {}", workers.cores.size(), cores);
}

}  // namespace

int run_check_config(const std::string& path) {
    config::Config config;
    std::vector<config::Finding> findings;
    if (!config::load(path, config, findings)) {
        for (const config::Finding& finding : findings) fmt::print(stderr, "{}\n", finding.text());
        print_error(fmt::format("{}: {} finding{}; the planes would refuse to start", path,
                                findings.size(), findings.size() == 1 ? "" : "s"));
        return 1;
    }
    const std::string device =
        config.driver == config::DriverKind::kDpdk ? " (" + config.dpdk.device + ")" : "";
    fmt::print("  instance  {}\n", config.instance.name);
    fmt::print("  driver    {}{}\n", driver_name(config.driver), device);
    fmt::print("  listen    {}:{}{}\n", config.listen.address, config.listen.port,
               config.listen.password.empty() ? "" : ", with a password");
    fmt::print("  workers   {}\n", workers_text(config.workers));
    fmt::print("  L1        {}, items up to {}\n", human_bytes(config.l1.bytes),
               human_bytes(config.l1.item_bytes_max));
    fmt::print("  L2        {}\n", backend_text(config.l2.backend));
    fmt::print("{}: ok\n", path);
    return 0;
}

}  // namespace cachee::cli
