// SPDX-License-Identifier: Apache-2.0
// `cachee bench`: hands over to cachee-loadgen, a program of its own because it links the network
// drivers (DPDK among them), which the CLI does not. One thread; does not return when it succeeds.
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "tools/cachee/commands.h"

namespace cachee::cli {

namespace {

constexpr const char* kProgram = "cachee-loadgen";

// The folder of this very program, with '/' at its end; empty when the system does not say.
std::string own_folder() {
    char path[PATH_MAX];
    const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
    if (size <= 0 || size == static_cast<ssize_t>(sizeof path)) return "";
    const std::string whole(path, static_cast<size_t>(size));
    return whole.substr(0, whole.rfind('/') + 1);
}

}  // namespace

int run_bench(int argc, char** argv) {
    std::vector<char*> arguments{argv[0]};
    for (int i = 2; i < argc; ++i) arguments.push_back(argv[i]);
    arguments.push_back(nullptr);
    // Installed side by side; in a build directory a folder each; else wherever PATH has it.
    const std::string folder = own_folder();
    if (!folder.empty()) {
        for (const std::string& path : {folder + kProgram, folder + "../loadgen/" + kProgram}) {
            ::execv(path.c_str(), arguments.data());
            if (errno != ENOENT) {
                print_error("cannot execute " + path + ": " + std::strerror(errno));
                return 1;
            }
        }
    }
    ::execvp(kProgram, arguments.data());
    print_error(std::string("cannot execute ") + kProgram +
                ", which `cachee bench` is: " + std::strerror(errno));
    return 1;
}

}  // namespace cachee::cli
