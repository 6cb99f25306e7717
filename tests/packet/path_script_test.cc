// SPDX-License-Identifier: Apache-2.0
// What the path says: ICMP errors, believed or not (RFC 5927), path MTU (RFC 1191), black holes
// (RFC 4821), and the way back. One script per rule.
#include "net/checksum.h"
#include "tests/packet/script.h"

namespace cachee::packet {
namespace {

using stats::Counter;

constexpr uint8_t kUnreachable = 3;
constexpr uint8_t kPort = 3;
constexpr uint8_t kFragmentationNeeded = 4;
constexpr uint32_t kRouter = 0x0a0000fe;

// An ICMP error of a router about a segment that the server sent.
struct Icmp {
    uint8_t type = kUnreachable;
    uint8_t code = kFragmentationNeeded;
    uint32_t mtu = 0;
    uint32_t seq = 1;  // of the quoted segment, relative as in Segment
    uint32_t quoted_bytes = 1500;
    uint32_t quoted_src = kServer;
    uint16_t quoted_port = kPeerPort;
};

class Path : public Script {
  protected:
    static TcpOptions options() {
        TcpOptions options = default_options();
        options.path_mtu_age_s = 120;
        options.rto_min_ms = 100;
        return options;
    }
    Path() : Script(options()) {}

    void inject_icmp(const Icmp& icmp) {
        TxFrame frame;
        ASSERT_EQ(link_.end(1).tx_alloc(&frame, 1), 1u);
        uint8_t* const p = frame.data;
        constexpr uint32_t kBytes = kEthernetBytes + kIpv4Bytes + 8 + kIpv4Bytes + 8;
        std::memset(p, 0, kBytes);
        std::memcpy(p, link_.end(0).info().mac.data(), 6);
        p[6] = 2;
        store_be16(p + 12, kEtherTypeIpv4);
        uint8_t* const ip = p + kEthernetBytes;
        write_ip(ip, kBytes - kEthernetBytes, kProtocolIcmp, kRouter, kServer);
        uint8_t* const message = ip + kIpv4Bytes;
        message[0] = icmp.type;
        message[1] = icmp.code;
        store_be16(message + 6, static_cast<uint16_t>(icmp.mtu));
        uint8_t* const quote = message + 8;
        write_ip(quote, icmp.quoted_bytes, kProtocolTcp, icmp.quoted_src, kPeer);
        store_be16(quote + kIpv4Bytes, kServerPort);
        store_be16(quote + kIpv4Bytes + 2, icmp.quoted_port);
        store_be32(quote + kIpv4Bytes + 4, iss_ + icmp.seq);
        checksum_store(message + 2, checksum_finish(checksum_add(message, 8 + kIpv4Bytes + 8, 0)));
        frame.size = kBytes;
        link_.end(1).tx_burst(&frame, 1);
        turn();
    }
    static void write_ip(uint8_t* ip, uint32_t total, uint8_t protocol, uint32_t src,
                         uint32_t dst) {
        ip[0] = 0x45;
        store_be16(ip + 2, static_cast<uint16_t>(total));
        ip[8] = 60;
        ip[9] = protocol;
        store_be32(ip + 12, src);
        store_be32(ip + 16, dst);
        checksum_store(ip + 10, checksum_finish(checksum_add(ip, kIpv4Bytes, 0)));
    }
    // An open connection with segments of 1460 bytes, two of which are on the way.
    void send_two_full() {
        inject({.flags = kSyn, .mss = 1460});
        expect({.flags = kSyn | kAck, .ack = 1});
        inject({.flags = kAck, .seq = 1, .ack = 1});
        server_.send(0, std::string(2920, 'd'));
        turn();
        expect_sizes({1460, 1460});
    }
    // Segments of data from there on, of these sizes and no others.
    void expect_sizes(const std::vector<size_t>& sizes, uint32_t from = 1) {
        for (const size_t size : sizes) {
            const auto got = next_frame();
            ASSERT_TRUE(got) << "nothing was sent";
            EXPECT_EQ(got->data.size(), size);
            EXPECT_EQ(got->seq - iss_, from);
            from += static_cast<uint32_t>(size);
        }
        expect_nothing();
    }
};

// RFC 1191, 6.4: smaller, and again at once; not a sign of congestion.
TEST_F(Path, TooBig_InFlight_SegmentsShrinkAndGoAgain) {
    send_two_full();
    inject_icmp({.mtu = 1000});
    expect_sizes({960, 500, 960, 500});  // each cut in two
    inject_icmp({.mtu = 1000, .seq = 1461});
    expect_nothing();  // the second router's word about the same burst
    inject({.flags = kAck, .seq = 1, .ack = 2921});
    EXPECT_EQ(server_.counter(Counter::icmp_too_big), 2u);
    EXPECT_EQ(server_.counter(Counter::tcp_segments_shrunk), 1u);
    EXPECT_EQ(server_.counter(Counter::tcp_rto), 0u);
    server_.send(0, std::string(1000, 'e'));
    turn();
    expect_sizes({960, 40}, 2921);
}

// RFC 5927, 4.1: a number that is not on the way was not seen by any router.
TEST_F(Path, TooBig_NotInFlight_IsRefused) {
    send_two_full();
    inject_icmp({.mtu = 1000, .seq = 2921});
    inject_icmp({.mtu = 1000, .seq = 0xffff0000});
    inject_icmp({.mtu = 1000, .quoted_port = kPeerPort + 1});
    inject_icmp({.mtu = 1000, .quoted_src = kServer + 1});
    expect_nothing();
    EXPECT_EQ(server_.counter(Counter::drop_icmp_refused), 4u);
    inject({.flags = kAck, .seq = 1, .ack = 2921});
    inject_icmp({.mtu = 1000});
    EXPECT_EQ(server_.counter(Counter::drop_icmp_refused), 5u) << "acknowledged since";
    EXPECT_EQ(server_.counter(Counter::tcp_segments_shrunk), 0u);
}

// A link that takes what it is said to have refused is no reason to shrink.
TEST_F(Path, TooBig_NoSmallerThanThePacket_IsRefused) {
    send_two_full();
    inject_icmp({.mtu = 1500});
    inject_icmp({.mtu = 1200, .quoted_bytes = 1100});
    expect_nothing();
    EXPECT_EQ(server_.counter(Counter::drop_icmp_refused), 2u);
}

// No claim shrinks packets below 552 bytes.
TEST_F(Path, TooBig_AbsurdlySmall_StopsAtTheLeast) {
    send_two_full();
    inject_icmp({.mtu = 68});
    expect_sizes({512, 512, 436, 512, 512, 436});
}

// RFC 1191, 5: a router that does not say how large.
TEST_F(Path, TooBig_WithoutSize_TakesTheNextPlateau) {
    send_two_full();
    inject_icmp({.mtu = 0});
    expect_sizes({1360, 100, 1360, 100});
}

// RFC 1122, 4.2.3.9, and RFC 5927, 5.2: an open connection outlives any error.
TEST_F(Path, Unreachable_Established_IsCountedOnly) {
    send_two_full();
    inject_icmp({.code = kPort});
    inject_icmp({.code = 1});
    inject_icmp({.type = 11, .code = 0});
    EXPECT_FALSE(server_.session(0).closed);
    EXPECT_EQ(server_.counter(Counter::icmp_unreachable), 3u);
}

// A connection that nobody wants to accept need not wait for its timeout; no route may pass.
TEST_F(Path, Unreachable_SynSent_HardEndsIt_SoftDoesNot) {
    const int64_t id = server_.connect(kPeer, kPeerPort, kServerPort);
    ASSERT_GE(id, 0);
    turn();
    next_frame();  // answers the ARP request
    wire_.push();
    turn();
    turn();
    expect({.flags = kSyn});
    inject_icmp({.code = 1, .seq = 0, .quoted_bytes = 60});
    EXPECT_FALSE(server_.session(id).closed);
    inject_icmp({.code = kPort, .seq = 5, .quoted_bytes = 60});
    EXPECT_FALSE(server_.session(id).closed) << "not our SYN";
    inject_icmp({.code = kPort, .seq = 0, .quoted_bytes = 60});
    turn();
    EXPECT_TRUE(server_.session(id).closed);
    EXPECT_EQ(server_.session(id).reason, io::CloseReason::kReset);
}

// RFC 4821: full-size segments vanish and nobody says why.
TEST_F(Path, BlackHole_ThreeTimeoutsOfAFullSegment_SmallerOnesAreTried) {
    send_two_full();
    step_ms(250);
    expect_sizes({1460});  // the first timeout: as it was
    step_ms(450);
    expect_sizes({1460});
    step_ms(850);
    expect_sizes({1360});
    EXPECT_EQ(server_.counter(Counter::tcp_black_holes), 1u);
    step_ms(1650);
    expect_sizes({1240});
    inject({.flags = kAck, .seq = 1, .ack = 1241});
    for (const size_t cut_off : {120u, 100u}) {
        const auto rest = next_frame();
        ASSERT_TRUE(rest);
        EXPECT_EQ(rest->data.size(), cut_off);
    }
    const auto next = next_frame();
    ASSERT_TRUE(next);
    EXPECT_EQ(next->data.size(), 1240u);
}

TEST_F(Path, BlackHole_SmallSegment_IsNotSuspected) {
    establish();
    server_.send(0, "hello");
    turn();
    expect({.flags = kAck, .seq = 1, .ack = 1, .data = "hello"});
    step_ms(3000);
    EXPECT_GT(server_.counter(Counter::tcp_rto), 2u);
    EXPECT_EQ(server_.counter(Counter::tcp_black_holes), 0u);
}

// RFC 1191, 6.2: what one connection found out, the next one knows.
TEST_F(Path, KnownPath_NextConnection_StartsSmall) {
    send_two_full();
    inject_icmp({.mtu = 1000});
    expect_sizes({960, 500, 960, 500});  // each cut in two
    inject({.flags = kAck, .seq = 1, .ack = 2921});
    inject({.flags = kSyn, .mss = 1460, .from_port = 41000});
    expect({.flags = kSyn | kAck, .ack = 1});
    EXPECT_EQ(last_.mss, 1460) << "what it can receive is another matter";
    inject({.flags = kAck, .seq = 1, .ack = 1, .from_port = 41000});
    server_.send(1, std::string(1460, 'f'));
    turn();
    expect_sizes({960, 500});
}

// RFC 1191, 6.3: paths change.
TEST_F(Path, Aged_FullSizeIsTriedAgain) {
    send_two_full();
    inject_icmp({.mtu = 1000});
    expect_sizes({960, 500, 960, 500});  // each cut in two
    inject({.flags = kAck, .seq = 1, .ack = 2921});
    step_ms(100'000);
    server_.send(0, std::string(1460, 'g'));
    turn();
    expect_sizes({960, 500}, 2921);
    inject({.flags = kAck, .seq = 1, .ack = 4381});
    step_ms(25'000);
    server_.send(0, std::string(1460, 'h'));
    turn();
    expect_sizes({1460}, 4381);
}

}  // namespace
}  // namespace cachee::packet
