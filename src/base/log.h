// SPDX-License-Identifier: Apache-2.0
// Lines for the operator on stderr, from the data plane's main thread and other cold code. Never
// per request and never from a worker: those count (stats/counters.h), and the CLI shows what they
// counted. (The control plane and the tools log through spdlog in the same form.)
#pragma once

#include <time.h>

#include <cstdio>
#include <string>

namespace cachee::base {

enum class Severity { kInfo, kWarning, kError };

// "2026-01-31T12:00:00.123Z cachee-dataplane info: text"
inline void log_line(const char* program, Severity severity, const std::string& text) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    tm parts{};
    gmtime_r(&now.tv_sec, &parts);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    const char* word = severity == Severity::kInfo      ? "info"
                       : severity == Severity::kWarning ? "warning"
                                                        : "error";
    std::fprintf(stderr, "%s.%03ldZ %s %s: %s\n", stamp, now.tv_nsec / 1'000'000, program, word,
                 text.c_str());
}

}  // namespace cachee::base
