// SPDX-License-Identifier: Apache-2.0
// Benchmark of a warm restart: how long taking over a full L1 takes, the mapping and every check
// included. Prints JSON rows.
//   attach_bench <MiB> <partitions> <rounds> <value bytes>...
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kSeed = 0x5eed;
constexpr uint32_t kGeneration = 3;
constexpr uint32_t kKeyBytes = 20;

StoreOptions options_of(uint64_t mib, uint32_t partitions, uint64_t value_bytes) {
    return {.instance = "bench-attach-" + std::to_string(::getpid()),
            .bytes = mib << 20,
            .partitions = partitions,
            .item_bytes_expected = kKeyBytes + value_bytes,
            .hash_seed = kSeed};
}

// Until the first eviction is near.
void fill(Partition& partition, uint32_t index, uint32_t partitions, uint64_t value_bytes) {
    const std::string value(value_bytes, 'v');
    for (uint64_t id = 0;; ++id) {
        if (id % 1024 == 0 &&
            partition.segments().free_count() <= partition.segments().count() / 32 + 4) {
            return;
        }
        char key[kKeyBytes + 1];
        std::snprintf(key, sizeof key, "user:%015u", static_cast<uint32_t>(id));
        const std::string_view view(key, kKeyBytes);
        const uint64_t hash = base::hash_key(view, kSeed);
        if (base::owner_of(hash, partitions) != index) continue;
        if (partition.put(hash, view, value, 0, kGeneration, 1) != PutStatus::kStored) std::abort();
    }
}

// Of all threads of this process, those that have ended included.
uint64_t cpu_time_ns() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<uint64_t>(now.tv_sec) * base::kNsPerS + static_cast<uint64_t>(now.tv_nsec);
}

void print_row(const char* what, std::vector<double> samples, const char* unit, double promise) {
    std::sort(samples.begin(), samples.end());
    const double median = samples[samples.size() / 2];
    std::printf("{\"what\": \"%s\", \"value\": %.3f, \"unit\": \"%s\", ", what, median, unit);
    if (promise > 0) {
        std::printf("\"promise\": %g, \"ambition\": null, \"holds\": %s, ", promise,
                    median <= promise ? "true" : "false");
    } else {
        std::printf("\"promise\": null, \"ambition\": null, \"holds\": null, ");
    }
    std::printf("\"peer\": null, \"spread\": \"%.3f..%.3f\"}\n", samples.front(), samples.back());
}

int run(uint64_t mib, uint32_t partitions, int rounds, uint64_t value_bytes) {
    const StoreOptions options = options_of(mib, partitions, value_bytes);
    auto created = Store::create(options);
    if (!created) {
        std::fprintf(stderr, "%s\n", created.error().message.c_str());
        return 1;
    }
    std::unique_ptr<Store> store = std::move(created).value();
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < partitions; ++i) {
        threads.emplace_back([&, i] { fill(store->partition(i), i, partitions, value_bytes); });
    }
    for (std::thread& thread : threads) thread.join();
    uint64_t items = 0;
    for (uint32_t i = 0; i < partitions; ++i) items += store->partition(i).items();
    const uint64_t page_bytes = store->page_bytes();
    std::vector<double> seconds;
    std::vector<double> cpu_ns;
    for (int round = 0; round < rounds; ++round) {
        store.reset();
        AttachReport report;
        const uint64_t start_cpu_ns = cpu_time_ns();
        const uint64_t start_ns = base::monotonic_ns();
        auto attached = Store::attach_or_create(options, 1, &report);
        seconds.push_back(static_cast<double>(base::monotonic_ns() - start_ns) / 1e9);
        cpu_ns.push_back(static_cast<double>(cpu_time_ns() - start_cpu_ns) /
                         static_cast<double>(items));
        if (!attached || !report.warm || report.rebuilt.items != items ||
            report.rebuilt.dropped() != 0) {
            std::fprintf(stderr, "not kept: %s\n", report.text().c_str());
            return 1;
        }
        store = std::move(attached).value();
    }
    store->unlink();
    const std::string what = std::to_string(mib) + " MiB, " + std::to_string(items) +
                             " items of 20 + " + std::to_string(value_bytes) + " bytes, " +
                             std::to_string(partitions) + " workers, " +
                             (page_bytes > 4096 ? "hugepages" : "ordinary pages");
    print_row(what.c_str(), seconds, "s", 2.0);
    print_row("  of these, CPU time an item, both threads", cpu_ns, "ns", 0);
    return 0;
}

}  // namespace
}  // namespace cachee::l1

int main(int argc, char** argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: attach_bench MIB PARTITIONS ROUNDS VALUE_BYTES...\n");
        return 2;
    }
    for (int i = 4; i < argc; ++i) {
        const int failed = cachee::l1::run(std::strtoull(argv[1], nullptr, 10),
                                           static_cast<uint32_t>(std::atoi(argv[2])),
                                           std::atoi(argv[3]), std::strtoull(argv[i], nullptr, 10));
        if (failed != 0) return failed;
    }
    return 0;
}
