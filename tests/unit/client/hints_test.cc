// SPDX-License-Identifier: Apache-2.0
// Hints arrive, are lost rather than waited for, and whatever is done to their file does no harm.
#include "l1/hints.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <set>
#include <vector>

#include "base/rng.h"
#include "test_l1.h"

namespace cachee::client {
namespace {

using l1::HintSender;
using l1::HintTaker;

std::string hints_path(const char* name) {
    return "/dev/shm/cachee-" + std::string(name) + "-" + std::to_string(::getpid()) + "-hints";
}

std::unique_ptr<HintTaker> make_taker(const std::string& path) {
    auto taker = HintTaker::create(path, 0660);
    CACHEE_ASSERT(taker.has_value());
    return std::move(taker).value();
}

std::multiset<uint64_t> take(HintTaker& taker) {
    std::multiset<uint64_t> hashes;
    taker.take_all([&](uint64_t hash) { hashes.insert(hash); });
    return hashes;
}

TEST(Hints, FullBlocksAndTheLastOne_ArriveOnce) {
    const std::string path = hints_path("arrive");
    auto taker = make_taker(path);
    auto sender = HintSender::open(path);
    ASSERT_NE(sender, nullptr);
    for (uint64_t i = 1; i <= 100; ++i) sender->add(i);
    EXPECT_EQ(take(*taker).size(), l1::kHintsPerBlock);
    EXPECT_TRUE(take(*taker).empty());
    sender.reset();
    EXPECT_EQ(take(*taker).size(), 100 - l1::kHintsPerBlock);
}

TEST(Hints, MoreThanTheRingHolds_AreLost) {
    const std::string path = hints_path("lost");
    auto taker = make_taker(path);
    auto sender = HintSender::open(path);
    constexpr uint64_t kRing = l1::kHintBlocks * l1::kHintsPerBlock;
    for (uint64_t i = 1; i <= 10 * kRing; ++i) sender->add(i);
    const auto taken = take(*taker);
    EXPECT_EQ(taken.size(), kRing);
    EXPECT_EQ(*taken.begin(), 9 * kRing + 1);
}

TEST(Hints, FileCutShortGrownAndFilledWithNoise_TakesNoMoreThanItHolds) {
    const std::string path = hints_path("forged");
    auto taker = make_taker(path);
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    base::Rng rng(1);
    std::vector<uint64_t> noise(64 << 10);
    for (int round = 0; round < 50; ++round) {
        for (uint64_t& word : noise) word = rng.next();
        ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(rng.below(100'000))), 0);
        ASSERT_GT(::pwrite(fd, noise.data(), rng.below(noise.size() * 8), 0), 0);
        ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(rng.below(600'000))), 0);
        EXPECT_LE(take(*taker).size(), l1::kHintBlocks * l1::kHintsPerBlock);
    }
    ASSERT_EQ(::ftruncate(fd, 0), 0);
    EXPECT_TRUE(take(*taker).empty());
    ::close(fd);
}

TEST(Hints, WithoutFile_NoSender) {
    EXPECT_EQ(HintSender::open(hints_path("none")), nullptr);
    EXPECT_EQ(HintSender::open(""), nullptr);
    EXPECT_EQ(HintSender::open("/dev/shm"), nullptr);
}

TEST(Hints, HitsOfAHandle_RaiseTheFrequencyOfTheirKey) {
    const std::string path = hints_path("handle");
    auto taker = make_taker(path);
    TestL1 l1("hinted");
    l1.hints_path = path;
    l1.make();
    l1.put("hot", "v");
    l1.put("cold", "v");
    {
        cachee_options options = CACHEE_OPTIONS_INIT;
        options.flags = CACHEE_NO_FALLBACK;
        options.hint_every = 4;
        Handle handle(l1.instance(), options);
        for (int i = 0; i < 4 * 70; ++i) ASSERT_EQ(handle.get("hot"), CACHEE_OK);
        EXPECT_EQ(handle.statistics().hints_sent, l1::kHintsPerBlock);
        Handle silent(l1.instance(), CACHEE_NO_FALLBACK | CACHEE_NO_HINTS);
        for (int i = 0; i < 300; ++i) ASSERT_EQ(silent.get("cold"), CACHEE_OK);
        EXPECT_EQ(silent.statistics().hints_sent, 0U);
    }
    const auto hashes = take(*taker);
    EXPECT_EQ(hashes.size(), 70U);
    EXPECT_EQ(hashes.count(base::hash_key("hot", kTestSeed)), 70U);
}

}  // namespace
}  // namespace cachee::client
