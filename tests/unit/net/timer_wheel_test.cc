// SPDX-License-Identifier: Apache-2.0
#include "net/timer_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "base/rng.h"

namespace cachee::net {
namespace {

TEST(TimerWheel, Advance_RandomTimers_FireOnTheirTick) {
    for (uint32_t start : {0u, 200u, 65'400u, 0xfffffff0u}) {
        base::Rng rng(start + 1);
        TimerWheel wheel(1000);
        wheel.start(start);
        std::map<uint32_t, uint32_t> expected;  // id -> ticks after start
        for (uint32_t id = 0; id < 1000; ++id) {
            const uint32_t delay =
                static_cast<uint32_t>(1 + rng.below(id % 3 == 0 ? 200'000 : 700));
            wheel.arm(id, start + delay);
            expected[id] = delay;
        }
        for (uint32_t id = 0; id < 1000; id += 5) {
            wheel.cancel(id);
            expected.erase(id);
        }
        for (uint32_t t = 0; t <= 200'000; ++t) {
            wheel.advance(start + t, 1'000'000, [&](uint32_t id) {
                ASSERT_EQ(expected.at(id), t);
                expected.erase(id);
            });
        }
        EXPECT_TRUE(expected.empty()) << expected.size() << " never fired";
    }
}

TEST(TimerWheel, Advance_SmallBudget_FiresTheRestLater) {
    TimerWheel wheel(100);
    for (uint32_t id = 0; id < 100; ++id) wheel.arm(id, 300);  // goes through level 1
    std::vector<int> fired(100);
    int calls = 0;
    uint32_t total = 0;
    while (total < 100 && calls < 1000) {
        total += wheel.advance(301, 7, [&](uint32_t id) { ++fired[id]; });
        ++calls;
    }
    for (int count : fired) EXPECT_EQ(count, 1);
    EXPECT_GE(calls, 200 / 7);
}

TEST(TimerWheel, Arm_FromItsOwnCallback_FiresAtALaterTick) {
    TimerWheel wheel(1);
    wheel.arm(0, 5);
    int fired = 0;
    for (uint32_t t = 0; t < 10; ++t) {
        wheel.advance(t, 100, [&](uint32_t id) {
            ++fired;
            wheel.arm(id, t);  // in the past: the next tick
        });
    }
    EXPECT_EQ(fired, 5);
}

TEST(TimerWheel, Advance_LongSilence_StillFiresOnce) {
    TimerWheel wheel(2);
    wheel.arm(0, 10);
    wheel.arm(1, 1'000'000);
    int fired = 0;
    for (int i = 0; i < 40; ++i) wheel.advance(2'000'000, 100, [&](uint32_t) { ++fired; });
    EXPECT_EQ(fired, 2);
    EXPECT_FALSE(wheel.armed(0));
}

}  // namespace
}  // namespace cachee::net
