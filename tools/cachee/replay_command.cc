// SPDX-License-Identifier: Apache-2.0
// `cachee replay`: loads the trace, deals its keys to the clients, runs them and reports. The
// clients have a thread each; this one shows the progress and keeps the time.
#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/hash.h"
#include "tools/cachee/commands.h"
#include "tools/cachee/progress.h"
#include "tools/cachee/replay.h"
#include "tools/cachee/replay_client.h"
#include "tools/cachee/snapshot.h"
#include "tools/cachee/text.h"

namespace cachee::cli {

namespace {

constexpr auto kProgressPeriod = std::chrono::milliseconds(50);
// What was set in L2 directly becomes visible through the appliance after one invalidation delay.
constexpr auto kSettleTime = std::chrono::milliseconds(300);

// Runs `work` for every client in a thread of its own; the first error, if any.
base::Status run_clients(std::vector<std::unique_ptr<ReplayClient>>& clients, ReplayShared& shared,
                         Progress& progress, double seconds_max,
                         const std::function<base::Status(ReplayClient&)>& work) {
    std::mutex mutex;
    base::Status first;
    std::atomic<size_t> running{clients.size()};
    std::vector<std::thread> threads;
    for (auto& client : clients) {
        threads.emplace_back([&] {
            base::Status status = work(*client);
            if (!status) {
                const std::lock_guard lock(mutex);
                if (first.has_value()) first = status;
                shared.stop = true;
            }
            shared.ended_ns = base::monotonic_ns();
            running.fetch_sub(1);
        });
    }
    const uint64_t deadline_ns = base::monotonic_ns() + static_cast<uint64_t>(seconds_max * 1e9);
    while (running.load() > 0) {
        std::this_thread::sleep_for(kProgressPeriod);
        progress.show(shared.done.load(std::memory_order_relaxed));
        if (base::monotonic_ns() > deadline_ns) shared.stop = true;
    }
    for (std::thread& thread : threads) thread.join();
    progress.end();
    return first;
}

struct HitCounters {
    uint64_t hits = 0;
    uint64_t misses = 0;
};

std::optional<uint64_t> info_number(std::string_view info, std::string_view name) {
    const std::string needle = fmt::format("\n{}:", name);
    const size_t start = info.find(needle);
    if (start == std::string_view::npos) return std::nullopt;
    uint64_t value = 0;
    for (size_t i = start + needle.size(); i < info.size() && info[i] >= '0' && info[i] <= '9';
         ++i) {
        value = value * 10 + static_cast<uint64_t>(info[i] - '0');
    }
    return value;
}

// From shared memory when an instance is named, else from INFO of the target; `source` says which.
std::optional<HitCounters> read_hit_counters(const ReplayOptions& options, const HostPort& target,
                                             std::string& source) {
    if (!options.instance.empty()) {
        auto segment = shm::Segment::attach(options.instance, true);
        if (!segment) return std::nullopt;
        source = "shared memory";
        const Snapshot snapshot = take_snapshot(*segment.value(), base::monotonic_ns());
        return HitCounters{snapshot.sum(stats::Counter::l1_hits),
                           snapshot.sum(stats::Counter::l1_misses)};
    }
    RedisLink link(target);
    if (!link.connect()) return std::nullopt;
    link.send({"INFO"});
    auto reply = link.read();
    if (!reply || reply->kind != Reply::Kind::kValue) return std::nullopt;
    const auto hits = info_number(reply->text, "l1_hits");
    const auto misses = info_number(reply->text, "l1_misses");
    if (!hits || !misses) return std::nullopt;
    source = "INFO";
    return HitCounters{*hits, *misses};
}

base::Result<uint64_t> load_trace(const ReplayOptions& options,
                                  std::vector<std::unique_ptr<ReplayClient>>& clients) {
    const TraceFormat format = options.format == "csv"      ? TraceFormat::kCsv
                               : options.format == "oracle" ? TraceFormat::kOracle
                                                            : trace_format_of(options.file);
    auto reader = TraceReader::open(options.file, format);
    if (!reader) return reader.error();
    uint64_t count = 0;
    TraceRecord record;
    while (options.limit == 0 || count < options.limit) {
        auto more = reader.value()->next(record);
        if (!more) return more.error();
        if (!more.value()) break;
        // A key stays with one client: only so is the order of its requests known.
        const uint64_t hash = base::hash_key(
            std::string_view(reinterpret_cast<const char*>(&record.key), sizeof record.key),
            options.seed);
        clients[hash % clients.size()]->add(record);
        ++count;
    }
    if (count == 0) return base::Error{options.file + " holds no requests"};
    return count;
}

void merge(ReplayReport& report, std::vector<std::unique_ptr<ReplayClient>>& clients) {
    std::vector<uint32_t> reads, writes, l2_reads;
    for (auto& client : clients) {
        report.counts.add(client->counts());
        reads.insert(reads.end(), client->target_reads().begin(), client->target_reads().end());
        writes.insert(writes.end(), client->target_writes().begin(), client->target_writes().end());
        l2_reads.insert(l2_reads.end(), client->l2_reads().begin(), client->l2_reads().end());
    }
    report.target_reads = summarise(reads);
    report.target_writes = summarise(writes);
    report.l2_reads = summarise(l2_reads);
}

base::Status populate(const ReplayOptions& options, ReplayShared& shared, ReplayReport& report,
                      std::vector<std::unique_ptr<ReplayClient>>& clients) {
    std::atomic<uint64_t> populated{0};
    Progress progress("populating L2", report.requests_asked);
    auto status = run_clients(clients, shared, progress, options.seconds,
                              [&](ReplayClient& client) -> base::Status {
                                  auto count = client.populate();
                                  if (!count) return count.error();
                                  populated += count.value();
                                  return {};
                              });
    report.populated = populated;
    shared.done = 0;
    shared.stop = shared.stop && !status;  // running out of time here does not shorten the replay
    std::this_thread::sleep_for(kSettleTime);
    return status;
}

base::Result<ReplayReport> replay(const ReplayOptions& options) {
    auto target = parse_host_port(options.target);
    if (!target) return target.error();
    HostPort l2;
    if (!options.through_l2.empty()) {
        auto parsed = parse_host_port(options.through_l2);
        if (!parsed) return parsed.error();
        l2 = parsed.value();
    }
    ReplayShared shared;
    std::vector<std::unique_ptr<ReplayClient>> clients;
    for (uint32_t i = 0; i < options.clients; ++i) {
        clients.push_back(std::make_unique<ReplayClient>(
            options, target.value(), options.through_l2.empty() ? nullptr : &l2, shared));
    }
    ReplayReport report;
    auto count = load_trace(options, clients);
    if (!count) return count.error();
    report.requests_asked = count.value();
    for (auto& client : clients) {
        if (auto status = client->connect(); !status) return status.error();
    }
    if (!options.through_l2.empty() && !options.cache_aside) {
        if (auto status = populate(options, shared, report, clients); !status)
            return status.error();
    }
    const auto before = read_hit_counters(options, target.value(), report.l1_hit_source);
    const uint64_t started_ns = base::monotonic_ns();
    Progress progress("replaying", report.requests_asked);
    if (auto status = run_clients(clients, shared, progress, options.seconds,
                                  [](ReplayClient& client) { return client.run(); });
        !status) {
        return status.error();
    }
    report.seconds = static_cast<double>(shared.ended_ns - started_ns) / 1e9;
    report.requests = shared.done;
    const auto after = read_hit_counters(options, target.value(), report.l1_hit_source);
    if (before && after && after->hits >= before->hits && after->misses >= before->misses) {
        const uint64_t hits = after->hits - before->hits;
        report.l1_hit_percent = ratio_percent(hits, hits + after->misses - before->misses);
    }
    merge(report, clients);
    return report;
}

}  // namespace

int run_replay(const ReplayOptions& options) {
    auto report = replay(options);
    if (!report) {
        print_error(report.error().message);
        return 1;
    }
    fmt::print("{}",
               options.json ? replay_json(*report, options) + "\n" : replay_text(*report, options));
    if (report->counts.errors > 0) {
        print_error(fmt::format("{} requests failed; the first: {}", report->counts.errors,
                                report->counts.first_error));
    }
    if (options.verify && report->counts.wrong() > 0) {
        print_error(fmt::format("{} reads were wrong; the first: {}", report->counts.wrong(),
                                report->counts.first_wrong));
    }
    return report->counts.errors > 0 || report->counts.wrong() > 0 ? 1 : 0;
}

}  // namespace cachee::cli
