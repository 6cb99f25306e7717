// SPDX-License-Identifier: Apache-2.0
// What the CLI concludes from a control segment about the two planes.
#include "tools/cachee/snapshot.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace cachee::cli {
namespace {

constexpr uint64_t kNow = 100'000'000'000;

// The number of a process that existed and is gone.
uint32_t dead_pid() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    return static_cast<uint32_t>(child);
}

class SnapshotTest : public ::testing::Test {
  protected:
    SnapshotTest() {
        auto created = shm::Segment::create(name_, {.worker_count = 2});
        CACHEE_ASSERT(created.has_value());
        segment_ = std::move(created).value();
        set_dataplane(shm::PlaneState::kRunning, static_cast<uint32_t>(::getpid()));
        for (uint32_t i = 0; i < 2; ++i) segment_->worker(i)->heartbeat_ns = kNow;
    }
    ~SnapshotTest() override { segment_->unlink(); }

    void set_dataplane(shm::PlaneState state, uint32_t pid) {
        segment_->header()->dataplane_state = static_cast<uint32_t>(state);
        segment_->header()->dataplane_pid = pid;
    }
    void set_controlplane(shm::PlaneState state, uint32_t pid, uint64_t heartbeat_ns) {
        segment_->header()->controlplane_state = static_cast<uint32_t>(state);
        segment_->header()->controlplane_pid = pid;
        segment_->header()->controlplane_heartbeat_ns = heartbeat_ns;
    }
    Snapshot take() { return take_snapshot(*segment_, kNow); }

    std::string name_ = "cli-test-" + std::to_string(::getpid());
    std::unique_ptr<shm::Segment> segment_;
};

TEST_F(SnapshotTest, DataplaneHealth_FreshHeartbeat_IsRunning) {
    EXPECT_EQ(dataplane_health(take()), Health::kRunning);
    EXPECT_EQ(dataplane_fault(take(), name_), "");
}

TEST_F(SnapshotTest, DataplaneHealth_ProcessGone_IsDeadAndSaysWhichProcess) {
    const uint32_t pid = dead_pid();
    set_dataplane(shm::PlaneState::kRunning, pid);
    EXPECT_EQ(dataplane_health(take()), Health::kDead);
    const std::string fault = dataplane_fault(take(), name_);
    EXPECT_NE(fault.find(std::to_string(pid)), std::string::npos) << fault;
    EXPECT_NE(fault.find("start it with"), std::string::npos) << fault;
    set_dataplane(shm::PlaneState::kStarting, pid);
    EXPECT_EQ(dataplane_health(take()), Health::kDead);
}

TEST_F(SnapshotTest, DataplaneHealth_Zombie_IsDead) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    siginfo_t info{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
    set_dataplane(shm::PlaneState::kRunning, static_cast<uint32_t>(child));
    EXPECT_EQ(dataplane_health(take()), Health::kDead);
    ::waitpid(child, nullptr, 0);
}

TEST_F(SnapshotTest, DataplaneHealth_OneWorkerSilent_IsStuck) {
    segment_->worker(1)->heartbeat_ns = kNow - kHeartbeatStaleNs - 1;
    EXPECT_EQ(dataplane_health(take()), Health::kStuck);
    segment_->worker(1)->heartbeat_ns = kNow - kHeartbeatStaleNs;
    EXPECT_EQ(dataplane_health(take()), Health::kRunning);
    segment_->worker(1)->heartbeat_ns = kNow + 5;  // written after the snapshot's time was taken
    EXPECT_EQ(dataplane_health(take()), Health::kRunning);
}

TEST_F(SnapshotTest, DataplaneHealth_StatesWithoutALoop_AreNamed) {
    set_dataplane(shm::PlaneState::kStopped, dead_pid());
    EXPECT_EQ(dataplane_health(take()), Health::kStopped);
    set_dataplane(shm::PlaneState::kStarting, static_cast<uint32_t>(::getpid()));
    EXPECT_EQ(dataplane_health(take()), Health::kStarting);
    set_dataplane(static_cast<shm::PlaneState>(77), static_cast<uint32_t>(::getpid()));
    EXPECT_EQ(dataplane_health(take()), Health::kAbsent);
}

TEST_F(SnapshotTest, DataplaneHealth_ProcessNumbersThatAreNone_AreNoProcess) {
    for (const uint32_t pid : {0U, UINT32_MAX, uint32_t{INT32_MAX} + 1}) {
        set_dataplane(shm::PlaneState::kRunning, pid);
        EXPECT_EQ(dataplane_health(take()), Health::kDead) << pid;
    }
}

TEST_F(SnapshotTest, ControlplaneHealth_EachState_IsJudged) {
    const auto self = static_cast<uint32_t>(::getpid());
    EXPECT_EQ(controlplane_health(take()), Health::kAbsent);
    set_controlplane(shm::PlaneState::kRunning, self, kNow - 1000);
    EXPECT_EQ(controlplane_health(take()), Health::kRunning);
    set_controlplane(shm::PlaneState::kRunning, self, kNow - kHeartbeatStaleNs - 1);
    EXPECT_EQ(controlplane_health(take()), Health::kStuck);
    set_controlplane(shm::PlaneState::kRunning, dead_pid(), kNow);
    EXPECT_EQ(controlplane_health(take()), Health::kDead);
    set_controlplane(shm::PlaneState::kStopped, dead_pid(), kNow);
    EXPECT_EQ(controlplane_health(take()), Health::kStopped);
}

TEST_F(SnapshotTest, TakeSnapshot_CountersOfAllWorkers_AreSummed) {
    segment_->worker(0)->counters.set(stats::Counter::requests, 40);
    segment_->worker(1)->counters.set(stats::Counter::requests, 2);
    segment_->worker(1)->sessions = 7;
    segment_->worker(0)->lease_until_ns = kNow + 50;
    segment_->worker(1)->lease_until_ns = kNow - 30;
    const Snapshot snapshot = take();
    EXPECT_EQ(snapshot.sum(stats::Counter::requests), 42U);
    EXPECT_EQ(snapshot.sessions(), 7U);
    EXPECT_EQ(snapshot.lease_left_ns(), -30);
}

TEST_F(SnapshotTest, TakeSnapshot_TextWithoutEnd_IsBounded) {
    std::memset(segment_->header()->driver, 'x', sizeof segment_->header()->driver);
    EXPECT_EQ(take().driver, std::string(sizeof segment_->header()->driver, 'x'));
}

TEST_F(SnapshotTest, TakeSnapshot_RingPositionsOutOfStep_GiveABoundedCount) {
    segment_->worker(0)->events.head = 5;
    segment_->worker(0)->events.tail = 9;
    EXPECT_EQ(take().workers[0].events_queued, 0U);
    segment_->worker(0)->events.head = UINT64_MAX;
    EXPECT_EQ(take().workers[0].events_queued, take().workers[0].ring_entries);
}

TEST_F(SnapshotTest, TakeSnapshot_AfterAnotherDataplaneStarted_IsNotCurrent) {
    EXPECT_TRUE(take().is_current);
    auto second = shm::Segment::create(name_, {});
    ASSERT_TRUE(second);
    EXPECT_FALSE(take().is_current);
}

}  // namespace
}  // namespace cachee::cli
