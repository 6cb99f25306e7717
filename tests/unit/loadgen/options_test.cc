// SPDX-License-Identifier: Apache-2.0
// The command line: what is refused and in which words, and how requests are written.
#include "tools/loadgen/options.h"

#include <gtest/gtest.h>

#include "resp/parser.h"
#include "tools/loadgen/report.h"

namespace cachee::loadgen {
namespace {

// The error text of a command line; empty: it is right.
std::string error_of(std::vector<std::string> arguments, Options* out = nullptr) {
    CLI::App app;
    Options options;
    add_options(app, options);
    std::reverse(arguments.begin(), arguments.end());
    try {
        app.parse(arguments);
    } catch (const CLI::ParseError& error) {
        return std::string("usage: ") + error.what();
    }
    if (auto status = complete(options); !status) return status.error().message;
    auto workload = Workload::make(options.workload);
    if (!workload) return workload.error().message;
    if (out != nullptr) *out = options;
    return "";
}

TEST(Options, TargetAlone_IsEnough) {
    Options options;
    EXPECT_EQ(error_of({"127.0.0.1:6379"}, &options), "");
    EXPECT_EQ(options.network.connections, 50u);
    EXPECT_EQ(options.network.driver, "socket");
}

TEST(Options, Wrong_NamesTheOption) {
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{}, "TARGET"},
        {{"h:1", "--connections", "0"}, "--connections"},
        {{"h:1", "--pipeline", "5000"}, "--pipeline"},
        {{"h:1", "--threads", "65"}, "--threads"},
        {{"h:1", "-t", "4", "-c", "3"}, "--threads 4"},
        {{"h:1", "-t", "2", "--cores", "1"}, "--cores names 1"},
        {{"h:1", "--rate", "-5"}, "--rate"},
        {{"h:1", "--arrivals", "never"}, "--arrivals"},
        {{"h:1", "--seconds", "0"}, "--seconds"},
        {{"h:1", "--keys", "0"}, "--keys"},
        {{"h:1", "--keys", "1000000000000"}, "--keys"},
        {{"h:1", "--distribution", "gauss"}, "--distribution"},
        {{"h:1", "--value-bytes", "many"}, "--value-bytes"},
        {{"h:1", "--reads", "101"}, "--reads"},
        {{"h:1", "--mget", "1025"}, "--mget"},
        {{"h:1", "--ttl-ms", "5:3"}, "--ttl-ms"},
        {{"h:1", "--ttl-ms", "0"}, "--ttl-ms"},
        {{"h:1", "--ttl-ms", "5s"}, "--ttl-ms"},
        {{"h:1", "--user", "me"}, "--user"},
        {{"h:1", "--driver", "rdma"}, "--driver"},
        {{"h:1", "--driver", "dpdk"}, "--device"},
        {{"h:1", "--device", "net_tap0"}, "--device"},
        {{"h:1", "--memif", "/x", "--device", "net_tap0"}, "--memif"},
        {{"h:1", "--memif", "/x"}, "--local-ip"},
        {{"h:1", "--driver", "dpdk", "--device", "net_tap0", "--local-ip", "10.0.0.2", "-t", "2"},
         "threads"},
        {{"h:1", "--protocol", "http"}, "--protocol"},
        {{"h:1", "--protocol", "memcached", "--mget", "2", "--verify"}, "--verify"},
        {{"h:1", "--frobnicate"}, "--frobnicate"},
    };
    for (const auto& [arguments, expected] : cases) {
        const std::string error = error_of(arguments);
        EXPECT_NE(error.find(expected), std::string::npos)
            << "\"" << error << "\" does not name " << expected;
    }
}

TEST(Options, Memif_IsADeviceOfTheDpdkDriver) {
    Options options;
    ASSERT_EQ(error_of({"10.9.0.1:6379", "--memif", "/run/x.sock", "--local-ip", "10.9.0.2", "-t",
                        "2", "--no-hugepages"},
                       &options),
              "");
    EXPECT_EQ(options.network.driver, "dpdk");
    EXPECT_EQ(options.network.dpdk.device,
              "net_memif0,role=client,socket-abstract=no,socket=/run/x.sock");
    EXPECT_FALSE(options.network.dpdk.hugepages);
}

std::vector<std::string> written(const Workload& workload, const Request& request) {
    std::string buffer(workload.bytes_max(request), '\0');
    auto* const begin = reinterpret_cast<uint8_t*>(buffer.data());
    buffer.resize(static_cast<size_t>(workload.write(request, begin) - begin));
    resp::ParseState state;
    resp::ArgumentList arguments;
    const auto parsed = resp::parse_command(buffer, resp::Limits{}, state, arguments);
    EXPECT_EQ(parsed.status, resp::ParseStatus::kComplete);
    EXPECT_EQ(parsed.consumed, buffer.size());
    return {arguments.begin(), arguments.end()};
}

TEST(Workload, Requests_Written_AreWhatTheySay) {
    WorkloadOptions options;
    options.keys = 1000;
    options.mget_keys = 3;
    options.distribution = "sequential";
    options.ttl_ms = "100:200";
    options.value_bytes = "uniform:1:5000";
    auto workload = Workload::make(options);
    ASSERT_TRUE(workload);
    base::Rng rng(1);
    const auto get = written(*workload, Request{.command = Command::kGet, .key = 42});
    EXPECT_EQ(get, (std::vector<std::string>{"GET", "key:000000000042"}));
    const auto mget = written(*workload, Request{.command = Command::kMget, .key = 998});
    EXPECT_EQ(mget, (std::vector<std::string>{"MGET", "key:000000000998", "key:000000000999",
                                              "key:000000000000"}));
    for (uint64_t key = 0; key < 1000; ++key) {
        const auto set = written(*workload, workload->set_of(key, rng));
        ASSERT_EQ(set.size(), 5u);
        EXPECT_EQ(set[2].size(), workload->value_bytes(key));
        EXPECT_EQ(set[3], "PX");
        EXPECT_GE(std::stoi(set[4]), 100);
        EXPECT_LE(std::stoi(set[4]), 200);
        const auto* bytes = reinterpret_cast<const uint8_t*>(set[2].data());
        EXPECT_TRUE(workload->matches(key, 0, bytes, set[2].size()));
        const size_t half = set[2].size() / 2;
        EXPECT_TRUE(workload->matches(key, half, bytes + half, set[2].size() - half));
        if (set[2].size() > 4) {
            EXPECT_FALSE(workload->matches(key + 1, 0, bytes, set[2].size()));
        }
    }
}

TEST(Workload, Next_Mix_FollowsTheShareOfReads) {
    WorkloadOptions options;
    options.reads_percent = 75;
    auto workload = Workload::make(options);
    ASSERT_TRUE(workload);
    base::Rng rng(9);
    uint64_t cursor = 0;
    int reads = 0;
    for (int i = 0; i < 100000; ++i) {
        if (workload->next(rng, cursor).command == Command::kGet) ++reads;
    }
    EXPECT_NEAR(reads, 75000, 700);
}

TEST(Report, Text_EveryKindOfError_Named) {
    StatsList stats;
    stats.push_back(std::make_unique<ThreadStats>());
    stats[0]->read_ns.record(1'620'000);
    stats[0]->last_reply_ns.store(3'000'000'000);
    stats[0]->add(Tally::kReads);
    Options options;
    ASSERT_EQ(error_of({"h:1"}, &options), "");
    Report clean = make_report(stats, 1'000'000'000);
    EXPECT_TRUE(clean.good());
    EXPECT_EQ(clean.seconds, 2.0);
    EXPECT_NE(report_text(clean, options).find("errors   none"), std::string::npos);
    EXPECT_NE(report_text(clean, options).find("1.62 ms"), std::string::npos);
    stats[0]->add_error("OOM too much");
    stats[0]->add(Tally::kTimeouts);
    stats[0]->add(Tally::kUnanswered, 12345);
    const Report report = make_report(stats, 1'000'000'000);
    EXPECT_FALSE(report.good());
    const std::string text = report_text(report, options);
    for (const char* part :
         {"1 error replies OOM", "1 timeouts", "12,345 requests never answered"}) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    }
    const std::string json = report_json(report, options);
    EXPECT_NE(json.find("\"kinds\":{\"OOM\":1}"), std::string::npos) << json;
    EXPECT_NE(json.find("\"good\":false"), std::string::npos) << json;
}

TEST(Report, NothingMeasured_IsNotGood) {
    StatsList stats;
    stats.push_back(std::make_unique<ThreadStats>());
    EXPECT_FALSE(make_report(stats, 0).good());
}

}  // namespace
}  // namespace cachee::loadgen
