// SPDX-License-Identifier: Apache-2.0
// What a bulk transfer reaches: a matrix of loss and round trip, kept as a snapshot in
// tests/sim/goodput.txt, and a link of limited bandwidth with a bounded queue, where congestion
// control has to find the rate. CACHEE_UPDATE_SNAPSHOT=1 writes the snapshot anew. Each cell is the
// mean over three seeds of virtual time.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <map>
#include <sstream>
#include <tuple>

#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

using net::CongestionControl;
using stats::Counter;

struct Sender {
    const char* name;
    CongestionControl control = CongestionControl::kCubic;
    bool sack = true;
    net::Ecn ecn = net::Ecn::kAccept;
};
constexpr Sender kSenders[] = {{"cubic", CongestionControl::kCubic, true},
                               {"newreno", CongestionControl::kNewReno, true},
                               {"no-sack", CongestionControl::kCubic, false}};
constexpr double kLoss[] = {0, 0.001, 0.01, 0.03, 0.1};
constexpr uint32_t kRttUs[] = {200, 1000, 10000, 50000};

net::TcpOptions bulk_options(uint32_t ip, const Sender& sender) {
    net::TcpOptions options = small_options(ip);
    options.send_buffer_bytes_max = 1 << 20;
    options.receive_window_bytes = 1 << 20;
    options.out_of_order_bytes_max = 2 << 20;
    options.buffers_bytes_max = 64 << 20;
    options.congestion_control = sender.control;
    options.sack = sender.sack;
    options.ecn = sender.ecn;
    return options;
}

// Bytes per second of a transfer from the server; 0 when it did not end.
double goodput(const SimLinkOptions& link, const Sender& sender, size_t bytes, uint64_t step_ns,
               World** out = nullptr) {
    static std::unique_ptr<World> world;
    world = std::make_unique<World>(link, bulk_options(kServerIp, sender),
                                    bulk_options(kClientIp, sender));
    world->step_ns = step_ns;
    int64_t c = 0, s = 0;
    std::tie(c, s) = world->open();
    const uint64_t begin = world->now_ns;
    world->server->send(s, std::string(bytes, 'g'));
    const bool done = world->run_until(
        [&, c = c] { return world->client->session(c).received.size() == bytes; }, 600'000);
    if (out != nullptr) *out = world.get();
    const auto ns = static_cast<double>(world->now_ns - begin);
    return done ? static_cast<double>(bytes) * 1e9 / ns : 0;
}

double cell(const Sender& sender, double loss, uint32_t rtt_us) {
    double sum = 0;
    for (uint64_t seed = 1; seed <= 3; ++seed) {
        SimLinkOptions link;
        link.seed = seed;
        link.loss = loss;
        link.delay_ns = uint64_t{rtt_us} * 500;
        link.queue_frames = 4096;
        link.tx_frames = 2048;
        const uint64_t step_ns = std::max<uint64_t>(20'000, uint64_t{rtt_us} * 1000 / 50);
        const size_t bytes = loss > 0.05 ? 400'000 : 1'500'000;
        sum += goodput(link, sender, bytes, step_ns);
    }
    return sum / 3 / 1e6;
}

std::string key(const char* name, double loss, uint32_t rtt_us) {
    std::ostringstream text;
    text << name << " " << loss * 100 << "% " << rtt_us << "us";
    return text.str();
}

std::string snapshot_path() { return CACHEE_SOURCE_DIR "/tests/sim/goodput.txt"; }

void write_snapshot(const std::map<std::string, double>& cells) {
    std::ofstream file(snapshot_path());
    file
        << "# Goodput of a bulk transfer in MB/s of virtual time, windows of 1 MiB, by loss and\n"
           "# round trip. Written by CACHEE_UPDATE_SNAPSHOT=1 sim_tcp_goodput_test; compared with\n"
           "# a tolerance of a fifth. A change here is a change of behaviour: say why.\n";
    for (const Sender& sender : kSenders) {
        file << "\n" << std::left << std::setw(8) << sender.name << std::right;
        for (double loss : kLoss) {
            std::ostringstream head;
            head << loss * 100 << "%";
            file << std::setw(9) << head.str();
        }
        file << "\n";
        for (uint32_t rtt_us : kRttUs) {
            file << std::left << std::setw(8) << (std::to_string(rtt_us) + "us") << std::right;
            for (double loss : kLoss) {
                file << std::setw(9) << std::fixed << std::setprecision(3)
                     << cells.at(key(sender.name, loss, rtt_us));
            }
            file << "\n";
        }
    }
}

std::map<std::string, double> read_snapshot() {
    std::map<std::string, double> cells;
    std::ifstream file(snapshot_path());
    EXPECT_TRUE(file) << snapshot_path();
    const Sender* sender = nullptr;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string first;
        if (!(words >> first) || first == "#") continue;
        bool heading = false;
        for (const Sender& candidate : kSenders) {
            if (first != candidate.name) continue;
            sender = &candidate;
            heading = true;
        }
        if (heading || sender == nullptr) continue;
        for (double loss : kLoss) {
            double value = -1;
            words >> value;
            cells[key(sender->name, loss, static_cast<uint32_t>(std::stoul(first)))] = value;
        }
    }
    return cells;
}

TEST(TcpGoodput, LossAndRoundTrip_AsInTheSnapshot) {
    std::map<std::string, double> cells;
    for (const Sender& sender : kSenders) {
        for (double loss : kLoss) {
            for (uint32_t rtt_us : kRttUs) {
                cells[key(sender.name, loss, rtt_us)] = cell(sender, loss, rtt_us);
            }
        }
    }
    if (std::getenv("CACHEE_UPDATE_SNAPSHOT") != nullptr) {
        write_snapshot(cells);
        return;
    }
    const auto wanted = read_snapshot();
    for (const auto& [name, value] : cells) {
        const auto found = wanted.find(name);
        ASSERT_NE(found, wanted.end()) << name;
        EXPECT_NEAR(value, found->second, 0.2 * found->second) << name << " (MB/s)";
    }
}

// --- a bottleneck

constexpr uint64_t kBytesPerS = 12'500'000;  // 100 Mbit/s
constexpr uint64_t kDelayNs = 5'000'000;     // 10 ms there and back: 125 KB fill the path

SimLinkOptions bottleneck(uint32_t queue_bytes) {
    SimLinkOptions link;
    link.bytes_per_s = kBytesPerS;
    link.queue_bytes = queue_bytes;
    link.delay_ns = kDelayNs;
    link.queue_frames = 4096;
    link.tx_frames = 2048;
    return link;
}

class TcpBottleneck : public ::testing::TestWithParam<Sender> {};

// A queue of one bandwidth-delay product: the link is kept busy, and what overflows is repaired
// without a timeout.
TEST_P(TcpBottleneck, QueueOfOneProduct_LinkIsUsed) {
    World* world = nullptr;
    const double rate = goodput(bottleneck(125'000), GetParam(), 20'000'000, 100'000, &world);
    // Without SACK what slow start overshoots by is repaired one segment in a round trip.
    EXPECT_GT(rate, (GetParam().sack ? 0.85 : 0.35) * kBytesPerS);
    EXPECT_GT(world->link.counts().overflowed, 0u) << "the queue was never filled";
    const double sent = static_cast<double>(world->link.counts().sent);
    EXPECT_LT(static_cast<double>(world->link.counts().overflowed), 0.02 * sent);
    if (GetParam().sack) {
        EXPECT_LE(world->server->counter(Counter::tcp_rto), 1u);
    }
}

// A queue of a tenth of it: less than full use, but no collapse.
TEST_P(TcpBottleneck, ShortQueue_HalfTheLinkAtLeast) {
    EXPECT_GT(goodput(bottleneck(15'000), GetParam(), 10'000'000, 100'000), 0.5 * kBytesPerS);
}

INSTANTIATE_TEST_SUITE_P(Senders, TcpBottleneck, ::testing::ValuesIn(kSenders),
                         [](const auto& test) {
                             std::string name = test.param.name;
                             std::erase(name, '-');
                             return name;
                         });

// On a long path CUBIC comes back to the old window sooner than Reno does.
TEST(TcpGoodput, LongFatPath_CubicBeatsNewReno) {
    SimLinkOptions link = bottleneck(250'000);
    link.delay_ns = 25'000'000;
    link.loss = 0.0002;
    double cubic = 0;
    double newreno = 0;
    for (link.seed = 1; link.seed <= 3; ++link.seed) {
        cubic += goodput(link, kSenders[0], 15'000'000, 500'000);
        newreno += goodput(link, kSenders[1], 15'000'000, 500'000);
    }
    EXPECT_GT(cubic, 1.1 * newreno);
}

// A queue that marks before it is full: the link is used, and nothing is lost.
TEST(TcpGoodput, MarkingQueue_NothingIsLost) {
    SimLinkOptions link = bottleneck(500'000);
    link.mark_bytes = 80'000;
    World* world = nullptr;
    Sender sender = kSenders[0];
    sender.ecn = net::Ecn::kAsk;
    const double rate = goodput(link, sender, 20'000'000, 100'000, &world);
    EXPECT_GT(rate, 0.85 * kBytesPerS);
    EXPECT_EQ(world->link.counts().overflowed, 0u);
    EXPECT_GT(world->link.counts().marked, 0u);
    EXPECT_GT(world->client->counter(Counter::tcp_ecn_marks), 0u);
    EXPECT_GT(world->server->counter(Counter::tcp_ecn_reductions), 2u);
    EXPECT_EQ(world->server->counter(Counter::tcp_retransmits), 0u);
}

// Two senders of one kind share the link about evenly.
TEST(TcpGoodput, TwoFlows_ShareTheLink) {
    World world(bottleneck(125'000), bulk_options(kServerIp, kSenders[0]),
                bulk_options(kClientIp, kSenders[0]));
    world.step_ns = 100'000;
    const auto first = world.open();
    const auto second = world.open();
    constexpr size_t kBytes = 40'000'000;
    world.server->send(first.second, std::string(kBytes, 'a'));
    world.run_for_ms(500);
    world.server->send(second.second, std::string(kBytes, 'b'));
    world.run_for_ms(1500);  // for the second to find its share
    const size_t a = world.client->session(first.first).received.size();
    const size_t b = world.client->session(second.first).received.size();
    world.run_for_ms(2000);
    const auto a_more = static_cast<double>(world.client->session(first.first).received.size() - a);
    const auto b_more =
        static_cast<double>(world.client->session(second.first).received.size() - b);
    EXPECT_GT(a_more + b_more, 0.9 * 2 * kBytesPerS);
    EXPECT_GT(std::min(a_more, b_more), 0.25 * std::max(a_more, b_more));
}

}  // namespace
}  // namespace cachee::sim
