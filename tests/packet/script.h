// SPDX-License-Identifier: Apache-2.0
// Timed packet scripts: crafted segments go into a server stack, and what it sends is compared, in
// virtual time. A script reads from top to bottom:
//
//   peer.inject({.flags = kSyn, .seq = 0, .mss = 1460});
//   peer.expect({.flags = kSyn | kAck, .ack = 1});
//
// Sequence numbers are relative: the peer's to kPeerIss, the stack's to its own initial one.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "drivers/sim/sim_client.h"
#include "drivers/sim/sim_link.h"
#include "net/bytes.h"
#include "net/interface.h"
#include "net/sack_blocks.h"

namespace cachee::packet {

using namespace net;  // NOLINT: the scripts speak its vocabulary

inline constexpr uint32_t kServer = 0x0a000001;
inline constexpr uint32_t kPeer = 0x0a000002;
inline constexpr uint32_t kPeerIss = 0xfffffff0;  // wraps early in every script
inline constexpr uint16_t kPeerPort = 40000;
inline constexpr uint16_t kServerPort = 6379;

struct Segment {
    uint8_t flags = 0;
    uint32_t seq = 0;
    uint32_t ack = 0;
    std::string data = {};
    uint16_t window = 65535;
    uint16_t mss = 0;                 // in a SYN; 0: no option
    uint8_t scale = kNoWindowScale;   // the same
    bool sack = false;                // SACK-permitted, in a SYN
    uint8_t ecn = 0;                  // of the IP header
    std::optional<uint32_t> ts = {};  // with ts_echo: the timestamps option
    uint32_t ts_echo = 0;
    std::vector<SackBlock> blocks =
        {};  // edges like `ack`: of the numbers of the one who sent the data
    uint16_t from_port = kPeerPort;
    uint8_t from_host = 0;  // the last byte of the link address when it is not the peer's own
};

class Script : public ::testing::Test {
  protected:
    explicit Script(TcpOptions options = default_options())
        : link_({}),
          server_(link_.end(0), options),
          wire_(link_.end(1), {kPeer, 24, 0, true}, &peer_counters_) {
        step_ms(1);
        while (next_frame()) {
        }
    }

    static TcpOptions default_options() {
        TcpOptions options;
        options.local_ip = kServer;
        options.listen_port = kServerPort;
        options.sessions_max = 8;
        options.half_open_max = 8;
        options.receive_window_bytes = 10'000;
        options.buffers_bytes_max = 1 << 20;
        options.send_share_percent = 100;
        options.rto_initial_ms = 200;
        options.delayed_ack_ms = 20;
        options.secret_seed = 7;
        return options;
    }

    void inject(const Segment& segment) {
        TxFrame* frame = wire_.tx_frame();
        ASSERT_NE(frame, nullptr);
        SegmentFields fields;
        fields.dst_mac = link_.end(0).info().mac;
        fields.remote_ip = kServer;
        fields.remote_port = kServerPort;
        fields.local_port = segment.from_port;
        fields.seq = kPeerIss + segment.seq;
        fields.ack = (segment.flags & kAck) != 0 ? iss_ + segment.ack : 0;
        fields.flags = segment.flags;
        fields.window = segment.window;
        fields.ecn = segment.ecn;
        uint8_t* option = fields.options;
        if (segment.mss != 0) {
            option[0] = 2;
            option[1] = 4;
            store_be16(option + 2, segment.mss);
            option += 4;
        }
        if (segment.scale != kNoWindowScale) {
            store_be32(option, 0x01030300u | segment.scale);
            option += 4;
        }
        if (segment.sack) {
            store_be32(option, 0x01010402);
            option += 4;
        }
        if (segment.ts) {
            store_be32(option, 0x0101080a);
            store_be32(option + 4, *segment.ts);
            store_be32(option + 8, segment.ts_echo);
            option += 12;
        }
        if (!segment.blocks.empty()) {
            std::vector<SackBlock> blocks = segment.blocks;
            for (SackBlock& block : blocks) block = {iss_ + block.start, iss_ + block.end};
            option += sack_blocks::write_option(option, blocks.data(),
                                                static_cast<uint32_t>(blocks.size()));
        }
        fields.option_bytes = static_cast<uint8_t>(option - fields.options);
        std::memcpy(Interface::payload_of(*frame, fields.option_bytes), segment.data.data(),
                    segment.data.size());
        uint8_t* const bytes = frame->data;
        wire_.send_segment(*frame, fields, static_cast<uint32_t>(segment.data.size()));
        if (segment.from_host != 0) bytes[11] = segment.from_host;
        wire_.push();
        turn();
    }

    // The next segment on the wire must be this one (window and options are not compared).
    void expect(const Segment& expected) {
        const auto got = next_frame();
        ASSERT_TRUE(got) << "nothing was sent";
        if ((got->flags & kSyn) != 0) iss_ = got->seq;
        EXPECT_EQ(static_cast<int>(got->flags & ~kPsh), static_cast<int>(expected.flags & ~kPsh));
        EXPECT_EQ(got->seq - iss_, expected.seq);
        if ((expected.flags & kAck) != 0) {
            EXPECT_EQ(got->ack - kPeerIss, expected.ack);
        }
        EXPECT_EQ(got->data, expected.data);
        EXPECT_EQ(edges(got->blocks, kPeerIss), edges(expected.blocks, 0));
        last_ = *got;
    }
    void expect_nothing() {
        const auto got = next_frame();
        EXPECT_FALSE(got) << "flags " << int{got->flags} << " seq " << got->seq - iss_;
    }

    void step_ms(uint64_t ms) {
        for (uint64_t i = 0; i < ms; ++i) {
            now_ns_ += 1'000'000;
            turn();
        }
    }
    void turn() {
        link_.advance(now_ns_);
        server_.step(now_ns_);
    }
    // SYN, SYN and ACK, ACK; the server's first session.
    void establish() {
        inject({.flags = kSyn, .mss = 1000});
        expect({.flags = kSyn | kAck, .ack = 1});
        inject({.flags = kAck, .seq = 1, .ack = 1});
        expect_nothing();
        ASSERT_EQ(server_.session_count(), 1u);
        ASSERT_TRUE(server_.session(0).opened);
    }

    // The same with SACK, and with timestamps when `ts` is given.
    void establish_with_sack(std::optional<uint32_t> ts = {}) {
        inject({.flags = kSyn, .mss = 1000, .sack = true, .ts = ts});
        expect({.flags = kSyn | kAck, .ack = 1});
        ASSERT_TRUE(last_.sack);
        inject({.flags = kAck, .seq = 1, .ack = 1, .ts = ts, .ts_echo = last_.ts.value_or(0)});
        expect_nothing();
        ASSERT_TRUE(server_.session(0).opened);
    }

    static std::string edges(const std::vector<SackBlock>& blocks, uint32_t origin) {
        std::string text;
        for (const SackBlock& block : blocks) {
            text += std::to_string(block.start - origin) + "-" +
                    std::to_string(block.end - origin) + " ";
        }
        return text;
    }

    std::optional<Segment> next_frame() {
        link_.advance(now_ns_);
        for (;;) {
            RxFrame frame;
            if (wire_.receive(&frame, 1) == 0) return std::nullopt;
            TcpSegment parsed;
            const bool is_tcp = wire_.handle(frame, 1, parsed) != Received::kNone;
            Segment segment;
            segment.ecn = frame.data[15] & 3;
            if (is_tcp) {
                segment.flags = static_cast<uint8_t>(parsed.flags);
                segment.seq = parsed.seq;
                segment.ack = parsed.ack;
                segment.window = static_cast<uint16_t>(parsed.window);
                segment.mss = parsed.mss;
                segment.scale = parsed.window_scale;
                segment.sack = parsed.sack_permitted;
                segment.data.assign(reinterpret_cast<const char*>(parsed.data), parsed.size);
                if (parsed.has_timestamps) segment.ts = parsed.ts_value;
                segment.ts_echo = parsed.ts_echo;
                const uint32_t count = (parsed.flags & kHasSack) != 0 ? parsed.sack_blocks : 0;
                for (uint32_t i = 0; i < count; ++i) {
                    segment.blocks.push_back(
                        {load_be32(parsed.sack + 8 * i), load_be32(parsed.sack + 8 * i + 4)});
                }
            }
            wire_.release(&frame, 1);
            if (is_tcp) return segment;
        }
    }

    uint64_t now_ns_ = 1'000'000'000;
    uint32_t iss_ = 0;
    Segment last_;
    stats::WorkerCounters peer_counters_{};
    sim::SimLink link_;
    sim::SimClient server_;
    Interface wire_;
};

}  // namespace cachee::packet
