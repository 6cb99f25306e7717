// SPDX-License-Identifier: Apache-2.0
// The simulator: reading traces, the textbook policies against their definitions, and L1's own code
// against the textbook.
#include "tools/simulate/simulate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/rng.h"

namespace cachee::simulate {
namespace {

using cli::TraceRecord;

TraceTable trace_of_keys(const std::vector<uint64_t>& keys) {
    std::vector<TraceRecord> records;
    for (const uint64_t key : keys) records.push_back({.key = key, .time_ms = records.size()});
    return TraceTable::of(records);
}

// Zipf-like: the key of rank r about as often as 1/r, by halving ranges; some keys never return.
std::vector<uint64_t> skewed_keys(uint64_t seed, size_t count, uint64_t objects) {
    base::Rng rng(seed);
    std::vector<uint64_t> keys;
    for (size_t i = 0; i < count; ++i) {
        if (rng.chance(0.1)) {
            keys.push_back(1'000'000 + i);
            continue;
        }
        uint64_t range = objects;
        while (range > 1 && rng.chance(0.6)) range /= 2;
        keys.push_back(rng.below(range) * 7919);
    }
    return keys;
}

uint64_t misses_of(const std::string& policy, const TraceTable& trace, uint64_t capacity) {
    const std::vector<uint32_t> next = trace.next_positions();
    auto reference = make_reference(policy, capacity, trace.objects(), &next);
    uint64_t misses = 0;
    uint32_t position = 0;
    for (const Request& request : trace.requests()) {
        misses += reference->access(request.object, request.bytes, position++) ? 0 : 1;
        EXPECT_LE(reference->used_bytes(), capacity);
    }
    return misses;
}

Outcome outcome_of(const std::string& policy, const TraceTable& trace, const std::string& size,
                   SimulateOptions options = {}) {
    const std::vector<uint32_t> next = trace.next_positions();
    const L1Keys keys(trace);
    std::atomic<uint64_t> done{0};
    const Size parsed = parse_size(size).value();
    auto outcome = run_job({policy, parsed, capacity_of(parsed, trace, options.unit_item_bytes)},
                           {&trace, &keys, &next, &done}, options);
    EXPECT_TRUE(outcome) << outcome.error().message;
    return std::move(outcome).value();
}

TEST(TraceTable, Of_Records_NumbersKeysAndAddsTheFootprint) {
    const TraceTable trace = TraceTable::of({{.key = 900, .key_bytes = 10, .value_bytes = 90},
                                             {.key = 5, .key_bytes = 1, .value_bytes = 4},
                                             {.key = 900, .key_bytes = 10, .value_bytes = 190}});
    EXPECT_EQ(trace.objects(), 2U);
    EXPECT_FALSE(trace.is_unit_size());
    EXPECT_EQ(trace.footprint_bytes(), 105U);
    EXPECT_EQ(trace.largest_bytes(), 200U);
    EXPECT_EQ(trace.requests()[2].object, 0U);
    EXPECT_EQ(trace.next_positions(),
              (std::vector<uint32_t>{2, TraceTable::kNever, TraceTable::kNever}));
}

TEST(TraceTable, Load_DamagedOrTooLarge_SaysWhere) {
    const std::string path = ::testing::TempDir() + "cachee-simulate-" + std::to_string(::getpid());
    const auto write = [&](const std::string& text) {
        std::FILE* file = std::fopen(path.c_str(), "wb");
        std::fwrite(text.data(), 1, text.size(), file);
        std::fclose(file);
    };
    const auto error_of = [&](TraceFormat format, const TraceLimits& limits) {
        auto table = TraceTable::load(path, format, limits, [](double) {});
        return table ? std::string() : table.error().message;
    };
    write("0,1,0,0,0,get,0\n0,2,0,0,0,fetch,0\n");
    EXPECT_NE(error_of(TraceFormat::kCsv, {}).find(":2: unknown operation"), std::string::npos);
    write(std::string(24 + 7, 'x'));
    EXPECT_NE(error_of(TraceFormat::kOracle, {}).find("record 1 is cut short"), std::string::npos);
    write("");
    EXPECT_NE(error_of(TraceFormat::kCsv, {}).find("no requests"), std::string::npos);
    std::string many;
    for (int i = 0; i < 200'000; ++i) many += "0," + std::to_string(i) + ",0,0,0,get,0\n";
    write(many);
    EXPECT_NE(error_of(TraceFormat::kCsv, {.memory_bytes_max = 1 << 20}).find("--memory-max"),
              std::string::npos);
    EXPECT_EQ(error_of(TraceFormat::kCsv, {.requests_max = 1000, .memory_bytes_max = 1 << 20}), "");
    ::unlink(path.c_str());
}

TEST(Sizes, ParseSize_AllForms_AndWhatIsNone) {
    EXPECT_EQ(parse_size("64MiB")->value, 64.0 * 1024 * 1024);
    EXPECT_EQ(parse_size("0.1%")->value, 0.1);
    EXPECT_EQ(parse_size("0.1%")->kind, Size::Kind::kPercent);
    EXPECT_EQ(parse_size("5000objects")->kind, Size::Kind::kObjects);
    EXPECT_EQ(parse_size("5000 objects")->value, 5000);
    for (const char* bad : {"", "%", "-1", "0", "101%", "12MB", "objects", "nan", "1e99"}) {
        EXPECT_FALSE(parse_size(bad)) << bad;
    }
}

TEST(Sizes, CapacityOf_UnitAndSized_FollowsTheFootprint) {
    const TraceTable unit = trace_of_keys(skewed_keys(1, 5000, 1000));
    EXPECT_EQ(capacity_of(*parse_size("10%"), unit, 128).capacity, unit.objects() / 10);
    EXPECT_EQ(capacity_of(*parse_size("77objects"), unit, 128).capacity, 77U);
    EXPECT_EQ(capacity_of(*parse_size("1280"), unit, 128).capacity, 10U);
    EXPECT_EQ(capacity_of(*parse_size("1280"), unit, 128).l1_bytes, 1280U);
    const TraceTable sized =
        TraceTable::of({{.key = 1, .value_bytes = 700}, {.key = 2, .value_bytes = 300}});
    EXPECT_EQ(capacity_of(*parse_size("10%"), sized, 128).capacity, 100U);
    EXPECT_EQ(capacity_of(*parse_size("1objects"), sized, 128).capacity, 500U);
}

// By hand: a b c a d a b, room for 3.
TEST(Reference, SmallSequence_MissesAsByHand) {
    const TraceTable trace = trace_of_keys({1, 2, 3, 1, 4, 1, 2});
    EXPECT_EQ(misses_of("fifo", trace, 3), 6U);   // d puts a out, a puts b out, b puts c out
    EXPECT_EQ(misses_of("lru", trace, 3), 5U);    // d puts b out
    EXPECT_EQ(misses_of("sieve", trace, 3), 5U);  // a is visited: d puts b out
    EXPECT_EQ(misses_of("belady", trace, 3), 4U);
}

// A plain LRU with another structure.
TEST(Reference, Lru_SkewedTrace_EqualsAnotherLru) {
    const TraceTable trace = trace_of_keys(skewed_keys(2, 20'000, 500));
    std::map<uint32_t, uint64_t> used;
    uint64_t misses = 0;
    uint64_t now = 0;
    for (const Request& request : trace.requests()) {
        if (used.find(request.object) == used.end()) {
            ++misses;
            if (used.size() == 50) {
                auto oldest = used.begin();
                for (auto at = used.begin(); at != used.end(); ++at) {
                    if (at->second < oldest->second) oldest = at;
                }
                used.erase(oldest);
            }
        }
        used[request.object] = ++now;
    }
    EXPECT_EQ(misses_of("lru", trace, 50), misses);
}

TEST(Reference, Belady_SkewedTrace_IsTheLowerBound) {
    const TraceTable trace = trace_of_keys(skewed_keys(3, 20'000, 500));
    const uint64_t best = misses_of("belady", trace, 60);
    for (const char* policy : {"lru", "fifo", "sieve", "s3fifo"}) {
        EXPECT_GT(misses_of(policy, trace, 60), best) << policy;
    }
    EXPECT_GE(best, trace.objects());
}

// What the appliance promises against the textbook: FIFO with merges does as CLOCK does, which is
// about LRU; S3-FIFO over segments does as S3-FIFO does.
TEST(L1Cache, PoliciesOfTheAppliance_SkewedTrace_AreNearTheTextbook) {
    const TraceTable trace = trace_of_keys(skewed_keys(4, 200'000, 20'000));
    for (const char* size : {"1%", "10%"}) {
        const double lru = outcome_of("ref-lru", trace, size).object_miss_ratio();
        const double s3 = outcome_of("ref-s3fifo", trace, size).object_miss_ratio();
        EXPECT_LT(outcome_of("fifo_merge", trace, size).object_miss_ratio(), lru * 1.02) << size;
        EXPECT_LT(outcome_of("s3_fifo", trace, size).object_miss_ratio(), s3 * 1.02) << size;
    }
}

TEST(L1Cache, Run_Twice_IsTheSame) {
    const TraceTable trace = trace_of_keys(skewed_keys(5, 50'000, 5'000));
    for (const char* policy : {"fifo_merge", "s3_fifo"}) {
        EXPECT_EQ(outcome_of(policy, trace, "5%").misses, outcome_of(policy, trace, "5%").misses);
    }
}

TEST(L1Cache, UnitTrace_NeverHoldsMoreThanTheSize) {
    const TraceTable trace = trace_of_keys(skewed_keys(6, 50'000, 5'000));
    const L1Keys keys(trace);
    for (const uint64_t capacity : {1U, 9U, 100U, 1000U}) {
        auto cache = L1Cache::create(trace, keys, {.policy = "s3_fifo", .capacity = capacity});
        ASSERT_TRUE(cache) << cache.error().message;
        uint64_t most = 0;
        for (const Request& request : trace.requests()) {
            (*cache)->get(request);
            most = std::max(most, (*cache)->items());
        }
        // The least store has a few segments.
        EXPECT_LE(most, std::max<uint64_t>(capacity, 4)) << capacity;
        EXPECT_GE(most, capacity * 9 / 10) << capacity;
    }
}

TEST(L1Cache, BytesOfL1_ManyPartitions_AreThoseOfTheAppliance) {
    const TraceTable trace = trace_of_keys(skewed_keys(7, 50'000, 40'000));
    SimulateOptions options;
    options.partitions = 2;
    const Outcome outcome = outcome_of("fifo_merge", trace, "2MiB", options);
    EXPECT_GE(outcome.l1.segments, 32U);
    EXPECT_LE(uint64_t{outcome.l1.segments} * outcome.l1.segment_bytes, 2U << 20);
    EXPECT_GT(outcome.misses, trace.objects() - 1);
    EXPECT_LT(outcome.misses, outcome.requests);
}

TEST(L1Cache, TooLargeForASegment_IsAMissAndCounted) {
    std::vector<TraceRecord> records;
    for (int i = 0; i < 100; ++i) {
        records.push_back({.key = 1, .value_bytes = 3 << 20});
        records.push_back({.key = 2, .value_bytes = 100});
    }
    const TraceTable trace = TraceTable::of(records);
    const Outcome outcome = outcome_of("fifo_merge", trace, "100%");
    EXPECT_EQ(outcome.misses, 101U);
    EXPECT_EQ(outcome.l1.too_large, 100U);
}

TEST(Operations, TtlAndWrites_WhenAskedFor_AreHonoured) {
    std::vector<TraceRecord> records = {
        {.key = 1, .time_ms = 0, .value_bytes = 10, .ttl_s = 1},
        {.key = 1, .time_ms = 900, .value_bytes = 10, .ttl_s = 1},
        {.key = 1, .time_ms = 1500, .value_bytes = 10, .ttl_s = 1},  // expired
        {.key = 2, .time_ms = 1600, .value_bytes = 10, .operation = TraceOperation::kSet},
        {.key = 2, .time_ms = 1700, .value_bytes = 10},  // set before
        {.key = 2, .time_ms = 1800, .operation = TraceOperation::kDelete},
        {.key = 2, .time_ms = 1900, .value_bytes = 10},  // deleted before
    };
    const TraceTable trace = TraceTable::of(records);
    SimulateOptions options;
    options.use_ttl = true;
    options.operations = true;
    for (const char* policy : {"fifo_merge", "s3_fifo", "ref-lru", "ref-sieve"}) {
        const Outcome outcome = outcome_of(policy, trace, "100%", options);
        EXPECT_EQ(outcome.requests, 5U) << policy;
        EXPECT_EQ(outcome.misses, 3U) << policy;
        const Outcome plain = outcome_of(policy, trace, "100%");
        EXPECT_EQ(plain.requests, 7U) << policy;
        EXPECT_EQ(plain.misses, 2U) << policy;
    }
}

// Real traces: the appliance's policies are not much worse than the textbook at 1 % and 10 %.
TEST(Traces, RealTraces_PoliciesOfTheAppliance_AreNearTheTextbook) {
    const char* folder = std::getenv("CACHEE_TRACES");
    if (folder == nullptr) GTEST_SKIP() << "CACHEE_TRACES names no folder of traces";
    for (const char* name : {"arc_OLTP", "c2k_web12", "lirs_multi2", "mooncake_synthetic"}) {
        const std::string path = std::string(folder) + "/" + name + ".csv.zst";
        if (!std::filesystem::exists(path)) continue;
        auto trace = TraceTable::load(path, TraceFormat::kCsv, {}, [](double) {});
        ASSERT_TRUE(trace) << trace.error().message;
        for (const char* size : {"1%", "10%"}) {
            const double lru = outcome_of("ref-lru", *trace, size).object_miss_ratio();
            const double s3 = outcome_of("ref-s3fifo", *trace, size).object_miss_ratio();
            EXPECT_LT(outcome_of("fifo_merge", *trace, size).object_miss_ratio(), lru * 1.03)
                << name << " " << size;
            EXPECT_LT(outcome_of("s3_fifo", *trace, size).object_miss_ratio(), s3 * 1.02)
                << name << " " << size;
        }
    }
}

TEST(Report, Text_AndJson_NameWhatWasSimulated) {
    const TraceTable trace = trace_of_keys(skewed_keys(8, 2'000, 100));
    const std::vector<Outcome> outcomes = {outcome_of("ref-lru", trace, "10%"),
                                           outcome_of("s3_fifo", trace, "10%")};
    const std::string text = simulate_text("t.csv", trace, outcomes);
    EXPECT_NE(text.find("t.csv: 2,000 requests"), std::string::npos) << text;
    EXPECT_NE(text.find("s3_fifo"), std::string::npos);
    const std::string json = simulate_json("t.csv", trace, outcomes);
    EXPECT_NE(json.find("\"policy\":\"ref-lru\""), std::string::npos) << json;
    EXPECT_NE(json.find("\"l1\":null"), std::string::npos);
}

}  // namespace
}  // namespace cachee::simulate
