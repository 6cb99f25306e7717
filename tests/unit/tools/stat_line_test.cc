// SPDX-License-Identifier: Apache-2.0
// A line of `cachee stat` computed from two snapshots.
#include "tools/cachee/stat_line.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace cachee::cli {
namespace {

using stats::Counter;

Snapshot snapshot_at(uint64_t taken_ns, size_t workers) {
    Snapshot snapshot;
    snapshot.taken_ns = taken_ns;
    snapshot.workers.resize(workers);
    for (WorkerSnapshot& worker : snapshot.workers) worker.heartbeat_ns = taken_ns;
    snapshot.dataplane_state = shm::PlaneState::kRunning;
    snapshot.dataplane_process_exists = true;
    return snapshot;
}

void set(Snapshot& snapshot, size_t worker, Counter id, uint64_t value) {
    snapshot.workers[worker].counters[static_cast<size_t>(id)] = value;
}

TEST(StatLine, TwoSnapshots_RatesAreOverTheTimeBetween) {
    Snapshot before = snapshot_at(1'000'000'000, 2);
    Snapshot after = snapshot_at(3'000'000'000, 2);
    set(before, 0, Counter::requests, 100);
    set(after, 0, Counter::requests, 1100);
    set(after, 1, Counter::requests, 3000);
    set(after, 0, Counter::l1_hits, 90);
    set(after, 1, Counter::l1_misses, 30);
    set(after, 0, Counter::cycles_busy, 25);
    set(after, 0, Counter::cycles_idle, 75);
    set(after, 1, Counter::invalidations, 8);
    set(after, 0, Counter::l1_bytes_used, 10);
    set(after, 0, Counter::l1_bytes_total, 40);
    set(after, 1, Counter::l1_bytes_total, 60);
    set(after, 0, Counter::l1_pinned_segments, 2);
    set(after, 1, Counter::l1_pinned_segments, 1);
    after.workers[0].sessions = 3;
    after.workers[1].sessions = 4;
    after.workers[1].parked = 2;
    const StatLine line = compute_stat(before, after);
    EXPECT_DOUBLE_EQ(line.seconds, 2);
    EXPECT_DOUBLE_EQ(line.requests, 2000);
    EXPECT_DOUBLE_EQ(line.hit_percent, 75);
    EXPECT_DOUBLE_EQ(line.l1_fill_percent, 10);
    EXPECT_EQ(line.l1_pinned_segments, 3U);
    ASSERT_EQ(line.busy_percent.size(), 2U);
    EXPECT_DOUBLE_EQ(line.busy_percent[0], 25);
    EXPECT_LT(line.busy_percent[1], 0) << "no cycles counted: not known";
    EXPECT_DOUBLE_EQ(line.invalidations, 4);
    EXPECT_EQ(line.sessions, 7U);
    EXPECT_EQ(line.parked, 2U);
    EXPECT_EQ(line.dataplane, Health::kRunning);
    EXPECT_EQ(line.controlplane, Health::kAbsent);
}

TEST(StatLine, NothingHappened_PercentagesAreNotKnown) {
    const StatLine line = compute_stat(snapshot_at(0, 1), snapshot_at(1'000'000'000, 1));
    EXPECT_DOUBLE_EQ(line.requests, 0);
    EXPECT_LT(line.hit_percent, 0);
    EXPECT_LT(line.l1_fill_percent, 0);
    EXPECT_LT(line.l2_p50_us, 0);
    const std::string text = stat_text(line, false);
    EXPECT_NE(text.find('-'), std::string::npos);
    EXPECT_NE(stat_json(line, 5).find("\"hit_percent\":null"), std::string::npos);
}

TEST(StatLine, CountersWentBack_RateIsZero) {
    Snapshot before = snapshot_at(0, 1);
    set(before, 0, Counter::requests, 500);
    EXPECT_DOUBLE_EQ(compute_stat(before, snapshot_at(1'000'000'000, 1)).requests, 0);
}

TEST(StatLine, SameMoment_DividesByNothing) {
    Snapshot after = snapshot_at(0, 1);
    set(after, 0, Counter::requests, 500);
    EXPECT_DOUBLE_EQ(compute_stat(snapshot_at(0, 1), after).requests, 0);
}

TEST(StatLine, WorkerCountChanged_ComparesWhatBothHave) {
    EXPECT_EQ(compute_stat(snapshot_at(0, 1), snapshot_at(1, 4)).busy_percent.size(), 1U);
}

TEST(StatText, WithoutColours_HasNoEscapeAndFitsTheHeader) {
    StatLine line = compute_stat(snapshot_at(0, 2), snapshot_at(1'000'000'000, 2));
    const std::string plain = stat_text(line, false);
    EXPECT_EQ(plain.find('\x1b'), std::string::npos);
    // The state of the data plane stands under its heading.
    EXPECT_EQ(plain.find("running"), stat_header().find("dataplane")) << plain;
    EXPECT_NE(stat_text(line, true).find("\x1b[31m"), std::string::npos)
        << "absent control plane: red";
}

TEST(StatText, Standalone_AbsentControlPlaneIsNotAFault) {
    Snapshot after = snapshot_at(1'000'000'000, 1);
    after.standalone = true;
    const std::string text = stat_text(compute_stat(snapshot_at(0, 1), after), true);
    EXPECT_EQ(text.find("\x1b[31m"), std::string::npos);
    EXPECT_NE(text.find("none"), std::string::npos);
}

TEST(StatText, ManyWorkers_ShowsMeanAndMaximum) {
    StatLine line;
    line.busy_percent = {10, 20, 90};
    EXPECT_NE(stat_text(line, false).find("40<90"), std::string::npos);
}

}  // namespace
}  // namespace cachee::cli
