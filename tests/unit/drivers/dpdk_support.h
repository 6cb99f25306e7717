// SPDX-License-Identifier: Apache-2.0
// What the DPDK tests share: options that need no hugepages, frames by hand, a private network
// namespace, and children, since EAL starts once per process. Test code.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "config/schema.h"
#include "net/frame_port.h"

namespace cachee::dpdk {

using Bytes = std::vector<uint8_t>;
using Ipv4 = std::array<uint8_t, 4>;

inline config::Dpdk without_hugepages(const std::string& device) {
    config::Dpdk config;
    config.device = device;
    config.hugepages = false;
    config.memory_mib = 128;
    config.mbufs = 8192;
    return config;
}

inline std::string instance_name() { return "test-" + std::to_string(::getpid()); }

// Runs `body` in a child; its text. A crash is a failure of the test.
inline std::string in_child(const std::function<std::string()>& body) {
    int ends[2];
    if (::pipe(ends) != 0) return "no pipe";
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        const std::string text = body();
        const ssize_t written = ::write(ends[1], text.data(), text.size());
        ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 9);
    }
    ::close(ends[1]);
    std::string text;
    char part[512];
    for (ssize_t n = 0; (n = ::read(ends[0], part, sizeof part)) > 0;) {
        text.append(part, static_cast<size_t>(n));
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "child: status " << status;
    return text;
}

// This process's own network, empty but for loopback. False without the privilege.
inline bool enter_private_network() { return ::unshare(CLONE_NEWNET) == 0; }

inline bool run(const std::string& command) { return std::system(command.c_str()) == 0; }

inline void put16(Bytes& bytes, size_t at, uint16_t value) {
    bytes[at] = static_cast<uint8_t>(value >> 8);
    bytes[at + 1] = static_cast<uint8_t>(value);
}
inline uint16_t get16(const Bytes& bytes, size_t at) {
    return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

// RFC 1071.
inline uint16_t checksum(const uint8_t* data, size_t size, uint32_t sum = 0) {
    for (size_t i = 0; i + 1 < size; i += 2) {
        sum += static_cast<uint32_t>(data[i] << 8 | data[i + 1]);
    }
    if (size % 2 == 1) sum += static_cast<uint32_t>(data[size - 1] << 8);
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

inline Bytes ethernet(const net::MacAddress& to, const net::MacAddress& from, uint16_t type,
                      size_t payload) {
    Bytes frame(14 + payload);
    std::memcpy(frame.data(), to.data(), 6);
    std::memcpy(frame.data() + 6, from.data(), 6);
    put16(frame, 12, type);
    return frame;
}

// RFC 826; operation 1 asks, 2 answers.
inline Bytes arp(uint16_t operation, const net::MacAddress& from_mac, const Ipv4& from,
                 const net::MacAddress& to_mac, const Ipv4& to) {
    constexpr net::MacAddress kEveryone = {255, 255, 255, 255, 255, 255};
    Bytes frame = ethernet(operation == 1 ? kEveryone : to_mac, from_mac, 0x0806, 28);
    const uint8_t head[] = {0, 1, 8, 0, 6, 4};
    std::memcpy(frame.data() + 14, head, sizeof head);
    put16(frame, 20, operation);
    std::memcpy(frame.data() + 22, from_mac.data(), 6);
    std::memcpy(frame.data() + 28, from.data(), 4);
    if (operation != 1) std::memcpy(frame.data() + 32, to_mac.data(), 6);
    std::memcpy(frame.data() + 38, to.data(), 4);
    frame.resize(60);
    return frame;
}

// ICMP echo request with both checksums.
inline Bytes echo_request(const net::MacAddress& from_mac, const Ipv4& from,
                          const net::MacAddress& to_mac, const Ipv4& to, size_t payload) {
    Bytes frame = ethernet(to_mac, from_mac, 0x0800, 28 + payload);
    frame[14] = 0x45;
    put16(frame, 16, static_cast<uint16_t>(28 + payload));
    frame[22] = 64;
    frame[23] = 1;
    std::memcpy(frame.data() + 26, from.data(), 4);
    std::memcpy(frame.data() + 30, to.data(), 4);
    put16(frame, 24, checksum(frame.data() + 14, 20));
    frame[34] = 8;
    put16(frame, 38, 0x1234);
    put16(frame, 40, 1);
    for (size_t i = 0; i < payload; ++i) frame[42 + i] = static_cast<uint8_t>(i);
    put16(frame, 36, checksum(frame.data() + 34, 8 + payload));
    return frame;
}

inline bool send(net::FramePort& port, const Bytes& bytes) {
    net::TxFrame frame;
    if (port.tx_alloc(&frame, 1) != 1 || frame.capacity < bytes.size()) return false;
    std::memcpy(frame.data, bytes.data(), bytes.size());
    frame.size = static_cast<uint32_t>(bytes.size());
    if (port.tx_burst(&frame, 1) == 1) return true;
    port.tx_free(&frame, 1);
    return false;
}

// The next frame that `wanted` likes, within two seconds; empty otherwise. Others are dropped.
inline Bytes await(net::FramePort& port, const std::function<bool(const Bytes&)>& wanted) {
    const uint64_t deadline = base::monotonic_ns() + 2 * base::kNsPerS;
    while (base::monotonic_ns() < deadline) {
        std::array<net::RxFrame, 32> frames;
        const size_t n = port.rx_burst(frames.data(), frames.size());
        Bytes found;
        for (size_t i = 0; i < n; ++i) {
            Bytes bytes(frames[i].data, frames[i].data + frames[i].size);
            if (found.empty() && wanted(bytes)) found = std::move(bytes);
        }
        port.rx_release(frames.data(), n);
        if (!found.empty()) return found;
        if (n == 0) port.wait(50 * base::kNsPerUs);
    }
    return {};
}

}  // namespace cachee::dpdk
