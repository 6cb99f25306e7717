// SPDX-License-Identifier: Apache-2.0
// The report of a run. See report.h.
#include "tools/loadgen/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/cachee/text.h"

namespace cachee::loadgen {

using cli::grouped;
using cli::human_bytes;
using cli::JsonObject;

namespace {

struct Percentile {
    double percent;
    const char* title;
    const char* json;
};
constexpr Percentile kPercentiles[] = {{50, "p50", "p50_ns"},
                                       {90, "p90", "p90_ns"},
                                       {99, "p99", "p99_ns"},
                                       {99.9, "p99.9", "p99_9_ns"},
                                       {99.99, "p99.99", "p99_99_ns"}};

double per_second(uint64_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string whole(double value) { return grouped(static_cast<uint64_t>(value + 0.5)); }

// Three figures, since latencies are there to be compared: "850 ns", "1.62 ms", "16.4 ms".
std::string latency(uint64_t ns) {
    constexpr const char* kUnits[] = {"ns", "us", "ms", "s"};
    auto value = static_cast<double>(ns);
    size_t unit = 0;
    // 999.6 us would be printed as 1000 us.
    for (; value >= 999.5 && unit < 3; ++unit) value /= 1000;
    const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

std::string table_row(const std::string& name, const HistogramView& view, double seconds) {
    std::string row = fmt::format("{:<6} {:>13} {:>11}", name, grouped(view.count()),
                                  whole(per_second(view.count(), seconds)));
    for (const Percentile& percentile : kPercentiles) {
        row += fmt::format(" {:>9}", latency(view.percentile(percentile.percent)));
    }
    return row + fmt::format(" {:>9}\n", latency(view.max()));
}

std::string json_row(const HistogramView& view, double seconds) {
    JsonObject row;
    row.number("requests", view.count()).real("per_second", per_second(view.count(), seconds));
    row.real("mean_ns", view.mean());
    for (const Percentile& percentile : kPercentiles) {
        row.number(percentile.json, view.percentile(percentile.percent));
    }
    return row.number("max_ns", view.max()).close();
}

HistogramView all_of(const Report& report) {
    HistogramView all = report.read_ns;
    all.add(report.write_ns);
    return all;
}

std::string load_text(const Options& options) {
    const WorkloadOptions& workload = options.workload;
    std::string text;
    if (options.rate > 0) {
        text = fmt::format("open loop, {} requests per second, {} arrivals", whole(options.rate),
                           options.arrivals);
    } else {
        text = fmt::format("closed loop, {} in flight per connection", options.pipeline);
    }
    const std::string read =
        workload.mget_keys > 0 ? fmt::format("MGET of {}", workload.mget_keys) : "GET";
    if (workload.reads_percent > 0)
        text += fmt::format("; {:g} % {}", workload.reads_percent, read);
    if (workload.reads_percent < 100)
        text += fmt::format("; {:g} % SET", 100 - workload.reads_percent);
    return text;
}

// "none", or each kind of error with its number.
std::string errors_text(const Report& report) {
    std::string text;
    const auto add = [&](uint64_t count, const std::string& what) {
        if (count == 0) return;
        text += (text.empty() ? "" : "; ") + grouped(count) + " " + what;
    };
    for (const auto& [kind, count] : report.error_kinds) add(count, "error replies " + kind);
    add(report.get(Tally::kWrong), "wrong replies");
    add(report.get(Tally::kTimeouts), "timeouts");
    add(report.get(Tally::kDisconnects), "connections lost");
    add(report.get(Tally::kLost), "requests lost with them");
    add(report.get(Tally::kUnanswered), "requests never answered");
    return text.empty() ? "none" : text;
}

// Share of the load's time that a polling thread did not poll, because the machine did something
// else on its core: what was due meanwhile waited here, not at the target. Threads that sleep
// between events cannot know it.
double away_percent(const Report& report, const Options& options) {
    if (!report.poll_mode || report.seconds <= 0) return 0;
    const double all_ns = (report.seconds + options.warmup_seconds) * 1e9 * options.threads;
    return static_cast<double>(report.get(Tally::kAwayNs)) / all_ns * 100;
}

}  // namespace

bool Report::good() const {
    for (const Tally tally : {Tally::kErrors, Tally::kWrong, Tally::kLost, Tally::kTimeouts,
                              Tally::kDisconnects, Tally::kUnanswered}) {
        if (get(tally) != 0) return false;
    }
    return failure.empty() && read_ns.count() + write_ns.count() > 0;
}

Report make_report(const StatsList& stats, uint64_t measured_from_ns) {
    Report report;
    uint64_t last_ns = 0;
    for (const auto& thread : stats) {
        report.read_ns.add(thread->read_ns.view());
        report.write_ns.add(thread->write_ns.view());
        for (size_t i = 0; i < report.tallies.size(); ++i) {
            report.tallies[i] += thread->get(static_cast<Tally>(i));
        }
        for (const auto& [kind, count] : thread->error_kinds) report.error_kinds[kind] += count;
        if (report.first_error.empty()) report.first_error = thread->first_error;
        if (report.first_wrong.empty()) report.first_wrong = thread->first_wrong;
        last_ns = std::max(last_ns, thread->last_reply_ns.load());
    }
    if (last_ns > measured_from_ns && measured_from_ns != 0) {
        report.seconds = static_cast<double>(last_ns - measured_from_ns) / 1e9;
    }
    return report;
}

std::string report_text(const Report& report, const Options& options) {
    const WorkloadOptions& workload = options.workload;
    std::string out;
    out += fmt::format("target   {} over {}; {} connection{}, {} thread{}\n",
                       options.network.target, report.network, grouped(options.connections),
                       options.connections == 1 ? "" : "s", options.threads,
                       options.threads == 1 ? "" : "s");
    out += fmt::format("load     {}\n", load_text(options));
    out += fmt::format("data     {} keys, {}; values {} B{}; seed {}\n", grouped(workload.keys),
                       workload.distribution, workload.value_bytes,
                       workload.ttl_ms.empty() ? "" : "; TTL " + workload.ttl_ms + " ms",
                       workload.seed);
    out += fmt::format("time     {:.2f} s measured after {:g} s of warm-up\n\n", report.seconds,
                       options.warmup_seconds);
    out += fmt::format("{:<6} {:>13} {:>11}", "", "requests", "per s");
    for (const Percentile& percentile : kPercentiles)
        out += fmt::format(" {:>9}", percentile.title);
    out += fmt::format(" {:>9}\n", "max");
    const HistogramView all = all_of(report);
    if (report.read_ns.count() > 0 && report.write_ns.count() > 0) {
        out += table_row("all", all, report.seconds);
    }
    if (report.read_ns.count() > 0) {
        out += table_row(workload.mget_keys > 0 ? "MGET" : "GET", report.read_ns, report.seconds);
    }
    if (report.write_ns.count() > 0) out += table_row("SET", report.write_ns, report.seconds);
    if (all.count() == 0) out += "(no request was answered in the measured time)\n";
    out += "\n";
    const uint64_t hits = report.get(Tally::kHits);
    const uint64_t keys = hits + report.get(Tally::kMisses);
    if (keys > 0) {
        out += fmt::format("found    {} of {} keys read ({} %){}\n", grouped(hits), grouped(keys),
                           cli::percent(cli::ratio_percent(hits, keys)),
                           options.verify ? ", each value checked" : "");
    }
    const auto rate = [&](Tally tally) {
        return human_bytes(static_cast<uint64_t>(per_second(report.get(tally), report.seconds)));
    };
    out +=
        fmt::format("traffic  {}/s in, {}/s out\n", rate(Tally::kBytesIn), rate(Tally::kBytesOut));
    out += fmt::format("errors   {}\n", errors_text(report));
    if (const double away = away_percent(report, options); away >= 0.1) {
        out += fmt::format(
            "note     {:.1f} % of the time the machine took this program's cores away: the tail "
            "holds "
            "that too\n",
            away);
    }
    if (options.rate > 0 && report.seconds > 0) {
        const double achieved = per_second(all.count(), report.seconds);
        if (achieved < 0.98 * options.rate) {
            out += fmt::format(
                "note     the target took {} requests per second, not the {} asked for: the "
                "percentiles\n         hold the growing queue and say nothing about a target that "
                "keeps up\n",
                whole(achieved), whole(options.rate));
        }
    }
    return out;
}

std::string report_json(const Report& report, const Options& options) {
    const WorkloadOptions& workload = options.workload;
    JsonObject out;
    out.text("target", options.network.target).text("network", report.network);
    out.number("threads", options.threads).number("connections", options.connections);
    out.number("pipeline", options.pipeline);
    out.text("loop", options.rate > 0 ? "open" : "closed");
    if (options.rate > 0) out.real("rate", options.rate).text("arrivals", options.arrivals);
    out.number("keys", workload.keys).text("distribution", workload.distribution);
    out.text("value_bytes", workload.value_bytes).real("reads_percent", workload.reads_percent);
    out.number("mget_keys", workload.mget_keys).text("ttl_ms", workload.ttl_ms);
    out.number("seed", workload.seed).boolean("verify", options.verify);
    out.real("warmup_seconds", options.warmup_seconds).real("seconds", report.seconds);
    out.raw("all", json_row(all_of(report), report.seconds));
    out.raw("reads", json_row(report.read_ns, report.seconds));
    out.raw("writes", json_row(report.write_ns, report.seconds));
    out.number("populated", report.get(Tally::kPopulated));
    out.number("hits", report.get(Tally::kHits)).number("misses", report.get(Tally::kMisses));
    out.number("bytes_in", report.get(Tally::kBytesIn));
    out.number("bytes_out", report.get(Tally::kBytesOut));
    JsonObject kinds;
    for (const auto& [kind, count] : report.error_kinds) kinds.number(kind, count);
    JsonObject errors;
    errors.number("replies", report.get(Tally::kErrors)).raw("kinds", kinds.close());
    errors.number("wrong", report.get(Tally::kWrong)).number("lost", report.get(Tally::kLost));
    errors.number("timeouts", report.get(Tally::kTimeouts));
    errors.number("disconnects", report.get(Tally::kDisconnects));
    errors.number("reconnects", report.get(Tally::kReconnects));
    errors.number("unanswered", report.get(Tally::kUnanswered));
    out.raw("errors", errors.close());
    out.real("away_percent", away_percent(report, options));
    if (!report.first_error.empty()) out.text("first_error", report.first_error);
    if (!report.first_wrong.empty()) out.text("first_wrong", report.first_wrong);
    if (report.failure.empty()) {
        out.null("failure");
    } else {
        out.text("failure", report.failure);
    }
    return out.boolean("good", report.good()).close();
}

std::string Progress::line(const StatsList& stats, double seconds, double interval_seconds) {
    HistogramView now;
    uint64_t answered = 0;
    uint64_t wrong = 0;
    for (const auto& thread : stats) {
        now.add(thread->read_ns.view());
        now.add(thread->write_ns.view());
        answered += thread->get(Tally::kAnswered);
        wrong += thread->get(Tally::kErrors) + thread->get(Tally::kWrong) +
                 thread->get(Tally::kLost) + thread->get(Tally::kTimeouts);
    }
    HistogramView since = now;
    since.subtract(before_);
    const double rate = static_cast<double>(answered - answered_before_) / interval_seconds;
    before_ = now;
    answered_before_ = answered;
    std::string line = fmt::format("{:>5.0f} s {:>12} req/s", seconds, whole(rate));
    if (since.count() > 0) {
        line += fmt::format("   p50 {:>8}   p99 {:>8}   max {:>8}", latency(since.percentile(50)),
                            latency(since.percentile(99)), latency(since.max()));
    } else {
        line += "   warming up";
    }
    if (wrong > 0) line += fmt::format("   errors {}", grouped(wrong));
    return line;
}

}  // namespace cachee::loadgen
