// SPDX-License-Identifier: Apache-2.0
// The histogram against exact percentiles.
#include "tools/loadgen/histogram.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace cachee::loadgen {
namespace {

TEST(Histogram, Buckets_AnyValue_LiesInItsBucketWithinOnePercent) {
    base::Rng rng(7);
    for (int i = 0; i < 100000; ++i) {
        const uint64_t value = rng.next() >> (24 + rng.below(40));
        const size_t bucket = bucket_of(value);
        ASSERT_LT(bucket, kBuckets);
        ASSERT_LE(value, bucket_top(bucket)) << value;
        if (bucket > 0) {
            ASSERT_GT(value, bucket_top(bucket - 1)) << value;
        }
        ASSERT_LE(static_cast<double>(bucket_top(bucket)), static_cast<double>(value) * 1.008 + 0.5)
            << value;
    }
}

TEST(Histogram, Buckets_AtPowersOfTwo_Continue) {
    for (unsigned bit = 0; bit < kValueBits; ++bit) {
        const uint64_t value = uint64_t{1} << bit;
        EXPECT_EQ(bucket_of(value), bucket_of(value - 1) + 1) << value;
    }
    EXPECT_EQ(bucket_of(UINT64_MAX), kBuckets - 1);
    EXPECT_EQ(bucket_of((uint64_t{1} << kValueBits) - 1), kBuckets - 1);
}

TEST(Histogram, Percentile_AgainstSortedValues_AtMostOnePercentAbove) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
        base::Rng rng(seed);
        Histogram histogram;
        std::vector<uint64_t> values;
        for (int i = 0; i < 20000; ++i) {
            // From nanoseconds to seconds.
            const uint64_t value = 1 + (rng.next() >> (34 + rng.below(28)));
            values.push_back(value);
            histogram.record(value);
        }
        std::sort(values.begin(), values.end());
        const HistogramView view = histogram.view();
        ASSERT_EQ(view.count(), values.size());
        EXPECT_EQ(view.max(), values.back());
        for (const double percent : {0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
            const auto rank = static_cast<size_t>(
                std::max(1.0, std::ceil(percent / 100 * static_cast<double>(values.size()))));
            const uint64_t exact = values[rank - 1];
            const uint64_t found = view.percentile(percent);
            EXPECT_GE(found, exact) << "seed " << seed << " percent " << percent;
            EXPECT_LE(static_cast<double>(found), static_cast<double>(exact) * 1.008 + 0.5)
                << "seed " << seed << " percent " << percent;
        }
    }
}

TEST(Histogram, Empty_AnyPercentile_IsZero) {
    const HistogramView view = Histogram().view();
    EXPECT_EQ(view.percentile(99), 0u);
    EXPECT_EQ(view.max(), 0u);
    EXPECT_EQ(view.mean(), 0);
}

TEST(Histogram, View_AddAndSubtract_AreInverse) {
    Histogram one;
    Histogram two;
    for (uint64_t i = 0; i < 1000; ++i) one.record(100 + i);
    const HistogramView first = one.view();
    for (uint64_t i = 0; i < 10; ++i) two.record(1'000'000);
    HistogramView both = first;
    both.add(two.view());
    EXPECT_EQ(both.count(), 1010u);
    EXPECT_EQ(both.max(), 1'000'000u);
    EXPECT_NEAR(both.mean(), (1000 * 599.5 + 10 * 1e6) / 1010, 0.01);
    both.subtract(first);
    EXPECT_EQ(both.count(), 10u);
    EXPECT_GE(both.percentile(1), 1'000'000u);
}

TEST(Histogram, Record_BeyondTheRange_KeepsTheTrueMaximum) {
    Histogram histogram;
    const uint64_t hours = uint64_t{1} << 44;
    histogram.record(hours);
    EXPECT_EQ(histogram.view().max(), hours);
    EXPECT_EQ(histogram.view().percentile(50), hours);
}

}  // namespace
}  // namespace cachee::loadgen
