// SPDX-License-Identifier: Apache-2.0
// The bad wire (drivers/sim/impairment.h) and the port that has one before it, in virtual time.
#include "drivers/sim/impairment.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/units.h"
#include "drivers/sim/impaired_port.h"
#include "drivers/sim/sim_link.h"

namespace cachee::sim {
namespace {

using base::kNsPerMs;
using base::kNsPerUs;

// An IPv4 frame that carries a number.
void send(Impairment& wire, uint32_t number, uint64_t now_ns, uint32_t size = 100,
          uint16_t type = 0x0800) {
    Impairment::Frame frame;
    ASSERT_TRUE(wire.acquire(frame));
    std::memset(frame.data, 0, size);
    frame.data[12] = static_cast<uint8_t>(type >> 8);
    frame.data[13] = static_cast<uint8_t>(type);
    std::memcpy(frame.data + 60, &number, sizeof number);
    frame.size = size;
    wire.submit(frame, now_ns);
}

struct Arrival {
    uint64_t at_ns;
    uint32_t number;
    bool operator==(const Arrival&) const = default;
};

// Everything on the wire, in the order and at the times of arrival.
std::vector<Arrival> arrivals(Impairment& wire) {
    std::vector<Arrival> all;
    while (wire.next_due_ns() != UINT64_MAX) {
        const uint64_t now = wire.next_due_ns();
        Impairment::Frame frame;
        EXPECT_FALSE(now > 0 && wire.take(frame, now - 1)) << "before its time";
        EXPECT_TRUE(wire.take(frame, now));
        uint32_t number = 0;
        std::memcpy(&number, frame.data + 60, sizeof number);
        all.push_back({now, number});
        wire.release(frame);
    }
    return all;
}

TEST(Impairment, Delay_NothingElse_KeepsOrderAndTime) {
    Impairment wire({.delay_ns = kNsPerMs});
    for (uint32_t i = 0; i < 100; ++i) send(wire, i, i * 10);
    const std::vector<Arrival> all = arrivals(wire);
    ASSERT_EQ(all.size(), 100u);
    for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(all[i], (Arrival{kNsPerMs + i * 10, i}));
}

TEST(Impairment, Jitter_FramesArriveLaterInOrder) {
    Impairment wire({.seed = 3, .delay_ns = kNsPerMs, .jitter_ns = kNsPerMs});
    for (uint32_t i = 0; i < 200; ++i) send(wire, i, i * 10 * kNsPerUs);
    const std::vector<Arrival> all = arrivals(wire);
    ASSERT_EQ(all.size(), 200u);
    for (uint32_t i = 0; i < 200; ++i) {
        EXPECT_EQ(all[i].number, i);
        EXPECT_GE(all[i].at_ns, i * 10 * kNsPerUs + kNsPerMs);
        EXPECT_LE(all[i].at_ns, i * 10 * kNsPerUs + 2 * kNsPerMs);
    }
}

std::vector<Arrival> ten_thousand(const ImpairmentOptions& options, Impairment::Counts& counts) {
    Impairment wire(options);
    std::vector<Arrival> all;
    for (uint32_t i = 0; i < 10'000; ++i) {
        send(wire, i, i * kNsPerUs);
        if (i % 100 != 99) continue;
        for (const Arrival& arrival : arrivals(wire)) all.push_back(arrival);
    }
    counts = wire.counts();
    return all;
}

TEST(Impairment, Seed_Same_RepeatsExactly) {
    ImpairmentOptions options{.seed = 42,
                              .loss = 0.05,
                              .duplication = 0.05,
                              .reordering = 0.05,
                              .delay_ns = 5 * kNsPerUs,
                              .jitter_ns = 5 * kNsPerUs};
    Impairment::Counts counts;
    const std::vector<Arrival> first = ten_thousand(options, counts);
    EXPECT_EQ(ten_thousand(options, counts), first);
    options.seed = 43;
    EXPECT_NE(ten_thousand(options, counts), first);
}

TEST(Impairment, Probabilities_AreMet) {
    Impairment::Counts counts;
    const auto all = ten_thousand(
        {.seed = 9, .loss = 0.1, .duplication = 0.05, .reordering = 0.2, .corruption = 0.02},
        counts);
    EXPECT_NEAR(static_cast<double>(counts.lost), 1000, 150);
    EXPECT_NEAR(static_cast<double>(counts.duplicated), 450, 100);
    EXPECT_NEAR(static_cast<double>(counts.reordered), 1800, 200);
    EXPECT_NEAR(static_cast<double>(counts.corrupted), 180, 60);
    EXPECT_EQ(counts.submitted, 10'000u);
    EXPECT_EQ(all.size(), counts.submitted - counts.lost + counts.duplicated);
}

TEST(Impairment, Rate_FramesLeaveOneAfterTheOther) {
    Impairment wire({.delay_ns = kNsPerMs, .rate_bits_per_s = 8'000'000});  // 1 byte per us
    for (uint32_t i = 0; i < 10; ++i) send(wire, i, 0, 1000);
    const std::vector<Arrival> all = arrivals(wire);
    ASSERT_EQ(all.size(), 10u);
    for (uint32_t i = 0; i < 10; ++i) EXPECT_EQ(all[i].at_ns, (i + 2) * kNsPerMs) << i;
    // An idle wire owes nothing.
    send(wire, 10, 100 * kNsPerMs, 1000);
    EXPECT_EQ(wire.next_due_ns(), 102 * kNsPerMs);
}

TEST(Impairment, Queue_Full_DropsAtTheTail) {
    Impairment wire({.delay_ns = kNsPerMs, .frames_max = 16, .frames_held_max = 4});
    for (uint32_t i = 0; i < 20; ++i) send(wire, i, 0);
    EXPECT_EQ(wire.in_flight(), 16u);
    EXPECT_EQ(wire.counts().overflowed, 4u);
    const std::vector<Arrival> all = arrivals(wire);
    ASSERT_EQ(all.size(), 16u);
    EXPECT_EQ(all.back().number, 15u);
}

TEST(Impairment, Slots_AllHeld_AcquireFailsUntilRelease) {
    Impairment wire({.frames_max = 16, .frames_held_max = 4});
    std::array<Impairment::Frame, 4> held;
    for (auto& frame : held) ASSERT_TRUE(wire.acquire(frame));
    Impairment::Frame one_more;
    EXPECT_FALSE(wire.acquire(one_more));
    wire.release(held[0]);
    EXPECT_TRUE(wire.acquire(one_more));
}

TEST(Impairment, GiveBack_FrameIsNextAgain) {
    Impairment wire({});
    for (uint32_t i = 0; i < 3; ++i) send(wire, i, 0);
    Impairment::Frame frame;
    ASSERT_TRUE(wire.take(frame, 0));
    wire.give_back(frame);
    const std::vector<Arrival> all = arrivals(wire);
    ASSERT_EQ(all.size(), 3u);
    for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(all[i].number, i);
}

TEST(Impairment, Corruption_OneBitOfIpPacketsOnly) {
    Impairment wire({.seed = 5, .corruption = 1});
    for (const uint16_t type : {uint16_t{0x0800}, uint16_t{0x86dd}, uint16_t{0x0806}}) {
        for (uint32_t i = 0; i < 200; ++i) {
            send(wire, 0, 0, 100, type);
            Impairment::Frame frame;
            ASSERT_TRUE(wire.take(frame, 0));
            int flipped = 0;
            for (uint32_t at = 14; at < 100; ++at) flipped += __builtin_popcount(frame.data[at]);
            EXPECT_EQ(frame.data[12] << 8 | frame.data[13], type);
            EXPECT_EQ(flipped, type == 0x0806 ? 0 : 1);
            EXPECT_EQ(frame.corrupted, type != 0x0806);
            wire.release(frame);
        }
    }
}

// --- the port
// -------------------------------------------------------------------------------------

uint64_t virtual_now_ns = 0;
uint64_t virtual_clock() noexcept { return virtual_now_ns; }

// The end of a link that belongs to somebody else, as a port to own.
class Borrowed final : public net::FramePort {
  public:
    explicit Borrowed(net::FramePort& port) : port_(port) {}
    const net::PortInfo& info() const noexcept override { return port_.info(); }
    size_t rx_burst(net::RxFrame* f, size_t n) noexcept override { return port_.rx_burst(f, n); }
    void rx_release(const net::RxFrame* f, size_t n) noexcept override { port_.rx_release(f, n); }
    size_t tx_alloc(net::TxFrame* f, size_t n) noexcept override { return port_.tx_alloc(f, n); }
    size_t tx_burst(net::TxFrame* f, size_t n) noexcept override {
        return refuse_ ? 0 : port_.tx_burst(f, n);
    }
    void tx_free(net::TxFrame* f, size_t n) noexcept override { port_.tx_free(f, n); }
    void wait(uint64_t max_ns) noexcept override { waited_ns_ = max_ns; }

    net::FramePort& port_;
    bool refuse_ = false;
    uint64_t waited_ns_ = 0;
};

class ImpairedPortTest : public ::testing::Test {
  protected:
    void make(const ImpairmentOptions& in, const ImpairmentOptions& out) {
        virtual_now_ns = 1000;
        link_ = std::make_unique<SimLink>(
            SimLinkOptions{.tx_checksums = true, .tso_bytes_max = 16000, .rx_checksums = true});
        auto inner = std::make_unique<Borrowed>(link_->end(0));
        inner_ = inner.get();
        port_ = std::make_unique<ImpairedPort>(std::move(inner), in, out, virtual_clock);
    }
    static bool send_text(net::FramePort& port, const std::string& text, uint32_t size = 64) {
        net::TxFrame frame;
        if (port.tx_alloc(&frame, 1) != 1) return false;
        std::memset(frame.data, 0, size);
        std::memcpy(frame.data + 20, text.data(), text.size());
        frame.size = size;
        return port.tx_burst(&frame, 1) == 1;
    }
    static std::string receive_text(net::FramePort& port) {
        net::RxFrame frame;
        if (port.rx_burst(&frame, 1) != 1) return "";
        std::string text(reinterpret_cast<const char*>(frame.data) + 20);
        port.rx_release(&frame, 1);
        return text;
    }
    void pass(uint64_t ns) {
        virtual_now_ns += ns;
        link_->advance(virtual_now_ns);
    }

    std::unique_ptr<SimLink> link_;
    Borrowed* inner_ = nullptr;
    std::unique_ptr<ImpairedPort> port_;
};

TEST_F(ImpairedPortTest, Info_OffersNoOffloads) {
    make({}, {});
    EXPECT_TRUE(inner_->info().tso);
    EXPECT_FALSE(port_->info().tso);
    EXPECT_EQ(port_->info().tso_bytes_max, 0u);
    EXPECT_FALSE(port_->info().tx_tcp_checksum);
    EXPECT_EQ(port_->info().mac, inner_->info().mac);
}

TEST_F(ImpairedPortTest, Delay_BothWays_HoldsFramesBack) {
    make({.delay_ns = 500}, {.delay_ns = 700});
    ASSERT_TRUE(send_text(*port_, "out"));
    ASSERT_TRUE(send_text(link_->end(1), "in"));
    EXPECT_EQ(receive_text(*port_), "");
    EXPECT_EQ(receive_text(link_->end(1)), "");
    pass(500);
    EXPECT_EQ(receive_text(*port_), "in");
    EXPECT_EQ(receive_text(link_->end(1)), "");
    pass(200);
    EXPECT_EQ(receive_text(*port_), "");  // the poll that sends
    EXPECT_EQ(receive_text(link_->end(1)), "out");
}

TEST_F(ImpairedPortTest, InnerRefuses_FramesWaitInOrder) {
    make({}, {});
    inner_->refuse_ = true;
    ASSERT_TRUE(send_text(*port_, "first"));
    ASSERT_TRUE(send_text(*port_, "second"));
    inner_->refuse_ = false;
    receive_text(*port_);
    EXPECT_EQ(receive_text(link_->end(1)), "first");
    EXPECT_EQ(receive_text(link_->end(1)), "second");
}

TEST_F(ImpairedPortTest, ManyFrames_NoSlotIsLost) {
    make({.loss = 0.2, .duplication = 0.1, .frames_max = 64, .frames_held_max = 64},
         {.loss = 0.2, .duplication = 0.1, .frames_max = 64, .frames_held_max = 64});
    for (int round = 0; round < 2000; ++round) {
        ASSERT_TRUE(send_text(*port_, "out")) << round;
        ASSERT_TRUE(send_text(link_->end(1), "in")) << round;
        pass(10);
        while (!receive_text(*port_).empty()) {
        }
        while (!receive_text(link_->end(1)).empty()) {
        }
    }
    EXPECT_EQ(port_->in().counts().submitted, 2000u);
    EXPECT_EQ(port_->out().counts().submitted, 2000u);
    EXPECT_EQ(port_->in().in_flight(), 0u);
    EXPECT_EQ(link_->frames_held(), 0u);
}

TEST_F(ImpairedPortTest, Wait_EndsWhenAFrameIsDue) {
    make({.delay_ns = 500}, {.delay_ns = 700});
    port_->wait(5000);
    EXPECT_EQ(inner_->waited_ns_, 5000u);
    ASSERT_TRUE(send_text(*port_, "out"));
    port_->wait(5000);
    EXPECT_EQ(inner_->waited_ns_, 700u);
}

}  // namespace
}  // namespace cachee::sim
