// SPDX-License-Identifier: Apache-2.0
// copy_short(): every size, odd addresses, nothing written outside.
#include "base/copy.h"

#include <gtest/gtest.h>

#include <vector>

namespace cachee::base {
namespace {

TEST(CopyShort, EverySizeAtOddAddresses_CopiesThatMuchAndNoMore) {
    constexpr uint8_t kUntouched = 0xee;
    for (size_t size = 0; size < 600; ++size) {
        std::vector<uint8_t> from(size + 64);
        for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 31 % 200);
        std::vector<uint8_t> to(size + 64, kUntouched);
        copy_short(&to[3], &from[5], size);
        for (size_t i = 0; i < to.size(); ++i) {
            const bool inside = i >= 3 && i < 3 + size;
            ASSERT_EQ(to[i], inside ? from[i + 2] : kUntouched) << size << " at " << i;
        }
    }
}

// Exactly as large as what is copied: a sanitizer would see a byte read or written too much.
TEST(CopyShort, HeapBlocksOfThatSize_AreNotOverrun) {
    for (size_t size = 1; size < 300; ++size) {
        const std::vector<uint8_t> from(size, 1);
        std::vector<uint8_t> to(size, 2);
        copy_short(to.data(), from.data(), size);
        EXPECT_EQ(to, from);
    }
}

}  // namespace
}  // namespace cachee::base
