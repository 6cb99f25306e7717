// SPDX-License-Identifier: Apache-2.0
// ARP and ICMP, and what an interface refuses, over the simulated link in virtual time.
#include "net/interface.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/rng.h"
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
        const bool is_tcp = interface.handle(frame, 1, segment) != Received::kNone;
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
    EXPECT_EQ(counters.get(Counter::drop_not_for_us), 2u);
    EXPECT_EQ(counters.get(Counter::drop_source), 2u);
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
    EXPECT_TRUE(sent()) << "the sender of the UDP packet is told";
    EXPECT_FALSE(sent());
}

// The fast way judges several fields at once. What it leaves to the connection table, which knows
// no such peer, are ports that are 0 and source addresses that no host can have.
TEST_F(Fixture, Handle_FastAndGeneralWay_AgreeOnMutatedSegments) {
    constexpr uint64_t kSeed = 20261123;
    SCOPED_TRACE("seed " + std::to_string(kSeed));
    base::Rng rng(kSeed);
    Interface trusting{link.end(0), {kOurs, 24, 0x0a0000fe, false}, &counters};
    uint32_t segments = 0;
    for (int round = 0; round < 20000; ++round) {
        const uint32_t option_bytes = rng.next() % 2 == 0 ? 12 : 0;
        const auto payload = static_cast<uint32_t>(rng.next() % 40);
        std::vector<uint8_t> bytes = ethernet(kEtherTypeIpv4);
        bytes.resize(kEthernetBytes + kIpv4Bytes + kTcpBytes + option_bytes + payload);
        uint8_t* const ip = &bytes[kEthernetBytes];
        uint8_t* const tcp = ip + kIpv4Bytes;
        ip[0] = 0x45;
        store_be16(ip + 2, static_cast<uint16_t>(bytes.size() - kEthernetBytes));
        ip[6] = 0x40;
        ip[9] = kProtocolTcp;
        store_be32(ip + 12, kPeer);
        store_be32(ip + 16, kOurs);
        for (uint32_t i = 0; i < 12; ++i) tcp[i] = static_cast<uint8_t>(rng.next() | 1);
        tcp[12] = static_cast<uint8_t>((kTcpBytes + option_bytes) << 2);
        tcp[13] = kAck;
        if (option_bytes != 0) store_be32(tcp + kTcpBytes, 0x0101080a);
        for (uint64_t i = rng.next() % 3; i > 0; --i) {
            bytes[rng.next() % bytes.size()] ^= static_cast<uint8_t>(1u << rng.next() % 8);
        }
        if (rng.next() % 8 == 0) bytes.resize(rng.next() % bytes.size() + 1);

        RxFrame frame{.data = bytes.data(), .size = static_cast<uint32_t>(bytes.size())};
        TcpSegment general;
        const bool taken = trusting.handle(frame, 1, general) != Received::kNone;
        frame.ip_checksum = frame.tcp_checksum = Checksum::kGood;
        const bool usual = trusting.is_usual(frame);
        trusting.push();
        if (!usual) continue;
        const TcpSegment fast = UsualSegment(frame.data).whole();
        if (!taken) {
            const bool no_host = fast.src_ip == 0 || fast.src_ip >= 0xe0000000 ||
                                 fast.src_ip == kOurs || fast.src_port == 0 || fast.dst_port == 0;
            ASSERT_TRUE(no_host) << round;
            continue;
        }
        ++segments;
        ASSERT_EQ(UsualSegment(frame.data).key(),
                  connection_key(fast.src_ip, fast.src_port, fast.dst_port))
            << round;
        ASSERT_EQ(fast.src_ip, general.src_ip) << round;
        ASSERT_EQ(fast.src_port, general.src_port) << round;
        ASSERT_EQ(fast.dst_port, general.dst_port) << round;
        ASSERT_EQ(fast.seq, general.seq) << round;
        ASSERT_EQ(fast.ack, general.ack) << round;
        ASSERT_EQ(fast.window, general.window) << round;
        ASSERT_EQ(fast.flags, general.flags) << round;
        ASSERT_EQ(fast.data, general.data) << round;
        ASSERT_EQ(fast.size, general.size) << round;
        ASSERT_EQ(fast.src_mac, general.src_mac) << round;
        ASSERT_EQ(fast.mss, general.mss) << round;
        ASSERT_EQ(fast.window_scale, general.window_scale) << round;
        ASSERT_EQ(fast.sack_permitted, general.sack_permitted) << round;
        ASSERT_EQ(fast.sack_blocks, general.sack_blocks) << round;
        ASSERT_EQ(fast.has_timestamps, general.has_timestamps) << round;
        if (!fast.has_timestamps) continue;
        ASSERT_EQ(fast.ts_value, general.ts_value) << round;
        ASSERT_EQ(fast.ts_echo, general.ts_echo) << round;
    }
    EXPECT_GT(segments, 5000u);
    while (sent().has_value()) {
    }
}

TEST_F(Fixture, SendPlain_WithTimestamps_WritesWhatSendSegmentWrites) {
    SegmentFields fields;
    fields.dst_mac = kPeerMac;
    fields.window = 0x1234;
    fields.remote_ip = kPeer;
    fields.remote_port = 40000;
    fields.local_port = 6379;
    fields.seq = 0x01020304;
    fields.ack = 0xfffefdfc;
    fields.flags = kAck | kPsh;
    fields.option_bytes = 12;
    store_be32(fields.options, 0x0101080a);
    store_be32(fields.options + 4, 77);
    store_be32(fields.options + 8, 99);
    TxFrame* frame = interface.tx_frame();
    ASSERT_NE(frame, nullptr);
    std::memcpy(Interface::payload_of(*frame, 12), "+PONG\r\n", 7);
    interface.send_segment(*frame, fields, 7);
    frame = interface.next_frame();
    ASSERT_NE(frame, nullptr);
    std::memcpy(Interface::payload_of(*frame, 12), "+PONG\r\n", 7);
    const ConnectionKey key = connection_key(kPeer, 40000, 6379);
    const uint32_t ts_echo = 99;
    interface.send_plain<true>(*frame,
                               {.key = key,
                                .dst_mac = kPeerMac,
                                .seq = fields.seq,
                                .ack = fields.ack,
                                .ts_echo = ts_echo,
                                .ts_value = 77,
                                .window = fields.window,
                                .flags = fields.flags},
                               7);
    interface.push();
    std::optional<std::vector<uint8_t>> general = sent();
    std::optional<std::vector<uint8_t>> plain = sent();
    ASSERT_TRUE(general.has_value());
    ASSERT_TRUE(plain.has_value());
    for (std::vector<uint8_t>* bytes : {&*general, &*plain}) {
        EXPECT_EQ(checksum_fold(checksum_add(&(*bytes)[kEthernetBytes], kIpv4Bytes, 0)), 0xffff);
        std::memset(&(*bytes)[kEthernetBytes + 4], 0, 2);   // the identification counts up,
        std::memset(&(*bytes)[kEthernetBytes + 10], 0, 2);  // and the checksum with it
    }
    EXPECT_EQ(*general, *plain);
    EXPECT_EQ(counters.get(Counter::frames_out), 2u);
}

// RFC 1122, 3.2.2.1: unknown protocol, and UDP, which nobody listens to.
TEST_F(Fixture, Protocol_Unknown_IsReportedToItsSender) {
    for (const uint8_t protocol : {uint8_t{17}, uint8_t{200}}) {
        inject(ipv4(protocol, std::vector<uint8_t>(20, 7)));
        receive();
        const auto report = sent();
        ASSERT_TRUE(report);
        EXPECT_EQ((*report)[34], 3);
        EXPECT_EQ((*report)[35], protocol == 17 ? 3 : 2);
        EXPECT_EQ(report->size(), 34u + 8 + 20 + 8) << "header and eight bytes of it";
        EXPECT_EQ(checksum_fold(checksum_add(&(*report)[34], 36, 0)), 0xffff);
        EXPECT_EQ(load_be32(&(*report)[30]), kPeer);
    }
    EXPECT_EQ(counters.get(Counter::icmp_errors_out), 2u);
}

// RFC 5227, 2.4: an address that somebody else claims is defended, but not in a contest.
TEST_F(Fixture, Arp_AnotherClaimsOurAddress_IsAnsweredOnce) {
    for (int i = 0; i < 3; ++i) {
        inject(arp(1, kOurs, kOurs));
        receive();
    }
    const auto announcement = sent();
    ASSERT_TRUE(announcement);
    EXPECT_EQ(load_be32(&(*announcement)[28]), kOurs);
    EXPECT_EQ(load_be32(&(*announcement)[38]), kOurs);
    EXPECT_FALSE(sent());
    EXPECT_EQ(counters.get(Counter::arp_conflicts), 3u);
    inject(arp(1, 0xe0000001, kOurs));
    receive();
    EXPECT_EQ(counters.get(Counter::drop_source), 1u);
    EXPECT_FALSE(sent());
}

// LRO, GRO, or a veth peer's TSO: one frame of many segments.
TEST_F(Fixture, Aggregate_LargerThanTheMtu_IsOneSegment) {
    for (const bool judged : {false, true}) {
        std::vector<uint8_t> tcp(20 + 40000, 'a');
        store_be16(&tcp[0], 40000);
        store_be16(&tcp[2], 6379);
        tcp[12] = 0x50;
        tcp[13] = kAck;
        store_be16(&tcp[16], 0);
        const uint64_t pseudo =
            pseudo_header_sum(kPeer, kOurs, kProtocolTcp, static_cast<uint32_t>(tcp.size()));
        checksum_store(&tcp[16], checksum_finish(checksum_add(tcp.data(), tcp.size(), pseudo)));
        const std::vector<uint8_t> bytes = ipv4(kProtocolTcp, tcp);
        RxFrame frame{.data = bytes.data(), .size = static_cast<uint32_t>(bytes.size())};
        if (judged) frame.ip_checksum = frame.tcp_checksum = Checksum::kGood;
        TcpSegment segment;
        EXPECT_EQ(interface.handle(frame, 1, segment), Received::kIpv4);
        EXPECT_EQ(segment.size, 40000u);
    }
}

// A port with few frames that takes no more of them at a time than it is told.
class ReluctantPort final : public FramePort {
  public:
    static constexpr uint32_t kFrames = 100;

    ReluctantPort() : memory_(size_t{kFrames} * 2048) {
        info_.mac = {2, 0, 0, 0, 0, 1};
        for (uint32_t i = 0; i < kFrames; ++i) free_.push_back(&memory_[size_t{i} * 2048]);
    }
    const PortInfo& info() const noexcept override { return info_; }
    size_t rx_burst(RxFrame*, size_t) noexcept override { return 0; }
    void rx_release(const RxFrame*, size_t) noexcept override {}
    size_t tx_alloc(TxFrame* frames, size_t count) noexcept override {
        size_t given = 0;
        for (; given < count && !free_.empty(); ++given) {
            frames[given] = {.data = free_.back(), .capacity = 2048};
            free_.pop_back();
        }
        return given;
    }
    size_t tx_burst(TxFrame* frames, size_t count) noexcept override {
        const size_t taken = std::min(count, takes);
        for (size_t i = 0; i < taken; ++i) {
            numbers.push_back(load_be32(frames[i].data + kEthernetBytes + kIpv4Bytes + 4));
        }
        tx_free(frames, taken);
        return taken;
    }
    void tx_free(TxFrame* frames, size_t count) noexcept override {
        for (size_t i = 0; i < count; ++i) free_.push_back(frames[i].data);
    }
    void wait(uint64_t) noexcept override {}
    size_t free_frames() const { return free_.size(); }

    size_t takes = 0;
    std::vector<uint32_t> numbers;  // sequence numbers, as sent

  private:
    PortInfo info_;
    std::vector<uint8_t> memory_;
    std::vector<uint8_t*> free_;
};

TEST(InterfaceFrames, Push_PortTakesFewAtATime_OrderKeptAndNoFrameLost) {
    base::Rng rng(11);
    ReluctantPort port;
    stats::WorkerCounters counters{};
    uint32_t staged = 0;
    {
        Interface interface(port, {kOurs, 24, 0, true}, &counters);
        uint32_t refused = 0;
        for (int round = 0; round < 3000; ++round) {
            port.takes = rng.below(4) == 0 ? 0 : rng.below(9);
            for (uint64_t n = rng.below(9); n > 0; --n) {
                TxFrame* frame = interface.tx_frame();
                if (frame == nullptr) {
                    ++refused;
                    continue;
                }
                SegmentFields fields;
                fields.seq = staged++;
                interface.send_segment(*frame, fields, 0);
            }
            interface.push();
        }
        EXPECT_GT(refused, 0u) << "the port was never full";
        EXPECT_EQ(counters.get(Counter::frames_out), port.numbers.size());
        port.takes = SIZE_MAX;
        interface.push();
    }
    ASSERT_EQ(port.numbers.size(), staged);
    for (uint32_t i = 0; i < staged; ++i) ASSERT_EQ(port.numbers[i], i);
    EXPECT_EQ(port.free_frames(), ReluctantPort::kFrames);
}

}  // namespace
}  // namespace cachee::net
