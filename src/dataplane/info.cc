// SPDX-License-Identifier: Apache-2.0
// INFO: one function per section, over sums of the workers' counters. Data plane, cold. What cachee
// does not have (replication, persistence) is said in the fewest keys that tools insist on; a
// figure that is not known is left out, never made up.
#include "dataplane/info.h"

#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "base/hash.h"
#include "base/units.h"
#include "dataplane/local_commands.h"
#include "dataplane/standalone_call.h"

namespace cachee::dataplane {
namespace {

using stats::Counter;

// Everything that the sections print, read once: the keys of one INFO fit together as well as they
// can.
struct Totals {
    std::array<uint64_t, stats::kWorkerCounterCount> counters{};
    uint64_t sessions = 0;
    uint64_t parked = 0;
    uint64_t lease_until_ns = UINT64_MAX;  // the earliest of the workers
    uint32_t workers = 0;

    uint64_t operator[](Counter id) const { return counters[static_cast<size_t>(id)]; }
};

Totals sum_workers(const InfoSource& source) {
    Totals totals;
    // The count lies in memory that another process can write.
    totals.workers = std::min(source.header->worker_count, shm::kWorkersMax);
    for (uint32_t w = 0; w < totals.workers; ++w) {
        const shm::WorkerBlock& block = source.workers[w];
        for (size_t i = 0; i < totals.counters.size(); ++i) {
            totals.counters[i] += block.counters.get(static_cast<Counter>(i));
        }
        totals.sessions += block.sessions.load(std::memory_order_relaxed);
        totals.parked += block.parked.load(std::memory_order_relaxed);
        totals.lease_until_ns =
            std::min(totals.lease_until_ns, block.lease_until_ns.load(std::memory_order_relaxed));
    }
    return totals;
}

struct Printer {
    const InfoSource& source;
    const Totals& totals;
    std::string& out;

    void text(std::string_view key, std::string_view value) {
        out.append(key).push_back(':');
        // A value is one line whatever a file or a field of shared memory holds.
        for (const char c : value) {
            out.push_back(c == '\r' || c == '\n' ? ' ' : c);
        }
        out.append("\r\n");
    }
    void number(std::string_view key, uint64_t value) { text(key, std::to_string(value)); }
    void ratio(std::string_view key, double value) {
        char buffer[32];
        std::snprintf(buffer, sizeof buffer, "%.4f", value);
        text(key, buffer);
    }
    void counter(std::string_view key, Counter id) { number(key, totals[id]); }
};

template <size_t kBytes>
std::string_view bounded(const char (&field)[kBytes]) {
    return {field, strnlen(field, kBytes)};
}

std::string human_bytes(uint64_t bytes) {
    constexpr std::string_view kUnits = "BKMGTP";
    auto value = static_cast<double>(bytes);
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) {
        value /= 1024;
    }
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, unit == 0 ? "%.0f%c" : "%.2f%c", value, kUnits[unit]);
    return buffer;
}

void server(Printer& p) {
    const shm::ControlHeader& header = *p.source.header;
    const config::Config& config = *p.source.config;
    p.text("redis_version", kServerVersion);
    p.text("server_name", "valkey");
    p.text("valkey_version", kValkeyVersion);
    p.text("cachee_version", CACHEE_VERSION);
    p.text("redis_mode", "standalone");
    p.text("server_mode", "standalone");
    utsname system{};
    if (uname(&system) == 0) {
        p.text("os", std::string(system.sysname) + " " + system.release + " " + system.machine);
    }
    p.text("arch_bits", "64");
    p.text("multiplexing_api", bounded(header.driver));
    p.text("gcc_version", __VERSION__);
    p.number("process_id", header.dataplane_pid);
    // 40 hexadecimal digits that change with every start.
    std::string run_id;
    for (uint64_t i = 0; i < 3; ++i) {
        char digits[17];
        const uint64_t seed = header.dataplane_started_ns + i;
        std::snprintf(digits, sizeof digits, "%016" PRIx64,
                      base::hash_key(std::to_string(header.dataplane_pid), seed));
        run_id.append(digits);
    }
    p.text("run_id", run_id.substr(0, 40));
    p.number("tcp_port", config.listen.port);
    p.number("server_time_usec", p.source.wall_ms * 1000);
    const uint64_t started_ns = header.dataplane_started_ns;
    const uint64_t uptime_s =
        p.source.now_ns > started_ns ? (p.source.now_ns - started_ns) / base::kNsPerS : 0;
    p.number("uptime_in_seconds", uptime_s);
    p.number("uptime_in_days", uptime_s / 86400);
    p.number("io_threads_active", p.totals.workers > 1 ? 1 : 0);
    p.text("listener0", "name=tcp,bind=" + config.listen.address +
                            ",port=" + std::to_string(config.listen.port));
}

void clients(Printer& p) {
    p.number("connected_clients", p.totals.sessions);
    p.number("cluster_connections", 0);
    p.number("maxclients", uint64_t{p.source.config->listen.sessions_max} * p.totals.workers);
    p.number("blocked_clients", 0);
    p.number("pubsub_clients", 0);
    p.number("tracking_clients", 0);
}

void memory(Printer& p) {
    const uint64_t used = p.totals[Counter::l1_bytes_used];
    const uint64_t total = p.source.header->l1_bytes;
    p.number("used_memory", used);
    p.text("used_memory_human", human_bytes(used));
    // All of L1 is mapped and touched at start, used or not.
    p.number("used_memory_rss", total);
    p.text("used_memory_rss_human", human_bytes(total));
    p.number("used_memory_dataset", used);
    p.number("maxmemory", total);
    p.text("maxmemory_human", human_bytes(total));
    p.text("maxmemory_policy", "allkeys-lfu");
    p.text("mem_allocator", "cachee-l1");
}

void persistence(Printer& p) {
    for (const std::string_view key :
         {"loading", "async_loading", "rdb_changes_since_last_save", "rdb_bgsave_in_progress"}) {
        p.number(key, 0);
    }
    p.number("rdb_last_save_time", p.source.header->dataplane_started_wall_ms / 1000);
    p.text("rdb_last_bgsave_status", "ok");
    for (const std::string_view key :
         {"aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"}) {
        p.number(key, 0);
    }
    p.text("aof_last_bgrewrite_status", "ok");
    p.text("aof_last_write_status", "ok");
}

void stats_section(Printer& p) {
    p.counter("total_connections_received", Counter::sessions_opened);
    p.counter("total_commands_processed", Counter::requests);
    p.counter("total_net_input_bytes", Counter::bytes_in);
    p.counter("total_net_output_bytes", Counter::bytes_out);
    p.counter("rejected_connections", Counter::sessions_refused);
    p.number("sync_full", 0);
    p.number("sync_partial_ok", 0);
    p.number("sync_partial_err", 0);
    p.counter("expired_keys", Counter::l1_expired);
    p.counter("evicted_keys", Counter::l1_evicted);
    p.counter("evicted_clients", Counter::sessions_killed_buffers);
    p.counter("keyspace_hits", Counter::l1_hits);
    p.counter("keyspace_misses", Counter::l1_misses);
    p.number("pubsub_channels", 0);
    p.number("pubsub_patterns", 0);
    p.number("latest_fork_usec", 0);
    p.counter("total_error_replies", Counter::replies_error);
}

void replication(Printer& p) {
    p.text("role", "master");
    p.number("connected_slaves", 0);
    p.text("master_failover_state", "no-failover");
    p.text("master_replid", std::string(40, '0'));
    p.text("master_replid2", std::string(40, '0'));
    p.number("master_repl_offset", 0);
    p.text("second_repl_offset", "-1");
    p.number("repl_backlog_active", 0);
}

void cpu(Printer& p) {
    const auto seconds = [&p](std::string_view key, const timeval& time) {
        char buffer[48];
        std::snprintf(buffer, sizeof buffer, "%ld.%06ld", static_cast<long>(time.tv_sec),
                      static_cast<long>(time.tv_usec));
        p.text(key, buffer);
    };
    rusage usage{};
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        seconds("used_cpu_sys", usage.ru_stime);
        seconds("used_cpu_user", usage.ru_utime);
    }
}

void modules(Printer&) {}

void errorstats(Printer&) {}

void cluster(Printer& p) { p.number("cluster_enabled", 0); }

void keyspace(Printer& p) {
    const uint64_t items = p.totals[Counter::l1_items];
    if (items > 0) {
        p.text("db0", "keys=" + std::to_string(items) + ",expires=0,avg_ttl=0");
    }
}

// One word for the state of what is behind L1, the first thing to look at.
std::string_view l2_state(const shm::ControlHeader& header) {
    if (header.standalone != 0) {
        return "standalone";
    }
    const uint32_t plane = header.controlplane_state.load(std::memory_order_relaxed);
    if (plane != static_cast<uint32_t>(shm::PlaneState::kRunning)) {
        return "no-control-plane";
    }
    return header.control_counters.get(stats::ControlCounter::l2_connected) != 0 ? "connected"
                                                                                 : "disconnected";
}

void cachee_section(Printer& p) {
    const shm::ControlHeader& header = *p.source.header;
    const uint64_t now_ns = p.source.now_ns;
    p.text("mode", header.standalone != 0 ? "standalone" : "cache");
    p.text("driver", bounded(header.driver));
    p.text("listen", bounded(header.listen));
    p.number("workers", p.totals.workers);
    p.number("parked_requests", p.totals.parked);
    const uint64_t hits = p.totals[Counter::l1_hits];
    const uint64_t reads = hits + p.totals[Counter::l1_misses];
    p.ratio("l1_hit_ratio",
            reads == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(reads));
    p.text("l1_path", bounded(header.l1_path));
    p.number("generation", header.generation.load(std::memory_order_relaxed));
    p.text("l2_state", l2_state(header));
    if (header.standalone == 0) {
        p.text("l2_backend", bounded(header.l2_backend));
        p.number("lease_ms_left", p.totals.workers > 0 && p.totals.lease_until_ns > now_ns
                                      ? (p.totals.lease_until_ns - now_ns) / base::kNsPerMs
                                      : 0);
        p.number("controlplane_epoch", header.controlplane_epoch.load(std::memory_order_relaxed));
        p.number("controlplane_pid", header.controlplane_pid.load(std::memory_order_relaxed));
        const uint64_t heartbeat_ns =
            header.controlplane_heartbeat_ns.load(std::memory_order_relaxed);
        p.number("controlplane_heartbeat_age_ms",
                 now_ns > heartbeat_ns ? (now_ns - heartbeat_ns) / base::kNsPerMs : 0);
    }
    for (size_t i = 0; i < stats::kWorkerCounterCount; ++i) {
        p.number(stats::kWorkerCounters[i].name, p.totals.counters[i]);
    }
    if (header.standalone == 0) {
        for (size_t i = 0; i < stats::kControlCounterCount; ++i) {
            p.number("control_" + std::string(stats::kControlCounters[i].name),
                     header.control_counters.get(static_cast<stats::ControlCounter>(i)));
        }
    }
}

struct Section {
    std::string_view title;
    void (*print)(Printer&);
};
// In Valkey's order, then ours.
constexpr Section kSections[] = {
    {"Server", server},
    {"Clients", clients},
    {"Memory", memory},
    {"Persistence", persistence},
    {"Stats", stats_section},
    {"Replication", replication},
    {"CPU", cpu},
    {"Modules", modules},
    {"Errorstats", errorstats},
    {"Cluster", cluster},
    {"Keyspace", keyspace},
    {"Cachee", cachee_section},
};

bool wanted(std::string_view title, std::span<const std::string_view> sections) {
    if (sections.empty()) {
        return true;
    }
    return std::any_of(sections.begin(), sections.end(), [title](std::string_view name) {
        // `lower` of equals_ignoring_case() must be lower case, and titles are not.
        std::string lower_title(title);
        std::transform(lower_title.begin(), lower_title.end(), lower_title.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        return equals_ignoring_case(name, lower_title) || equals_ignoring_case(name, "default") ||
               equals_ignoring_case(name, "all") || equals_ignoring_case(name, "everything");
    });
}

}  // namespace

void append_info(std::span<const std::string_view> sections, const InfoSource& source,
                 std::string& out) {
    const Totals totals = sum_workers(source);
    Printer printer{source, totals, out};
    bool first = true;
    for (const Section& section : kSections) {
        if (!wanted(section.title, sections)) {
            continue;
        }
        if (!first) {
            out.append("\r\n");
        }
        first = false;
        out.append("# ").append(section.title).append("\r\n");
        section.print(printer);
    }
}

}  // namespace cachee::dataplane
