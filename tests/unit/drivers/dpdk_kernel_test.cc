// SPDX-License-Identifier: Apache-2.0
// DpdkDriver with the Linux kernel at the other end, inside a private network namespace. Built
// twice:
//   net_tap     -DCACHEE_TEST_TAP=1     the PMD makes the interface
//   net_af_xdp  -DCACHEE_TEST_TAP=0     one end of a veth pair, the kernel has the other
// Raw frames both ways: the kernel answers our ARP and ICMP, an AF_PACKET socket hears us, we hear
// it. Then the same after privileges were dropped. Skipped without root.
#include <arpa/inet.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdio>

#include "drivers/dpdk/dpdk_driver.h"
#include "tests/unit/drivers/dpdk_support.h"

namespace cachee::dpdk {
namespace {

constexpr bool kTap = CACHEE_TEST_TAP != 0;
constexpr Ipv4 kOurs = {10, 77, 0, 2};
constexpr Ipv4 kKernels = {10, 77, 0, 1};
constexpr net::MacAddress kNobody{};
const std::string kKernelEnd = kTap ? "ckt0" : "ckv0";
const std::string kDevice =
    kTap ? "net_tap0,iface=ckt0" : "net_af_xdp0,iface=ckv1,start_queue=0,queue_count=1";

// The other end of the wire, before (veth) and after (addresses) the driver starts.
bool lay_wire() {
    if (!enter_private_network() || !run("ip link set lo up")) return false;
    if (kTap) return true;
    return run("ip link add ckv0 type veth peer name ckv1") &&
           run("ethtool -K ckv0 tx off tso off gso off >/dev/null 2>&1") &&
           run("ip link set ckv0 up && ip link set ckv1 up");
}
bool address_kernel_end() {
    // No IPv6: its announcements would be frames that nobody here asked for.
    return run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1") &&
           run("ip addr add 10.77.0.1/24 dev " + kKernelEnd + " && ip link set " + kKernelEnd +
               " up");
}

net::MacAddress kernel_mac() {
    // /sys shows the namespace it was mounted in: ask ip(8) instead.
    FILE* pipe = ::popen(("ip -br link show dev " + kKernelEnd).c_str(), "r");
    char line[256] = "";
    const bool read = std::fgets(line, sizeof line, pipe) != nullptr;
    ::pclose(pipe);
    net::MacAddress mac{};
    unsigned b[6] = {};
    const char* colon = read ? std::strchr(line, ':') : nullptr;
    if (colon == nullptr) return mac;
    std::sscanf(colon - 2, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]);
    for (size_t i = 0; i < 6; ++i) mac[i] = static_cast<uint8_t>(b[i]);
    return mac;
}

bool is_arp(const Bytes& frame, uint16_t operation) {
    return frame.size() >= 42 && get16(frame, 12) == 0x0806 && get16(frame, 20) == operation;
}
bool is_icmp(const Bytes& frame, uint8_t type) {
    return frame.size() >= 42 && get16(frame, 12) == 0x0800 && frame[23] == 1 && frame[34] == type;
}

// Whether the kernel answers our ARP, then our ping; tells it our address on the way.
std::string exchange(net::FramePort& port) {
    const net::MacAddress ours = port.info().mac;
    if (!send(port, arp(1, ours, kOurs, kNobody, kKernels))) return "ARP not sent";
    const Bytes answer = await(port, [](const Bytes& frame) { return is_arp(frame, 2); });
    if (answer.empty()) return "no ARP reply";
    net::MacAddress theirs;
    std::copy_n(answer.begin() + 22, 6, theirs.begin());
    const Bytes ping = echo_request(ours, kOurs, theirs, kKernels, 1000);
    if (!send(port, ping)) return "ping not sent";
    const auto answered = [&](const Bytes& frame) {
        return is_icmp(frame, 0) ||
               (is_arp(frame, 1) && send(port, arp(2, ours, kOurs, theirs, kKernels)) && false);
    };
    const Bytes pong = await(port, answered);
    if (pong.empty()) return "no echo reply";
    if (!std::equal(ping.begin() + 42, ping.end(), pong.begin() + 42)) return "echo differs";
    return "";
}

// Drops to a plain user that keeps `permitted` capabilities, none of them effective.
bool drop_to_nobody(uint32_t permitted) {
    if (::prctl(PR_SET_KEEPCAPS, 1) != 0 || ::setgroups(0, nullptr) != 0) return false;
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return false;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {{0, permitted, 0}, {0, 0, 0}};
    return ::syscall(SYS_capset, &header, data) == 0;
}
bool make_effective(uint32_t permitted) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {{permitted, permitted, 0}, {0, 0, 0}};
    return ::syscall(SYS_capset, &header, data) == 0;
}

// Start as root, drop, traffic, stop. In a namespace of its own; "" or what failed, then what is
// left of the XDP program on the interface.
std::string life(uint32_t permitted) {
    return in_child([=] {
        if (!lay_wire()) return std::string("no wire");
        const pid_t child = ::fork();  // the drop must not reach the one who looks afterwards
        if (child == 0) {
            DpdkDriver driver;
            if (!driver.init(without_hugepages(kDevice), 1, instance_name())) ::_exit(1);
            if (!address_kernel_end()) ::_exit(2);
            auto port = driver.port(0);
            if (!drop_to_nobody(permitted)) ::_exit(3);
            if (!exchange(*port).empty()) ::_exit(4);
            port.reset();
            if (!make_effective(permitted)) ::_exit(5);
            driver.stop();
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        if (status != 0) return "status " + std::to_string(status);
        if (kTap) return std::string(::if_nametoindex("ckt0") != 0 ? "tap left" : "");
        return std::string(run("ip -d link show ckv1 | grep -q prog/xdp") ? "program left" : "");
    });
}

TEST(DpdkKernelDeathTest, StopAfterDrop_OnlyTheXdpProgramNeedsNetAdmin) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (in_child([] { return std::string(lay_wire() ? "" : "none"); }) != "") {
        GTEST_SKIP() << "no network namespace, veth or ip(8) here";
    }
    EXPECT_EQ(life(1u << CAP_NET_ADMIN), "");
    EXPECT_EQ(life(0), kTap ? "" : "program left");
}

class DpdkKernel : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        if (::geteuid() != 0) {
            why_skipped = "needs root: a network namespace and " + kDevice;
            return;
        }
        if (!lay_wire()) {
            why_skipped = "no network namespace, veth or ip(8) here";
            return;
        }
        driver = std::make_unique<DpdkDriver>();
        const base::Status status = driver->init(without_hugepages(kDevice), 1, instance_name());
        ASSERT_TRUE(status.has_value()) << status.error().message;
        ASSERT_TRUE(address_kernel_end());
        port = driver->port(0, &counters);
    }
    static void TearDownTestSuite() {
        port.reset();
        driver.reset();
    }
    void SetUp() override {
        if (!why_skipped.empty()) GTEST_SKIP() << why_skipped;
    }

    static inline std::string why_skipped;
    static inline stats::WorkerCounters counters{};
    static inline std::unique_ptr<DpdkDriver> driver;
    static inline std::unique_ptr<net::FramePort> port;
};

TEST_F(DpdkKernel, Info_HasMacAndMtu) {
    EXPECT_NE(port->info().mac, kNobody);
    EXPECT_EQ(port->info().mtu, 1500u);
    EXPECT_EQ(port->info().name, kDevice.substr(0, kDevice.find(',')));
}

TEST_F(DpdkKernel, ArpAndPing_KernelAnswers) { EXPECT_EQ(exchange(*port), ""); }

TEST_F(DpdkKernel, KernelPings_WeSeeItsRequest) {
    // Broadcast needs no answer to ARP first.
    ASSERT_TRUE(run("ip neigh replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev " + kKernelEnd));
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9999);
    ::inet_pton(AF_INET, "10.77.0.9", &to.sin_addr);
    const std::string payload(1400, 'u');
    ASSERT_EQ(::sendto(fd, payload.data(), payload.size(), 0, reinterpret_cast<sockaddr*>(&to),
                       sizeof to),
              1400);
    ::close(fd);
    const Bytes seen = await(*port, [](const Bytes& frame) {
        return frame.size() == 14 + 28 + 1400 && get16(frame, 36) == 9999;
    });
    ASSERT_FALSE(seen.empty());
    EXPECT_EQ(seen[42], 'u');
    EXPECT_EQ(checksum(seen.data() + 14, 20), 0) << "IP header checksum";
    EXPECT_EQ(seen.back(), 'u');
}

// A raw socket on the kernel's end.
struct PacketSocket {
    PacketSocket() : fd(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL))) {
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_ALL);
        address.sll_ifindex = static_cast<int>(::if_nametoindex(kKernelEnd.c_str()));
        ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    }
    ~PacketSocket() { ::close(fd); }
    Bytes await(const std::function<bool(const Bytes&)>& wanted) const {
        const uint64_t deadline = base::monotonic_ns() + 2 * base::kNsPerS;
        while (base::monotonic_ns() < deadline) {
            Bytes frame(65536);
            const ssize_t n = ::recv(fd, frame.data(), frame.size(), 0);
            if (n <= 0) {
                ::usleep(200);
                continue;
            }
            frame.resize(static_cast<size_t>(n));
            if (wanted(frame)) return frame;
        }
        return {};
    }
    int fd;
    sockaddr_ll address{};
};

TEST_F(DpdkKernel, Frames_BothWays_ArriveUnchangedAndInOrder) {
    constexpr uint16_t kType = 0x88b5;  // IEEE 802, for local experiments
    constexpr int kFrames = 200;
    const PacketSocket raw;
    ASSERT_GE(raw.fd, 0);
    const net::MacAddress theirs = kernel_mac();
    ASSERT_NE(theirs, kNobody);
    for (int i = 0; i < kFrames; ++i) {
        Bytes frame = ethernet(theirs, port->info().mac, kType, static_cast<size_t>(100 + i * 7));
        std::fill(frame.begin() + 14, frame.end(), static_cast<uint8_t>(i));
        ASSERT_TRUE(send(*port, frame));
        const Bytes seen = raw.await([&](const Bytes& f) { return get16(f, 12) == kType; });
        ASSERT_EQ(seen, frame) << i;
    }
    for (int i = 0; i < kFrames; ++i) {
        Bytes frame = ethernet(port->info().mac, theirs, kType, static_cast<size_t>(100 + i * 7));
        std::fill(frame.begin() + 14, frame.end(), static_cast<uint8_t>(i + 1));
        ASSERT_EQ(::send(raw.fd, frame.data(), frame.size(), 0),
                  static_cast<ssize_t>(frame.size()));
        const Bytes seen = await(*port, [&](const Bytes& f) { return get16(f, 12) == kType; });
        ASSERT_EQ(seen, frame) << i;
    }
}

// A TCP SYN whose sums the port must make, when it offers to.
TEST_F(DpdkKernel, TxChecksumOffload_KernelAcceptsTheSegment) {
    if (!port->info().tx_tcp_checksum) GTEST_SKIP() << kDevice << " offers no checksum offload";
    const net::MacAddress theirs = kernel_mac();
    Bytes syn = ethernet(theirs, port->info().mac, 0x0800, 40);
    syn[14] = 0x45;
    put16(syn, 16, 40);
    syn[22] = 64;
    syn[23] = 6;
    std::copy(kOurs.begin(), kOurs.end(), syn.begin() + 26);
    std::copy(kKernels.begin(), kKernels.end(), syn.begin() + 30);
    put16(syn, 34, 4321);
    put16(syn, 36, 81);  // nobody listens: the kernel answers RST to a segment that it believes
    syn[46] = 0x50;
    syn[47] = 0x02;
    put16(syn, 48, 1000);
    // The pseudo-header's sum, not complemented, as the seam asks.
    put16(syn, 50, static_cast<uint16_t>(~checksum(syn.data() + 26, 8, 6 + 20)));
    net::TxFrame frame;
    ASSERT_EQ(port->tx_alloc(&frame, 1), 1u);
    std::copy(syn.begin(), syn.end(), frame.data);
    frame.size = static_cast<uint32_t>(syn.size());
    frame.flags = net::kTxIpChecksum | net::kTxTcpChecksum;
    frame.l2_bytes = 14;
    frame.l3_bytes = 20;
    frame.l4_bytes = 20;
    ASSERT_EQ(port->tx_burst(&frame, 1), 1u);
    const net::MacAddress ours = port->info().mac;
    const Bytes reset = await(*port, [&](const Bytes& f) {
        if (is_arp(f, 1)) send(*port, arp(2, ours, kOurs, theirs, kKernels));
        return f.size() >= 54 && get16(f, 12) == 0x0800 && f[23] == 6 && get16(f, 36) == 4321;
    });
    ASSERT_FALSE(reset.empty());
    EXPECT_EQ(reset[47] & 0x04, 0x04) << "RST";
}

TEST_F(DpdkKernel, Tso_LargeFrame_CutIntoSegmentsWithRightSums) {
    if (!port->info().tso) GTEST_SKIP() << kDevice << " offers no TSO";
    constexpr uint16_t kMss = 1000;
    constexpr size_t kPayload = 8500;
    const PacketSocket raw;
    Bytes big = ethernet(kernel_mac(), port->info().mac, 0x0800, 40 + kPayload);
    big[14] = 0x45;
    put16(big, 16, 40 + kPayload);
    big[22] = 64;
    big[23] = 6;
    std::copy(kOurs.begin(), kOurs.end(), big.begin() + 26);
    std::copy(kKernels.begin(), kKernels.end(), big.begin() + 30);
    put16(big, 34, 5555);
    put16(big, 36, 82);
    big[46] = 0x50;
    big[47] = 0x10;
    for (size_t i = 0; i < kPayload; ++i) big[54 + i] = static_cast<uint8_t>(i * 31);
    put16(big, 50, static_cast<uint16_t>(~checksum(big.data() + 26, 8, 6 + 20 + kPayload)));
    net::TxFrame frame;
    ASSERT_EQ(port->tx_alloc(&frame, 1), 1u);
    ASSERT_GE(frame.capacity, port->info().tso_bytes_max);
    std::copy(big.begin(), big.end(), frame.data);
    frame.size = static_cast<uint32_t>(big.size());
    frame.flags = net::kTxTso;
    frame.tso_mss = kMss;
    frame.l2_bytes = 14;
    frame.l3_bytes = 20;
    frame.l4_bytes = 20;
    ASSERT_EQ(port->tx_burst(&frame, 1), 1u);
    Bytes got;
    while (got.size() < kPayload) {
        const Bytes segment = raw.await([](const Bytes& f) {
            return f.size() >= 54 && get16(f, 12) == 0x0800 && f[23] == 6 && get16(f, 34) == 5555;
        });
        ASSERT_FALSE(segment.empty()) << got.size() << " bytes so far";
        const size_t size = get16(segment, 16) - 40u;
        ASSERT_LE(size, kMss);
        EXPECT_EQ(checksum(segment.data() + 14, 20), 0) << "IP at " << got.size();
        const Bytes pseudo(segment.begin() + 26, segment.begin() + 34);
        const auto sum = static_cast<uint16_t>(
            ~checksum(pseudo.data(), 8, static_cast<uint32_t>(6 + 20 + size)));
        EXPECT_EQ(checksum(segment.data() + 34, 20 + size, sum), 0) << "TCP at " << got.size();
        EXPECT_EQ(get16(segment, 40), got.size()) << "sequence number";
        got.insert(got.end(), segment.begin() + 54,
                   segment.begin() + 54 + static_cast<std::ptrdiff_t>(size));
    }
    EXPECT_TRUE(std::equal(got.begin(), got.end(), big.begin() + 54));
}

// Last: what it drops does not come back.
TEST_F(DpdkKernel, PrivilegesDropped_TrafficGoesOn) {
    ASSERT_EQ(::setgroups(0, nullptr), 0);
    ASSERT_EQ(::setgid(65534), 0);
    ASSERT_EQ(::setuid(65534), 0);
    EXPECT_EQ(exchange(*port), "");
    for (int i = 0; i < 20; ++i) ASSERT_EQ(exchange(*port), "") << i;
}

}  // namespace
}  // namespace cachee::dpdk
