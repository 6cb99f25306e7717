// SPDX-License-Identifier: Apache-2.0
// Streams over links that lose, duplicate, reorder, corrupt, delay: the bytes are equal in both
// directions, nothing stalls, and no memory is left behind. Each case prints its seed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <tuple>

#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

struct Case {
    const char* name;
    SimLinkOptions link;
    uint32_t window = 64 * 1024;
    bool sack = true;
    uint32_t records = 65536;
};

std::vector<Case> cases() {
    std::vector<Case> all;
    auto add = [&](const char* name, auto&& change) {
        Case c{name, {}};
        c.link.delay_ns = 300'000;
        change(c);
        all.push_back(c);
    };
    add("clean", [](Case&) {});
    add("loss_1", [](Case& c) { c.link.loss = 0.01; });
    add("loss_10", [](Case& c) { c.link.loss = 0.10; });
    add("loss_25", [](Case& c) { c.link.loss = 0.25; });
    add("loss_5_no_sack", [](Case& c) {
        c.link.loss = 0.05;
        c.sack = false;
    });
    add("loss_5_few_records", [](Case& c) {
        c.link.loss = 0.05;
        c.link.reordering = 0.05;
        c.records = 3;
    });
    add("duplication", [](Case& c) { c.link.duplication = 0.2; });
    add("reordering", [](Case& c) { c.link.reordering = 0.2; });
    add("corruption", [](Case& c) { c.link.corruption = 0.05; });
    add("small_mtu", [](Case& c) { c.link.mtu = 576; });
    add("tiny_window", [](Case& c) { c.window = 3000; });
    add("offloads", [](Case& c) {
        c.link.tx_checksums = c.link.rx_checksums = true;
        c.link.tso_bytes_max = 20'000;
        c.link.loss = 0.02;
    });
    add("short_queue", [](Case& c) { c.link.queue_frames = 12; });
    add("everything", [](Case& c) {
        c.link.loss = 0.05;
        c.link.duplication = 0.05;
        c.link.reordering = 0.05;
        c.link.corruption = 0.02;
        c.link.jitter_ns = 500'000;
        c.link.mtu = 700;
        c.window = 20'000;
    });
    return all;
}

uint64_t seeds_from() {
    const char* text = std::getenv("CACHEE_TEST_SEED");
    return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

class TcpImpaired : public ::testing::TestWithParam<Case> {
  protected:
    void run(uint64_t seed) {
        SCOPED_TRACE("replay with CACHEE_TEST_SEED=" + std::to_string(seed));
        SimLinkOptions link = GetParam().link;
        link.seed = seed;
        auto server_options = small_options(kServerIp);
        auto client_options = small_options(kClientIp);
        server_options.receive_window_bytes = client_options.receive_window_bytes =
            GetParam().window;
        server_options.sack = GetParam().sack;
        server_options.segment_records_max = client_options.segment_records_max =
            GetParam().records;
        World world(link, server_options, client_options);
        base::Rng rng(seed);
        const std::string up = random_bytes(rng, 40'000 + rng.below(60'000));
        const std::string down = random_bytes(rng, 40'000 + rng.below(60'000));
        int64_t c = 0, s = 0;
        std::tie(c, s) = world.open();
        ASSERT_EQ(world.server->session_count(), 1u);
        // Both ends write in pieces of random sizes, and half-close after the last one.
        size_t up_sent = 0;
        size_t down_sent = 0;
        uint64_t progress_ns = world.now_ns;
        size_t received_before = 0;
        const bool done = world.run_until(
            [&, c = c, s = s] {
                feed(*world.client, c, up, up_sent, rng);
                feed(*world.server, s, down, down_sent, rng);
                const size_t received = world.client->session(c).received.size() +
                                        world.server->session(s).received.size();
                if (received != received_before) progress_ns = world.now_ns;
                received_before = received;
                if (world.now_ns - progress_ns > 60 * base::kNsPerS) return true;  // stalled
                return world.client->session(c).closed && world.server->session(s).closed;
            },
            300'000);
        EXPECT_TRUE(done);
        EXPECT_TRUE(world.client->session(c).closed && world.server->session(s).closed)
            << "stalled: received " << world.server->session(s).received.size() << " of "
            << up.size() << " and " << world.client->session(c).received.size() << " of "
            << down.size();
        EXPECT_TRUE(world.server->session(s).received == up);
        EXPECT_TRUE(world.client->session(c).received == down);
        EXPECT_TRUE(world.server->session(s).eof);
        EXPECT_TRUE(world.client->session(c).eof);
        world.run_for_ms(5000);
        EXPECT_EQ(world.server_usage().blocks, 0u);
        EXPECT_EQ(world.client_usage().blocks, 0u);
        EXPECT_EQ(world.server_usage().sessions + world.client_usage().sessions, 0u);
        EXPECT_EQ(world.server_usage().time_wait + world.client_usage().time_wait, 0u);
        EXPECT_EQ(world.server_usage().segment_records, 0u);
        EXPECT_EQ(world.client_usage().segment_records, 0u);
        EXPECT_EQ(world.link.frames_held(), 0u);
        EXPECT_EQ(world.link.counts().oversized, 0u);
    }

    static void feed(SimClient& end, int64_t id, const std::string& all, size_t& sent,
                     base::Rng& rng) {
        if (sent == all.size() || !end.session(id).outbox.empty()) return;
        const size_t n = std::min<size_t>(all.size() - sent, 1 + rng.below(9000));
        end.send(id, std::string_view(all).substr(sent, n));
        sent += n;
        if (sent == all.size()) end.half_close(id);
    }
};

TEST_P(TcpImpaired, Exchange_ManySeeds_StreamsAreEqual) {
    if (const uint64_t seed = seeds_from(); seed != 0) {
        run(seed);
        return;
    }
    const char* count = std::getenv("CACHEE_TEST_SEEDS");
    const uint64_t seeds = count == nullptr ? 8 : std::strtoull(count, nullptr, 10);
    for (uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) run(seed);
}

INSTANTIATE_TEST_SUITE_P(Links, TcpImpaired, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace cachee::sim
