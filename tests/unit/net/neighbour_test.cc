// SPDX-License-Identifier: Apache-2.0
// Neighbour discovery rule by rule: the states of the cache (RFC 4861, 7.3), and what an interface
// answers, believes and refuses, over the simulated link in virtual time.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <vector>

#include "drivers/sim/sim_link.h"
#include "net/bytes.h"
#include "net/checksum.h"
#include "net/interface.h"

namespace cachee::net {
namespace {

using stats::Counter;
using State = NeighbourCache::State;

Ipv6Address address(const char* text) { return *parse_ipv6_address(text); }

const Ipv6Address kOurs = address("fd00::1");
const Ipv6Address kPeer = address("fd00::2");
const Ipv6Address kRouter = address("fe80::99");
const Ipv6Address kFar = address("2001:db8::5");
constexpr MacAddress kPeerMac = {2, 0, 0, 0, 0, 9};
constexpr MacAddress kOtherMac = {2, 0, 0, 0, 0, 8};
constexpr uint32_t kSecond = 954;

// --- the cache

struct Cache : public ::testing::Test {
    NeighbourCache cache{4};
    uint32_t tick = 1000;
    std::vector<bool> asked;  // true: straight to the neighbour

    void run_for(uint32_t ticks) {
        for (const uint32_t end = tick + ticks; seq_lt(tick, end); tick += 50) {
            cache.on_timer(tick, [&](const Ipv6Address&, const uint8_t* mac) {
                asked.push_back(mac != nullptr);
            });
        }
    }
    void reach() {
        cache.resolve(kPeer, tick);
        cache.learn_advertisement(kPeer, {kPeerMac.data(), true, false}, tick);
    }
};

TEST_F(Cache, Unanswered_ThreeQuestionsThenGone) {
    EXPECT_TRUE(cache.resolve(kPeer, tick).ask);
    EXPECT_FALSE(cache.resolve(kPeer, tick).ask) << "one question, not one per packet";
    run_for(5 * kSecond);
    EXPECT_EQ(asked, (std::vector<bool>{false, false})) << "three with the first";
    EXPECT_EQ(cache.state_of(kPeer), State::kFree);
}

TEST_F(Cache, Reachable_GrowsStale_IsProbedWhenUsed_ThenGone) {
    reach();
    EXPECT_EQ(cache.state_of(kPeer), State::kReachable);
    run_for(31 * kSecond);
    EXPECT_TRUE(asked.empty()) << "nobody needs it";
    EXPECT_TRUE(cache.resolve(kPeer, tick).known) << "stale, and used";
    EXPECT_EQ(cache.state_of(kPeer), State::kDelay);
    run_for(4 * kSecond);
    EXPECT_TRUE(asked.empty());
    run_for(2 * kSecond);
    EXPECT_EQ(cache.state_of(kPeer), State::kProbe);
    run_for(5 * kSecond);
    EXPECT_EQ(asked, (std::vector<bool>{true, true, true}));
    EXPECT_EQ(cache.state_of(kPeer), State::kFree);
}

TEST_F(Cache, Probe_Answered_IsReachable) {
    reach();
    tick += 31 * kSecond;
    cache.resolve(kPeer, tick);
    run_for(6 * kSecond);
    EXPECT_EQ(cache.state_of(kPeer), State::kProbe);
    cache.learn_advertisement(kPeer, {nullptr, true, false}, tick);
    EXPECT_EQ(cache.state_of(kPeer), State::kReachable);
}

// RFC 4861, 7.2.5: another link address is taken with the override flag only.
TEST_F(Cache, Advertisement_OtherAddress_ByOverrideOnly) {
    reach();
    EXPECT_FALSE(cache.learn_advertisement(kPeer, {kOtherMac.data(), true, false}, tick));
    EXPECT_EQ(cache.resolve(kPeer, tick).mac, kPeerMac);
    EXPECT_EQ(cache.state_of(kPeer), State::kDelay) << "doubted, and used";
    EXPECT_TRUE(cache.learn_advertisement(kPeer, {kOtherMac.data(), false, true}, tick));
    EXPECT_EQ(cache.resolve(kPeer, tick).mac, kOtherMac);
}

TEST_F(Cache, Advertisement_NobodyAsked_IsNotEntered) {
    EXPECT_FALSE(cache.learn_advertisement(kPeer, {kPeerMac.data(), true, true}, tick));
    EXPECT_FALSE(cache.learn_source(kPeer, kPeerMac.data(), tick));
    EXPECT_EQ(cache.state_of(kPeer), State::kFree);
}

// RFC 6583: questions that nobody answers make room first.
TEST_F(Cache, Full_UnansweredQuestionsMakeRoom) {
    reach();
    for (const char* text : {"fd00::11", "fd00::12", "fd00::13", "fd00::14", "fd00::15"}) {
        tick += 10;
        EXPECT_TRUE(cache.resolve(address(text), tick).ask);
    }
    EXPECT_EQ(cache.state_of(kPeer), State::kReachable);
    EXPECT_EQ(cache.state_of(address("fd00::12")), State::kFree);
    run_for(5 * kSecond);
    EXPECT_EQ(cache.state_of(address("fd00::15")), State::kFree);
    EXPECT_EQ(cache.state_of(kPeer), State::kReachable);
}

// --- the interface

InterfaceOptions dual(uint32_t replies_per_s = 1000) {
    InterfaceOptions options{0x0a000001, 24, 0, true};
    options.ipv6.enabled = true;
    options.ipv6.addresses = {{kOurs, 64}};
    options.icmp_replies_per_s = replies_per_s;
    options.secret_seed = 5;
    return options;
}

struct Neighbour : public ::testing::Test {
    sim::SimLink link{{}};
    FramePort& peer = link.end(1);
    stats::WorkerCounters counters{};
    std::unique_ptr<Interface> interface =
        std::make_unique<Interface>(link.end(0), dual(), &counters);
    uint32_t tick = 1000;

    struct Sent {
        MacAddress dst_mac;
        Ipv6Address src, dst;
        uint8_t hops = 0;
        std::vector<uint8_t> icmp;
    };
    // The next ICMPv6 message on the wire of this type.
    std::optional<Sent> sent(uint8_t type) {
        interface->push();
        RxFrame frame;
        while (peer.rx_burst(&frame, 1) == 1) {
            std::optional<Sent> result;
            const uint8_t* ip = frame.data + kEthernetBytes;
            Ipv6Packet packet;
            Ipv6Problem problem;
            if (load_be16(frame.data + 12) == kEtherTypeIpv6 &&
                parse_ipv6(ip, frame.size - kEthernetBytes, packet, problem) ==
                    Ipv6Verdict::kGood &&
                packet.payload[0] == type) {
                const uint64_t pseudo =
                    ipv6_pseudo_sum(packet.header + 8, kProtocolIcmpv6, packet.payload_bytes);
                EXPECT_EQ(checksum_fold(checksum_add(packet.payload, packet.payload_bytes, pseudo)),
                          0xffff);
                result = Sent{{}, packet.src(), packet.dst(), packet.hop_limit, {}};
                std::memcpy(result->dst_mac.data(), frame.data, 6);
                result->icmp.assign(packet.payload, packet.payload + packet.payload_bytes);
            }
            peer.rx_release(&frame, 1);
            if (result) return result;
        }
        return std::nullopt;
    }
    void drain() {
        while (sent(0)) {
        }
    }
    void inject(const Ipv6Address& src, const Ipv6Address& dst, std::vector<uint8_t> icmp,
                uint8_t hops = 255, uint8_t protocol = kProtocolIcmpv6) {
        TxFrame frame;
        ASSERT_EQ(peer.tx_alloc(&frame, 1), 1u);
        const MacAddress to = dst.multicast() ? multicast_mac_of(dst) : link.end(0).info().mac;
        std::memcpy(frame.data, to.data(), 6);
        std::memcpy(frame.data + 6, kPeerMac.data(), 6);
        store_be16(frame.data + 12, kEtherTypeIpv6);
        uint8_t* ip = frame.data + kEthernetBytes;
        store_be32(ip, 0x60000000);
        store_be16(ip + 4, static_cast<uint16_t>(icmp.size()));
        ip[6] = protocol;
        ip[7] = hops;
        src.store(ip + 8);
        dst.store(ip + 24);
        if (protocol == kProtocolIcmpv6) {
            const auto size = static_cast<uint32_t>(icmp.size());
            store_be16(&icmp[2], 0);
            const uint64_t pseudo = ipv6_pseudo_sum(ip + 8, kProtocolIcmpv6, size);
            checksum_store(&icmp[2], checksum_finish(checksum_add(icmp.data(), size, pseudo)));
        }
        std::memcpy(ip + kIpv6Bytes, icmp.data(), icmp.size());
        frame.size = kEthernetBytes + kIpv6Bytes + static_cast<uint32_t>(icmp.size());
        peer.tx_burst(&frame, 1);
        RxFrame received;
        ASSERT_EQ(interface->receive(&received, 1), 1u);
        TcpSegment segment;
        EXPECT_EQ(interface->handle(received, tick, segment), Received::kNone);
        interface->release(&received, 1);
    }
    static std::vector<uint8_t> message(uint8_t type, uint32_t word, const Ipv6Address* target,
                                        uint8_t option = 0, const MacAddress& mac = kPeerMac) {
        std::vector<uint8_t> icmp(8);
        icmp[0] = type;
        store_be32(&icmp[4], word);
        if (target != nullptr) {
            icmp.insert(icmp.end(), target->bytes.begin(), target->bytes.end());
        }
        if (option != 0) {
            icmp.insert(icmp.end(), {option, 1});
            icmp.insert(icmp.end(), mac.begin(), mac.end());
        }
        return icmp;
    }
    static std::vector<uint8_t> advertisement_of_router(uint16_t lifetime_s) {
        auto icmp = message(134, 64u << 24 | lifetime_s, nullptr);
        icmp.resize(16);
        icmp.insert(icmp.end(), {1, 1});
        icmp.insert(icmp.end(), kPeerMac.begin(), kPeerMac.end());
        return icmp;
    }
    // Past the test for duplicates.
    void settle() {
        interface->announce(tick);
        tick += 2 * kSecond;
        interface->on_timer(tick);
        drain();
    }
};

TEST_F(Neighbour, Solicitation_ForUs_IsAnsweredWithOurAddress) {
    settle();
    inject(kPeer, solicited_node_of(kOurs), message(135, 0, &kOurs, 1));
    const auto answer = sent(136);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->dst, kPeer);
    EXPECT_EQ(answer->dst_mac, kPeerMac);
    EXPECT_EQ(answer->src, kOurs);
    EXPECT_EQ(answer->hops, 255);
    EXPECT_EQ(load_be32(&answer->icmp[4]), 0x60000000u) << "solicited, override";
    EXPECT_EQ(Ipv6Address::load(&answer->icmp[8]), kOurs);
    EXPECT_EQ(answer->icmp[24], 2);
    EXPECT_EQ(0, std::memcmp(&answer->icmp[26], link.end(0).info().mac.data(), 6));
}

// RFC 4861, 7.1.1: from beyond the link, malformed, or for nobody here.
TEST_F(Neighbour, Solicitation_FailingTheChecks_IsRefused) {
    settle();
    inject(kPeer, kOurs, message(135, 0, &kOurs, 1), 64);  // a router took hops
    auto code = message(135, 0, &kOurs, 1);
    code[1] = 1;
    inject(kPeer, kOurs, code);
    auto option = message(135, 0, &kOurs, 1);
    option[25] = 0;
    inject(kPeer, kOurs, option);
    inject(kPeer, kOurs, message(135, 0, &kAllNodes, 1));
    inject(Ipv6Address{}, kOurs, message(135, 0, &kOurs));  // a test, but to one host
    inject(Ipv6Address{}, solicited_node_of(kOurs), message(135, 0, &kOurs, 1));  // with an address
    EXPECT_EQ(counters.get(Counter::drop_nd_refused), 6u);
    inject(kPeer, kAllNodes, message(135, 0, &kPeer, 1));
    EXPECT_FALSE(sent(136));
}

TEST_F(Neighbour, Advertisement_SolicitedToAGroup_IsRefused) {
    settle();
    inject(kPeer, kAllNodes, message(136, 0x60000000, &kPeer, 2));
    EXPECT_EQ(counters.get(Counter::drop_nd_refused), 1u);
}

TEST_F(Neighbour, Resolve_AsksTheGroup_ThenKnows) {
    settle();
    MacAddress mac{};
    EXPECT_FALSE(interface->resolve(kPeer, tick, mac));
    const auto question = sent(135);
    ASSERT_TRUE(question);
    EXPECT_EQ(question->dst, solicited_node_of(kPeer));
    EXPECT_EQ(question->dst_mac, multicast_mac_of(solicited_node_of(kPeer)));
    EXPECT_EQ(question->src, kOurs);
    inject(kPeer, kOurs, message(136, 0x60000000, &kPeer, 2));
    EXPECT_TRUE(interface->resolve(kPeer, tick, mac));
    EXPECT_EQ(mac, kPeerMac);
    EXPECT_EQ(interface->resolutions(), 1u);
}

// RFC 4862, 5.4, and RFC 4429: tested with questions from nowhere; lost when somebody has it.
TEST_F(Neighbour, DuplicateTest_Unanswered_AddressIsAdvertised) {
    interface->announce(tick);
    const auto first = sent(135);
    ASSERT_TRUE(first);
    EXPECT_TRUE(first->src.unspecified());
    const auto second = sent(135);
    ASSERT_TRUE(second);
    EXPECT_EQ(Ipv6Address::load(&second->icmp[8]), kOurs);
    inject(kPeer, kOurs, message(135, 0, &kOurs, 1));
    const auto early = sent(136);
    ASSERT_TRUE(early) << "optimistic";
    EXPECT_EQ(load_be32(&early->icmp[4]), 0x40000000u) << "without override";
    tick += kSecond;
    interface->on_timer(tick);
    const auto unsolicited = sent(136);
    ASSERT_TRUE(unsolicited);
    EXPECT_EQ(unsolicited->dst, kAllNodes);
    EXPECT_EQ(load_be32(&unsolicited->icmp[4]), 0x20000000u);
}

TEST_F(Neighbour, DuplicateTest_SomebodyHasIt_AddressIsGivenUp) {
    interface->announce(tick);
    drain();
    inject(kOurs, kAllNodes, message(136, 0x20000000, &kOurs, 2));
    EXPECT_EQ(counters.get(Counter::drop_source), 1u) << "as a source it is ours";
    inject(kPeer, kAllNodes, message(136, 0x20000000, &kOurs, 2));
    EXPECT_EQ(counters.get(Counter::nd_duplicates), 1u);
    inject(kPeer, solicited_node_of(kOurs), message(135, 0, &kOurs, 1));
    EXPECT_FALSE(sent(136)) << "it is the other's now";
}

TEST_F(Neighbour, DuplicateTest_OfAnother_LosesToUsOrCollides) {
    interface->announce(tick);
    const auto own = sent(135);
    ASSERT_TRUE(own);
    const auto second = sent(135);
    ASSERT_TRUE(second);
    // Our own question that came back (RFC 7527), then another host's.
    inject(Ipv6Address{}, solicited_node_of(kOurs), second->icmp);
    EXPECT_EQ(counters.get(Counter::nd_duplicates), 0u);
    inject(Ipv6Address{}, solicited_node_of(kOurs), message(135, 0, &kOurs));
    EXPECT_EQ(counters.get(Counter::nd_duplicates), 1u);
}

TEST_F(Neighbour, DuplicateTest_OfAnotherLater_IsAnsweredToAll) {
    settle();
    inject(Ipv6Address{}, solicited_node_of(kOurs), message(135, 0, &kOurs));
    const auto answer = sent(136);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->dst, kAllNodes);
    inject(kPeer, kAllNodes, message(136, 0x20000000, &kOurs, 2));
    EXPECT_EQ(counters.get(Counter::nd_conflicts), 1u) << "ours is in use: counted, kept";
}

// RFC 4861, 6.1.2 and 6.3.4.
TEST_F(Neighbour, Router_AdvertisesItself_IsTheNextHopForItsLifetime) {
    settle();
    MacAddress mac{};
    EXPECT_FALSE(interface->resolve(kFar, tick, mac));
    EXPECT_FALSE(sent(135)) << "no router: nobody to ask";
    inject(kPeer, kAllNodes, advertisement_of_router(1800));
    EXPECT_EQ(counters.get(Counter::drop_nd_refused), 1u) << "not from a link-local address";
    inject(kRouter, kAllNodes, advertisement_of_router(1800), 64);
    EXPECT_EQ(counters.get(Counter::drop_nd_refused), 2u) << "from beyond the link";
    inject(kRouter, kAllNodes, advertisement_of_router(2));
    EXPECT_FALSE(interface->resolve(kFar, tick, mac));
    const auto question = sent(135);
    ASSERT_TRUE(question);
    EXPECT_EQ(Ipv6Address::load(&question->icmp[8]), kRouter);
    inject(kRouter, interface->source_for(kRouter)[0], message(136, 0xe0000000, &kRouter, 2));
    EXPECT_TRUE(interface->resolve(kFar, tick, mac));
    EXPECT_EQ(mac, kPeerMac);
    tick += 3 * kSecond;
    EXPECT_FALSE(interface->resolve(kFar, tick, mac)) << "its lifetime is over";
}

TEST_F(Neighbour, Router_Withdrawn_IsNotUsed) {
    settle();
    inject(kRouter, kAllNodes, advertisement_of_router(1800));
    inject(kRouter, kAllNodes, advertisement_of_router(0));
    MacAddress mac{};
    interface->resolve(kFar, tick, mac);
    EXPECT_FALSE(sent(135));
}

TEST_F(Neighbour, RouterSolicitations_ThreeThenNoMore) {
    interface->announce(tick);
    int asked = 0;
    for (int i = 0; i < 30; ++i) {
        tick += kSecond;
        interface->on_timer(tick);
        while (sent(133)) ++asked;
    }
    EXPECT_EQ(asked, 3);
}

// RFC 3810: the switch must know which groups to send here.
TEST_F(Neighbour, Groups_AreReportedAtTheStartAndWhenAsked) {
    interface->announce(tick);
    const auto report = sent(143);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->hops, 1);
    EXPECT_EQ(report->dst, address("ff02::16"));
    ASSERT_EQ(report->icmp.size(), 8u + 2 * 20);
    EXPECT_EQ(report->icmp[8], 4);
    EXPECT_EQ(Ipv6Address::load(&report->icmp[8 + 20 + 4]), solicited_node_of(kOurs));
    drain();
    inject(kRouter, kAllNodes, std::vector<uint8_t>{130, 0, 0, 0, 0, 0, 0, 0}, 1);
    EXPECT_TRUE(sent(143));
    inject(kRouter, kAllNodes, std::vector<uint8_t>{130, 0, 0, 0, 0, 0, 0, 0}, 64);
    EXPECT_FALSE(sent(143));
}

TEST_F(Neighbour, Echo_IsAnswered_WithinTheRate) {
    interface = std::make_unique<Interface>(link.end(0), dual(10), &counters);
    std::vector<uint8_t> echo = {128, 0, 0, 0, 1, 2, 3, 4, 'h', 'i', '!'};
    inject(kPeer, kOurs, echo, 64);
    const auto answer = sent(129);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->icmp.size(), echo.size());
    EXPECT_EQ(answer->icmp[10], '!');
    int answers = 0;
    for (int i = 0; i < 100; ++i) {
        inject(kPeer, kOurs, echo, 64);
        if (sent(129)) ++answers;
    }
    EXPECT_LE(answers, 15);
    EXPECT_EQ(counters.get(Counter::drop_rate_limited), 100u - static_cast<uint32_t>(answers));
}

TEST_F(Neighbour, Packets_ForOthersOrFromNobody_AreCounted) {
    settle();
    inject(kPeer, address("fd00::77"), std::vector<uint8_t>(20), 64, 6);
    inject(kPeer, solicited_node_of(address("fd00::77")), message(135, 0, &kPeer, 1));
    EXPECT_EQ(counters.get(Counter::drop_not_for_us), 2u);
    inject(address("ff02::5"), kOurs, std::vector<uint8_t>(20), 64, 6);
    inject(address("::1"), kOurs, std::vector<uint8_t>(20), 64, 6);
    inject(Ipv6Address{}, kOurs, std::vector<uint8_t>(20), 64, 6);
    EXPECT_EQ(counters.get(Counter::drop_source), 3u);
    inject(kPeer, kOurs, {6, 0, 0, 1, 0, 0, 0, 1, 0, 0}, 64, 44);
    EXPECT_EQ(counters.get(Counter::drop_fragment_ipv6), 1u);
    inject(kPeer, kOurs, {6, 0, 0xde, 4, 0, 0, 0, 0}, 64, 60);
    EXPECT_EQ(counters.get(Counter::drop_ipv6_extension), 1u);
}

// RFC 8200, 4 and 4.2, RFC 4443, 3.1 and 3.4: the sender learns what was not understood.
TEST_F(Neighbour, Packets_NotUnderstood_AreReported) {
    settle();
    inject(kPeer, kOurs, {6, 0, 0xde, 4, 0, 0, 0, 0}, 64, 60);
    auto report = sent(4);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->icmp[1], 2) << "unknown option";
    EXPECT_EQ(load_be32(&report->icmp[4]), kIpv6Bytes + 2);
    EXPECT_EQ(report->icmp.size(), 8u + kIpv6Bytes + 8) << "all of the packet";
    inject(kPeer, kOurs, {6, 0, 0x5e, 4, 0, 0, 0, 0}, 64, 60);
    EXPECT_FALSE(sent(4)) << "to be dropped without a word";
    inject(kPeer, kOurs, std::vector<uint8_t>(8), 64, 200);
    report = sent(4);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->icmp[1], 1) << "unknown protocol";
    EXPECT_EQ(load_be32(&report->icmp[4]), 6u);
    inject(kPeer, kOurs, std::vector<uint8_t>(8), 64, 17);
    report = sent(1);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->icmp[1], 4) << "no such port";
    inject(kPeer, kAllNodes, std::vector<uint8_t>(8), 64, 17);
    EXPECT_FALSE(sent(1)) << "it went to a group";
    EXPECT_EQ(counters.get(Counter::icmp_errors_out), 3u);
}

struct Recorder : IcmpErrorSink {
    std::vector<IcmpError> errors;
    void on_icmp_error(const IcmpError& error) noexcept override { errors.push_back(error); }
};

TEST_F(Neighbour, PacketTooBig_IsHandedUpWithWhatItQuotes) {
    settle();
    Recorder recorder;
    interface->set_error_sink(&recorder);
    std::vector<uint8_t> icmp(8 + kIpv6Bytes + 8);
    icmp[0] = 2;
    store_be32(&icmp[4], 1280);
    uint8_t* const quote = &icmp[8];
    quote[0] = 0x60;
    store_be16(quote + 4, 1460);
    quote[6] = kProtocolTcp;
    kOurs.store(quote + 8);
    kFar.store(quote + 24);
    store_be16(quote + kIpv6Bytes, 6379);
    store_be16(quote + kIpv6Bytes + 2, 40000);
    store_be32(quote + kIpv6Bytes + 4, 77);
    inject(kPeer, kOurs, icmp, 60);
    ASSERT_EQ(recorder.errors.size(), 1u);
    const IcmpError& error = recorder.errors[0];
    EXPECT_EQ(error.kind, IcmpError::Kind::kTooBig);
    EXPECT_TRUE(error.ipv6);
    EXPECT_EQ(error.mtu, 1280u);
    EXPECT_EQ(error.quoted_bytes, 1500u);
    EXPECT_EQ(error.pair, (Ipv6Pair{kFar, kOurs}));
    EXPECT_EQ(error.local_port, 6379);
    EXPECT_EQ(error.remote_port, 40000);
    EXPECT_EQ(error.seq, 77u);
    quote[6] = 17;
    inject(kPeer, kOurs, icmp, 60);
    icmp.resize(8 + kIpv6Bytes + 7);
    inject(kPeer, kOurs, icmp, 60);
    EXPECT_EQ(recorder.errors.size(), 1u) << "no TCP, and too short a quote";
    EXPECT_EQ(counters.get(Counter::drop_icmp_refused), 2u);
}

}  // namespace
}  // namespace cachee::net
