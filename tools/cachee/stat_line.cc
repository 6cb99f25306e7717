// SPDX-License-Identifier: Apache-2.0
// Computes and prints a line of `cachee stat`; see stat_line.h.
#include "tools/cachee/stat_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "tools/cachee/text.h"

namespace cachee::cli {

namespace {

using stats::ControlCounter;
using stats::Counter;

constexpr const char* kFormat =
    "{:>8} {:>6} {:>6} {:>11} {:>9} {:>9} {:>8} {:>6} {:>7}  {:<9} {:<10}";
constexpr size_t kWorkersListed = 2;  // more are shown as mean and maximum

uint64_t delta(uint64_t before, uint64_t after) { return after > before ? after - before : 0; }

std::string busy_text(const std::vector<double>& busy) {
    if (busy.empty()) return "-";
    if (busy.size() <= kWorkersListed) {
        std::string text;
        for (const double value : busy) text += (text.empty() ? "" : "/") + percent(value);
        return text;
    }
    const double sum = std::accumulate(busy.begin(), busy.end(), 0.0);
    const double highest = *std::max_element(busy.begin(), busy.end());
    return fmt::format("{:.0f}<{:.0f}", std::max(0.0, sum / static_cast<double>(busy.size())),
                       std::max(0.0, highest));
}

std::string latency_text(double us) {
    return us < 0 ? "-" : human_ns(static_cast<uint64_t>(us * 1000));
}

std::string health_text(Health health, bool standalone) {
    if (standalone && health == Health::kAbsent) return "none";
    return std::string(health_name(health));
}

bool is_wrong(Health health, bool standalone) {
    return health != Health::kRunning && !(standalone && health == Health::kAbsent);
}

// `padded` keeps its width: colour codes take none on the screen.
std::string coloured(std::string padded, const char* code, bool wanted) {
    return wanted ? fmt::format("\x1b[{}m{}\x1b[0m", code, padded) : padded;
}

}  // namespace

StatLine compute_stat(const Snapshot& before, const Snapshot& after) {
    StatLine line;
    line.seconds = static_cast<double>(delta(before.taken_ns, after.taken_ns)) / 1e9;
    const auto change = [&](Counter id) { return delta(before.sum(id), after.sum(id)); };
    const auto rate = [&](Counter id) {
        return line.seconds > 0 ? static_cast<double>(change(id)) / line.seconds : 0.0;
    };
    line.requests = rate(Counter::requests);
    line.invalidations = rate(Counter::invalidations);
    const uint64_t hits = change(Counter::l1_hits);
    line.hit_percent = ratio_percent(hits, hits + change(Counter::l1_misses));
    line.l1_fill_percent =
        ratio_percent(after.sum(Counter::l1_bytes_used), after.sum(Counter::l1_bytes_total));
    line.l1_pinned_segments = after.sum(Counter::l1_pinned_segments);
    const size_t workers = std::min(before.workers.size(), after.workers.size());
    for (size_t i = 0; i < workers; ++i) {
        const auto worker_change = [&](Counter id) {
            return delta(before.workers[i].get(id), after.workers[i].get(id));
        };
        const uint64_t busy = worker_change(Counter::cycles_busy);
        line.busy_percent.push_back(
            ratio_percent(busy, busy + worker_change(Counter::cycles_idle)));
    }
    if (!after.standalone && after.get(ControlCounter::l2_latency_ns_last_p50) != 0) {
        line.l2_p50_us =
            static_cast<double>(after.get(ControlCounter::l2_latency_ns_last_p50)) / 1e3;
        line.l2_p99_us =
            static_cast<double>(after.get(ControlCounter::l2_latency_ns_last_p99)) / 1e3;
    }
    line.sessions = after.sessions();
    line.parked = after.parked();
    line.dataplane = dataplane_health(after);
    line.controlplane = controlplane_health(after);
    line.standalone = after.standalone;
    return line;
}

std::string stat_header() {
    return fmt::format(kFormat, "req/s", "hit%", "L1%", "busy%", "L2-p50", "L2-p99", "inval/s",
                       "sess", "parked", "dataplane", "control");
}

std::string stat_text(const StatLine& line, bool colours) {
    std::string text =
        fmt::format(kFormat, human_count(line.requests), percent(line.hit_percent),
                    percent(line.l1_fill_percent), busy_text(line.busy_percent),
                    latency_text(line.l2_p50_us), latency_text(line.l2_p99_us),
                    human_count(line.invalidations), line.sessions, line.parked, "", "");
    // The two states come last: strip their blank columns and put coloured ones there.
    text.erase(text.find_last_not_of(' ') + 1);
    const auto state = [&](Health health, int width, bool standalone) {
        return coloured(fmt::format("{:<{}}", health_text(health, standalone), width),
                        is_wrong(health, standalone) ? "31" : "32", colours);
    };
    return fmt::format("{}  {} {}", text, state(line.dataplane, 9, false),
                       state(line.controlplane, 7, line.standalone));
}

std::string stat_json(const StatLine& line, uint64_t wall_ms) {
    const auto known = [](JsonObject& object, const char* key, double value) {
        if (value < 0) {
            object.null(key);
        } else {
            object.real(key, value);
        }
    };
    JsonObject object;
    object.number("time_ms", wall_ms).real("seconds", line.seconds);
    object.real("requests_per_s", line.requests);
    known(object, "hit_percent", line.hit_percent);
    known(object, "l1_fill_percent", line.l1_fill_percent);
    object.number("l1_pinned_segments", line.l1_pinned_segments);
    JsonArray busy;
    for (const double value : line.busy_percent) {
        busy.raw(value < 0 ? "null" : fmt::format("{:.6g}", value));
    }
    object.raw("busy_percent", busy.close());
    known(object, "l2_p50_us", line.l2_p50_us);
    known(object, "l2_p99_us", line.l2_p99_us);
    object.real("invalidations_per_s", line.invalidations);
    object.number("sessions", line.sessions).number("parked", line.parked);
    object.text("dataplane", health_name(line.dataplane));
    object.text("controlplane", health_name(line.controlplane));
    object.boolean("standalone", line.standalone);
    return object.close();
}

}  // namespace cachee::cli
