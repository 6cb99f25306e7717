// SPDX-License-Identifier: Apache-2.0
// INFO out of a real control segment: sums over workers, sections, and the keys that tools read.
// Test code.
#include "dataplane/info.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "shm/segment.h"

namespace cachee::dataplane::test {
namespace {

using stats::Counter;

class Info : public testing::Test {
  protected:
    Info() {
        shm::SegmentOptions options;
        options.worker_count = 2;
        options.ring_entries = 16;
        options.ring_data_bytes = 4096;
        auto created = shm::Segment::create("test-info-" + std::to_string(getpid()), options);
        CACHEE_ASSERT(created.has_value());
        segment_ = std::move(created).value();
        source_.header = segment_->header();
        source_.workers = segment_->worker(0);
        source_.config = &config_;
        source_.now_ns = 100 * base::kNsPerS;
        source_.wall_ms = 1'700'000'000'123;
        segment_->header()->dataplane_started_ns = 10 * base::kNsPerS;
        segment_->header()->l1_bytes = 64 << 20;
    }
    ~Info() override { segment_->unlink(); }

    std::string text(std::vector<std::string_view> sections = {}) {
        std::string out;
        append_info(sections, source_, out);
        return out;
    }

    // Every line that is not a title, as redis_exporter reads them; fails on one it could not.
    std::map<std::string, std::string> fields(const std::string& info) {
        std::map<std::string, std::string> result;
        for (size_t at = 0; at < info.size();) {
            const size_t end = info.find("\r\n", at);
            if (end == std::string::npos) {
                ADD_FAILURE() << "no line end after byte " << at;
                break;
            }
            const std::string line = info.substr(at, end - at);
            at = end + 2;
            if (line.empty() || line[0] == '#') {
                continue;
            }
            const size_t colon = line.find(':');
            EXPECT_NE(colon, std::string::npos) << line;
            EXPECT_TRUE(result.emplace(line.substr(0, colon), line.substr(colon + 1)).second)
                << "twice: " << line;
        }
        return result;
    }

    config::Config config_;
    std::unique_ptr<shm::Segment> segment_;
    InfoSource source_;
};

TEST_F(Info, TwoWorkers_AreSummed) {
    segment_->worker(0)->counters.set(Counter::requests, 100);
    segment_->worker(1)->counters.set(Counter::requests, 23);
    segment_->worker(0)->counters.set(Counter::l1_hits, 30);
    segment_->worker(1)->counters.set(Counter::l1_misses, 10);
    segment_->worker(0)->counters.set(Counter::l1_items, 4);
    segment_->worker(1)->counters.set(Counter::l1_items, 5);
    segment_->worker(1)->counters.set(Counter::l1_bytes_used, 3 << 20);
    segment_->worker(0)->sessions = 2;
    segment_->worker(1)->sessions = 1;
    auto f = fields(text());
    EXPECT_EQ(f["total_commands_processed"], "123");
    EXPECT_EQ(f["keyspace_hits"], "30");
    EXPECT_EQ(f["keyspace_misses"], "10");
    EXPECT_EQ(f["l1_hit_ratio"], "0.7500");
    EXPECT_EQ(f["db0"], "keys=9,expires=0,avg_ttl=0");
    EXPECT_EQ(f["connected_clients"], "3");
    EXPECT_EQ(f["used_memory"], "3145728");
    EXPECT_EQ(f["used_memory_human"], "3.00M");
    EXPECT_EQ(f["maxmemory"], "67108864");
    EXPECT_EQ(f["uptime_in_seconds"], "90");
    EXPECT_EQ(f["redis_version"], "7.2.4");
    EXPECT_EQ(f["role"], "master");
    EXPECT_EQ(f["requests"], "123");
    EXPECT_EQ(f["run_id"].size(), 40U);
}

TEST_F(Info, EmptyCache_HasNoDatabaseLineAndNoDivisionByZero) {
    auto f = fields(text());
    EXPECT_EQ(f.count("db0"), 0U);
    EXPECT_EQ(f["l1_hit_ratio"], "0.0000");
}

TEST_F(Info, SectionNames_Choose) {
    EXPECT_TRUE(text({"KEYSPACE"}) == "# Keyspace\r\n");
    const std::string two = text({"replication", "clients"});
    EXPECT_TRUE(two.starts_with("# Clients\r\n"));
    EXPECT_NE(two.find("\r\n\r\n# Replication\r\n"), std::string::npos);
    EXPECT_EQ(two.find("# Server"), std::string::npos);
    EXPECT_EQ(text({"nosuch"}), "");
    const auto count = [this](std::string_view name) { return fields(text({name})).size(); };
    EXPECT_EQ(count("ALL"), fields(text()).size());
    EXPECT_EQ(count("everything"), fields(text()).size());
    EXPECT_EQ(text({"cachee"}).find("# Cachee\r\n"), 0U);
}

TEST_F(Info, L2State_NamesTheCause) {
    shm::ControlHeader& header = *segment_->header();
    EXPECT_EQ(fields(text())["l2_state"], "no-control-plane");
    header.controlplane_state = static_cast<uint32_t>(shm::PlaneState::kRunning);
    EXPECT_EQ(fields(text())["l2_state"], "disconnected");
    header.control_counters.set(stats::ControlCounter::l2_connected, 1);
    EXPECT_EQ(fields(text())["l2_state"], "connected");
    segment_->worker(0)->lease_until_ns = source_.now_ns + 200 * base::kNsPerMs;
    segment_->worker(1)->lease_until_ns = source_.now_ns + 50 * base::kNsPerMs;
    EXPECT_EQ(fields(text())["lease_ms_left"], "50");
    segment_->worker(1)->lease_until_ns = 1;
    EXPECT_EQ(fields(text())["lease_ms_left"], "0");
    header.standalone = 1;
    auto f = fields(text());
    EXPECT_EQ(f["l2_state"], "standalone");
    EXPECT_EQ(f.count("lease_ms_left"), 0U);
}

TEST_F(Info, DamagedSharedMemory_IsBounded) {
    shm::ControlHeader& header = *segment_->header();
    std::memset(header.l2_backend, '\n', sizeof header.l2_backend);  // no NUL, and line ends
    std::memset(header.driver, 'd', sizeof header.driver);
    auto f = fields(text());
    EXPECT_EQ(f["l2_backend"], std::string(sizeof header.l2_backend, ' '));
    EXPECT_EQ(f["driver"], std::string(sizeof header.driver, 'd'));
}

}  // namespace
}  // namespace cachee::dataplane::test
