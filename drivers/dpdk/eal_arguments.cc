// SPDX-License-Identifier: Apache-2.0
// From the configuration to an EAL command line. Cold code, main thread, before EAL starts.
#include <sched.h>

#include <algorithm>
#include <string_view>

#include "drivers/dpdk/buffers.h"
#include "drivers/dpdk/dpdk_driver.h"
#include "drivers/dpdk/pci_device.h"

namespace cachee::dpdk {
namespace {

using base::Error;

// EAL pins the calling thread to its main lcore: an lcore that is all of the thread's CPUs changes
// nothing. "0@(0,1,5)"
std::string lcores_of_this_thread() {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    std::string list;
    if (::sched_getaffinity(0, sizeof cpus, &cpus) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &cpus)) continue;
            if (!list.empty()) list += ',';
            list += std::to_string(cpu);
        }
    }
    return "0@(" + (list.empty() ? "0" : list) + ")";
}

const char* level_name(config::LogLevel level) {
    switch (level) {
        case config::LogLevel::kDebug:
            return "debug";
        case config::LogLevel::kInfo:
            return "info";
        case config::LogLevel::kWarning:
            return "warning";
        case config::LogLevel::kError:
            return "error";
    }
    return "error";
}

}  // namespace

base::Result<std::vector<std::string>> eal_arguments(const config::Dpdk& config,
                                                     uint32_t worker_count,
                                                     const std::string& instance,
                                                     config::LogLevel log_level) {
    const std::string name = config.device.substr(0, config.device.find(','));
    const bool pci = is_pci_address(name);
    if (!pci && (name.empty() || name.find(':') != std::string::npos)) {
        return Error{"dpdk.device \"" + config.device +
                     "\" is neither a PCI address like 0000:3b:00.0 nor a virtual device like "
                     "net_tap0,iface=cachee0 or net_af_xdp0,iface=eth1"};
    }
    // Hugepages are added as they are needed; ordinary pages are not, and cost nothing until
    // touched.
    const uint64_t memory_mib =
        config.hugepages
            ? config.memory_mib
            : std::max<uint64_t>(config.memory_mib, memory_mib_needed(config, worker_count));
    std::vector<std::string> arguments = {"cachee",
                                          "--lcores",
                                          lcores_of_this_thread(),
                                          "--file-prefix",
                                          "cachee-" + instance,
                                          "-m",
                                          std::to_string(memory_mib),
                                          "--no-telemetry"};
    arguments.push_back(std::string("--log-level=*:") + level_name(log_level));
    // Memory that no file names and no secondary process joins: nothing is left behind, whatever
    // way the process ends.
    if (config.hugepages) {
        arguments.push_back("--in-memory");
    } else {
        arguments.insert(arguments.end(), {"--no-huge", "--no-shconf"});
    }
    if (pci) {
        arguments.insert(arguments.end(), {"-a", config.device});
    } else {
        arguments.insert(arguments.end(), {"--no-pci", "--iova-mode=va", "--vdev", config.device});
    }
    arguments.insert(arguments.end(), config.eal_args.begin(), config.eal_args.end());
    return arguments;
}

}  // namespace cachee::dpdk
