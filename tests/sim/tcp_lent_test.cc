// SPDX-License-Identifier: Apache-2.0
// Values that are sent from where they lie: the stream is right over every kind of port and link,
// the bytes are held for exactly as long as somebody may still read them, and nothing is held once
// the peer has acknowledged them or the session is gone. The lender scribbles over what is given
// back, so that a late reader is found out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <tuple>

#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

class ScribblingLender final : public io::Lender {
  public:
    ~ScribblingLender() override { EXPECT_EQ(held(), 0u); }

    // Held once.
    const uint8_t* lend(const std::string& value) {
        values_.push_back({std::vector<uint8_t>(value.begin(), value.end()), 1});
        return values_.back().bytes.data();
    }
    void hold(const uint8_t* data) noexcept override {
        Value& value = find(data);
        EXPECT_GT(value.holds, 0u) << "held again after it was given back";
        ++value.holds;
    }
    void give_back(const uint8_t* data) noexcept override {
        Value& value = find(data);
        ASSERT_GT(value.holds, 0u) << "given back twice";
        if (--value.holds == 0) std::fill(value.bytes.begin(), value.bytes.end(), 0xdd);
    }
    size_t held() const {
        return static_cast<size_t>(std::count_if(values_.begin(), values_.end(),
                                                 [](const Value& v) { return v.holds > 0; }));
    }

  private:
    struct Value {
        std::vector<uint8_t> bytes;
        uint32_t holds;
    };
    Value& find(const uint8_t* data) {
        for (Value& value : values_) {
            const uint8_t* first = value.bytes.data();
            if (data >= first && data < first + value.bytes.size()) return value;
        }
        ADD_FAILURE() << "bytes of nobody";
        return values_.front();
    }
    std::list<Value> values_;
};

SimLinkOptions port(bool attach, uint32_t tso_bytes_max) {
    SimLinkOptions link;
    link.delay_ns = 100'000;
    link.queue_frames = 4096;
    link.tx_checksums = true;
    link.tx_attach = attach;
    link.tso_bytes_max = tso_bytes_max;
    return link;
}

net::TcpOptions roomy(uint32_t ip) {
    net::TcpOptions options = small_options(ip);
    options.receive_window_bytes = 256 * 1024;
    options.buffers_bytes_max = 32 << 20;
    options.send_buffer_bytes_max = 16 << 20;
    return options;
}

// Replies as a worker makes them: a header, a value, an end; some small ones between.
std::string send_replies(World& world, ScribblingLender& lender, int64_t s, base::Rng& rng,
                         size_t values, size_t bytes_min, size_t bytes_max) {
    std::string expected;
    net::TcpTransport& transport = world.server->transport();
    const io::SessionIndex index = world.server->index_of(s);
    auto copy = [&](const std::string& text) {
        const auto* data = reinterpret_cast<const uint8_t*>(text.data());
        ASSERT_EQ(transport.append(index, data, text.size()), text.size());
        expected += text;
    };
    for (size_t i = 0; i < values; ++i) {
        const std::string value =
            random_bytes(rng, bytes_min + rng.below(bytes_max - bytes_min + 1));
        copy("$" + std::to_string(value.size()) + "\r\n");
        const uint8_t* data = lender.lend(value);
        if (transport.takes_lent() && transport.append_lent(index, data, value.size(), lender)) {
            expected += value;
        } else {
            lender.give_back(data);
            copy(value);
        }
        copy("\r\n");
        if (rng.chance(0.5)) {
            uint8_t* out = transport.reserve(index, 5);
            if (out != nullptr) {
                std::memcpy(out, "+OK\r\n", 5);
                transport.commit(index, 5);
                expected += "+OK\r\n";
            }
        }
    }
    return expected;
}

void round_trip(const SimLinkOptions& link, uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed) + (link.tx_attach ? ", attached" : ", copied") +
                 ", tso " + std::to_string(link.tso_bytes_max));
    ScribblingLender lender;
    World world(link, roomy(kServerIp), roomy(kClientIp));
    world.step_ns = 20'000;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    base::Rng rng(seed);
    const std::string expected = send_replies(world, lender, s, rng, 12, 1, 200'000);
    EXPECT_EQ(world.server->counter(stats::Counter::values_lent) > 0, link.tx_attach);
    EXPECT_TRUE(world.run_until(
        [&, c = c] { return world.client->session(c).received.size() >= expected.size(); },
        30'000));
    EXPECT_TRUE(world.client->session(c).received == expected);
    world.run_for_ms(100);
    EXPECT_EQ(lender.held(), 0u) << "acknowledged, but still held";
    EXPECT_EQ(world.server_usage().blocks, 0u);
}

TEST(TcpLent, CleanLink_EveryKindOfPort_StreamIsRight) {
    for (const bool attach : {false, true}) {
        for (const uint32_t tso : {0u, 9000u, 60'000u}) {
            for (uint64_t seed = 1; seed <= 4; ++seed) round_trip(port(attach, tso), seed);
        }
    }
}

TEST(TcpLent, LossyLink_Retransmitted_StreamIsRight) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
        SimLinkOptions link = port(true, seed % 2 == 0 ? 16'384 : 0);
        link.seed = seed;
        link.loss = 0.02;
        link.reordering = 0.02;
        link.duplication = 0.01;
        round_trip(link, seed);
    }
}

TEST(TcpLent, SessionAborted_EverythingIsGivenBack) {
    for (const bool by_peer : {false, true}) {
        ScribblingLender lender;
        World world(port(true, 0), roomy(kServerIp), roomy(kClientIp));
        int64_t c = 0, s = 0;
        std::tie(c, s) = world.open();
        world.client->pause(c);
        base::Rng rng(3);
        send_replies(world, lender, s, rng, 1, 400'000, 400'000);
        world.run_for_ms(50);
        EXPECT_GT(lender.held(), 0u) << "the peer reads nothing: the value must still be held";
        if (by_peer) {
            world.client->abort(c);
        } else {
            world.server->abort(s);
        }
        world.run_for_ms(100);
        EXPECT_EQ(lender.held(), 0u);
        EXPECT_EQ(world.server_usage().blocks, 0u);
    }
}

TEST(TcpLent, TransportDestroyed_EverythingIsGivenBack) {
    ScribblingLender lender;
    {
        World world(port(true, 0), roomy(kServerIp), roomy(kClientIp));
        int64_t c = 0, s = 0;
        std::tie(c, s) = world.open();
        world.client->pause(c);
        base::Rng rng(4);
        send_replies(world, lender, s, rng, 1, 400'000, 400'000);
        world.run_for_ms(20);
        EXPECT_GT(lender.held(), 0u);
        world.server.reset();
        world.client.reset();
    }
    EXPECT_EQ(lender.held(), 0u);
}

TEST(TcpLent, SendLimitReachedOrNoBlocks_Refused) {
    ScribblingLender lender;
    net::TcpOptions server = roomy(kServerIp);
    server.send_buffer_bytes_max = 64 * 1024;
    server.buffers_bytes_max = 64 * 1024;  // 32 blocks: one value of 1 MiB needs 32 and a header
    World world(port(true, 0), server, roomy(kClientIp));
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    world.client->pause(c);
    const io::SessionIndex index = world.server->index_of(s);
    net::TcpTransport& transport = world.server->transport();
    const std::string value(900'000, 'v');
    const uint8_t* first = lender.lend(value);
    ASSERT_TRUE(transport.append_lent(index, first, value.size(), lender));
    // Over the session's limit now, whatever its length.
    const uint8_t* second = lender.lend("x");
    EXPECT_FALSE(transport.append_lent(index, second, 1, lender));
    lender.give_back(second);
    // Another session: below its limit, but the pool cannot hold that many descriptions.
    int64_t c2 = 0, s2 = 0;
    std::tie(c2, s2) = world.open();
    const uint8_t* third = lender.lend(value);
    EXPECT_FALSE(transport.append_lent(world.server->index_of(s2), third, value.size(), lender));
    lender.give_back(third);
    world.client->abort(c);
    world.client->abort(c2);
    world.run_for_ms(100);
    EXPECT_EQ(lender.held(), 0u);
}

}  // namespace
}  // namespace cachee::sim
