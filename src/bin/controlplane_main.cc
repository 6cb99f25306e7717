// SPDX-License-Identifier: Apache-2.0
// cachee-controlplane: reads the configuration, sets up the log, runs one ControlPlane until a
// signal. Composition root of the unprivileged plane; no logic of its own.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "config/loader.h"
#include "controlplane/control_plane.h"

namespace {

using cachee::config::LogLevel;

constexpr const char* kUsage =
    "usage: cachee-controlplane --config FILE\n"
    "  --config FILE   the same cachee.yaml as the data plane's\n"
    "  --version       print the version\n";

spdlog::level::level_enum level_of(LogLevel level) {
    switch (level) {
        case LogLevel::kDebug:
            return spdlog::level::debug;
        case LogLevel::kInfo:
            return spdlog::level::info;
        case LogLevel::kWarning:
            return spdlog::level::warn;
        case LogLevel::kError:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

// 0: go on; else the exit code plus one.
int parse_arguments(int argc, char** argv, std::string& config_path) {
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--version") == 0) {
            std::puts("cachee-controlplane " CACHEE_VERSION);
            return 1;
        }
        if (std::strcmp(argv[i], "--help") == 0) {
            std::fputs(kUsage, stdout);
            return 1;
        }
        if (std::strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
            config_path = argv[++i];
            continue;
        }
        std::fprintf(stderr, "cachee-controlplane: unknown argument %s\n%s", argv[i], kUsage);
        return 3;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::string config_path;
    if (const int done = parse_arguments(argc, argv, config_path); done != 0) return done - 1;
    cachee::config::Config config;
    std::vector<cachee::config::Finding> findings;
    if (!cachee::config::load(config_path, config, findings)) {
        for (const auto& finding : findings) std::fprintf(stderr, "%s\n", finding.text().c_str());
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    spdlog::set_default_logger(spdlog::stderr_logger_mt("controlplane"));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l controlplane: %v");
    spdlog::set_level(level_of(config.instance.log_level));
    spdlog::flush_on(spdlog::level::debug);

    std::optional<cachee::controlplane::L2Address> l2;
    if (!config.l2.backend.empty()) {
        auto parsed = cachee::config::parse_backend(config.l2.backend);
        if (!parsed) {
            std::fprintf(stderr, "cachee-controlplane: l2.backend: %s\n",
                         parsed.error().message.c_str());
            return 2;
        }
        l2 = {parsed->host, parsed->port, parsed->user, parsed->password};
    }
    auto plane = cachee::controlplane::ControlPlane::create(config, std::move(l2));
    if (!plane) {
        spdlog::error("{}", plane.error().message);
        return 1;
    }
    plane.value()->run(true);
    spdlog::info("stopped");
    return 0;
}
