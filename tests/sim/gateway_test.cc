// SPDX-License-Identifier: Apache-2.0
// A kernel TCP client through the gateway and a lossy link to our stack, on the real clock.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/clock.h"
#include "drivers/sim/sim_gateway.h"
#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

// An echo server on end 0, in a thread; after EOF it answers what is left and closes.
class Gateway : public ::testing::Test {
  protected:
    void start(double loss) {
        SimLinkOptions link_options;
        link_options.loss = loss;
        link_options.real_clock = true;
        link_ = std::make_unique<SimLink>(link_options);
        auto server_options = small_options(kServerIp);
        server_options.listen_port = kPort;
        server_options.rto_min_ms = 5;
        server_ = std::make_unique<SimClient>(link_->end(0), server_options);
        server_->on_data = [this](int64_t id) {
            if (id == reset_serial_.load()) {
                server_->abort(id);
                return;
            }
            server_->send(id, server_->take_received(id));
        };
        server_->on_eof = [this](int64_t id) { server_->close(id); };
        thread_ = std::thread([this] {
            while (!stop_.load()) {
                if (server_->step(base::monotonic_ns()) == 0) {
                    server_->transport().wait(50'000);
                }
            }
        });
        SimGatewayOptions options;
        options.server_ip = kServerIp;
        options.server_port = kPort;
        options.tcp = small_options(kClientIp);
        options.tcp.rto_min_ms = 5;
        auto started = SimGateway::start(link_->end(1), options);
        ASSERT_TRUE(started) << started.error().message;
        gateway_ = std::move(started).value();
    }
    ~Gateway() override {
        gateway_.reset();
        stop_.store(true);
        if (thread_.joinable()) thread_.join();
    }
    int dial() {
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        timeval limit{10, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(gateway_->listen_port());
        EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        return fd;
    }

    std::unique_ptr<SimLink> link_;
    std::unique_ptr<SimClient> server_;
    std::unique_ptr<SimGateway> gateway_;
    std::atomic<int64_t> reset_serial_{-1};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

TEST_F(Gateway, Echo_LossyLink_StreamAndHalfCloseSurvive) {
    start(0.02);
    base::Rng rng(5);
    const std::string sent = random_bytes(rng, 300'000);
    const int fd = dial();
    std::thread writer([&] {
        size_t done = 0;
        while (done < sent.size()) {
            const ssize_t n = ::send(fd, sent.data() + done, sent.size() - done, MSG_NOSIGNAL);
            if (n <= 0) break;
            done += static_cast<size_t>(n);
        }
        ::shutdown(fd, SHUT_WR);
    });
    std::string received;
    char buffer[8192];
    ssize_t n = 0;
    while ((n = ::read(fd, buffer, sizeof buffer)) > 0) {
        received.append(buffer, static_cast<size_t>(n));
    }
    writer.join();
    EXPECT_EQ(n, 0) << "an orderly end, not a reset or a timeout";
    EXPECT_TRUE(received == sent) << received.size() << " of " << sent.size();
    ::close(fd);
}

TEST_F(Gateway, ServerAborts_ClientSeesReset) {
    reset_serial_.store(0);
    start(0);
    const int fd = dial();
    ASSERT_EQ(::send(fd, "x", 1, 0), 1);
    char byte;
    EXPECT_EQ(::read(fd, &byte, 1), -1);
    EXPECT_EQ(errno, ECONNRESET);
    ::close(fd);
}

TEST_F(Gateway, NobodyListens_ClientSeesReset) {
    start(0);
    stop_.store(true);
    thread_.join();
    server_.reset();
    net::TcpOptions options = small_options(kServerIp);
    options.listen_port = kPort + 1;
    SimClient other(link_->end(0), options);
    const int fd = dial();
    std::atomic<bool> done{false};
    std::thread server([&] {
        while (!done.load()) {
            other.step(base::monotonic_ns());
            other.transport().wait(50'000);
        }
    });
    char byte;
    EXPECT_EQ(::read(fd, &byte, 1), -1);
    EXPECT_EQ(errno, ECONNRESET);
    done.store(true);
    server.join();
    ::close(fd);
}

}  // namespace
}  // namespace cachee::sim
