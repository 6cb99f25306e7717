// SPDX-License-Identifier: Apache-2.0
// Benchmarks of the L1 GET: P1 (instructions and lines, hot) and P2 (time, cold, in bursts).
//   l1_get_bench hot <gets>      runs l1_hot_gets() over hot keys, as their owner does it: count
//   its
//                                instructions with callgrind
//   l1_get_bench foreign <gets>  the same for l1_hot_foreign_gets(): as the other workers do it
//   l1_get_bench find <gets>     the same for l1_hot_finds(): the owner's, the hash given, no copy
//   l1_get_bench lines           prints how many lines a hit touches, and that it writes none
//   l1_get_bench cold [MiB]      burst GETs against dependent loads, interleaved; prints JSON rows
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kSeed = 0x5eed;
constexpr uint32_t kKeyBytes = 20;
constexpr uint32_t kValueBytes = 20;
constexpr uint32_t kNowMs = 1000;
constexpr uint32_t kGeneration = 3;

struct alignas(64) Key {
    char text[60];
    uint32_t bytes;
    std::string_view view() const { return {text, bytes}; }
};

Key key_of_id(uint64_t id) {
    Key key;
    key.bytes = static_cast<uint32_t>(
        std::snprintf(key.text, sizeof key.text, "user:%015u", static_cast<uint32_t>(id)));
    return key;
}

std::unique_ptr<Store> make_store(uint64_t bytes) {
    auto store = Store::create({.instance = "bench-" + std::to_string(::getpid()),
                                .bytes = bytes,
                                .item_bytes_expected = kKeyBytes + kValueBytes,
                                .hash_seed = kSeed});
    if (!store) {
        std::fprintf(stderr, "%s\n", store.error().message.c_str());
        std::exit(1);
    }
    store.value()->unlink();  // mapped until the end; nothing is left behind
    return std::move(store).value();
}

void put_id(Partition& partition, uint64_t id) {
    const Key key = key_of_id(id);
    char value[kValueBytes + 1];
    std::snprintf(value, sizeof value, "value%015u", static_cast<uint32_t>(id));
    const uint64_t hash = base::hash_key(key.view(), kSeed);
    const uint64_t deadline_ms = id % 2 == 0 ? 0 : 100'000'000;
    if (partition.put(hash, key.view(), {value, kValueBytes}, deadline_ms, kGeneration, kNowMs) !=
        PutStatus::kStored) {
        std::abort();
    }
}

// What a worker knows at run time; constants would flatter the count.
struct When {
    uint64_t hash_seed;
    uint64_t now_ms;
    uint32_t generation;
};

[[gnu::cold, gnu::noinline]] Lookup find_cold(const Partition& partition, When when,
                                              std::string_view key) {
    return partition.find<By::kOwner>(base::hash_key(key, when.hash_seed), key, when.now_ms,
                                      when.generation);
}

// What is left of a GET whose key the usual look did not find.
template <By kBy>
[[gnu::cold, gnu::noinline]] uint32_t get_cold(const Partition& partition, When when,
                                               std::string_view key, uint8_t* reply) {
    const Lookup lookup =
        partition.find<kBy>(base::hash_key(key, when.hash_seed), key, when.now_ms, when.generation);
    if (lookup.status != FindStatus::kHit) return 0;
    copy_value(reply, lookup.value, lookup.value_bytes);
    return Partition::still_valid(lookup) ? lookup.value_bytes : 0;
}

// One GET as a worker makes it: hash, find, copy out, validate. Returns the value's bytes.
template <By kBy>
[[gnu::always_inline]] inline uint32_t get(const Partition& partition, const When& when,
                                           std::string_view key, uint8_t* reply) {
    const Lookup lookup = partition.find_usual<kBy>(base::hash_key(key, when.hash_seed), key,
                                                    when.now_ms, when.generation);
    if (lookup.status != FindStatus::kHit) [[unlikely]]
        return get_cold<kBy>(partition, when, key, reply);
    copy_value(reply, lookup.value, lookup.value_bytes);
    return Partition::still_valid<kBy>(lookup) ? lookup.value_bytes : 0;
}

}  // namespace

// Outside the anonymous namespace: callgrind finds them by name.
extern "C" [[gnu::noinline]] uint64_t l1_hot_gets(const Partition* partition, When when,
                                                  const Key* keys, size_t key_count, uint64_t gets,
                                                  uint8_t* reply) {
    uint64_t bytes = 0;
    for (uint64_t done = 0; done < gets; done += key_count) {
        for (const Key* key = keys; key != keys + key_count; ++key) {
            bytes += get<By::kOwner>(*partition, when, key->view(), reply);
        }
    }
    return bytes;
}

// The same by a worker that does not own the keys.
extern "C" [[gnu::noinline]] uint64_t l1_hot_foreign_gets(const Partition* partition, When when,
                                                          const Key* keys, size_t key_count,
                                                          uint64_t gets, uint8_t* reply) {
    uint64_t bytes = 0;
    for (uint64_t done = 0; done < gets; done += key_count) {
        for (const Key* key = keys; key != keys + key_count; ++key) {
            bytes += get<By::kAnyone>(*partition, when, key->view(), reply);
        }
    }
    return bytes;
}

extern "C" [[gnu::noinline]] uint64_t l1_hot_finds(const Partition* partition, When when,
                                                   const Key* keys, const uint64_t* hashes,
                                                   size_t key_count, uint64_t gets) {
    uint64_t bytes = 0;
    for (uint64_t done = 0; done < gets; done += key_count) {
        for (size_t i = 0; i < key_count; ++i) {
            Lookup lookup = partition->find_usual<By::kOwner>(hashes[i], keys[i].view(),
                                                              when.now_ms, when.generation);
            if (lookup.status != FindStatus::kHit) [[unlikely]]
                lookup = find_cold(*partition, when, keys[i].view());
            bytes += lookup.value_bytes;
        }
    }
    return bytes;
}

namespace {

enum class Hot { kOwner, kForeign, kFind };

int hot(uint64_t gets, Hot what) {
    auto store = make_store(16 << 20);
    std::vector<Key> keys;
    std::vector<uint64_t> hashes;
    for (uint64_t id = 0; id < 1000; ++id) {
        put_id(store->partition(0), id);
        keys.push_back(key_of_id(id));
        hashes.push_back(base::hash_key(keys.back().view(), kSeed));
    }
    uint8_t reply[64];
    When when{kSeed, kNowMs, kGeneration};
    asm volatile("" : "+m"(when));
    const Partition* const partition = &store->partition(0);
    uint64_t bytes = 0;
    switch (what) {
        case Hot::kOwner:
            bytes = l1_hot_gets(partition, when, keys.data(), keys.size(), gets, reply);
            break;
        case Hot::kForeign:
            bytes = l1_hot_foreign_gets(partition, when, keys.data(), keys.size(), gets, reply);
            break;
        case Hot::kFind:
            bytes = l1_hot_finds(partition, when, keys.data(), hashes.data(), keys.size(), gets);
            break;
    }
    return bytes == gets * kValueBytes ? 0 : 1;
}

// The lines of L1 that a lookup reads.
struct LineProbe {
    static inline std::set<uintptr_t> lines;
    static void touch(const void* from, size_t bytes) noexcept {
        const auto begin = reinterpret_cast<uintptr_t>(from);
        for (uintptr_t line = begin / 64; line <= (begin + bytes - 1) / 64; ++line) {
            lines.insert(line);
        }
    }
};

int lines() {
    auto store = make_store(16 << 20);
    Partition& partition = store->partition(0);
    // Half of what the index is planned for: the hot keys of a store lie in it among others.
    const uint64_t ids = store->bytes() / 200;
    for (uint64_t id = 0; id < ids; ++id) put_id(partition, id);
    // A write would end this process here.
    if (::mprotect(store->base(), store->bytes(), PROT_READ) != 0) return 1;
    std::vector<size_t> touched;
    for (uint64_t id = 0; id < ids; ++id) {
        const Key key = key_of_id(id);
        LineProbe::lines.clear();
        const Lookup lookup = partition.find<By::kAnyone, LineProbe>(
            base::hash_key(key.view(), kSeed), key.view(), kNowMs, kGeneration);
        if (lookup.status != FindStatus::kHit) return 1;
        touched.push_back(LineProbe::lines.size());
    }
    std::sort(touched.begin(), touched.end());
    double sum = 0;
    for (const size_t lines : touched) sum += static_cast<double>(lines);
    std::printf("{\"median\": %zu, \"mean\": %.3f, \"p99\": %zu, \"max\": %zu, \"written\": 0}\n",
                touched[touched.size() / 2], sum / static_cast<double>(touched.size()),
                touched[touched.size() * 99 / 100], touched.back());
    return 0;
}

// --- cold
// -----------------------------------------------------------------------------------------

// A random cycle through every line of a block: each load's address is the value of the one before.
class Chase {
  public:
    explicit Chase(uint64_t bytes) : bytes_(bytes), count_(bytes / 64) {
        void* block = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
        hugepages_ = block != MAP_FAILED;
        if (!hugepages_) {
            block =
                ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (block == MAP_FAILED) std::abort();
            ::madvise(block, bytes, MADV_HUGEPAGE);
        }
        lines_ = static_cast<Line*>(block);
        std::vector<uint32_t> order(count_);
        for (uint32_t i = 0; i < count_; ++i) order[i] = i;
        base::Rng rng(1);
        for (size_t i = count_ - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);
        for (size_t i = 0; i < count_; ++i)
            lines_[order[i]].next = &lines_[order[(i + 1) % count_]];
        at_ = lines_;
    }
    ~Chase() { ::munmap(lines_, bytes_); }
    Chase(const Chase&) = delete;
    Chase& operator=(const Chase&) = delete;

    double ns_per_load(uint64_t loads) {
        const uint64_t start = base::monotonic_ns();
        for (uint64_t i = 0; i < loads; ++i) at_ = at_->next;
        const uint64_t end = base::monotonic_ns();
        asm volatile("" : : "r"(at_));
        return static_cast<double>(end - start) / static_cast<double>(loads);
    }
    bool hugepages() const { return hugepages_; }

  private:
    struct alignas(64) Line {
        Line* next;
    };
    uint64_t bytes_;
    uint64_t count_;
    bool hugepages_ = false;
    Line* lines_ = nullptr;
    Line* at_ = nullptr;
};

template <size_t kBurst>
double ns_per_get(const Partition& partition, const std::vector<Key>& requests) {
    uint8_t reply[kBurst][256];
    uint64_t hashes[kBurst];
    Candidate candidates[kBurst];
    uint64_t hits = 0;
    const uint64_t start = base::monotonic_ns();
    for (size_t at = 0; at + kBurst <= requests.size(); at += kBurst) {
        for (size_t i = 0; i < kBurst; ++i) {
            hashes[i] = base::hash_key(requests[at + i].view(), kSeed);
            partition.prefetch_bucket(hashes[i]);
        }
        for (size_t i = 0; i < kBurst; ++i) {
            candidates[i] = partition.look<By::kAnyone>(hashes[i]);
        }
        for (size_t i = 0; i < kBurst; ++i) {
            const Lookup lookup = partition.take<By::kOwner>(
                candidates[i], hashes[i], requests[at + i].view(), kNowMs, kGeneration);
            if (lookup.status != FindStatus::kHit) continue;
            copy_value(reply[i], lookup.value, lookup.value_bytes);
            hits += Partition::still_valid(lookup) ? 1 : 0;
        }
        asm volatile("" : : "r"(reply) : "memory");
    }
    const uint64_t end = base::monotonic_ns();
    if (hits != requests.size()) std::abort();
    return static_cast<double>(end - start) / static_cast<double>(requests.size());
}

void print_row(const char* what, std::vector<double> samples, const char* unit, double promise,
               double ambition) {
    std::sort(samples.begin(), samples.end());
    const double median = samples[samples.size() / 2];
    std::printf("{\"what\": \"%s\", \"value\": %.3f, \"unit\": \"%s\", ", what, median, unit);
    if (promise > 0) {
        std::printf("\"promise\": %g, \"ambition\": %g, \"holds\": %s, ", promise, ambition,
                    median <= promise ? "true" : "false");
    } else {
        std::printf("\"promise\": null, \"ambition\": null, \"holds\": null, ");
    }
    std::printf("\"peer\": null, \"spread\": \"%.3f..%.3f\"}\n", samples[samples.size() / 10],
                samples[samples.size() * 9 / 10]);
}

int cold(uint64_t mib) {
    auto store = make_store(mib << 20);
    Partition& partition = store->partition(0);
    uint64_t ids = 0;
    while (partition.segments().free_count() > partition.segments().count() / 20 + 4) {
        put_id(partition, ids++);
    }
    Chase chase(mib << 20);
    if (!store->fallback_reason().empty() || !chase.hugepages()) {
        std::fprintf(stderr, "note: without hugepages on both sides: %s\n",
                     store->fallback_reason().c_str());
    }
    constexpr int kRounds = 21;
    constexpr size_t kGets = 64'000;
    base::Rng rng(2);
    std::vector<Key> requests(kGets);
    std::vector<double> load_ns, get16_ns, get32_ns, get1_ns, ratio16, ratio32, ratio1;
    const auto new_requests = [&] {
        for (Key& key : requests) {
            // A key that the index had to drop is not a hit to be timed.
            do {
                key = key_of_id(rng.below(ids));
            } while (
                partition.find(base::hash_key(key.view(), kSeed), key.view(), kNowMs, kGeneration)
                    .status != FindStatus::kHit);
        }
    };
    for (int round = 0; round < kRounds; ++round) {
        const double load = chase.ns_per_load(kGets);
        new_requests();
        chase.ns_per_load(4 * kGets);  // what the choice of keys left in the caches goes
        get16_ns.push_back(ns_per_get<16>(partition, requests));
        new_requests();
        chase.ns_per_load(4 * kGets);
        get32_ns.push_back(ns_per_get<32>(partition, requests));
        new_requests();
        chase.ns_per_load(4 * kGets);
        get1_ns.push_back(ns_per_get<1>(partition, requests));
        const double unit = (load + chase.ns_per_load(kGets)) / 2;
        load_ns.push_back(unit);
        ratio16.push_back(get16_ns.back() / unit);
        ratio32.push_back(get32_ns.back() / unit);
        ratio1.push_back(get1_ns.back() / unit);
    }
    print_row("cold GET in bursts of 32 / dependent load", ratio32, "ratio", 0.35, 0.2);
    print_row("cold GET in bursts of 16 / dependent load", ratio16, "ratio", 0.35, 0.2);
    print_row("cold GET one by one / dependent load", ratio1, "ratio", 0, 0);
    print_row("dependent load", load_ns, "ns", 0, 0);
    print_row("cold GET in bursts of 32", get32_ns, "ns", 0, 0);
    print_row("cold GET in bursts of 16", get16_ns, "ns", 0, 0);
    return 0;
}

}  // namespace
}  // namespace cachee::l1

int main(int argc, char** argv) {
    using namespace cachee::l1;
    const std::string mode = argc > 1 ? argv[1] : "";
    const uint64_t number = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
    const uint64_t gets = number != 0 ? number : 100'000;
    if (mode == "hot") return hot(gets, Hot::kOwner);
    if (mode == "foreign") return hot(gets, Hot::kForeign);
    if (mode == "find") return hot(gets, Hot::kFind);
    if (mode == "lines") return lines();
    if (mode == "cold") return cold(number != 0 ? number : 256);
    std::fprintf(stderr, "usage: l1_get_bench hot|foreign|find [gets] | lines | cold [MiB]\n");
    return 2;
}
