// SPDX-License-Identifier: Apache-2.0
// The clock that deadlines are judged by is never behind CLOCK_MONOTONIC, and hardly ahead of it.
#include "client/tsc_clock.h"

#include <gtest/gtest.h>

namespace cachee::client {
namespace {

TEST(TscClock, BesideTheSystemsClock_NeverBehindAndHardlyAhead) {
    TscClock clock;
    const uint64_t end_ns = base::monotonic_ns() + 150 * base::kNsPerMs;
    uint64_t readings = 0;
    uint64_t behind = 0;
    uint64_t far_ahead = 0;
    uint64_t before_ns = base::monotonic_ns();
    while (before_ns < end_ns) {
        const uint64_t now_ns = clock.now_ns();
        const uint64_t after_ns = base::monotonic_ns();
        ++readings;
        if (now_ns + 1 < before_ns) ++behind;
        // A scheduler may stop this thread between the two; most of the time it does not.
        if (now_ns > after_ns + 20 * base::kNsPerUs) ++far_ahead;
        before_ns = after_ns;
    }
    EXPECT_GT(readings, 10'000U);
    EXPECT_EQ(behind, 0U);
    EXPECT_LT(far_ahead, readings / 100 + 1);
}

}  // namespace
}  // namespace cachee::client
