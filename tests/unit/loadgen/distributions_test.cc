// SPDX-License-Identifier: Apache-2.0
// Draws against what their names promise: seeded, with bounds of several standard deviations.
#include "tools/loadgen/distributions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace cachee::loadgen {
namespace {

constexpr int kDraws = 200000;

std::vector<uint64_t> draw_keys(const char* text, uint64_t keys, uint64_t seed = 1) {
    auto made = KeyDistribution::parse(text, keys);
    EXPECT_TRUE(made) << text;
    base::Rng rng(seed);
    uint64_t cursor = 0;
    std::vector<uint64_t> counts(keys);
    for (int i = 0; i < kDraws; ++i) {
        const uint64_t key = made->draw(rng, cursor);
        EXPECT_LT(key, keys);
        if (key < keys) ++counts[key];
    }
    return counts;
}

std::vector<uint32_t> draw_sizes(const char* text) {
    auto made = SizeDistribution::parse(text);
    EXPECT_TRUE(made) << text;
    base::Rng rng(3);
    std::vector<uint32_t> sizes;
    for (int i = 0; i < kDraws; ++i) sizes.push_back(made->draw(rng));
    std::sort(sizes.begin(), sizes.end());
    EXPECT_GE(sizes.front(), 1u);
    EXPECT_LE(sizes.back(), made->bytes_max());
    return sizes;
}

double share_of(double expected) {  // five standard deviations of a share of kDraws
    return 5 * std::sqrt(expected * (1 - expected) / kDraws);
}

TEST(KeyDistribution, Uniform_AllKeys_EquallyOften) {
    const auto counts = draw_keys("uniform", 100);
    for (const uint64_t count : counts) {
        EXPECT_NEAR(static_cast<double>(count) / kDraws, 0.01, share_of(0.01));
    }
}

TEST(KeyDistribution, Zipf_EachRank_AsOftenAsItsPower) {
    for (const double s : {0.0, 0.5, 0.99, 1.0, 1.5}) {
        const uint64_t keys = 50;
        double sum = 0;
        for (uint64_t k = 1; k <= keys; ++k) sum += std::pow(k, -s);
        const auto counts = draw_keys(("zipf:" + std::to_string(s)).c_str(), keys);
        for (uint64_t k = 1; k <= keys; ++k) {
            const double expected = std::pow(k, -s) / sum;
            EXPECT_NEAR(static_cast<double>(counts[k - 1]) / kDraws, expected, share_of(expected))
                << "s " << s << " rank " << k;
        }
    }
}

TEST(KeyDistribution, Zipf_OneKey_IsThatKey) { EXPECT_EQ(draw_keys("zipf:0.99", 1)[0], kDraws); }

TEST(KeyDistribution, Zipf_ManyKeys_ReachesTheTail) {
    auto made = KeyDistribution::parse("zipf", 1'000'000'000);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->text(), "zipf:0.99");
    base::Rng rng(1);
    uint64_t cursor = 0;
    uint64_t highest = 0;
    for (int i = 0; i < kDraws; ++i) highest = std::max(highest, made->draw(rng, cursor));
    EXPECT_LT(highest, 1'000'000'000u);
    EXPECT_GT(highest, 900'000'000u);
}

TEST(KeyDistribution, Hotspot_HotKeys_GetTheirShare) {
    const auto counts = draw_keys("hotspot:10:90", 100);
    uint64_t hot = 0;
    for (size_t i = 0; i < 10; ++i) hot += counts[i];
    EXPECT_NEAR(static_cast<double>(hot) / kDraws, 0.9, share_of(0.9));
    for (const uint64_t count : counts) EXPECT_GT(count, 0u);
}

TEST(KeyDistribution, Sequential_Draws_WalkAndWrap) {
    auto made = KeyDistribution::parse("sequential", 3);
    ASSERT_TRUE(made);
    base::Rng rng(1);
    uint64_t cursor = 1;
    std::vector<uint64_t> keys;
    for (int i = 0; i < 5; ++i) keys.push_back(made->draw(rng, cursor));
    EXPECT_EQ(keys, (std::vector<uint64_t>{1, 2, 0, 1, 2}));
}

TEST(KeyDistribution, Parse_NoDistribution_SaysWhy) {
    for (const char* text :
         {"", "zip", "zipf:", "zipf:x", "zipf:-1", "zipf:11", "uniform:1", "hotspot", "hotspot:1",
          "hotspot:0:50", "hotspot:101:50", "hotspot:1:101", "zipf:0.9:1", "zipf:nan"}) {
        auto made = KeyDistribution::parse(text, 10);
        ASSERT_FALSE(made) << text;
        EXPECT_FALSE(made.error().message.empty());
    }
    EXPECT_FALSE(KeyDistribution::parse("uniform", 0));
}

TEST(SizeDistribution, Fixed_Draws_AreAllThat) {
    const auto sizes = draw_sizes("64");
    EXPECT_EQ(sizes.front(), 64u);
    EXPECT_EQ(sizes.back(), 64u);
}

TEST(SizeDistribution, Uniform_Draws_CoverTheRange) {
    const auto sizes = draw_sizes("uniform:10:20");
    EXPECT_EQ(sizes.front(), 10u);
    EXPECT_EQ(sizes.back(), 20u);
    EXPECT_EQ(sizes[kDraws / 2], 15u);
}

TEST(SizeDistribution, Lognormal_Percentiles_AreThoseOfTheNormalLaw) {
    const auto sizes = draw_sizes("lognormal:1000:0.5");
    EXPECT_NEAR(sizes[kDraws / 2], 1000, 15);
    EXPECT_NEAR(sizes[static_cast<size_t>(kDraws * 0.8413)], 1000 * std::exp(0.5), 30);
    EXPECT_NEAR(sizes[static_cast<size_t>(kDraws * 0.0228)], 1000 * std::exp(-1.0), 15);
    EXPECT_EQ(draw_sizes("lognormal:1000:2:1500").back(), 1500u);
}

TEST(SizeDistribution, Percentiles_Draws_MeetThePoints) {
    const auto sizes = draw_sizes("percentiles:50=64,90=512,100=4096");
    EXPECT_NEAR(sizes[kDraws / 2], 64, 4);
    EXPECT_NEAR(sizes[kDraws / 4], 32, 3);
    EXPECT_NEAR(sizes[static_cast<size_t>(kDraws * 0.9)], 512, 30);
    EXPECT_GT(sizes.back(), 4000u);
    EXPECT_EQ(draw_sizes("percentiles:0=100,100=200").front(), 100u);
}

TEST(SizeDistribution, Parse_NoDistribution_SaysWhy) {
    for (const char* text :
         {"", "0", "-1", "1.5", "64k", "99999999999", "uniform:5", "uniform:9:5", "uniform:0:5",
          "lognormal:100", "lognormal:100:-1", "lognormal:100:1:50", "percentiles:50=64",
          "percentiles:50=64,40=70,100=80", "percentiles:50=64,100=10",
          "percentiles:", "percentiles:50", "percentiles:101=5"}) {
        auto made = SizeDistribution::parse(text);
        ASSERT_FALSE(made) << text;
        EXPECT_FALSE(made.error().message.empty());
    }
}

TEST(Schedule, Fixed_EqualGapsWithoutDrift) {
    Schedule schedule(3, false, 1000, 1);  // a gap that is no whole number of nanoseconds
    for (uint64_t i = 0; i < 3'000'000; ++i) schedule.advance();
    EXPECT_NEAR(static_cast<double>(schedule.due_ns() - 1000), 1e15, 1e6);
}

TEST(Schedule, Poisson_GapsAreExponential) {
    Schedule schedule(1000, true, 0, 42);
    std::vector<double> gaps;
    uint64_t before = 0;
    for (int i = 0; i < kDraws; ++i) {
        gaps.push_back(static_cast<double>(schedule.due_ns() - before));
        before = schedule.due_ns();
        schedule.advance();
    }
    EXPECT_NEAR(static_cast<double>(before) / kDraws, 1e6, 5e6 / std::sqrt(kDraws));
    std::sort(gaps.begin(), gaps.end());
    EXPECT_NEAR(gaps[kDraws / 2], 1e6 * std::log(2), 2e4);
    EXPECT_NEAR(gaps[static_cast<size_t>(kDraws * 0.99)], 1e6 * std::log(100), 1.5e5);
}

}  // namespace
}  // namespace cachee::loadgen
