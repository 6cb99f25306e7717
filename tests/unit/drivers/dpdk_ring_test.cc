// SPDX-License-Identifier: Apache-2.0
// DpdkDriver and the frame port's rules over net_ring, which hands every frame back to its sender:
// no privileges, no hugepages. Cases that need an EAL of their own run in children, before the one
// of this process starts (GoogleTest runs *DeathTest suites first).
#include <dirent.h>
#include <sys/mman.h>

#include <filesystem>
#include <thread>

#include "drivers/dpdk/dpdk_driver.h"
#include "tests/unit/drivers/dpdk_support.h"

namespace cachee::dpdk {
namespace {

std::string init_error(const config::Dpdk& config, uint32_t workers) {
    return in_child([&] {
        DpdkDriver driver;
        const base::Status status = driver.init(config, workers, instance_name());
        return status ? std::string("started") : status.error().message;
    });
}

TEST(DpdkDriverDeathTest, Init_BadDevice_ClearErrors) {
    EXPECT_NE(init_error(without_hugepages("0000:3b"), 1).find("PCI address"), std::string::npos);
    EXPECT_NE(init_error(without_hugepages(""), 1).find("PCI address"), std::string::npos);
    EXPECT_NE(init_error(without_hugepages("net_nonsense0"), 1).find("DPDK"), std::string::npos);
}

TEST(DpdkDriverDeathTest, Init_FewerQueuesThanWorkers_SaysHowMany) {
    const std::string message = init_error(without_hugepages("net_ring0"), 64);
    EXPECT_NE(message.find("has 16 queue pairs, 64 workers"), std::string::npos) << message;
}

TEST(DpdkDriverDeathTest, Init_LimitsOutOfRange_ClearErrors) {
    config::Dpdk config = without_hugepages("net_ring0");
    config.mbufs = 100;
    EXPECT_NE(init_error(config, 1).find("dpdk.mbufs is 100"), std::string::npos);
    config = without_hugepages("net_ring0");
    config.mbufs = 2'000'000;
    EXPECT_NE(init_error(config, 1).find("dpdk.mbufs is 2000000"), std::string::npos);
    config = without_hugepages("net_ring0");
    config.mtu = 100;
    EXPECT_NE(init_error(config, 1).find("dpdk.mtu"), std::string::npos);
    // Ordinary memory is sized from the buffers, whatever memory_mib says.
    config = without_hugepages("net_ring0");
    config.memory_mib = 8;
    EXPECT_EQ(init_error(config, 1), "started");
}

TEST(DpdkDriverDeathTest, Init_Twice_SecondIsAnError) {
    const std::string message = in_child([] {
        DpdkDriver first;
        const base::Status status = first.init(without_hugepages("net_ring0"), 1, instance_name());
        if (!status) return status.error().message;
        DpdkDriver second;
        const base::Status again = second.init(without_hugepages("net_ring1"), 1, "other");
        return again ? std::string("started twice") : again.error().message;
    });
    EXPECT_NE(message.find("once in a process"), std::string::npos) << message;
}

TEST(DpdkDriverDeathTest, Stop_NoFilesLeft) {
    const std::string left = in_child([] {
        const std::string instance = instance_name();
        const std::string runtime = ::geteuid() == 0 ? "/var/run/dpdk" : "/tmp/dpdk";
        {
            DpdkDriver driver;
            const base::Status status = driver.init(without_hugepages("net_ring0"), 1, instance);
            if (!status) return status.error().message;
        }
        std::string found;
        for (const std::string& directory : {runtime, std::string("/dev/hugepages")}) {
            std::error_code none;
            for (const auto& entry : std::filesystem::directory_iterator(directory, none)) {
                if (entry.path().string().find(instance) == std::string::npos) continue;
                found += entry.path().string() + "\n";
            }
        }
        return found;
    });
    EXPECT_EQ(left, "");
}

TEST(DpdkArguments, PciDevice_IsAllowedAndVirtualOnesAreNot) {
    config::Dpdk config = without_hugepages("0000:3b:00.0");
    config.hugepages = true;
    config.eal_args = {"--socket-limit", "512"};
    const auto arguments = eal_arguments(config, 1, "main", config::LogLevel::kError);
    ASSERT_TRUE(arguments.has_value());
    std::string line;
    for (const auto& argument : arguments.value()) line += argument + " ";
    EXPECT_NE(line.find("-a 0000:3b:00.0 "), std::string::npos);
    EXPECT_NE(line.find("--file-prefix cachee-main "), std::string::npos);
    EXPECT_EQ(line.find("--vdev"), std::string::npos);
    EXPECT_EQ(line.find("--no-huge"), std::string::npos);
    EXPECT_TRUE(line.ends_with("--socket-limit 512 "));
}

// One EAL and one looped-back port for all the tests below.
class DpdkRing : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        cpu_set_t before;
        ::sched_getaffinity(0, sizeof before, &before);
        driver = std::make_unique<DpdkDriver>();
        config::Dpdk config = without_hugepages("net_ring0");
        config.mbufs = 4096;
        const base::Status status = driver->init(config, 1, instance_name());
        ASSERT_TRUE(status.has_value()) << status.error().message;
        cpu_set_t after;
        ::sched_getaffinity(0, sizeof after, &after);
        EXPECT_TRUE(CPU_EQUAL(&before, &after)) << "EAL pinned this thread";
        lent = static_cast<uint8_t*>(::mmap(nullptr, kLentBytes, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        const base::Status lendable = driver->lend(lent, kLentBytes, 4096);
        ASSERT_TRUE(lendable.has_value()) << lendable.error().message;
        port = driver->port(0, &counters);
    }
    static void TearDownTestSuite() {
        port.reset();
        driver.reset();
        ::munmap(lent, kLentBytes);
    }
    // Holds taken over by the port and not given back yet.
    class CountingLender final : public io::Lender {
      public:
        void hold(const uint8_t*) noexcept override { ++held; }
        void give_back(const uint8_t* data) noexcept override {
            --held;
            last = data;
        }
        int held = 0;
        const uint8_t* last = nullptr;
    };
    static net::TxFrame frame_of(const std::string& start) {
        net::TxFrame frame;
        EXPECT_EQ(port->tx_alloc(&frame, 1), 1u);
        std::memcpy(frame.data, start.data(), start.size());
        frame.size = static_cast<uint32_t>(start.size());
        return frame;
    }

    static constexpr uint64_t kLentBytes = 1 << 20;
    static inline uint8_t* lent = nullptr;

    static inline stats::WorkerCounters counters{};
    static inline std::unique_ptr<DpdkDriver> driver;
    static inline std::unique_ptr<net::FramePort> port;
};

// Empties the ring, so that tests do not see each other's frames.
void drain(net::FramePort& port) {
    std::array<net::RxFrame, 64> frames;
    for (size_t n = 0; (n = port.rx_burst(frames.data(), frames.size())) > 0;) {
        port.rx_release(frames.data(), n);
    }
}

TEST_F(DpdkRing, Info_DescribesThePort) {
    EXPECT_EQ(port->info().name, "net_ring0");
    EXPECT_EQ(port->info().mtu, 1500u);
    EXPECT_FALSE(port->info().tso);
}

TEST_F(DpdkRing, Frames_SentInBursts_ArriveInOrderUnchanged) {
    for (uint8_t round = 0; round < 20; ++round) {
        std::array<net::TxFrame, 100> out;
        ASSERT_EQ(port->tx_alloc(out.data(), out.size()), out.size());
        for (size_t i = 0; i < out.size(); ++i) {
            ASSERT_GE(out[i].capacity, 14u + 4 + 1500);
            out[i].size = static_cast<uint32_t>(60 + i);
            std::memset(out[i].data, static_cast<int>(round + i), out[i].size);
        }
        ASSERT_EQ(port->tx_burst(out.data(), out.size()), out.size());
        size_t seen = 0;
        while (seen < out.size()) {
            std::array<net::RxFrame, 32> in;
            const size_t n = port->rx_burst(in.data(), in.size());
            ASSERT_GT(n, 0u);
            for (size_t i = 0; i < n; ++i, ++seen) {
                ASSERT_EQ(in[i].size, 60 + seen);
                ASSERT_EQ(in[i].data[0], static_cast<uint8_t>(round + seen));
                ASSERT_EQ(in[i].data[in[i].size - 1], static_cast<uint8_t>(round + seen));
                EXPECT_EQ(in[i].tcp_checksum, net::Checksum::kUnknown);
            }
            port->rx_release(in.data(), n);
        }
    }
}

TEST_F(DpdkRing, RxRelease_OutOfOrderAndLate_FramesStayValid) {
    for (uint8_t i = 0; i < 3; ++i) ASSERT_TRUE(send(*port, Bytes(64, i)));
    std::array<net::RxFrame, 3> held;
    ASSERT_EQ(port->rx_burst(held.data(), 3), 3u);
    port->rx_release(&held[1], 1);
    for (uint8_t i = 10; i < 200; ++i) {
        ASSERT_TRUE(send(*port, Bytes(64, i)));
        net::RxFrame frame;
        ASSERT_EQ(port->rx_burst(&frame, 1), 1u);
        EXPECT_EQ(frame.data[0], i);
        port->rx_release(&frame, 1);
    }
    EXPECT_EQ(held[0].data[0], 0);
    EXPECT_EQ(held[2].data[0], 2);
    port->rx_release(&held[2], 1);
    port->rx_release(&held[0], 1);
}

TEST_F(DpdkRing, TxAlloc_PoolExhausted_GivesWhatThereIs_AllComeBack) {
    for (int round = 0; round < 3; ++round) {
        std::vector<net::TxFrame> frames(10000);
        const size_t got = port->tx_alloc(frames.data(), frames.size());
        EXPECT_EQ(got, 4096u);
        net::TxFrame more;
        EXPECT_EQ(port->tx_alloc(&more, 1), 0u);
        port->tx_free(frames.data(), got);
    }
}

TEST_F(DpdkRing, TxBurst_RingFull_RestStaysTheCallers) {
    std::vector<net::TxFrame> frames(4000);
    ASSERT_EQ(port->tx_alloc(frames.data(), frames.size()), frames.size());
    for (net::TxFrame& frame : frames) {
        frame.size = 60;
        std::memset(frame.data, 7, 60);
    }
    const size_t taken = port->tx_burst(frames.data(), frames.size());
    EXPECT_GT(taken, 0u);
    EXPECT_LT(taken, frames.size());
    port->tx_free(frames.data() + taken, frames.size() - taken);
    drain(*port);
    EXPECT_EQ(port->tx_alloc(frames.data(), frames.size()), frames.size()) << "frames leaked";
    port->tx_free(frames.data(), frames.size());
}

TEST_F(DpdkRing, TxAttach_LentBytesAreTheEndOfTheFrame_GivenBackWhenSent) {
    EXPECT_TRUE(port->info().tx_attach);
    CountingLender lender;
    for (uint32_t size : {1u, 700u, 1400u}) {
        std::memset(lent + 5000, static_cast<int>(size), size);
        net::TxFrame frame = frame_of("start");
        lender.hold(lent + 5000);
        ASSERT_TRUE(port->tx_attach(frame, lent + 5000, size, lender));
        EXPECT_FALSE(port->tx_attach(frame, lent, 10, lender)) << "one to a frame";
        frame.size += size;
        ASSERT_EQ(port->tx_burst(&frame, 1), 1u);
        net::RxFrame got;
        ASSERT_EQ(port->rx_burst(&got, 1), 1u);
        ASSERT_EQ(got.size, 5 + size);
        EXPECT_EQ(std::memcmp(got.data, "start", 5), 0);
        EXPECT_EQ(std::memcmp(got.data + 5, lent + 5000, size), 0);
        port->rx_release(&got, 1);
        EXPECT_EQ(lender.held, 0);
        EXPECT_EQ(lender.last, lent + 5000);
    }
}

TEST_F(DpdkRing, TxAttach_FrameNeverSent_GivenBack) {
    CountingLender lender;
    net::TxFrame frame = frame_of("start");
    lender.hold(lent);
    ASSERT_TRUE(port->tx_attach(frame, lent, 100, lender));
    port->tx_free(&frame, 1);
    EXPECT_EQ(lender.held, 0);
}

TEST_F(DpdkRing, TxAttach_RingFullThenRetried_SentOnceAndGivenBack) {
    drain(*port);
    std::vector<net::TxFrame> filler(3000);
    ASSERT_EQ(port->tx_alloc(filler.data(), filler.size()), filler.size());
    for (net::TxFrame& frame : filler) frame.size = 60;
    const size_t taken = port->tx_burst(filler.data(), filler.size());
    ASSERT_LT(taken, filler.size());
    port->tx_free(filler.data() + taken, filler.size() - taken);
    CountingLender lender;
    net::TxFrame frame = frame_of("start");
    lender.hold(lent);
    ASSERT_TRUE(port->tx_attach(frame, lent, 100, lender));
    frame.size += 100;
    EXPECT_EQ(port->tx_burst(&frame, 1), 0u);
    EXPECT_EQ(lender.held, 1);
    drain(*port);
    ASSERT_EQ(port->tx_burst(&frame, 1), 1u);
    net::RxFrame got;
    ASSERT_EQ(port->rx_burst(&got, 1), 1u);
    EXPECT_EQ(got.size, 105u);
    port->rx_release(&got, 1);
    EXPECT_EQ(lender.held, 0);
}

TEST_F(DpdkRing, TxAttach_BytesThatWereNotLent_Refused) {
    CountingLender lender;
    net::TxFrame frame = frame_of("start");
    static uint8_t elsewhere[100];
    EXPECT_FALSE(port->tx_attach(frame, elsewhere, sizeof elsewhere, lender));
    EXPECT_FALSE(port->tx_attach(frame, lent + kLentBytes - 50, 100, lender));
    EXPECT_FALSE(port->tx_attach(frame, lent - 50, 100, lender));
    EXPECT_FALSE(port->tx_attach(frame, lent, 70'000, lender)) << "more than an mbuf can describe";
    port->tx_free(&frame, 1);
}

TEST_F(DpdkRing, Worker_EntersOnItsOwnThread_MovesFrames) {
    std::thread worker([&] {
        EXPECT_TRUE(DpdkDriver::enter_worker());
        for (uint8_t i = 0; i < 100; ++i) {
            EXPECT_TRUE(send(*port, Bytes(80, i)));
            const Bytes got = await(*port, [](const Bytes&) { return true; });
            EXPECT_EQ(got, Bytes(80, i));
        }
        DpdkDriver::leave_worker();
    });
    worker.join();
}

TEST_F(DpdkRing, Wait_SleepsAtMostHundredMicroseconds) {
    const uint64_t start = base::monotonic_ns();
    for (int i = 0; i < 20; ++i) port->wait(base::kNsPerS);
    const uint64_t each = (base::monotonic_ns() - start) / 20;
    EXPECT_GE(each, 90 * base::kNsPerUs);
    EXPECT_LT(each, 50 * base::kNsPerMs);
}

}  // namespace
}  // namespace cachee::dpdk
