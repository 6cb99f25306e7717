// SPDX-License-Identifier: Apache-2.0
// Benchmark P3: lookups by libcachee from another process than the one that writes L1, in units of
// one dependent load from memory. The parent makes and fills an L1, vouches for it and goes on
// writing now and then, as a data plane does; the child attaches with the shared library and
// measures both, in turns: each lookup is timed by itself, less what reading the counter costs.
//   libcachee_bench [MiB]    prints JSON rows
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "cachee/cachee.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee {
namespace {

constexpr uint64_t kSeed = 0x5eed;
constexpr uint32_t kKeyBytes = 20;
constexpr uint32_t kValueBytes = 20;
constexpr uint32_t kGeneration = 3;
constexpr int kRounds = 15;
constexpr size_t kGets = 20'000;

struct alignas(32) Key {
    char text[kKeyBytes + 1];
    std::string_view view() const { return {text, kKeyBytes}; }
};

Key key_of_id(uint64_t id) {
    Key key;
    std::snprintf(key.text, sizeof key.text, "user:%015u", static_cast<uint32_t>(id));
    return key;
}

void put_id(l1::Partition& partition, uint64_t id, uint64_t now_ms) {
    const Key key = key_of_id(id);
    char value[kValueBytes + 1];
    std::snprintf(value, sizeof value, "value%015u", static_cast<uint32_t>(id));
    const uint64_t hash = base::hash_key(key.view(), kSeed);
    const uint64_t deadline_ms = id % 2 == 0 ? 0 : now_ms + 100'000'000;
    partition.put(hash, key.view(), {value, kValueBytes}, deadline_ms, kGeneration, now_ms);
}

// The counter, with nothing before it still under way and nothing after it begun.
uint64_t start_cycles() {
    _mm_lfence();
    const uint64_t cycles = __rdtsc();
    _mm_lfence();
    return cycles;
}
uint64_t stop_cycles() {
    unsigned aux;
    const uint64_t cycles = __rdtscp(&aux);
    _mm_lfence();
    return cycles;
}

double median(std::vector<double> samples) {
    std::sort(samples.begin(), samples.end());
    return samples[samples.size() / 2];
}

double counter_cost() {
    std::vector<double> samples;
    for (int i = 0; i < 10'000; ++i) {
        const uint64_t start = start_cycles();
        samples.push_back(static_cast<double>(stop_cycles() - start));
    }
    return median(samples);
}

// A random cycle through every line of a block: each load's address is the value of the one before.
class Chase {
  public:
    explicit Chase(uint64_t bytes) : count_(bytes / 64) {
        void* block = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
        hugepages_ = block != MAP_FAILED;
        if (!hugepages_) {
            block =
                ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (block == MAP_FAILED) std::abort();
            // As L1 has them then.
            ::madvise(block, bytes, MADV_NOHUGEPAGE);
        }
        lines_ = static_cast<Line*>(block);
        std::vector<uint32_t> order(count_);
        for (uint32_t i = 0; i < count_; ++i) order[i] = i;
        base::Rng rng(1);
        for (size_t i = count_ - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);
        for (size_t i = 0; i < count_; ++i) {
            lines_[order[i]].next = &lines_[order[(i + 1) % count_]];
        }
        at_ = lines_;
    }
    // Cycles of one load: the median over stretches of some that follow each other, so that neither
    // reading the counter nor an interruption of this thread counts.
    double cycles_per_load(uint64_t loads) {
        constexpr uint64_t kStretch = 32;
        std::vector<double> samples;
        for (uint64_t done = 0; done < loads; done += kStretch) {
            const uint64_t start = start_cycles();
            for (uint64_t i = 0; i < kStretch; ++i) at_ = at_->next;
            asm volatile("" : : "r"(at_));
            const auto cycles = static_cast<double>(stop_cycles() - start);
            samples.push_back((cycles - counter_cost_) / static_cast<double>(kStretch));
        }
        return median(std::move(samples));
    }
    bool hugepages() const { return hugepages_; }

  private:
    struct alignas(64) Line {
        Line* next;
    };
    uint64_t count_;
    double counter_cost_ = counter_cost();
    bool hugepages_ = false;
    Line* lines_ = nullptr;
    Line* at_ = nullptr;
};

void print_row(const char* what, std::vector<double> samples, const char* unit, double promise,
               double ambition) {
    std::sort(samples.begin(), samples.end());
    const double value = samples[samples.size() / 2];
    std::printf("{\"what\": \"%s\", \"value\": %.3f, \"unit\": \"%s\", ", what, value, unit);
    if (promise > 0) {
        std::printf("\"promise\": %g, \"ambition\": null, \"holds\": %s, ", promise,
                    value <= promise ? "true" : "false");
    } else if (ambition > 0) {
        std::printf("\"promise\": null, \"ambition\": %g, \"holds\": null, ", ambition);
    } else {
        std::printf("\"promise\": null, \"ambition\": null, \"holds\": null, ");
    }
    std::printf("\"peer\": null, \"spread\": \"%.3f..%.3f\"}\n", samples[samples.size() / 10],
                samples[samples.size() * 9 / 10]);
}

struct Timing {
    std::vector<double> cycles;  // of each lookup
    double at(double share) const {
        return cycles[static_cast<size_t>(share * static_cast<double>(cycles.size() - 1))];
    }
};

class Bench {
  public:
    Bench(const std::string& instance, uint64_t ids, uint64_t mib) : ids_(ids), chase_(mib << 20) {
        cachee_options options = CACHEE_OPTIONS_INIT;
        options.flags = CACHEE_NO_FALLBACK;
        options.l1_path = instance.c_str();
        if (cachee_attach("bench", &options, &handle_) != CACHEE_OK) {
            std::fprintf(stderr, "%s\n", cachee_last_error());
            std::exit(1);
        }
        counter_cost_ = counter_cost();
        const uint64_t ns = base::monotonic_ns();
        const uint64_t cycles = base::cycles();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        ns_per_cycle_ = static_cast<double>(base::monotonic_ns() - ns) /
                        static_cast<double>(base::cycles() - cycles);
    }
    ~Bench() { cachee_detach(handle_); }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    int run() {
        for (int round = 0; round < kRounds; ++round) {
            const double before = chase_.cycles_per_load(kGets);
            new_keys(kGets, ids_);
            chase_.cycles_per_load(8 * kGets);  // what the choice of keys left in the caches goes
            const Timing cold = time_each();
            const double load = (before + chase_.cycles_per_load(kGets)) / 2;
            load_ns_.push_back(load * ns_per_cycle_);
            p50_.push_back(cold.at(0.5) / load);
            p99_.push_back(cold.at(0.99) / load);
            p999_.push_back(cold.at(0.999) / load);
            cold_ns_.push_back(cold.at(0.5) * ns_per_cycle_);
            new_keys(kGets, 200);
            time_each();
            hot_ns_.push_back(time_each().at(0.5) * ns_per_cycle_);
            hot_stream_ns_.push_back(time_all());
            new_keys(kGets, ids_);
            chase_.cycles_per_load(8 * kGets);
            many_.push_back(time_many() / load);
        }
        print_row("cold lookup p50 / dependent load", p50_, "ratio", 2.5, 0);
        print_row("cold lookup P99 / dependent load", p99_, "ratio", 5, 0);
        print_row("cold lookup P99.9 / dependent load", p999_, "ratio", 12, 0);
        print_row("hot lookup, each timed by itself, p50", hot_ns_, "ns", 0, 20);
        print_row("hot lookup, one after the other", hot_stream_ns_, "ns", 0, 20);
        print_row("cold lookup p50", cold_ns_, "ns", 0, 0);
        print_row("cold lookups of 32 by cachee_multi_get, each / dependent load", many_, "ratio",
                  0, 0);
        print_row("dependent load", load_ns_, "ns", 0, 0);
        return 0;
    }
    bool hugepages() const { return chase_.hugepages(); }

  private:
    // Not looked for here: that would bring their lines into the caches.
    void new_keys(size_t count, uint64_t ids) {
        keys_.clear();
        while (keys_.size() < count) keys_.push_back(key_of_id(rng_.below(ids)));
    }
    bool get(const Key& key) {
        return cachee_get_into(handle_, key.text, kKeyBytes, buffer_, sizeof buffer_, &value_) ==
               CACHEE_OK;
    }
    Timing time_each() {
        Timing timing;
        timing.cycles.reserve(keys_.size());
        for (const Key& key : keys_) {
            const uint64_t start = start_cycles();
            const bool found = get(key);
            const auto cycles = static_cast<double>(stop_cycles() - start);
            // The index had to drop a few keys, and they are no hits to be timed.
            if (found) timing.cycles.push_back(std::max(cycles - counter_cost_, 0.0));
        }
        if (timing.cycles.size() < keys_.size() * 9 / 10) std::abort();
        std::sort(timing.cycles.begin(), timing.cycles.end());
        return timing;
    }
    // ns of one lookup: the median over stretches of some that follow each other.
    double time_all() {
        constexpr size_t kStretch = 32;
        std::vector<double> samples;
        size_t found = 0;
        for (size_t at = 0; at + kStretch <= keys_.size(); at += kStretch) {
            const uint64_t start = start_cycles();
            for (size_t i = 0; i < kStretch; ++i) found += get(keys_[at + i]) ? 1 : 0;
            const auto cycles = static_cast<double>(stop_cycles() - start);
            samples.push_back((cycles - counter_cost_) / static_cast<double>(kStretch));
        }
        if (found < keys_.size() * 9 / 10) std::abort();
        return median(std::move(samples)) * ns_per_cycle_;
    }
    double time_many() {
        constexpr size_t kMany = 32;
        cachee_item items[kMany] = {};
        std::vector<double> samples;
        uint64_t hits = 0;
        for (size_t at = 0; at + kMany <= keys_.size(); at += kMany) {
            const uint64_t start = start_cycles();
            for (size_t i = 0; i < kMany; ++i) {
                items[i].key = keys_[at + i].text;
                items[i].key_size = kKeyBytes;
            }
            cachee_multi_get(handle_, items, kMany, sizeof(cachee_item));
            const auto cycles = static_cast<double>(stop_cycles() - start);
            samples.push_back((cycles - counter_cost_) / static_cast<double>(kMany));
            for (const cachee_item& item : items) hits += item.status == CACHEE_OK ? 1 : 0;
        }
        if (hits < keys_.size() * 9 / 10) std::abort();
        return median(std::move(samples));
    }

    uint64_t ids_;
    Chase chase_;
    cachee_handle* handle_ = nullptr;
    double counter_cost_ = 0;
    double ns_per_cycle_ = 0;
    base::Rng rng_{2};
    std::vector<Key> keys_;
    char buffer_[64];
    cachee_value value_{};
    std::vector<double> load_ns_, p50_, p99_, p999_, cold_ns_, hot_ns_, hot_stream_ns_, many_;
};

// The data plane's part: vouches for L1 some times a second and rewrites a key now and then.
void write_until_ended(l1::Store& store, uint64_t ids, pid_t child) {
    base::Rng rng(3);
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0) {
        const uint64_t now_ns = base::monotonic_ns();
        store.partition(0).publish_trust(now_ns + 250 * base::kNsPerMs, kGeneration);
        for (int i = 0; i < 20; ++i) {
            put_id(store.partition(0), rng.below(ids), now_ns / base::kNsPerMs);
        }
        store.partition(0).maintain(now_ns / base::kNsPerMs);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) std::exit(1);
}

int run(uint64_t mib) {
    auto made = l1::Store::create({.instance = "p3-" + std::to_string(::getpid()),
                                   .bytes = mib << 20,
                                   .item_bytes_expected = kKeyBytes + kValueBytes,
                                   .hash_seed = kSeed});
    if (!made) {
        std::fprintf(stderr, "%s\n", made.error().message.c_str());
        return 1;
    }
    l1::Store& store = *made.value();
    l1::Partition& partition = store.partition(0);
    const uint64_t now_ms = base::monotonic_ns() / base::kNsPerMs;
    uint64_t ids = 0;
    while (partition.segments().free_count() > partition.segments().count() / 10 + 4) {
        put_id(partition, ids++, now_ms);
    }
    partition.publish_trust(base::monotonic_ns() + base::kNsPerS, kGeneration);
    if (!store.fallback_reason().empty()) {
        std::fprintf(stderr, "note: on ordinary pages: %s\n", store.fallback_reason().c_str());
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::munmap(store.base(),
                 store.bytes());  // what is read is read through the library's mapping
        Bench bench(store.path(), ids, mib);
        if (bench.hugepages() != store.fallback_reason().empty()) {
            std::fprintf(stderr,
                         "note: L1 and the block of the dependent loads have other pages\n");
        }
        const int code = bench.run();
        std::fflush(stdout);
        std::_Exit(code);
    }
    write_until_ended(store, ids, child);
    store.unlink();
    return 0;
}

}  // namespace
}  // namespace cachee

int main(int argc, char** argv) {
    const uint64_t mib = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
    return cachee::run(mib != 0 ? mib : 200);
}
