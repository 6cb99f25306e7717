// SPDX-License-Identifier: Apache-2.0
// `cachee info`: everything that the control segment says, once, for a person or as one JSON
// object.
#include <fmt/format.h>
#include <glob.h>

#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "tools/cachee/commands.h"
#include "tools/cachee/snapshot.h"
#include "tools/cachee/text.h"

namespace cachee::cli {

namespace {

std::string text_or_dash(const std::string& text) { return text.empty() ? "-" : text; }

uint64_t uptime_s(const Snapshot& snapshot) {
    const uint64_t started_ns = snapshot.dataplane_started_ns;
    return started_ns == 0 || started_ns > snapshot.taken_ns
               ? 0
               : (snapshot.taken_ns - started_ns) / base::kNsPerS;
}

std::string age_text(uint64_t moment_ns, uint64_t now_ns) {
    if (moment_ns == 0) return "never";
    return human_ns(now_ns > moment_ns ? now_ns - moment_ns : 0) + " ago";
}

std::string lease_text(const Snapshot& snapshot, uint64_t lease_until_ns) {
    if (snapshot.standalone) return "none needed (standalone)";
    if (lease_until_ns == 0) return "none: L1 answers nothing";
    if (lease_until_ns > snapshot.taken_ns) {
        return human_ns(lease_until_ns - snapshot.taken_ns) + " left";
    }
    return fmt::format("lapsed {} ago: L1 answers nothing",
                       human_ns(snapshot.taken_ns - lease_until_ns));
}

void print_pair(const char* name, const std::string& value) {
    fmt::print("  {:<22} {}\n", name, value);
}

void print_planes(const Snapshot& snapshot) {
    fmt::print("data plane\n");
    print_pair("state", std::string(health_name(dataplane_health(snapshot))));
    print_pair("process", std::to_string(snapshot.dataplane_pid));
    print_pair("uptime", human_uptime(uptime_s(snapshot)));
    print_pair("heartbeat", age_text(snapshot.oldest_heartbeat_ns(), snapshot.taken_ns));
    print_pair("driver", text_or_dash(snapshot.driver));
    print_pair("listen", text_or_dash(snapshot.listen));
    print_pair("control segment", human_bytes(snapshot.segment_bytes));
    fmt::print("control plane\n");
    const Health health = controlplane_health(snapshot);
    print_pair("state", snapshot.standalone && health == Health::kAbsent
                            ? "none needed (standalone)"
                            : std::string(health_name(health)));
    print_pair("process",
               snapshot.controlplane_pid == 0 ? "-" : std::to_string(snapshot.controlplane_pid));
    print_pair("heartbeat", age_text(snapshot.controlplane_heartbeat_ns, snapshot.taken_ns));
    print_pair("epoch", std::to_string(snapshot.controlplane_epoch));
    print_pair("generation", std::to_string(snapshot.generation));
    print_pair("L2", snapshot.standalone ? "none (standalone)" : text_or_dash(snapshot.l2_backend));
}

void print_l1(const Snapshot& snapshot) {
    using stats::Counter;
    fmt::print("L1\n");
    print_pair("file", text_or_dash(snapshot.l1_path));
    print_pair("size", human_bytes(snapshot.l1_bytes));
    print_pair("largest item", human_bytes(snapshot.item_bytes_max));
    print_pair("items", grouped(snapshot.sum(Counter::l1_items)));
    const uint64_t used = snapshot.sum(Counter::l1_bytes_used);
    const uint64_t total = snapshot.sum(Counter::l1_bytes_total);
    print_pair("used", fmt::format("{} of {} ({} %)", human_bytes(used), human_bytes(total),
                                   percent(ratio_percent(used, total))));
    print_pair("pinned", fmt::format("{} segments whose values are being sent",
                                     grouped(snapshot.sum(Counter::l1_pinned_segments))));
    const uint64_t hits = snapshot.sum(Counter::l1_hits);
    print_pair("hit ratio", percent(ratio_percent(hits, hits + snapshot.sum(Counter::l1_misses))) +
                                " % since the start");
}

void print_workers(const Snapshot& snapshot) {
    fmt::print("workers\n");
    for (size_t i = 0; i < snapshot.workers.size(); ++i) {
        const WorkerSnapshot& worker = snapshot.workers[i];
        const std::string core =
            worker.core == UINT32_MAX ? "not pinned" : fmt::format("core {}", worker.core);
        const std::string name = fmt::format("worker {}", i);
        print_pair(name.c_str(), fmt::format("{}, heartbeat {}, epoch {}, generation {}", core,
                                             age_text(worker.heartbeat_ns, snapshot.taken_ns),
                                             worker.epoch_ack, worker.generation));
        print_pair("", fmt::format("lease {}", lease_text(snapshot, worker.lease_until_ns)));
        print_pair("",
                   fmt::format("{} sessions, {} parked, rings of {}: {} events, {} commands queued",
                               worker.sessions, worker.parked, worker.ring_entries,
                               worker.events_queued, worker.commands_queued));
    }
}

void print_counter(const stats::CounterInfo& info, uint64_t value) {
    fmt::print("  {:<24} {:>20} {:<12} {}\n", info.name, grouped(value), info.unit, info.meaning);
}

void print_text(const Snapshot& snapshot, const InfoOptions& options) {
    fmt::print("instance                 {}\n", options.instance);
    print_planes(snapshot);
    print_l1(snapshot);
    print_workers(snapshot);
    fmt::print("data plane counters (all workers)\n");
    for (size_t i = 0; i < stats::kWorkerCounterCount; ++i) {
        print_counter(stats::kWorkerCounters[i], snapshot.sum(static_cast<stats::Counter>(i)));
    }
    fmt::print("control plane counters\n");
    for (size_t i = 0; i < stats::kControlCounterCount; ++i) {
        print_counter(stats::kControlCounters[i], snapshot.control[i]);
    }
}

std::string worker_json(const WorkerSnapshot& worker) {
    JsonObject object;
    if (worker.core == UINT32_MAX) {
        object.null("core");
    } else {
        object.number("core", worker.core);
    }
    object.number("heartbeat_ns", worker.heartbeat_ns).number("epoch_ack", worker.epoch_ack);
    object.number("lease_until_ns", worker.lease_until_ns).number("generation", worker.generation);
    object.number("sessions", worker.sessions).number("parked", worker.parked);
    object.number("ring_entries", worker.ring_entries);
    object.number("events_queued", worker.events_queued);
    object.number("commands_queued", worker.commands_queued);
    JsonObject counters;
    for (size_t i = 0; i < stats::kWorkerCounterCount; ++i) {
        counters.number(stats::kWorkerCounters[i].name, worker.counters[i]);
    }
    return object.raw("counters", counters.close()).close();
}

void print_json(const Snapshot& snapshot, const InfoOptions& options) {
    JsonObject dataplane;
    dataplane.text("state", health_name(dataplane_health(snapshot)));
    dataplane.number("pid", snapshot.dataplane_pid).number("uptime_s", uptime_s(snapshot));
    dataplane.number("started_wall_ms", snapshot.dataplane_started_wall_ms);
    dataplane.text("driver", snapshot.driver).text("listen", snapshot.listen);
    dataplane.number("tsc_hz", snapshot.tsc_hz);
    JsonObject controlplane;
    controlplane.text("state", health_name(controlplane_health(snapshot)));
    controlplane.number("pid", snapshot.controlplane_pid);
    controlplane.number("epoch", snapshot.controlplane_epoch);
    controlplane.number("heartbeat_ns", snapshot.controlplane_heartbeat_ns);
    controlplane.text("l2_backend", snapshot.l2_backend);
    JsonObject control_counters;
    for (size_t i = 0; i < stats::kControlCounterCount; ++i) {
        control_counters.number(stats::kControlCounters[i].name, snapshot.control[i]);
    }
    controlplane.raw("counters", control_counters.close());
    JsonObject l1;
    l1.text("path", snapshot.l1_path).number("bytes", snapshot.l1_bytes);
    l1.number("item_bytes_max", snapshot.item_bytes_max);
    JsonArray workers;
    for (const WorkerSnapshot& worker : snapshot.workers) workers.raw(worker_json(worker));
    JsonObject totals;
    for (size_t i = 0; i < stats::kWorkerCounterCount; ++i) {
        totals.number(stats::kWorkerCounters[i].name, snapshot.sum(static_cast<stats::Counter>(i)));
    }
    JsonObject object;
    object.text("instance", options.instance).text("version", CACHEE_VERSION);
    object.number("taken_ns", snapshot.taken_ns).number("generation", snapshot.generation);
    object.boolean("standalone", snapshot.standalone);
    object.raw("dataplane", dataplane.close()).raw("controlplane", controlplane.close());
    object.raw("l1", l1.close()).raw("counters", totals.close()).raw("workers", workers.close());
    fmt::print("{}\n", object.close());
}

}  // namespace

std::string default_instance() {
    // The name is what the path of a segment has between what all paths share.
    const std::string pattern = shm::control_segment_path("*");
    const size_t star = pattern.find('*');
    glob_t matches{};
    std::string name = "main";
    if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0 && matches.gl_pathc == 1) {
        const std::string path = matches.gl_pathv[0];
        name = path.substr(star, path.size() - (pattern.size() - 1));
    }
    ::globfree(&matches);
    return name;
}

int run_info(const InfoOptions& options) {
    auto segment = shm::Segment::attach(options.instance, true);
    if (!segment) {
        print_error(
            segment.error().message +
            "; start one (cachee-dataplane --config FILE, or ./tools/quickstart), or name another "
            "with --instance NAME");
        return 1;
    }
    const Snapshot snapshot = take_snapshot(*segment.value(), base::monotonic_ns());
    if (options.json) {
        print_json(snapshot, options);
    } else {
        print_text(snapshot, options);
    }
    const std::string fault = dataplane_fault(snapshot, options.instance);
    if (!fault.empty()) print_error(fault);
    return fault.empty() ? 0 : 1;
}

}  // namespace cachee::cli
