// SPDX-License-Identifier: Apache-2.0
// Tests that docs/METRICS.md is what src/stats/counters.h says, and that the lists are usable as
// they stand.
#include "stats/metrics_doc.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace cachee::stats {
namespace {

TEST(MetricsDoc, File_Compared_IsCurrent) {
    std::ifstream file(CACHEE_SOURCE_DIR "/docs/METRICS.md");
    ASSERT_TRUE(file);
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_EQ(text.str(), metrics_markdown())
        << "run build/src/stats/metrics_doc > docs/METRICS.md";
}

TEST(Counters, Lists_EveryEntry_IsDescribedOnce) {
    for (const std::span<const CounterInfo> list :
         {std::span<const CounterInfo>(kWorkerCounters),
          std::span<const CounterInfo>(kControlCounters)}) {
        std::set<std::string_view> names;
        for (const CounterInfo& counter : list) {
            EXPECT_TRUE(names.insert(counter.name).second) << counter.name;
            EXPECT_FALSE(counter.unit.empty()) << counter.name;
            EXPECT_FALSE(counter.meaning.empty()) << counter.name;
            EXPECT_EQ(counter.meaning.find_first_of("|\n"), std::string_view::npos) << counter.name;
        }
    }
}

}  // namespace
}  // namespace cachee::stats
