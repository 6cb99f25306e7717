// SPDX-License-Identifier: Apache-2.0
// Sizes, and one cache over one trace; see simulate.h.
#include "tools/simulate/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/clock.h"
#include "base/units.h"

namespace cachee::simulate {

namespace {

constexpr std::string_view kReferencePrefix = "ref-";
constexpr uint64_t kProgressEvery = 1 << 14;

// A cache by either name: get() is a look-up that fills.
struct ReferenceCache {
    std::unique_ptr<Reference> policy;
    const TraceTable& trace;
    bool use_ttl;
    std::vector<uint64_t> deadlines_ms;  // per object, with use_ttl; UINT64_MAX: none
    uint64_t items = 0;

    bool get(const Request& request, uint32_t position) {
        if (use_ttl) expire(request);
        const bool hit = policy->access(request.object, request.bytes, position);
        if (use_ttl && !hit) {
            deadlines_ms[request.object] =
                request.ttl_s == 0 ? UINT64_MAX : request.time_ms + uint64_t{request.ttl_s} * 1000;
        }
        return hit;
    }
    // A set of what is there is another value of it.
    void put(const Request& request, uint32_t position) {
        policy->erase(request.object);
        get(request, position);
    }
    void erase(const Request& request) { policy->erase(request.object); }
    void expire(const Request& request) {
        if (request.time_ms >= deadlines_ms[request.object]) policy->erase(request.object);
    }
};

struct AppliancesCache {
    L1Cache& cache;
    bool get(const Request& request, uint32_t) { return cache.get(request); }
    void put(const Request& request, uint32_t) { cache.put(request); }
    void erase(const Request& request) { cache.erase(request); }
};

template <typename Cache>
void run(Cache& cache, const Shared& shared, const SimulateOptions& options, Outcome& outcome) {
    const std::vector<Request>& requests = shared.trace->requests();
    const uint64_t started_ns = base::monotonic_ns();
    for (size_t i = 0; i < requests.size(); ++i) {
        const Request& request = requests[i];
        const auto position = static_cast<uint32_t>(i);
        if (i % kProgressEvery == 0) shared.done->fetch_add(kProgressEvery);
        if (options.operations && request.operation != TraceOperation::kGet) {
            if (request.operation == TraceOperation::kSet) {
                cache.put(request, position);
            } else {
                cache.erase(request);
            }
            continue;
        }
        ++outcome.requests;
        outcome.bytes += request.bytes;
        if (cache.get(request, position)) continue;
        ++outcome.misses;
        outcome.bytes_missed += request.bytes;
    }
    outcome.seconds = static_cast<double>(base::monotonic_ns() - started_ns) / 1e9;
}

bool parse_figure(std::string_view text, double& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && std::isfinite(value) &&
           value > 0;
}

}  // namespace

base::Result<Size> parse_size(std::string_view text) {
    struct Suffix {
        std::string_view text;
        Size::Kind kind;
        double factor;
    };
    constexpr Suffix kSuffixes[] = {{"%", Size::Kind::kPercent, 1},
                                    {"objects", Size::Kind::kObjects, 1},
                                    {"KiB", Size::Kind::kBytes, 1024.0},
                                    {"MiB", Size::Kind::kBytes, 1024.0 * 1024},
                                    {"GiB", Size::Kind::kBytes, 1024.0 * 1024 * 1024},
                                    {"", Size::Kind::kBytes, 1}};
    for (const Suffix& suffix : kSuffixes) {
        if (!text.ends_with(suffix.text)) continue;
        std::string_view figure = text.substr(0, text.size() - suffix.text.size());
        if (figure.ends_with(' ')) figure.remove_suffix(1);
        Size size{.kind = suffix.kind, .text = std::string(text)};
        if (!parse_figure(figure, size.value)) break;
        size.value *= suffix.factor;
        if (size.kind == Size::Kind::kPercent && size.value > 100) break;
        if (size.value > 1e15) break;
        return size;
    }
    return base::Error{
        fmt::format("\"{}\" is no size: give bytes (64MiB), a share of the trace's footprint (1%) "
                    "or a number of objects (5000objects)",
                    text)};
}

Capacity capacity_of(const Size& size, const TraceTable& trace, uint32_t unit_item_bytes) {
    const auto footprint = static_cast<double>(trace.footprint_bytes());
    Capacity result;
    switch (size.kind) {
        case Size::Kind::kPercent:
            result.capacity = static_cast<uint64_t>(footprint * size.value / 100);
            break;
        case Size::Kind::kObjects:
            result.capacity = static_cast<uint64_t>(
                trace.is_unit_size() ? size.value : size.value * footprint / trace.objects());
            break;
        case Size::Kind::kBytes:
            result.l1_bytes = static_cast<uint64_t>(size.value);
            result.capacity =
                trace.is_unit_size() ? result.l1_bytes / unit_item_bytes : result.l1_bytes;
            break;
    }
    result.capacity = std::max<uint64_t>(result.capacity, 1);
    return result;
}

std::vector<std::string> known_policies() {
    return {"fifo_merge", "s3_fifo",    "ref-lru",   "ref-fifo",
            "ref-sieve",  "ref-s3fifo", "ref-belady"};
}

base::Result<Outcome> run_job(const Job& job, const Shared& shared,
                              const SimulateOptions& options) {
    const TraceTable& trace = *shared.trace;
    Outcome outcome;
    outcome.job = job;
    if (job.policy.starts_with(kReferencePrefix)) {
        const std::string_view name = std::string_view(job.policy).substr(kReferencePrefix.size());
        ReferenceCache cache{
            .policy = make_reference(name, job.capacity.capacity, trace.objects(), shared.next),
            .trace = trace,
            .use_ttl = options.use_ttl,
            .deadlines_ms = {}};
        if (cache.policy == nullptr) return base::Error{"unknown policy " + job.policy};
        if (options.use_ttl) cache.deadlines_ms.assign(trace.objects(), UINT64_MAX);
        run(cache, shared, options, outcome);
        outcome.is_reference = true;
        return outcome;
    }
    auto cache = L1Cache::create(trace, *shared.keys,
                                 {.policy = job.policy,
                                  .capacity = job.capacity.capacity,
                                  .l1_bytes = job.capacity.l1_bytes,
                                  .partitions = options.partitions,
                                  .unit_item_bytes = options.unit_item_bytes,
                                  .segments = options.segments,
                                  .use_ttl = options.use_ttl});
    if (!cache) return cache.error();
    AppliancesCache wrapped{**cache};
    run(wrapped, shared, options, outcome);
    outcome.l1 = (*cache)->stats();
    outcome.items_last = (*cache)->items();
    return outcome;
}

}  // namespace cachee::simulate
