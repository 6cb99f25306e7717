// SPDX-License-Identifier: Apache-2.0
// LoadThread against a server in memory, in virtual time: what is in flight, what counts, what is
// noticed, and that it always ends.
#include "tools/loadgen/load_thread.h"

#include <gtest/gtest.h>

#include "tests/unit/loadgen/fake_target.h"

namespace cachee::loadgen {
namespace {

using base::kNsPerMs;
using base::kNsPerS;
using base::kNsPerUs;

struct Bench {
    explicit Bench(WorkloadOptions options = {}) : workload(make(options)) {
        plan.connections = 4;
        plan.warmup_ns = 0;
        plan.measure_ns = kNsPerS;
        plan.timeout_ns = 2 * kNsPerS;
    }
    static Workload make(WorkloadOptions options) {
        auto made = Workload::make(options);
        EXPECT_TRUE(made);
        return std::move(made).value();
    }

    // Until the load is over or virtual time is up; true when it is over.
    bool finish(uint64_t seconds_max = 60, bool populate = true) {
        LoadThread load(plan, workload, target, stats);
        const uint64_t end_ns = target.clock_ns + seconds_max * kNsPerS;
        bool populated = !populate;
        while (!load.over() && target.clock_ns < end_ns) {
            if (load.stage() == Stage::kReady && !populated) {
                populated = true;
                load.populate();
            } else if (load.stage() == Stage::kReady) {
                start_ns = target.clock_ns;
                if (stall_after_ns != 0) {
                    target.stall_from_ns = start_ns + stall_after_ns;
                    target.stall_until_ns = target.stall_from_ns + stall_ns;
                }
                load.run(start_ns);
            }
            if (each_step) each_step(load);
            load.step();
            target.clock_ns += step_ns;
        }
        stage = load.stage();
        failure = load.failure();
        return load.over();
    }
    uint64_t get(Tally tally) const { return stats.get(tally); }

    FakeTarget target;
    LoadPlan plan;
    Workload workload;
    ThreadStats stats;
    uint64_t step_ns = 20 * kNsPerUs;
    uint64_t start_ns = 0;
    uint64_t stall_after_ns = 0;
    uint64_t stall_ns = 0;
    std::function<void(LoadThread&)> each_step;
    Stage stage = Stage::kConnect;
    std::string failure;
};

WorkloadOptions small(uint64_t keys = 100) {
    WorkloadOptions options;
    options.keys = keys;
    return options;
}

TEST(LoadThread, ClosedLoop_Pipeline_KeepsThatManyInFlight) {
    Bench bench(small());
    bench.plan.pipeline = 3;
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_EQ(bench.target.in_flight_max, 3u);
    // A reply takes 100 us and is seen at the next step; 4 x 3 in flight, 1 s.
    const uint64_t answered = bench.get(Tally::kReads) + bench.get(Tally::kWrites);
    EXPECT_NEAR(static_cast<double>(answered), 12 * 1e9 / 100e3, 12 * 1e9 / 100e3 * 0.25);
    EXPECT_EQ(bench.get(Tally::kLost), 0u);
    EXPECT_EQ(bench.stage, Stage::kEnded);
}

TEST(LoadThread, Populate_AllKeys_SetOnceAndFound) {
    Bench bench(small(1000));
    ASSERT_TRUE(bench.finish());
    EXPECT_EQ(bench.target.store.size(), 1000u);
    EXPECT_EQ(bench.get(Tally::kPopulated), 1000u);
    EXPECT_EQ(bench.get(Tally::kMisses), 0u);
    EXPECT_EQ(bench.get(Tally::kHits), bench.get(Tally::kReads));
    EXPECT_GT(bench.get(Tally::kReads), 0u);
}

TEST(LoadThread, NotPopulated_Reads_CountAsMisses) {
    WorkloadOptions options = small();
    options.reads_percent = 100;
    Bench bench(options);
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_EQ(bench.get(Tally::kHits), 0u);
    EXPECT_EQ(bench.get(Tally::kMisses), bench.get(Tally::kReads));
    EXPECT_EQ(bench.get(Tally::kWrites), 0u);
}

TEST(LoadThread, Requests_Count_EndsTheRunExactly) {
    Bench bench(small());
    bench.plan.requests = 777;
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_EQ(bench.get(Tally::kReads) + bench.get(Tally::kWrites), 777u);
    EXPECT_EQ(bench.target.commands, 777u);
}

TEST(LoadThread, OpenLoop_Fixed_SendsAtItsRateAndAnswersInServiceTime) {
    Bench bench(small());
    bench.plan.rate = 1000;
    bench.plan.poisson = false;
    bench.plan.warmup_ns = 500 * kNsPerMs;
    ASSERT_TRUE(bench.finish(60, false));
    HistogramView all = bench.stats.read_ns.view();
    all.add(bench.stats.write_ns.view());
    EXPECT_EQ(all.count(), 1000u);  // the 500 of the warm-up are not measured
    EXPECT_EQ(bench.target.commands, 1500u);
    EXPECT_LE(all.max(), 100 * kNsPerUs + 3 * bench.step_ns);
}

// Coordinated omission: the target stalls for a second of ten. Whatever is due in that second
// waits: a tenth of the requests, by half a second on average. A closed loop asks only as many as
// it has connections, and its percentiles hide the stall.
TEST(LoadThread, OpenLoop_TargetStalls_PercentilesShowIt) {
    Bench bench(small());
    bench.plan.rate = 1000;
    bench.plan.measure_ns = 10 * kNsPerS;
    bench.stall_after_ns = 5 * kNsPerS;
    bench.stall_ns = kNsPerS;
    ASSERT_TRUE(bench.finish(60, false));
    HistogramView all = bench.stats.read_ns.view();
    all.add(bench.stats.write_ns.view());
    EXPECT_NEAR(static_cast<double>(all.count()), 10000, 500);
    EXPECT_LT(all.percentile(50), kNsPerMs);
    EXPECT_NEAR(static_cast<double>(all.percentile(95)), 0.5e9, 0.12e9);
    EXPECT_NEAR(static_cast<double>(all.percentile(99)), 0.9e9, 0.06e9);
    EXPECT_NEAR(static_cast<double>(all.max()), 1e9, 0.03e9);
    EXPECT_EQ(bench.get(Tally::kUnanswered), 0u);
}

TEST(LoadThread, ClosedLoop_TargetStalls_PercentilesHideIt) {
    Bench bench(small());
    bench.plan.measure_ns = 10 * kNsPerS;
    bench.stall_after_ns = 5 * kNsPerS;
    bench.stall_ns = kNsPerS;
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_LT(bench.stats.read_ns.view().percentile(99.9), kNsPerMs);
    EXPECT_NEAR(static_cast<double>(bench.stats.read_ns.view().max()), 1e9, 0.03e9);
}

TEST(LoadThread, OpenLoop_TargetTooSlow_LatencyGrowsAndTheRestIsCounted) {
    Bench bench(small());
    bench.plan.rate = 20000;
    bench.plan.timeout_ns = 3 * kNsPerS;
    bench.target.service_ns = kNsPerMs;  // 4 connections: 4000 per second at most
    ASSERT_TRUE(bench.finish());
    HistogramView all = bench.stats.read_ns.view();
    all.add(bench.stats.write_ns.view());
    EXPECT_GT(all.max(), 2 * kNsPerS);
    const uint64_t answered = bench.get(Tally::kReads) + bench.get(Tally::kWrites);
    EXPECT_GT(bench.get(Tally::kUnanswered), 1000u);
    EXPECT_EQ(all.count(), answered + bench.get(Tally::kUnanswered));
    EXPECT_NEAR(static_cast<double>(all.count()), 20000, 800);
}

TEST(LoadThread, Replies_InSingleBytes_AreWhole) {
    Bench bench(small());
    bench.target.piece_bytes = 1;
    bench.plan.verify = true;
    bench.plan.requests = 200;
    ASSERT_TRUE(bench.finish());
    EXPECT_EQ(bench.get(Tally::kReads) + bench.get(Tally::kWrites), 200u);
    EXPECT_EQ(bench.get(Tally::kWrong), 0u) << bench.stats.first_wrong;
}

TEST(LoadThread, Requests_TransportFull_ContinueWhenWritable) {
    WorkloadOptions options = small(20);
    options.value_bytes = "uniform:1000:9000";
    options.reads_percent = 50;
    Bench bench(options);
    bench.target.append_bytes = 700;
    bench.plan.verify = true;
    bench.plan.requests = 300;
    bench.plan.pipeline = 4;
    ASSERT_TRUE(bench.finish());
    EXPECT_EQ(bench.get(Tally::kReads) + bench.get(Tally::kWrites), 300u);
    EXPECT_EQ(bench.get(Tally::kWrong), 0u) << bench.stats.first_wrong;
    EXPECT_EQ(bench.get(Tally::kMisses), 0u);
}

TEST(LoadThread, Verify_WrongValue_Counted) {
    for (const bool verify : {true, false}) {
        Bench bench(small());
        bench.plan.verify = verify;
        bench.plan.requests = 100;
        int gets = 0;
        bench.target.answer =
            [&](const resp::ArgumentList& arguments) -> std::optional<std::string> {
            if (arguments[0] != "GET" || ++gets != 10) return std::nullopt;
            return "$64\r\n" + std::string(64, '!') + "\r\n";
        };
        ASSERT_TRUE(bench.finish());
        EXPECT_EQ(bench.get(Tally::kWrong), verify ? 1u : 0u);
        EXPECT_EQ(bench.stats.first_wrong.empty(), !verify);
    }
}

TEST(LoadThread, Verify_ValueOfAnotherLength_Counted) {
    Bench bench(small());
    bench.plan.verify = true;
    bench.plan.requests = 50;
    bench.target.answer = [&](const resp::ArgumentList& arguments) -> std::optional<std::string> {
        if (arguments[0] != "GET") return std::nullopt;
        std::string right = bench.target.store[std::string(arguments[1])];
        right.resize(63);
        return "$63\r\n" + right + "\r\n";
    };
    ASSERT_TRUE(bench.finish());
    EXPECT_EQ(bench.get(Tally::kWrong), bench.get(Tally::kReads));
    EXPECT_GT(bench.get(Tally::kWrong), 0u);
}

TEST(LoadThread, Verify_Mget_ChecksEachElement) {
    WorkloadOptions options = small();
    options.mget_keys = 7;
    options.value_bytes = "uniform:1:2000";
    options.distribution = "zipf";
    Bench bench(options);
    bench.plan.verify = true;
    bench.plan.requests = 300;
    ASSERT_TRUE(bench.finish());
    EXPECT_EQ(bench.get(Tally::kWrong), 0u) << bench.stats.first_wrong;
    EXPECT_EQ(bench.get(Tally::kHits), 7 * bench.get(Tally::kReads));
    // One element too few is wrong even without --verify.
    Bench other(options);
    other.plan.requests = 10;
    other.target.answer = [](const resp::ArgumentList& arguments) -> std::optional<std::string> {
        if (arguments[0] != "MGET") return std::nullopt;
        return "*6\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n";
    };
    ASSERT_TRUE(other.finish());
    EXPECT_EQ(other.get(Tally::kWrong), other.get(Tally::kReads));
}

TEST(LoadThread, ErrorReplies_ByKind_AndNotInThePercentiles) {
    Bench bench(small());
    bench.plan.requests = 100;
    int n = 0;
    bench.target.answer = [&](const resp::ArgumentList&) -> std::optional<std::string> {
        ++n;
        if (n % 10 == 0) return "-OOM command not allowed\r\n";
        if (n % 25 == 0) return "-LOADING wait\r\n";
        return std::nullopt;
    };
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_EQ(bench.stats.error_kinds.at("OOM"), 10u);
    EXPECT_EQ(bench.stats.error_kinds.at("LOADING"), 2u);
    EXPECT_EQ(bench.get(Tally::kErrors), 12u);
    EXPECT_EQ(bench.stats.read_ns.view().count() + bench.stats.write_ns.view().count(), 88u);
    EXPECT_FALSE(bench.stats.first_error.empty());
}

TEST(LoadThread, Connections_Cut_AreOpenedAgainAndCounted) {
    Bench bench(small());
    bool cut = false;
    bench.each_step = [&](LoadThread& load) {
        if (cut || load.stage() != Stage::kRun) return;
        if (bench.target.clock_ns < bench.start_ns + kNsPerS / 2) return;
        cut = true;
        bench.target.cut_all(io::CloseReason::kReset);
    };
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_EQ(bench.get(Tally::kDisconnects), 4u);
    EXPECT_EQ(bench.get(Tally::kReconnects), 4u);
    EXPECT_GT(bench.get(Tally::kLost), 0u);
    EXPECT_LE(bench.get(Tally::kLost), 4u);
    EXPECT_EQ(bench.stage, Stage::kEnded);
    // Half a second after the cut the load goes on.
    EXPECT_GT(bench.get(Tally::kReads), 15000u);
}

TEST(LoadThread, Target_GoneForGood_FailsInsteadOfHanging) {
    Bench bench(small());
    bench.plan.measure_ns = 3600 * kNsPerS;
    bench.each_step = [&](LoadThread& load) {
        if (load.stage() != Stage::kRun || bench.target.refuses) return;
        if (bench.target.clock_ns < bench.start_ns + kNsPerS / 10) return;
        bench.target.refuses = true;
        bench.target.cut_all(io::CloseReason::kPeer);
    };
    ASSERT_TRUE(bench.finish(10, false));
    EXPECT_EQ(bench.stage, Stage::kFailed);
    EXPECT_NE(bench.failure.find("refused"), std::string::npos) << bench.failure;
    // With a growing pause in between: not thousands of attempts.
    EXPECT_LT(bench.target.connects, 100u);
}

TEST(LoadThread, Target_RefusesFromTheStart_FailsAtOnce) {
    Bench bench(small());
    bench.target.refuses = true;
    ASSERT_TRUE(bench.finish(1, false));
    EXPECT_EQ(bench.stage, Stage::kFailed);
    EXPECT_NE(bench.failure.find("refused"), std::string::npos) << bench.failure;
}

TEST(LoadThread, Target_Mute_TimesOutAndEnds) {
    Bench bench(small());
    bench.target.is_mute = true;
    bench.plan.measure_ns = 5 * kNsPerS;
    bench.plan.timeout_ns = kNsPerS;
    ASSERT_TRUE(bench.finish(30, false));
    EXPECT_GE(bench.get(Tally::kTimeouts), 4u * 4u);
    EXPECT_GE(bench.get(Tally::kLost) + bench.get(Tally::kUnanswered), 4u * 4u);
    EXPECT_EQ(bench.get(Tally::kReads), 0u);
}

TEST(LoadThread, Replies_NoResp_CountedAndReconnected) {
    Bench bench(small());
    bench.plan.requests = 5000;
    int n = 0;
    bench.target.answer = [&](const resp::ArgumentList&) -> std::optional<std::string> {
        return ++n == 20 ? std::optional<std::string>("HTTP/1.1 400 Bad Request\r\n")
                         : std::nullopt;
    };
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_GE(bench.get(Tally::kWrong), 1u);
    EXPECT_EQ(bench.get(Tally::kReconnects), 1u);
    EXPECT_EQ(bench.stage, Stage::kEnded);
}

TEST(LoadThread, Replies_MoreThanAsked_CountedAsWrong) {
    Bench bench(small());
    bench.plan.requests = 50;
    int n = 0;
    bench.target.answer = [&](const resp::ArgumentList&) -> std::optional<std::string> {
        return ++n == 20 ? std::optional<std::string>("+OK\r\n+OK\r\n") : std::nullopt;
    };
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_GE(bench.get(Tally::kWrong), 1u);
    EXPECT_EQ(bench.stage, Stage::kEnded);
}

TEST(LoadThread, Auth_EachConnection_First) {
    WorkloadOptions options = small();
    options.password = "secret";
    options.user = "bench";
    Bench bench(options);
    bench.plan.requests = 10;
    ASSERT_TRUE(bench.finish(60, false));
    ASSERT_GE(bench.target.names.size(), 14u);
    EXPECT_EQ(std::count(bench.target.names.begin(), bench.target.names.begin() + 4, "AUTH"), 4);
    EXPECT_EQ(bench.get(Tally::kReads) + bench.get(Tally::kWrites), 10u);
    Bench refused(options);
    refused.target.answer = [](const resp::ArgumentList&) -> std::optional<std::string> {
        return "-WRONGPASS invalid\r\n";
    };
    ASSERT_TRUE(refused.finish(60, false));
    EXPECT_EQ(refused.stage, Stage::kFailed);
    EXPECT_NE(refused.failure.find("WRONGPASS"), std::string::npos);
}

TEST(LoadThread, Seed_Same_SameRequests) {
    const auto names = [](uint64_t seed) {
        WorkloadOptions options = small();
        options.reads_percent = 50;
        options.seed = seed;
        Bench bench(options);
        bench.plan.requests = 200;
        EXPECT_TRUE(bench.finish(60, false));
        return bench.target.names;
    };
    EXPECT_EQ(names(5), names(5));
    EXPECT_NE(names(5), names(6));
}

TEST(LoadThread, Stop_WhileRunning_EndsInGoodOrder) {
    Bench bench(small());
    bench.plan.measure_ns = 3600 * kNsPerS;
    bench.each_step = [&](LoadThread& load) {
        if (bench.start_ns != 0 && bench.target.clock_ns > bench.start_ns + kNsPerS / 5)
            load.stop();
    };
    ASSERT_TRUE(bench.finish(2, false));
    EXPECT_EQ(bench.stage, Stage::kEnded);
    EXPECT_GT(bench.get(Tally::kReads), 1000u);
    EXPECT_EQ(bench.get(Tally::kLost), 0u);
}

TEST(LoadThread, Machine_TakesTheCore_TimeAwayIsCounted) {
    Bench bench(small());
    bench.step_ns = 2 * kNsPerUs;
    bench.plan.measure_ns = kNsPerS / 10;
    uint64_t away_ns = 0;
    bench.each_step = [&](LoadThread& load) {
        if (load.stage() != Stage::kRun || bench.target.clock_ns < bench.start_ns + kNsPerMs)
            return;
        if (away_ns >= 5 * kNsPerMs) return;
        bench.target.clock_ns += kNsPerMs;
        away_ns += kNsPerMs;
    };
    ASSERT_TRUE(bench.finish(60, false));
    EXPECT_NEAR(static_cast<double>(bench.get(Tally::kAwayNs)), 5e6, 2e4);
}

}  // namespace
}  // namespace cachee::loadgen
