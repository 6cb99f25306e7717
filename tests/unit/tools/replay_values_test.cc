// SPDX-License-Identifier: Apache-2.0
// How the replayer makes values and judges what comes back.
#include <gtest/gtest.h>

#include "tools/cachee/replay.h"

namespace cachee::cli {
namespace {

constexpr uint64_t kSeed = 7;

std::string value_of(uint64_t key, uint32_t version, uint32_t size) {
    std::string value;
    derive_value(key, version, kSeed, size, value);
    return value;
}

KeyState present(uint32_t version, uint32_t size) {
    KeyState state;
    state.knowledge = KeyKnowledge::kPresent;
    state.version = version;
    state.value_bytes = size;
    return state;
}

Verdict verdict(const KeyState& state, std::string_view value, uint64_t sent_ms = 100,
                uint64_t received_ms = 101) {
    return judge(state, 1, kSeed, value, sent_ms, received_ms).verdict;
}

TEST(KeyText, Padding_ReachesTheSizeAndNeverCuts) {
    EXPECT_EQ(key_text("", 42, 0), "42");
    EXPECT_EQ(key_text("", 42, 5), "42...");
    EXPECT_EQ(key_text("p:", 42, 3), "p:42");
    EXPECT_EQ(key_text("", 1, UINT32_MAX).size(), kKeyBytesMax);
}

TEST(DeriveValue, SameInput_SameBytes) {
    EXPECT_EQ(value_of(1, 2, 1000), value_of(1, 2, 1000));
    EXPECT_NE(value_of(1, 2, 1000), value_of(1, 3, 1000));
    EXPECT_NE(value_of(1, 2, 1000), value_of(2, 2, 1000));
    for (uint32_t size : {0U, 1U, 15U, 16U, 17U, 24U, 4096U})
        EXPECT_EQ(value_of(1, 2, size).size(), size);
}

TEST(VersionOfValue, OwnValue_IsRecognised) {
    EXPECT_EQ(version_of_value(value_of(9, 5, 100), 9, kSeed), 5U);
    EXPECT_EQ(version_of_value(value_of(9, 5, 100), 8, kSeed), 0U) << "another key's";
    EXPECT_EQ(version_of_value(value_of(9, 5, 100), 9, kSeed + 1), 0U) << "another seed's";
    EXPECT_EQ(version_of_value(value_of(9, 5, 15), 9, kSeed), 0U) << "too short to tell";
    std::string damaged = value_of(9, 5, 100);
    damaged.back() = static_cast<char>(~damaged.back());
    EXPECT_EQ(version_of_value(damaged, 9, kSeed), 0U);
}

TEST(Judge, PresentKey_EveryKindOfAnswer) {
    EXPECT_EQ(verdict(present(3, 100), value_of(1, 3, 100)), Verdict::kGood);
    EXPECT_EQ(verdict(present(3, 100), value_of(1, 2, 100)), Verdict::kStale);
    EXPECT_EQ(verdict(present(3, 100), value_of(2, 3, 100)), Verdict::kCorrupt);
    EXPECT_EQ(verdict(present(3, 100), value_of(1, 3, 99)), Verdict::kStale)
        << "a right value of another size";
    EXPECT_EQ(verdict(present(3, 100), ""), Verdict::kCorrupt);
    EXPECT_EQ(verdict(present(3, 100), {}), Verdict::kMissing);
    EXPECT_EQ(verdict(present(3, 0), ""), Verdict::kGood) << "an empty value is a value";
    EXPECT_EQ(verdict(present(3, 4), value_of(1, 2, 4)), Verdict::kCorrupt)
        << "too short to name its version";
}

TEST(Judge, DeletedKey_AnyValueIsWrong) {
    KeyState state = present(3, 100);
    state.knowledge = KeyKnowledge::kAbsent;
    EXPECT_EQ(verdict(state, {}), Verdict::kGone);
    EXPECT_EQ(verdict(state, value_of(1, 3, 100)), Verdict::kStale);
    EXPECT_EQ(verdict(state, "garbage of some length"), Verdict::kCorrupt);
}

TEST(Judge, KeyWithDeadline_BothSidesOfTheDoubt) {
    KeyState state = present(3, 100);
    state.expires_low_ms = 1000;
    state.expires_high_ms = 1010;
    const std::string value = value_of(1, 3, 100);
    EXPECT_EQ(verdict(state, {}, 980, 985), Verdict::kMissing) << "too early to be gone";
    EXPECT_EQ(verdict(state, {}, 990, 1000), Verdict::kGone);
    EXPECT_EQ(verdict(state, value, 1010, 1020), Verdict::kGood);
    EXPECT_EQ(verdict(state, value, 1016, 1020), Verdict::kStale) << "outlived its deadline";
    state.expires_high_ms = UINT64_MAX;
    EXPECT_EQ(verdict(state, value, 5000, 5001), Verdict::kGood) << "deadline not known yet";
}

TEST(Judge, UnknownKey_IsAdoptedOrForeign) {
    const KeyState state;
    EXPECT_EQ(verdict(state, {}), Verdict::kGone);
    EXPECT_EQ(verdict(state, "somebody else's value"), Verdict::kForeign);
    const Judgement judgement = judge(state, 1, kSeed, value_of(1, 6, 100), 0, 0);
    EXPECT_EQ(judgement.verdict, Verdict::kAdopted);
    EXPECT_EQ(judgement.version, 6U);
}

TEST(Summarise, NearestRank_OfKnownSamples) {
    std::vector<uint32_t> samples;
    for (uint32_t i = 1000; i > 0; --i) samples.push_back(i);
    const LatencySummary summary = summarise(samples);
    EXPECT_EQ(summary.count, 1000U);
    EXPECT_EQ(summary.p50, 500U);
    EXPECT_EQ(summary.p90, 900U);
    EXPECT_EQ(summary.p99, 990U);
    EXPECT_EQ(summary.p999, 999U);
    EXPECT_EQ(summary.max, 1000U);
}

TEST(Summarise, NoneAndOne_AreDefined) {
    std::vector<uint32_t> samples;
    EXPECT_EQ(summarise(samples).count, 0U);
    samples = {5};
    EXPECT_EQ(summarise(samples).p50, 5U);
    EXPECT_EQ(summarise(samples).p999, 5U);
}

}  // namespace
}  // namespace cachee::cli
