// SPDX-License-Identifier: Apache-2.0
// Parsing of hostile bytes. Buffers are exactly as long as they claim, so that a sanitizer sees a
// read past the end.
#include "net/headers.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"
#include "net/bytes.h"

namespace cachee::net {
namespace {

std::vector<uint8_t> syn_with_options() {
    std::vector<uint8_t> bytes;
    bytes.reserve(64);
    bytes.assign(20, 0);
    store_be16(&bytes[0], 40000);
    store_be16(&bytes[2], 6379);
    store_be32(&bytes[4], 0x01020304);
    bytes[13] = kSyn;
    store_be16(&bytes[14], 65535);
    const uint8_t options[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 20};
    for (const uint8_t byte : options) bytes.push_back(byte);
    bytes[12] = static_cast<uint8_t>((bytes.size() / 4) << 4);
    return bytes;
}

TEST(Headers, ParseTcp_SynOptions_AreRead) {
    const auto bytes = syn_with_options();
    TcpSegment segment;
    ASSERT_TRUE(parse_tcp(bytes.data(), static_cast<uint32_t>(bytes.size()), segment));
    EXPECT_EQ(segment.mss, 1460);
    EXPECT_TRUE(segment.sack_permitted);
    EXPECT_TRUE(segment.has_timestamps);
    EXPECT_EQ(segment.ts_value, 7u);
    EXPECT_EQ(segment.ts_echo, 9u);
    EXPECT_EQ(segment.window_scale, 14) << "more than 14 means 14 (RFC 7323, 2.3)";
    EXPECT_EQ(segment.length(), 1u);
}

TEST(Headers, ParseTcp_EveryTruncation_NeverReadsPastTheEnd) {
    const auto whole = syn_with_options();
    for (size_t size = 0; size < whole.size(); ++size) {
        const std::vector<uint8_t> bytes(whole.begin(), whole.begin() + static_cast<long>(size));
        TcpSegment segment;
        EXPECT_FALSE(parse_tcp(bytes.data(), static_cast<uint32_t>(size), segment)) << size;
    }
}

TEST(Headers, ParseTcp_RandomOptions_NeverReadsPastTheEnd) {
    base::Rng rng(17);
    for (int i = 0; i < 50'000; ++i) {
        std::vector<uint8_t> bytes(20 + 4 * rng.below(11));
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng.below(12));
        store_be16(&bytes[0], 1);
        store_be16(&bytes[2], 2);
        bytes[12] = static_cast<uint8_t>((bytes.size() / 4) << 4);
        TcpSegment segment;
        ASSERT_TRUE(parse_tcp(bytes.data(), static_cast<uint32_t>(bytes.size()), segment));
        EXPECT_EQ(segment.size, 0u);
    }
}

TEST(Headers, ParseIpv4_BadLengthsAndVersions_AreRefused) {
    std::vector<uint8_t> bytes(40, 0);
    bytes[0] = 0x45;
    store_be16(&bytes[2], 40);
    Ipv4Packet packet;
    ASSERT_TRUE(parse_ipv4(bytes.data(), 40, packet));
    EXPECT_EQ(packet.payload_bytes, 20u);
    for (uint32_t size = 0; size < 40; ++size) {
        const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + size);
        EXPECT_FALSE(parse_ipv4(cut.data(), size, packet)) << size;
    }
    bytes[0] = 0x65;
    EXPECT_FALSE(parse_ipv4(bytes.data(), 40, packet));
    bytes[0] = 0x44;  // header of 16 bytes
    EXPECT_FALSE(parse_ipv4(bytes.data(), 40, packet));
    bytes[0] = 0x45;
    store_be16(&bytes[2], 19);
    EXPECT_FALSE(parse_ipv4(bytes.data(), 40, packet));
    store_be16(&bytes[2], 40);
    store_be16(&bytes[6], 0x2000);  // more fragments
    ASSERT_TRUE(parse_ipv4(bytes.data(), 40, packet));
    EXPECT_TRUE(packet.fragment);
    store_be16(&bytes[6], 0x4000);  // do not fragment
    ASSERT_TRUE(parse_ipv4(bytes.data(), 40, packet));
    EXPECT_FALSE(packet.fragment);
}

TEST(Headers, ParseArp_EveryTruncationAndOtherTypes_AreRefused) {
    std::vector<uint8_t> bytes = {0, 1, 8, 0, 6, 4, 0, 1};
    bytes.resize(kArpBytes, 0);
    ArpPacket packet;
    ASSERT_TRUE(parse_arp(bytes.data(), kArpBytes, packet));
    for (uint32_t size = 0; size < kArpBytes; ++size) {
        const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + size);
        EXPECT_FALSE(parse_arp(cut.data(), size, packet));
    }
    bytes[7] = 9;
    EXPECT_FALSE(parse_arp(bytes.data(), kArpBytes, packet));
    bytes[7] = 1;
    bytes[4] = 8;
    EXPECT_FALSE(parse_arp(bytes.data(), kArpBytes, packet));
}

TEST(Headers, Ipv4Address_TextForms_RoundTripOrRefuse) {
    EXPECT_EQ(parse_ipv4_address("10.0.0.255"), 0x0a0000ffu);
    EXPECT_EQ(format_ipv4_address(0x0a0000ff), "10.0.0.255");
    for (const char* bad :
         {"", "10.0.0", "10.0.0.256", "10.0.0.1.2", "a.b.c.d", "10..0.1", "1.2.3.4 "}) {
        EXPECT_FALSE(parse_ipv4_address(bad).has_value()) << bad;
    }
}

}  // namespace
}  // namespace cachee::net
