// SPDX-License-Identifier: Apache-2.0
// The result of a replay as an aligned table or one JSON object; see replay.h.
#include <fmt/format.h>

#include "tools/cachee/replay.h"
#include "tools/cachee/text.h"

namespace cachee::cli {

namespace {

std::string latency_cell(const LatencySummary& summary, uint64_t value) {
    return summary.count == 0 ? "-" : human_ns(value);
}

std::string row(const std::string& name, const std::string& target, const std::string& l2,
                bool has_l2) {
    if (!has_l2) return fmt::format("  {:<18} {:>20}\n", name, target);
    return fmt::format("  {:<18} {:>20} {:>20}\n", name, target, l2);
}

std::string percent_cell(double value) { return value < 0 ? "-" : percent(value) + " %"; }

std::string latency_json(const LatencySummary& summary) {
    JsonObject object;
    object.number("count", summary.count)
        .number("p50_ns", summary.p50)
        .number("p90_ns", summary.p90);
    object.number("p99_ns", summary.p99)
        .number("p999_ns", summary.p999)
        .number("max_ns", summary.max);
    return object.close();
}

std::string verification_text(const ReplayReport& report, const ReplayOptions& options) {
    const ReplayCounts& counts = report.counts;
    std::string text;
    if (options.verify) {
        text += fmt::format(
            "  verified: {} values right, {} rightly absent, {} missing, {} stale, {} corrupt\n",
            grouped(counts.good), grouped(counts.gone), grouped(counts.missing),
            grouped(counts.stale), grouped(counts.corrupt));
        if (!counts.first_wrong.empty())
            text += fmt::format("  first wrong: {}\n", counts.first_wrong);
    }
    if (counts.adopted > 0) {
        text += fmt::format("  {} keys held values of an earlier replay with this seed\n",
                            grouped(counts.adopted));
    }
    if (counts.foreign > 0) {
        text += fmt::format(
            "  {} keys held values of another origin and were overwritten; "
            "--key-prefix keeps apart\n",
            grouped(counts.foreign));
    }
    if (counts.values_cut > 0) {
        text += fmt::format("  {} values were cut to {} (--value-bytes-max)\n",
                            grouped(counts.values_cut), human_bytes(options.value_bytes_max));
    }
    if (counts.errors > 0) {
        text += fmt::format("  {} errors, {} reconnects; the first: {}\n", grouped(counts.errors),
                            grouped(counts.reconnects), counts.first_error);
    }
    return text;
}

}  // namespace

std::string replay_text(const ReplayReport& report, const ReplayOptions& options) {
    const ReplayCounts& counts = report.counts;
    const bool has_l2 = !options.through_l2.empty();
    const auto line = [&](const char* name, const std::string& target, const std::string& l2) {
        return row(name, target, l2, has_l2);
    };
    std::string text = fmt::format("{}: {} requests, {} keys, {} clients, pipeline {}, {:.1f} s\n",
                                   options.file, grouped(report.requests), grouped(counts.keys),
                                   options.clients, options.pipeline, report.seconds);
    if (report.requests < report.requests_asked) {
        text += fmt::format("  stopped by --seconds: {} requests of the trace were not sent\n",
                            grouped(report.requests_asked - report.requests));
    }
    text += line("", "target", "L2 direct");
    text += line("address", options.target, options.through_l2);
    text += line("reads", grouped(counts.reads), grouped(counts.l2_reads));
    text += line("found", percent_cell(ratio_percent(counts.found, counts.reads)),
                 percent_cell(ratio_percent(counts.l2_found, counts.l2_reads)));
    text += line("hit ratio of L1", percent_cell(report.l1_hit_percent), "-");
    const auto latency = [&](const char* name, uint64_t LatencySummary::*member) {
        return line(name, latency_cell(report.target_reads, report.target_reads.*member),
                    latency_cell(report.l2_reads, report.l2_reads.*member));
    };
    text += latency("read p50", &LatencySummary::p50);
    text += latency("read p90", &LatencySummary::p90);
    text += latency("read p99", &LatencySummary::p99);
    text += latency("read p99.9", &LatencySummary::p999);
    text += latency("read max", &LatencySummary::max);
    text += line(
        "writes, deletes",
        fmt::format("{}, {}", grouped(counts.writes + counts.refills), grouped(counts.deletes)),
        report.populated > 0 ? grouped(report.populated) + " set" : "-");
    text += line("write p50", latency_cell(report.target_writes, report.target_writes.p50), "-");
    text += line("write p99", latency_cell(report.target_writes, report.target_writes.p99), "-");
    if (report.seconds > 0) {
        text += line(
            "requests/s",
            grouped(static_cast<uint64_t>(static_cast<double>(report.requests) / report.seconds)),
            "");
    }
    return text + verification_text(report, options);
}

std::string replay_json(const ReplayReport& report, const ReplayOptions& options) {
    const ReplayCounts& counts = report.counts;
    JsonObject target;
    target.text("address", options.target)
        .number("reads", counts.reads)
        .number("found", counts.found);
    target.number("writes", counts.writes).number("refills", counts.refills);
    target.number("deletes", counts.deletes).number("bytes_read", counts.bytes_read);
    if (report.l1_hit_percent < 0) {
        target.null("l1_hit_percent");
    } else {
        target.real("l1_hit_percent", report.l1_hit_percent);
    }
    target.text("l1_hit_source", report.l1_hit_source);
    target.raw("read_latency", latency_json(report.target_reads));
    target.raw("write_latency", latency_json(report.target_writes));
    JsonObject l2;
    l2.text("address", options.through_l2).number("reads", counts.l2_reads);
    l2.number("found", counts.l2_found).number("populated", report.populated);
    l2.raw("read_latency", latency_json(report.l2_reads));
    JsonObject object;
    object.text("file", options.file).number("requests", report.requests);
    object.number("requests_asked", report.requests_asked).number("keys", counts.keys);
    object.number("clients", options.clients).number("pipeline", options.pipeline);
    object.number("seed", options.seed).real("seconds", report.seconds);
    object.raw("target", target.close());
    if (options.through_l2.empty()) {
        object.null("l2");
    } else {
        object.raw("l2", l2.close());
    }
    object.boolean("verify", options.verify);
    object.number("good", counts.good)
        .number("gone", counts.gone)
        .number("missing", counts.missing);
    object.number("stale", counts.stale).number("corrupt", counts.corrupt);
    object.number("foreign", counts.foreign).number("adopted", counts.adopted);
    object.number("values_cut", counts.values_cut).number("errors", counts.errors);
    object.number("reconnects", counts.reconnects);
    object.text("first_wrong", counts.first_wrong).text("first_error", counts.first_error);
    return object.close();
}

}  // namespace cachee::cli
