// SPDX-License-Identifier: Apache-2.0
#include "net/checksum.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"
#include "net/siphash.h"

namespace cachee::net {
namespace {

uint16_t reference(const std::vector<uint8_t>& bytes) {
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
        sum += i % 2 == 0 ? static_cast<uint32_t>(bytes[i]) << 8 : bytes[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<uint16_t>(~sum);
}

TEST(Checksum, Finish_AllSizes_MatchesRfc1071) {
    base::Rng rng(1);
    for (size_t size = 0; size < 300; ++size) {
        std::vector<uint8_t> bytes(size);
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng.next());
        uint8_t field[2];
        checksum_store(field, checksum_finish(checksum_add(bytes.data(), size, 0)));
        const auto got = static_cast<uint16_t>(field[0] << 8 | field[1]);
        ASSERT_EQ(got, reference(bytes)) << "size " << size;
    }
}

TEST(Checksum, Fold_AllOnes_DoesNotOverflow) {
    const std::vector<uint8_t> bytes(65535, 0xff);
    EXPECT_EQ(checksum_fold(checksum_add(bytes.data(), 65534, 0)), 0xffff);
}

// The test vector of the SipHash paper (appendix A) has 15 bytes; this one is the reference
// implementation's for the 16 bytes 00 01 .. 0f under the key 00 01 .. 0f.
TEST(SipHash, SixteenBytes_MatchesReferenceVector) {
    const SipKey key{0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
    EXPECT_EQ(siphash_128(key, 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL),
              0x3f2acc7f57c29bdbULL);
}

}  // namespace
}  // namespace cachee::net
