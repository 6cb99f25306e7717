// SPDX-License-Identifier: Apache-2.0
// The command line of the data plane: --config FILE, --cold, --version, --help.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace cachee::bin {

struct Arguments {
    std::string config_path;
    bool cold = false;   // L1 starts empty
    int exit_code = -1;  // not negative: leave with it at once
};

inline Arguments parse_arguments(int argc, char** argv, const char* program, const char* purpose) {
    Arguments arguments;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--config" && i + 1 < argc) {
            arguments.config_path = argv[++i];
        } else if (word.starts_with("--config=")) {
            arguments.config_path = word.substr(9);
        } else if (word == "--cold") {
            arguments.cold = true;
        } else if (word == "--version") {
            std::printf("%s %s\n", program, CACHEE_VERSION);
            arguments.exit_code = 0;
            return arguments;
        } else if (word == "--help" || word == "-h") {
            std::printf(
                "usage: %s --config FILE [--cold]\n%s: %s.\n"
                "--cold: L1 starts empty, whatever an earlier run left.\n"
                "Check a file with: cachee check-config FILE\n",
                program, program, purpose);
            arguments.exit_code = 0;
            return arguments;
        } else {
            std::fprintf(stderr, "%s: unknown argument \"%s\"; usage: %s --config FILE\n", program,
                         argv[i], program);
            arguments.exit_code = 2;
            return arguments;
        }
    }
    if (arguments.config_path.empty()) {
        std::fprintf(stderr, "usage: %s --config FILE\n", program);
        arguments.exit_code = 2;
    }
    return arguments;
}

}  // namespace cachee::bin
