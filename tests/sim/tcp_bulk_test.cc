// SPDX-License-Identifier: Apache-2.0
// Megabytes in both directions over links that lose and reorder, between ends that stop reading now
// and then: the streams are equal and nothing stands still for longer than a few timeouts. Each
// case prints its seed.
#include <gtest/gtest.h>

#include <tuple>

#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

// An end that reads for a while and pauses for a while, as a gateway or a busy client does.
class MoodyReader {
  public:
    MoodyReader(World& world, SimClient& end, int64_t id) : world_(world), end_(end), id_(id) {}

    void turn(base::Rng& rng) {
        if (world_.now_ns < until_ns_) return;
        paused_ = !paused_;
        if (paused_) {
            end_.pause(id_);
        } else {
            end_.resume(id_);
        }
        until_ns_ = world_.now_ns + rng.below(paused_ ? 30'000'000 : 10'000'000);
    }

  private:
    World& world_;
    SimClient& end_;
    int64_t id_;
    bool paused_ = false;
    uint64_t until_ns_ = 0;
};

// The longest time without a byte while bytes were missing.
class Progress {
  public:
    explicit Progress(size_t total) : total_(total) {}
    bool done() const { return seen_ == total_; }
    uint64_t longest_ns() const { return longest_ns_; }
    void look(size_t received, uint64_t now_ns) {
        if (last_ns_ == 0 || received != seen_ || done()) {
            last_ns_ = now_ns;
            seen_ = received;
        }
        longest_ns_ = std::max(longest_ns_, now_ns - last_ns_);
    }

  private:
    size_t total_;
    size_t seen_ = 0;
    uint64_t last_ns_ = 0;
    uint64_t longest_ns_ = 0;
};

void exchange(uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SimLinkOptions link;
    link.seed = seed;
    link.loss = 0.01;
    link.reordering = 0.02;
    link.duplication = 0.01;
    link.delay_ns = 100'000;
    link.jitter_ns = 50'000;
    link.queue_frames = 4096;
    auto options = [](uint32_t ip) {
        net::TcpOptions own = small_options(ip);
        own.send_buffer_bytes_max = 1 << 20;
        own.receive_window_bytes = 256 * 1024;
        own.buffers_bytes_max = 64 << 20;
        return own;
    };
    World world(link, options(kServerIp), options(kClientIp));
    world.step_ns = 20'000;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world.open();
    base::Rng rng(seed);
    const std::string up = random_bytes(rng, 3'000'000);
    const std::string down = random_bytes(rng, 3'000'000);
    world.client->send(c, up);
    world.server->send(s, down);
    MoodyReader client_mood(world, *world.client, c);
    MoodyReader server_mood(world, *world.server, s);
    Progress client_progress(down.size());
    Progress server_progress(up.size());
    world.run_until(
        [&, c = c, s = s] {
            client_mood.turn(rng);
            server_mood.turn(rng);
            client_progress.look(world.client->session(c).received.size(), world.now_ns);
            server_progress.look(world.server->session(s).received.size(), world.now_ns);
            return client_progress.done() && server_progress.done();
        },
        60'000);
    EXPECT_TRUE(world.client->session(c).received == down);
    EXPECT_TRUE(world.server->session(s).received == up);
    // A pause of 30 ms, and after it a few timeouts of 20 ms with back-off at the worst.
    constexpr uint64_t kStallMaxNs = 200'000'000;
    EXPECT_LT(client_progress.longest_ns(), kStallMaxNs);
    EXPECT_LT(server_progress.longest_ns(), kStallMaxNs);
}

TEST(TcpBulk, LossyLink_ReadersPause_NothingStalls) {
    for (uint64_t seed = 1; seed <= 40 && !::testing::Test::HasFailure(); ++seed) exchange(seed);
}

}  // namespace
}  // namespace cachee::sim
