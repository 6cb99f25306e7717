// SPDX-License-Identifier: Apache-2.0
// ARP and ICMP, and what an interface refuses, over the simulated link in virtual time.
#include "net/interface.h"

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <vector>

#include "drivers/sim/sim_link.h"
#include "net/bytes.h"
#include "net/checksum.h"

namespace cachee::net {
namespace {

using stats::Counter;

constexpr uint32_t kOurs = 0x0a000001;
constexpr uint32_t kPeer = 0x0a000002;
constexpr MacAddress kPeerMac = {2, 0, 0, 0, 0, 9};

struct Fixture : public ::testing::Test {
    sim::SimLink link{{}};
    FramePort& peer = link.end(1);
    stats::WorkerCounters counters{};
    Interface interface { link.end(0), {kOurs, 24, 0x0a0000fe, true}, &counters };

    void inject(const std::vector<uint8_t>& bytes) {
        TxFrame frame;
        ASSERT_EQ(peer.tx_alloc(&frame, 1), 1u);
        std::memcpy(frame.data, bytes.data(), bytes.size());
        frame.size = static_cast<uint32_t>(bytes.size());
        peer.tx_burst(&frame, 1);
    }
    // What the interface makes of one waiting frame; true: a TCP segment.
    bool receive() {
        RxFrame frame;
        if (interface.receive(&frame, 1) == 0) return false;
        TcpSegment segment;
        const bool is_tcp = interface.handle(frame, 1, segment);
        interface.release(&frame, 1);
        interface.push();
        return is_tcp;
    }
    std::optional<std::vector<uint8_t>> sent() {
        RxFrame frame;
        if (peer.rx_burst(&frame, 1) == 0) return std::nullopt;
        std::vector<uint8_t> bytes(frame.data, frame.data + frame.size);
        peer.rx_release(&frame, 1);
        return bytes;
    }
    std::vector<uint8_t> ethernet(uint16_t type) {
        std::vector<uint8_t> bytes(14);
        std::memcpy(bytes.data(), link.end(0).info().mac.data(), 6);
        std::memcpy(&bytes[6], kPeerMac.data(), 6);
        store_be16(&bytes[12], type);
        return bytes;
    }
    std::vector<uint8_t> arp(uint16_t operation, uint32_t sender, uint32_t target) {
        auto bytes = ethernet(kEtherTypeArp);
        bytes.resize(14 + kArpBytes);
        const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, static_cast<uint8_t>(operation)};
        std::memcpy(&bytes[14], head, sizeof head);
        std::memcpy(&bytes[22], kPeerMac.data(), 6);
        store_be32(&bytes[28], sender);
        store_be32(&bytes[38], target);
        return bytes;
    }
    std::vector<uint8_t> ipv4(uint8_t protocol, const std::vector<uint8_t>& payload,
                              uint32_t dst = kOurs, uint32_t src = kPeer) {
        auto bytes = ethernet(kEtherTypeIpv4);
        bytes.resize(34);
        bytes[14] = 0x45;
        store_be16(&bytes[16], static_cast<uint16_t>(20 + payload.size()));
        bytes[22] = 64;
        bytes[23] = protocol;
        store_be32(&bytes[26], src);
        store_be32(&bytes[30], dst);
        checksum_store(&bytes[24], checksum_finish(checksum_add(&bytes[14], 20, 0)));
        bytes.insert(bytes.end(), payload.begin(), payload.end());
        return bytes;
    }
};

TEST_F(Fixture, ArpRequest_ForUs_IsAnswered) {
    inject(arp(1, kPeer, kOurs));
    receive();
    const auto reply = sent();
    ASSERT_TRUE(reply);
    EXPECT_EQ(load_be16(&(*reply)[20]), 2);
    EXPECT_EQ(load_be32(&(*reply)[28]), kOurs);
    EXPECT_EQ(load_be32(&(*reply)[38]), kPeer);
    EXPECT_EQ(0, std::memcmp(reply->data(), kPeerMac.data(), 6));
}

TEST_F(Fixture, ArpRequest_ForAnother_IsIgnored) {
    inject(arp(1, kPeer, kOurs + 7));
    receive();
    EXPECT_FALSE(sent());
    EXPECT_EQ(counters.get(Counter::arp_in), 1u);
}

TEST_F(Fixture, Resolve_UnknownNeighbour_AsksThenKnows) {
    MacAddress mac{};
    EXPECT_FALSE(interface.resolve(kPeer, 1000, mac));
    EXPECT_FALSE(interface.resolve(kPeer, 1001, mac)) << "asked once, not twice";
    interface.push();
    const auto request = sent();
    ASSERT_TRUE(request);
    EXPECT_EQ(load_be32(&(*request)[38]), kPeer);
    EXPECT_FALSE(sent());
    inject(arp(2, kPeer, kOurs));
    receive();
    EXPECT_TRUE(interface.resolve(kPeer, 1002, mac));
    EXPECT_EQ(mac, kPeerMac);
    EXPECT_EQ(interface.resolutions(), 1u);
}

TEST_F(Fixture, Resolve_OutsideThePrefix_AsksForTheGateway) {
    MacAddress mac{};
    EXPECT_FALSE(interface.resolve(0x08080808, 1000, mac));
    interface.push();
    const auto request = sent();
    ASSERT_TRUE(request);
    EXPECT_EQ(load_be32(&(*request)[38]), 0x0a0000feu);
}

TEST_F(Fixture, ArpReply_NobodyAsked_IsNotEntered) {
    inject(arp(2, kPeer, kOurs));
    receive();
    MacAddress mac{};
    EXPECT_FALSE(interface.resolve(kPeer, 1000, mac));
}

TEST_F(Fixture, IcmpEcho_GoodAndBadChecksum_AnsweredAndCounted) {
    std::vector<uint8_t> echo = {8, 0, 0, 0, 1, 2, 3, 4, 'h', 'i', '!'};
    checksum_store(&echo[2], checksum_finish(checksum_add(echo.data(), echo.size(), 0)));
    inject(ipv4(kProtocolIcmp, echo));
    receive();
    const auto reply = sent();
    ASSERT_TRUE(reply);
    EXPECT_EQ((*reply)[34], 0);
    EXPECT_EQ(reply->size(), 34 + echo.size());
    EXPECT_EQ(checksum_fold(checksum_add(&(*reply)[34], echo.size(), 0)), 0xffff);
    echo[9] ^= 1;
    inject(ipv4(kProtocolIcmp, echo));
    receive();
    EXPECT_FALSE(sent());
    EXPECT_EQ(counters.get(Counter::drop_checksum), 1u);
}

TEST_F(Fixture, Handle_WhatIsNotForUs_IsDroppedUnderItsCounter) {
    inject(ipv4(kProtocolTcp, std::vector<uint8_t>(20), kOurs + 1));
    inject(ipv4(17, std::vector<uint8_t>(20)));
    inject(ipv4(kProtocolTcp, std::vector<uint8_t>(20), kOurs, kOurs));
    inject(ipv4(kProtocolTcp, std::vector<uint8_t>(20), kOurs, 0xe0000001));
    for (int i = 0; i < 4; ++i) EXPECT_FALSE(receive());
    EXPECT_EQ(counters.get(Counter::drop_not_for_us), 4u);
    auto fragment = ipv4(kProtocolTcp, std::vector<uint8_t>(20));
    fragment[20] = 0x20;
    checksum_store(&fragment[24], 0);
    checksum_store(&fragment[24], checksum_finish(checksum_add(&fragment[14], 20, 0)));
    inject(fragment);
    EXPECT_FALSE(receive());
    EXPECT_EQ(counters.get(Counter::drop_fragment), 1u);
    inject({1, 2, 3});
    EXPECT_FALSE(receive());
    EXPECT_EQ(counters.get(Counter::drop_malformed), 1u);
    EXPECT_FALSE(sent());
}

}  // namespace
}  // namespace cachee::net
