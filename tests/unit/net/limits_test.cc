// SPDX-License-Identifier: Apache-2.0
// The parts behind limits: SYN cookies, limits per second, lists in order of age.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <set>

#include "base/rng.h"
#include "net/bytes.h"
#include "net/headers.h"
#include "net/index_list.h"
#include "net/rate_limit.h"
#include "net/syn_cookies.h"

namespace cachee::net {
namespace {

TEST(SynCookies, Make_EveryMss_ComesBackRoundedDown) {
    SynCookies cookies({1, 2});
    for (uint32_t mss = 64; mss <= 9200; ++mss) {
        const uint32_t cookie = cookies.make(5, 77, mss * 31, static_cast<uint16_t>(mss));
        uint16_t back = 0;
        ASSERT_TRUE(cookies.check(6, 77, mss * 31, cookie, back));
        EXPECT_LE(back, mss);
        const auto* next =
            std::upper_bound(std::begin(SynCookies::kMss), std::end(SynCookies::kMss), back);
        EXPECT_TRUE(next == std::end(SynCookies::kMss) || *next > mss);
    }
}

TEST(SynCookies, Check_AnyBitFlipped_Fails) {
    SynCookies cookies({1, 2});
    const uint32_t cookie = cookies.make(100, 77, 5, 1460);
    uint16_t mss = 0;
    for (uint32_t bit = 0; bit < 32; ++bit) {
        EXPECT_FALSE(cookies.check(100, 77, 5, cookie ^ (1u << bit), mss)) << bit;
        EXPECT_FALSE(cookies.check(100, 77 ^ (1ull << (2 * bit)), 5, cookie, mss)) << bit;
        EXPECT_FALSE(cookies.check(100, 77, 5 ^ (1u << bit), cookie, mss)) << bit;
    }
    EXPECT_FALSE(SynCookies({1, 3}).check(100, 77, 5, cookie, mss)) << "another secret";
    EXPECT_TRUE(cookies.check(100, 77, 5, cookie, mss));
}

TEST(SynCookies, Check_PeriodAfterPeriod_GoodForTwo) {
    constexpr uint64_t kPeriod = SynCookies::kPeriodNs;
    for (uint64_t start = 0; start < 5; ++start) {
        for (uint64_t later = 0; later < 6; ++later) {
            SynCookies cookies({1, 2});
            const uint32_t cookie = cookies.make(start * kPeriod, 77, 5, 1460);
            uint16_t mss = 0;
            EXPECT_EQ(cookies.check((start + later) * kPeriod + 1, 77, 5, cookie, mss), later <= 1)
                << start << " " << later;
            EXPECT_EQ(cookies.outstanding((start + later) * kPeriod + 1), later <= 1);
        }
    }
    EXPECT_FALSE(SynCookies({1, 2}).outstanding(1));
}

TEST(SynCookies, Pack_EveryOption_ComesBack_AndIsNeverLater) {
    for (const uint8_t scale : std::initializer_list<uint8_t>{0, 1, 7, 14, kNoWindowScale}) {
        for (const bool sack : {false, true}) {
            for (uint32_t clock = 0xffffff00; clock != 0x100; ++clock) {
                const uint32_t timestamp = SynCookies::pack(clock, {scale, sack});
                ASSERT_TRUE(seq_le(timestamp, clock));
                ASSERT_LE(clock - timestamp, 64u);
                const SynOptions options = SynCookies::unpack(timestamp);
                ASSERT_EQ(options.window_scale, scale);
                ASSERT_EQ(options.sack_permitted, sack);
            }
        }
    }
}

TEST(RateLimit, Allow_ManySeconds_VariesAroundTheRate) {
    for (const uint32_t rate : {1u, 2u, 10u, 1000u}) {
        RateLimit limit(rate, {3, 4});
        std::set<uint32_t> seen;
        uint64_t total = 0;
        constexpr uint32_t kSeconds = 400;
        for (uint32_t second = 0; second < kSeconds; ++second) {
            uint32_t allowed = 0;
            for (uint32_t i = 0; i < 2 * rate + 5; ++i) {
                // Over the wrap of the clock.
                allowed += limit.allow(0xffff0000 + second * 954 + i / 5 % 900) ? 1 : 0;
            }
            EXPECT_GE(allowed, std::max(1u, rate / 2));
            EXPECT_LE(allowed, rate + rate / 2);
            seen.insert(allowed);
            total += allowed;
        }
        EXPECT_NEAR(static_cast<double>(total) / kSeconds, rate, rate * 0.1 + 0.5) << rate;
        EXPECT_GE(seen.size(), std::min(rate, 8u));
    }
}

TEST(AgeList, PushAndRemove_AtRandom_OldestIsAlwaysFirst) {
    const uint64_t seed = 5;
    std::cout << "seed " << seed << "\n";
    base::Rng rng(seed);
    AgeList list(20);
    std::list<uint32_t> model;
    for (int step = 0; step < 20'000; ++step) {
        const auto id = static_cast<uint32_t>(rng.below(20));
        const auto at = std::find(model.begin(), model.end(), id);
        if (at == model.end()) {
            list.push(id);
            model.push_back(id);
        } else {
            list.remove(id);
            model.erase(at);
        }
        ASSERT_EQ(list.size(), model.size());
        ASSERT_EQ(list.oldest(), model.empty() ? AgeList::kNone : model.front());
    }
}

}  // namespace
}  // namespace cachee::net
