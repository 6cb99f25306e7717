// SPDX-License-Identifier: Apache-2.0
// The results of a simulation as an aligned table or one JSON object; see simulate.h.
#include <fmt/format.h>

#include "tools/cachee/text.h"
#include "tools/simulate/simulate.h"

namespace cachee::simulate {

namespace {

std::string capacity_text(const Outcome& outcome, const TraceTable& trace) {
    return trace.is_unit_size() ? cli::grouped(outcome.job.capacity.capacity)
                                : cli::human_bytes(outcome.job.capacity.capacity);
}

double requests_per_s(const Outcome& outcome, const TraceTable& trace) {
    return outcome.seconds > 0 ? static_cast<double>(trace.requests().size()) / outcome.seconds : 0;
}

}  // namespace

std::string simulate_text(const std::string& path, const TraceTable& trace,
                          const std::vector<Outcome>& outcomes) {
    std::string text = fmt::format(
        "{}: {} requests, {} objects{}\n", path, cli::grouped(trace.requests().size()),
        cli::grouped(trace.objects()),
        trace.is_unit_size() ? ", no sizes" : ", " + cli::human_bytes(trace.footprint_bytes()));
    text += fmt::format("  {:<10} {:>12} {:<14} {:>12} {:>12} {:>10} {:>12}\n", "size",
                        trace.is_unit_size() ? "objects" : "payload", "policy", "object miss",
                        "byte miss", "rewritten", "requests/s");
    for (const Outcome& outcome : outcomes) {
        const std::string rewritten =
            outcome.is_reference || outcome.l1.put_bytes == 0
                ? "-"
                : fmt::format("{:.2f}", static_cast<double>(outcome.l1.moved_bytes) /
                                            static_cast<double>(outcome.l1.put_bytes));
        text += fmt::format(
            "  {:<10} {:>12} {:<14} {:>12.6f} {:>12.6f} {:>10} {:>12}\n", outcome.job.size.text,
            capacity_text(outcome, trace), outcome.job.policy, outcome.object_miss_ratio(),
            outcome.byte_miss_ratio(), rewritten, cli::human_count(requests_per_s(outcome, trace)));
    }
    return text;
}

std::string simulate_matrix_head(const std::vector<std::string>& policies) {
    std::string text = fmt::format("{:<22} {:>6} {:>9} {:<6}", "trace", "size", "capacity", "miss");
    for (const std::string& policy : policies) text += fmt::format(" {:>10}", policy);
    return text + "\n";
}

std::string simulate_matrix(const std::string& path, const TraceTable& trace,
                            const std::vector<std::string>& policies,
                            const std::vector<Outcome>& outcomes) {
    std::string name = path.substr(path.rfind('/') + 1);
    name = name.substr(0, name.find('.'));
    std::string text;
    for (size_t row = 0; row + policies.size() <= outcomes.size(); row += policies.size()) {
        for (const bool bytes : {false, true}) {
            if (bytes && trace.is_unit_size()) continue;
            const Outcome& first = outcomes[row];
            text += fmt::format("{:<22} {:>6} {:>9} {:<6}", name, first.job.size.text,
                                cli::human_count(static_cast<double>(first.job.capacity.capacity)),
                                bytes ? "bytes" : "object");
            for (size_t i = 0; i < policies.size(); ++i) {
                const Outcome& outcome = outcomes[row + i];
                text += fmt::format(
                    " {:>10.4f}", bytes ? outcome.byte_miss_ratio() : outcome.object_miss_ratio());
            }
            text += "\n";
        }
    }
    return text;
}

std::string simulate_json(const std::string& path, const TraceTable& trace,
                          const std::vector<Outcome>& outcomes) {
    cli::JsonArray rows;
    for (const Outcome& outcome : outcomes) {
        cli::JsonObject row;
        row.text("policy", outcome.job.policy).text("size", outcome.job.size.text);
        row.number("capacity", outcome.job.capacity.capacity);
        row.number("requests", outcome.requests).number("misses", outcome.misses);
        row.number("bytes", outcome.bytes).number("bytes_missed", outcome.bytes_missed);
        row.real("object_miss_ratio", outcome.object_miss_ratio());
        row.real("byte_miss_ratio", outcome.byte_miss_ratio());
        row.real("requests_per_s", requests_per_s(outcome, trace));
        if (outcome.is_reference) {
            row.null("l1");
        } else {
            cli::JsonObject l1;
            l1.number("segments", outcome.l1.segments)
                .number("segment_bytes", outcome.l1.segment_bytes);
            l1.number("evicted", outcome.l1.evicted).number("expired", outcome.l1.expired);
            l1.number("too_large", outcome.l1.too_large).number("items_last", outcome.items_last);
            l1.number("put_bytes", outcome.l1.put_bytes)
                .number("moved_bytes", outcome.l1.moved_bytes);
            l1.number("touches", outcome.l1.touches);
            row.raw("l1", l1.close());
        }
        rows.raw(row.close());
    }
    cli::JsonObject object;
    object.text("trace", path).number("requests", trace.requests().size());
    object.number("objects", trace.objects()).boolean("unit_size", trace.is_unit_size());
    object.number("footprint", trace.footprint_bytes()).raw("results", rows.close());
    return object.close();
}

}  // namespace cachee::simulate
