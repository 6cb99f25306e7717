// SPDX-License-Identifier: Apache-2.0
// CONFIG GET: cachee's configuration under the names that Redis tools ask for. Never the password.
// Data plane, cold.
#include <string>

#include "dataplane/local_internal.h"
#include "dataplane/standalone_call.h"

namespace cachee::dataplane {
namespace local {
namespace {

using config::Config;

uint32_t worker_count(const Config& c) {
    return c.workers.cores.empty() ? c.workers.count
                                   : static_cast<uint32_t>(c.workers.cores.size());
}

struct Setting {
    std::string_view name;
    bool standalone_only;  // with L2 it is L2's to say, and we do not know
    std::string (*value)(const Config&);
};

constexpr Setting kSettings[] = {
    {"appendfsync", false, [](const Config&) -> std::string { return "everysec"; }},
    {"appendonly", false, [](const Config&) -> std::string { return "no"; }},
    {"bind", false, [](const Config& c) { return c.listen.address; }},
    {"client-query-buffer-limit", false,
     [](const Config& c) { return std::to_string(c.limits.query_buffer_bytes_max); }},
    {"cluster-enabled", false, [](const Config&) -> std::string { return "no"; }},
    {"databases", true, [](const Config&) -> std::string { return "1"; }},
    {"io-threads", false, [](const Config& c) { return std::to_string(worker_count(c)); }},
    {"loglevel", false,
     [](const Config& c) -> std::string {
         switch (c.instance.log_level) {
             case config::LogLevel::kDebug:
                 return "debug";
             case config::LogLevel::kInfo:
                 return "notice";
             case config::LogLevel::kWarning:
             case config::LogLevel::kError:
                 break;
         }
         return "warning";
     }},
    {"maxclients", false,
     [](const Config& c) {
         return std::to_string(uint64_t{c.listen.sessions_max} * worker_count(c));
     }},
    {"maxmemory", false, [](const Config& c) { return std::to_string(c.l1.bytes); }},
    // The nearest of Redis's names: segments are merged keeping what was hit most.
    {"maxmemory-policy", false, [](const Config&) -> std::string { return "allkeys-lfu"; }},
    {"notify-keyspace-events", true, [](const Config&) -> std::string { return ""; }},
    {"port", false, [](const Config& c) { return std::to_string(c.listen.port); }},
    {"proto-max-bulk-len", false,
     [](const Config& c) { return std::to_string(c.limits.bulk_bytes_max); }},
    {"save", false, [](const Config&) -> std::string { return ""; }},
    {"tcp-keepalive", false,
     [](const Config& c) { return std::to_string(c.tcp.keepalive_idle_s); }},
    {"timeout", false, [](const Config&) -> std::string { return "0"; }},
};
constexpr size_t kSettingCount = sizeof(kSettings) / sizeof(Setting);

void get(Request& request) {
    bool taken[kSettingCount] = {};
    std::vector<std::pair<std::string_view, size_t>> matches;  // name to print, setting
    for (const std::string_view pattern : request.args.subspan(2)) {
        const bool is_glob = pattern.find_first_of("[*?") != std::string_view::npos;
        for (size_t i = 0; i < kSettingCount; ++i) {
            const Setting& setting = kSettings[i];
            if (taken[i] || (setting.standalone_only && !request.context.standalone)) {
                continue;
            }
            if (is_glob ? glob_matches(pattern, setting.name)
                        : equals_ignoring_case(pattern, setting.name)) {
                taken[i] = true;
                matches.emplace_back(is_glob ? setting.name : pattern, i);
            }
        }
    }
    request.reply.map(matches.size());
    for (const auto& [name, i] : matches) {
        const Setting& setting = kSettings[i];
        const InfoSource* info = request.context.info;
        // The one that changes while it runs.
        if (setting.name == "maxmemory" && info != nullptr) {
            request.reply.bulk(name).bulk(std::to_string(info->header->l1_bytes.load()));
        } else {
            request.reply.bulk(name).bulk(setting.value(*request.context.config));
        }
    }
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// One '[...]' whose '[' is at pattern[at]; moves `at` behind it. An unclosed one ends with the
// pattern.
bool class_matches(std::string_view pattern, size_t& at, char c) {
    ++at;
    const bool negated = at < pattern.size() && pattern[at] == '^';
    at += negated ? 1 : 0;
    bool found = false;
    for (; at < pattern.size() && pattern[at] != ']'; ++at) {
        if (pattern[at] == '\\' && at + 1 < pattern.size()) {
            found = found || lower(pattern[++at]) == lower(c);
        } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
            char first = lower(pattern[at]);
            char last = lower(pattern[at + 2]);
            if (first > last) {
                std::swap(first, last);
            }
            found = found || (lower(c) >= first && lower(c) <= last);
            at += 2;
        } else {
            found = found || lower(pattern[at]) == lower(c);
        }
    }
    at = std::min(at + 1, pattern.size());
    return found != negated;
}

// Matches one pattern element that is not '*' and moves `at` behind it.
bool element_matches(std::string_view pattern, size_t& at, char c) {
    if (pattern[at] == '?') {
        ++at;
        return true;
    }
    if (pattern[at] == '[') {
        return class_matches(pattern, at, c);
    }
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
        ++at;
    }
    return lower(pattern[at++]) == lower(c);
}

}  // namespace

bool config(Request& request) {
    const Args args = request.args;
    if (args.size() < 2) {
        request.error_arity("config");
        return true;
    }
    if (equals_ignoring_case(args[1], "get")) {
        if (args.size() < 3) {
            request.error_arity("config|get");
        } else {
            get(request);
        }
        return true;
    }
    if (equals_ignoring_case(args[1], "help")) {
        static constexpr std::string_view kLines[] = {
            "GET <pattern> [<pattern> ...]",
            "    Return parameters matching the glob-like <pattern> and their values.",
        };
        if (args.size() != 2) {
            request.error_arity("config|help");
        } else {
            request.help("CONFIG", kLines);
        }
        return true;
    }
    return refuse_subcommand(request, "config",
                             "change cachee's configuration file and restart the data plane");
}

}  // namespace local

bool glob_matches(std::string_view pattern, std::string_view text) noexcept {
    size_t p = 0;
    size_t t = 0;
    // Where to go on when the part behind the last '*' does not fit: only the last one ever
    // matters.
    size_t star = std::string_view::npos;
    size_t star_text = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = ++p;
            star_text = t;
            continue;
        }
        size_t next = p;
        if (p < pattern.size() && local::element_matches(pattern, next, text[t])) {
            p = next;
            ++t;
            continue;
        }
        if (star == std::string_view::npos) {
            return false;
        }
        p = star;
        t = ++star_text;
    }
    while (p < pattern.size() && pattern[p] == '*') {
        ++p;
    }
    return p == pattern.size();
}

}  // namespace cachee::dataplane
