// SPDX-License-Identifier: Apache-2.0
// One line when something begins, none while it goes on, one when it begins again.
#include "bin/warnings.h"

#include <gtest/gtest.h>

#include <memory>

namespace cachee::bin {
namespace {

using stats::Counter;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::steady_clock;

TEST(Warnings, Counter_BeginsToGrow_IsToldOnceUntilItWasQuiet) {
    auto a = std::make_unique<stats::WorkerCounters>();
    auto b = std::make_unique<stats::WorkerCounters>();
    a->add(Counter::tcp_slow_readers, 7);  // of a data plane before this one
    Warnings warnings({a.get(), b.get()});
    const steady_clock::time_point start = steady_clock::now();
    EXPECT_TRUE(warnings.check(start).empty());
    b->add(Counter::tcp_slow_readers);
    const auto lines = warnings.check(start + seconds(1));
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_NE(lines[0].find("tcp_slow_readers is 8"), std::string::npos) << lines[0];
    for (int i = 2; i < 900; ++i) {
        b->add(Counter::tcp_slow_readers);
        ASSERT_TRUE(warnings.check(start + seconds(i)).empty()) << i;
    }
    EXPECT_TRUE(warnings.check(start + minutes(30)).empty());
    a->add(Counter::tcp_slow_readers);
    a->add(Counter::tcp_cookies_sent);
    EXPECT_EQ(warnings.check(start + minutes(31)).size(), 2u);
}

}  // namespace
}  // namespace cachee::bin
