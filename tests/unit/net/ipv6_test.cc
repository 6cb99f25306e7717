// SPDX-License-Identifier: Apache-2.0
// IPv6 headers, extension headers, address texts.
#include "net/ipv6.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"
#include "net/bytes.h"

namespace cachee::net {
namespace {

Ipv6Address address(const char* text) { return *parse_ipv6_address(text); }

// A packet whose header announces `next`, followed by `rest`.
std::vector<uint8_t> packet(uint8_t next, const std::vector<uint8_t>& rest) {
    std::vector<uint8_t> bytes(kIpv6Bytes);
    bytes[0] = 0x60;
    store_be16(&bytes[4], static_cast<uint16_t>(rest.size()));
    bytes[6] = next;
    bytes[7] = 64;
    address("fd00::2").store(&bytes[8]);
    address("fd00::1").store(&bytes[24]);
    bytes.insert(bytes.end(), rest.begin(), rest.end());
    return bytes;
}

struct Parsed {
    Ipv6Verdict verdict;
    Ipv6Packet packet;
    Ipv6Problem problem;
};
Parsed parse(const std::vector<uint8_t>& bytes) {
    Parsed result;
    result.verdict = parse_ipv6(bytes.data(), static_cast<uint32_t>(bytes.size()), result.packet,
                                result.problem);
    return result;
}

TEST(Ipv6Address, Texts_ParsedAndPrinted_AsRfc5952) {
    EXPECT_EQ(format_ipv6_address(address("2001:DB8:0:0:0:0:0:1")), "2001:db8::1");
    EXPECT_EQ(format_ipv6_address(address("fe80::1:0:0:1")), "fe80::1:0:0:1");
    for (const char* bad : {"", "::g", "1.2.3.4", "fe80::1%eth0", "1::2::3"}) {
        EXPECT_FALSE(parse_ipv6_address(bad)) << bad;
    }
}

TEST(Ipv6Address, Kinds_AreTold) {
    EXPECT_TRUE(address("fe80::1").link_local());
    EXPECT_FALSE(address("fec0::1").link_local());
    EXPECT_TRUE(address("ff02::1").multicast());
    EXPECT_TRUE(address("::1").loopback_or_embedded());
    EXPECT_TRUE(address("::ffff:10.0.0.1").loopback_or_embedded());
    EXPECT_FALSE(address("::").loopback_or_embedded());
    EXPECT_FALSE(address("64:ff9b::10.0.0.1").loopback_or_embedded());
    EXPECT_TRUE(address("fd00:1::5").within(address("fd00:1::"), 64));
    EXPECT_TRUE(address("fd00:1::5").within(address("fd00:1::4"), 127));
    EXPECT_FALSE(address("fd00:1::6").within(address("fd00:1::4"), 127));
}

TEST(Ipv6Address, Derived_FromHardwareAndAddress) {
    EXPECT_EQ(link_local_of({0x02, 0xca, 0xc4, 0xee, 0, 1}), address("fe80::ca:c4ff:feee:1"));
    EXPECT_EQ(solicited_node_of(address("fd00::12:3456")), address("ff02::1:ff12:3456"));
    EXPECT_EQ(multicast_mac_of(address("ff02::1:ff12:3456")),
              (MacAddress{0x33, 0x33, 0xff, 0x12, 0x34, 0x56}));
}

TEST(ParseIpv6, Plain_IsTaken_PaddingIsNot) {
    auto bytes = packet(6, std::vector<uint8_t>(20, 7));
    bytes.resize(bytes.size() + 6);  // Ethernet's padding
    const Parsed parsed = parse(bytes);
    EXPECT_EQ(parsed.verdict, Ipv6Verdict::kGood);
    EXPECT_EQ(parsed.packet.protocol, 6);
    EXPECT_EQ(parsed.packet.payload_bytes, 20u);
    EXPECT_EQ(parsed.packet.src(), address("fd00::2"));
}

TEST(ParseIpv6, BadLengthOrVersion_IsMalformed) {
    auto bytes = packet(6, std::vector<uint8_t>(20));
    store_be16(&bytes[4], 21);
    EXPECT_EQ(parse(bytes).verdict, Ipv6Verdict::kMalformed);
    bytes = packet(6, {});
    bytes[0] = 0x40;
    EXPECT_EQ(parse(bytes).verdict, Ipv6Verdict::kMalformed);
    EXPECT_EQ(parse(packet(0, {6, 1, 0, 0, 0, 0, 0, 0})).verdict, Ipv6Verdict::kMalformed)
        << "a header longer than the packet";
}

TEST(ParseIpv6, KnownExtensions_ArePassedOver) {
    const Parsed parsed = parse(packet(0, {60, 0, 1, 4, 0, 0, 0, 0,  // hop by hop: PadN
                                           43, 0, 5, 2, 0, 0, 1, 0,  // destination: router alert
                                           6,  0, 4, 0, 0, 0, 0, 0,  // routing, none left
                                           1,  2, 3}));
    EXPECT_EQ(parsed.verdict, Ipv6Verdict::kGood);
    EXPECT_EQ(parsed.packet.protocol, 6);
    EXPECT_EQ(parsed.packet.payload_bytes, 3u);
}

// RFC 6946: a fragment that is all of the packet is a packet.
TEST(ParseIpv6, Fragments_OnlyAtomicOnesAreTaken) {
    EXPECT_EQ(parse(packet(44, {6, 0, 0, 0, 1, 2, 3, 4, 9})).verdict, Ipv6Verdict::kGood);
    EXPECT_EQ(parse(packet(44, {6, 0, 0, 1, 1, 2, 3, 4, 9})).verdict, Ipv6Verdict::kFragment)
        << "more to come";
    EXPECT_EQ(parse(packet(44, {6, 0, 0, 8, 1, 2, 3, 4, 9})).verdict, Ipv6Verdict::kFragment)
        << "not the first";
}

// RFC 8200, 4.2: the type of an unknown option says what becomes of the packet.
TEST(ParseIpv6, UnknownOptions_AreTreatedByTheirType) {
    EXPECT_EQ(parse(packet(60, {6, 0, 0x1e, 4, 0, 0, 0, 0})).verdict, Ipv6Verdict::kGood);
    Parsed parsed = parse(packet(60, {6, 0, 0x5e, 4, 0, 0, 0, 0}));
    EXPECT_EQ(parsed.verdict, Ipv6Verdict::kExtension);
    EXPECT_FALSE(parsed.problem.report);
    parsed = parse(packet(60, {6, 0, 0x9e, 4, 0, 0, 0, 0}));
    EXPECT_TRUE(parsed.problem.report && parsed.problem.report_multicast);
    EXPECT_EQ(parsed.problem.pointer, kIpv6Bytes + 2);
    parsed = parse(packet(60, {6, 0, 0xde, 4, 0, 0, 0, 0}));
    EXPECT_TRUE(parsed.problem.report && !parsed.problem.report_multicast);
    EXPECT_EQ(parse(packet(60, {6, 0, 0x1e, 5, 0, 0, 0, 0})).verdict, Ipv6Verdict::kMalformed);
}

TEST(ParseIpv6, RoutingWithSegmentsLeft_IsReported) {
    const Parsed parsed = parse(packet(43, {6, 0, 0, 1, 0, 0, 0, 0}));
    EXPECT_EQ(parsed.verdict, Ipv6Verdict::kExtension);
    EXPECT_TRUE(parsed.problem.report);
    EXPECT_EQ(parsed.problem.pointer, kIpv6Bytes + 2);
}

TEST(ParseIpv6, HopByHopNotFirst_IsReportedAtItsAnnouncement) {
    const Parsed parsed = parse(packet(60, {0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0}));
    EXPECT_EQ(parsed.verdict, Ipv6Verdict::kExtension);
    EXPECT_EQ(parsed.problem.code, 1);
    EXPECT_EQ(parsed.problem.pointer, kIpv6Bytes);
}

TEST(ParseIpv6, ChainTooLong_IsDropped) {
    std::vector<uint8_t> rest;
    for (uint32_t i = 0; i <= kIpv6ExtensionsMax; ++i) {
        const uint8_t next = i == kIpv6ExtensionsMax ? 6 : 60;
        rest.insert(rest.end(), {next, 0, 1, 4, 0, 0, 0, 0});
    }
    EXPECT_EQ(parse(packet(60, rest)).verdict, Ipv6Verdict::kExtension);
    std::vector<uint8_t> wide(8 * 80);
    wide[0] = 6;
    wide[1] = 79;
    EXPECT_EQ(parse(packet(60, wide)).verdict, Ipv6Verdict::kExtension) << "640 bytes";
    EXPECT_EQ(parse(packet(59, {})).verdict, Ipv6Verdict::kExtension) << "no next header";
}

TEST(ParseIpv6, RandomBytes_StayInBounds) {
    constexpr uint64_t kSeed = 8200;
    SCOPED_TRACE("seed " + std::to_string(kSeed));
    base::Rng rng(kSeed);
    uint32_t good = 0;
    for (int round = 0; round < 100'000; ++round) {
        std::vector<uint8_t> rest(rng.below(100));
        constexpr uint8_t kNext[] = {0, 43, 44, 60, 6, 59};
        for (uint8_t& byte : rest) {
            byte = rng.chance(0.5) ? kNext[rng.below(6)] : static_cast<uint8_t>(rng.below(4));
        }
        std::vector<uint8_t> bytes = packet(kNext[rng.below(6)], rest);
        bytes.resize(bytes.size() - rng.below(2) * rng.below(rest.size() + 1));
        bytes.shrink_to_fit();  // a sanitizer sees what is read behind the end
        const Parsed parsed = parse(bytes);
        if (parsed.verdict != Ipv6Verdict::kGood) continue;
        ++good;
        ASSERT_LE(parsed.packet.payload + parsed.packet.payload_bytes, bytes.data() + bytes.size());
    }
    EXPECT_GT(good, 1000u);
}

}  // namespace
}  // namespace cachee::net
