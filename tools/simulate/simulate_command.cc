// SPDX-License-Identifier: Apache-2.0
// `cachee simulate`: loads each trace, runs its jobs on a few threads and reports. This thread
// shows the progress.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>

#include "tools/cachee/commands.h"
#include "tools/cachee/progress.h"
#include "tools/simulate/simulate.h"

namespace cachee::simulate {

namespace {

constexpr auto kProgressPeriod = std::chrono::milliseconds(50);
constexpr uint64_t kLoadWhole = 1000;  // per mille of a file

base::Result<TraceTable> load(const std::string& path, const SimulateOptions& options) {
    const TraceFormat format = options.format == "csv"      ? TraceFormat::kCsv
                               : options.format == "oracle" ? TraceFormat::kOracle
                                                            : cli::trace_format_of(path);
    cli::Progress progress("reading " + path, kLoadWhole);
    auto table = TraceTable::load(
        path, format, {.requests_max = options.limit, .memory_bytes_max = options.memory_bytes_max},
        [&](double share) { progress.show(static_cast<uint64_t>(share * kLoadWhole)); });
    progress.end();
    return table;
}

// All jobs, a few at a time; the first error, if any.
base::Result<std::vector<Outcome>> run_jobs(const std::vector<Job>& jobs, Shared shared,
                                            const SimulateOptions& options) {
    std::atomic<uint64_t> done{0};
    std::atomic<size_t> next_job{0};
    std::atomic<uint32_t> running{0};
    shared.done = &done;
    std::vector<Outcome> outcomes(jobs.size());
    std::mutex mutex;
    std::optional<base::Error> error;
    const auto work = [&] {
        for (size_t i = next_job++; i < jobs.size(); i = next_job++) {
            auto outcome = run_job(jobs[i], shared, options);
            const std::lock_guard lock(mutex);
            if (outcome) {
                outcomes[i] = std::move(outcome).value();
            } else if (!error) {
                error = outcome.error();
                next_job = jobs.size();
            }
        }
        --running;
    };
    const uint32_t cores = std::max(std::thread::hardware_concurrency(), 1U);
    const auto count = static_cast<uint32_t>(
        std::min<size_t>(options.threads == 0 ? cores : options.threads, jobs.size()));
    running = count;
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < count; ++i) threads.emplace_back(work);
    cli::Progress progress("simulating", shared.trace->requests().size() * jobs.size());
    while (running > 0) {
        std::this_thread::sleep_for(kProgressPeriod);
        progress.show(std::min(done.load(), shared.trace->requests().size() * jobs.size()));
    }
    for (std::thread& thread : threads) thread.join();
    if (error) return *error;
    progress.show(shared.trace->requests().size() * jobs.size());
    progress.end();
    return outcomes;
}

base::Status simulate(const std::string& path, const std::vector<Size>& sizes,
                      const SimulateOptions& options) {
    auto trace = load(path, options);
    if (!trace) return trace.error();
    std::vector<Job> jobs;
    bool wants_keys = false;
    bool wants_next = false;
    for (const Size& size : sizes) {
        for (const std::string& policy : options.policies) {
            jobs.push_back({policy, size, capacity_of(size, *trace, options.unit_item_bytes)});
            wants_keys = wants_keys || !policy.starts_with("ref-");
            wants_next = wants_next || policy == "ref-belady";
        }
    }
    std::optional<L1Keys> keys;
    std::vector<uint32_t> next;
    if (wants_keys) keys.emplace(*trace);
    if (wants_next) next = trace->next_positions();
    auto outcomes = run_jobs(
        jobs, {.trace = &*trace, .keys = keys ? &*keys : nullptr, .next = &next, .done = nullptr},
        options);
    if (!outcomes) return outcomes.error();
    std::string text;
    if (options.json) {
        text = simulate_json(path, *trace, *outcomes) + "\n";
    } else if (options.matrix) {
        text = simulate_matrix(path, *trace, options.policies, *outcomes);
    } else {
        text = simulate_text(path, *trace, *outcomes);
    }
    fmt::print("{}", text);
    std::fflush(stdout);
    return {};
}

}  // namespace

int run_simulate(const SimulateOptions& options) {
    const std::vector<std::string> known = known_policies();
    for (const std::string& policy : options.policies) {
        if (std::find(known.begin(), known.end(), policy) != known.end()) continue;
        cli::print_error(
            fmt::format("unknown policy \"{}\"; known: {}", policy, fmt::join(known, ", ")));
        return 2;
    }
    std::vector<Size> sizes;
    for (const std::string& text : options.sizes) {
        auto size = parse_size(text);
        if (!size) {
            cli::print_error(size.error().message);
            return 2;
        }
        sizes.push_back(*size);
    }
    if (options.matrix && !options.json) fmt::print("{}", simulate_matrix_head(options.policies));
    for (const std::string& path : options.traces) {
        if (base::Status status = simulate(path, sizes, options); !status) {
            cli::print_error(status.error().message);
            return 1;
        }
    }
    return 0;
}

}  // namespace cachee::simulate
